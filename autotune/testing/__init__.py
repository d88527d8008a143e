"""Contract suites that third-party engines, systems and executors can run.

Owns what each contract demands. May import ``engine``, ``systems`` and ``core``.
"""

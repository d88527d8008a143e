"""Batches of a system that runs in process: warm-up, timed batches, validity.

Owns the loop that calls a target and looks at its records. May import ``watch``, ``metrics``,
``statistics`` and ``workload``.
"""

"""Our engines and spaces inside the tools that people use already: one module per tool.

Owns what speaks a tool's own interface: its searchers, its search spaces, its trials.
May import ``study``, ``convert``, ``engine``, ``systems``, ``spec`` and ``core``.
"""

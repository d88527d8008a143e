"""Surrogates of studied papers that some recorded runs support: optional, none is a default.

Each is reached by its name (``surrogate: infinite_network``) and imported then; figures in
``benchmarks/README.md``.
"""

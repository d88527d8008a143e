"""Mirrors of the ledger: MLflow.

Owns what a mirror shows and catches up with; loses nothing, since the ledger has it. May import ``spec``,
``ledger`` and ``core``.
"""

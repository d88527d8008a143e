"""From text to values: study files, catalogue files, their errors with positions.

Owns YAML and the place of everything in it, and the reading of what a ledger keeps. May import ``core``.
"""

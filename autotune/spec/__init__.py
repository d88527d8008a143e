"""From text to values: study files, catalogue files, their errors with positions.

Owns YAML and the place of everything in it. May import ``core``.
"""

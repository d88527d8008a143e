"""From files that people already have to study files of ours: one module per format.

Owns what of another tool has which equivalent here, and what has none. May import ``systems``,
``measure``, ``spec`` and ``core``.
"""

"""Flags of a server from its source text: nothing of it is installed, imported or run.

What the text leaves open, such as choices that are computed when the server starts, is unknown and compared
with nothing. ``.ci/check_flags.py`` uses this; ``autotune flags --installed`` asks a server that is there.
"""

"""What a person reads: the live view, plain lines, tables and the summary.

Owns words and numbers on a terminal; decides nothing. May import ``analysis`` and ``core``.
"""

"""What a person reads: the live view, plain lines, tables, the summary, and reports as files.

Owns words and numbers on a terminal and in a report; decides nothing. May import ``plot``, ``analysis`` and
``core``.
"""

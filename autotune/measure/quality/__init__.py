"""Whether a configuration still answers well: perplexity, agreement, exact match, a scorer of the user's.

Owns the questions, the answers and what they are compared with. May import ``statistics`` and ``workload``.
"""

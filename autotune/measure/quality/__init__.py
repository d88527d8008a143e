"""Whether a configuration still answers well: perplexity, agreement, exact match, a scorer of the user's."""

"""What a person reads: the live view, plain lines, tables and the summary."""

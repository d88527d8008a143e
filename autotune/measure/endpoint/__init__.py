"""A server under load: one run, the highest rate that keeps the limits, and what is not believed.

Owns the loop around one load and what is decided from its records. May import all other rooms.
"""

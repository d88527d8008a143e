"""Estimates with errors from correlated samples, when a series is steady, which measurement is doubtful.

Owns the pieces of a run that numbers come from (``samples``) and their arithmetic. Imports no other room.
"""

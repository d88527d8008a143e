"""Plotly figures of a study, one module a figure.

Owns the figures of notebooks and of the report. May import nothing else.
"""

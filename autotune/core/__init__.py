"""Frozen values that every other part speaks in: standard library and numpy only.

Owns parameters, spaces, objectives, measurements, trials, units and the one rule of what is recommended. May
import nothing above it; what reads files is registered from above (``front_doors.py``).
"""

"""The ``gp`` engine: an exact Gaussian process per metric, and every configuration scored.

Importing this package loads no torch; asking does.
"""

from autotune.engine.gp.engine import GPEngine

__all__ = ["GPEngine"]

"""Where to look next: engines that propose configurations.

Owns the optimizers and what they know of a space; keeps nothing between calls. May import ``core``.
"""

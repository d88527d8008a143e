"""Other models of a surface, by name: ``engine: {use: gp, surrogate: NAME}``."""

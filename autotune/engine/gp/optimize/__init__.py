"""Where to look next: the candidates, the local search among them, and the selection of the best.

Owns the search for the maximum of an acquisition function over a table or a space too large for one. Imports
models and acquisition functions.
"""

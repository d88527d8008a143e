"""How much of the workers' time the loop uses, and what a trial costs beside its measurement."""

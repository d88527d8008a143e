"""How a launched system is loaded and timed, and when the numbers may be believed."""

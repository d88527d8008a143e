"""Where to look next: engines that propose configurations."""

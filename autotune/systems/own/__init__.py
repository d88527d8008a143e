"""Programs and functions that measure themselves: how they are launched, watched and read."""

"""Our engine inside other tools."""

"""Load generators against one server with known delays."""

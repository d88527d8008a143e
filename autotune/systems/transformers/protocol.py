"""What the two sides of the socket agree on."""

SOCKET = "engine.sock"
"""Name of the Unix socket in the attempt's folder, which is the server's working folder."""

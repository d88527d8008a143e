"""Files that deploy a configuration: one module per format.

Owns how a command, its environment and its container are written for a shell, Docker, Kubernetes, systemd or
a server; decides nothing. May import ``analysis``,
``engine``, ``systems`` and ``core``.
"""

"""What is tuned: one module per kind of inference system.

Owns how a configuration becomes a command, files or arguments, and how what it started is spoken to. May
import ``core``.
"""

"""The command line: one module per group of commands."""

from autotune.cli.app import main

__all__ = ["main"]

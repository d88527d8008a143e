"""The command line: one module per group of commands.

Owns arguments, exit codes and what is printed first and last. May import ``integrations``, ``study``,
``init``, ``convert``, ``executor``, ``tracking``, ``report``, ``export``, ``analysis``, ``engine``,
``systems``, ``ledger``, ``spec`` and ``core``.
"""

from autotune.cli.app import main

__all__ = ["main"]

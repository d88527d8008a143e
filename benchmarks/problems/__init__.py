"""What the optimizers are compared on: replayed tables, synthetic functions, a simulated server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from autotune.core.measured_table import SPECS
from benchmarks.problems.base import Problem
from benchmarks.problems.serving import serving, stalling
from benchmarks.problems.synthetic import SYNTHETIC
from benchmarks.problems.tables import OWN, table_problems

Builder = Callable[[], Problem]
"""Builds a problem; some enumerate a million configurations or read a large file, so only what runs does."""


def builders(names: Sequence[str] = ("*",), tables: Path | None = None) -> dict[str, Builder]:
    """Return the builders of the problems whose names match one of the patterns, in a fixed order.

    Args:
        names: Shell patterns such as ``kt_*``; a pattern that matches nothing is an error.
        tables: Folder of tables, whose problems are called ``TABLE/TASK``.

    Raises:
        ValueError: A pattern matches nothing.
    """
    known: dict[str, Builder] = {"serving": serving, "stalling": stalling, **SYNTHETIC}
    if (OWN / SPECS).exists():
        known |= table_problems(OWN)
    if tables is not None:
        known |= table_problems(tables)
    for pattern in names:
        if not any(fnmatchcase(name, pattern) for name in known):
            where = "" if tables is not None else " (replayed tables need --tables DIR)"
            raise ValueError(f"no problem is called {pattern!r}; there are {', '.join(known)}{where}")
    return {name: build for name, build in known.items() if any(fnmatchcase(name, p) for p in names)}


def problems(names: Sequence[str] = ("*",), tables: Path | None = None) -> list[Problem]:
    """Return the problems whose names match one of the patterns; see :func:`builders`."""
    return [build() for build in builders(names, tables).values()]

"""Conditions read off what configurations have: a define-by-run program never states them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from autotune.core.grammar import MAX_LENGTH
from autotune.core.parameter.base import show
from autotune.core.trial import Value

Row = tuple[Mapping[str, Value], bool]
"""Values of a configuration, and whether those that it lacks were never asked for."""


def infer_conditions(rows: Sequence[Row], parents: Mapping[str, bool]) -> dict[str, str]:
    """Return by name the condition of each parameter whose presence one other parameter tells.

    Values of the other one that were never seen count as those with the parameter.

    Args:
        rows: Configurations.
        parents: Parameters that may be mentioned, and whether their values have an order.
    """
    found: dict[str, str] = {}
    for name in dict.fromkeys(key for values, _ in rows for key in values):
        having = [values for values, _ in rows if name in values]
        lacking = [values for values, whole in rows if whole and name not in values]
        texts = []
        for parent, ordered in parents.items() if lacking else ():
            if parent == name or any(parent not in values for values in having):
                continue
            there = {values[parent] for values in having}
            absent = {values[parent] for values in lacking if parent in values}
            text = _condition(parent, there, absent, ordered) if absent and not there & absent else ""
            if 0 < len(text) <= MAX_LENGTH:
                rows_told = len(having) + sum(parent in values for values in lacking)
                texts.append((-rows_told, len(there | absent), text))
        if texts:  # what most configurations speak for, by the fewest values
            found[name] = min(texts, key=lambda one: one[:2])[2]
    return found


def _condition(parent: str, there: Collection[Value], absent: Collection[Value], ordered: bool) -> str:
    """Return the text that holds for the values of ``there`` and for none of ``absent``; empty without."""
    if ordered and min(map(float, there)) > max(map(float, absent)):
        return f"{parent} >= {literal(min(there, key=float))}"
    if ordered and max(map(float, there)) < min(map(float, absent)):
        return f"{parent} <= {literal(max(there, key=float))}"
    if any(isinstance(value, str) and {"'", "\\"} & set(value) for value in absent):
        return ""
    if all(isinstance(value, bool) for value in absent):
        return f"{parent} == {show(next(iter(there)))}"
    return " and ".join(f"{parent} != {literal(value)}" for value in sorted(absent, key=str))


def literal(value: Value) -> str:
    """Return a value as an expression writes it."""
    return f"'{value}'" if isinstance(value, str) else show(value) if isinstance(value, bool) else repr(value)

"""Read numbers of a workload section, each with an error that says where it is."""

from __future__ import annotations

from typing import Any

from autotune.core.units import parse_quantity
from autotune.errors import SpecError


def is_word(value: Any, word: str) -> bool:
    """Return whether a value is left out or the word that stands for that."""
    return value is None or (isinstance(value, str) and value.strip().lower() == word)


def number(value: Any, path: tuple[str | int, ...], low: float, unit: str | None = None) -> float:
    """Read a number of at least ``low``.

    Args:
        value: Text or a number.
        path: Of the key, for errors; the last part that is a name is its name.
        low: Least value.
        unit: Base unit; a plain number without.
    """
    name = _name(path)
    try:
        found = parse_quantity(value, default_unit=unit, dimension=unit or "number").value
    except SpecError as error:
        raise SpecError(f"{name}: {error.message}", path=path, hint=error.hint) from None
    if found < low:
        raise SpecError(f"{name} must be at least {low:g}, found {value!r}", path=path)
    return found


def _name(path: tuple[str | int, ...]) -> str:
    return str(next(part for part in reversed(path) if isinstance(part, str)))


def positive(value: Any, path: tuple[str | int, ...], unit: str | None, example: str) -> float:
    """Read a number above 0; ``example`` is shown with the error."""
    found = number(value, path, 0.0, unit)
    if found == 0:
        of = "" if unit is None else f" {unit}"
        raise SpecError(
            f"{_name(path)} must be above 0{of}, found {value!r}", path=path, hint=f"for example '{example}'"
        )
    return found


def whole(value: Any, path: tuple[str | int, ...], low: int) -> int:
    """Read a whole number of at least ``low``."""
    found = number(value, path, float(low))
    if found != int(found):
        raise SpecError(f"{_name(path)} must be a whole number, found {value!r}", path=path)
    return int(found)


def share(value: Any, path: tuple[str, ...]) -> float:
    """Read a share from 0 to 1; ``5 %`` is 0.05."""
    found = number(value, path, 0.0)
    if found > 1:
        raise SpecError(f"{path[-1]} must be between 0 % and 100 %, found {value!r}", path=path)
    return found

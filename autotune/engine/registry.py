"""Names of the engines; adding one is a module and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotune.core.registry import Registry
from autotune.engine.base import Engine
from autotune.errors import SpecError

ENGINES = Registry(
    "engine",
    "autotune.engines",
    {
        "gp": "autotune.engine.gp:GPEngine",
        "sobol": "autotune.engine.sobol:SobolEngine",
        "random": "autotune.engine.random:RandomEngine",
    },
)


def build_engine(section: str | Mapping[str, Any], *, budget: int | None = None) -> Engine:
    """Build the engine that a name or an ``engine`` section describes.

    Args:
        section: ``"gp"``, or ``{"use": "gp", ...options}``; ``seed`` is the study's and not read here.
        budget: Trials planned; sizes the initial design.

    Raises:
        SpecError: The name or an option is wrong; ``path`` is relative to the section.
    """
    data = {"use": section} if isinstance(section, str) else dict(section)
    name = data.pop("use", "gp")
    data.pop("seed", None)
    if not isinstance(name, str):
        raise SpecError(f"use must be the name of an engine, found {name!r}", path=("use",))
    try:
        kind = ENGINES.load(name)
    except SpecError as error:
        raise SpecError(error.message, path=("use",), hint=error.hint) from None
    engine: Engine = kind.from_dict(data, budget=budget)
    return engine


def no_options(name: str, data: Mapping[str, Any]) -> None:
    """Raise :class:`SpecError` for any option of an engine that has none."""
    for key in data:
        raise SpecError(f"engine {name!r} has no option {key!r}", path=(key,), at_key=True)

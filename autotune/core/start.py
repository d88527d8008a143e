"""Configurations that a study measures first, because somebody believes in them."""

from __future__ import annotations

from collections.abc import Mapping

from autotune.core.section import sequence
from autotune.core.space import Space
from autotune.core.trial import Config, config_key
from autotune.errors import SpecError, under


def read_start(space: Space, listed: object, trials: int) -> tuple[Config, ...]:
    """Return the configurations that are measured first, each once.

    A parameter that one leaves out takes its default.

    Args:
        space: Search space.
        listed: List of mappings of names to values.
        trials: Budget of trials, which has to hold them and the default configuration.

    Raises:
        SpecError: It is no such list, one is not in the space, or they are more than the budget; ``path``
            leads to it.
    """
    with under("start"):
        found: dict[str, Config] = {}
        for i, given in enumerate(sequence(listed, "start must be a list of configurations")):
            with under(i):
                config = _completed(space, given)
                found.setdefault(config_key(config), config)
        needed = len({*found, config_key(space.default_config)}) if found else 0
        if needed > trials:
            raise SpecError(
                f"{len(found)} configurations to start with and the default are {needed} trials, more than "
                f"the budget of {trials}"
            )
    return tuple(found.values())


def named_start(space: Space, listed: object, trials: int, name: str = "start") -> tuple[Config, ...]:
    """Return the configurations that an argument lists; its errors name the argument and the entry."""
    try:
        return read_start(space, listed, trials)
    except SpecError as error:
        index = [part for part in error.path if isinstance(part, int)][:1]
        where = f"{name}[{index[0]}]: " if index else "" if error.message.startswith("start") else f"{name}: "
        raise SpecError(f"{where}{error.message}", hint=error.hint) from None


def _completed(space: Space, given: object) -> Config:
    if not isinstance(given, Mapping):
        raise SpecError(f"a configuration must be a mapping of names to values, found {given!r}")
    return space.validate({p.name: p.fallback for p in space if p.name not in given} | dict(given))

"""Every allowed configuration of a space as one array of level indices."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from autotune.core.expression import Column, Expression, values_of
from autotune.core.parameter import Parameter
from autotune.core.scalar import Comparable
from autotune.core.trial import Config, config_key

INACTIVE = -1
TABLE_LIMIT = 200_000
"""Configurations up to which a space is enumerated by default: scoring them all takes half a second."""

Indices = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Table:
    """Configurations as level indices.

    Args:
        parameters: Parameters of the space, in its order.
        indices: Shape ``n x d``: index into each parameter's ``levels``, or -1 where inactive.
        derived: Values that configurations carry beside their parameters, by name.
    """

    parameters: tuple[Parameter, ...]
    indices: Indices
    derived: Mapping[str, Expression] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.indices)

    def config(self, row: int) -> Config:
        """Return one row as a configuration."""
        pairs = zip(self.parameters, self.indices[row], strict=True)
        return with_derived(
            {p.name: p.levels[level] for p, level in pairs if level != INACTIVE}, self.derived
        )

    def configs(self, rows: Sequence[int] | npt.NDArray[np.integer]) -> list[Config]:
        """Return several rows as configurations."""
        return [self.config(int(row)) for row in rows]

    @cached_property
    def _row_by_levels(self) -> dict[bytes, int]:
        return {row.tobytes(): i for i, row in enumerate(self.indices)}

    def row(self, config: Config) -> int | None:
        """Return the row of ``config``, or ``None`` when it is not in the table.

        A value between the levels of a continuous parameter is taken to its nearest level.
        """
        return self._row_by_levels.get(self.encode(config).tobytes())

    @cached_property
    def _row_by_key(self) -> dict[str, int | None]:
        return {}

    def row_of_key(self, key: str) -> int | None:
        """Return the row with exactly this configuration, or ``None``; remembered: every ask asks."""
        if key not in self._row_by_key:
            row = self.row(json.loads(key))
            exact = row is not None and config_key(self.config(row)) == key
            self._row_by_key[key] = row if exact else None
        return self._row_by_key[key]

    def encode(self, config: Config) -> Indices:
        """Return the level indices of one configuration, shape ``d``."""
        levels = [p.level_of(config[p.name]) if p.name in config else INACTIVE for p in self.parameters]
        return np.array(levels, dtype=np.int32)


def with_derived(config: Config, derived: Mapping[str, Expression]) -> Config:
    """Return ``config`` with the derived values; one that depends on an inactive parameter is left out."""
    values = values_of(derived, config)
    return {**config, **{name: value for name, value in values.items() if value is not None}}


def expansion_order(parameters: Sequence[Parameter]) -> list[Parameter]:
    """Return the parameters so that each comes after those its condition mentions."""
    placed: list[Parameter] = []
    names: set[str] = set()
    rest = list(parameters)
    while rest:
        chosen = next(p for p in rest if p.condition is None or p.condition.names() <= names)
        placed.append(chosen)
        names.add(chosen.name)
        rest.remove(chosen)
    return placed


def columns_of(parameters: Sequence[Parameter], indices: Indices, names: frozenset[str]) -> dict[str, Column]:
    """Return the named columns of an index array as values with their known-masks."""
    columns: dict[str, Column] = {}
    for i, parameter in enumerate(parameters):
        if parameter.name in names:
            mixed = parameter.kind == "mixed"
            levels = [Comparable(value) for value in parameter.levels] if mixed else parameter.levels
            dtype = object if mixed or any(isinstance(v, str) for v in parameter.levels) else None
            values = np.array(levels, dtype=dtype)
            known = indices[:, i] != INACTIVE
            columns[parameter.name] = values[np.where(known, indices[:, i], 0)], known
    return columns


def condition_mask(
    parameter: Parameter, parameters: Sequence[Parameter], indices: Indices
) -> npt.NDArray[np.bool_]:
    """Return where ``parameter`` is active, shape ``n``."""
    if parameter.condition is None:
        return np.ones(len(indices), dtype=bool)
    columns = columns_of(parameters, indices, parameter.condition.names())
    values, known = parameter.condition.evaluate(columns, len(indices))
    return np.asarray(known & values.astype(bool))


def allowed_mask(
    constraint: Expression, parameters: Sequence[Parameter], indices: Indices
) -> npt.NDArray[np.bool_]:
    """Return where ``constraint`` holds or does not apply, shape ``n``."""
    columns = columns_of(parameters, indices, constraint.names())
    values, known = constraint.evaluate(columns, len(indices))
    return np.asarray(~known | values.astype(bool))


def distinct(configs: Sequence[Config]) -> list[Config]:
    """Return ``configs`` without repetitions, first occurrences in order."""
    return list({config_key(config): config for config in configs}.values())

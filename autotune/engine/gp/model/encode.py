"""Configurations as points of a cube.

Ordered parameters give one column with their place on the scale in [0, 1]: the logarithm for log scales, the
rank for ordinals. A categorical of k values gives k columns (one for two values) scaled so that any two
values are a distance of 1 apart. An inactive parameter lies at the middle of its range: that it is inactive
shows in the columns of the parameters that its condition mentions.

Whether a number acts by its rank or by its logarithm is not known beforehand. Where the two differ, the
logarithm's place is a column of its own behind all others, and a model chooses by the evidence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from autotune.core.parameter import Parameter
from autotune.core.space import Space
from autotune.core.table import INACTIVE
from autotune.core.trial import Config, Value
from autotune.engine.gp.model.shapes import check_shapes

Points = npt.NDArray[np.float64]

_MIDDLE = 0.5
_DIFFERENT = 0.05  # of the range, between two places of a value: less changes no model


class Columns(tuple[slice, ...]):
    """Columns of each parameter that has any.

    Attributes:
        other: The same with the places of logarithms where they differ; ``None`` where none does.
    """

    other: tuple[slice, ...] | None = None


class Encoder:
    """Encoder of the configurations of one space.

    Args:
        space: Its parameters with a single value give no column.
    """

    def __init__(self, space: Space) -> None:
        self.parameters = space.parameters

    @cached_property
    def levels(self) -> list[Points]:
        """Per parameter: encodings of its levels and, last, of being inactive; shape ``(levels + 1) x k``."""
        return [_encode_levels(parameter) for parameter in self.parameters]

    @cached_property
    def logarithms(self) -> dict[int, Points]:
        """Places of the levels by their logarithms where they differ, by parameter; inactive last."""
        found = {}
        for i, (parameter, levels) in enumerate(zip(self.parameters, self.levels, strict=True)):
            if levels.shape[1] != 1 or not _has_logarithm(parameter):
                continue
            places = np.array([*(_logarithm(parameter, value) for value in parameter.levels), _MIDDLE])
            if np.abs(places - levels[:, 0]).max() > _DIFFERENT:
                found[i] = places
        return found

    @property
    def dimension(self) -> int:
        """Number of columns."""
        return sum(levels.shape[1] for levels in self.levels) + len(self.logarithms)

    @cached_property
    def groups(self) -> Columns:
        """Columns of each parameter that has any."""
        ranks, others, column = [], [], 0
        behind = self.dimension - len(self.logarithms)
        for i, levels in enumerate(self.levels):
            width = levels.shape[1]
            if width:
                ranks.append(slice(column, column + width))
                others.append(ranks[-1])
            if i in self.logarithms:
                others[-1] = slice(behind, behind + 1)
                behind += 1
            column += width
        columns = Columns(ranks)
        columns.other = tuple(others) if self.logarithms else None
        return columns

    def column(self, i: int) -> int:
        """Return the first column of parameter number ``i``."""
        return sum(levels.shape[1] for levels in self.levels[:i])

    def table(self, indices: npt.NDArray[np.int32]) -> Points:
        """Encode rows of level indices, shape ``n x d``; return shape ``n x dimension``."""
        check_shapes("Encoder.table", ("indices", indices, "n d"), d=len(self.parameters))
        parts = [levels[indices[:, i]] for i, levels in enumerate(self.levels)]  # -1 takes the last row
        parts += [places[indices[:, i]][:, None] for i, places in self.logarithms.items()]
        return np.concatenate(parts, axis=1) if parts else np.empty((len(indices), 0))

    def configs(self, configs: Sequence[Config]) -> Points:
        """Encode configurations; values between the levels keep their exact place."""
        parts = [
            _places(parameter, levels, configs)
            for parameter, levels in zip(self.parameters, self.levels, strict=True)
            if levels.shape[1]
        ]
        parts += [_logarithms(self.parameters[i], configs) for i in self.logarithms]
        return np.concatenate(parts, axis=1) if parts else np.empty((len(configs), 0))


def _places(parameter: Parameter, levels: Points, configs: Sequence[Config]) -> Points:
    """Return the columns of one parameter, ``len(configs) x k``."""
    name = parameter.name
    if parameter.discrete:
        at = [parameter.level_of(config[name]) if name in config else INACTIVE for config in configs]
        return levels[np.array(at, dtype=np.intp)]
    middle = float(levels[INACTIVE, 0])
    return np.array(
        [[parameter.position(config[name]) if name in config else middle] for config in configs]
    ).reshape(-1, 1)


def _logarithms(parameter: Parameter, configs: Sequence[Config]) -> Points:
    """Return the column of the places of one parameter's logarithms, ``len(configs) x 1``."""
    name = parameter.name
    return np.array(
        [[_logarithm(parameter, config[name]) if name in config else _MIDDLE] for config in configs]
    ).reshape(-1, 1)


def _encode_levels(parameter: Parameter) -> Points:
    count = len(parameter.levels)
    if count == 1 and parameter.condition is None:
        return np.empty((2, 0))
    if parameter.ordered or count <= 2:
        places = [parameter.position(value) for value in parameter.levels]
        return np.array([[place] for place in [*places, _MIDDLE]])
    return np.vstack([np.eye(count), np.full((1, count), 1.0 / count)]) / np.sqrt(2.0)


def _has_logarithm(parameter: Parameter) -> bool:
    numbers = [
        v for v in parameter.levels if isinstance(v, int | float) and not isinstance(v, bool) and v > 0
    ]
    return parameter.ordered and 2 < len(numbers) == len(parameter.levels)


def _logarithm(parameter: Parameter, value: Value) -> float:
    low, high = float(parameter.levels[0]), float(parameter.levels[-1])
    return math.log(float(value) / low) / math.log(high / low)

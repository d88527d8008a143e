"""Configurations as points of a cube.

Ordered parameters give one column with their place on the scale in [0, 1]: the logarithm for log scales, the
rank for ordinals. A categorical of k values gives k columns (one for two values) scaled so that any two
values are a distance of 1 apart. An inactive parameter lies at the middle of its range: that it is inactive
shows in the columns of the parameters that its condition mentions.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from autotune.core.parameter import Parameter
from autotune.core.space import Space
from autotune.core.table import INACTIVE
from autotune.core.trial import Config

Points = npt.NDArray[np.float64]

_MIDDLE = 0.5


class Encoder:
    """Encode configurations of one space.

    Args:
        space: Its parameters with a single value give no column.
    """

    def __init__(self, space: Space) -> None:
        self.parameters = space.parameters

    @cached_property
    def levels(self) -> list[Points]:
        """Per parameter: encodings of its levels and, last, of being inactive; shape ``(levels + 1) x k``."""
        return [_encode_levels(parameter) for parameter in self.parameters]

    @property
    def dimension(self) -> int:
        """Number of columns."""
        return sum(levels.shape[1] for levels in self.levels)

    @cached_property
    def groups(self) -> list[slice]:
        """Columns of each parameter that has any."""
        result, column = [], 0
        for levels in self.levels:
            width = levels.shape[1]
            if width:
                result.append(slice(column, column + width))
            column += width
        return result

    def column(self, i: int) -> int:
        """Return the first column of parameter number ``i``."""
        return sum(levels.shape[1] for levels in self.levels[:i])

    def table(self, indices: npt.NDArray[np.int32]) -> Points:
        """Encode rows of level indices, shape ``n x d``; return shape ``n x dimension``."""
        parts = [levels[indices[:, i]] for i, levels in enumerate(self.levels)]  # -1 takes the last row
        return np.concatenate(parts, axis=1) if parts else np.empty((len(indices), 0))

    def configs(self, configs: Sequence[Config]) -> Points:
        """Encode configurations; values between the levels keep their exact place."""
        rows = np.empty((len(configs), self.dimension))
        for n, config in enumerate(configs):
            column = 0
            for parameter, levels in zip(self.parameters, self.levels, strict=True):
                width = levels.shape[1]
                if width:
                    rows[n, column : column + width] = self._one(parameter, levels, config)
                column += width
        return rows

    @staticmethod
    def _one(parameter: Parameter, levels: Points, config: Config) -> Points:
        if parameter.name not in config:
            return levels[INACTIVE]
        value = config[parameter.name]
        if not parameter.discrete:
            return np.array([parameter.position(value)])
        return levels[parameter.level_of(value)]


def _encode_levels(parameter: Parameter) -> Points:
    count = len(parameter.levels)
    if count == 1 and parameter.condition is None:
        return np.empty((2, 0))
    if parameter.ordered or count <= 2:
        places = [parameter.position(value) for value in parameter.levels]
        return np.array([[place] for place in [*places, _MIDDLE]])
    return np.vstack([np.eye(count), np.full((1, count), 1.0 / count)]) / np.sqrt(2.0)

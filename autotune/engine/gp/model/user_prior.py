"""What the user believes of the optimum, as a weight of the acquisition that fades as trials come in.

Reference: [Hvarfner2022] C. Hvarfner, D. Stoll, A. Souza, M. Lindauer, F. Hutter, L. Nardi, "piBO: augmenting
acquisition functions with user beliefs for Bayesian optimization", ICLR 2022.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from autotune.core.space import Space
from autotune.core.table import Indices
from autotune.engine.gp.config import DEFAULT, GPConfig


class UserPrior:
    """Weight of a configuration by the priors of its parameters.

    Args:
        space: Space whose parameters may have a prior each; values without one, and parameters that are
            inactive, count 1, which is also the mean over the levels of a parameter that has one.
        measured: Number of measured trials.
        config: Design choices of the engine.
    """

    def __init__(self, space: Space, measured: int, config: GPConfig = DEFAULT) -> None:
        self.power = config.belief_trials / max(1, measured)
        least = math.log(config.belief_least)
        self.levels: dict[int, npt.NDArray[np.float64]] = {}
        for i, parameter in enumerate(space.parameters):
            if parameter.prior is not None and len(parameter.levels) > 1:
                weights = np.array(parameter.belief()) * len(parameter.levels)
                with np.errstate(divide="ignore"):
                    self.levels[i] = np.append(np.maximum(np.log(weights), least), 0.0)

    def __call__(self, indices: Indices) -> Tensor:
        """Return what is to be added to the log acquisition of rows of levels (``n x d``), shape ``n``."""
        total = np.zeros(len(indices))
        for i, logs in self.levels.items():
            total += logs[indices[:, i]]  # an inactive parameter, -1, takes the last
        return torch.from_numpy(self.power * total)

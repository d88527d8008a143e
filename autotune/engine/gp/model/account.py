"""What the models of a study say of every metric, in the metric's own unit, over the whole space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import log

import numpy as np
import torch

from autotune.core.table import Indices
from autotune.core.trial import config_key
from autotune.engine.base import Array, Prediction
from autotune.engine.gp.model.fitted_models import FittedModels, Modelled, tensor
from autotune.engine.gp.model.function_samples import Functions, sampled_functions
from autotune.engine.gp.model.one_thread import one_thread
from autotune.engine.gp.model.predictions import left_out
from autotune.engine.gp.problem import Problem

SAMPLES = 64
"""Sampled functions: their spread is then known to a tenth of itself."""

_POINTS = 256  # at which a surrogate that is not ours is sampled


@dataclass(frozen=True)
class _Metric:
    """One metric: its model, its sampled functions and what leads back to its unit."""

    modelled: Modelled
    functions: Functions
    sign: float
    base: float

    def restored(self, standardized: Array) -> Array:
        """Return standardized values in the metric's unit, or as their logarithms."""
        series = self.modelled.series
        return self.base + self.sign * (standardized * series.scale + series.shift)


class GPPosterior:
    """The posterior of a study; see :class:`autotune.engine.base.Posterior`.

    Args:
        problem: Problem with at least two trials that have every goal measured.
    """

    def __init__(self, problem: Problem) -> None:
        with one_thread(), torch.no_grad():
            self.models = FittedModels(problem, np.random.default_rng(0))
            rows = problem.space.draw(_POINTS, np.random.default_rng(0))
            points = torch.cat([self.models.measured, tensor(self.models.encoder.table(rows))])
            self._of = dict(self._metrics(points))
            self.logarithm: Mapping[str, bool] = {
                name: each.modelled.series.logarithm for name, each in self._of.items()
            }

    def _metrics(self, points: torch.Tensor) -> list[tuple[str, _Metric]]:
        models, objective = self.models, self.models.objective
        found: dict[str, _Metric] = {}
        each = [(g.metric, m, g.sign, 0.0) for g, m in zip(objective.goals, models.goals, strict=True)]
        for limit, modelled in zip(models.limited, models.limits, strict=True):
            base = log(limit.bound) if modelled.series.logarithm else limit.bound
            each.append((limit.metric, modelled, 1.0 if limit.upper else -1.0, base))
        for seed, (name, modelled, sign, base) in enumerate(each):
            if name not in found:
                functions = sampled_functions(modelled.surrogate, SAMPLES, seed, points)
                found[name] = _Metric(modelled, functions, sign, base)
        return list(found.items())

    def values(self, metric: str, rows: Indices) -> Array:
        """Return the values of the sampled functions; see :meth:`autotune.engine.base.Posterior.values`."""
        of = self._of[metric]
        with one_thread(), torch.no_grad():
            return of.restored(of.functions(tensor(self.models.encoder.table(rows))).numpy())

    def p_measured(self, rows: Indices) -> Array:
        """Return the chance of a measurement; see :meth:`autotune.engine.base.Posterior.p_measured`."""
        with one_thread(), torch.no_grad():
            X = tensor(self.models.encoder.table(rows))
            chance: Array = self.models.feasibility.log_probability(X).exp().numpy()
        return np.minimum(chance, 1.0)

    def left_out(self, metric: str) -> Mapping[str, Prediction]:
        """Return leave-one-out predictions; see :meth:`autotune.engine.base.Posterior.left_out`."""
        of = self._of[metric]
        keys = [config_key(config) for config in self.models.data.configs]
        with one_thread(), torch.no_grad():
            found = left_out(of.modelled, keys)
        noise = of.modelled.surrogate.mean_noise * of.modelled.series.scale**2
        return {
            key: Prediction(of.base + of.sign * mean, variance, noise)
            for key, (mean, variance) in found.items()
        }

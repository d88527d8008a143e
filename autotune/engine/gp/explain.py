"""Why a configuration was chosen and what is expected of it, in words and units that people know."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from autotune.core.measurement import Estimate
from autotune.core.metric import metric_info
from autotune.core.trial import Config, Reason, Suggestion, Trial
from autotune.engine.gp.model.fitted_models import FittedModels


class Explainer:
    """Accounts of the choices of one ask.

    Args:
        models: The models.
        history: Finished trials; their units are those of the predictions.
        engine: Name for the suggestions.
    """

    def __init__(self, models: FittedModels, history: Sequence[Trial], engine: str) -> None:
        self.models, self.engine = models, engine
        self.units = {name: e.unit for trial in history for name, e in trial.metrics.items()}
        means = self._means(models.measured)
        self.known = means[models.observed] if bool(models.observed.any()) else means

    def suggestion(self, config: Config, x: Tensor, reason: Reason | None = None) -> Suggestion:
        """Return a choice with its account.

        Args:
            config: Configuration that was chosen.
            x: Its encoding, ``1 x k``.
            reason: Reason where it is not one that the models tell.
        """
        chance = float(self.models.feasibility.log_probability(x) + self.models.log_limits(x, margin=0.0))
        predicted = self.predict(x)
        return Suggestion(
            config, reason or self._reason(x), self.engine, predicted, min(1.0, math.exp(chance))
        )

    def predict(self, x: Tensor) -> dict[str, Estimate]:
        """Return every modelled metric as one more measurement at ``x`` (``1 x k``) should give it."""
        models, objective = self.models, self.models.objective
        modelled = [(g.metric, m, g.sign, 0.0) for g, m in zip(objective.goals, models.goals, strict=True)]
        for limit, of in zip(models.limited, models.limits, strict=True):
            modelled.append((limit.metric, of, 1.0 if limit.upper else -1.0, limit.bound))
        predicted: dict[str, Estimate] = {}
        for metric, of, sign, base in modelled:
            if metric in predicted:
                continue
            mean, variance = (float(v) for v in of.surrogate.predict(x))
            found = of.estimate(mean, variance, sign, base, self._unit(metric))
            if found is not None:
                predicted[metric] = found
        return predicted

    def _unit(self, metric: str) -> str:
        info = metric_info(metric)
        return info.unit if info is not None else self.units.get(metric, "1")

    def _means(self, X: Tensor) -> Tensor:
        return torch.stack([goal.surrogate.predict(X)[0] for goal in self.models.goals], -1)

    def _reason(self, x: Tensor) -> Reason:
        if self.models.seeking_feasible:
            return Reason.FEASIBILITY
        # expected to be the best, or of several goals to be surpassed in all of them by none
        beaten = (self.known > self._means(x)).all(1).any()
        return Reason.EXPLORE if bool(beaten) else Reason.EXPLOIT

"""Any acquisition function of BoTorch: ``acquisition: botorch:qLogNoisyExpectedImprovement``.

What the study knows is given to it under the names that BoTorch uses. Limits and failures stay with the
engine, which adds their probabilities, so that every acquisition function keeps them.
"""

from __future__ import annotations

from typing import Any

import torch
from botorch.acquisition import AcquisitionFunction, OneShotAcquisitionFunction
from botorch.acquisition.multi_objective.base import (
    MultiObjectiveAnalyticAcquisitionFunction,
    MultiObjectiveMCAcquisitionFunction,
)
from botorch.models.model import Model, ModelList
from botorch.sampling import SobolQMCNormalSampler
from botorch.utils.multi_objective.box_decompositions.non_dominated import FastNondominatedPartitioning
from torch import Tensor

from autotune.engine.gp.acquisition.contract import Scorer, price_of_waste
from autotune.engine.gp.acquisition.hypervolume import LogHypervolumeImprovement
from autotune.engine.gp.acquisition.noisy_improvement import log_excess
from autotune.engine.gp.acquisition.thompson import Thompson
from autotune.engine.gp.botorch_names import accepted, acquisition_class
from autotune.engine.gp.model.botorch import BotorchSurrogate
from autotune.engine.gp.model.contract import Surrogate
from autotune.engine.gp.model.grid import Grid
from autotune.engine.gp.model.models import Models
from autotune.errors import SpecError

_SAMPLES, _FANTASIES = 64, 16
_BETA = 4.0  # two standard deviations
_CHUNK = 64  # candidates at once
_NEAREST = 64  # candidates among which the best after one more measurement is looked for
_ON_THE_GOALS_SCALE = ("UpperConfidenceBound", "LowerConfidenceBound", "PosteriorMean", "SimpleRegret")
_SEVERAL_GOALS = (MultiObjectiveAnalyticAcquisitionFunction, MultiObjectiveMCAcquisitionFunction)


class BotorchAcquisition:
    """An acquisition function of BoTorch over the candidates of an ask.

    Args:
        name: Name of its class.
        models: The models.
        seed: Seed of its samples.

    Raises:
        LookupError: BoTorch has no such function.
        SpecError: It is one of several goals, and there is one.
    """

    def __init__(self, name: str, models: Models, seed: int) -> None:
        self.name, self.models, self.seed = name, models, seed
        self.kind = acquisition_class(name)
        self.several = issubclass(self.kind, _SEVERAL_GOALS) or "Hypervolume" in name
        if self.several and len(models.goals) == 1:
            raise SpecError(f"the acquisition function {name} is one of several goals; the study has one")
        improvement = "ExpectedImprovement" in name and not self.several
        self.price = price_of_waste(models) if improvement else 0.0

    def rough(self, grid: Grid, rows: Tensor, X_pending: Tensor) -> Tensor:
        """Return optimistic values of some candidates, more and more so, ``c x len(rows)``."""
        rough = LogHypervolumeImprovement if self.several else Thompson
        return rough(self.models, self.seed).rough(grid, rows, X_pending)

    def scorer(self, shortlist: Tensor, X_pending: Tensor) -> Scorer:
        """Return the logarithm of the function's value."""
        with torch.no_grad():
            function = self._made(shortlist, X_pending)
        base = float(self._best()) if any(word in self.name for word in _ON_THE_GOALS_SCALE) else 0.0

        def score(X: Tensor) -> Tensor:
            with torch.set_grad_enabled(X.requires_grad):
                found = torch.cat([self._values(function, x, shortlist) for x in X.split(_CHUNK)])
                return found if getattr(function, "_log", False) else log_excess(found - base)

        return score

    def _values(self, function: AcquisitionFunction, X: Tensor, shortlist: Tensor) -> Tensor:
        points = X.unsqueeze(1)
        if isinstance(function, OneShotAcquisitionFunction):
            points = torch.cat([points, _best_after(function, points, shortlist[:_NEAREST])], 1)
        found: Tensor = function(points)
        return found

    def _made(self, shortlist: Tensor, X_pending: Tensor) -> AcquisitionFunction:
        models = self.models
        values: dict[str, Any] = {
            "model": self._model(),
            "X_baseline": models.measured,
            "X_observed": models.measured,
            "X_pending": X_pending if len(X_pending) else None,
            "beta": _BETA,
            "candidate_set": shortlist,
            "cache_root": False,
            "mc_points": shortlist,
            "num_fantasies": _FANTASIES,
            "prune_baseline": False,
        }
        if "train_inputs" not in values and "candidate_set" in accepted(self.kind, values):
            values["train_inputs"] = models.measured
        sampled = _FANTASIES if issubclass(self.kind, OneShotAcquisitionFunction) else _SAMPLES
        values["sampler"] = SobolQMCNormalSampler(torch.Size([sampled]), seed=self.seed)
        if self.several:
            known = LogHypervolumeImprovement(models, self.seed)
            values["ref_point"] = known.reference
            values["partitioning"] = FastNondominatedPartitioning(known.reference, Y=known.front)
        else:
            values["best_f"] = self._best()
        return self.kind(**accepted(self.kind, values))

    def _model(self) -> Model:
        if not self.several:
            return botorch_model(self.models.goal.surrogate)
        return ModelList(*(botorch_model(goal.surrogate) for goal in self.models.goals))

    def _best(self) -> Tensor:
        mean, _ = self.models.goal.surrogate.predict(self.models.measured)
        return mean[self.models.observed].max() if bool(self.models.observed.any()) else mean.min()


def botorch_model(surrogate: Surrogate) -> Model:
    """Return a surrogate as a model of BoTorch."""
    if isinstance(surrogate, BotorchSurrogate):
        return surrogate.model
    if not isinstance(surrogate, Model):
        raise TypeError(f"{type(surrogate).__name__} is no model of BoTorch's")
    return surrogate


def _best_after(function: AcquisitionFunction, points: Tensor, shortlist: Tensor) -> Tensor:
    """Return for each fantasy of each point the best of a shortlist, ``n x fantasies x d``.

    A one-shot function is given what it would choose after each outcome; over a finite set that is an
    argmax, and the function's value is then the exact one.
    """
    fantasies = function.model.fantasize(points, sampler=function.sampler)
    means = fantasies.posterior(shortlist.expand(len(points), -1, -1)).mean.squeeze(-1)  # fantasies x n x m
    return shortlist[means.argmax(-1).T]

"""Any acquisition function of BoTorch: ``acquisition: botorch:qLogNoisyExpectedImprovement``.

What the study knows is given to it under the names that BoTorch uses. Limits and failures stay with the
engine, which adds their probabilities, so that every acquisition function keeps them.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from botorch.acquisition.acquisition import AcquisitionFunction, OneShotAcquisitionFunction
from botorch.acquisition.analytic import LogNoisyExpectedImprovement, NoisyExpectedImprovement
from botorch.acquisition.multi_objective.base import (
    MultiObjectiveAnalyticAcquisitionFunction,
    MultiObjectiveMCAcquisitionFunction,
)
from botorch.models.model import Model, ModelList
from botorch.sampling.get_sampler import get_sampler
from botorch.utils.multi_objective.box_decompositions.non_dominated import FastNondominatedPartitioning
from botorch.utils.sampling import manual_seed
from torch import Tensor

from autotune.engine.gp.acquisition.contract import Scorer, checked, failure_cost
from autotune.engine.gp.acquisition.hypervolume import LogHypervolumeImprovement
from autotune.engine.gp.acquisition.improvement import automatic
from autotune.engine.gp.acquisition.noisy_improvement import log_excess
from autotune.engine.gp.acquisition.thompson import Thompson
from autotune.engine.gp.botorch_names import accepted, acquisition_class
from autotune.engine.gp.model.averaged_gp import AveragedGP
from autotune.engine.gp.model.botorch import BotorchSurrogate, without_advice
from autotune.engine.gp.model.candidate_table import CandidateTable
from autotune.engine.gp.model.contract import Surrogate
from autotune.engine.gp.model.fitted_models import FittedModels
from autotune.engine.gp.model.shapes import check_shapes
from autotune.errors import SpecError

_SAMPLES, _FANTASIES = 64, 16
_BETA = 4.0  # two standard deviations
_CHUNK = 64  # candidates at once
_SHORT = 48  # candidates that a one-shot function is computed for, and chooses among after each outcome
_ON_THE_GOALS_SCALE = ("UpperConfidenceBound", "LowerConfidenceBound", "PosteriorMean", "SimpleRegret")
_OF_ONE_PROCESS = (LogNoisyExpectedImprovement, NoisyExpectedImprovement)
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

    def __init__(self, name: str, models: FittedModels, seed: int) -> None:
        self.name, self.models, self.seed = name, models, seed
        self.kind = acquisition_class(name)
        self.several = issubclass(self.kind, _SEVERAL_GOALS) or "Hypervolume" in name
        if self.several and len(models.goals) == 1:
            raise SpecError(f"the acquisition function {name} is one of several goals; the study has one")
        improvement = "ExpectedImprovement" in name and not self.several
        self.failure_cost = failure_cost(models) if improvement else 0.0

    def rough(self, grid: CandidateTable, rows: Tensor, X_pending: Tensor) -> Tensor:
        """Return optimistic values of some candidates, more and more so, ``c x len(rows)``."""
        rough = LogHypervolumeImprovement if self.several else Thompson
        return rough(self.models, self.seed).rough(grid, rows, X_pending)

    def scorer(self, shortlist: Tensor, X_pending: Tensor) -> Scorer:
        """Return the logarithm of the function's value."""
        check_shapes(
            "BotorchAcquisition.scorer",
            ("shortlist", shortlist, "n d"),
            ("X_pending", X_pending, "m d"),
            d=self.models.measured.shape[1],
        )
        with torch.no_grad(), manual_seed(self.seed), without_advice():
            function = self._made(shortlist, X_pending)
            if isinstance(function, OneShotAcquisitionFunction):
                return self._one_shot(function, shortlist, X_pending)
        base = float(self._best()) if any(word in self.name for word in _ON_THE_GOALS_SCALE) else 0.0

        def score(X: Tensor) -> Tensor:
            with torch.set_grad_enabled(X.requires_grad), manual_seed(self.seed), without_advice():
                found = torch.cat([function(x.unsqueeze(1)) for x in X.split(_CHUNK)])
                return found if getattr(function, "_log", False) else log_excess(found - base)

        return checked(score, shortlist.shape[1])

    def _one_shot(self, function: OneShotAcquisitionFunction, shortlist: Tensor, X_pending: Tensor) -> Scorer:
        """Return the values of the candidates with the highest noisy improvement, and no value of the others.

        A one-shot function is given what it would choose after each outcome; over a finite set that is an
        argmax, and the value is then the exact one. It takes seconds for each dozen of candidates.
        """
        improvement = automatic(self.models, self.seed).scorer(shortlist, X_pending)
        choices = shortlist[_best(improvement(shortlist))]
        parts: Any = function  # its model and its sampler, which torch types as any module

        def score(X: Tensor) -> Tensor:
            with torch.no_grad(), without_advice():
                rows = _best(improvement(X))
                points = X[rows].unsqueeze(1)
                fantasies = parts.model.fantasize(points, sampler=parts.sampler)
                means = fantasies.posterior(choices.expand(len(points), -1, -1)).mean.squeeze(-1)
                chosen = choices[means.argmax(-1).T]  # n x fantasies x d
                result = torch.full((len(X),), -math.inf, dtype=X.dtype)
                result[rows] = log_excess(function(torch.cat([points, chosen], 1)) - float(self._best()))
                return result

        return checked(score, shortlist.shape[1])

    def _made(self, shortlist: Tensor, X_pending: Tensor) -> AcquisitionFunction:
        models = self.models
        values: dict[str, Any] = {
            "model": self._model(),
            "X_baseline": models.measured,
            "X_observed": models.measured,
            "X_pending": X_pending if len(X_pending) else None,
            "beta": _BETA,
            "candidate_set": shortlist,
            "train_inputs": models.measured,
            "cache_root": False,
            "num_fantasies": _FANTASIES,
            "prune_baseline": False,
        }
        sampled = _FANTASIES if issubclass(self.kind, OneShotAcquisitionFunction) else _SAMPLES
        some = values["model"].posterior(models.measured[:1])
        values["sampler"] = get_sampler(some, torch.Size([sampled]), seed=self.seed)
        if self.several:
            known = LogHypervolumeImprovement(models, self.seed)
            values["ref_point"] = known.reference
            values["partitioning"] = FastNondominatedPartitioning(known.reference, Y=known.front)
        else:
            values["best_f"] = self._best()
        return self.kind(**accepted(self.kind, values))

    def _model(self) -> Model:
        if not self.several:
            found = botorch_model(self.models.goal.surrogate)
            if self.kind in _OF_ONE_PROCESS and isinstance(found, AveragedGP):
                return found.leading
            return found
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


def _best(values: Tensor) -> Tensor:
    """Return the places of the highest values."""
    return values.topk(min(_SHORT, len(values))).indices

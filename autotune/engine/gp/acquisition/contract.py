"""The contract of an acquisition function.

It says what measuring a candidate is worth if the candidate can be measured and keeps the limits; who calls
it adds the logarithms of those probabilities. It uses nothing of the models but what
:class:`~autotune.engine.gp.model.contract.Surrogate` promises.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Protocol, TypeAlias

from torch import Tensor

from autotune.engine.gp.config import ACQUISITIONS, BOTORCH
from autotune.engine.gp.model.candidate_table import CandidateTable
from autotune.engine.gp.model.fitted_models import FittedModels
from autotune.engine.gp.model.shapes import check_shapes

Scorer: TypeAlias = Callable[[Tensor], Tensor]
"""Gives the logarithm of the value of candidates: from ``n x d`` to ``n``."""


class Acquisition(Protocol):
    """An acquisition function: what candidates are worth.

    Attributes:
        failure_cost: Cost of a trial that fails or breaks a limit, in units of the value; 0 where that has
            none.
    """

    failure_cost: float

    def rough(self, grid: CandidateTable, rows: Tensor, X_pending: Tensor) -> Tensor:
        """Return cheap criteria of some candidates, ``c x len(rows)``, each a logarithm of a value.

        The best of each criterion are compared by :meth:`scorer`. More pending points must never raise a
        criterion: values from before then bound those after.

        Args:
            grid: The candidates.
            rows: Indices of the rows.
            X_pending: Points whose values are not known yet, ``m x d``.
        """

    def scorer(self, shortlist: Tensor, X_pending: Tensor) -> Scorer:
        """Return what scores candidates, not only those of the shortlist, on one scale.

        Args:
            shortlist: Promising candidates, ``n x d``: what the best one may be.
            X_pending: Pending points as above.
        """


def checked(score: Scorer, d: int) -> Scorer:
    """Return a scorer that refuses what is not ``n x d`` and gives nothing but a value for each row.

    Args:
        score: Scorer of an acquisition function, of ours or not.
        d: Number of columns of an encoded configuration.
    """

    def score_of_rows(X: Tensor) -> Tensor:
        check_shapes("scorer", ("X", X, "n d"), d=d)
        found = score(X)
        check_shapes("scorer", ("score", found, "n"), n=len(X))
        return found

    return score_of_rows


def failure_cost(models: FittedModels) -> float:
    """Return the failure cost in units of the standardized goal."""
    series, waste = models.goal.series, models.config.waste
    return waste / series.scale if series.logarithm else waste


def acquisition_named(name: str, models: FittedModels, seed: int) -> Acquisition:
    """Return the acquisition function of that name.

    Args:
        name: A key of :data:`ACQUISITIONS`, or ``botorch:NAME``.
        models: The models.
        seed: Seed of whatever is drawn.
    """
    if name.startswith(BOTORCH):
        from autotune.engine.gp.acquisition.botorch import BotorchAcquisition

        return BotorchAcquisition(name.removeprefix(BOTORCH), models, seed)
    module, _, attribute = ACQUISITIONS[name].partition(":")
    make: Callable[[FittedModels, int], Acquisition] = getattr(import_module(module), attribute)
    return make(models, seed)

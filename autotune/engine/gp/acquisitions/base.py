"""The contract of an acquisition function.

It says what measuring a candidate is worth if the candidate can be measured and keeps the limits; who calls
it adds the logarithms of those probabilities. It uses nothing of the models but what
:class:`~autotune.engine.gp.surface.Surface` promises.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Protocol, TypeAlias

from torch import Tensor

from autotune.engine.gp.belief import Belief
from autotune.engine.gp.grid import Grid
from autotune.engine.gp.options import ACQUISITIONS

PRICE = 0.01
"""Part of the goal that is given up to be spared a wasted trial. On replayed tables 0.005 wastes a fifth more
trials and 0.02 finds the best configurations beside a border of memory later."""

Scorer: TypeAlias = Callable[[Tensor], Tensor]
"""Gives the logarithm of the value of candidates: from ``n x d`` to ``n``."""


class Acquisition(Protocol):
    """Say what candidates are worth.

    Attributes:
        price: What a trial that fails or breaks a limit costs, in units of the value; 0 where that has none.
    """

    price: float

    def rough(self, grid: Grid, rows: Tensor, X_pending: Tensor) -> Tensor:
        """Return cheap criteria of some candidates, ``c x len(rows)``, each a logarithm of a value.

        The best of each criterion are compared by :meth:`scorer`. More pending points must never raise a
        criterion: values from before then bound those after.

        Args:
            grid: The candidates.
            rows: Which of them.
            X_pending: Points whose values are not known yet, ``m x d``.
        """

    def scorer(self, shortlist: Tensor, X_pending: Tensor) -> Scorer:
        """Return what scores candidates, not only those of the shortlist, on one scale.

        Args:
            shortlist: Promising candidates, ``n x d``: what the best one may be.
            X_pending: As above.
        """


def price_of_waste(belief: Belief) -> float:
    """Return what a wasted trial costs in units of the standardized goal: as much as 1 % of the goal."""
    series = belief.goal.series
    return PRICE / series.scale if series.logarithm else PRICE


def acquisition_named(name: str, belief: Belief, seed: int) -> Acquisition:
    """Return the acquisition function of that name in :data:`ACQUISITIONS`.

    Args:
        name: One of the table's keys.
        belief: The models.
        seed: Of whatever is drawn.
    """
    module, _, attribute = ACQUISITIONS[name].partition(":")
    make: Callable[[Belief, int], Acquisition] = getattr(import_module(module), attribute)
    return make(belief, seed)

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

Scorer: TypeAlias = Callable[[Tensor], Tensor]
"""Gives the logarithm of the value of candidates: from ``n x d`` to ``n``."""


class Acquisition(Protocol):
    """Say what candidates are worth."""

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

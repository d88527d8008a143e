"""A box around the best configuration that grows with successes and shrinks with failures ([Eriksson2019]).

With many parameters a global acquisition spends its trials at the far corners of the space, where nothing is
known; within the box it spends them where something good is. Nothing is kept between calls: the length
follows from replaying the history. Ordered parameters are bounded on their scale, unordered ones by how many
of them may differ from the centre ([Wan2021]).

References:
    [Eriksson2019] D. Eriksson, M. Pearce, J. R. Gardner, R. Turner, M. Poloczek, "Scalable global
        optimization via local Bayesian optimization", NeurIPS 2019: the lengths, the success tolerance, the
        perturbation of min(1, 20 / d) of the coordinates.
    [Wan2021] X. Wan, V. Nguyen, H. Ha, B. Ru, C. Lu, M. A. Osborne, "Think global and act local", ICML 2021.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from autotune.core.objective import Objective, Outcome
from autotune.core.space import Space
from autotune.core.table import INACTIVE, Indices
from autotune.core.trial import Config, Reason, Trial, TrialState
from autotune.engine.gp.choices import TrustRegionConfig
from autotune.engine.gp.config import DEFAULT
from autotune.engine.gp.optimize.moves import Mask, Moves
from autotune.engine.gp.problem import Problem

_MODELLED = (Reason.EXPLOIT, Reason.EXPLORE, Reason.FEASIBILITY)


class Region:
    """A box of levels around a configuration.

    Args:
        space: Search space.
        centre: A configuration.
        length: Length of the box in ranges of a parameter: it reaches half of it to each side; one level to
            each side at least.
        perturbed: Coordinates changed at most, on average, in a sample.
    """

    def __init__(
        self, space: Space, centre: Config, length: float, perturbed: float = DEFAULT.region.perturbed
    ) -> None:
        self.length, self.perturbed = length, perturbed
        self.centre = space.as_table(np.empty((0, len(space)), np.int32)).encode(centre)
        self.ordered = np.array([p.ordered for p in space.parameters])
        reach = 0.5 * length
        low, high = [], []
        for parameter, level in zip(space.parameters, self.centre, strict=True):
            last = len(parameter.levels) - 1
            if level == INACTIVE or not parameter.ordered:
                low.append(0)
                high.append(last)
                continue
            places = np.array([parameter.position(value) for value in parameter.levels])
            inside = np.flatnonzero(np.abs(places - places[level]) <= reach)
            low.append(min(int(inside[0]), max(0, level - 1)))
            high.append(max(int(inside[-1]), min(last, level + 1)))
        self.low, self.high = np.array(low, np.int32), np.array(high, np.int32)
        self.unordered = ~self.ordered & (self.centre != INACTIVE)
        self.changed = max(1, math.ceil(min(1.0, length) * int(self.unordered.sum())))

    def __call__(self, rows: Indices) -> Mask:
        """Return which rows of level indices (``n x d``) lie in the region, shape ``n``."""
        inside = (rows >= self.low) & (rows <= self.high) | (rows == INACTIVE)
        differ = (rows != self.centre) & self.unordered
        return np.asarray(inside.all(1) & (differ.sum(1) <= self.changed))

    def sample(self, n: int, moves: Moves) -> Indices:
        """Return about ``n`` allowed rows of the region that differ from its centre, with repetitions."""
        rows = moves.mutations(self.centre[None], n, min(1.0, self.perturbed / len(self.centre)))
        outside = ((rows < self.low) | (rows > self.high)) & (rows != INACTIVE)
        inside = self.low + (moves.rng.random(rows.shape) * (self.high - self.low + 1)).astype(np.int32)
        rows, kept = moves.settle(np.where(outside, inside, rows))
        return rows[kept & self(rows)]


def trust_region(problem: Problem, centre: Config) -> Region | None:
    """Return the region to search in, or ``None`` for the whole space.

    Args:
        problem: Problem to propose for.
        centre: The best configuration.
    """
    wanted, choices = problem.config.trust_region, problem.config.region
    many = sum(len(p.levels) > 1 for p in problem.space.parameters) >= choices.parameters
    if wanted == "off" or (wanted == "auto" and not many):
        return None
    found = successes(problem.history, problem.objective, choices.better)
    return Region(problem.space, centre, length_after(found, choices), choices.perturbed)


def length_after(found: Sequence[bool], choices: TrustRegionConfig = DEFAULT.region) -> float:
    """Return the length of the region after a series of successes and failures.

    Once it fell below the least, the region opens as at the start: what is near was searched.
    """
    length, won, lost = choices.first, 0, 0
    for success in found:
        won, lost = (won + 1, 0) if success else (0, lost + 1)
        if won == choices.successes:
            length, won = min(choices.most, 2 * length), 0
        elif lost == choices.failures:
            length, lost = length / 2, 0
        if length < choices.least:
            length = choices.first
    return length


def successes(
    history: Sequence[Trial], objective: Objective, least: float = DEFAULT.region.better
) -> list[bool]:
    """Return of each trial that a model proposed whether it was better than all before it.

    What failed is no success; while no limit-keeping configuration is known, breaking limits by less is one.
    Environment faults say nothing.

    Args:
        history: Trials in their order.
        objective: Objective that they are compared by.
        least: Relative gain that is a success.
    """
    best: list[Outcome] = []
    result = []
    for trial in history:
        if trial.state not in (TrialState.COMPLETED, TrialState.INFEASIBLE):
            continue
        outcome = objective.score(trial.metrics)
        better = not outcome.missing and all(_better(outcome, other, least) for other in best)
        if better:
            best = [other for other in best if not _better(outcome, other, least, every=True)] + [outcome]
        if trial.suggestion.reason in _MODELLED:
            result.append(better)
    return result


def _better(outcome: Outcome, other: Outcome, least: float, *, every: bool = False) -> bool:
    """Return whether an outcome is better than another in one goal, or in every one."""
    mine, its = sum(outcome.violations.values()), sum(other.violations.values())
    if mine > 0 or its > 0:
        return mine < its
    gains = [
        float(a) > float(b) + least * abs(float(b))
        for a, b in zip(outcome.values, other.values, strict=True)
        if a is not None and b is not None
    ]
    return all(gains) if every else any(gains)

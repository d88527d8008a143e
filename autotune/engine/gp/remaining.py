"""How much is left to gain: the posterior distribution of the best possible over the best found.

Joint samples of the goal, the limits and what can be measured at all, over the candidates that may be the
best, give the gap between the best of each sample and the configuration that would be recommended in the
same sample: the simple regret, whose quantile is the bound that is stated. One more trial is worth what the
best single candidate gains over everything measured, on average over the same samples.

The samples are drawn wider than the model says: by a constant, by more where leaving out each trial shows
that it is too sure of itself, and with the tails of Student's t, because the variance itself is known from
few trials only ([Shah2014]).

Converged means that both are small, what is left and what one more trial gains, with the last trial and
without it.

References:
    [Makarova2022] A. Makarova et al., "Automatic termination for hyperparameter optimization", AutoML 2022:
        stop once the bound of the simple regret is below the noise of a measurement.
    [Nguyen2017] V. Nguyen et al., "Regret for expected improvement over the best-observed value and stopping
        condition", ACML 2017: stop once the expected improvement is small.
    [Shah2014] A. Shah, A. G. Wilson, Z. Ghahramani, "Student-t processes as alternatives to Gaussian
        processes", AISTATS 2014.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from autotune.core import ranking
from autotune.core.assessment import Assessment
from autotune.core.binding import binding_limit
from autotune.core.objective import Objective
from autotune.core.space import Space
from autotune.core.table import Table
from autotune.core.trial import Config, Trial, TrialState, config_key
from autotune.engine.gp.acquisition import log_expected_improvement
from autotune.engine.gp.belief import Belief, Modelled
from autotune.engine.gp.candidates import candidates
from autotune.engine.gp.grid import Grid
from autotune.engine.gp.leave_one_out import leave_one_out
from autotune.engine.gp.memory import known_out_of_memory
from autotune.engine.gp.posterior import cholesky
from autotune.engine.gp.surrogate import one_thread
from autotune.engine.untried import tried_keys

SAMPLES = 512
"""Joint samples: the 90 % quantile of the gap is then exact to a few per cent of itself."""

CONFIDENCE = 0.9

LEAST_MEASURED = 4
"""Trials below which nothing is said."""

CLOSE, CLOSE_BY_NOISE = 5.0, 1.0
"""What is left is small below this many per cent, or below the noise of a measurement ([Makarova2022]):
nobody could show the difference by one measurement."""

WORTH, WORTH_BY_NOISE = 0.3, 0.1
"""One more trial is not worth it below this many per cent, or this share of the noise ([Nguyen2017])."""

WIDEN = 1.5
"""By how much deviations are wider than the model says, whatever leaving one out shows: the hyper-parameters
are fitted, and to trials that lie close together where it is good. With it nine in ten of the bounds
hold in ``benchmarks/calibration.py``, without it about 85 % on measured tables and the serving simulator;
what no trial has hinted at, such as the one deep hole of a plain, no width covers."""

_PRIOR_TRIALS = 4.0  # that speak for the model's own width beside those that are left out
_TOP = 256  # candidates sampled for being the most promising
_SPREAD = 128  # and from all the others, the further down the fewer, for the many that may each be the best
_CHECKED = 8192  # candidates whose limits are computed
_ROUNDS, _LEADERS = 4, 5  # of looking beside the most promising ones of a space too large to enumerate
_LEAST_CHANCE = 1e-3  # of keeping every limit: less is not sampled


def assess(
    space: Space, objective: Objective, history: Sequence[Trial], seed: int, surrogate: str
) -> Assessment:
    """Return how far the best found is from the best possible.

    Args:
        space: What may vary.
        objective: What is wanted.
        history: Finished trials.
        seed: Of the study.
        surrogate: Name of the surface that goal and limits are modelled by.
    """
    missing = _missing(objective, history)
    if missing:
        return Assessment(reason=missing)
    try:
        with one_thread(), torch.no_grad():
            now = estimate(space, objective, history, seed, surrogate)
            small = now.small and not _missing(objective, history[:-1])
            if small:  # once may be chance
                small = estimate(space, objective, history[:-1], seed, surrogate).small
    except ArithmeticError as error:
        return Assessment(reason=f"the model cannot tell: {error}")
    return now.assessment(converged=small)


def _missing(objective: Objective, history: Sequence[Trial]) -> str:
    """Return what keeps anything from being said; empty if nothing does."""
    if len(objective.goals) > 1:
        return "with several goals there is no single best to be near to"
    if sum(t.state is TrialState.COMPLETED for t in history) < LEAST_MEASURED:
        return f"fewer than {LEAST_MEASURED} trials were measured"
    if ranking.best(history, objective) is None:
        return binding_limit(history, objective)
    return ""


@dataclass(frozen=True)
class Gap:
    """Hold what is left, in per cent of the goal.

    Args:
        gaps: Of each sample, shape ``SAMPLES``.
        improvement: Expected gain of one more trial.
        noise: Standard deviation of one measurement.
    """

    gaps: Tensor
    improvement: float
    noise: float

    @property
    def bound(self) -> float:
        """What is left is at most this, with :data:`CONFIDENCE`."""
        return float(self.gaps.quantile(CONFIDENCE))

    @property
    def small(self) -> bool:
        """Whether what is left is small, and so is what one more trial gains."""
        enough = max(CLOSE, CLOSE_BY_NOISE * self.noise)
        worth = max(WORTH, WORTH_BY_NOISE * self.noise)
        return self.bound <= enough and self.improvement <= worth

    def assessment(self, *, converged: bool) -> Assessment:
        """Return the same with its words."""
        reason = (
            f"at most {_percent(self.bound)} % is left ({100 * CONFIDENCE:.0f} %), "
            f"one more trial is expected to gain {_percent(self.improvement)} %, "
            f"noise of a measurement is {_percent(self.noise)} %"
        )
        return Assessment(
            self.bound, float(self.gaps.median()), self.improvement, self.noise, converged, reason
        )


def _percent(value: float) -> str:
    value = max(value, 0.01)  # nobody can tell the rest, and "at most 0 %" would be a promise
    return f"{value:.1g}" if value < 1 else f"{value:.2g}" if value < 100 else f"{value:.3g}"


def estimate(space: Space, objective: Objective, history: Sequence[Trial], seed: int, surrogate: str) -> Gap:
    """Return what is left; arguments as of :func:`assess`, something feasible among the trials."""
    rng = np.random.default_rng([seed, len(history)])
    best = ranking.best(history, objective)
    assert best is not None  # noqa: S101 - asked before
    belief = Belief(space, objective, history, rng, surrogate)
    measured = [belief.data.configs[row] for row in belief.goal.series.rows]
    at = [config_key(config) for config in measured].index(config_key(best.config))
    promising = _promising(space, history, best.config, belief, belief.measured[at : at + 1], rng)
    points = torch.cat([belief.measured, promising])
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    goal = _draws(belief.goal, points, generator)
    kept = _kept(belief, points, generator)
    n = len(belief.measured)
    scale = _Scale(belief.goal, objective, best.metrics[objective.goals[0].metric].value)
    value = goal[:, at]
    found = torch.where(kept, goal, -math.inf)
    gaps = scale.percent((found.amax(1) - value).clamp_min(0.0))
    known = torch.maximum(value, found[:, :n].amax(1)).unsqueeze(-1)
    gains = scale.percent((found[:, n:] - known).clamp_min(0.0)).mean(0)
    noise = float((belief.goal.surrogate.log_weights.exp() * belief.goal.surrogate.noise()).sum())
    return Gap(
        gaps,
        float(gains.max()) if len(gains) else 0.0,
        float(scale.percent(torch.tensor(math.sqrt(noise), dtype=goal.dtype))),
    )


class _Scale:
    """Turn differences of standardized values into per cent of the goal of the best configuration."""

    def __init__(self, goal: Modelled, objective: Objective, value: float) -> None:
        self.logarithm, self.maximize = goal.series.logarithm, objective.goals[0].maximize
        # where the goal may be 0 or change its sign, its own spread is the smallest measure of it
        self.scale = goal.series.scale / (1.0 if self.logarithm else max(abs(value), goal.series.scale))

    def percent(self, differences: Tensor) -> Tensor:
        """Return what a value may rise by, or fall by where the goal is minimized; shape as given."""
        apart = differences * self.scale
        if not self.logarithm:
            return 100 * apart
        return 100 * (apart.clamp_max(30.0).expm1() if self.maximize else -(-apart).expm1())


def _promising(
    space: Space, history: Sequence[Trial], best: Config, belief: Belief, x: Tensor, rng: np.random.Generator
) -> Tensor:
    """Return untried configurations of which one may be the best, ``m x k``.

    Args:
        space: What may vary.
        history: Finished trials.
        best: The best configuration found.
        belief: The models.
        x: The encoding of ``best``, ``1 x k``.
        rng: Draws the random part of a large space.
    """
    tried, leaders = tried_keys(history, []), [best]
    for _ in range(1 if space.table() is not None else _ROUNDS):
        table = candidates(space, tried, leaders, rng)
        rows, X = _ranked(table, history, belief, x)
        leaders = [best, *table.configs(rows[:_LEADERS])]  # a large space is climbed by their neighbours
    return X


def _ranked(table: Table, history: Sequence[Trial], belief: Belief, x: Tensor) -> tuple[list[int], Tensor]:
    """Return the rows that may be the best, the most promising first, and the encodings of some of them."""
    rows = torch.from_numpy(np.flatnonzero(~known_out_of_memory(table, history)))
    if not len(rows):
        return [], belief.X[:0]
    goal, grid = belief.goal.surrogate, Grid(belief.encoder, table)
    means, variances = goal.on_grid(grid, rows, belief.X[:0])
    known, _ = goal.each(x)
    score = goal.mix(log_expected_improvement(means, variances * WIDEN**2, known))
    order = score.argsort(descending=True)[:_CHECKED]
    X = grid.encode(rows[order])
    chance = belief.feasibility.log_probability(X) + belief.log_limits(X)
    final = (score[order] + chance).masked_fill(chance < math.log(_LEAST_CHANCE), -math.inf)
    best = final.argsort(descending=True)[: int(final.isfinite().sum())]
    if len(best) > _TOP + _SPREAD:
        steps = torch.logspace(math.log10(_TOP), math.log10(len(best) - 1), _SPREAD, dtype=X.dtype)
        best = torch.cat([best[:_TOP], best[steps.round().long().unique()]])
    return rows[order][best].tolist(), X[best]


def _draws(modelled: Modelled, points: Tensor, generator: torch.Generator) -> Tensor:
    """Return joint samples of a quantity at some points, standardized, ``SAMPLES x n``."""
    surface = modelled.surrogate
    means, _ = surface.each(points)
    covariances = surface.covariance(points, points)
    shares = (surface.log_weights.exp().cumsum(0) * SAMPLES).round().long()
    starts = [0, *shares[:-1].tolist()]
    widths = _widths(modelled, generator)
    result = torch.empty(SAMPLES, len(points), dtype=points.dtype)
    for k, (start, end) in enumerate(zip(starts, shares.tolist(), strict=True)):
        if end > start:
            normal = torch.randn(end - start, len(points), generator=generator, dtype=points.dtype)
            root = cholesky(0.5 * (covariances[k] + covariances[k].mT))
            result[start:end] = means[k] + widths[start:end].unsqueeze(-1) * (normal @ root.mT)
    return result


def _widths(modelled: Modelled, generator: torch.Generator) -> Tensor:
    """Return by how much each sample's deviation is wider than the model says, shape ``SAMPLES``."""
    n = len(modelled.series.Y)
    left_out = leave_one_out(modelled.surrogate)
    factor = WIDEN**2
    if left_out is not None:
        scores = torch.special.ndtri(left_out.ranks.clamp(1e-9, 1 - 1e-9))
        factor = WIDEN**2 * max(1.0, (_PRIOR_TRIALS + float(scores.square().sum())) / (_PRIOR_TRIALS + n))
    normal = torch.randn(SAMPLES, n, generator=generator, dtype=torch.float64)
    return (factor * n / normal.square().sum(1)).sqrt()


def _kept(belief: Belief, points: Tensor, generator: torch.Generator) -> Tensor:
    """Return for each sample which points can be measured and keep every limit, ``SAMPLES x n``.

    One uniform number decides in a sample about all points: what fails does so beyond a border that is not
    known, so that of many doubtful neighbours not some will do by luck.
    """
    uniform = torch.rand(SAMPLES, 1, generator=generator, dtype=points.dtype)
    kept = uniform < belief.feasibility.log_probability(points).exp()
    for limit in belief.limits:
        kept &= _draws(limit, points, generator) <= limit.series.standardize(0.0)
    return kept

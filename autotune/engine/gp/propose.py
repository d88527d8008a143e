"""Choose among the candidates: all are compared roughly, the best of them exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from autotune.core import ranking
from autotune.core.measurement import Estimate
from autotune.core.objective import Objective
from autotune.core.space import Space
from autotune.core.trial import Config, Reason, Suggestion, Trial, config_key
from autotune.engine.gp.acquisition import log_expected_improvement
from autotune.engine.gp.belief import Belief, tensor
from autotune.engine.gp.candidates import candidates
from autotune.engine.gp.grid import Grid
from autotune.engine.gp.memory import known_out_of_memory
from autotune.engine.gp.options import Options
from autotune.engine.gp.surrogate import one_thread
from autotune.engine.untried import tried_keys

_CERTAIN = 1e6  # larger than any logarithm of a probability or an improvement
_SHORTLIST = 512  # candidates compared exactly; the best of them is among the first few of the rough order
_BLOCK = 8192  # candidates whose limits are computed at once


class Proposer:
    """Choose configurations at one moment of a study.

    Args:
        space: What may vary.
        objective: What is wanted.
        history: Finished trials, at least two of them completed.
        pending: Configurations asked for and not finished.
        seed: Of the study.
        name: Of the engine, for the suggestions.
        options: Of the engine.
    """

    def __init__(
        self,
        space: Space,
        objective: Objective,
        history: Sequence[Trial],
        pending: Sequence[Config],
        seed: int,
        name: str,
        options: Options,
    ) -> None:
        self.options = options
        self.space, self.objective, self.history, self.name = space, objective, history, name
        self.pending = list(pending)
        self.tried = tried_keys(history, pending)
        self.rng = np.random.default_rng([seed, len(history) + len(pending)])
        self.sample_seed = int(self.rng.integers(2**31))

    def propose(self, n: int) -> list[Suggestion]:
        """Return up to ``n`` suggestions, each chosen with those before it pending."""
        with one_thread(), torch.no_grad():
            table = candidates(self.space, self.tried, _leaders(self.history, self.objective), self.rng)
            if not len(table):
                return []
            belief = Belief(self.space, self.objective, self.history, self.rng, self.options.surrogate)
            if not belief.X.shape[1]:  # nothing varies but by a list
                return [
                    Suggestion(c, Reason.RANDOM, self.name) for c in table.configs(range(min(n, len(table))))
                ]
            hopeless = torch.from_numpy(known_out_of_memory(table, self.history))
            choice = _Choice(belief, Grid(belief.encoder, table), hopeless, self.sample_seed)
            result: list[Suggestion] = []
            while len(result) < min(n, len(table)):
                row = choice.best(tensor(belief.encoder.configs(self.pending)).reshape(-1, belief.X.shape[1]))
                suggestion = self._explain(choice, row, table.config(row))
                self.pending.append(suggestion.config)
                result.append(suggestion)
            return result

    def _explain(self, choice: _Choice, row: int, config: Config) -> Suggestion:
        belief = choice.belief
        x = choice.grid.encode(torch.tensor([row]))
        mean, variance = (float(v) for v in belief.goal.surrogate.predict(x))
        predicted: dict[str, Estimate] = {}
        if len(self.objective.goals) == 1:
            goal = self.objective.goals[0]
            predicted[goal.metric] = belief.goal.estimate(mean, variance, goal.metric, goal.sign)
        if choice.searching:
            reason = Reason.FEASIBILITY
        else:
            reason = Reason.EXPLOIT if mean >= choice.known_best else Reason.EXPLORE
        chance = math.exp(float(belief.feasibility.log_probability(x) + belief.log_limits(x)))
        return Suggestion(config, reason, self.name, predicted, min(1.0, chance))


class _Choice:
    """Hold the candidates of one ask and what does not change between its picks.

    Args:
        belief: The models.
        grid: The candidates.
        hopeless: Which of them are known to fail.
        seed: Of the joint samples.
    """

    def __init__(self, belief: Belief, grid: Grid, hopeless: Tensor, seed: int) -> None:
        self.belief, self.grid, self.seed = belief, grid, seed
        self.observed = belief.kept(belief.measured)
        self.searching = not bool(self.observed.any())
        means, _ = belief.goal.surrogate.predict(belief.measured)
        self.known_best = float((means if self.searching else means[self.observed]).max())
        everything = torch.arange(len(grid))
        self.measured = belief.feasibility.on_grid(grid, everything)
        if not bool(hopeless.all()):
            self.measured = self.measured.masked_fill(hopeless, -_CERTAIN)
        doubtful = self.measured < math.log(belief.feasibility.threshold or 1e-300)
        self.left = torch.ones(len(grid), dtype=torch.bool) if bool(doubtful.all()) else ~doubtful
        self.others = ~self.left  # taken up when nothing else is left
        self.limits = torch.full((len(grid),), math.nan, dtype=torch.float64)

    def best(self, X_pending: Tensor) -> int:
        """Return the row of the best candidate that was not returned before."""
        if not bool(self.left.any()):
            self.left, self.others = self.others, torch.zeros_like(self.others)
        rows = self.left.nonzero().squeeze(-1)
        shortlist = rows if len(rows) <= _SHORTLIST else self._shortlist(rows, X_pending)
        row = int(shortlist[self._score(shortlist, X_pending).argmax()])
        self.left[row] = False
        return row

    def _total(self, improvement: Tensor, probability: Tensor) -> Tensor:
        # While nothing keeps the limits, what counts is the probability to: the goal only between equals.
        return probability + (0.01 * improvement if self.searching else improvement)

    def _score(self, rows: Tensor, X_pending: Tensor) -> Tensor:
        """Return the acquisition value of some candidates, exactly."""
        X, goal = self.grid.encode(rows), self.belief.goal
        improvement = goal.surrogate.log_improvement(
            X,
            X_pending,
            torch.cat([self.observed, self.belief.kept(X_pending)]),
            seed=self.seed,
            floor=float(goal.series.Y.min()),
        )
        return self._total(improvement, self.measured[rows] + self.belief.log_limits(X))

    def _shortlist(self, rows: Tensor, X_pending: Tensor) -> Tensor:
        """Return the most promising candidates, with the incumbent's value taken for known.

        The probability to keep the limits only lowers a score, so it is computed from the most promising
        candidate on until the rest cannot reach the shortlist any more.
        """
        goal = self.belief.goal.surrogate
        means, variances = goal.on_grid(self.grid, rows, X_pending)
        each, _ = goal.each(self.belief.measured)
        known = each.amin(1) if self.searching else each[:, self.observed].amax(1)
        improvement = goal.mix(log_expected_improvement(means, variances, known.unsqueeze(-1)))
        score = self._total(improvement, self.measured[rows])
        if not self.belief.limits:
            return rows[score.topk(_SHORTLIST).indices]
        order = score.argsort(descending=True)
        final = torch.full_like(score, -math.inf)
        for block in order.split(_BLOCK):
            if float(score[block[0]]) <= float(final.topk(_SHORTLIST).values[-1]):
                break
            final[block] = score[block] + self._log_limits(rows[block])
        return rows[final.topk(_SHORTLIST).indices]

    def _log_limits(self, rows: Tensor) -> Tensor:
        new = rows[self.limits[rows].isnan()]
        if len(new):
            total = torch.zeros(len(new), dtype=torch.float64)
            for limit in self.belief.limits:
                nothing = self.belief.X[:0]
                total += limit.log_probability_kept(limit.surrogate.on_grid(self.grid, new, nothing))
            self.limits[new] = total
        return self.limits[rows]


def _leaders(history: Sequence[Trial], objective: Objective) -> list[Config]:
    """Return the configurations that were measured, the best feasible ones first."""
    found = ranking.contenders(history, objective)
    found.sort(key=lambda c: (not c.feasible, len(c.outcome.violations), -(c.outcome.values[0] or -math.inf)))
    return list({config_key(c.config): c.config for c in found}.values())

"""Fit the models to a history and choose among the candidates."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from botorch.models import SingleTaskGP
from torch import Tensor

from autotune.core import ranking
from autotune.core.measurement import Estimate
from autotune.core.metric import metric_info
from autotune.core.objective import Objective
from autotune.core.space import Space
from autotune.core.trial import Config, Reason, Suggestion, Trial, config_key
from autotune.engine.gp.acquisition import NoisyImprovement, log_probability_below
from autotune.engine.gp.candidates import candidates
from autotune.engine.gp.data import Data, Series, read_history
from autotune.engine.gp.encode import Encoder
from autotune.engine.gp.feasibility import THRESHOLD, Feasibility
from autotune.engine.gp.memory import known_out_of_memory
from autotune.engine.gp.surrogate import fit, one_thread, predict
from autotune.engine.untried import tried_keys

_CERTAIN = 1e6  # larger than any logarithm of a probability or an improvement
_EVEN = math.log(0.5)  # a point that is more likely to fail than not is no incumbent
_AUGMENT = 0.05  # share of the sum in the scalarization of several goals (ParEGO's rho)


class Proposer:
    """Hold the models of one moment of a study.

    Args:
        space: What may vary.
        objective: What is wanted.
        history: Finished trials, at least two of them completed.
        pending: Configurations asked for and not finished.
        seed: Of the study.
        name: Of the engine, for the suggestions.
    """

    def __init__(
        self,
        space: Space,
        objective: Objective,
        history: Sequence[Trial],
        pending: Sequence[Config],
        seed: int,
        name: str,
    ) -> None:
        self.space, self.objective, self.name = space, objective, name
        self.pending = list(pending)
        self.tried = tried_keys(history, pending)
        self.turn = len(history) + len(pending)
        self.rng = np.random.default_rng([seed, self.turn])
        self.sample_seed = int(self.rng.integers(2**31))
        self.history = history
        self.data: Data = read_history(history, objective)
        self.encoder = Encoder(space)
        self.leaders = _leaders(history, objective)
        self.X = _tensor(self.encoder.configs(self.data.configs))

    def propose(self, n: int) -> list[Suggestion]:
        """Return up to ``n`` suggestions, each chosen with those before it pending."""
        with one_thread():
            table = candidates(self.space, self.tried, self.leaders, self.rng)
            if not len(table):
                return []
            X = _tensor(self.encoder.table(table.indices))
            if not X.shape[1]:  # nothing varies but by a list
                return [
                    Suggestion(c, Reason.RANDOM, self.name) for c in table.configs(range(min(n, len(table))))
                ]
            self._fit()
            static = self._log_feasible(X)
            hopeless = torch.from_numpy(known_out_of_memory(table, self.history))
            if not bool(hopeless.all()):
                static = (static[0], static[1].masked_fill(hopeless, -_CERTAIN))
            left = torch.ones(len(X), dtype=torch.bool)
            result: list[Suggestion] = []
            while len(result) < min(n, len(table)):
                score, searching = self._score(X, static, self.pending)
                row = int(torch.where(left, score, -math.inf).argmax())
                left[row] = False
                suggestion = self._explain(
                    table.config(row), X[row : row + 1], float(static[0][row]), searching
                )
                self.pending.append(suggestion.config)
                result.append(suggestion)
            return result

    def _fit(self) -> None:
        goals = self.data.goals
        main = goals[0] if len(goals) == 1 else _scalarize(goals, self.rng)
        self.goal_series = main
        self.goal = _fit_series(self.X, main)
        self.limits = [
            (_fit_series(self.X, series), series) for series in self.data.limits if len(series.Y) > 1
        ]
        self.feasibility = Feasibility(self.X, torch.from_numpy(self.data.completed))
        points = self.X[torch.from_numpy(main.rows)]
        self.observed = self._kept(points)
        self.known, _ = predict(self.goal, points)

    def _log_feasible(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Return log P(all limits kept and measured) and log P(measured), each of shape ``n``."""
        measured = self.feasibility.log_probability(X)
        total = measured.clone()
        for model, series in self.limits:
            mean, variance = predict(model, X)
            total += log_probability_below(mean, variance, series.standardize(0.0))
        return total, measured

    def _score(
        self, X: Tensor, static: tuple[Tensor, Tensor], pending: Sequence[Config]
    ) -> tuple[Tensor, bool]:
        """Return the acquisition value of each candidate and whether feasibility is what is searched."""
        total, measured = static
        waiting = _tensor(self.encoder.configs(pending)).reshape(-1, X.shape[1])
        eligible = torch.cat([self.observed, self._kept(waiting)])
        floor = float(self.goal_series.Y.min())
        improvement = NoisyImprovement(self.goal, waiting, eligible, seed=self.sample_seed, floor=floor)(X)
        searching = not bool(self.observed.any())
        # Nothing keeps the limits yet: what counts is the probability to, the goal only between equals.
        score = total + 0.01 * improvement if searching else total + improvement
        doubtful = measured < THRESHOLD
        if not bool(doubtful.all()):
            score = torch.where(doubtful, score - _CERTAIN, score)
        return score, searching

    def _kept(self, X: Tensor) -> Tensor:
        """Return which points keep every limit and can be measured, as far as the models know."""
        kept = self.feasibility.log_probability(X) > _EVEN
        for model, series in self.limits:
            mean, _ = predict(model, X)
            kept &= mean <= series.standardize(0.0)
        return kept

    def _explain(self, config: Config, x: Tensor, log_feasible: float, searching: bool) -> Suggestion:
        mean, variance = (float(v) for v in predict(self.goal, x))
        predicted: dict[str, Estimate] = {}
        if len(self.objective.goals) == 1:
            goal = self.objective.goals[0]
            predicted[goal.metric] = _unstandardize(
                mean, goal.sign, math.sqrt(variance), self.goal_series, goal.metric
            )
        if searching:
            reason = Reason.FEASIBILITY
        else:
            reason = Reason.EXPLOIT if mean >= float(self.known[self.observed].max()) else Reason.EXPLORE
        return Suggestion(config, reason, self.name, predicted, min(1.0, math.exp(log_feasible)))


def _leaders(history: Sequence[Trial], objective: Objective) -> list[Config]:
    """Return the configurations that were measured, the best feasible ones first."""
    found = ranking.contenders(history, objective)
    found.sort(key=lambda c: (not c.feasible, len(c.outcome.violations), -(c.outcome.values[0] or -math.inf)))
    return list({config_key(c.config): c.config for c in found}.values())


def _scalarize(goals: Sequence[Series], rng: np.random.Generator) -> Series:
    """Return one series from several goals: an augmented Chebyshev scalarization with random weights.

    Reference: J. Knowles, "ParEGO", IEEE Transactions on Evolutionary Computation 10 (2006).
    """
    rows = sorted(set.intersection(*(set(series.rows.tolist()) for series in goals)))
    values = np.array([[dict(zip(s.rows.tolist(), s.Y, strict=True))[row] for s in goals] for row in rows])
    weights = rng.dirichlet(np.ones(len(goals)))
    low, high = values.min(0), values.max(0)
    unit = (values - low) / np.where(high > low, high - low, 1.0)
    y = (weights * unit).min(1) + _AUGMENT * (weights * unit).sum(1)
    scale = float(y.std(ddof=1)) or 1.0
    Y = (y - y.mean()) / scale
    return Series(np.array(rows, dtype=np.int64), Y, np.full(len(Y), np.nan), float(y.mean()), scale, False)


def _fit_series(X: Tensor, series: Series) -> SingleTaskGP:
    rows = torch.from_numpy(series.rows)
    return fit(X[rows], _tensor(series.Y).unsqueeze(-1), _tensor(series.Yvar).unsqueeze(-1))


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float64))


def _unstandardize(value: float, sign: float, deviation: float, series: Series, metric: str) -> Estimate:
    """Return a prediction in the metric's own unit."""
    raw, spread = sign * (value * series.scale + series.shift), deviation * series.scale
    info = metric_info(metric)
    unit = info.unit if info is not None else "1"
    if series.logarithm:
        middle = math.exp(min(max(raw, -700.0), 700.0))
        return Estimate(middle, min(middle * spread, 1e300), 1, unit)
    return Estimate(raw, spread, 1, unit)

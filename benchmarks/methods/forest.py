"""Random forests as BaCO and SCOOT use them: expected improvement times the probability of feasibility.

A forest of regression trees predicts the goal, its spread over the trees is the uncertainty; a forest of
classification trees learns what fails or breaks a limit. Both score the whole table, or a random part of it
where it is larger than the part. Configurations are level ranks, categories one-hot. Pending configurations
are taken to be as good as predicted.

References: [Hellsten2023] E. O. Hellsten et al., "BaCO: A Fast and Portable Bayesian Compiler Optimization
Framework", ASPLOS 2023. [Cheng2025] K. Cheng et al., "SCOOT: SLO-Oriented Performance Tuning for LLM
Inference Engines", WWW 2025. Both learn hidden constraints by a random forest.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import norm
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

from autotune.core.measurement import Measurement
from autotune.core.table import Table
from autotune.core.trial import Config, config_key
from autotune.engine.design import next_of_design
from benchmarks.methods.base import Adapter, Point
from benchmarks.problems.base import Problem

_PART = 20_000  # candidates scored at once: half a second
_TREES = 100

Array = npt.NDArray[np.float64]


class ForestSession(Adapter):
    """Propose by two forests, after the same initial design as our engines."""

    def __init__(self, problem: Problem, seed: int, budget: int) -> None:
        super().__init__(problem, seed, budget)
        self.rng = np.random.default_rng([seed, 2])
        self.initial = max(3, min(max(6, math.ceil(0.6 * len(self.space))), budget // 4))
        self.told: list[tuple[Config, float | None, bool]] = []
        self.asked: set[str] = {config_key(self.space.default_config)}

    def propose(self) -> tuple[Point, None]:
        """Return a point of the design, then the best score among the candidates not tried."""
        config = self._chosen()
        self.asked.add(config_key(config))
        return self.point_of(config), None

    def _chosen(self) -> Config:
        good = [cost for _, cost, kept in self.told if kept and cost is not None]
        if len(self.asked) < self.initial or len(good) < 2:
            return next_of_design(self.space, self.asked, 1, self.seed, "forest")[0].config
        table = self.space.table(_PART) or self.space.as_table(self.space.draw(_PART, self.rng))
        free = np.array([config_key(table.config(i)) not in self.asked for i in range(len(table))])
        if not free.any():
            return table.config(int(self.rng.integers(len(table))))
        score = self._improvement(table, min(good)) * self._feasible(table)
        # equal leaves give equal scores: the forest does not know, so chance decides
        best = np.flatnonzero(free & (score >= score[free].max() - 1e-12))
        return table.config(int(self.rng.choice(best)))

    def _improvement(self, table: Table, best: float) -> Array:
        known = [(config, cost) for config, cost, _ in self.told if cost is not None]
        forest = RandomForestRegressor(_TREES, min_samples_leaf=1, max_features=0.8, random_state=self.seed)
        X = self._features([config for config, _ in known])
        forest.fit(X, [cost for _, cost in known])
        if self.pending:  # the liar of batches
            hoped = self._features(self.pending)
            forest.fit(np.vstack([X, hoped]), [*(cost for _, cost in known), *forest.predict(hoped)])
        rows = _encode(table)
        trees = np.stack([tree.predict(rows) for tree in forest.estimators_])
        mean, spread = trees.mean(axis=0), np.maximum(trees.std(axis=0), 1e-9)
        z = (best - mean) / spread
        return np.asarray(spread * (z * norm.cdf(z) + norm.pdf(z)))

    def _feasible(self, table: Table) -> Array:
        kept = [kept for _, _, kept in self.told]
        if all(kept):
            return np.ones(len(table))
        forest = RandomForestClassifier(_TREES, random_state=self.seed)
        forest.fit(self._features([config for config, _, _ in self.told]), kept)
        if len(forest.classes_) == 1:
            return np.ones(len(table))
        return np.asarray(forest.predict_proba(_encode(table))[:, list(forest.classes_).index(True)])

    def _features(self, configs: list[Config]) -> Array:
        empty = self.space.as_table(np.empty((0, len(self.space)), np.int32))
        return _encode(self.space.as_table(np.array([empty.encode(config) for config in configs])))

    def learn(self, config: Config, measurement: Measurement, ticket: Any) -> None:
        """Remember the cost, and whether it failed or broke a limit."""
        if measurement.failure is not None:
            self.told.append((config, None, False))
        else:
            kept = all(v <= 0 for v in self.violations(measurement))
            self.told.append((config, self.cost(measurement), kept))


def _encode(table: Table) -> Array:
    """Return features: a rank in [0, 1] per ordered parameter, one column per category; -1 where inactive."""
    columns = []
    for i, parameter in enumerate(table.parameters):
        ranks = table.indices[:, i]
        if parameter.ordered:
            columns.append(np.where(ranks < 0, -1.0, ranks / max(1, len(parameter.levels) - 1)))
        else:
            columns += [(ranks == level).astype(float) for level in range(len(parameter.levels))]
    return np.stack(columns, axis=1)


class ForestMethod:
    """Start sessions.

    Args:
        name: ``forest``.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def start(self, problem: Problem, seed: int, budget: int) -> ForestSession:
        """Begin a run."""
        return ForestSession(problem, seed, budget)

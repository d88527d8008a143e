"""Propose configurations: the models, the candidates, the choice among them and its account."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from autotune.core import ranking
from autotune.core.objective import Objective
from autotune.core.space import Space
from autotune.core.table import Indices
from autotune.core.trial import Config, Reason, Suggestion, Trial, TrialState, config_key
from autotune.engine.gp.belief import Belief, tensor
from autotune.engine.gp.candidates import LEADERS, candidates
from autotune.engine.gp.choice import Choice, Scores
from autotune.engine.gp.explain import Explainer
from autotune.engine.gp.grid import Grid
from autotune.engine.gp.options import Options
from autotune.engine.gp.refine import refine
from autotune.engine.gp.repeat import to_repeat
from autotune.engine.gp.surrogate import one_thread
from autotune.engine.gp.trust_region import Region, trust_region
from autotune.engine.untried import tried_keys

_ONE_BY_ONE = 8  # picks of a batch that each count those before; the rest come from joint samples


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
        self.region: Region | None = None

    def propose(self, n: int) -> list[Suggestion]:
        """Return up to ``n`` suggestions, each chosen with those before it pending."""
        with one_thread(), torch.no_grad():
            leaders = _leaders(self.history, self.objective)
            if leaders:
                wanted = self.options.trust_region
                self.region = trust_region(self.space, self.objective, self.history, leaders[0], wanted)
            table = candidates(self.space, self.tried, leaders, self.rng, self.region)
            n = min(n, len(table))
            measured = any(self._all_goals(trial) for trial in self.history)
            varies = any(len(p.levels) > 1 or p.condition is not None for p in self.space.parameters)
            if not (n and measured and varies):
                rows = self.rng.permutation(len(table))[:n]
                return [Suggestion(c, Reason.RANDOM, self.name) for c in table.configs(rows)]
            belief = Belief(self.space, self.objective, self.history, self.rng, self.options.surrogate)
            scores = Scores(self.space, self.history, belief, self.options.acquisition, self.sample_seed)
            choice = Choice(scores, Grid(belief.encoder, table))
            explainer = Explainer(belief, self.history, self.name)
            result: list[Suggestion] = []
            while len(result) < min(n, _ONE_BY_ONE):
                result.append(self._next(choice, explainer))
            if len(result) < n:
                for row in choice.sampled(n - len(result), self._waiting(belief)):
                    config = table.config(row)
                    result.append(explainer.suggestion(config, choice.grid.encode(torch.tensor([row]))))
            return result

    def _next(self, choice: Choice, explainer: Explainer) -> Suggestion:
        belief = choice.belief
        X_pending = self._waiting(belief)
        row = None
        if self.space.table() is not None:
            row = choice.best(X_pending)
            config = choice.grid.table.config(row)
        else:
            tried = tried_keys(self.history, self.pending)
            config = choice.climbed(X_pending, tried, self._leading_rows(), self.rng, self.region)
        config = self._off_grid(choice, config, X_pending)
        x = tensor(belief.encoder.configs([config]))
        again = None
        if self.options.repeat:
            again = to_repeat(belief, self.history, x, self.pending, self.sample_seed)
        if again is None:
            suggestion = explainer.suggestion(config, x)
        else:
            if row is not None:
                choice.put_back(row)
            suggestion = explainer.suggestion(*again, Reason.REPEAT)
        self.pending.append(suggestion.config)
        return suggestion

    def _off_grid(self, choice: Choice, config: Config, X_pending: Tensor) -> Config:
        """Return a choice with its continuous parameters moved to where the acquisition is highest."""
        listed = self.space.configurations is not None
        if listed or all(p.discrete or p.name not in config for p in self.space.parameters):
            return config
        scores = choice.scores
        scorer = scores.acquisition.scorer(tensor(choice.belief.encoder.configs([config])), X_pending)
        found = refine(self.space, config, scores.of_encoded(scorer, X_pending))
        if config_key(found) in tried_keys(self.history, self.pending):
            return config
        table = self.space.as_table(np.array([self._encode(c) for c in (config, found)]))
        before, after = scores.hopeless(table).tolist()
        return config if after and not before else found

    def _encode(self, config: Config) -> Indices:
        return self.space.as_table(np.empty((0, len(self.space)), np.int32)).encode(config)

    def _leading_rows(self) -> Indices:
        leaders = _leaders(self.history, self.objective)[:LEADERS]
        return np.array([self._encode(config) for config in leaders], np.int32).reshape(-1, len(self.space))

    def _all_goals(self, trial: Trial) -> bool:
        found = trial.metrics if trial.state is TrialState.COMPLETED else {}
        return all(goal.metric in found for goal in self.objective.goals)

    def _waiting(self, belief: Belief) -> Tensor:
        return tensor(belief.encoder.configs(self.pending)).reshape(-1, belief.X.shape[1])


def _leaders(history: Sequence[Trial], objective: Objective) -> list[Config]:
    """Return the configurations that were measured, the best feasible ones first."""
    found = ranking.contenders(history, objective)
    found.sort(key=lambda c: (not c.feasible, len(c.outcome.violations), -c.goals[0]))
    return list({c.trial.key: c.config for c in found}.values())

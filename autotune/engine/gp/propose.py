"""Propose configurations: the models, the candidates, the choice among them and its account."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from autotune.core import ranking
from autotune.core.table import Indices
from autotune.core.trial import Config, Reason, Suggestion, Trial
from autotune.engine.gp.explain import Explainer
from autotune.engine.gp.model.candidate_table import CandidateTable
from autotune.engine.gp.model.fitted_models import FittedModels, tensor
from autotune.engine.gp.model.one_thread import one_thread
from autotune.engine.gp.optimize.candidates import LEADERS, candidates, scored_whole
from autotune.engine.gp.optimize.refine import refine
from autotune.engine.gp.optimize.repeat import to_repeat
from autotune.engine.gp.optimize.selection import Scores, Selection
from autotune.engine.gp.optimize.trust_region import Region, trust_region
from autotune.engine.gp.problem import Problem

_ONE_BY_ONE = 8  # picks of a batch that each count those before; the rest come from joint samples


class Proposer:
    """The choice of configurations at one moment of a study.

    Args:
        problem: Problem to propose for, with at least two measured trials.
        name: Name of the engine, for the suggestions.
    """

    def __init__(self, problem: Problem, name: str) -> None:
        self.problem, self.name = problem, name
        self.space = problem.space
        self.rng = np.random.default_rng([problem.seed, len(problem.history) + len(problem.pending)])
        self.sample_seed = int(self.rng.integers(2**31))
        self.region: Region | None = None

    def propose(self, n: int) -> list[Suggestion]:
        """Return up to ``n`` suggestions, each chosen with those before it pending."""
        with one_thread(), torch.no_grad():
            leaders = _leaders(self.problem)
            if leaders:
                self.region = trust_region(self.problem, leaders[0])
            table = candidates(
                self.space, self.problem.tried, leaders, self.rng, self.region, self.problem.config
            )
            n = min(n, len(table))
            measured = any(self._all_goals(trial) for trial in self.problem.completed)
            varies = any(len(p.levels) > 1 or p.condition is not None for p in self.space.parameters)
            if not (n and measured and varies):
                rows = self.rng.permutation(len(table))[:n]
                return [Suggestion(c, Reason.RANDOM, self.name) for c in table.configs(rows)]
            models = FittedModels(self.problem, self.rng)
            scores = Scores(self.problem, models, self.sample_seed)
            selection = Selection(scores, CandidateTable(models.encoder, table))
            explainer = Explainer(models, self.problem.history, self.name)
            result: list[Suggestion] = []
            while len(result) < min(n, _ONE_BY_ONE) and not selection.empty:
                result.append(self._next(selection, explainer))
            while len(result) < n and not selection.empty:  # what was set aside as doubtful comes last
                for row in selection.sampled(n - len(result), self._waiting(models)):
                    config = table.config(row)
                    self.problem = self.problem.waiting_for(config)
                    result.append(explainer.suggestion(config, selection.grid.encode(torch.tensor([row]))))
            return result

    def _next(self, selection: Selection, explainer: Explainer) -> Suggestion:
        models, choices = selection.models, self.problem.config
        X_pending = self._waiting(models)
        row = None
        if not choices.climb or scored_whole(self.space, choices) is not None:
            row = selection.best(X_pending)
            config = selection.grid.table.config(row)
        else:
            leading = self._leading_rows()
            config = selection.climbed(X_pending, self.problem.tried, leading, self.rng, self.region)
        chosen, config = config, self._off_grid(selection, config, X_pending)
        x = tensor(models.encoder.configs([config]))
        again = None
        if choices.repeat:
            again = to_repeat(models, self.problem, x, self.sample_seed)
        if again is None:
            suggestion = explainer.suggestion(config, x)
            if config != chosen:  # what was chosen in the table is left out already
                selection.leave_out(config)
        else:
            if row is not None:
                selection.put_back(row)
            suggestion = explainer.suggestion(*again, Reason.REPEAT)
        self.problem = self.problem.waiting_for(suggestion.config)
        return suggestion

    def _off_grid(self, selection: Selection, config: Config, X_pending: Tensor) -> Config:
        """Return a choice with its continuous parameters moved to where the acquisition is highest."""
        listed = self.space.configurations is not None
        if listed or all(p.discrete or p.name not in config for p in self.space.parameters):
            return config
        scores = selection.scores
        scorer = scores.acquisition.scorer(tensor(selection.models.encoder.configs([config])), X_pending)
        found = refine(self.space, config, scores.of_encoded(scorer, X_pending))
        if not self.problem.is_new(found):
            return config
        table = self.space.as_table(np.array([self._encode(c) for c in (config, found)]))
        before, after = scores.hopeless(table).tolist()
        return config if after and not before else found

    def _encode(self, config: Config) -> Indices:
        return self.space.as_table(np.empty((0, len(self.space)), np.int32)).encode(config)

    def _leading_rows(self) -> Indices:
        leaders = _leaders(self.problem)[:LEADERS]
        return np.array([self._encode(config) for config in leaders], np.int32).reshape(-1, len(self.space))

    def _all_goals(self, trial: Trial) -> bool:
        return all(goal.metric in trial.metrics for goal in self.problem.objective.goals)

    def _waiting(self, models: FittedModels) -> Tensor:
        return tensor(models.encoder.configs(self.problem.pending)).reshape(-1, models.X.shape[1])


def _leaders(problem: Problem) -> list[Config]:
    """Return the configurations that were measured, the best feasible ones first."""
    found = ranking.contenders(problem.history, problem.objective)
    found.sort(key=lambda c: (not c.feasible, len(c.outcome.violations), -c.goals[0]))
    return list({c.trial.key: c.config for c in found}.values())

"""A study at one moment."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from autotune.analysis.distribution import AllowedDistribution
from autotune.analysis.model_facts import ModelFacts
from autotune.core import ranking
from autotune.core.binding import binding_limit
from autotune.core.copy_state import CopyState
from autotune.core.decision import Decision, Predictions
from autotune.core.drift import Drift, find_drift
from autotune.core.estimate_text import sentence_unit
from autotune.core.objective import Objective
from autotune.core.space import Space
from autotune.core.trial import Config, Reason, Trial, TrialState, config_key
from autotune.core.verdict import UNDECIDED, Verdict, verdict
from autotune.engine.base import Posterior, posterior
from autotune.engine.registry import stored_engine
from autotune.errors import AutotuneError, SpecError, did_you_mean
from autotune.spec.sections import EngineConfig
from autotune.spec.stored import StoredSpec

_BESIDE = {
    Reason.WATCH: ("look at the default", "looks at the default"),
    Reason.REMEASURE: ("measured again", "measured again"),
    Reason.CONFIRM: ("confirmation", "confirmations"),
}
"""What is measured on top of a search, one and several."""

TIME_IS_OVER = "its time of"
"""Begin of the reason for which a study stopped that has spent its time."""

LEAST_MODELLED = 5
"""Configurations with a measurement below which no model is made: it would show no more than its prior."""


@dataclass(frozen=True, eq=False)
class StudyView:
    """A study at one moment.

    Args:
        name: Name of the study.
        space: Search space.
        objective: Objective with its limits.
        trials: All of them, in number order.
        state: State, such as ``running``, ``completed`` or ``interrupted``.
        budget_trials: Trials planned, confirmation not counted; ``None`` when unknown.
        budget_seconds: Time planned; ``None`` without a limit.
        confirm: Launches planned for each of the winner and the default at the end.
        predictions: Expectation of a model for each measured configuration; ``None`` without one.
        started_ns: Wall clock when this run of the study began, nanoseconds since the epoch.
        now_ns: Wall clock of this view.
        running: ``(number, attempt, started_ns)`` of every attempt in flight.
        ledger: Path of the ledger file.
        options: Options of the command that ran it, for those that go on with it.
        tracking: Address of the tracking store; empty without one.
        resumed: Whether earlier runs left trials.
        stopped: Reason why the search ended before its budget; empty if it did not.
        spec: The study file as the ledger has it; empty where there is none.
        deploy: Lines that say how the recommended configuration is deployed; empty for a function.
        run_urls: Address of a trial's run in the tracking store by number, where a browser can open it.
        model_note: Facts of the model that the ledger keeps; empty where there are none.
        no_model: Reason why nothing was predicted, such as a library that is missing here; mostly empty.
        copies: State of the ledger's copies in the tracking store; ``None`` where none was tried.
    """

    name: str
    space: Space
    objective: Objective
    trials: Sequence[Trial]
    state: str = "running"
    budget_trials: int | None = None
    budget_seconds: float | None = None
    confirm: int = 0
    predictions: Predictions | None = None
    started_ns: int = 0
    now_ns: int = 0
    running: Sequence[tuple[int, int, int]] = ()
    ledger: str = ""
    options: tuple[str, ...] = ()
    tracking: str = ""
    resumed: bool = False
    stopped: str = ""
    spec: StoredSpec = field(default_factory=StoredSpec)
    deploy: Sequence[str] = ()
    run_urls: Mapping[int, str] = field(default_factory=dict)
    model_note: Mapping[str, object] = field(default_factory=dict)
    no_model: str = ""
    copies: CopyState | None = None

    @property
    def resumable(self) -> bool:
        """Whether `autotune resume` can go on with it: a study of a file, not of a Python function."""
        return self.spec.has_system

    @property
    def settled(self) -> bool:
        """Whether nothing more is measured for now, so that a decision can be made."""
        return self.state != "running"

    @cached_property
    def decision(self) -> Decision:
        """Which configuration to recommend, by all measurements."""
        default = config_key(self.default_config)
        return Decision(
            self.trials, self.objective, default, confirm=self.confirm, predictions=self.predictions
        )

    @cached_property
    def best(self) -> ranking.Contender | None:
        """The configuration to deploy; the best so far, as measured, while the study runs."""
        if self._unjudged:
            return None
        if not self.settled:
            return ranking.best(self.trials, self.objective)
        found = self.decision.recommended
        return None if found is None else found.contender

    @property
    def _unjudged(self) -> bool:
        """Whether a limit is relative to a default that was not measured, and is not going to be."""
        return bool(self.objective.awaited) and (self.settled or self._default_lost)

    @property
    def _default_lost(self) -> bool:
        key = config_key(self.default_config)
        ended = any(trial.key == key and trial.state.finished for trial in self.trials)
        return ended and not self.decision.default_pending

    @property
    def recommends(self) -> bool:
        """Whether :attr:`best` keeps every limit as surely as asked; else it is the nearest only."""
        return self.best is not None and (not self.settled or self.decision.winner is not None)

    @property
    def best_role(self) -> str:
        """Word for :attr:`best` in tables and figures: ``recommended``, or ``nearest``."""
        return "recommended" if self.recommends else "nearest"

    @cached_property
    def default_config(self) -> Config:
        """The default configuration."""
        return self.space.default_config

    @cached_property
    def default(self) -> ranking.Contender | None:
        """What was measured of the default configuration."""
        return ranking.find(self.trials, self.objective, self.default_config)

    @cached_property
    def lead(self) -> ranking.Improvement | None:
        """By how much the best so far is better than the default, as measured, without an error."""
        best, default, goal = self.best, self.default, self.objective.goals[0]
        if best is None or default is None or best.trial.key == default.trial.key:
            return None
        if not default.feasible or not {goal.metric} <= set(best.metrics) & set(default.metrics):
            return None
        a, b = (c.metrics[goal.metric].value for c in (best, default))
        relative = a > 0 and b > 0
        value = (a / b) ** goal.sign if relative else goal.sign * (a - b)
        return ranking.Improvement(
            value, None, None, relative, (best.launches, default.launches), goal.maximize
        )

    @cached_property
    def pareto_front(self) -> list[Trial]:
        """Feasible trials that no other one beats in every goal; none while a limit cannot be judged."""
        return ranking.pareto_front(self.trials, self.objective)

    @cached_property
    def verdict(self) -> Verdict:
        """What the study found, in words; nothing while it runs."""
        return verdict(self.decision) if self.settled else UNDECIDED

    def half_width(self, side: ranking.Contender, metric: str) -> float | None:
        """Return the half-width of the 95 % interval of a configuration's metric, all its launches pooled."""
        return self.decision.half_width(side, metric)

    def shown_unit(self, metric: str) -> str:
        """Return the unit that a metric of any configuration is shown in: its limit's, or the best's."""
        found = [side.metrics.get(metric) for side in (self.best, self.default) if side is not None]
        units = [sentence_unit(one) for one in found if one is not None and one.value]
        return self.objective.symbol_of(metric) or next(iter(units), "")

    @cached_property
    def binding(self) -> str:
        """Which limit binds and by how much, or cannot be judged, while nothing is feasible; else empty."""
        if self._unjudged and self.decision.contenders:
            return self.decision.unbounded
        nearest = self.decision.nearest if self.settled else None
        return binding_limit(self.trials, self.objective, None if nearest is None else nearest.contender)

    @cached_property
    def drift(self) -> Drift | None:
        """How the default configuration changed while the study searched, by its first goal."""
        return find_drift(self.trials, self.objective.goals[0].metric, self.default_config)

    @cached_property
    def facts(self) -> ModelFacts:
        """What :attr:`model` says: from the ledger, or computed when first asked for."""
        return ModelFacts(
            self.model_note,
            self.trials,
            self.objective,
            self.space,
            engine=self.spec.stated("engine"),
            missing=self.no_model,
        )

    @cached_property
    def model(self) -> Posterior | None:
        """What a model makes of the trials, whatever engine proposed them; ``None`` with too few of them.

        Raises:
            ImportError: A library that it needs is not installed here.
        """
        measured = {trial.key for trial in self.trials if trial.metrics}
        if len(measured) < LEAST_MODELLED:
            return None
        for config in self.spec.engine or EngineConfig(), EngineConfig():
            try:
                engine = stored_engine(config.section)
            except AutotuneError:  # a plug-in that is not installed here: the default one speaks for it
                continue
            found = None if engine is None else posterior(engine, self.space, self.objective, self.trials)
            if found is not None:
                return found
        return None

    @cached_property
    def measured_metrics(self) -> tuple[str, ...]:
        """Names of the metrics that some trial measured, in the order in which they came."""
        return tuple(dict.fromkeys(name for trial in self.trials for name in trial.metrics))

    @property
    def stated(self) -> Objective:
        """The objective as people are told it: with limits of which the default's measurement is awaited."""
        return self.objective.stated

    @cached_property
    def allowed(self) -> AllowedDistribution:
        """The uniform distribution over the allowed configurations."""
        return AllowedDistribution(self.space)

    def metric_named(self, metric: str | None) -> str:
        """Return the metric of that name; by default the first goal's.

        Raises:
            SpecError: The objective has none of that name.
        """
        names = self.objective.metrics
        if metric is not None and metric not in names:
            text = f"the study has no metric {metric!r}; allowed: {', '.join(names)}"
            raise SpecError(text, hint=did_you_mean(str(metric), names))
        return names[0] if metric is None else metric

    def measured(self, metric: str) -> list[tuple[Trial, float, float | None]]:
        """Return the trials that measured a metric with its value and standard error, in its base unit."""
        found = []
        for trial in self.trials:
            estimate = trial.metrics.get(metric) if trial.state is TrialState.COMPLETED else None
            value = None if estimate is None else self.objective.value_of(metric, estimate)
            if estimate is not None and value is not None:
                found.append((trial, value, estimate.sem))
        return found

    def unit(self, metric: str) -> str:
        """Return the base unit of a metric; ``1`` where it has none."""
        units = (trial.metrics[metric].unit for trial in self.trials if metric in trial.metrics)
        return self.objective.units.get(metric) or next(units, "1")

    @property
    def elapsed_s(self) -> float:
        """Seconds since this run of the study began."""
        return max(0.0, (self.now_ns - self.started_ns) / 1e9)

    @property
    def finished(self) -> int:
        """Trials of the search to which nothing more will happen."""
        return sum(t.state.finished and t.suggestion.reason.of_search for t in self.trials)

    @property
    def total(self) -> int | None:
        """Trials of the search; ``None`` when unknown. It stays the same until the search ends early."""
        if self.budget_trials is None:
            return None
        searched = sum(t.suggestion.reason.of_search for t in self.trials)
        return searched if self.stopped else max(self.space.searchable(self.budget_trials), searched)

    @property
    def beside(self) -> str:
        """What was measured on top of the search, in words; empty without anything.

        How much there will be follows from what is measured: a doubtful trial is measured again, a winner
        that fails its confirmation gives way to another. It is no part of a total.
        """
        found = Counter(t.suggestion.reason for t in self.trials if t.state.finished)
        return ", ".join(
            f"{found[reason]} {one if found[reason] == 1 else several}"
            for reason, (one, several) in _BESIDE.items()
            if found[reason]
        )

    @property
    def left(self) -> int | None:
        """Trials expected to be measured yet, confirmations included; ``None`` when unknown."""
        if self.total is None:
            return None
        waiting = sum(not t.state.finished and not t.suggestion.reason.of_search for t in self.trials)
        there = sum(t.suggestion.reason is Reason.CONFIRM for t in self.trials)
        more = max(0, self._planned_confirmations(self.total) - there)
        return self.total - self.finished + waiting + more

    def _planned_confirmations(self, planned: int) -> int:
        if len(self.objective.goals) > 1 or self.state != "running":
            return 0
        searched = sum(t.suggestion.reason.of_search for t in self.trials)
        known = self.best is not None and searched >= planned
        wins = (
            known
            and self.best is not None
            and config_key(self.best.config) == config_key(self.default_config)
        )
        return 0 if wins else 2 * self.confirm


def counts(trials: Sequence[Trial]) -> dict[str, int]:
    """Return the count of trials by state, every state there."""
    found = Counter(trial.state for trial in trials)
    return {state.value: found[state] for state in TrialState}


def time_left_s(view: StudyView) -> float | None:
    """Estimate the seconds to the end of the budget; ``None`` before anything is known.

    Median time of a finished trial times the trials left, divided by how many run at once; what the
    running ones have behind them is taken off. A time budget bounds it.
    """
    bound = None if view.budget_seconds is None else max(0.0, view.budget_seconds - view.elapsed_s)
    times = [t.measurement.seconds for t in view.trials if t.state.finished and t.measurement is not None]
    times = [seconds for seconds in times if seconds > 0]
    if view.left is None or not times:
        return bound
    each = statistics.median(times)
    behind = sum(min(each, max(0.0, (view.now_ns - start) / 1e9)) for _, _, start in view.running)
    left = max(0.0, view.left * each - behind) / max(1, len(view.running))
    return left if bound is None else min(left, bound)

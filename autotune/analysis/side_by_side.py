"""Studies side by side, all judged by the objective of the first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from autotune.analysis.change import Change, changes
from autotune.analysis.facts import changed, circumstances
from autotune.analysis.study_view import StudyView
from autotune.core import ranking
from autotune.core.decision import Candidate, Predictions, excess
from autotune.core.objective import Goal, Limit, Objective
from autotune.core.space_change import differences
from autotune.core.trial import Trial, TrialState


@dataclass(frozen=True)
class Compared:
    """A study among others.

    Args:
        label: Short name that no other of the studies has.
        reference: Name by which it was asked for, with the path of its store.
        view: Study, under the objective of the first.
        stated: Objective of its own.
        best: Best configuration under the objective of the first; ``None`` where nothing keeps the limits.
        changes: Its best beside that of the first study; empty for the first.
        differs: Differences from the first, a line each.
        nearest: Configuration to look at where there is no best.
    """

    label: str
    reference: str
    view: StudyView
    stated: Objective
    best: Candidate | None
    changes: tuple[Change, ...] = ()
    differs: tuple[str, ...] = ()
    nearest: Candidate | None = None

    @property
    def shown(self) -> Candidate | None:
        """The configuration whose numbers are shown: the best, else the nearest."""
        return self.best or self.nearest

    @property
    def count(self) -> str:
        """How many configurations its space has, in words."""
        return str(self.view.space.count())

    @property
    def measured(self) -> set[str]:
        """Names of the metrics that some trial measured."""
        return set(self.view.measured_metrics)

    @property
    def unjudged(self) -> tuple[str, ...]:
        """Metrics that the goals and limits of the first study ask for and no trial measured."""
        return tuple(name for name in self.view.objective.metrics if name not in self.measured)


@dataclass(frozen=True)
class Comparison:
    """Studies side by side.

    Args:
        objective: Objective of the first, which all are judged by.
        studies: Studies to compare, two or more.
    """

    objective: Objective
    studies: tuple[Compared, ...] = field(default=())


def compare(
    labels: Sequence[str],
    references: Sequence[str],
    views: Sequence[StudyView],
    wanted: Sequence[Objective],
    settings: Sequence[Sequence[str]],
) -> Comparison:
    """Set studies side by side.

    Args:
        labels: Short names, all different.
        references: Names by which they were asked for.
        views: The studies.
        wanted: Their objectives as stated, limits relative to the default unbound.
        settings: Differences of each study's file from the first, a line each.
    """
    found: list[Compared] = []
    for label, reference, view, stated, lines in zip(
        labels, references, views, wanted, settings, strict=True
    ):
        same = stated.fingerprint == wanted[0].fingerprint
        here = view if same else under_objective(view, wanted[0])
        best = max(here.decision.holding, key=lambda c: c.score, default=None)
        if same and here.settled:
            best = here.decision.recommended or best
        one = Compared(label, reference, here, stated, best, nearest=None if best else here.decision.nearest)
        found.append(_beside(found[0], one, lines) if found else one)
    return Comparison(wanted[0], tuple(found))


def under_objective(view: StudyView, wanted: Objective) -> StudyView:
    """Return a study as another objective judges what it measured.

    Args:
        view: Study.
        wanted: The objective, limits relative to the default unbound.
    """
    asked = ranking.anchored(view.trials, wanted, view.space)
    trials = [_in_units(trial, asked) for trial in view.trials]
    return replace(view, trials=trials, objective=asked, predictions=_predictions(view, asked))


def _in_units(trial: Trial, objective: Objective) -> Trial:
    """Return a trial whose plain numbers have the units that the objective compares them in."""
    if trial.measurement is None:
        return trial
    known = {name: e for name, e in trial.metrics.items() if e.unit in ("1", "") and name in objective.units}
    if not known:
        return trial
    metrics = {**trial.metrics, **{name: replace(e, unit=objective.units[name]) for name, e in known.items()}}
    return replace(trial, measurement=replace(trial.measurement, metrics=metrics))


def _predictions(view: StudyView, asked: Objective) -> Predictions | None:
    """Return what a study's model predicts of the goals and limits of another objective, where it does."""
    if view.predictions is None:
        return None
    own = _judged(view.objective)
    places: list[tuple[int, float]] = []
    for wanted in _judged(asked):
        at = next((i for i, one in enumerate(own) if _alike(one, wanted)), len(own))
        before = own[at] if at < len(own) else None
        shift = 0.0
        if isinstance(before, Limit) and isinstance(wanted, Limit):  # distances are those from the bound
            shift = excess(wanted, before.bound, logarithm=wanted.bound > 0)
        places.append((at, shift))
    unknown = (math.nan, math.nan)
    return {
        key: [(pairs[at][0] + shift, pairs[at][1]) if at < len(pairs) else unknown for at, shift in places]
        for key, pairs in view.predictions.items()
    }


def _judged(objective: Objective) -> list[Goal | Limit]:
    """Return the goals, then the limits, in the order of predictions."""
    return [*objective.goals, *(limit for limit in objective.limits if not limit.relative)]


def _alike(own: Goal | Limit, wanted: Goal | Limit) -> bool:
    """Return whether predictions of one are those of the other, but for the bound."""
    if isinstance(own, Limit) and isinstance(wanted, Limit):
        same = (own.metric, own.upper, own.unit) == (wanted.metric, wanted.upper, wanted.unit)
        return same and (own.bound > 0) == (wanted.bound > 0)
    return own == wanted


def _beside(first: Compared, one: Compared, settings: Sequence[str]) -> Compared:
    """Return a study with its best beside that of the first, and what differs."""
    pairs: list[Change] = []
    if first.best is not None and one.best is not None:
        keys = (first.best.key, one.best.key)
        pairs = changes(first.view.decision, one.view.decision, keys, first.view.objective)
    done = [[t for t in side.view.trials if t.state is TrialState.COMPLETED] for side in (first, one)]
    differs = [*differences(first.view.space, one.view.space)]
    if first.stated.fingerprint != one.stated.fingerprint:
        differs.append(f"objective: {first.stated} -> {one.stated}")
    differs += [*settings, *changed(circumstances(done[0]), circumstances(done[1]))]
    return replace(one, changes=tuple(pairs), differs=tuple(differs))

"""Studies side by side, all judged by the objective of the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from autotune.analysis.change import Change, changes
from autotune.analysis.facts import changed, circumstances
from autotune.analysis.study_view import StudyView
from autotune.core import ranking
from autotune.core.decision import Candidate
from autotune.core.objective import Objective
from autotune.core.space_change import differences
from autotune.core.trial import Trial, TrialState


@dataclass(frozen=True)
class Compared:
    """A study among others.

    Args:
        label: Name by which it was asked for.
        view: Study, under the objective of the first.
        stated: Objective of its own.
        best: Best configuration under the objective of the first; ``None`` where nothing keeps the limits.
        changes: Its best beside that of the first study; empty for the first.
        differs: Differences from the first, a line each.
        nearest: Configuration to look at where there is no best.
    """

    label: str
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
        return {name for trial in self.view.trials for name in trial.metrics}

    @property
    def unjudged(self) -> tuple[str, ...]:
        """Metrics that limits of the first study ask for and no trial measured."""
        names = dict.fromkeys(limit.metric for limit in self.view.objective.limits)
        return tuple(name for name in names if name not in self.measured)


@dataclass(frozen=True)
class Comparison:
    """Studies side by side.

    Args:
        objective: Objective of the first, which all are judged by.
        studies: At least two of them.
    """

    objective: Objective
    studies: tuple[Compared, ...] = field(default=())


def compare(
    labels: Sequence[str],
    views: Sequence[StudyView],
    wanted: Sequence[Objective],
    settings: Sequence[Sequence[str]],
) -> Comparison:
    """Set studies side by side.

    Args:
        labels: Names by which they were asked for.
        views: The studies.
        wanted: Their objectives as stated, limits relative to the default unbound.
        settings: Differences of each study's file from the first, a line each.
    """
    found: list[Compared] = []
    for label, view, stated, lines in zip(labels, views, wanted, settings, strict=True):
        asked = ranking.anchored(view.trials, wanted[0], view.space)
        same = stated.fingerprint == wanted[0].fingerprint
        trials = view.trials if same else [_in_units(trial, asked) for trial in view.trials]
        here = view if same else replace(view, trials=trials, objective=asked, predictions=None)
        best = max(here.decision.holding, key=lambda c: c.score, default=None)
        if same and here.settled:
            best = here.decision.recommended or best
        one = Compared(label, here, stated, best, nearest=None if best else here.decision.nearest)
        found.append(_beside(found[0], one, lines) if found else one)
    return Comparison(wanted[0], tuple(found))


def _in_units(trial: Trial, objective: Objective) -> Trial:
    """Return a trial whose plain numbers have the units that the objective compares them in."""
    if trial.measurement is None:
        return trial
    known = {name: e for name, e in trial.metrics.items() if e.unit in ("1", "") and name in objective.units}
    if not known:
        return trial
    metrics = {**trial.metrics, **{name: replace(e, unit=objective.units[name]) for name, e in known.items()}}
    return replace(trial, measurement=replace(trial.measurement, metrics=metrics))


def _beside(first: Compared, one: Compared, settings: Sequence[str]) -> Compared:
    """Return a study with its best beside that of the first, and what differs."""
    pairs: list[Change] = []
    if first.best is not None and one.best is not None:
        configs = (first.best.contender.config, one.best.contender.config)
        trials, default = (first.view.trials, one.view.trials), first.view.default_config
        pairs = changes(*trials, configs, first.view.objective, default)
    done = [[t for t in side.view.trials if t.state is TrialState.COMPLETED] for side in (first, one)]
    differs = [*differences(first.view.space, one.view.space)]
    if first.stated.fingerprint != one.stated.fingerprint:
        differs.append(f"objective: {first.stated} -> {one.stated}")
    differs += [*settings, *changed(circumstances(done[0]), circumstances(done[1]))]
    return replace(one, changes=tuple(pairs), differs=tuple(differs))

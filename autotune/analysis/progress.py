"""The best configuration so far, after each trial and over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autotune.analysis.study_view import StudyView
from autotune.core.measurement import Estimate
from autotune.core.objective import Objective
from autotune.core.ranking import judged
from autotune.core.trial import Reason, Trial, TrialState, config_key


@dataclass(frozen=True)
class Step:
    """One trial on the way.

    Args:
        number: Number of the trial.
        kind: ``kept`` (within all limits), ``limit`` (it breaks one), ``unknown`` (one cannot be judged),
            ``doubtful`` or ``failed``.
        reason: Reason why it was measured, such as ``explore`` or ``confirm``.
        estimate: Estimate of the first goal; ``None`` without a measurement.
        best: Best value of the search so far that kept every limit, as measured; ``None`` before the first.
        seconds: Measuring time of the study until the trial ended; ``None`` where it is not known.
        default: Whether it is of the default configuration.
    """

    number: int
    kind: str
    reason: str
    estimate: Estimate | None
    best: float | None
    seconds: float | None
    default: bool


@dataclass(frozen=True)
class Progress:
    """The way of a study to its best configuration.

    Args:
        metric: Metric of the first goal.
        unit: Its unit.
        maximize: Whether more is better.
        steps: Finished trials in number order.
        default: Estimate of the default configuration, all launches pooled.
        best: Estimate of the recommended configuration, fresh launches pooled.
        best_half: Half-width of its 95 % interval.
        best_trial: Number of the recommended trial.
        best_role: ``recommended``, or ``nearest`` where nothing is.
        shown_unit: Unit that a limit on it is shown in; empty without one.
    """

    metric: str
    unit: str
    maximize: bool
    steps: tuple[Step, ...]
    default: Estimate | None
    best: Estimate | None
    best_half: float | None
    best_trial: int | None
    best_role: str = "recommended"
    shown_unit: str = ""


def progress(view: StudyView) -> Progress:
    """Return how the search came to its best configuration.

    Confirmations, looks at the default and repeats are steps, and none of them moves the best so far: pooled
    with the measurement that was chosen for being good they would let it fall.
    """
    goal = view.objective.goals[0]
    best: float | None = None
    ended = busy_seconds(view.trials)
    steps = []
    default = config_key(view.default_config)
    for trial in view.trials:
        if not trial.state.finished:
            continue
        kind = kind_of(trial, view.objective)
        estimate = trial.metrics.get(goal.metric)
        if kind == "kept" and estimate is not None and trial.suggestion.reason.of_search:
            better = best is None or goal.sign * estimate.value > goal.sign * best
            best = estimate.value if better else best
        steps.append(
            Step(
                trial.number,
                kind,
                trial.suggestion.reason.value,
                estimate,
                best,
                ended.get(trial.number),
                trial.key == default,
            )
        )
    found = view.best
    units = [step.estimate.unit for step in steps if step.estimate is not None]
    return Progress(
        goal.metric,
        units[-1] if units else "1",
        goal.maximize,
        tuple(steps),
        None if view.default is None else view.default.metrics.get(goal.metric),
        None if found is None else found.metrics.get(goal.metric),
        None if found is None else view.half_width(found, goal.metric),
        None if found is None else found.trial.number,
        view.best_role,
        view.objective.shown_unit(goal.metric),
    )


def kind_of(trial: Trial, objective: Objective) -> str:
    """Return ``kept``, ``limit``, ``unknown``, ``doubtful`` or ``failed`` for a finished trial."""
    if trial.state is not TrialState.COMPLETED:
        return "failed"
    if trial.doubt and not objective.surely_broken(trial.metrics):
        return "doubtful"
    return kind_by(objective.score(trial.metrics).feasible, objective)


def kind_by(feasible: bool, objective: Objective) -> str:
    """Return ``kept``, ``limit``, or ``unknown`` while a limit cannot be judged that may be broken."""
    known = judged(feasible, objective)
    return "unknown" if known is None else "kept" if known else "limit"


def busy_seconds(trials: Sequence[Trial]) -> dict[int, float]:
    """Return by trial how long the study had measured when it ended; pauses between runs do not count."""
    timed = [
        (t.measurement.started_ns, t.measurement.ended_ns, t.number)
        for t in trials
        if t.measurement is not None and 0 < t.measurement.started_ns <= t.measurement.ended_ns
    ]
    stretches: list[tuple[int, int, int]] = []  # start, end, busy time before it
    for start, end, _ in sorted(timed):
        if stretches and start <= stretches[-1][1]:
            begun, until, before = stretches[-1]
            stretches[-1] = (begun, max(until, end), before)
        else:
            before = stretches[-1][2] + stretches[-1][1] - stretches[-1][0] if stretches else 0
            stretches.append((start, end, before))
    result = {}
    at = 0
    for start, end, number in sorted(timed):
        while not stretches[at][0] <= start <= stretches[at][1]:
            at += 1
        result[number] = (stretches[at][2] + end - stretches[at][0]) / 1e9
    return result


PURPOSES = ("search", "confirmation", "looks at the default", "measured again", "failed")
"""What a trial's time was spent for."""


def purpose_of(trial: Trial) -> str:
    """Return what a trial's time was spent for, one of :data:`PURPOSES`."""
    if trial.state is not TrialState.COMPLETED:
        return PURPOSES[4]
    beside = {Reason.CONFIRM: PURPOSES[1], Reason.WATCH: PURPOSES[2], Reason.REMEASURE: PURPOSES[3]}
    return beside.get(trial.suggestion.reason, PURPOSES[0])

"""Mistakes of a study's owner: failures that no configuration is to blame for and no retry would mend.

A misspelt function, a metric that nothing reports or an engine that is not installed fails every trial alike.
It shows on the default configuration, before anything was measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from autotune.core.diagnosis import ABSENT_SIGNS, CODE_SIGNS, METRIC_SIGNS, USAGE_SIGNS, matcher
from autotune.core.measurement import Cause, Estimate, Failure, Measurement
from autotune.core.objective import Objective
from autotune.core.trial import Trial, TrialState
from autotune.errors import AutotuneError, EnvironmentProblem, SpecError, UnitError, did_you_mean

SAME_FAILURES = 3
"""Distinct configurations that must fail with one message, before anything was measured, to end a study."""

NOT_FINITE = "not_finite"
"""Fact of a measurement: metrics that were NaN or infinite and were left out, by name."""

_TAIL_LINES = 8
_BLAMED = (Cause.CRASHED_UNDER_LOAD, Cause.WRONG_OUTPUT, Cause.REJECTED_FLAGS)
_CODE, _USAGE = matcher(CODE_SIGNS), matcher(USAGE_SIGNS)
_NO_METRICS, _ABSENT = matcher(METRIC_SIGNS), matcher(ABSENT_SIGNS)


def complete(measurement: Measurement, objective: Objective) -> Measurement:
    """Return the measurement, or a failure ``wrong_output`` in its place where a needed metric is absent.

    What was reported stays among the facts of the failure. Other metrics that were left out because they are
    not finite are a warning among the facts.

    Args:
        measurement: Measurement of one attempt.
        objective: Its goals and its limits name the metrics that are needed.
    """
    if measurement.failure is not None:
        return measurement
    goals = [goal.metric for goal in objective.goals]
    limits = [limit.metric for limit in objective.limits]
    said = missing_metrics(goals, limits, measurement)
    odd = measurement.facts.get(NOT_FINITE)
    if not said and odd:
        shown = ", ".join(f"{name} is {text}" for name, text in odd.items())
        about = dict(measurement.facts.get("measured") or {})
        warnings = [*about.get("warnings", ()), f"metrics that are no finite numbers are left out: {shown}"]
        return replace(measurement, facts={**measurement.facts, "measured": {**about, "warnings": warnings}})
    if not said:
        return measurement
    reported = {name: estimate.to_dict() for name, estimate in measurement.metrics.items()}
    facts = {**measurement.facts, "reported": reported}
    return replace(measurement, metrics={}, failure=Failure(Cause.WRONG_OUTPUT, said), facts=facts)


def comparable(
    measurement: Measurement, in_units: Callable[[Mapping[str, Estimate]], dict[str, Estimate]]
) -> Measurement:
    """Return the measurement in the units that it is compared in, or a failure where it has other ones.

    Args:
        measurement: Measurement of one attempt.
        in_units: Function that converts metrics; raises :class:`UnitError` for a unit of another dimension.
    """
    try:
        return replace(measurement, metrics=in_units(measurement.metrics))
    except UnitError as error:
        reported = {name: estimate.to_dict() for name, estimate in measurement.metrics.items()}
        failure = Failure(Cause.OWNER_MISTAKE, error.line)
        return replace(
            measurement, metrics={}, failure=failure, facts={**measurement.facts, "reported": reported}
        )


def missing_metrics(goals: Sequence[str], limits: Sequence[str], measurement: Measurement) -> str:
    """Return which needed metrics a measurement lacks, with the nearest reported names; empty if none.

    Args:
        goals: Metrics to optimize.
        limits: Metrics that limits bound.
        measurement: Measurement as reported.
    """
    odd: Mapping[str, str] = measurement.facts.get(NOT_FINITE) or {}
    needed = {name: f"limit on {name!r}" for name in limits} | {name: f"goal {name!r}" for name in goals}
    absent = [name for name in needed if name not in measurement.metrics]
    for name in absent:
        if name in odd:
            about = "" if "beyond" in odd[name] else ", not a finite number"
            return f"the {needed[name]} is {odd[name]}{about}"
    if not absent:
        return ""
    said = f"the result lacks the {' and the '.join(needed[name] for name in absent)}"
    near = did_you_mean(absent[0], measurement.metrics)
    names = ", ".join(measurement.metrics) or "none"
    return f"{said}; reported: {names}" + (f"; {near}" if near else "")


def blamed(failure: Failure, *, is_default: bool, measured: bool) -> Failure:
    """Return a failure with the owner as its cause where no configuration can be to blame.

    Args:
        failure: Failure as whoever ran the attempt reported it.
        is_default: Whether the default configuration failed.
        measured: Whether any trial of the study was measured.
    """
    if measured or not is_default or failure.cause not in _BLAMED:
        return failure
    signs = {Cause.CRASHED_UNDER_LOAD: (_CODE, _USAGE), Cause.REJECTED_FLAGS: (_USAGE,)}
    patterns = signs.get(failure.cause, (_NO_METRICS,))
    if any(pattern.search(failure.message) for pattern in patterns):
        return replace(failure, cause=Cause.OWNER_MISTAKE)
    return failure


def repeated(trials: Sequence[Trial], number: int, failure: Failure) -> bool:
    """Return whether it is the study that fails: nothing was measured, and the message is always the same.

    Args:
        trials: Trials of the study.
        number: Number of the trial that fails now, as the third distinct configuration or a later one.
        failure: Failure of that trial.
    """
    if failure.cause not in _BLAMED or any(trial.state is TrialState.COMPLETED for trial in trials):
        return False
    keys = {trial.key for trial in trials if trial.number == number or _alike(trial, failure)}
    return len(keys) >= SAME_FAILURES


def alike(trials: Sequence[Trial], failure: Failure) -> list[int]:
    """Return the trials that failed as ``failure`` did: where that is the owner's mistake, so is theirs."""
    return [trial.number for trial in trials if _alike(trial, failure)]


def _alike(trial: Trial, failure: Failure) -> bool:
    found = trial.failure if trial.state.finished else None
    blameable = found is not None and found.cause in _BLAMED
    return blameable and found is not None and found.message == failure.message


def mistake_error(failure: Failure, where: str, *, alike: bool = False) -> AutotuneError:
    """Return the error that ends a study: the message itself with the last lines of the log.

    Args:
        failure: The owner's mistake.
        where: Trial in which it showed.
        alike: Whether it is taken for one because every configuration failed with this message.

    Returns:
        An :class:`EnvironmentProblem` (exit code 3) where the machine lacks something, otherwise a
        :class:`SpecError` (2).
    """
    kind = EnvironmentProblem if _ABSENT.search(failure.message) else SpecError
    tail = failure.log_tail.strip().splitlines()[-_TAIL_LINES:]
    text = "".join(f"\n  | {line}" for line in tail)
    return kind(
        f"{where}: {failure.message}{text}",
        hint="no configuration is charged with this; once it is mended, the same command goes on"
        + (", as it does where the configurations are to blame" if alike else ""),
    )

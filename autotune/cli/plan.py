"""Commands on a study file that start no study: check and measure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autotune.cli.options import (
    json_option,
    pass_env_option,
    read_pairs,
    set_option,
    show_trusted,
    store_option,
    trust_option,
)
from autotune.cli.output import echo, echo_json
from autotune.errors import EnvironmentProblem, NothingFeasible

if TYPE_CHECKING:
    from autotune.core.measurement import Measurement
    from autotune.core.objective import Objective
    from autotune.core.trial import Config
    from autotune.executor.base import AttemptResult


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@set_option
@trust_option
@store_option
@json_option
def check(file: Path, overrides: tuple[str, ...], trust_space: bool, store: Path, as_json: bool) -> int:
    """Say whether FILE is right, and whether it can run here.

    Shows what running it would do, and launches nothing. The exit code is that of a run that could not
    begin: 2 for a mistake in the file, 3 for what this machine lacks.
    """
    from autotune.study.plan import make_plan, plan_lines
    from autotune.study.readiness import readiness
    from autotune.study.study_file import read_study

    spec = read_study(file, overrides, trust_space=trust_space)
    show_trusted(spec)
    found = readiness(spec, overrides)
    first = found.errors[0] if found.errors else None
    shown = found.errors if as_json else found.errors[1:]  # the first one ends the command
    plan = make_plan(spec, store, found.warnings, [error.message for error in shown])
    if as_json:
        code = 0 if first is None else first.exit_code
        error = {} if first is None else {"message": first.message, "hint": first.hint, "exit_code": code}
        echo_json({**plan.to_dict(), **({"error": error} if error else {})})
        return code
    echo("\n".join(plan_lines(plan)))
    if first is not None:
        raise first
    return 0


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--config",
    "pairs",
    multiple=True,
    metavar="NAME=VALUE",
    help="Value of a parameter; those not named keep their default. May be repeated.",
)
@set_option
@click.option("--ray", is_flag=True, help="Measure on Ray instead of in a child process.")
@pass_env_option
@trust_option
@store_option
@json_option
def measure(
    file: Path,
    pairs: tuple[str, ...],
    overrides: tuple[str, ...],
    ray: bool,
    trust_space: bool,
    store: Path,
    as_json: bool,
) -> None:
    """Measure one configuration of FILE.

    Nothing enters a study.
    """
    from autotune.study.measure_once import measure_once
    from autotune.study.study_file import read_study

    spec = read_study(file, overrides, trust_space=trust_space)
    show_trusted(spec)
    config = {p.name: p.fallback for p in spec.space} | dict(read_pairs(pairs, "--config"))
    config = spec.space.validate(config)
    result = measure_once(spec, config, store=store, local=not ray)
    if as_json:
        echo_json({"config": config, **result.measurement.to_dict(), "node": result.node})
    else:
        echo("\n".join(result_lines(config, result, spec.objective)))
    _raise_failure(result)


def result_lines(config: dict[str, Any], result: AttemptResult, objective: Objective) -> list[str]:
    """Return what one attempt measured as lines for people."""
    from autotune.core.measurement import DOUBT, SHORTFALL
    from autotune.report.summary import measurement_lines, warnings_of
    from autotune.report.text import show_config, show_seconds

    measurement = result.measurement
    lines = [show_config(config)]
    if measurement.failure is not None:
        tail = measurement.failure.log_tail.strip()
        return lines + ([f"  | {line}" for line in tail.splitlines()[-20:]] if tail else [])
    lines += measurement_lines(measurement.metrics, objective)
    short = measurement.facts.get(DOUBT) or measurement.facts.get(SHORTFALL)
    lines += [f"{'doubtful' if DOUBT in measurement.facts else 'not reached'}: {short}"] if short else []
    lines += [f"warning: {note}" for note in warnings_of(measurement)]
    lines += _limit_lines(config, measurement, objective)
    return [*lines, f"measured in {show_seconds(measurement.seconds)} on {result.node or 'this machine'}"]


def _limit_lines(config: Config, measurement: Measurement, objective: Objective) -> list[str]:
    """Return what one measurement says of each limit, with a study's doubt and chance."""
    from autotune.core.decision import Decision
    from autotune.core.trial import Reason, Suggestion, Trial, TrialState
    from autotune.core.verdict import show_chance

    suggestion = Suggestion(config, Reason.DEFAULT)
    trial = Trial(0, suggestion, TrialState.COMPLETED, 1, measurement)
    candidates = Decision([trial], objective, trial.key).candidates
    chances = candidates[0].chances if candidates else {}
    in_doubt = trial.doubt and not objective.surely_broken(trial.metrics)
    outcome = objective.score(trial.metrics)
    lines = []
    for limit in objective.limits:
        said = "broken" if str(limit) in outcome.violations else "kept"
        said = f"in doubt, {said} as measured" if in_doubt else said
        if str(limit) in chances:
            said += f"; chance that it holds {show_chance(chances[str(limit)])}"
        if limit.relative:
            said = "not judged, as the default was not measured beside it"
        lines.append(f"limit {limit}: {'not measured' if limit.metric in outcome.missing else said}")
    return lines


def _raise_failure(result: AttemptResult) -> None:
    from autotune.core.measurement import Cause
    from autotune.core.mistake import mistake_error

    failure = result.measurement.failure
    if failure is None:
        return
    message = f"{failure.cause.value}: {failure.message}"
    if failure.cause is Cause.OWNER_MISTAKE:
        raise mistake_error(replace(failure, log_tail=""), "this configuration")  # the log was shown
    if failure.cause.configuration_at_fault:
        raise NothingFeasible(message)
    raise EnvironmentProblem(message, hint="the configuration is not at fault; look at the log and repeat")

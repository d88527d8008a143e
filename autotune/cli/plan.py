"""Commands on a study file that start no study: check and measure."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autotune.cli.options import json_option, read_pairs, set_option, store_option
from autotune.cli.output import echo, echo_json
from autotune.errors import EnvironmentProblem, NothingFeasible

if TYPE_CHECKING:
    from autotune.core.objective import Objective
    from autotune.executor.base import AttemptResult
    from autotune.spec.study_file import StudySpec


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@set_option
@json_option
def check(file: Path, overrides: tuple[str, ...], as_json: bool) -> None:
    """Say whether FILE is right.

    Shows what running it would do, and launches nothing.
    """
    from autotune.sections import read_study
    from autotune.systems.registry import build_system

    spec = read_study(file, overrides)
    default = spec.space.default_config
    data: dict[str, Any] = {
        "name": spec.name,
        "configurations": {"count": spec.space.count().value, "exact": spec.space.count().exact},
        "parameters": list(spec.space.names),
        "constraints": list(spec.space.constraints),
        "default": dict(default),
        "objective": spec.objective.to_dict(),
        "budget": {"trials": spec.budget.trials, "seconds": spec.budget.time_s},
        "engine": dict(spec.engine),
        "system": spec.system.get("use"),
    }
    if spec.system:
        system = build_system(spec.system)
        failure = system.check(default)
        data["deploy"] = system.deploy(default)
        data["default_problem"] = None if failure is None else f"{failure.cause.value}: {failure.message}"
    if as_json:
        echo_json(data)
        return
    echo("\n".join(plan_lines(spec, data)))


def plan_lines(spec: StudySpec, data: dict[str, Any]) -> list[str]:
    """Return the plan of a study as lines for people."""
    from autotune.report.text import show_config, show_seconds, wrap

    time_s = spec.budget.time_s
    budget = f"{spec.budget.trials} trials" + ("" if time_s is None else f", at most {show_seconds(time_s)}")
    rows = {
        "study": spec.name,
        "space": f"{spec.space.count()} configurations of {len(spec.space)} parameters",
        "objective": str(spec.objective),
        "budget": budget,
        "engine": str(spec.engine.get("use", "")),
        "system": str(spec.system.get("use", "none")),
        "default": show_config(data["default"]),
    }
    if data.get("deploy"):
        rows["command"] = shlex.join(data["deploy"])
    if data.get("default_problem"):
        rows["problem"] = f"the default cannot be launched: {data['default_problem']}"
    return [line for key, text in rows.items() for line in wrap(f"{key:<10} {text}", 100, indent=" " * 11)]


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
@store_option
@json_option
def measure(
    file: Path, pairs: tuple[str, ...], overrides: tuple[str, ...], ray: bool, store: Path, as_json: bool
) -> None:
    """Measure one configuration of FILE.

    Nothing enters a study.
    """
    from autotune.attempts import measure_once
    from autotune.sections import read_study

    spec = read_study(file, overrides)
    config = {p.name: p.fallback for p in spec.space} | dict(read_pairs(pairs, "--config"))
    config = spec.space.validate(config)
    result = measure_once(spec, config, store=store, local=not ray)
    if as_json:
        echo_json({"config": config, **result.to_dict()["measurement"], "node": result.node})
    else:
        echo("\n".join(result_lines(config, result, spec.objective)))
    _raise_failure(result)


def result_lines(config: dict[str, Any], result: AttemptResult, objective: Objective) -> list[str]:
    """Return what one attempt measured as lines for people."""
    from autotune.report.summary import measurement_lines
    from autotune.report.text import show_config, show_seconds

    measurement = result.measurement
    lines = [show_config(config)]
    if measurement.failure is not None:
        tail = measurement.failure.log_tail.strip()
        return lines + ([f"  | {line}" for line in tail.splitlines()[-20:]] if tail else [])
    lines += measurement_lines(measurement.metrics)
    outcome = objective.score(measurement.metrics)
    for limit in objective.limits:
        kept = "broken" if str(limit) in outcome.violations else "kept"
        lines.append(f"limit {limit}: {'not measured' if limit.metric in outcome.missing else kept}")
    return [*lines, f"measured in {show_seconds(measurement.seconds)} on {result.node or 'this machine'}"]


def _raise_failure(result: AttemptResult) -> None:
    failure = result.measurement.failure
    if failure is None:
        return
    message = f"{failure.cause.value}: {failure.message}"
    if failure.cause.configuration_at_fault:
        raise NothingFeasible(message)
    raise EnvironmentProblem(message, hint="the configuration is not at fault; look at the log and repeat")

"""Read study files with every section checked by the part that it belongs to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from autotune.core.borrowed import Borrowed, Objection
from autotune.core.metric import named_number
from autotune.core.redact import find_secret
from autotune.core.space import Space
from autotune.core.units import known_base
from autotune.engine.base import ModelBased
from autotune.engine.registry import ENGINES, build_engine
from autotune.errors import SpecError, UnitError, did_you_mean
from autotune.measure.load.prompts import check_files
from autotune.measure.quality.section import Quality
from autotune.measure.workload import RateSearch, Workload, served_key
from autotune.spec import load
from autotune.spec.load import Check, ValueKind, load_study_file, study_spec_from_dict
from autotune.spec.study_file import StudySpec
from autotune.systems.effect import find_ineffective
from autotune.systems.own.system import OwnSystem
from autotune.systems.owner_only import objections
from autotune.systems.registry import build_system, declared_units, locate_system

CHECKS: dict[str, Check] = {
    "system": build_system,
    "workload": Workload.from_dict,
    "quality": Quality.from_dict,
    "engine": build_engine,
}


def review(found: Borrowed) -> list[Objection]:
    """Return what a search space says that only the study's owner may say."""
    use = found.engine.get("use", "gp")
    foreign = [] if use in ENGINES.builtin else [Objection(("engine",), f"engine {use!r}", "loads code")]
    return [*objections(found), *foreign]


def read_study(path: str | Path, overrides: Sequence[str] = (), *, trust_space: bool = False) -> StudySpec:
    """Read a study file completely.

    Args:
        path: The file.
        overrides: ``KEY=VALUE`` texts as if written in the file.
        trust_space: Whether what a search space says of models, paths, hosts and code holds; the study lists
            it in ``trusted``.

    Raises:
        SpecError: Something is wrong: ``file:line:column: what was found; what is allowed``.
    """
    together = partial(_check_together, file=Path(path))
    spec = load_study_file(path, overrides, CHECKS, together, _value_kind, review, trust_space=trust_space)
    folder = Path(path).resolve().parent
    quality = Quality.located(spec.quality, folder)
    if quality:
        Quality.from_dict(quality).loaded()  # files that are not there are the file's mistake, not a trial's
    workload = Workload.located(spec.workload, folder)
    if workload:
        check_files(Workload.from_dict(workload))  # the same of a trace and of prompts
    return replace(spec, system=locate_system(spec.system, folder), workload=workload, quality=quality)


def load_space(name: str | Path, *, trust_space: bool = False) -> Space:
    """Read the search space of a shipped name, a space file or a study file, as `autotune run` reads it.

    Args:
        name: A name or a path.
        trust_space: Whether the file may name others outside its own folder, as your own may.

    Raises:
        SpecError: The file is wrong; the message names file, line and column.
    """
    return load.load_space(name, _value_kind, trust_space=trust_space)


def _value_kind(section: Mapping[str, Any]) -> ValueKind:
    """Return how a system reads listed values of parameters; what is wrong with the section is said later."""
    for whole in (section, {**section, "model": "any"}):  # a space file leaves the model to its study
        with suppress(SpecError):
            kind: ValueKind | None = getattr(build_system(whole), "value_kind", None)
            return kind or (lambda name: "")
    return lambda name: ""


def _check_together(spec: StudySpec, file: Path) -> None:
    """Refuse what only shows when sections of ``file`` are seen together."""
    _check_units(spec, file.resolve().parent)
    _check_secrets(spec)
    _check_names(spec)
    _check_effects(spec)
    _check_load(spec)
    _check_measured(spec)
    _check_objective(spec)
    if spec.budget.stop_when == "converged" and not isinstance(build_engine(spec.engine), ModelBased):
        raise SpecError(
            f"engine {spec.engine['use']!r} has no model that could tell when the search has converged",
            path=("budget", "stop_when"),
            hint="use the engine gp, or leave stop_when out",
        )


def _check_secrets(spec: StudySpec) -> None:
    """Refuse secrets: the file is stored in the ledger and shown, and a command's words are seen by all."""
    sections = {
        "system": spec.system,
        "workload": spec.workload,
        "quality": spec.quality,
        "engine": spec.engine,
        "tracking": spec.tracking.to_dict(),
    }
    path = find_secret({key: dict(section) for key, section in sections.items()})
    if path is not None:
        raise SpecError(
            "this is a secret, and a study file is stored and shown",
            path=path,
            hint="leave it in a variable of the environment: `--pass-env NAME` gives it to what is launched, "
            "`key_variable: NAME` sends it with requests, MLFLOW_TRACKING_PASSWORD to MLflow",
        )


def _check_units(spec: StudySpec, folder: Path) -> None:
    """Refuse limits in another unit than the system says that their metric is measured in."""
    units = declared_units(locate_system(spec.system, folder)) if spec.system else {}
    for i, limit in enumerate(spec.objective.limits):
        declared = units.get(limit.metric)
        if declared is None and named_number(limit.metric) and limit.unit != "1":
            raise UnitError(
                f"{limit.metric} is a plain number by its name, found the limit {limit.as_written}",
                path=("objective", "limits", i),
                hint=f"say so if it is not: `units: {{{limit.metric}: {limit.unit}}}` of the system",
            )
        if declared is None or limit.relative:
            continue
        base = known_base(declared) or declared
        plain = limit.unit == "1" and known_base(declared) is None
        if limit.unit != base and not plain:
            shown = declared if declared == base else f"{declared} ({base})"
            kind = "a plain number" if declared == "1" else f"in {shown}"
            raise UnitError(
                f"{limit.metric} is {kind}, as the system's units say; found the limit {limit.as_written}",
                path=("objective", "limits", i),
                hint=f"write it with a unit, such as {limit} {declared}" if limit.unit == "1" else "",
            )


def _check_names(spec: StudySpec) -> None:
    """Refuse parameters that the system does not have: each would fail every trial."""
    if not spec.system:
        return
    system = build_system(spec.system)
    known = system.parameters()
    for name in spec.space.names:
        if known is not None and name not in known:
            use = spec.system["use"]
            raise SpecError(
                f"unknown parameter {name!r} for {use}",
                path=("parameters", name),
                at_key=True,
                hint=did_you_mean(name, known)
                or getattr(system, "parameter_hint", f"`autotune flags {use}` lists those there are"),
            )


def _check_objective(spec: StudySpec) -> None:
    """Refuse a program or function without an objective: it measures itself, and nothing says what counts."""
    if spec.objective_stated or not spec.system or not isinstance(build_system(spec.system), OwnSystem):
        return
    raise SpecError(
        f"a {spec.system['use']} system needs an objective: nothing says which of its metrics is the goal",
        path=("system",),
        hint="`objective: {maximize: METRIC}`, or minimize",
    )


def _check_effects(spec: StudySpec) -> None:
    """Refuse a parameter none of whose values changes anything: it would be searched for nothing."""
    if not spec.system:
        return
    found = find_ineffective(build_system(spec.system), spec.space)
    if found is not None:
        name, why = found
        raise SpecError(
            f"{name!r} changes nothing: not the command, its environment, a file or a request: {why}",
            path=("parameters", name),
            at_key=True,
            hint="leave it out, or give it a single value",
        )


def _is_served(spec: StudySpec) -> bool:
    """Return whether the study's system has an endpoint that a load is put on."""
    return bool(spec.system) and getattr(build_system(spec.system), "served", False)


def _check_load(spec: StudySpec) -> None:
    """Refuse a load over the network for a system that is given batches, or measures itself."""
    key = served_key(spec.workload)
    if key is None or not spec.system or _is_served(spec):
        return
    use = spec.system["use"]
    hint = "leave it out: the next batch is sent when the last one is complete"
    if key == "arrival":
        raise SpecError(
            f"arrival {spec.workload[key]!r} is open-loop, for systems with an endpoint; {use} has none",
            path=("workload", key),
            hint=hint,
        )
    raise SpecError(
        f"{key!r} is for systems with an endpoint; {use} has none",
        path=("workload", key),
        at_key=True,
        hint=hint,
    )


def _check_measured(spec: StudySpec) -> None:
    """Refuse an objective whose metrics this load on a server does not give: every trial would fail."""
    if not _is_served(spec):
        return
    goals, limits = spec.objective.goals, spec.objective.limits
    for name in (*(goal.metric for goal in goals), *(limit.metric for limit in limits)):
        if name == "max_rate" and not isinstance(Workload.from_dict(spec.workload).rate, RateSearch):
            raise SpecError(
                "max_rate is what a search finds, and the workload has none",
                path=("objective",),
                hint="`workload: {arrival: poisson, rate: {search: max}}`",
            )
        if name.startswith("quality.") and not spec.quality:
            raise SpecError(
                f"{name} is measured where the study has a quality section",
                path=("objective",),
                hint="`quality: {prompts: 16}`; `text: FILE` adds perplexity, `tasks: bundled` exact match",
            )


def read_stored_study(data: Mapping[str, Any], overrides: Sequence[str] = ()) -> StudySpec:
    """Read the study that a ledger holds, with overrides."""
    return study_spec_from_dict(data, overrides, CHECKS)

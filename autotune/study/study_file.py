"""A study file as one typed value, and the reader that every command and the Python API share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, cast

from autotune.core.arguments import check_arguments
from autotune.core.borrowed import Borrowed, Objection
from autotune.core.deadlines import Deadlines
from autotune.core.input_file import resolved
from autotune.core.json_object import JsonObject
from autotune.core.metric import named_number
from autotune.core.objective import Objective
from autotune.core.redact import find_secret
from autotune.core.section import mapping
from autotune.core.space import Space
from autotune.core.space_data import KEYS as SPACE_KEYS
from autotune.core.start import read_start
from autotune.core.trial import Config
from autotune.core.units import known_base
from autotune.engine.base import Engine, ModelBased
from autotune.engine.named_sampler import names_code
from autotune.engine.registry import ENGINES, build_engine
from autotune.errors import EnvironmentProblem, SpecError, UnitError, did_you_mean, refuse_unknown_keys, under
from autotune.executor.brought import same_place
from autotune.measure.load.prompts import check_files
from autotune.measure.quality.section import Quality
from autotune.measure.workload import RateSearch, Workload, served_key
from autotune.spec import load
from autotune.spec.hooks import Hooks, read_hooks
from autotune.spec.overrides import apply_overrides
from autotune.spec.sections import (
    DEFAULT_GOAL,
    Budget,
    EngineConfig,
    Resources,
    Tracking,
    read_name,
    read_objective,
    read_tracking,
)
from autotune.spec.trust import review_space, trusted_lines
from autotune.spec.yaml_text import Document
from autotune.study.named_code import refuse_absent_code
from autotune.systems.effect import SAME, find_ineffective
from autotune.systems.own.system import OwnSystem
from autotune.systems.owner_only import objections
from autotune.systems.registry import SystemConfig, locate_system, value_kind
from autotune.tracking.registry import build_mirrors

KEYS = (
    "name", "description", "space", "parameters", "constraints", "derived", "configurations", "system",
    "workload", "quality", "objective", "budget", "resources", "engine", "tracking", "deadlines",
    "start", "on",
)  # fmt: skip
"""Every key a study file may have."""


MEASURED_WITH = ("system", "workload", "quality")
"""Sections that the measurements of a study depend on."""


@dataclass(frozen=True)
class StudyFile:
    """A whole study file.

    Args:
        name: Name of the study: of its folder and its experiment.
        space: Search space.
        objective: Objective with its limits.
        system: System that is tuned; ``None`` without one.
        workload: The load that it is measured under.
        quality: Check of the answers; ``None`` for no check.
        budget: Trials, time and confirmations that may be spent.
        resources: Resources that configurations need, and demands on the nodes.
        engine: Engine that searches.
        tracking: The mirror.
        deadlines: Bounds on the phases of an attempt.
        start: Configurations that are measured first, after the default.
        hooks: Receivers of its events.
        objective_stated: Whether the file says what is wanted; the default is for systems under a load.
        trusted: Claims of a search space that the owner trusts, a line each (``--trust-space``).
    """

    name: str
    space: Space
    objective: Objective
    system: SystemConfig | None = None
    workload: Workload = field(default_factory=Workload)
    quality: Quality | None = None
    budget: Budget = field(default_factory=Budget)
    resources: Resources = field(default_factory=Resources)
    engine: EngineConfig = field(default_factory=EngineConfig)
    tracking: Tracking = field(default_factory=Tracking)
    deadlines: Deadlines = field(default_factory=Deadlines)
    start: tuple[Config, ...] = ()
    hooks: Hooks = field(default_factory=Hooks)
    objective_stated: bool = True
    trusted: tuple[str, ...] = ()

    @property
    def stated_load(self) -> dict[str, object]:
        """Workload as plain data; empty where the file states none, as for a program that makes its own."""
        return {} if self.workload == Workload() else self.workload.to_dict()

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON data; :func:`study_from_dict` reads it back."""
        return {
            "name": self.name,
            "space": self.space.to_dict(),
            "objective": self.objective.to_dict(),
            "system": {} if self.system is None else self.system.to_dict(),
            "workload": self.stated_load,
            **({} if self.quality is None else {"quality": self.quality.to_dict()}),
            "budget": self.budget.to_dict(),
            "resources": self.resources.to_dict(),
            "engine": self.engine.to_dict(),
            "tracking": self.tracking.to_dict(),
            "deadlines": self.deadlines.to_dict(),
            **({"start": [dict(config) for config in self.start]} if self.start else {}),
            **({"on": self.hooks.to_dict()} if self.hooks else {}),
            **({"trusted": list(self.trusted)} if self.trusted else {}),
        }

    def differs_from(self, stored: JsonObject, sections: Sequence[str] = MEASURED_WITH) -> str:
        """Return the first section that a stored study measured with otherwise; empty where it is the same.

        Sections are compared as values: what is written otherwise and means the same does not differ.

        Args:
            stored: Data of a study, as a ledger holds it.
            sections: Names of the sections to compare.
        """
        readers: dict[str, Callable[[Any], Any]] = {
            "system": lambda data: dict(mapping(data or {}, "a system")) or None,
            "workload": Workload.from_dict,
            "quality": _read_quality,
        }
        for key in sections:
            mine: Any = self.system.section if key == "system" and self.system else getattr(self, key)
            if key == "system":
                mine = same_place(mine)
            elif mine is not None:
                mine = readers[key](same_place(mine.to_dict()))
            found: Any = ...
            with suppress(SpecError):
                found = readers[key](same_place(stored.get(key) or {}))
            if key == "system" and found != mine and isinstance(found, dict) and found:
                with suppress(SpecError):  # an earlier version kept paths relative to the working folder
                    found = locate_system(found, Path())
            if found != mine:
                return key
        return ""


def _read_quality(data: object) -> Quality | None:
    return Quality.from_dict(data) if data or not isinstance(data, Mapping) else None


def read_study(
    path: str | Path, overrides: Sequence[str] = (), *, trust_space: bool = False, here: bool = True
) -> StudyFile:
    """Read a study file completely.

    Args:
        path: The file.
        overrides: ``KEY=VALUE`` texts as if written in the file.
        trust_space: Whether what a search space says of models, paths, hosts and code holds; the study lists
            it in ``trusted``.
        here: Whether it runs on this machine; else only functions that travel with it are looked for.

    Raises:
        SpecError: Something is wrong: ``file:line:column: what was found; what is allowed``.
    """
    own, document, lenders = load.read_file(path, overrides)
    folder = resolved(Path(path)).parent
    system = cache(partial(SystemConfig.from_dict, document.data.get("system"), folder))
    look = partial(review, build=system)
    trusted = [line for base in lenders for line in review_space(own.data, base, look, trust=trust_space)]
    with document.located():
        study = study_from_dict(document.data, folder, build=system)
        _check_together(study, document.data)
        _check_named(study, document.data, here=here)
        _ = study.space.default_config  # an impossible space is the file's mistake, not the first trial's
    return replace(study, trusted=tuple(trusted))


def read_stored_study(data: Mapping[str, object], overrides: Sequence[str] = ()) -> StudyFile:
    """Read the study that a ledger holds, with overrides.

    Raises:
        SpecError: Something is wrong, an override is of its name or its space, or the study would not be
            read with it from a file.
    """
    rest = dict(data)
    trusted = trusted_lines(rest.pop("trusted", ()))
    document, given = Document(rest, "the ledger"), Document({}, "")
    for override in overrides:
        _refuse_fixed(override, str(data.get("name", "")))
    for each in (document, given):
        apply_overrides(each, overrides)
    with document.located():
        study = study_from_dict(document.data)
        if overrides:  # what the ledger has was judged when it was read from its file, with keys that it had
            _check_together(study, given.data)
            _check_named(study, document.data, here=True)
        _ = study.space.default_config
    return replace(study, trusted=trusted)


def _refuse_fixed(override: str, name: str) -> None:
    """Refuse to set what makes a study the one that it is."""
    key = override.partition("=")[0].partition(".")[0].strip()
    if key == "name":
        raise SpecError(
            f"--set {override}: study {name!r} is in the ledger under its name, and keeps it",
            hint="`autotune run FILE --set name=OTHER` begins another study",
        )
    if key in (*SPACE_KEYS, "space"):
        raise SpecError(
            f"--set {override}: study {name!r} is in the ledger with its space, and keeps it",
            hint="in its file it can be changed: `autotune run FILE --widen` goes on with a wider space, "
            "`--new` begins another study",
        )


@check_arguments("name")
def load_space(name: str | Path, *, trust_space: bool = False) -> Space:
    """Read the search space of a shipped name, a space file or a study file, as `autotune run` reads it.

    Args:
        name: A name or a path.
        trust_space: Whether the file may name others outside its own folder, as your own may.

    Raises:
        SpecError: The file is wrong; the message names file, line and column.
    """
    return load.load_space(name, value_kind, trust_space=trust_space)


def study_from_dict(
    data: Mapping[str, object], folder: Path | None = None, build: Callable[[], SystemConfig] | None = None
) -> StudyFile:
    """Build from the keys of a study file whose ``space`` and ``objective`` are written out.

    Args:
        data: Mappings, lists and text (numbers may be numbers).
        folder: Folder of the file, where relative paths start; ``None`` where there are none.
        build: Function that gives the system where the section may be read already.

    Raises:
        SpecError: Something is wrong; ``path`` leads to it from the top.
    """
    refuse_unknown_keys(data, KEYS, "a study file")
    data = dict(data)
    build = build or partial(SystemConfig.from_dict, data.get("system"), folder)
    if data.get("system"):
        load.keep_text(data, value_kind(data["system"], lambda: build().built))
    space = _space_of(data)

    def read(key: str, reader: Callable[[object], object], default: object) -> Any:
        with under(key):
            return reader(data.get(key, default))

    def located(kind: type[Workload] | type[Quality]) -> Callable[[Any], Any]:
        def located_section(section: object) -> object:
            kept = mapping(section, kind.title)
            return kind.from_dict(kept if folder is None else kind.located(kept, folder))

        return located_section

    objective = read("objective", read_objective, DEFAULT_GOAL)
    if "name" not in data:
        raise SpecError("a study needs a name", path=("name",))
    study = StudyFile(
        name=read("name", read_name, ""),
        space=space,
        objective=objective,
        system=read("system", lambda found: build() if found or not isinstance(found, Mapping) else None, {}),
        workload=read("workload", located(Workload), {}),
        quality=read("quality", lambda found: located(Quality)(found) if found != {} else None, {}),
        budget=read("budget", Budget.from_dict, {}),
        resources=read("resources", Resources.from_dict, {}),
        engine=read("engine", EngineConfig.from_dict, "gp"),
        tracking=read("tracking", read_tracking, {}),
        deadlines=read("deadlines", Deadlines.from_dict, {}),
        hooks=read("on", lambda found: read_hooks(cast(Any, found), folder), {}),
        objective_stated="objective" in data,
    )
    study = replace(study, start=read_start(space, data.get("start", ()), study.budget.trials))
    with under("resources"):
        study.resources.check(space.kinds)
    with under("engine"):
        _engine_here(study.engine)
    with under("tracking"):
        build_mirrors(study.tracking.mirrors, Path(), study.name)
    return study


def _engine_here(config: EngineConfig) -> Engine | None:
    """Return the engine of a study; ``None`` of one of ours whose library is missing here.

    A file is often checked and submitted where the study does not run; a run refuses to begin. ``None`` too
    where the file names a module that is not Optuna's: only a run imports it.
    """
    if names_code(config.use):
        return None
    try:
        return build_engine(config.section)
    except EnvironmentProblem:
        if config.use not in ENGINES.builtin and not config.use.startswith("optuna:"):
            raise  # a plug-in that is broken
        return None


def _space_of(data: Mapping[str, object]) -> Space:
    """Return the space of a study: its keys stand at the top of a file, and under ``space`` in a ledger."""
    with under("space"):
        inner = dict(mapping(data.get("space", {}), "a space"))
    inner |= {key: data[key] for key in SPACE_KEYS if key in data}
    if "parameters" not in inner and "space" in data:
        raise SpecError(
            "space has no parameters: it names a search space to start from",
            path=("space",),
            at_key=True,
            hint="what may vary goes under `parameters`, at the top of the file",
        )
    if "parameters" not in inner:
        raise SpecError("a study needs parameters, or a space to start from", path=("parameters",))
    with under(*(("space",) if "space" in data else ())):
        return Space.from_dict(inner)


def review(found: Borrowed, build: Callable[[], SystemConfig] | None = None) -> list[Objection]:
    """Return what a search space says that only the study's owner may say.

    Args:
        found: Parts that the study takes from the space.
        build: Function that gives the study's system, once that is needed.
    """
    use = found.engine.get("use", "gp")
    foreign = [] if use in ENGINES.builtin else [Objection(("engine",), f"engine {use!r}", "loads code")]
    return [*objections(found, None if build is None else lambda: build().built), *foreign]


def _check_together(study: StudyFile, written: JsonObject) -> None:
    """Refuse what only shows when sections are seen together.

    Args:
        study: Study as read.
        written: Keys of the file, as it has them.
    """
    _check_secrets(written)
    if study.system is not None:
        _check_units(study.objective, study.system)
        _check_names(study.space, study.system)
        _check_effects(study.space, study.system)
        _check_load(written.get("workload", {}), study.workload, study.system)
        _check_measured(study, study.system)
    else:
        _check_units(study.objective, None)
    stops = study.budget.stop_when == "converged"
    engine = _engine_here(study.engine) if stops else None
    modelled = not names_code(study.engine.use) if engine is None else isinstance(engine, ModelBased)
    if stops and not modelled:
        raise SpecError(
            f"engine {study.engine.use!r} has no model that could tell when the search has converged",
            path=("budget", "stop_when"),
            hint="use the engine gp, or leave stop_when out",
        )


def _check_named(study: StudyFile, written: JsonObject, *, here: bool) -> None:
    """Refuse files and functions that are not there: they are the file's mistake, not a trial's."""
    if study.quality is not None:
        with under("quality"):
            study.quality.loaded()
    with under("workload"):
        check_files(study.workload)
    refuse_absent_code(study, written, here=here)


def _check_secrets(written: Mapping[str, object]) -> None:
    """Refuse secrets: the file is stored in the ledger and shown, and a command's words are seen by all."""
    keys = ("system", "workload", "quality", "engine", "tracking", "on")
    path = find_secret({key: written[key] for key in keys if key in written})
    if path is not None:
        raise SpecError(
            "this is a secret, and a study file is stored and shown",
            path=path,
            hint="leave it in a variable of the environment: `--pass-env NAME` gives it to what is launched, "
            "`key_variable: NAME` sends it with requests, MLFLOW_TRACKING_PASSWORD to MLflow",
        )


def _check_units(objective: Objective, system: SystemConfig | None) -> None:
    """Refuse limits in another unit than the system says that their metric is measured in."""
    units = {} if system is None else system.units
    for i, limit in enumerate(objective.limits):
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


def _check_names(space: Space, system: SystemConfig) -> None:
    """Refuse parameters that the system does not have: each would fail every trial."""
    known = system.built.parameters()
    for name in space.names:
        if known is not None and name not in known:
            raise SpecError(
                f"unknown parameter {name!r} for {system.use}",
                path=("parameters", name),
                at_key=True,
                hint=did_you_mean(name, known)
                or getattr(
                    system.built, "parameter_hint", f"`autotune flags {system.use}` lists those there are"
                ),
            )


def _check_effects(space: Space, system: SystemConfig) -> None:
    """Refuse a parameter none of whose values changes anything: no configuration runs as it is shown."""
    found = find_ineffective(system.built, space)
    if found is not None:
        name, why = found
        raise SpecError(
            f"{name!r} changes nothing: not the command, its environment, a file or a request: {why}",
            path=("parameters", name),
            at_key=True,
            hint="leave it out, or give it a single value" if why == SAME else "leave it out",
        )


def _check_load(written: Mapping[str, object], workload: Workload, system: SystemConfig) -> None:
    """Refuse a load over the network for a system that is given batches, or measures itself."""
    key = None if system.served else served_key(written, workload)
    if key is None:
        return
    hint = "leave it out: the next batch is sent when the last one is complete"
    if key == "arrival":
        raise SpecError(
            f"arrival {written[key]!r} is open-loop, for systems with an endpoint; {system.use} has none",
            path=("workload", key),
            hint=hint,
        )
    raise SpecError(
        f"{key!r} is for systems with an endpoint; {system.use} has none",
        path=("workload", key),
        at_key=True,
        hint=hint,
    )


def _check_measured(study: StudyFile, system: SystemConfig) -> None:
    """Refuse an objective whose metrics this load on a server does not give: every trial would fail."""
    if isinstance(system.built, OwnSystem) and not study.objective_stated:
        raise SpecError(
            f"a {system.use} system needs an objective: nothing says which of its metrics is the goal",
            path=("system",),
            hint="`objective: {maximize: METRIC}`, or minimize",
        )
    if not system.served:
        return
    goals, limits = study.objective.goals, study.objective.limits
    for name in (*(goal.metric for goal in goals), *(limit.metric for limit in limits)):
        if name == "max_rate" and not isinstance(study.workload.rate, RateSearch):
            raise SpecError(
                "max_rate is what a search finds, and the workload has none",
                path=("objective",),
                hint="`workload: {arrival: poisson, rate: {search: max}}`",
            )
        if name.startswith("quality.") and study.quality is None:
            raise SpecError(
                f"{name} is measured where the study has a quality section",
                path=("objective",),
                hint="`quality: {prompts: 16}`; `text: FILE` adds perplexity, `tasks: bundled` exact match",
            )

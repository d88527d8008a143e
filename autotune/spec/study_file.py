"""A study file as a value: what may vary, what is wanted, what is tuned, what it may cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from autotune.core.deadlines import Deadlines
from autotune.core.expression import Expression
from autotune.core.metric import check_metric
from autotune.core.objective import Objective
from autotune.core.placement import KEYS as PLACEMENT_KEYS
from autotune.core.placement import Rules
from autotune.core.space import Space
from autotune.core.trial import Config
from autotune.errors import SpecError, refuse_unknown_keys
from autotune.spec.fields import (
    Budget,
    Tracking,
    deadlines_dict,
    mapping,
    read_budget,
    read_deadlines,
    read_engine,
    read_name,
    read_tracking,
)

KEYS = (
    "name", "description", "space", "parameters", "constraints", "derived", "configurations", "system",
    "workload", "quality", "objective", "budget", "resources", "engine", "tracking", "deadlines",
)  # fmt: skip
"""Every key a study file may have."""

DEFAULT_GOAL = {"maximize": "output_throughput"}


@dataclass(frozen=True)
class StudySpec:
    """A whole study file.

    Args:
        name: Of the study: its folder, its experiment.
        space: What may vary.
        objective: What is wanted.
        system: Section that :func:`autotune.systems.registry.build_system` reads; empty without one.
        workload: Section that :class:`autotune.measure.workload.Workload` reads.
        quality: Section that :class:`autotune.measure.quality.section.Quality` reads; empty for no check.
        budget: What may be spent.
        resources: Expressions over the parameters by resource (``cpus``, ``gpus``), the ``stages`` that they
            may be split over nodes in, and the ``price`` of them all per hour.
        placement: What the same section asks of the nodes.
        engine: ``use``, ``seed`` and the engine's own options.
        tracking: The mirror.
        deadlines: Of the phases of an attempt.
        objective_stated: Whether the file says what is wanted; the default is for systems under a load.
        trusted: What the owner took a search space's word for, a line each (``--trust-space``).
    """

    name: str
    space: Space
    objective: Objective
    system: Mapping[str, Any] = field(default_factory=dict)
    workload: Mapping[str, Any] = field(default_factory=dict)
    quality: Mapping[str, Any] = field(default_factory=dict)
    budget: Budget = field(default_factory=Budget)
    resources: Mapping[str, str] = field(default_factory=dict)
    placement: Rules = field(default_factory=Rules)
    engine: Mapping[str, Any] = field(default_factory=lambda: {"use": "gp", "seed": 0})
    tracking: Tracking = field(default_factory=Tracking)
    deadlines: Deadlines = field(default_factory=Deadlines)
    objective_stated: bool = True
    trusted: tuple[str, ...] = ()

    def resources_for(self, config: Config) -> dict[str, float]:
        """Return what the file says that a configuration needs; empty where it leaves that to the system."""
        values = {name: Expression.parse(text).value(config) for name, text in self.resources.items()}
        return {n: float(value) for n, value in values.items() if value is not None and n != "price"}

    def price_for(self, config: Config) -> float | None:
        """Return what a configuration's resources cost per hour; ``None`` if the file does not say."""
        text = self.resources.get("price")
        value = None if text is None else Expression.parse(text).value(config)
        return None if value is None else float(value)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data; :func:`study_from_dict` reads it back."""
        return {
            "name": self.name,
            "space": self.space.to_dict(),
            "objective": self.objective.to_dict(),
            "system": dict(self.system),
            "workload": dict(self.workload),
            **({"quality": dict(self.quality)} if self.quality else {}),
            "budget": self.budget.to_dict(),
            "resources": {**self.resources, **self.placement.to_dict()},
            "engine": dict(self.engine),
            "tracking": self.tracking.to_dict(),
            "deadlines": deadlines_dict(self.deadlines),
            **({"trusted": list(self.trusted)} if self.trusted else {}),
        }


def study_from_dict(data: Mapping[str, Any], *, default_uri: str = Tracking().mlflow or "") -> StudySpec:
    """Build from the keys of a study file whose ``space`` and ``objective`` are written out.

    Args:
        data: Mappings, lists and text (numbers may be numbers).
        default_uri: Tracking store of a file that names none.

    Raises:
        SpecError: Something is wrong; ``path`` leads to it from the top.
    """
    refuse_unknown_keys(data, KEYS, "a study file")
    inner = within("space", lambda: dict(mapping(data.get("space", {}), "a space")))
    for key in ("parameters", "constraints", "derived", "configurations"):
        if key in data:
            inner[key] = data[key]
    if "parameters" not in inner:
        raise SpecError("a study needs parameters, or a space to start from", path=("parameters",))
    # A file has these keys at its top; the stored form of a study has them under `space`.
    prefix = () if "space" not in data else ("space",)
    space = _at(prefix, lambda: Space.from_dict(inner))
    objective = within("objective", lambda: read_objective(data.get("objective", DEFAULT_GOAL)))
    if "name" not in data:
        raise SpecError("a study needs a name", path=("name",))
    return StudySpec(
        name=read_name(data["name"]),
        space=space,
        objective=objective,
        system=within("system", lambda: dict(mapping(data.get("system", {}), "a system"))),
        workload=within("workload", lambda: dict(mapping(data.get("workload", {}), "a workload"))),
        quality=within("quality", lambda: dict(mapping(data.get("quality", {}), "a quality section"))),
        budget=within("budget", lambda: read_budget(data.get("budget", {}))),
        resources=within("resources", lambda: _read_resources(data.get("resources", {}), space)),
        placement=within("resources", lambda: Rules.from_dict(data.get("resources", {}))),
        engine=within("engine", lambda: read_engine(data.get("engine", "gp"))),
        tracking=within("tracking", lambda: read_tracking(data.get("tracking", {}), default_uri)),
        deadlines=within("deadlines", lambda: read_deadlines(data.get("deadlines", {}))),
        objective_stated="objective" in data,
    )


def read_objective(data: Any) -> Objective:
    """Read an objective and refuse near misses of metrics that this package measures."""
    objective = Objective.from_dict(mapping(data, "an objective"))
    counters = {"maximize": 0, "minimize": 0}
    for goal in objective.goals:
        key = "maximize" if goal.maximize else "minimize"
        listed = not isinstance(data[key], str)
        _checked(goal.metric, (key, counters[key]) if listed else (key,))
        counters[key] += 1
    for i, limit in enumerate(objective.limits):
        info = _checked(limit.metric, ("limits", i))
        if info is not None and info.unit != limit.unit and not limit.relative:
            raise SpecError(
                f"{limit.metric} is measured in {info.unit}, found {data['limits'][i]!r}", path=("limits", i)
            )
    objective.check_units()
    return objective


def _checked(metric: str, path: tuple[str | int, ...]) -> Any:
    try:
        return check_metric(metric)
    except SpecError as error:
        raise SpecError(error.message, path=path, hint=error.hint) from None


def _read_resources(data: Any, space: Space) -> dict[str, str]:
    items = mapping(data, "resources")
    refuse_unknown_keys(items, ("cpus", "gpus", "stages", "price", *PLACEMENT_KEYS), "resources")
    kinds = space.kinds
    result = {}
    for key, raw in items.items():
        if key in PLACEMENT_KEYS:
            continue
        try:
            expression = Expression.parse(str(raw))
            kind = expression.check_types(kinds)
        except SpecError as error:
            raise SpecError(error.message, path=(key,), hint=error.hint) from None
        if kind != "number":
            raise SpecError(f"{key} must be a number, found the {kind} {raw!r}", path=(key,))
        result[key] = expression.text
    return result


def within(key: str, read: Any) -> Any:
    """Call ``read``; the path of its errors is made to start at ``key``."""
    return _at((key,), read)


def _at(prefix: tuple[str | int, ...], read: Any) -> Any:
    try:
        return read()
    except SpecError as error:
        raise SpecError(
            error.message, path=(*prefix, *error.path), at_key=error.at_key, hint=error.hint
        ) from None

"""A study file as a value: what may vary, what is wanted, what is tuned, what it may cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from autotune.core.deadlines import Deadlines
from autotune.core.objective import Objective
from autotune.core.section import mapping
from autotune.core.space import Space
from autotune.errors import SpecError, refuse_unknown_keys, under
from autotune.spec.sections import Budget, EngineConfig, Resources, Tracking, read_name, read_objective

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
        resources: What configurations need, and what is asked of the nodes.
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
    resources: Resources = field(default_factory=Resources)
    engine: Mapping[str, Any] = field(default_factory=lambda: {"use": "gp", "seed": 0})
    tracking: Tracking = field(default_factory=Tracking)
    deadlines: Deadlines = field(default_factory=Deadlines)
    objective_stated: bool = True
    trusted: tuple[str, ...] = ()

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
            "resources": self.resources.to_dict(),
            "engine": dict(self.engine),
            "tracking": self.tracking.to_dict(),
            "deadlines": self.deadlines.to_dict(),
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
    with under("space"):
        inner = dict(mapping(data.get("space", {}), "a space"))
    for key in ("parameters", "constraints", "derived", "configurations"):
        if key in data:
            inner[key] = data[key]
    if "parameters" not in inner:
        raise SpecError("a study needs parameters, or a space to start from", path=("parameters",))
    # A file has these keys at its top; the stored form of a study has them under `space`.
    with under(*(("space",) if "space" in data else ())):
        space = Space.from_dict(inner)
    if "name" not in data:
        raise SpecError("a study needs a name", path=("name",))

    def read(key: str, reader: Callable[[Any], Any], default: Any) -> Any:
        with under(key):
            return reader(data.get(key, default))

    def read_resources(section: Any) -> Resources:
        resources = Resources.from_dict(section)
        resources.check(space.kinds)
        return resources

    return StudySpec(
        name=read("name", read_name, None),
        space=space,
        objective=read("objective", read_objective, DEFAULT_GOAL),
        system=read("system", lambda found: dict(mapping(found, "a system")), {}),
        workload=read("workload", lambda found: dict(mapping(found, "a workload")), {}),
        quality=read("quality", lambda found: dict(mapping(found, "a quality section")), {}),
        budget=read("budget", Budget.from_dict, {}),
        resources=read("resources", read_resources, {}),
        engine=read("engine", EngineConfig.from_dict, "gp").to_dict(),
        tracking=read(
            "tracking",
            lambda found: Tracking.from_dict({"mlflow": default_uri, **mapping(found, "tracking")}),
            {},
        ),
        deadlines=read("deadlines", Deadlines.from_dict, {}),
        objective_stated="objective" in data,
    )

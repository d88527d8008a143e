"""A study file as a ledger holds it: values of its sections, and the one reader of that plain data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

from autotune.core.arguments import read_count
from autotune.core.deadlines import Deadlines
from autotune.core.json_object import JsonObject
from autotune.core.objective import Objective
from autotune.core.section import mapping
from autotune.core.space import Space
from autotune.core.units import parse_quantity
from autotune.errors import SpecError, under
from autotune.spec.sections import EngineConfig, Resources, Tracking, stored_address

_Read = TypeVar("_Read")
_SECTIONS = ("budget", "system", "workload", "quality", "resources", "deadlines", "tracking")


@dataclass(frozen=True)
class StoredSystem:
    """A system as a ledger names it, not built: its plug-in may be missing here.

    Args:
        use: Name; empty where the ledger has none.
        options: Options of its own.
    """

    use: str
    options: JsonObject

    @property
    def section(self) -> dict[str, object]:
        """What the system is built from: name and options."""
        return {**({"use": self.use} if self.use else {}), **self.options}

    @property
    def tuned(self) -> str:
        """Model, function or command that it runs; empty where it names none."""
        named = (self.options.get(key) for key in ("model", "call", "command"))
        return next((str(found) for found in named if found), "")


@dataclass(frozen=True, eq=False)
class StoredSpec:
    """A study file as a ledger holds it, each section read when it is asked for.

    A ledger may be of an earlier version, or anybody's. What it lacks is as in a file that leaves it out.
    Reading what is wrong raises :class:`SpecError`, with its path from the top.

    Args:
        data: The file as plain data; empty where there is none.
        order: Parameters in the order of the file, where that is known: a ledger sorts the keys.
        row_seed: Seed of the study, for an engine's section that has none.
    """

    data: JsonObject = field(default_factory=dict)
    order: Sequence[str] = ()
    row_seed: int = 0

    def check(self) -> None:
        """Refuse what is wrong in any section.

        Raises:
            SpecError: The first of it.
        """
        with under("engine"):
            mapping(self.data.get("engine"), "an engine")
        _ = self.engine
        for name in _SECTIONS:
            self._section(name)
        _ = self.space, self.objective, self.trials, self.confirm

    def with_parts(self, parts: Mapping[str, object]) -> dict[str, object]:
        """Return the plain data with other sections, for the ledger or for the reader of study files."""
        return {**self.data, **parts}

    def stated(self, name: str) -> object:
        """Return a section as it was written, for messages; ``None`` where there is none."""
        return self.data.get(name)

    @property
    def space_section(self) -> dict[str, object]:
        """Section of the search space, its parameters in the order of the file where that is known."""
        found, parameters = self._found_space()
        return {**found, "parameters": {name: parameters[name] for name in self._in_order(parameters)}}

    @cached_property
    def space(self) -> Space:
        """Search space."""
        section = self.space_section
        with under("space"):
            return Space.from_dict(section)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters, of which none is read."""
        return self._in_order(self._found_space()[1])

    @cached_property
    def objective(self) -> Objective:
        """Objective, limits relative to the default not bound."""
        with under("objective"):
            return Objective.from_dict(mapping(self.data.get("objective"), "an objective"))

    @cached_property
    def engine(self) -> EngineConfig | None:
        """Engine with its seed, not built; ``None`` where none is named."""
        if "engine" not in self.data:
            return None
        with under("engine"):
            options = dict(mapping(self.data["engine"], "an engine"))
            use = options.pop("use", EngineConfig.use)
            if not isinstance(use, str):
                raise SpecError(f"use must be a name, found {use!r}", path=("use",))
            with under("seed"):
                seed = read_count(options.pop("seed", self.row_seed), "seed")
            return EngineConfig(use, seed, options)

    @property
    def has_system(self) -> bool:
        """Whether a system is named, right or wrong: else the study is of a Python function."""
        return bool(self.data.get("system"))

    @property
    def system(self) -> StoredSystem | None:
        """System, not built; ``None`` for a Python function."""
        options = dict(self._section("system"))
        use = options.pop("use", None)
        return StoredSystem("" if use is None else str(use), options) if self.has_system else None

    @property
    def stated_load(self) -> JsonObject:
        """Workload as it was stated, empty where it was not: a trace that it names may be gone by now."""
        return self._section("workload")

    @property
    def resources(self) -> Resources:
        """Resources that configurations need."""
        return self._read("resources", Resources.from_dict)

    @property
    def deadlines(self) -> Deadlines:
        """Bounds on the phases of an attempt."""
        return self._read("deadlines", Deadlines.from_dict)

    @property
    def tracking(self) -> Tracking:
        """Mirrors of the ledger."""
        return self._read("tracking", Tracking.from_dict)

    @property
    def tracking_uri(self) -> str | None:
        """Address of the MLflow store, not judged: empty where none is stated, ``None`` for no store."""
        return stored_address(self.data)

    @property
    def experiment(self) -> str:
        """MLflow experiment, not judged; empty for that of the study's own name."""
        section = self.data.get("tracking")
        return str(section.get("experiment") or "") if isinstance(section, Mapping) else ""

    @property
    def trials(self) -> int | None:
        """Trials planned; ``None`` where that is not stated."""
        return self._count("trials", 1)

    @property
    def seconds(self) -> float | None:
        """Seconds planned; ``None`` where that is not stated, and where only the study's own run can tell."""
        raw = self._section("budget").get("time")
        if not isinstance(raw, int | float | str):
            return None
        try:
            return parse_quantity(raw, default_unit="s").value
        except SpecError:  # of an earlier version
            return None

    @property
    def confirm(self) -> int:
        """Launches that confirm, of the winner and of the default each."""
        return self._count("confirm", 0) or 0

    def _found_space(self) -> tuple[JsonObject, JsonObject]:
        with under("space"):
            found = mapping(self.data.get("space"), "a search space")
            return found, mapping(found.get("parameters"), "parameters")

    def _in_order(self, parameters: JsonObject) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*(name for name in self.order if name in parameters), *parameters]))

    def _section(self, name: str) -> JsonObject:
        with under(name):
            return mapping(self.data.get(name) or {}, "a budget" if name == "budget" else "a section")

    def _read(self, name: str, read: Callable[[JsonObject], _Read]) -> _Read:
        section = self._section(name)
        with under(name):
            return read(section)

    def _count(self, key: str, least: int) -> int | None:
        found = self._section("budget").get(key)
        found = int(found) if isinstance(found, str) and found.isdigit() else found  # in a spec of one's own
        with under("budget", key):
            return None if found is None else read_count(found, key, least)

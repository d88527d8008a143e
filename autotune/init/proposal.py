"""A search space that is being narrowed: what is kept of the catalogue's, with which values and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from autotune.core.json_object import JsonObject
from autotune.core.scalar import typed
from autotune.core.space import Space
from autotune.core.units import format_quantity
from autotune.errors import EnvironmentProblem
from autotune.init.fit import Fit
from autotune.init.installed import Installed
from autotune.spec import catalogue
from autotune.spec.yaml_text import parse_text, read_text
from autotune.systems.registry import SYSTEMS

PLANNED = ("onnxruntime", "triton")
"""Systems whose commands are shown, and that nothing is measured with yet."""


@dataclass(frozen=True)
class Request:
    """The wishes of a user beside the model.

    Args:
        goal: Name of an objective of the catalogue.
        limits: Limits of their own, as they wrote them.
        draft_model: Model that drafts; empty without one.
        concurrency: Requests under way at once; 0 where the rate is searched for.
    """

    goal: str = "throughput"
    limits: tuple[str, ...] = ()
    draft_model: str = ""
    concurrency: int = 0


@dataclass(frozen=True)
class Row:
    """One parameter of a proposal.

    Args:
        name: Name of it.
        entry: Parameter as a study file has it.
        trades: Effects of a change of it, in the catalogue's words.
        reason: Reason for these values.
    """

    name: str
    entry: JsonObject
    trades: str
    reason: str

    @property
    def low(self) -> float:
        """Lowest value."""
        return float(min(self.entry.get("values", [self.entry.get("low")])))

    @property
    def high(self) -> float:
        """Highest value."""
        return float(max(self.entry.get("values", [self.entry.get("high")])))


@dataclass
class Proposal:
    """A proposal of what a study of one system on one machine should search.

    Args:
        fit: Model, machine and load.
        installed: The system that is installed.
        request: Wishes of the user.
    """

    fit: Fit
    installed: Installed
    request: Request
    rows: list[Row] = field(default_factory=list)
    left: list[tuple[str, str]] = field(default_factory=list)
    constraints: list[tuple[str, str]] = field(default_factory=list)
    derived: list[tuple[str, str, str]] = field(default_factory=list)
    flags: list[tuple[str, object, str]] = field(default_factory=list)
    env: list[tuple[str, str, str]] = field(default_factory=list)
    resources: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    start_s: float = 10.0
    bits: float = 16
    split: int = 1
    _known: dict[str, dict[str, Any]] = field(default_factory=dict)

    def offer(self, space: str, names: tuple[str, ...] = ()) -> None:
        """Take the parameters of a search space of the catalogue as those to decide about.

        Args:
            space: Name of it.
            names: Those that are wanted of it; all by default.
        """
        data = parse_text(read_text(catalogue.find("search_spaces", space)), space).data
        for name, entry in data["parameters"].items():
            if not names or name in names:
                self._known[name] = typed(entry)

    def add(self, name: str, **entry: Any) -> None:
        """Offer a parameter that no search space of the system has."""
        self._known[name] = entry

    def has_flag(self, name: str) -> bool:
        """Return whether the installed version has the flag behind a parameter, as far as that is known."""
        kind: Any = SYSTEMS.load(self.installed.system)
        own = getattr(kind, "aliases", {}).get(name, name)
        no_flag = name in (*getattr(kind, "translated", ()), *getattr(kind, "variables", {}))
        return self.installed.flags is None or no_flag or own in self.installed.flags

    def take(self, name: str, reason: str, **changes: object) -> None:
        """Keep a parameter.

        Args:
            name: Name of it.
            reason: Reason for these values.
            **changes: Keys that differ from the catalogue's; ``None`` takes a key away.
        """
        if not self.has_flag(name):
            self.leave(name, f"{self.installed.title} has no such flag")
            return
        entry = {**self._known.pop(name), **changes}
        trades = str(entry.pop("description", ""))
        entry = {key: value for key, value in entry.items() if value is not None}
        values = entry.get("values")
        if isinstance(values, list | tuple):
            entry["values"] = list(values)
            if entry.get("default") not in entry["values"]:
                entry["default"] = entry["values"][0]
        if "low" in entry and entry["low"] == entry["high"]:
            kept: dict[str, Any] = {key: entry[key] for key in ("memory", "when") if key in entry}
            entry = {"type": "ordinal", "values": [entry["low"]], "default": entry["low"], **kept}
        self.rows.append(Row(name, entry, trades, reason))

    def leave(self, names: str, reason: str) -> None:
        """Leave parameters out.

        Args:
            names: Names with commas between them; those that are not offered are passed over.
            reason: Reason.
        """
        found = [name for name in names.split(", ") if self._known.pop(name, None) is not None]
        if found:
            self.left.append((", ".join(found), reason))

    def known(self, name: str) -> dict[str, Any]:
        """Return the catalogue's entry of a parameter that is not decided yet; empty where there is none."""
        return self._known.get(name, {})

    def row(self, name: str) -> Row | None:
        """Return a parameter that was taken; ``None`` where it was not."""
        return next((row for row in self.rows if row.name == name), None)

    @property
    def served(self) -> bool:
        """Whether the system has an endpoint, so that requests arrive by themselves."""
        return bool(getattr(SYSTEMS.load(self.installed.system), "served", False))

    @property
    def planned(self) -> bool:
        """Whether the system is planned only, and takes what its search space says."""
        return self.installed.system in PLANNED

    def draft(self, entry: JsonObject, trades: str, **values: object) -> None:
        """Keep the length of drafts where a model drafts, as a parameter that the search space lacks."""
        if self.request.draft_model:
            self.add("draft_length", **entry, memory="up", description=trades)
            self.take("draft_length", f"{self.request.draft_model} drafts", **values, default=0)

    @property
    def undecided(self) -> list[str]:
        """Parameters that were offered and neither taken nor left."""
        return list(self._known)

    @property
    def space(self) -> Space:
        """The search space as it is proposed."""
        return Space.from_dict(
            {
                "parameters": {row.name: dict(row.entry) for row in self.rows},
                "constraints": [text for text, _ in self.constraints],
                "derived": {name: text for name, text, _ in self.derived},
            }
        )


def nothing_fits(fit: Fit, bits: tuple[int, ...]) -> EnvironmentProblem:
    """Return the error that no number of bits fits into the memory of the machine."""
    least = min(bits, default=16)
    needed = format_quantity(fit.weights(least) + fit.per_token() * fit.load.longest, "B")
    usable = format_quantity(max(0, fit.room(least, max(fit.splits())) + fit.weights(least)), "B")
    where = f"{fit.devices} GPUs" if fit.devices > 1 else "the GPU" if fit.on_gpu else "this machine's memory"
    at = "as it is stored" if fit.card.quantization else f"at {least} bits"
    return EnvironmentProblem(
        f"{fit.card.title} does not fit into {where}: {at} it needs {needed} for weights and one request, "
        f"and {usable} are usable",
        hint="take a smaller model, one with fewer bits, or a larger machine",
    )

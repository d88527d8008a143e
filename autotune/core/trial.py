"""A trial: a configuration to be measured, why it was chosen and what came of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypeAlias

from autotune.core.arguments import check_class
from autotune.core.html import html_table, short
from autotune.core.json_object import JsonObject
from autotune.core.measurement import DOUBT, SHORTFALL, Estimate, Failure, Measurement
from autotune.core.units import format_quantity

Value: TypeAlias = int | float | bool | str
Config: TypeAlias = dict[str, Any]
"""Values of all active parameters, by name: whoever calculates with one knows what its parameter holds."""


def config_key(config: Mapping[str, Value]) -> str:
    """Return the canonical text of a configuration: equal configurations have equal keys."""
    return json.dumps(dict(config), sort_keys=True, separators=(",", ":"))


class TrialState(StrEnum):
    """The state of a trial."""

    WAITING = "WAITING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    INFEASIBLE = "INFEASIBLE"
    FAILED = "FAILED"
    ABANDONED = "ABANDONED"

    def __init__(self, value: str) -> None:
        # an attribute, not a property: a study of 10,000 trials reads it millions of times
        self.finished: bool = value not in ("WAITING", "RUNNING")
        """Whether nothing more will happen to the trial."""


class Reason(StrEnum):
    """The reason why an engine proposed a configuration."""

    DEFAULT = "default"
    START = "start"
    INITIAL = "initial design"
    RANDOM = "random"
    EXPLOIT = "exploit"
    EXPLORE = "explore"
    FEASIBILITY = "feasibility"
    REPEAT = "repeat"
    CONFIRM = "confirm"
    WATCH = "watch"
    REMEASURE = "measured again"
    ADDED = "added by hand"

    def __init__(self, value: str) -> None:
        self.of_search: bool = value not in ("confirm", "watch", "measured again")
        """Whether the budget counts the trial: fresh launches, looks at the default and repeats of a doubtful
        measurement come on top."""

    @classmethod
    def _missing_(cls, value: object) -> Reason | None:
        """Return a reason that another version of this program wrote as one that means nothing here."""
        if not isinstance(value, str):
            return None
        found = str.__new__(cls, value)
        found._name_, found._value_, found.of_search = "UNKNOWN", value, True
        return found


@dataclass(frozen=True)
class Suggestion:
    """A proposed configuration and the engine's account of it.

    Args:
        config: Values of all active parameters.
        reason: Reason why it was chosen.
        engine: Name of the engine, with the version of its method.
        predicted: Expected metrics, ``sem`` being the predictive standard deviation; may be empty.
        p_feasible: Predicted probability of a usable measurement within all limits, in [0, 1].
    """

    config: Config
    reason: Reason
    engine: str = ""
    predicted: Mapping[str, Estimate] = field(default_factory=dict)
    p_feasible: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(
            self,
            "predicted",
            MappingProxyType({name: e.in_base_unit() for name, e in self.predicted.items()}),
        )

    @cached_property
    def key(self) -> str:
        """Canonical text of the configuration, written once: every ask looks at it."""
        return config_key(self.config)

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON data; :meth:`from_dict` reads it back."""
        return {
            "config": dict(self.config),
            "reason": self.reason.value,
            "engine": self.engine,
            "predicted": {name: e.to_dict() for name, e in self.predicted.items()},
            "p_feasible": self.p_feasible,
        }

    @classmethod
    def from_dict(cls, data: JsonObject) -> Suggestion:
        """Read what :meth:`to_dict` wrote."""
        return cls(
            config=dict(data["config"]),
            reason=Reason(data["reason"]),
            engine=data.get("engine", ""),
            predicted={k: Estimate.from_dict(v) for k, v in data.get("predicted", {}).items()},
            p_feasible=data.get("p_feasible"),
        )


@check_class()
@dataclass(frozen=True, repr=False)
class Trial:
    """A trial as the ledger knows it.

    Args:
        number: Number within the study, counted from 0.
        suggestion: Configuration with the reason of its proposal.
        state: State of the trial.
        attempts: Executions so far, the one in flight included.
        measurement: Result of the attempt that decided the state; ``None`` while unfinished.
        node: Node on which that attempt ran.
    """

    number: int
    suggestion: Suggestion
    state: TrialState = TrialState.WAITING
    attempts: int = 0
    measurement: Measurement | None = None
    node: str = ""

    @property
    def key(self) -> str:
        """Canonical text of the configuration."""
        return self.suggestion.key

    @property
    def config(self) -> Config:
        """Values of all active parameters."""
        return self.suggestion.config

    @property
    def metrics(self) -> Mapping[str, Estimate]:
        """Measured estimates by name; empty without a valid measurement."""
        return self.measurement.metrics if self.measurement is not None else {}

    @cached_property
    def doubt(self) -> str:
        """Why a valid measurement is not to be relied on by itself; empty if it is."""
        return self._fact(DOUBT)

    @property
    def shortfall(self) -> str:
        """What a valid measurement lacks of the precision or the steadiness asked for; empty if nothing."""
        return self._fact(SHORTFALL)

    def _fact(self, name: str) -> str:
        if self.measurement is None or self.state is not TrialState.COMPLETED:
            return ""
        return str(self.measurement.facts.get(name) or "")

    @property
    def failure(self) -> Failure | None:
        """Why there is no measurement, or ``None``."""
        return self.measurement.failure if self.measurement is not None else None

    def __repr__(self) -> str:
        config = short(" ".join(f"{name}={value}" for name, value in self.config.items()), 90)
        return short(f"<Trial {self.number}: {self.state.value}; {config}{self._result}", 180) + ">"

    @property
    def _result(self) -> str:
        if self.failure is not None:
            return f"; {self.failure.cause.value}"
        shown = [f"{name}={format_quantity(e.value, e.unit)}" for name, e in self.metrics.items()]
        return f"; {', '.join(shown)}" if shown else ""

    def _repr_html_(self) -> str:
        rows = [("state", self.state.value), ("chosen", self.suggestion.reason.value), *self.config.items()]
        for name, e in self.metrics.items():
            half = e.half_width
            error = "" if half is None else f" ± {format_quantity(half, e.unit)}"
            rows.append((name, f"{format_quantity(e.value, e.unit)}{error}"))
        if self.failure is not None:
            rows.append((self.failure.cause.value, self.failure.message))
        interval = any(e.sem for e in self.metrics.values())
        note = "± is the half-width of the 95 % interval" if interval else ""
        return html_table(f"Trial {self.number}", (), rows, note)

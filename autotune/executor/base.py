"""The contract between a study's driver and what runs its attempts: jobs out, results back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, runtime_checkable

from autotune.core.deadlines import Deadlines
from autotune.core.json_object import JsonObject
from autotune.core.measurement import Measurement
from autotune.core.trial import Config

SLACK_S = 60.0
"""Of an attempt beside its phases: a worker that starts, a look at the hardware, the way of the result."""


@dataclass(frozen=True)
class Job:
    """A complete description of one attempt, as plain data that travels to any node.

    Args:
        study: Name of the study.
        trial: Number of the trial.
        attempt: Number within the trial, counted from 1.
        config: Values of all active parameters.
        system: The study file's ``system`` section, ``use`` included.
        workload: The study file's ``workload`` section.
        goal: Metric whose interval ends the run when it is narrow enough.
        scratch: Absolute path of this attempt's folder on the node; its files stay as artifacts.
        deadlines: Deadline of each phase.
        resources: ``{"cpus": float, "gpus": float}`` that this configuration needs.
        price: Price of these resources per hour, in the user's currency; ``None`` if it is not known.
        limits: ``[metric, "<=" or ">=", bound]`` of the objective in base units, those relative to the
            default resolved: a search for the highest rate needs them.
        judged: Every metric of the objective, goals and limits.
        quality: Checks of the answers' quality, with the default's answers; empty for none.
        launch_key: Equal for attempts that one launched process can serve, one after the other; empty where
            every attempt launches its own.
        fresh: Whether this one must launch its own all the same.
        avoid: Names of nodes on which this trial met environment faults; others are preferred.
    """

    study: str
    trial: int
    attempt: int
    config: Config
    system: JsonObject
    workload: JsonObject
    goal: str
    scratch: str
    deadlines: Deadlines = field(default_factory=Deadlines)
    resources: Mapping[str, float] = field(default_factory=dict)
    price: float | None = None
    limits: list[list[Any]] = field(default_factory=list)
    judged: list[str] = field(default_factory=list)
    quality: JsonObject = field(default_factory=dict)
    launch_key: str = ""
    fresh: bool = False
    avoid: list[str] = field(default_factory=list)

    @property
    def limit_s(self) -> float:
        """Seconds after which an attempt without a result is given up: all its phases and some slack."""
        deadlines = self.deadlines
        loads = 2 if self.quality else 1
        return deadlines.startup_s + loads * deadlines.measure_s + 2 * deadlines.stop_s + SLACK_S

    @property
    def key(self) -> tuple[str, int, int]:
        """``(study, trial, attempt)``: identifies the attempt in the ledger and in messages."""
        return self.study, self.trial, self.attempt

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON data; :meth:`from_dict` reads it back."""
        return {**asdict(self), "config": dict(self.config), "resources": dict(self.resources)}

    @classmethod
    def from_dict(cls, data: JsonObject) -> Job:
        """Read what :meth:`to_dict` wrote."""
        return cls(**{**data, "deadlines": Deadlines(**data["deadlines"])})


@dataclass(frozen=True)
class AttemptResult:
    """The end of an attempt. Always one per submitted job, whatever broke.

    Args:
        key: Key of the job.
        measurement: Metrics, or the failure with its cause.
        node: Name of the node that ran it.
        error: Exception that a function raised in this process or near it; ``None`` for anything else.
    """

    key: tuple[str, int, int]
    measurement: Measurement
    node: str = ""
    error: Exception | None = field(default=None, compare=False)

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON data; :meth:`from_dict` reads it back."""
        return {"key": list(self.key), "measurement": self.measurement.to_dict(), "node": self.node}

    @classmethod
    def from_dict(cls, data: JsonObject) -> AttemptResult:
        """Read what :meth:`to_dict` wrote."""
        study, trial, attempt = data["key"]
        return cls((study, trial, attempt), Measurement.from_dict(data["measurement"]), data.get("node", ""))


class Executor(Protocol):
    """An executor: runs attempts somewhere and hands their results back. Used from one thread."""

    name: str

    def start(self) -> None:
        """Connect to or start what attempts run on.

        Raises:
            EnvironmentProblem: It cannot be reached or started; says what is missing.
        """

    def capacity(self, resources: Mapping[str, float]) -> int:
        """Return how many such attempts could run at once now if nothing else ran."""

    def has_room(self, resources: Mapping[str, float], beside: Sequence[Mapping[str, float]] = ()) -> bool:
        """Return whether one more such attempt may start now, beside others that are about to."""

    def shortage(self, resources: Mapping[str, float]) -> str:
        """Return why such an attempt can never be placed, with the numbers; empty if it can.

        What only a node that is away just now could hold is no shortage.
        """

    def nodes(self) -> list[str]:
        """Return the names of the nodes that attempts may run on now."""

    def submit(self, job: Job) -> None:
        """Start an attempt; returns at once."""

    def wait(self, timeout: float) -> list[AttemptResult]:
        """Return results that arrived, waiting at most ``timeout`` seconds for the first one.

        A lost worker is a result too: ``worker_lost`` with what is known.
        """

    def drop(self, key: tuple[str, int, int]) -> str:
        """Stop one attempt whose time is up and return its node's name; returns at once.

        A result that still comes is handed back.
        """

    def cancel(self) -> None:
        """Stop every running attempt and its processes; their results are dropped."""

    def close(self) -> None:
        """Cancel, then release everything. Idempotent."""


@runtime_checkable
class Shared(Protocol):
    """An executor of several nodes, which others use too."""

    def held(self, resources: Mapping[str, float]) -> str:
        """Return what others hold of the nodes that could hold such an attempt; empty without such nodes."""

    def waits_elsewhere(
        self, resources: Mapping[str, float], avoid: Sequence[str], beside: Sequence[Mapping[str, float]] = ()
    ) -> bool:
        """Return whether an attempt had better wait for one of ours to end on a node that is not to avoid."""


class ShareOfNodes(Protocol):
    """The share that a study has of nodes that several studies share; as text, for people."""

    def to_dict(self) -> dict[str, object]:
        """Return plain data: nodes that it holds, its fair share, all nodes, who else shares them."""


@runtime_checkable
class FairlyShared(Protocol):
    """An executor whose nodes several studies share."""

    @property
    def share(self) -> ShareOfNodes | None:
        """What this study has of them; ``None`` where nothing is shared."""

    def plan(self, study: str, label: str, resources: Mapping[str, float], most: int) -> None:
        """Say which attempts the study usually runs, and how many it could run at once.

        Args:
            study: Unique name of the study.
            label: Name of it for people.
            resources: Resources of a usual attempt.
            most: Attempts at once, if there were room for all.
        """

"""The contract between a system (what is tuned) and the worker that launches and measures it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

from autotune.core.answer import Answer
from autotune.core.endpoint import Endpoint
from autotune.core.file_names import CONFIG_NAME  # noqa: F401 - plug-ins look for it here
from autotune.core.json_object import JsonObject
from autotune.core.measurement import Estimate, Failure
from autotune.core.request import Request, RequestRecord
from autotune.core.trial import Config
from autotune.errors import AutotuneError

if TYPE_CHECKING:
    from autotune.systems.deployment import Deployment


class AttemptFailed(AutotuneError):
    """The :class:`Failure` that ended an attempt, on its way to the worker from where it was noticed."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.cause.value}: {failure.message}")
        self.failure = failure


@dataclass(frozen=True)
class Command:
    """The process that runs a configuration.

    Args:
        argv: Program and arguments, never a shell string.
        env: Variables on top of the allow-listed environment.
        processes: Model processes it is expected to start (tensor-parallel ranks).
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    processes: int = 1


SOLE = "*"
"""Name under which an :class:`OwnDriver` gives a single number: it stands for the study's first goal."""

MOST_WRITTEN = 1 << 30
"""Bytes that a launched process may print into one file: the disk is not its own."""


class Driver(Protocol):
    """A connection to a launched system that is ready. Closing the driver does not stop the process.

    A driver is of one of three kinds, which says who puts the load on the system: :class:`BatchDriver`,
    :class:`ServedDriver` or :class:`OwnDriver`.
    """

    def facts(self) -> JsonObject:
        """Return what really runs: versions, dtypes, weight bytes, process ids (plain JSON data)."""

    def metrics(self, deadline: float) -> Mapping[str, Estimate]:
        """Return what the system itself knows after the load: memory, acceptance length, quality.

        Raises:
            AttemptFailed: The system died, ran out of memory or missed the deadline.
        """

    def close(self) -> None:
        """Ask the process to end and release the connection; never raises for a dead process."""


@runtime_checkable
class BatchDriver(Driver, Protocol):
    """Runner of one batch of requests at a time: systems in a process of ours."""

    def generate(self, requests: Sequence[Request], deadline: float) -> list[RequestRecord]:
        """Run the requests together as one batch and return their records in order.

        Args:
            requests: Requests, no more than the system's own batch size.
            deadline: ``time.monotonic()`` value by which the answer must be there.

        Raises:
            AttemptFailed: The system died, ran out of memory or missed the deadline.
        """


@runtime_checkable
class Answering(Protocol):
    """A batch driver that tells what was answered: its quality can be checked."""

    def answers(self, requests: Sequence[Request], deadline: float) -> list[Answer]:
        """Run the requests as one batch, greedily, and return their answers in order."""

    def losses(self, text: str, deadline: float) -> list[float]:
        """Return the mean negative log likelihood per token of each window of a text, in nats."""


@runtime_checkable
class ServedDriver(Driver, Protocol):
    """A driver that names the endpoint our load generator talks to: inference servers."""

    def endpoint(self) -> Endpoint:
        """Return where and how the server is asked."""


@runtime_checkable
class OwnDriver(Driver, Protocol):
    """A source of metrics: programs, functions and tables that measure themselves."""

    def measure(self, deadline: float) -> Mapping[str, Estimate]:
        """Return the metrics, waiting for them until ``deadline`` (``time.monotonic()``).

        Raises:
            AttemptFailed: The program failed, printed no metrics or missed the deadline.
        """


@runtime_checkable
class System(Protocol):
    """One kind of inference system, and how it runs with a configuration.

    An instance is built from the ``system`` section of a study file and keeps no state between trials.
    """

    name: ClassVar[str]

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> System:
        """Build from the ``system`` section (without ``use``).

        Raises:
            SpecError: A key is unknown or a value is wrong; its ``path`` is relative to the section.
        """

    def to_dict(self) -> dict[str, object]:
        """Return the section that :meth:`from_dict` reads back."""

    def prepare(self, log: Callable[[str], None]) -> None:
        """Do once per study, on the driver, what every trial needs (make or check the model).

        Args:
            log: Callable that shows a line to the user while this takes its time.

        Raises:
            EnvironmentProblem: A package or the model is missing.
        """

    def parameters(self) -> Collection[str] | None:
        """Return the names that a configuration may have, or ``None`` if any will do."""

    def check(self, config: Config) -> Failure | None:
        """Return why this configuration cannot be launched (``rejected_flags``), or ``None``."""

    def batch_size(self, config: Config) -> int:
        """Return how many requests the system takes at once."""

    def resources(self, config: Config) -> Mapping[str, float]:
        """Return what a configuration occupies: ``{"cpus": ..., "gpus": ...}``."""

    def prepare_node(self) -> None:
        """Do what only the launching node can do, such as making a model that is not there."""

    def command(self, config: Config, scratch: Path) -> Command | None:
        """Return the process to launch; ``None`` where nothing is launched.

        Called once per launch, just before it, so that a port that is free may be chosen here.

        Args:
            config: Config of the attempt.
            scratch: The folder of the attempt and of the process, empty but for :data:`CONFIG_NAME`; what
                :meth:`connect` must know may be left in it. It is not there where the command is only shown.
        """

    def connect(self, scratch: Path, deadline: float) -> Driver:
        """Wait until the launched process is ready and return a driver.

        Called again by the worker after a short pause while it raises :class:`NotReady`. ``process.json`` in
        ``scratch`` then says which process was launched (``pid``).

        Raises:
            NotReady: The process has not come up yet.
            AttemptFailed: The process says that it cannot come up.
        """

    def diagnose(self, exit_code: int | None, log: str) -> Failure:
        """Return why the process died, from its exit code (negative: signal) and its log."""

    def deploy(self, config: Config) -> Deployment | Sequence[str]:
        """Return what deploys this configuration; a list of words stands for a command alone."""


@runtime_checkable
class Reusable(Protocol):
    """A system whose launched process can serve configurations that differ in their requests only."""

    def launch_key(self, config: Config) -> str:
        """Return a text that is equal for configurations which one process can serve, and for no others."""

    def reconnect(self, config: Config, driver: Driver, deadline: float) -> Driver:
        """Return a driver for another configuration of the process's key.

        Args:
            config: Configuration to be measured next.
            driver: Driver of the process, which the configuration before had.
            deadline: ``time.monotonic()`` value by which the process must have answered.

        Raises:
            NotReady: It does not answer.
            AttemptFailed: It refuses what the configuration asks of it.
        """


def launched_config(system: System, config: Config, derived: Collection[str]) -> Config:
    """Return what a system is given of a configuration.

    Args:
        system: System that names the parameters it understands.
        config: Config of a trial.
        derived: Names of computed values; one that the system does not know was for constraints only.
    """
    known = system.parameters()
    if known is None:
        return dict(config)
    return {name: value for name, value in config.items() if name in known or name not in derived}


class NotReady(Exception):
    """A launched process that is still starting; the text, where it has one, is what it answered."""

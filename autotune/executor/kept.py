"""A launched process that stays after its attempt, for the next one that differs in its requests only."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from autotune.core.redact_files import redact_file
from autotune.core.trial import Config
from autotune.errors import EnvironmentProblem
from autotune.executor.proc import descendants
from autotune.executor.process import SupervisedProcess
from autotune.systems.base import Driver, Reusable, System


@dataclass
class Kept:
    """A ready process, and what the next attempt must know of it.

    Args:
        key: Key by :meth:`autotune.systems.base.Reusable.launch_key` of its configuration.
        process: Process under its supervisor; ``None`` where nothing was launched.
        driver: Driver that is connected to it.
        log: Its output.
        argv: Its command.
        began: Trial and attempt that launched it.
    """

    key: str
    process: SupervisedProcess | None
    driver: Driver
    log: Path
    argv: list[str]
    began: dict[str, int]

    def is_alive(self) -> bool:
        """Return whether it runs still; it may have died while nobody looked."""
        try:
            return self.process is not None and self.process.poll() is None
        except EnvironmentProblem:  # its supervisor is gone, and ends it
            return False

    def ready_for(self, system: System, config: Config, deadline: float) -> None:
        """Make it ready for another configuration of its key.

        The highest resident memory of its processes is counted anew.
        Source: ``/proc/PID/clear_refs``, value 5, of proc(5).

        Raises:
            NotReady: It does not answer.
            AttemptFailed: It refuses what the configuration asks of it.
        """
        assert self.process is not None  # noqa: S101 - nothing else is kept
        assert isinstance(system, Reusable)  # noqa: S101 - nor of another system
        for pid in (self.process.pid, *descendants(self.process.pid)):
            # it may have ended, or may not be told so: the peak is then that of its life
            with contextlib.suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")
        self.driver = system.reconnect(config, self.driver, deadline)

    def stop(self) -> None:
        """End it and everything below it; mask the secrets of what it wrote since its attempt ended."""
        try:
            self.driver.close()
        finally:
            if self.process is not None:
                self.process.stop()
        if self.log.exists():
            redact_file(self.log)


class Shelf:
    """A shelf for one process that is kept between the attempts of a worker."""

    def __init__(self) -> None:
        self._kept: Kept | None = None

    def holds(self, log: Path) -> bool:
        """Return whether what is kept writes this log."""
        return self._kept is not None and self._kept.log == log

    def take(self, key: str) -> Kept | None:
        """Return the process that was launched with this key; any other is stopped.

        Args:
            key: Key of the process; empty for an attempt that must start afresh.
        """
        kept, self._kept = self._kept, None
        if kept is not None and not (key and kept.key == key and kept.is_alive()):
            kept.stop()
            return None
        return kept

    def put(self, kept: Kept) -> None:
        """Keep a process; whoever calls has taken what was there."""
        self._kept = kept

    def clear(self) -> None:
        """Stop what is kept. Idempotent."""
        self.take("")

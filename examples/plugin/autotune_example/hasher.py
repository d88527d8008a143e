"""A system: which parameters it has, which process a configuration is, and what that measured.

The process is this file itself. Yours launches your program, and waits for it in the same way.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from autotune.core.environment import import_path
from autotune.core.file_names import PROCESS_NAME
from autotune.core.kinds import Whole
from autotune.core.measurement import Cause, Estimate, Failure
from autotune.core.section import Section
from autotune.core.trial import Config
from autotune.systems.base import AttemptFailed, Command, Driver
from autotune.systems.diagnosis import diagnose

RESULT = "seconds.json"


@dataclass(frozen=True)
class Hasher(Section):
    """Digests of bytes, by algorithm and by how many bytes are given at once.

    Args:
        megabytes: Size of what is digested.
    """

    name: ClassVar[str] = "hasher"
    title: ClassVar[str] = "a hasher system"
    tunable: ClassVar[tuple[str, ...]] = ("algorithm", "chunk")  # what a search space of others may set

    megabytes: Annotated[int, Whole(1, 1000)] = 8

    def prepare(self, log: Callable[[str], None]) -> None:
        """Do once per study what every trial needs: nothing."""

    def prepare_node(self) -> None:
        """Do before a launch what the node must have: nothing."""

    def parameters(self) -> set[str]:
        """Return the parameters that a configuration may have."""
        return {"algorithm", "chunk"}

    def check(self, config: Config) -> Failure | None:
        """Return why a configuration cannot be launched; ``None`` where it can."""
        algorithm = config.get("algorithm", "sha256")
        if algorithm in hashlib.algorithms_available:
            return None
        return Failure(Cause.REJECTED_FLAGS, f"no algorithm {algorithm!r} here")

    def batch_size(self, config: Config) -> int:
        """Return how many requests it takes at once: it has none."""
        return 1

    def resources(self, config: Config) -> dict[str, float]:
        """Return what a configuration occupies."""
        return {"cpus": 1.0}

    def command(self, config: Config, scratch: Path) -> Command:
        """Return the process of a configuration; its working folder is ``scratch``."""
        words = json.dumps({"megabytes": self.megabytes, **config}, sort_keys=True)
        return Command((sys.executable, os.path.abspath(__file__), words), import_path())

    def connect(self, scratch: Path, deadline: float) -> Driver:
        """Return what talks to the process, which was launched just now."""
        return Seconds(scratch)

    def diagnose(self, exit_code: int | None, log: str) -> Failure:
        """Return why the process died."""
        return diagnose(exit_code, log)

    def deploy(self, config: Config) -> tuple[str, ...]:
        """Return the words that start what was measured."""
        return self.command(config, Path()).argv


class Seconds:
    """What the process measured itself, once it has written it.

    Args:
        scratch: Folder of the attempt.
    """

    def __init__(self, scratch: Path) -> None:
        self.result = scratch / RESULT
        self.pid = int(json.loads((scratch / PROCESS_NAME).read_text(encoding="utf-8"))["pid"])

    def facts(self) -> Mapping[str, Any]:
        """Return what really runs."""
        return {"versions": {"hashlib": sys.version.split()[0]}}

    def measure(self, deadline: float) -> dict[str, Estimate]:
        """Return the metrics, waiting for them until ``deadline``."""
        while not self.result.exists():
            if not Path(f"/proc/{self.pid}").exists() and not self.result.exists():
                raise AttemptFailed(Failure(Cause.CRASHED_UNDER_LOAD, "it ended without a word"))
            if time.monotonic() > deadline:
                raise AttemptFailed(Failure(Cause.TIME_LIMIT, "it did not end in time"))
            time.sleep(0.02)
        samples = json.loads(self.result.read_text(encoding="utf-8"))
        return {"seconds": Estimate.mean_of(samples, "s")}

    def metrics(self, deadline: float) -> dict[str, Estimate]:
        """Return what the system knows beside that: nothing."""
        return {}

    def close(self) -> None:
        """Release the connection: there is none."""


def main() -> None:
    """Measure the configuration of the first argument, five times."""
    config = json.loads(sys.argv[1])
    chunk = bytes(int(config.get("chunk", 1024)))
    samples = []
    for _ in range(5):
        began, digest = time.perf_counter(), hashlib.new(str(config.get("algorithm", "sha256")))
        for _ in range(config["megabytes"] * 1_000_000 // len(chunk)):
            digest.update(chunk)
        samples.append(time.perf_counter() - began)
    Path(f"{RESULT}.new").write_text(json.dumps(samples), encoding="utf-8")
    os.replace(f"{RESULT}.new", RESULT)  # whoever sees it sees all of it


if __name__ == "__main__":
    main()

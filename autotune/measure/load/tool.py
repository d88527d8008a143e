"""Other load generators by name: the tool is run as a program and its records become ours.

They get the prompts that our own generator would send, from a file, and run to a fixed end; their records are
known only then. Requests that wake the system, one after the other, are sent by our own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from autotune.core.endpoint import Endpoint
from autotune.core.environment import own_environment, own_module
from autotune.core.redact import redact
from autotune.core.request import RequestRecord
from autotune.errors import AutotuneError, EnvironmentProblem
from autotune.measure.load.base import Load, LoadPlan
from autotune.measure.load.generator import OwnGenerator
from autotune.measure.load.prompts import Order, Orders

_RUN_SHARE = 1.5  # of the workload's time: warm-up is cut from it
_GRACE_S = 120.0  # of the tool's own start and end
_MOST_REQUESTS = 100_000
_CLOSED_RATE = 50.0  # requests/s that a closed loop may reach, to know how many prompts to write
_TAIL = 1500
_MOST_BYTES = 2 << 30  # of its records: 20 KiB for each of the most requests


class Tool(Protocol):
    """One load generator."""

    @property
    def name(self) -> str:
        """What a workload calls it, and what its program is called."""

    @property
    def install(self) -> str:
        """The command that installs it."""

    def environment(self, plan: LoadPlan) -> Mapping[str, str]:
        """Return the variables that it is given on top of ours."""

    def arguments(self, task: Task) -> list[str]:
        """Return the arguments of its program."""

    def write_prompts(self, path: Path, orders: Sequence[Order]) -> None:
        """Write the prompts in the form that it reads."""

    def records(self, folder: Path, to_monotonic_ns: int) -> list[RequestRecord]:
        """Read what it wrote.

        Args:
            folder: Folder of the run.
            to_monotonic_ns: Offset to be added to times since 1970.
        """


@dataclass(frozen=True)
class Task:
    """Task of a load generator.

    Args:
        plan: Endpoint, arrivals, rate or concurrency.
        folder: Folder for its files.
        prompts: File of the prompts.
        seconds: Time to send for.
        requests: Number of requests at most.
    """

    plan: LoadPlan
    folder: Path
    prompts: Path
    seconds: float
    requests: int


class ToolGenerator:
    """A generator whose loads a tool puts on.

    Raises:
        EnvironmentProblem: The tool is not installed.
    """

    def __init__(self, tool: Tool, environment: Mapping[str, str] = os.environ) -> None:
        variable = f"AUTOTUNE_{tool.name.upper()}"
        program = shutil.which(environment.get(variable) or tool.name)
        if program is None:
            raise EnvironmentProblem(
                f"generator {tool.name} is not installed",
                hint=f"{tool.install}; {variable}=/path/to/{tool.name} says where it is",
            )
        self.tool, self.program = tool, program
        self.own = OwnGenerator()

    def facts(self, endpoint: Endpoint) -> dict[str, object]:
        """Return the tool's name and where it was found."""
        return {"generator": self.tool.name, "program": self.program}

    def start(self, plan: LoadPlan) -> Load:
        """Begin to send; returns once the tool runs.

        Raises:
            EnvironmentProblem: It cannot be told what this endpoint needs.
        """
        if plan.stream == "warmup":
            return self.own.start(plan)
        if plan.endpoint.headers:
            raise EnvironmentProblem(
                f"{self.tool.name} would show the endpoint's headers in its arguments",
                hint="use generator own",
            )
        builder = self.own.calibration(plan.endpoint, plan.patience_s).builder
        seconds = _RUN_SHARE * plan.workload.time
        requests = min(_MOST_REQUESTS, max(1, round(seconds * (plan.rate or _CLOSED_RATE))))
        folder = Path(tempfile.mkdtemp(prefix=f"autotune-{self.tool.name}-"))
        task = Task(plan, folder, folder / "prompts.jsonl", seconds, requests)
        orders = Orders(plan.workload, plan.stream, builder)
        self.tool.write_prompts(task.prompts, [orders.at(i) for i in range(requests)])
        return ToolLoad(self.tool, self.program, task)


class ToolLoad:
    """A tool that runs."""

    def __init__(self, tool: Tool, program: str, task: Task) -> None:
        self.tool, self.task = tool, task
        self._started_ns = time.monotonic_ns()
        self._to_monotonic_ns = time.monotonic_ns() - time.time_ns()
        self._deadline = time.monotonic() + task.seconds + _GRACE_S
        self.ended = False
        self._log = (task.folder / "tool.log").open("wb")
        self._process = subprocess.Popen(
            own_module("autotune.measure.load.guard", program, *tool.arguments(task)),
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            cwd=task.folder,
            env=own_environment({"NO_COLOR": "1", **tool.environment(task.plan)}),
        )

    @property
    def started_ns(self) -> int:
        """When the first request was due; until the end, when the tool was started."""
        return self._started_ns

    def in_flight(self) -> int:
        """Return 0: it is not known before the end."""
        return 0

    def ended_up_to(self, time_ns: int) -> bool:
        """Return whether the tool has ended: what it sends is not known before."""
        return self.ended

    def poll(self, timeout: float) -> list[RequestRecord]:
        """Return all records once the tool has ended.

        Raises:
            AutotuneError: It failed.
        """
        if self.ended:
            return []
        try:
            code = self._process.wait(max(0.0, timeout))
        except subprocess.TimeoutExpired:
            if time.monotonic() < self._deadline:
                return []
            self._end()
            raise AutotuneError(f"{self.tool.name} did not end within {_GRACE_S:g} s of its time") from None
        try:
            records = self.tool.records(self.task.folder, self._to_monotonic_ns)
        except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
            tail = self._tail()
            self._end()
            raise AutotuneError(
                f"{self.tool.name} gave no records (exit code {code}): {error}{tail}"
            ) from None
        self._end()
        if self.task.plan.concurrency is not None:  # nothing is due at a time in a closed loop
            records = [replace(r, send_ns=r.send_ns + r.slip_ns, slip_ns=0) for r in records]
        if records:
            self._started_ns = min(record.send_ns for record in records)
        return records

    def stop(self, drain_s: float) -> list[RequestRecord]:
        """End the tool; what it has not written by then is lost."""
        self._end()
        return []

    def _end(self) -> None:
        if self.ended:
            return
        self.ended = True
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        self._process.stdin.close()
        self._process.wait()
        self._log.close()
        shutil.rmtree(self.task.folder, ignore_errors=True)

    def _tail(self) -> str:
        with (self.task.folder / "tool.log").open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL))
            text = log.read(_TAIL).decode("utf-8", errors="replace")
        return f"\n{redact(text)}"


def extra_fields(endpoint: Endpoint) -> dict[str, object]:
    """Return the endpoint's own fields for every request of a tool, which says how many tokens by itself."""
    left = ("min_tokens", "max_completion_tokens", *endpoint.omit)
    return {key: value for key, value in endpoint.body.items() if key not in left}


def read_output(path: Path) -> str:
    """Return what a tool wrote.

    Raises:
        ValueError: It is longer than the records of any run.
    """
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError(f"{path.name} has more than {_MOST_BYTES >> 30} GiB")
    return path.read_text(encoding="utf-8", errors="replace")


def write_lines(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write JSONL."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def spread(first_ns: int, last_ns: int, tokens: int) -> tuple[tuple[int, int], ...]:
    """Return arrivals of which only the first and the last are known: the others evenly between them."""
    if tokens < 1:
        return ()
    gaps = max(1, tokens - 1)
    return tuple((first_ns + (last_ns - first_ns) * i // gaps, 1) for i in range(tokens))

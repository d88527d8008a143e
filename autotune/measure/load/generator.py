"""Our load generator, seen from the measuring process: start it, hear what ended, stop it."""

from __future__ import annotations

import json
import math
import os
import select
import subprocess
import tempfile
import time
from dataclasses import asdict
from typing import Any

from autotune.core.endpoint import Endpoint
from autotune.core.environment import own_environment, own_module
from autotune.core.redact import redact
from autotune.core.request import RequestRecord
from autotune.errors import AutotuneError
from autotune.measure.load import wire
from autotune.measure.load.base import ORDINARY, LoadPlan
from autotune.measure.load.calibrate import Calibration, calibrate
from autotune.measure.load.token_counter import TokenCounter, model_tokenizer

TIMEOUT_S = 600.0
"""A request that takes longer is recorded as failed: no answer is of use after ten minutes."""

CALIBRATE_S = 60.0  # a first answer compiles kernels on some servers
_START_S = 60.0
_STOP_S = 10.0  # beyond the drain, until the process is killed
_READ = 1 << 20
_TAIL = 2000


class OwnGenerator:
    """Our own generator: each load in a process of its own. It keeps what it found out about endpoints.

    Args:
        timeout_s: Longest time of a request.
        salt: Text that makes prompts begin differently from those of other runs with the same seed; for a
            server that has served such a run before and keeps its cache.
        calibrate_s: Longest time of an answer before the load.
    """

    def __init__(
        self, timeout_s: float = TIMEOUT_S, salt: str = "", calibrate_s: float = CALIBRATE_S
    ) -> None:
        self.timeout_s, self.salt, self.calibrate_s = timeout_s, salt, calibrate_s
        self._calibrations: dict[tuple[str, str, str], Calibration] = {}
        self._precedence = ORDINARY

    def start(self, plan: LoadPlan) -> OwnLoad:
        """Begin to send; returns once the schedule runs.

        Raises:
            AutotuneError: The generator cannot start: a file of the workload is wrong, the machine too busy.
        """
        load = OwnLoad(plan, self.calibration(plan.endpoint, plan.patience_s), self.timeout_s, self.salt)
        self._precedence = load.precedence
        return load

    def calibration(self, endpoint: Endpoint, patience_s: float = math.inf) -> Calibration:
        """Return what is known of an endpoint, asking it the first time for at most ``patience_s``."""
        key = (endpoint.url, endpoint.path, endpoint.model)
        if endpoint.tokenizer:
            model_tokenizer(endpoint.tokenizer)  # is it there
        if key not in self._calibrations:
            found = calibrate(endpoint, seconds=self.calibrate_s, patience_s=patience_s)
            if found.problem:  # it may be a passing one
                return found
            self._calibrations[key] = found
        return self._calibrations[key]

    def facts(self, endpoint: Endpoint) -> dict[str, Any]:
        """Return what a measurement notes of how its requests were made."""
        found = self._calibrations.get((endpoint.url, endpoint.path, endpoint.model))
        own = {"generator": "own", "priority": self._precedence}
        return own if found is None else {**own, **found.facts()}


class OwnLoad:
    """A load that runs."""

    def __init__(self, plan: LoadPlan, calibration: Calibration, timeout_s: float, salt: str) -> None:
        if (plan.rate is None) == (plan.concurrency is None) and not (plan.workload.trace):
            raise ValueError("a plan has either a rate or a concurrency")
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._frames = wire.FrameReader()
        self._records: list[RequestRecord] = []
        self._started_ns = 0
        self._sent = 0
        self._oldest_ns = 0  # all that was sent before has ended
        self._delivered = 0
        self._all_ended = False
        self._gone = False
        self._failure = ""
        self._texts: list[str] = []
        self._counting = (plan.endpoint, calibration)
        self._counter: TokenCounter | None = None
        self.precedence = ORDINARY
        self._process = subprocess.Popen(
            own_module("autotune.measure.load.process"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=own_environment(),
        )
        try:
            self._begin(plan, calibration, timeout_s, salt)
        except BaseException:
            self._kill()
            raise

    def _begin(self, plan: LoadPlan, calibration: Calibration, timeout_s: float, salt: str) -> None:
        order = {
            "endpoint": asdict(plan.endpoint),
            "workload": plan.workload.to_dict(),
            "rate": plan.rate,
            "concurrency": plan.concurrency,
            "stream": plan.stream,
            "calibration": calibration.to_dict(),
            "timeout_s": timeout_s,
            "salt": salt,
            "precedence": plan.precedence,
        }
        self._tell(json.dumps(order) + "\n")
        deadline = time.monotonic() + _START_S
        while not self._started_ns:
            left = deadline - time.monotonic()
            if self._failure:
                raise AutotuneError(f"the load generator cannot start: {self._failure}")
            if self._gone or left <= 0:
                why = f"did not start within {_START_S:g} s" if left <= 0 else "died while it started"
                raise AutotuneError(f"the load generator {why}{self._tail()}")
            self._read(left)

    @property
    def started_ns(self) -> int:
        """When the schedule began, monotonic clock, nanoseconds."""
        return self._started_ns

    @property
    def ended(self) -> bool:
        """Whether everything that was scheduled was sent and has ended, and was given out."""
        return self._all_ended and not self._records

    def in_flight(self) -> int:
        """Return how many requests were sent and not yet given out."""
        self._read(0.0)
        return max(0, self._sent - self._delivered)

    def ended_up_to(self, time_ns: int) -> bool:
        """Return whether everything that was sent up to a time has ended; the next poll gives the last."""
        self._read(0.0)
        return self._all_ended or self._oldest_ns > time_ns

    def poll(self, timeout: float) -> list[RequestRecord]:
        """Return the requests that ended since the last call, waiting at most ``timeout`` seconds for one.

        Raises:
            AutotuneError: The generator itself died.
        """
        deadline = time.monotonic() + max(0.0, timeout)
        self._read(0.0)
        while not self._records and not self._all_ended:
            left = deadline - time.monotonic()
            if self._gone:
                raise AutotuneError(f"the load generator died{self._tail()}")
            if left <= 0:
                break
            self._read(left)
        return self._give()

    def stop(self, drain_s: float) -> list[RequestRecord]:
        """Send no more, wait at most ``drain_s`` seconds for what is under way, and end the generator.

        Returns:
            The records since the last poll; what was still under way has the error ``cut off``. Never raises
            for a generator that is dead already.
        """
        self._tell(f"stop {max(0.0, drain_s)!r}\n")
        deadline = time.monotonic() + max(0.0, drain_s) + _STOP_S
        while not self._gone and (left := deadline - time.monotonic()) > 0:
            self._read(left)
        self._kill()
        self._all_ended = True
        return self._give()

    def _give(self) -> list[RequestRecord]:
        records, self._records = self._records, []
        self._delivered += len(records)
        return records

    def _tell(self, text: str) -> None:
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        try:
            self._process.stdin.write(text.encode())
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):  # it is dead: reading finds the end of its output
            return

    def _read(self, timeout: float) -> None:
        """Take what has come, waiting at most ``timeout`` seconds for something."""
        if self._gone or self._process.stdout is None:
            return
        fd = self._process.stdout.fileno()
        ready, _, _ = select.select([fd], [], [], timeout)
        while ready:
            data = os.read(fd, _READ)
            if not data:
                self._gone = True
                return
            for letter, content in self._frames.feed(data):
                self._take(letter, content)
            ready, _, _ = select.select([fd], [], [], 0.0)

    def _take(self, letter: bytes, content: bytes) -> None:
        if letter == wire.RECORD:
            self._records.append(self._counted(wire.record_of(content)))
        elif letter == wire.TEXT:
            self._texts = json.loads(content)
        elif letter == wire.STATUS:
            self._sent = wire.number_of(content)
        elif letter == wire.OLDEST:
            self._oldest_ns = wire.number_of(content)
        elif letter == wire.BEGUN:
            self._started_ns = wire.number_of(content)
        elif letter == wire.ENDED:
            self._all_ended = True
        elif letter == wire.PRECEDENCE:
            self.precedence = content.decode()
        elif letter == wire.FAILED:
            self._failure = content.decode(errors="replace")

    def _counted(self, record: RequestRecord) -> RequestRecord:
        """Return a record; its tokens are those of its text where that came before it."""
        texts, self._texts = self._texts, []
        if not texts:
            return record
        if self._counter is None:
            self._counter = TokenCounter(*self._counting)
        return self._counter.counted(record, texts)

    def _tail(self) -> str:
        """Return the end of what the process said, without secrets."""
        self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, self._errors.tell() - _TAIL))
        text = self._errors.read().decode(errors="replace").strip()
        return f":\n{redact(text)}" if text else ""

    def _kill(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:  # what was still to be written is of no use any more
                    continue
        self._gone = True
        self._errors.close()
        if self._counter is not None:
            self._counter.close()

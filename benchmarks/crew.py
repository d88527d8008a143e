"""Worker processes that survive what they run: a crash or a hang of a method costs one run, not all."""

from __future__ import annotations

import multiprocessing
import os
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from functools import cache
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import Any

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Crew:
    """Workers, each with one run at a time.

    Args:
        size: How many.
        tables: Folder of tables, or ``None``.
        limit_s: Seconds after which a run is ended and recorded as an error.
    """

    def __init__(self, size: int, tables: Path | None, limit_s: float) -> None:
        self.size, self.tables, self.limit_s = size, tables, limit_s
        self.workers: dict[Connection, Any] = {}
        self.busy: dict[Connection, tuple[Any, float]] = {}

    def __enter__(self) -> Crew:
        for name in THREADS:  # one core per worker: times compare, and several do not trample each other
            os.environ[name] = "1"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in list(self.workers):
            self._dismiss(connection)

    def work(self, tasks: Sequence[Any]) -> Iterator[tuple[Any, dict[str, Any]]]:
        """Yield each task with its result, or with ``{"error": text}``, as they finish."""
        waiting = list(reversed(tasks))
        while waiting or self.busy:
            while waiting and len(self.busy) < self.size:
                self._assign(waiting.pop())
            deadline = min(began for _, began in self.busy.values()) + self.limit_s
            ready = wait(list(self.busy), timeout=max(0.0, deadline - time.monotonic()))
            for connection in ready:
                assert isinstance(connection, Connection)
                task, _ = self.busy.pop(connection)
                try:
                    result = connection.recv()
                except (EOFError, OSError):  # the process is gone
                    worker = self.workers[connection]
                    worker.join(10)
                    result = {"error": f"the worker died with exit code {worker.exitcode}"}
                    self._dismiss(connection)
                yield task, result
            for connection, (task, began) in list(self.busy.items()):
                if time.monotonic() - began > self.limit_s:
                    del self.busy[connection]
                    self._dismiss(connection)
                    yield task, {"error": f"took more than {self.limit_s:g} s"}

    def _assign(self, task: Any) -> None:
        free = [connection for connection in self.workers if connection not in self.busy]
        connection = free[0] if free else self._hire()
        connection.send((task, self.tables))
        self.busy[connection] = (task, time.monotonic())

    def _hire(self) -> Connection:
        context = multiprocessing.get_context("spawn")  # a fork would inherit torch's threads
        ours, theirs = context.Pipe()
        worker = context.Process(target=_serve, args=(theirs,), daemon=True)
        worker.start()
        theirs.close()
        self.workers[ours] = worker
        return ours

    def _dismiss(self, connection: Connection) -> None:
        worker = self.workers.pop(connection)
        connection.close()
        worker.terminate()
        worker.join()


def _serve(connection: Connection) -> None:
    """Run tasks until the other side hangs up."""
    warnings.simplefilter("ignore")
    while True:
        try:
            task, tables = connection.recv()
        except EOFError:
            return
        connection.send(run(task, tables))


def run(task: Any, tables: Path | None) -> dict[str, Any]:
    """Return the result of a task; an exception of a method is a result too."""
    from benchmarks.methods import method
    from benchmarks.race import race

    began = time.perf_counter()
    try:
        result = race(
            _problem(task.problem, tables), method(task.method), task.seed, task.trials, task.parallel
        )
    except Exception:  # noqa: BLE001 - whatever a peer raises is recorded and shown in the report
        return {"error": traceback.format_exc(limit=-6).strip()}
    return {**result, "seconds": round(time.perf_counter() - began, 2)}


@cache
def _problem(name: str, tables: Path | None) -> Any:
    from benchmarks.problems import builders

    return builders([name], tables)[name]()

"""The cluster itself: connecting to it, starting one, and watching its nodes come and go.

A thread asks the cluster for its nodes twice a second. The loop reads the last answer, so no turn of it waits
for a head node that is busy, paused or cut off; an answer that grows too old ends the study with a message.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from autotune.core.environment import own_environment
from autotune.errors import EnvironmentProblem
from autotune.executor.placement import Node
from autotune.executor.ray_address import check_address, find_address
from autotune.executor.ray_guard import Guard
from autotune.executor.ray_local import ended_by_signals, ended_parts, handlers_kept, of_this_machine
from autotune.executor.ray_private import free_resources

_START_TRIES = 3  # a loaded machine can miss Ray's own fixed 30 s wait for its raylet
_START_PAUSE_S = 2.0
_SAID = 500  # characters of what Ray says, which may be a log
_SHUTDOWN_S = 20.0  # Ray ends its own cluster in 2 s; one whose head hangs is left to the guard
_LOOK_S = 0.5  # how soon a node that joined or left is noticed; a look costs 1 ms
_QUIET_S = 3.0  # a busy head answers within one
_LAG_S = 3.0  # Ray's count of what is free lags behind our own starts and ends by a second
_HANDLED_S = 0.02  # between looks that our handlers of signals are there
SILENT_S = 30.0
"""Longest silence of the head node: after 60 s Ray ends this process, without a word to the study."""

_log = logging.getLogger("autotune.executor")


class Connection:
    """A connection of this process to Ray, and the cluster that was started for it.

    Args:
        ours: Whether it is ours to end.
        guard: Guard of a cluster that was started here.
    """

    def __init__(self, ours: bool, guard: Guard | None = None) -> None:
        self.ours, self.guard = ours, guard

    def lost(self) -> str:
        """Return which part of a cluster that was started here has ended; empty where all is well."""
        return " and ".join(ended_parts()) if self.guard is not None else ""

    def end(self, *, silent: bool = False) -> None:
        """Leave Ray; a cluster that was started here ends, with all its processes. Idempotent.

        Args:
            silent: Whether the head does not answer: Ray's own way of leaving would wait for it.
        """
        if self.ours and not silent:
            import ray

            ending = threading.Thread(target=ray.shutdown, name="autotune-ray-shutdown", daemon=True)
            ending.start()
            deadline = time.monotonic() + _SHUTDOWN_S
            while ending.is_alive() and time.monotonic() < deadline:
                with handlers_kept():  # Ray takes its handler away, and ours with it: a signal would kill us
                    ending.join(_HANDLED_S)
        self.ours = False
        if self.guard is not None:
            self.guard.end()
            self.guard = None


def connect(address: str | None) -> Connection:
    """Connect this process to Ray: to the cluster at an address, or to one that is started here.

    Raises:
        EnvironmentProblem: The cluster cannot be reached, refuses us or does not come up.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    if ray.is_initialized():
        return Connection(ours=False)
    settings: dict[str, object] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address and address != "local":
        address = find_address() if address == "auto" else address
        check_address(address)
        with handlers_kept(), ended_by_signals():
            _init(settings | {"address": address}, f"connect to the Ray cluster at {address}")
        return Connection(ours=True)
    guard = Guard(own_environment())
    settings |= {"address": "local", "include_dashboard": False}
    try:
        with handlers_kept(), ended_by_signals(), of_this_machine(guard):
            _init(settings, "start a local Ray cluster", _START_TRIES)
    except BaseException:
        guard.end()
        raise
    return Connection(ours=True, guard=guard)


def _init(settings: Mapping[str, Any], what: str, tries: int = 1) -> None:
    import ray

    for attempt in range(1, tries + 1):
        try:
            ray.init(**settings)
        except Exception as error:  # noqa: BLE001 - Ray raises many kinds here; each ends in one message below
            ray.shutdown()
            text = " ".join(f"{type(error).__name__}: {error}".split())
            if attempt == tries:
                raise EnvironmentProblem(
                    f"cannot {what}: {text[:_SAID]}", hint="`--local` measures without Ray"
                ) from None
            _log.warning("Ray did not start (%s); trying again", text[:_SAID])
            time.sleep(_START_PAUSE_S * attempt)
        except BaseException:  # a signal: what has been started by now must not stay
            ray.shutdown()
            raise
        else:
            return


class ClusterWatch:
    """Nodes of the cluster that this process is connected to.

    Args:
        connection: Connection to the cluster.
        silent_s: Longest silence of the head node, in seconds.
    """

    def __init__(self, connection: Connection, silent_s: float = SILENT_S) -> None:
        self.connection = connection
        self.silent_s = silent_s
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._alive: tuple[Node, ...] = ()
        self._seen: dict[str, Node] = {}
        self._ours: dict[str, tuple[float, float]] = {}
        self._before: list[tuple[float, dict[str, tuple[float, float]]]] = []  # until when, and what
        self._answered = time.monotonic()
        self._trouble = ""
        self._thread = threading.Thread(target=self._run, name="autotune-cluster", daemon=True)

    def start(self) -> None:
        """Take a first look and go on looking in the background.

        Raises:
            EnvironmentProblem: The head node does not answer.
        """
        self._thread.start()
        deadline = time.monotonic() + self.silent_s
        while not self._seen and time.monotonic() < deadline:
            time.sleep(0.01)
        if not self._seen:
            raise EnvironmentProblem(f"the cluster names no node within {self.silent_s:g} s {self._trouble}")

    def stop(self) -> None:
        """Look no more. Idempotent."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join(_LOOK_S * 4)  # it may hang in a call to a head that is gone: a daemon

    def alive(self) -> tuple[Node, ...]:
        """Return the nodes that live, in the order of their names.

        Raises:
            EnvironmentProblem: The head node has been silent for too long.
        """
        lost = self.connection.lost()
        if lost:
            raise EnvironmentProblem(
                f"the local Ray cluster has ended: {lost} was killed or crashed",
                hint="running the same command starts another one and goes on with the study",
            )
        if self.silent:
            raise EnvironmentProblem(
                f"the head node of the Ray cluster has not answered for {self.silent_s:g} s {self._trouble}",
                hint="bring it back; running the same command goes on with the study",
            )
        with self._lock:
            return self._alive

    @property
    def silent(self) -> bool:
        """Whether the head node has been silent for too long, or the local cluster has ended."""
        return self._silence() > self.silent_s or bool(self.connection.lost())

    @property
    def quiet(self) -> bool:
        """Whether the head node has missed several looks: nothing is started before it answers again."""
        return self._silence() > _QUIET_S

    def _silence(self) -> float:
        with self._lock:
            return time.monotonic() - self._answered

    def seen(self) -> tuple[Node, ...]:
        """Return every node that has lived while we looked, the last of each name."""
        with self._lock:
            return tuple(self._seen.values())

    def note_ours(self, held: Mapping[str, tuple[float, float]]) -> None:
        """Say what our own attempts hold, CPUs and GPUs by node: the rest that is taken is of others."""
        now = time.monotonic()
        with self._lock:
            if held != self._ours:
                self._before = [(end, ours) for end, ours in self._before if now - end < _LAG_S]
                self._before.append((now, self._ours))
            self._ours = dict(held)

    def _others(self, node: str, taken: tuple[float, float], now: float) -> tuple[float, float]:
        """Return what of the CPUs and GPUs taken on a node cannot be ours: we held at most so much lately."""
        lately = [self._ours, *(ours for end, ours in self._before if now - end < _LAG_S)]
        most = [max(ours.get(node, (0.0, 0.0))[i] for ours in lately) for i in (0, 1)]
        return max(0.0, taken[0] - most[0]), max(0.0, taken[1] - most[1])

    def _run(self) -> None:
        while not self._end.is_set():
            try:
                self._look()
            except Exception as error:  # noqa: BLE001 - whatever a head in trouble makes Ray raise: silence counts
                with self._lock:
                    self._trouble = f"({type(error).__name__}: {error})"
            self._end.wait(_LOOK_S)

    def _look(self) -> None:
        import ray

        rows = [row for row in ray.nodes() if row["Alive"]]
        free = free_resources()
        now = time.monotonic()
        with self._lock:
            nodes = []
            for row, name in zip(rows, _names(rows), strict=True):
                has = row["Resources"]
                cpus, gpus = float(has.get("CPU", 0.0)), float(has.get("GPU", 0.0))
                node_id = row["NodeID"]
                left = free.get(node_id, has)
                taken = (cpus - left.get("CPU", 0.0), gpus - left.get("GPU", 0.0))
                others = self._others(node_id, taken, now)
                nodes.append(Node(node_id, name, cpus, gpus, dict(row.get("Labels") or {}), *others))
            self._alive = tuple(sorted(nodes, key=lambda node: node.name))
            self._seen |= {node.name: node for node in nodes}
            self._answered, self._trouble = now, ""


def _names(rows: list[dict[str, Any]]) -> list[str]:
    """Return names for people; Ray's own name of a node is its address unless somebody gave another."""
    plain = [str(row.get("NodeName") or row["NodeManagerHostname"]) for row in rows]
    counts = Counter(plain)
    return [
        name if counts[name] == 1 else f"{name}#{row['NodeID'][:8]}"
        for name, row in zip(plain, rows, strict=True)
    ]

"""Attempts as Ray tasks: on a cluster started here, or on the one that ``RAY_ADDRESS`` names."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from autotune.core.measurement import Cause, Failure, Measurement
from autotune.errors import EnvironmentProblem
from autotune.executor.base import AttemptResult, Job
from autotune.executor.worker import run_attempt

_START_TRIES = 3  # a loaded machine can miss Ray's own fixed 30 s wait for its raylet
_START_PAUSE_S = 2.0
_REACH_S = 10.0  # for a connection to the head node; it answers in milliseconds
_CANCEL_S = 20.0  # a cancelled worker first stops its server, which has a grace of its own
_log = logging.getLogger("autotune.executor")


class RayExecutor:
    """Run each attempt as a Ray task on a node that has what the configuration needs.

    An attempt without accelerators has its node to itself, because two measurements on one machine disturb
    each other; attempts with accelerators share a node as its accelerators allow.

    Args:
        address: Of a running cluster; ``None`` takes ``RAY_ADDRESS``, or starts one on this machine.
        exclusive_node: Whether attempts without accelerators keep a node to themselves.
    """

    name = "ray"

    def __init__(self, address: str | None = None, *, exclusive_node: bool = True) -> None:
        self.address = address or os.environ.get("RAY_ADDRESS") or None
        self.exclusive_node = exclusive_node
        self._started_here = False
        self._running: dict[Any, tuple[Job, str | None]] = {}

    def start(self) -> None:
        """Connect to the cluster, or start one.

        Raises:
            EnvironmentProblem: It cannot be reached, refuses us or does not come up.
        """
        self._started_here = _connect(self.address)

    def capacity(self, resources: Mapping[str, float]) -> int:
        """Return how many such attempts the cluster as a whole can hold, 0 if it can hold none."""
        total = 0
        for node in _nodes():
            room = _room(node["Resources"], resources)
            total += min(room, 1) if self._exclusive(resources) else room
        return total

    def _exclusive(self, resources: Mapping[str, float]) -> bool:
        return self.exclusive_node and resources.get("gpus", 0) == 0

    def submit(self, job: Job) -> None:
        """Start the attempt on a node of its own, or where Ray finds the resources."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        cpus, gpus = job.resources.get("cpus", 1.0), job.resources.get("gpus", 0.0)
        options: dict[str, Any] = {"num_cpus": cpus, "num_gpus": gpus, "max_retries": 0}
        node_id = None
        if self._exclusive(job.resources):
            taken = {node for _, node in self._running.values()}
            node_id = next(
                (
                    n["NodeID"]
                    for n in _nodes()
                    if n["NodeID"] not in taken and _room(n["Resources"], job.resources)
                ),
                None,
            )
            if node_id is not None:
                options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(node_id, soft=False)
        task = ray.remote(_attempt).options(name=f"trial {job.trial}", **options)
        self._running[task.remote(job.to_dict())] = (job, node_id)

    def wait(self, timeout: float) -> list[AttemptResult]:
        """Return the results that arrived; a lost worker or node is a result too."""
        import ray

        if not self._running:
            time.sleep(timeout)
            return []
        ready, _ = ray.wait(list(self._running), num_returns=1, timeout=timeout)
        return [self._collect(reference) for reference in ready]

    def _collect(self, reference: Any) -> AttemptResult:
        import ray
        from ray import exceptions

        job, node = self._running.pop(reference)
        try:
            return AttemptResult.from_dict(ray.get(reference))
        except (exceptions.NodeDiedError, exceptions.TaskUnschedulableError) as error:
            cause, text = Cause.NODE_LOST, str(error)
        except exceptions.RayError as error:
            cause, text = Cause.WORKER_LOST, str(error)
        now = time.time_ns()
        failure = Failure(cause, text.strip().splitlines()[0] if text.strip() else cause.value, text)
        return AttemptResult(job.key, Measurement(failure=failure, started_ns=now, ended_ns=now), node or "")

    def cancel(self) -> None:
        """Interrupt every attempt, which stops its server; kill the workers that do not end in time."""
        if not self._running:
            return
        import ray

        references = list(self._running)
        for reference in references:
            ray.cancel(reference, force=False)
        _, late = ray.wait(references, num_returns=len(references), timeout=_CANCEL_S)
        for reference in late:
            ray.cancel(reference, force=True)
        self._running.clear()

    def close(self) -> None:
        """Cancel what runs and leave the cluster; one that was started here ends. Idempotent."""
        self.cancel()
        if self._started_here:
            import ray

            ray.shutdown()
            self._started_here = False


def _attempt(job: dict[str, Any]) -> dict[str, Any]:
    return run_attempt(Job.from_dict(job)).to_dict()


def _nodes() -> list[dict[str, Any]]:
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def _room(has: Mapping[str, float], wanted: Mapping[str, float]) -> int:
    """Return how many attempts with these resources fit on an empty node."""
    counts = [
        int(has.get(resource, 0.0) / amount)
        for resource, amount in (("CPU", wanted.get("cpus", 1.0)), ("GPU", wanted.get("gpus", 0.0)))
        if amount > 0
    ]
    return min(counts, default=1)


def _connect(address: str | None) -> bool:
    """Connect this process to Ray; return whether that connection is ours to end."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    if ray.is_initialized():
        return False
    if address:
        _check_reachable(address)
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    settings |= {"address": address} if address else {"address": "local", "include_dashboard": False}
    for attempt in range(1, _START_TRIES + 1):
        try:
            ray.init(**settings)
        except Exception as error:  # noqa: BLE001 - Ray raises many kinds here; each ends in one message below
            ray.shutdown()
            text = f"{type(error).__name__}: {error}"
            if "auth" in text.lower() and "token" in text.lower():
                raise EnvironmentProblem(
                    f"the Ray cluster at {address} refuses this process: {text.splitlines()[0]}",
                    hint="share its token (RAY_AUTH_TOKEN or ~/.ray/auth_token), or run both sides with "
                    "RAY_AUTH_MODE=disabled",
                ) from None
            if attempt == _START_TRIES:
                where = f"connect to the Ray cluster at {address}" if address else "start a local Ray cluster"
                raise EnvironmentProblem(
                    f"cannot {where}: {text.splitlines()[0]}", hint="`--local` measures without Ray"
                ) from None
            _log.warning("Ray did not start (%s); trying again", text.splitlines()[0])
            time.sleep(_START_PAUSE_S * attempt)
        else:
            return True
    raise AssertionError("unreachable: the last try returns or raises")


def _check_reachable(address: str) -> None:
    """Raise unless something listens at ``host:port``; Ray itself would wait for minutes."""
    parts = urlsplit(address if "://" in address else f"ray://{address}")
    if parts.port is None:  # "auto" and the like: Ray finds out by itself
        return
    try:
        socket.create_connection((parts.hostname, parts.port), timeout=_REACH_S).close()
    except OSError as error:
        raise EnvironmentProblem(
            f"no Ray cluster answers at {address}: {error}",
            hint="start it, correct RAY_ADDRESS, or unset it to run on a cluster of this machine's own",
        ) from None


@contextmanager
def function_calls() -> Iterator[Callable[..., Future[Any]]]:
    """Give a ``submit(function, *arguments)`` that runs calls as Ray tasks of one CPU each.

    Raises:
        EnvironmentProblem: Ray cannot be started or reached.
    """
    ours = _connect(os.environ.get("RAY_ADDRESS") or None)
    import ray

    def call(function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)

    remote = ray.remote(num_cpus=1, max_retries=0)(call)

    def submit(function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        future: Future[Any] = remote.remote(function, *arguments).future()
        return future

    try:
        yield submit
    finally:
        if ours:
            ray.shutdown()

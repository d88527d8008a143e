"""Attempts as Ray tasks: on a cluster started here, or on the one that ``RAY_ADDRESS`` names."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from autotune.core.measurement import Cause, Failure, Measurement
from autotune.core.placement import Rules
from autotune.executor.base import AttemptResult, Job
from autotune.executor.brought import Brought
from autotune.executor.health import NodeHealth
from autotune.executor.placement import (
    Need,
    Node,
    Placed,
    admits,
    bundles_in,
    capacity,
    held,
    place,
    shortage,
    waits_elsewhere,
)
from autotune.executor.priority import reset_priorities
from autotune.executor.process import depend_on_parent
from autotune.executor.ray_cluster import ClusterWatch, Connection, connect
from autotune.executor.ray_shares import Sharing
from autotune.executor.share_book import Share
from autotune.executor.worker import run_attempt

_CANCEL_SLACK_S = 10.0  # beyond the grace of the server, for the worker's own end
_FETCH_S = 10.0  # for a result that has arrived already
_NODE_LABEL = "ray.io/node-id"


@dataclass
class _Run:
    """An attempt in flight, and where it was placed."""

    job: Job
    placed: Placed | None  # nothing is held for an attempt that was given up
    node: str
    group: Any = None
    dropped: bool = False


class RayExecutor:
    """Executor of attempts as Ray tasks on the nodes that :mod:`autotune.executor.placement` chooses.

    An attempt with accelerators gets a placement group of one bundle per pipeline stage, pinned to those
    nodes; without, it is a task pinned to its node. Nodes that join are used, nodes that leave are not waited
    for, and a node with one environment fault after the other is left alone for a while.

    Args:
        address: Address of a running cluster; ``None`` takes ``RAY_ADDRESS``, or starts one on this machine.
        rules: Demands of the study file on every node.
    """

    name = "ray"

    def __init__(self, address: str | None = None, *, rules: Rules | None = None) -> None:
        self.address = address or os.environ.get("RAY_ADDRESS") or None
        self.rules = rules or Rules()
        self.health = NodeHealth()
        self._connection = Connection(ours=False)
        self._watch: ClusterWatch | None = None
        self._task: Any = None
        self._running: dict[Any, _Run] = {}
        self._unplaced: list[AttemptResult] = []
        self._sharing: Sharing | None = None
        self._brought = Brought()

    def start(self) -> None:
        """Connect to the cluster, or start one, and look at its nodes.

        Raises:
            EnvironmentProblem: It cannot be reached, refuses us or does not come up.
        """
        self._connection = connect(self.address)
        self._brought = Brought.of(os.environ)
        import ray

        self._task = ray.remote(_attempt)  # once: each new one is sent to the head node first
        self._watch = ClusterWatch(self._connection)
        self._watch.start()

    # -- what there is ---------------------------------------------------------------------------------

    def _nodes(self) -> tuple[Node, ...]:
        assert self._watch is not None, "start() comes first"  # noqa: S101
        return self._watch.alive()

    def _trusted(self) -> list[Node]:
        nodes = self._nodes()
        names = set(self.health.trusted(node.name for node in nodes))
        return [node for node in nodes if node.name in names]

    def nodes(self) -> list[str]:
        """Return the names of the nodes that live and are admitted."""
        return [node.name for node in self._nodes() if admits(self.rules, node) and node.cpus > 0]

    def capacity(self, resources: Mapping[str, float]) -> int:
        """Return how many such attempts the nodes that are trusted now can hold."""
        return capacity(Need.of(resources, self.rules), self._trusted(), self.rules)

    def has_room(self, resources: Mapping[str, float], beside: Sequence[Mapping[str, float]] = ()) -> bool:
        """Return whether a node has room for one more such attempt now, beside others about to start."""
        return self._place(resources, beside=beside) is not None

    def shortage(self, resources: Mapping[str, float]) -> str:
        """Return why no node that was ever seen can hold such an attempt; empty if one can."""
        assert self._watch is not None, "start() comes first"  # noqa: S101
        return shortage(Need.of(resources, self.rules), self._watch.seen(), self.rules)

    def held(self, resources: Mapping[str, float]) -> str:
        """Return what others hold of the nodes that could hold such an attempt."""
        found = held(Need.of(resources, self.rules), self._trusted(), self.rules)
        share = self.share
        return f"{share}; {found}" if share is not None and share.others and found else found

    # -- what of it is ours ----------------------------------------------------------------------------

    @property
    def share(self) -> Share | None:
        """What this study has of a cluster that studies share; ``None`` where nothing is shared."""
        return None if self._sharing is None else self._sharing.share

    def plan(self, study: str, label: str, resources: Mapping[str, float], most: int) -> None:
        """Say which attempts the study usually runs, and how many it could run at once.

        On a cluster that others use too its share of the nodes depends on that.

        Args:
            study: Unique name of the study.
            label: Name of it for people.
            resources: Resources of a usual attempt.
            most: Attempts at once, if there were room for all.
        """
        if not self.address or self.address == "local":
            return
        need = Need.of(resources, self.rules)
        if self._sharing is None:
            self._sharing = Sharing(f"{study}:{os.getpid()}", label)
            self._sharing.plan(need, most, self._nodes(), self._usable(need))
            self._sharing.start()
        else:
            self._sharing.plan(need, most, self._nodes(), self._usable(need))

    def _usable(self, need: Need) -> list[Node]:
        """Return the nodes that such an attempt may run on, now or when what other studies hold is free."""
        share = self.share
        shared = set() if share is None else {*share.busy, *share.offered}
        shared |= {node for run in self._running.values() if run.placed for node in run.placed.nodes}
        return [
            node
            for node in self._trusted()
            if admits(self.rules, node) and (node.id in shared or bundles_in(need, node.without_others))
        ]

    def _place(
        self,
        resources: Mapping[str, float],
        avoid: Sequence[str] = (),
        beside: Sequence[Mapping[str, float]] = (),
    ) -> Placed | None:
        trusted = self._trusted()
        if self._watch is not None and self._watch.quiet:  # a call to its head might not come back
            return None
        need = Need.of(resources, self.rules)
        if self._sharing is not None:
            trusted = self._sharing.limit(trusted, need)
        ours = self._ours(trusted, beside)
        found = None if ours is None else place(need, trusted, ours, self.rules, avoid)
        if found is None and self._sharing is not None:
            self._sharing.ask(need, self._nodes(), self._usable(need))
        return found

    def _ours(self, nodes: Sequence[Node], beside: Sequence[Mapping[str, float]]) -> list[Placed] | None:
        """Return our attempts with those about to start; ``None`` where there is no room for all."""
        ours = [run.placed for run in self._running.values() if run.placed is not None]
        for other in beside:
            placed = place(Need.of(other, self.rules), nodes, ours, self.rules)
            if placed is None:
                return None
            ours.append(placed)
        return ours

    def waits_elsewhere(
        self, resources: Mapping[str, float], avoid: Sequence[str], beside: Sequence[Mapping[str, float]] = ()
    ) -> bool:
        """Return whether an attempt had better wait for one of ours to end on a node that is not to avoid."""
        trusted = self._trusted()
        ours = self._ours(trusted, beside)
        need = Need.of(resources, self.rules)
        return ours is not None and waits_elsewhere(need, trusted, ours, self.rules, avoid)

    # -- attempts --------------------------------------------------------------------------------------

    def submit(self, job: Job) -> None:
        """Start the attempt on the nodes that have room for it; away from those to avoid, if others have."""
        from ray.util.placement_group import placement_group
        from ray.util.scheduling_strategies import (
            NodeAffinitySchedulingStrategy,
            PlacementGroupSchedulingStrategy,
        )

        placed = self._place(job.resources, job.avoid)
        if placed is None:  # it would wait in Ray's queue, where nobody counts its time
            failure = Failure(Cause.NODE_LOST, "no node had room for the attempt when it was to start")
            self._unplaced.append(_failed(job, failure))
            return
        need = placed.need
        options: dict[str, Any] = {"num_cpus": need.cpus, "num_gpus": need.gpus, "max_retries": 0}
        group = None
        node = next((n.name for n in self._nodes() if n.id == placed.nodes[0]), "")
        if need.gpus or need.bundles > 1:
            group = placement_group(
                [_bundle(need)] * need.bundles,
                strategy="STRICT_PACK" if len(set(placed.nodes)) == 1 else "PACK",
                bundle_label_selector=[{_NODE_LABEL: node_id} for node_id in placed.nodes],
            )
            options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(
                group, placement_group_bundle_index=0
            )
        else:
            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(placed.nodes[0], soft=False)
        task = self._task.options(name=f"trial {job.trial}", **options)
        reference = task.remote(job.to_dict(), self._brought.to_dict())
        self._running[reference] = _Run(job, placed, node, group)
        self._note_ours(placed)

    def wait(self, timeout: float) -> list[AttemptResult]:
        """Return all results that arrived; a lost worker or node is a result too."""
        unplaced, self._unplaced = self._unplaced, []
        if unplaced:
            return unplaced
        if not self._running:
            time.sleep(timeout)
            return []
        import ray

        references = list(self._running)
        ready, _ = ray.wait(references, num_returns=1, timeout=timeout, fetch_local=False)
        if ready and len(references) > 1:  # others may have come at the same time
            ready, _ = ray.wait(references, num_returns=len(references), timeout=0, fetch_local=False)
        results = [self._collect(reference) for reference in ready]
        self._note_ours()
        return [result for result in results if result is not None]

    def _collect(self, reference: Any) -> AttemptResult | None:
        import ray
        from ray import exceptions

        run = self._running.pop(reference)
        self._release(run)
        try:
            result = AttemptResult.from_dict(ray.get(reference, timeout=_FETCH_S))
        except (exceptions.NodeDiedError, exceptions.TaskUnschedulableError) as error:
            cause, text = Cause.NODE_LOST, str(error)
        except exceptions.GetTimeoutError:
            cause, text = Cause.NODE_LOST, f"the result cannot be fetched from its node within {_FETCH_S:g} s"
        except exceptions.RayError as error:
            cause, text = Cause.WORKER_LOST, str(error)
            if run.placed is not None and not {n.id for n in self._nodes()}.issuperset(run.placed.nodes):
                cause = Cause.NODE_LOST
        else:
            self._judge(run, result)
            return replace(result, node=run.node or result.node)
        if run.dropped:  # it was given up and has told nothing since
            return None
        now = time.time_ns()
        first = text.strip().splitlines()[0] if text.strip() else cause.value
        failure = Failure(cause, first, text)
        result = AttemptResult(
            run.job.key, Measurement(failure=failure, started_ns=now, ended_ns=now), run.node
        )
        self._judge(run, result)
        return result

    def _judge(self, run: _Run, result: AttemptResult) -> None:
        """Remember what a result says about the node it came from."""
        failure = result.measurement.failure
        if failure is None or failure.cause.configuration_at_fault:
            self.health.succeeded(run.node)
        elif run.node and not run.dropped:
            self.health.failed(run.node, f"{failure.cause.value}: {failure.message}")

    def _release(self, run: _Run) -> None:
        """Give the placement group back."""
        if run.group is not None:
            from ray.util.placement_group import remove_placement_group

            remove_placement_group(run.group)
            run.group = None

    def _note_ours(self, started: Placed | None = None) -> None:
        if self._sharing is not None:
            ours = [run.placed for run in self._running.values() if run.placed is not None]
            self._sharing.note_running(ours, started)
        held: dict[str, tuple[float, float]] = {}
        for run in self._running.values():
            for node_id in run.placed.nodes if run.placed is not None else ():
                cpus, gpus = held.get(node_id, (0.0, 0.0))
                need = run.placed.need if run.placed is not None else Need(0.0)
                held[node_id] = (cpus + need.cpus, gpus + need.gpus)
        if self._watch is not None:
            self._watch.note_ours(held)

    def drop(self, key: tuple[str, int, int]) -> str:
        """Kill the worker of one attempt, or forget where it is if its node does not answer."""
        import ray

        for reference, run in self._running.items():
            if run.job.key == key and not run.dropped:
                self.health.failed(run.node, "an attempt gave no result in time")
                ray.cancel(reference, force=True)
                self._release(run)
                run.dropped, run.placed = True, None
                return run.node
        return ""

    def cancel(self) -> None:
        """Interrupt every attempt, which stops its server; kill the workers that do not end in time."""
        self._unplaced.clear()
        if self._watch is not None and self._watch.silent:  # nothing reaches the workers any more
            self._running.clear()
        if not self._running:
            return
        import ray

        late = list(self._running)
        grace = max(run.job.deadlines.stop_s for run in self._running.values())
        try:
            for reference in self._running:
                ray.cancel(reference, force=False)
            _, late = ray.wait(
                late, num_returns=len(late), timeout=grace + _CANCEL_SLACK_S, fetch_local=False
            )
        finally:  # asked a second time: their supervisors end what they launched, without us
            for reference in late:
                ray.cancel(reference, force=True)
            for run in self._running.values():
                self._release(run)
            self._running.clear()
            self._note_ours()

    def close(self) -> None:
        """Cancel what runs and leave the cluster; one that was started here ends. Idempotent."""
        self.cancel()
        silent = self._watch is not None and self._watch.silent
        if self._sharing is not None:
            self._sharing.stop()
            self._sharing = None
        if self._watch is not None:
            self._watch.stop()
            self._watch = None
        self._connection.end(silent=silent)


def _attempt(job: dict[str, Any], brought: dict[str, Any]) -> dict[str, object]:
    depend_on_parent()  # the raylet: what a worker launched ends with it, even where the worker hangs
    reset_priorities()
    Brought.from_dict(brought).unpack()
    return run_attempt(Job.from_dict(job)).to_dict()


def _failed(job: Job, failure: Failure, node: str = "") -> AttemptResult:
    now = time.time_ns()
    return AttemptResult(job.key, Measurement(failure=failure, started_ns=now, ended_ns=now), node)


def _bundle(need: Need) -> dict[str, float]:
    return {name: amount for name, amount in (("CPU", need.cpus), ("GPU", need.gpus)) if amount > 0}


@contextmanager
def function_calls() -> Iterator[Callable[..., Future[Any]]]:
    """Give a ``submit(function, *arguments)`` that runs calls as Ray tasks of one CPU each.

    Raises:
        EnvironmentProblem: Ray cannot be started or reached.
    """
    connection = connect(os.environ.get("RAY_ADDRESS") or None)
    import ray

    def call(function: Callable[..., Any], *arguments: object) -> Any:
        reset_priorities()
        return function(*arguments)

    remote = ray.remote(num_cpus=1, max_retries=0)(call)

    def submit(function: Callable[..., Any], *arguments: object) -> Future[Any]:
        future: Future[Any] = remote.remote(function, *arguments).future()
        return future

    try:
        yield submit
    finally:
        connection.end()

"""Where an attempt may run: pure arithmetic over what nodes have, what runs there and what is needed.

Nothing here knows Ray. An attempt needs one bundle of resources per pipeline stage; a bundle lies on one
node, so a tensor-parallel group, which is one bundle, is never split. Attempts without accelerators keep
their node to themselves, because two measurements on one machine disturb each other; attempts with
accelerators share a node as its accelerators allow, unless the study file says ``exclusive: node``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from autotune.core.placement import Rules

_NAMED = 4  # nodes in a message
_ROUNDING = 1e-6  # shares such as 1/3 of an accelerator add up to a whole one


@dataclass(frozen=True)
class Node:
    """The resources of a node.

    Args:
        id: Id, unique for the life of the node.
        name: Name for people; unique among the nodes of a cluster.
        cpus: CPUs of the whole node.
        gpus: GPUs of the whole node.
        labels: Labels by name.
        others_cpus: Part of ``cpus`` that other users of the cluster hold.
        others_gpus: Part of ``gpus`` that other users of the cluster hold.
    """

    id: str
    name: str
    cpus: float
    gpus: float = 0.0
    labels: Mapping[str, str] = field(default_factory=dict)
    others_cpus: float = 0.0
    others_gpus: float = 0.0

    @property
    def without_others(self) -> Node:
        """The node as what others leave of it."""
        return replace(self, cpus=self.cpus - self.others_cpus, gpus=self.gpus - self.others_gpus)


@dataclass(frozen=True)
class Need:
    """Resources that one attempt needs.

    Args:
        cpus: CPUs of each bundle.
        gpus: GPUs of each bundle.
        bundles: One per pipeline stage; each lies on one node.
        exclusive: Whether its nodes are its own.
    """

    cpus: float
    gpus: float = 0.0
    bundles: int = 1
    exclusive: bool = False

    @classmethod
    def of(cls, resources: Mapping[str, float], rules: Rules) -> Need:
        """Read a configuration's ``resources``: ``cpus`` and ``gpus`` of the whole attempt, ``stages``."""
        stages = max(1, int(resources.get("stages", 1)))
        gpus = resources.get("gpus", 0.0)
        exclusive = rules.exclusive == "node" or (rules.exclusive == "auto" and gpus == 0)
        return cls(resources.get("cpus", 1.0) / stages, gpus / stages, stages, exclusive)

    def __str__(self) -> str:
        each = f"{self.cpus:g} CPUs" + (f" and {self.gpus:g} GPUs" if self.gpus else "")
        return (
            f"{each} on one node" if self.bundles == 1 else f"{self.bundles} times {each}, each on one node"
        )


@dataclass(frozen=True)
class Placed:
    """Placement of an attempt: its resources, and the node of each of its bundles."""

    need: Need
    nodes: tuple[str, ...]


def admits(rules: Rules, node: Node) -> bool:
    """Return whether a node carries every label that is asked for."""
    return all(node.labels.get(name) == value for name, value in rules.wanted.items())


def place(
    need: Need, nodes: Sequence[Node], running: Iterable[Placed], rules: Rules, avoid: Collection[str] = ()
) -> Placed | None:
    """Return where an attempt may start now, ``None`` while there is no room.

    Attempts with accelerators are packed, which keeps whole nodes free for wider ones; others are spread.

    Args:
        need: Need of the attempt.
        nodes: Nodes that are alive, and not in quarantine.
        running: Our attempts that are in flight.
        rules: Rules of the study file.
        avoid: Names of nodes to be used only when no other has room: the trial met environment
            faults there.
    """
    free = {node.id: [node.cpus - node.others_cpus, node.gpus - node.others_gpus] for node in nodes}
    attempts = dict.fromkeys(free, 0)
    closed: set[str] = set()
    for placed in running:
        for node_id in placed.nodes:
            if node_id in free:
                free[node_id][0] -= placed.need.cpus
                free[node_id][1] -= placed.need.gpus
                attempts[node_id] += 1
                if placed.need.exclusive:
                    closed.add(node_id)
    admitted = [
        node
        for node in nodes
        if admits(rules, node) and node.id not in closed and not (need.exclusive and attempts[node.id])
    ]
    chosen: list[str] = []
    for _ in range(need.bundles):
        able = [node for node in admitted if _fits(need, free[node.id])]
        if not able:
            return None
        best = min(
            able,
            key=lambda node: (
                node.name in avoid,
                node.id not in chosen,  # stages stay together where they can
                free[node.id][1] if need.gpus else attempts[node.id],
                node.name,
            ),
        )
        chosen.append(best.id)
        free[best.id][0] -= need.cpus
        free[best.id][1] -= need.gpus
    return Placed(need, tuple(chosen))


def waits_elsewhere(
    need: Need, nodes: Sequence[Node], running: Iterable[Placed], rules: Rules, avoid: Collection[str]
) -> bool:
    """Return whether an attempt had better wait for our own on nodes where it met no environment fault.

    Where no such node could hold it, or only once other jobs end, it goes where it failed before.

    Args:
        need: Need of the attempt.
        nodes: Nodes that are alive, and not in quarantine.
        running: Our attempts that are in flight, or about to be.
        rules: Rules of the study file.
        avoid: Names of the nodes where it met environment faults.
    """
    others = [node for node in nodes if node.name not in avoid]
    if not avoid or place(need, others, (), rules) is None:
        return False
    return place(need, others, running, rules) is None


def _fits(need: Need, free: Sequence[float]) -> bool:
    return free[0] + _ROUNDING >= need.cpus and free[1] + _ROUNDING >= need.gpus


def capacity(need: Need, nodes: Sequence[Node], rules: Rules) -> int:
    """Return how many such attempts could run at once if nothing else ran."""
    admitted = [node for node in nodes if admits(rules, node)]
    bundles = [bundles_in(need, node) for node in admitted]
    if not need.exclusive:
        return sum(bundles) // need.bundles
    groups, filled = 0, 0  # an attempt of several bundles takes whole nodes, the largest first
    for count in sorted(bundles, reverse=True):
        filled += count
        if filled >= need.bundles:
            groups, filled = groups + 1, 0
    return groups


def bundles_in(need: Need, node: Node) -> int:
    """Return how many bundles of an attempt a whole node can hold."""
    rooms = [int((has + _ROUNDING) / amount) for has, amount in _pairs(need, node) if amount > 0]
    return min(rooms, default=need.bundles)


def _pairs(need: Need, node: Node) -> list[tuple[float, float]]:
    return [(node.cpus, need.cpus), (node.gpus, need.gpus)]


def held(need: Need, nodes: Sequence[Node], rules: Rules) -> str:
    """Return what others hold of the nodes that could hold an attempt; empty if no such node is there.

    Args:
        need: Need of the attempt.
        nodes: Nodes that are alive, and not in quarantine.
        rules: Rules of the study file.
    """
    able = [node for node in nodes if admits(rules, node) and bundles_in(need, node)]
    said = []
    for node in able[:_NAMED]:
        parts = [f"{node.others_cpus:g} of {node.cpus:g} CPUs"]
        if need.gpus:
            parts.append(f"{node.others_gpus:g} of {node.gpus:g} GPUs")
        said.append(f"{node.name}: {' and '.join(parts)} held by other jobs")
    more = [f"{len(able) - _NAMED} more nodes"] if len(able) > _NAMED else []
    return "; ".join([*said, *more])


def shortage(need: Need, nodes: Sequence[Node], rules: Rules) -> str:
    """Return why nodes can never hold an attempt, with the numbers; empty if they can."""
    if capacity(need, nodes, rules):
        return ""
    if not nodes:
        return f"needs {need}, and the cluster has no node"
    admitted = [node for node in nodes if admits(rules, node)]
    if not admitted:
        wanted = ", ".join(f"{name}={value}" for name, value in rules.wanted.items())
        has = sorted({text for node in nodes for text in _labels(node)})
        return (
            f"needs a node with {wanted}, which none of {len(nodes)} has; "
            f"their labels: {', '.join(has) or 'none'}"
        )
    largest = max(admitted, key=lambda node: (node.gpus, node.cpus))
    held = sum(bundles_in(need, node) for node in admitted)
    room = f", room for {held} of {need.bundles}" if need.bundles > 1 else ""
    return (
        f"needs {need}; the largest of {len(admitted)} nodes, {largest.name}, has "
        f"{largest.cpus:g} CPUs and {largest.gpus:g} GPUs{room}"
    )


def _labels(node: Node) -> list[str]:
    own = ("ray.io/node-id",)  # unique to each node: says nothing
    return [f"{name}={value}" for name, value in node.labels.items() if name not in own]

"""The studies of one Ray cluster share its nodes: an actor keeps the book, each driver speaks to it.

The actor needs no CPU, outlives the drivers and keeps only what they say anew (:mod:`.share_book`). While it
cannot be reached nothing is shared and nothing stops: each study takes the room that it finds.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from autotune.executor.placement import Need, Node, Placed, bundles_in
from autotune.executor.share_book import LEASE_S, Post, Share, ShareBook
from autotune.executor.shares import in_nodes

NAME, NAMESPACE = "autotune-shares-1", "autotune"
"""Name of the actor, with the version of what is said to it."""

_SPEAK_S = 0.5  # between two words to the book, while something is wanted
_CALM_S = 2.0  # while nothing is
_FIRST_S = 10.0  # for the actor to be started by the first study
_ANSWER_S = 3.0  # a busy head answers within one
_AGAIN_S = 5.0  # after a failure
_UNUSED_S = 5.0  # after which an offer that was not used is given back: Ray counts what is free with a lag
_AVOIDED_S = 30.0  # for a node whose offer could not be used: others than studies hold it
_ASKED_S = 2.0  # for which a wish holds: the driver looks for room four times a second
_SLOTS = 100  # of a CPU or an accelerator: attempts may need parts of one

_log = logging.getLogger("autotune.executor")


def slots_of(node: Node) -> int:
    """Return the slots of a node: hundredths of its accelerators, or of its CPUs where it has none."""
    return max(1, int((node.gpus or node.cpus) * _SLOTS + 0.5))


def slots_needed(need: Need, node: Node) -> int:
    """Return the slots that one bundle of an attempt takes of a node; 0 where it cannot hold it."""
    if not bundles_in(need, node):
        return 0
    if need.exclusive:
        return slots_of(node)
    if node.gpus and not need.gpus:
        return max(1, math.ceil(slots_of(node) * need.cpus / node.cpus))
    return max(1, math.ceil((need.gpus if node.gpus else need.cpus) * _SLOTS))


@dataclass
class _Offer:
    """The slots of a node that are offered to this study, and since when."""

    slots: int
    since: float


@dataclass
class _Wish:
    """The need of an attempt, when it was asked for, and the most such attempts at once."""

    need: Need
    asked: float = -math.inf
    most: int = 1


@dataclass
class Sharing:
    """A driver's side: what it may use of each node, kept up to date by a thread.

    Args:
        study: Unique name of this run.
        label: Name for people.
    """

    study: str
    label: str
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _wake: threading.Event = field(default_factory=threading.Event)
    _end: threading.Event = field(default_factory=threading.Event)
    _answered: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _nodes: tuple[Node, ...] = ()
    _usable: tuple[Node, ...] = ()
    _wish: _Wish | None = None
    _holds: dict[str, int] = field(default_factory=dict)
    _offers: dict[str, _Offer] = field(default_factory=dict)
    _avoided: dict[str, float] = field(default_factory=dict)
    _started: float = 0.0
    _running: int = 0
    _share: Share | None = None
    _heard: float = -math.inf
    _actor: Any = None

    def start(self) -> None:
        """Speak to the book from now on; return once it has answered, or after a few seconds without it."""
        self._thread = threading.Thread(target=self._run, name="autotune-shares", daemon=True)
        self._thread.start()
        self._answered.wait(_FIRST_S)

    def stop(self) -> None:
        """Leave the book. Idempotent."""
        self._end.set()
        self._wake.set()
        if self._thread is not None and self._thread.is_alive():
            self._thread.join(_ANSWER_S * 2)  # it may hang in a call to a head that is gone: a daemon

    @property
    def share(self) -> Share | None:
        """What the book said last; ``None`` while it cannot be reached."""
        with self._lock:
            return self._share if time.monotonic() - self._heard < LEASE_S else None

    # -- the driver's thread -------------------------------------------------------------------------------

    def limit(self, nodes: Sequence[Node], need: Need) -> list[Node]:
        """Return the nodes as far as an attempt may use them; as they are while nothing is shared."""
        if self.share is None:
            return list(nodes)
        with self._lock:
            return [self._limited(node, need) for node in nodes]

    def _limited(self, node: Node, need: Need) -> Node:
        offer = self._offers.get(node.id)
        mine = self._holds.get(node.id, 0) + (0 if offer is None else offer.slots)
        part = mine / slots_of(node)
        if part >= 1:
            return node
        if need.exclusive:
            part = 0.0
        if need.gpus:
            return replace(node, others_gpus=max(node.others_gpus, node.gpus * (1 - part)))
        return replace(node, others_cpus=max(node.others_cpus, node.cpus * (1 - part)))

    def ask(self, need: Need, nodes: Sequence[Node], usable: Sequence[Node]) -> None:
        """Note that an attempt would start now.

        Args:
            need: Need of the attempt.
            nodes: Nodes that live.
            usable: Those of them that it may run on.
        """
        with self._lock:
            most = 1 if self._wish is None else self._wish.most
            new = self._wish is None or time.monotonic() - self._wish.asked > _ASKED_S
            self._wish = _Wish(need, time.monotonic(), most)
            self._nodes, self._usable = tuple(nodes), tuple(usable)
        if new:
            self._wake.set()

    def plan(self, need: Need, most: int, nodes: Sequence[Node], usable: Sequence[Node]) -> None:
        """Note how many attempts the study could run at once, and which it usually runs."""
        with self._lock:
            self._nodes, self._usable = tuple(nodes), tuple(usable)
            if self._wish is None:
                self._wish = _Wish(need)
            elif time.monotonic() - self._wish.asked > _ASKED_S:
                self._wish.need = need
            self._wish.most = most

    def note_running(self, placed: Sequence[Placed], started: Placed | None = None) -> None:
        """Note what the running attempts hold, and which of them has just started."""
        with self._lock:
            nodes = {node.id: node for node in self._nodes}
            if started is not None:
                taken = self._slots([started], nodes)
                self._started += float(in_nodes(taken, {n: slots_of(nodes[n]) for n in taken}))
                for node, slots in taken.items():
                    offer = self._offers.get(node)
                    if offer is not None:
                        offer.slots -= slots
                        if offer.slots <= 0:
                            del self._offers[node]
            holds = self._slots(placed, nodes)
            changed = holds != self._holds or len(placed) != self._running
            self._holds, self._running = holds, len(placed)
        if changed:
            self._wake.set()

    @staticmethod
    def _slots(placed: Sequence[Placed], nodes: Mapping[str, Node]) -> dict[str, int]:
        found: dict[str, int] = {}
        for one in placed:
            for node_id in one.nodes:
                if node_id in nodes:
                    slots = slots_needed(one.need, nodes[node_id])
                    found[node_id] = min(found.get(node_id, 0) + slots, slots_of(nodes[node_id]))
        return found

    # -- the thread ----------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._end.is_set():
            try:
                pause = self._speak()
            except Exception as error:  # noqa: BLE001 - whatever Ray raises: nothing is shared meanwhile
                _log.info("nodes are not shared: %s: %s", type(error).__name__, error)
                self._actor, pause = None, _AGAIN_S
            self._wake.wait(pause)
            if pause == _AGAIN_S:
                self._end.wait(_SPEAK_S)  # wishes do not hurry what has just failed
            self._wake.clear()
        try:
            if self._actor is not None:
                self._call("leave", self.study)
        except Exception as error:  # noqa: BLE001 - its lease ends by itself
            _log.info("the book of shares: %s", error)

    def _speak(self) -> float:
        """Say what there is and take the answer; return how long to wait until the next word, in seconds."""
        if self._actor is None:
            self._actor = _actor()
        post = self.post()
        self.hear(post, Share(**self._call("update", asdict(post))))
        self._answered.set()
        return _SPEAK_S if post.wants or post.offered else _CALM_S

    def hear(self, post: Post, share: Share) -> None:
        """Take the answer of the book to what was said."""
        now = time.monotonic()
        with self._lock:
            for node, slots in share.offered.items():
                more = slots - post.offered.get(node, 0)
                if more > 0:
                    offer = self._offers.setdefault(node, _Offer(0, now))
                    offer.slots, offer.since = offer.slots + more, now
            self._share, self._heard = share, now

    def _call(self, method: str, *arguments: object) -> Any:
        import ray

        return ray.get(
            getattr(self._actor, method).remote(*arguments),
            timeout=_ANSWER_S if self._answered.is_set() else _FIRST_S,
        )

    def post(self) -> Post:
        """Return what the study says of itself; offers that it has not used in time are given back."""
        now = time.monotonic()
        with self._lock:
            wish = self._wish
            asked = wish is not None and now - wish.asked < _ASKED_S
            for node, offer in list(self._offers.items()):
                if now - offer.since > _UNUSED_S:
                    del self._offers[node]
                    if asked:
                        self._avoided[node] = now + _AVOIDED_S
            nodes: dict[str, int] = {}
            if wish is not None:
                found = {node.id: slots_needed(wish.need, node) for node in self._usable}
                nodes = {n: slots for n, slots in found.items() if slots and self._avoided.get(n, 0.0) < now}
            most = 0 if wish is None else max(wish.most, self._running)
            return Post(
                self.study,
                self.label,
                sizes={node.id: slots_of(node) for node in self._nodes},
                nodes=nodes,
                bundles=1 if wish is None else wish.need.bundles,
                wants=max(1, most - self._running) if asked else 0,
                most=most,
                holds=dict(self._holds),
                offered={node: offer.slots for node, offer in self._offers.items()},
                started=self._started,
            )


class _Book:
    """The actor: a book that is spoken to in plain data."""

    def __init__(self) -> None:
        self._book = ShareBook()

    def update(self, post: dict[str, Any]) -> dict[str, Any]:
        return asdict(self._book.update(Post(**post)))

    def leave(self, study: str) -> None:
        self._book.leave(study)


def _actor() -> Any:
    """Return the cluster's actor, started where there is none yet."""
    import ray

    options: dict[str, Any] = {
        "name": NAME,
        "namespace": NAMESPACE,
        "get_if_exists": True,
        "lifetime": "detached",
        "max_restarts": -1,
        "num_cpus": 0,
        "resources": {"node:__internal_head__": 0.001},  # other nodes come and go
    }
    return ray.remote(_Book).options(**options).remote()

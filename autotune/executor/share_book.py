"""Who holds which nodes of a cluster: what studies say of themselves, each for a few seconds only.

A book is told again and again what a study holds and wants, and answers what it may use. It keeps nothing
that its studies do not say anew: after it was lost, a new one knows everything once each has spoken.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction

from autotune.core.units import counted
from autotune.executor.shares import Claim, fair_shares, in_nodes, offers

LEASE_S = 10.0
"""Longest silence of a study whose nodes are still its own: a driver speaks twice a second."""

LISTEN_S = 2.0
"""Time in which a new book listens before it offers anything: others may hold nodes that it does not know."""


@dataclass(frozen=True)
class Post:
    """A study's account of itself.

    Args:
        study: Unique name of this run.
        label: Name for people.
        sizes: Slots of each node that it sees.
        nodes: Slots that one bundle of its next attempt takes, by the nodes that it may use.
        bundles: Bundles of that attempt.
        wants: Attempts that it would start at once.
        most: Attempts that it could run at once, those that run included.
        holds: Slots of its running attempts, by node.
        offered: Slots that it was offered, has not used and keeps, by node.
        started: Nodes that its attempts took, all of this run so far.
    """

    study: str
    label: str
    sizes: Mapping[str, int] = field(default_factory=dict)
    nodes: Mapping[str, int] = field(default_factory=dict)
    bundles: int = 1
    wants: int = 0
    most: int = 0
    holds: Mapping[str, int] = field(default_factory=dict)
    offered: Mapping[str, int] = field(default_factory=dict)
    started: float = 0.0


@dataclass(frozen=True)
class Share:
    """The nodes that a study may use now, and how that compares with the others.

    Args:
        offered: Slots beside those that it holds, by node.
        held: Nodes that it holds.
        fair: Nodes that are its fair share.
        nodes: Nodes of the cluster that some study can use.
        others: Names of the other studies that hold or want some.
        busy: Nodes of which other studies hold something.
        before: Name of a study whose turn is before its own; empty where it does not wait for one.
    """

    offered: Mapping[str, int] = field(default_factory=dict)
    held: float = 0.0
    fair: float = 0.0
    nodes: int = 0
    others: tuple[str, ...] = ()
    busy: tuple[str, ...] = ()
    before: str = ""

    def __str__(self) -> str:
        shared = f"{len(self.others) + 1} studies share {counted(self.nodes, 'node')}"
        text = f"holds {self.held:.3g} of its fair share of {self.fair:.3g} nodes ({shared})"
        return f"{text}, waits for {self.before}" if self.before else text

    def to_dict(self) -> dict[str, object]:
        """Return what people are told, as plain data."""
        return {
            "held": self.held,
            "fair": self.fair,
            "nodes": self.nodes,
            "others": list(self.others),
            "before": self.before,
        }


@dataclass
class _Entry:
    """The post and the claim of one study, and until when they hold."""

    post: Post
    claim: Claim
    until: float


class ShareBook:
    """The claims of all studies of a cluster.

    Args:
        clock: Monotonic time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._opened = clock()
        self._entries: dict[str, _Entry] = {}
        self._turn = 0  # counts arrivals and starts

    def update(self, post: Post) -> Share:
        """Take what a study says, and return what it may use."""
        now = self._clock()
        self._entries = {name: entry for name, entry in self._entries.items() if entry.until >= now}
        self._enter(post, now)
        claims = [entry.claim for entry in self._entries.values()]
        sizes = self._sizes()
        shares = fair_shares(sizes, claims)
        more: Mapping[str, int] = {}
        if now - self._opened >= LISTEN_S:
            more = offers(sizes, claims, shares)[post.study]
        entry = self._entries[post.study]
        offered = {n: post.offered.get(n, 0) + more.get(n, 0) for n in {*post.offered, *more}}
        entry.claim = replace(entry.claim, offered=offered)
        others = [e for name, e in self._entries.items() if name != post.study]
        return Share(
            offered=offered,
            held=float(in_nodes(post.holds, sizes)),
            fair=float(shares[post.study]),
            nodes=len(sizes),
            others=tuple(sorted(e.post.label for e in others if e.claim.most)),
            busy=tuple(sorted(set().union(*(e.post.holds.keys() | e.claim.offered.keys() for e in others)))),
            before=self._before(entry.claim) if post.wants and not offered else "",
        )

    def leave(self, study: str) -> None:
        """Forget a study that has ended."""
        self._entries.pop(study, None)

    def _enter(self, post: Post, now: float) -> None:
        known = self._entries.get(post.study)
        started = 0.0 if known is None else post.started - known.post.started
        if known is None or started > 0:
            self._turn += 1
        order = self._turn if known is None else known.claim.order
        last = self._turn if started > 0 else 0 if known is None else known.claim.last
        passed = Fraction(0) if known is None or started > 0 else known.claim.passed
        for name, entry in self._entries.items():
            if started > 0 and name != post.study and entry.claim.wants:
                more = Fraction(started).limit_denominator(1000)
                entry.claim = replace(entry.claim, passed=entry.claim.passed + more)
        claim = Claim(
            post.study, order, post.nodes, post.bundles, post.wants, post.most, post.holds, post.offered,
            passed, last,
        )  # fmt: skip
        self._entries[post.study] = _Entry(post, claim, now + LEASE_S)

    def _sizes(self) -> dict[str, int]:
        """Return the slots of every node that a study sees and some study can use."""
        used = {node for e in self._entries.values() for node in {**e.post.nodes, **e.post.holds}}
        return {n: size for e in self._entries.values() for n, size in e.post.sizes.items() if n in used}

    def _before(self, claim: Claim) -> str:
        """Return the name of another study that holds or was offered what this one could use."""
        held = {
            entry.post.label: sum(slots for node, slots in _taken(entry).items() if node in claim.nodes)
            for name, entry in self._entries.items()
            if name != claim.study
        }
        return max(held, key=lambda label: held[label], default="") if any(held.values()) else ""


def _taken(entry: _Entry) -> Mapping[str, int]:
    """Return the slots that a study holds or was offered, by node."""
    return Counter(entry.post.holds) + Counter(entry.claim.offered)

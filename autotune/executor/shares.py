"""Fair shares of a cluster's nodes between studies: pure arithmetic over what each has and wants.

A node is divided into slots, hundredths of its accelerators or, without any, of its CPUs; an attempt that has
its node to itself takes them all. Shares are counted in nodes and are max-min fair [1]: nobody gets less than
another who could do with less, and what one cannot use goes to the others. Nobody is preempted: what becomes
free is offered to whoever waits and has the least.

References:
    [1] Bertsekas, Gallager, *Data Networks*, 2nd ed., 1992, section 6.5.2 (progressive filling).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import combinations

_MOST_SETS = 8
"""Different sets of usable nodes up to which shares are exact; with more, unions of a few are left out."""

_DUE, _WITHIN, _BEYOND = range(3)  # ranks of who waits


@dataclass(frozen=True)
class Claim:
    """The slots of a cluster that one study has, and those that it would take.

    Args:
        study: Unique name.
        order: Its place in the order of arrival.
        nodes: Slots that one bundle of its next attempt takes, by the nodes that it may use.
        bundles: Bundles of that attempt.
        wants: Attempts that it would start at once.
        most: Attempts that it could run at once, those that run included.
        holds: Slots of its running attempts, by node.
        offered: Slots that were set aside for it and are not used yet, by node.
        passed: Nodes that others took since it last started an attempt, or came.
        last: Turn in which it last started an attempt; less is longer ago.
    """

    study: str
    order: int
    nodes: Mapping[str, int]
    bundles: int = 1
    wants: int = 0
    most: int = 0
    holds: Mapping[str, int] = field(default_factory=dict)
    offered: Mapping[str, int] = field(default_factory=dict)
    passed: Fraction = Fraction(0)
    last: int = 0


def in_nodes(slots: Mapping[str, int], sizes: Mapping[str, int]) -> Fraction:
    """Return slots, by node, as a number of nodes.

    Args:
        slots: Slots by node.
        sizes: Slots that each node has.
    """
    sums: Counter[int] = Counter()  # by the size of the nodes: there are few, and fractions are slow
    for node, count in slots.items():
        if node in sizes:
            sums[sizes[node]] += count
    return sum((Fraction(count, size) for size, count in sums.items()), Fraction(0))


def attempt_size(claim: Claim, sizes: Mapping[str, int]) -> Fraction:
    """Return the least part of nodes that the next attempt of a study takes; 0 where no node can hold it."""
    parts = {(slots, sizes[node]) for node, slots in claim.nodes.items() if node in sizes}
    return claim.bundles * min((Fraction(*part) for part in parts), default=Fraction(0))


def fair_shares(sizes: Mapping[str, int], claims: Sequence[Claim]) -> dict[str, Fraction]:
    """Return the max-min fair share of each study, in nodes; none gets more than it could use.

    Rates are feasible where for each set of nodes those who can use no others fit into it (max-flow min-cut),
    so it is enough to look at the unions of the studies' own sets.

    Args:
        sizes: Slots that each node has.
        claims: Claims of all studies.
    """
    usable = {c.study: frozenset(node for node in {*c.nodes, *c.holds} if node in sizes) for c in claims}
    demand = {c.study: max(in_nodes(c.holds, sizes), c.most * attempt_size(c, sizes)) for c in claims}
    demand = {study: min(found, Fraction(len(usable[study]))) for study, found in demand.items()}
    distinct = list(dict.fromkeys(usable.values()))
    counts = range(1, len(distinct) + 1) if len(distinct) <= _MOST_SETS else (1, len(distinct))
    unions = {frozenset().union(*some) for count in counts for some in combinations(distinct, count)}
    shares: dict[str, Fraction] = {}
    while len(shares) < len(claims):
        level = min(found for study, found in demand.items() if study not in shares)
        tight: set[str] = set()
        for union in unions:
            inside = [study for study in demand if usable[study] <= union]
            rising = [study for study in inside if study not in shares]
            if not rising:
                continue
            spare = len(union) - sum((shares[study] for study in inside if study in shares), Fraction(0))
            reached = Fraction(spare) / len(rising)
            if reached < level:
                level, tight = reached, set()
            if reached == level:
                tight.update(rising)
        met = {study for study, found in demand.items() if found <= level}
        shares |= {study: level for study in demand if study not in shares and study in tight | met}
    return shares


def offers(
    sizes: Mapping[str, int], claims: Sequence[Claim], shares: Mapping[str, Fraction]
) -> dict[str, dict[str, int]]:
    """Return the free slots that each study may use from now on, by node, beside those it was offered before.

    Who has the least goes first, and who started longest ago among equals. For one that is below its share
    and lacks room what is free of it is set aside. An attempt that is larger than its study's share gets its
    turn once each of the others has started as much.

    Args:
        sizes: Slots that each node has.
        claims: Claims of all studies.
        shares: Their :func:`fair_shares`.
    """
    free = dict(sizes)
    for claim in claims:
        for taken in (claim.holds, claim.offered):
            _take(free, taken)
    size = {c.study: attempt_size(c, sizes) for c in claims}
    level = {c.study: in_nodes(c.holds, sizes) + in_nodes(c.offered, sizes) for c in claims}
    left = {c.study: c.wants - _attempts(c) for c in claims}
    due = {c.study for c in claims if _is_due(c, claims, size[c.study], shares[c.study])}
    result: dict[str, dict[str, int]] = {c.study: {} for c in claims}

    def rank(claim: Claim) -> int:
        if claim.study in due:
            return _DUE
        return _WITHIN if level[claim.study] + size[claim.study] <= shares[claim.study] else _BEYOND

    waiting = [c for c in claims if left[c.study] > 0 and size[c.study] > 0]
    while waiting and free:
        claim = min(waiting, key=lambda c: (rank(c), level[c.study], c.last, c.order))
        found = _fit(claim, free)
        if found is None:
            waiting.remove(claim)
            if rank(claim) != _BEYOND:
                _take(free, _set_aside(claim, free, sizes))
            continue
        _take(free, found)
        due.discard(claim.study)
        level[claim.study] += in_nodes(found, sizes)
        left[claim.study] -= 1
        own = result[claim.study]
        own.update({node: own.get(node, 0) + slots for node, slots in found.items()})
        if left[claim.study] <= 0:
            waiting.remove(claim)
    return result


def _is_due(claim: Claim, claims: Iterable[Claim], size: Fraction, share: Fraction) -> bool:
    """Return whether an attempt that exceeds its study's share has waited for its turn."""
    others = sum(c.study != claim.study and (c.wants > 0 or bool(c.holds)) for c in claims)
    return others > 0 and size > share and claim.passed >= size * others


def _attempts(claim: Claim) -> int:
    """Return how many attempts fit into what a study was offered before."""
    bundles = sum(
        slots // claim.nodes[node] for node, slots in claim.offered.items() if claim.nodes.get(node)
    )
    return bundles // claim.bundles


def _take(free: dict[str, int], slots: Mapping[str, int]) -> None:
    """Take slots away; a node without any is dropped."""
    for node, count in slots.items():
        left = free.get(node, 0) - count
        if left > 0:
            free[node] = left
        else:
            free.pop(node, None)


def _fit(claim: Claim, free: Mapping[str, int]) -> dict[str, int] | None:
    """Return where the next attempt fits, the fullest nodes first; ``None`` where it does not."""
    able = [
        (left - claim.nodes[node], node)
        for node, left in free.items()
        if node in claim.nodes and left >= claim.nodes[node]
    ]
    if claim.bundles == 1:
        return {node: claim.nodes[node] for _, node in [min(able)]} if able else None
    found: dict[str, int] = {}
    missing = claim.bundles
    for _, node in sorted(able):
        bundles = min(free[node] // claim.nodes[node], missing)
        found[node] = bundles * claim.nodes[node]
        missing -= bundles
        if not missing:
            return found
    return None


def _set_aside(claim: Claim, free: Mapping[str, int], sizes: Mapping[str, int]) -> dict[str, int]:
    """Return what is free of the nodes that can hold an attempt soonest: those of which least is taken."""
    able = [(sizes[node] - free.get(node, 0), node) for node in claim.nodes if node in sizes]
    found: dict[str, int] = {}
    missing = claim.bundles
    for _, node in sorted(able):
        if missing <= 0:
            break
        found[node] = free.get(node, 0)
        missing -= sizes[node] // claim.nodes[node]
    return found

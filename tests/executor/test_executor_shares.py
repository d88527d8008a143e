"""Fair shares between studies: conserving, max-min fair, stable, and nobody starves."""

from fractions import Fraction
from itertools import chain, combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.executor import shares
from autotune.executor.shares import Claim, fair_shares, in_nodes


def one_each(count, wants=99):
    """Claims of studies whose attempts take a whole node of four."""
    return [
        Claim(f"s{i}", i, {f"n{k}": 100 for k in range(4)}, wants=wants, most=wants) for i in range(count)
    ]


def offers(sizes, claims):
    return shares.offers(sizes, claims, fair_shares(sizes, claims))


FOUR = {f"n{k}": 100 for k in range(4)}


@st.composite
def clusters(draw):
    """Nodes and claims: sets of usable nodes, attempts of several sizes, and what some hold already."""
    sizes = {f"n{i}": draw(st.sampled_from([100, 800])) for i in range(draw(st.integers(1, 5)))}
    free = dict(sizes)
    claims = []
    for i in range(draw(st.integers(1, 4))):
        usable = draw(st.sets(st.sampled_from(sorted(sizes)), min_size=1))
        whole = draw(st.booleans())
        slots = draw(st.sampled_from([50, 100]))
        nodes = {node: sizes[node] if whole else slots for node in usable}
        holds = {}
        for node in sorted(usable):
            if free[node] >= nodes[node] and draw(st.booleans()):
                holds[node] = nodes[node]
                free[node] -= nodes[node]
        running = len(holds)
        wants = draw(st.integers(0, 6))
        claims.append(
            Claim(
                f"s{i}", i, nodes, draw(st.integers(1, 2)), wants, wants + running, holds,
                passed=Fraction(draw(st.integers(0, 9))), last=draw(st.integers(0, 3)),
            )
        )  # fmt: skip
    return sizes, claims


def subsets(nodes):
    return chain.from_iterable(combinations(nodes, size) for size in range(1, len(nodes) + 1))


@settings(deadline=None, max_examples=60)
@given(clusters())
def test_shares_are_feasible_conserving_and_max_min_fair(drawn):
    sizes, claims = drawn
    found = fair_shares(sizes, claims)
    usable = {c.study: {*c.nodes, *c.holds} for c in claims}

    def inside(nodes):
        return [study for study in usable if usable[study] <= set(nodes)]

    sums = {nodes: sum(found[study] for study in inside(nodes)) for nodes in subsets(sorted(sizes))}
    assert all(total <= len(nodes) for nodes, total in sums.items())
    for claim in claims:
        size = claim.bundles * min(Fraction(s, sizes[n]) for n, s in claim.nodes.items())
        wanted = min(max(in_nodes(claim.holds, sizes), claim.most * size), len(usable[claim.study]))
        assert found[claim.study] <= wanted
        if found[claim.study] < wanted:  # it is held back by a full set in which nobody has more
            assert any(
                total == len(nodes)
                and claim.study in inside(nodes)
                and all(found[other] <= found[claim.study] for other in inside(nodes))
                for nodes, total in sums.items()
            )


@settings(deadline=None, max_examples=60)
@given(clusters())
def test_offers_fit_beside_what_is_held_and_leave_nothing_that_somebody_could_use(drawn):
    sizes, claims = drawn
    found = offers(sizes, claims)
    taken = dict.fromkeys(sizes, 0)
    for claim in claims:
        for node, slots in chain(claim.holds.items(), found[claim.study].items()):
            taken[node] += slots
        for node, slots in found[claim.study].items():
            assert slots % claim.nodes[node] == 0
    assert all(taken[node] <= sizes[node] for node in sizes)
    short = []
    for claim in claims:
        got = sum(slots // claim.nodes[node] for node, slots in found[claim.study].items())
        room = sum((sizes[node] - taken[node]) // slots for node, slots in claim.nodes.items())
        if got // claim.bundles < claim.wants:
            short.append((claim, room >= claim.bundles))
    for claim, fits in short:  # room that is left over is set aside for one that needs more than is free
        assert not fits or any(other is not claim and not room for other, room in short)


@settings(deadline=None, max_examples=60)
@given(clusters(), st.randoms())
def test_offers_are_stable_and_do_not_depend_on_the_order_of_the_list(drawn, chance):
    sizes, claims = drawn
    found = offers(sizes, claims)
    shuffled = list(claims)
    chance.shuffle(shuffled)
    assert offers(sizes, shuffled) == found


def test_what_is_offered_stays_offered_until_it_is_used():
    first = [Claim("a", 0, FOUR, wants=4, most=4)]
    (found,) = offers(FOUR, first).values()
    assert in_nodes(found, FOUR) == 4
    again = [Claim("a", 0, FOUR, wants=4, most=4, offered=found), Claim("b", 1, FOUR, wants=4, most=4)]
    assert offers(FOUR, again) == {"a": {}, "b": {}}


def test_a_newcomer_gets_what_becomes_free_until_both_have_their_share():
    holds = {"n0": 100, "n1": 100, "n2": 100}  # of four: one trial has ended
    a = Claim("a", 0, FOUR, wants=1, most=99, holds=holds, last=9)
    b = Claim("b", 1, FOUR, wants=4, most=99)
    assert offers(FOUR, [a, b]) == {"a": {}, "b": {"n3": 100}}
    a = Claim("a", 0, FOUR, wants=2, most=99, holds={"n0": 100, "n1": 100}, last=9)
    b = Claim("b", 1, FOUR, wants=3, most=99, holds={"n3": 100}, last=10)
    assert offers(FOUR, [a, b]) == {"a": {}, "b": {"n2": 100}}
    a = Claim("a", 0, FOUR, wants=3, most=99, holds={"n0": 100}, last=9)
    b = Claim("b", 1, FOUR, wants=2, most=99, holds={"n3": 100, "n2": 100}, last=11)
    assert offers(FOUR, [a, b]) == {"a": {"n1": 100}, "b": {}}


def test_what_one_study_cannot_use_goes_to_the_others():
    a, b = one_each(2)
    assert fair_shares(FOUR, [a, Claim("b", 1, FOUR, wants=1, most=1)]) == {"s0": 3, "b": 1}
    only = {"n0": 100}  # no other node has the accelerator that it asks for
    assert fair_shares(FOUR, [Claim("b", 1, only, wants=9, most=9), a]) == {"b": 1, "s0": 3}
    assert fair_shares(FOUR, [a, b]) == {"s0": 2, "s1": 2}


def trials(claims, lengths, sizes, turns):
    """Run studies that always want more on a cluster; return the turns at which each started an attempt.

    Args:
        claims: Claims before anything runs.
        lengths: Turns that an attempt of each study lasts.
        sizes: Slots of each node.
        turns: Number of turns.
    """
    running, starts = [], {c.study: [] for c in claims}
    passed = {c.study: Fraction(0) for c in claims}
    last = {c.study: 0 for c in claims}
    for turn in range(1, turns):
        running = [run for run in running if run[0] > turn]
        now = []
        for claim in claims:
            holds = {}
            for _, study, taken in running:
                for node, slots in taken.items() if study == claim.study else ():
                    holds[node] = holds.get(node, 0) + slots
            now.append(
                Claim(
                    claim.study, claim.order, claim.nodes, claim.bundles, 9, 99, holds,
                    passed=passed[claim.study], last=last[claim.study],
                )
            )  # fmt: skip
        found = offers(sizes, now)
        for study, taken in found.items():
            if not taken:
                continue
            running.append((turn + lengths[study], study, taken))
            starts[study].append(turn)
            passed = {o: n + in_nodes(taken, sizes) for o, n in passed.items()}
        for study, taken in found.items():
            if taken:
                passed[study], last[study] = Fraction(0), turn
    return starts


@settings(deadline=None, max_examples=15)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 5)), min_size=2, max_size=4))
def test_nobody_starves_however_large_or_long_the_attempts_are(studies):
    claims = [Claim(f"s{i}", i, FOUR, bundles, wants=9, most=99) for i, (bundles, _) in enumerate(studies)]
    lengths = {f"s{i}": length for i, (_, length) in enumerate(studies)}
    starts = trials(claims, lengths, FOUR, 120)
    for turns in starts.values():
        gaps = [after - before for before, after in zip([0, *turns], [*turns, 120], strict=True)]
        assert max(gaps) <= 40  # each of three others may start four nodes' worth of five turns in between


def test_a_study_of_large_trials_and_one_of_small_ones_take_turns():
    claims = [Claim("large", 0, FOUR, 4, wants=9, most=99), Claim("small", 1, FOUR, 1, wants=9, most=99)]
    starts = trials(claims, {"large": 2, "small": 2}, FOUR, 200)
    assert len(starts["large"]) >= 25
    assert len(starts["small"]) >= 25

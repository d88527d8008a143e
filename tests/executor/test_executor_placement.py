"""Where attempts may run: packing, spreading, keeping apart, labels, stages, what fits nowhere."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.core.placement import ACCELERATOR_LABEL, Rules
from autotune.errors import SpecError
from autotune.executor.placement import Need, Node, capacity, place, shortage, waits_elsewhere

RULES = Rules()


def gpus(count, **changes):
    return Need.of({"cpus": 1, "gpus": count, **changes}, RULES)


def nodes(*shapes):
    return [Node(f"id-{i}", f"n{i}", cpus, count) for i, (cpus, count) in enumerate(shapes)]


def fill(need, there, rules=RULES):
    running = []
    while (placed := place(need, there, running, rules)) is not None:
        running.append(placed)
    return running


def test_groups_are_packed_so_that_wide_ones_find_a_whole_node():
    there = nodes((8, 8), (8, 8))
    first = place(gpus(2), there, [], RULES)
    second = place(gpus(2), there, [first], RULES)
    assert second.nodes == first.nodes
    assert place(gpus(8), there, [first, second], RULES).nodes != first.nodes
    assert place(gpus(16), there, [], RULES) is None


def test_attempts_without_accelerators_have_their_node_alone():
    there = nodes((8, 0), (8, 8))
    alone = Need.of({"cpus": 2}, RULES)
    first = place(alone, there, [], RULES)
    second = place(alone, there, [first], RULES)
    assert {*first.nodes, *second.nodes} == {"id-0", "id-1"}
    assert place(alone, there, [first, second], RULES) is None
    assert place(gpus(1), there, [second], RULES) is None  # nor does another join it there
    shared = Rules(exclusive="none")
    assert len(fill(Need.of({"cpus": 2}, shared), there, shared)) == 8
    whole = Rules(exclusive="node")
    assert len(fill(Need.of({"cpus": 1, "gpus": 1}, whole), there, whole)) == 1


def test_stages_stay_together_where_they_can_and_spread_where_they_must():
    there = nodes((8, 4), (8, 4))
    together = place(gpus(4, stages=2), there, [], RULES)
    assert len(set(together.nodes)) == 1
    assert sorted(place(gpus(8, stages=2), there, [], RULES).nodes) == ["id-0", "id-1"]
    assert place(gpus(8, stages=2), there, [together], RULES) is None


def test_nodes_where_a_trial_met_environment_faults_come_last():
    there = nodes((8, 4), (8, 4))
    assert place(gpus(1), there, [], RULES, avoid=["n0"]).nodes == ("id-1",)
    assert place(gpus(1), there[:1], [], RULES, avoid=["n0"]).nodes == ("id-0",)


def test_an_attempt_waits_for_ours_on_nodes_where_it_has_not_failed():
    there = nodes((8, 0), (8, 0))
    alone = Need.of({"cpus": 2}, RULES)
    on_good = place(alone, there, [], RULES, avoid=["n0"])
    assert waits_elsewhere(alone, there, [on_good], RULES, ["n0"])
    assert not waits_elsewhere(alone, there, [], RULES, ["n0"])  # it is free
    assert not waits_elsewhere(alone, there, [on_good], RULES, [])  # it failed nowhere
    assert not waits_elsewhere(alone, there, [on_good], RULES, ["n0", "n1"])  # it failed everywhere
    assert not waits_elsewhere(alone, there[:1], [], RULES, ["n0"])  # there is no other
    assert not waits_elsewhere(Need.of({"cpus": 9}, RULES), there, [on_good], RULES, ["n0"])
    held = [there[0], Node("id-1", "n1", 8, 0, others_cpus=8)]  # by other jobs: nobody knows how long
    assert not waits_elsewhere(alone, held, [], RULES, ["n0"])


def test_what_others_of_the_cluster_hold_is_not_free():
    taken = Node("id", "n", 8, 4, others_gpus=3)
    assert place(gpus(1), [taken], [], RULES) is not None
    assert place(gpus(2), [taken], [], RULES) is None
    assert capacity(gpus(2), [taken], RULES) == 2  # but they may go away
    assert shortage(gpus(2), [taken], RULES) == ""


def test_labels_bind_to_nodes_and_their_lack_is_said():
    there = [
        Node("a", "a", 8, 8, {ACCELERATOR_LABEL: "H100", "zone": "x"}),
        Node("b", "b", 8, 8, {"zone": "y"}),
    ]
    assert place(gpus(1), there, [], Rules(accelerator="H100")).nodes == ("a",)
    assert place(gpus(1), there, [], Rules(labels={"zone": "y"})).nodes == ("b",)
    said = shortage(gpus(1), there, Rules(labels={"zone": "z"}))
    assert said.startswith("needs a node with zone=z, which none of 2 has; their labels: ")
    assert "zone=x, zone=y" in said


def test_what_fits_nowhere_is_refused_with_the_numbers():
    there = nodes((8, 4), (16, 2))
    assert shortage(gpus(8), there, RULES) == (
        "needs 1 CPUs and 8 GPUs on one node; the largest of 2 nodes, n0, has 8 CPUs and 4 GPUs"
    )
    assert "3 times 0.333333 CPUs and 3 GPUs" in shortage(gpus(9, stages=3), there, RULES)
    assert shortage(gpus(9, stages=3), there, RULES).endswith("room for 1 of 3")
    assert shortage(gpus(1), [], RULES).endswith("the cluster has no node")


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 16), st.integers(0, 8)), max_size=5),
    st.lists(st.tuples(st.integers(1, 8), st.integers(0, 8), st.integers(1, 3)), max_size=12),
    st.sampled_from(["auto", "node", "none"]),
)
def test_no_node_ever_holds_more_than_it_has(shapes, wanted, exclusive):
    there, rules, running = nodes(*shapes), Rules(exclusive), []
    for cpus, count, stages in wanted:
        need = Need.of({"cpus": cpus, "gpus": count, "stages": stages}, rules)
        placed = place(need, there, running, rules)
        if placed is None:
            continue
        assert capacity(need, there, rules) >= 1
        assert len(placed.nodes) == stages
        running.append(placed)
    for node in there:
        here = [(placed, placed.nodes.count(node.id)) for placed in running if node.id in placed.nodes]
        assert sum(placed.need.cpus * times for placed, times in here) <= node.cpus + 1e-3
        assert sum(placed.need.gpus * times for placed, times in here) <= node.gpus + 1e-3
        assert len(here) <= 1 or not any(placed.need.exclusive for placed, _ in here)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 16), st.integers(0, 8)), min_size=1, max_size=4),
    st.integers(1, 8),
    st.integers(0, 8),
)
def test_capacity_is_what_can_be_placed(shapes, cpus, count):
    there, need = nodes(*shapes), Need.of({"cpus": cpus, "gpus": count}, RULES)
    assert len(fill(need, there)) == capacity(need, there, RULES)


@pytest.mark.parametrize(
    ("data", "path"),
    [
        ({"exclusive": "nodes"}, ("exclusive",)),
        ({"accelerator": "H100; rm -rf"}, ("accelerator",)),
        ({"labels": "zone"}, ("labels",)),
        ({"labels": {"zone": "a b"}}, ("labels", "zone")),
        ({"labels": {"zone": ["a"]}}, ("labels", "zone")),
    ],
)
def test_wrong_rules_are_refused_where_they_stand(data, path):
    with pytest.raises(SpecError) as caught:
        Rules.from_dict(data)
    assert caught.value.path == path


def test_rules_are_read_back():
    for rules in (Rules(), Rules("node", "H100", {"zone": "a"}), Rules("none")):
        assert Rules.from_dict(rules.to_dict()) == rules
    assert Rules().shared().exclusive == "none"
    assert Rules("node").shared().exclusive == "node"

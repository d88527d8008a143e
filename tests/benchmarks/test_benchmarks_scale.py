"""Many studies on one head: what is counted of them."""

import json

import pytest

from autotune.executor.base import Job
from autotune.study.study_file import read_study
from benchmarks.scale.__main__ import spread, study_file, turns
from benchmarks.scale.slots import SlotExecutor, SlotHost

S = 1_000_000_000


def attempt(slot, began_s, ended_s, committed_s):
    measured = {"facts": {"slot": slot}, "started_ns": int(began_s * S), "ended_ns": int(ended_s * S)}
    return {"measurement": json.dumps(measured), "started_ns": 0, "ended_ns": int(committed_s * S)}


def test_a_slot_is_empty_from_the_end_of_a_trial_to_the_start_of_the_next_in_it():
    rows = [
        attempt(0, 0, 10, 10.1),
        attempt(1, 0, 11, 11.5),
        attempt(0, 10.25, 20, 20.1),
        attempt(1, 13, 21, 21.1),
        {"measurement": None, "started_ns": 0, "ended_ns": None},
    ]
    commits, empty = turns(rows, 0, 20 * S)
    assert commits == pytest.approx([0.1, 0.5])
    assert sorted(empty) == pytest.approx([0.25, 2.0])
    assert turns(rows, 30 * S, 40 * S) == ([], [])


def test_spread_is_of_quantiles():
    assert spread([]) == {}
    assert spread([1.0, 2.0, 3.0]) == {"p5": 1.1, "median": 2.0, "p95": 2.9, "max": 3.0}


def test_the_slot_that_has_been_free_longest_is_taken():
    executor = SlotExecutor("127.0.0.1:1", 2)
    keys = [("s", n, 1) for n in range(4)]
    assert [executor.take(key) for key in keys[:3]] == [0, 1, 2]
    executor._free += [executor._taken.pop(keys[1]), executor._taken.pop(keys[0])]
    assert executor.take(keys[3]) == 1


def test_a_study_of_it_is_read_and_a_slot_measures_a_configuration_of_it(tmp_path):
    import asyncio

    spec = read_study(study_file(tmp_path, "study-0", "sobol", 50, "none"))
    assert spec.budget.parallel == "50"
    job = Job("study-0", 0, 1, spec.space.default_config, {}, {}, "", "")
    found = asyncio.run(SlotHost(0.0).attempt(job.to_dict(), 7))
    assert found["measurement"]["facts"] == {"slot": 7}
    assert found["measurement"]["metrics"]["output_throughput"]["value"] > 0

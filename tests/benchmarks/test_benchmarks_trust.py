"""Whole studies under noise: limits that bind, the truth of what is reported, and a file that goes on."""

import json
import math

import numpy as np
import pytest

from benchmarks.trust import NOISES, Noise, Study, bounded, main, report, run

TABLE = "llama_cpp_tiny/llama_cpp_tiny"


def test_a_limit_binds_at_a_quantile_of_the_front():
    hard, easy = (bounded(TABLE, edge, None) for edge in (0.4, 0.6))
    for found in (hard, easy):
        kept = [excess <= 0 for _, excess in found.truths.values()]
        assert 0 < sum(kept) < len(kept)
        assert found.best(0.1) <= found.best(0.0) < max(goal for goal, _ in found.truths.values())
        assert found.problem.objective.limits[0].metric == "tpot.p95"
    assert hard.best(0.0) < easy.best(0.0)


@pytest.mark.parametrize("name", NOISES)
def test_noise_is_as_large_as_said_and_told_as_said(name):
    noise = NOISES[name]
    drawn = [noise.draw(100.0, np.random.default_rng(i)) for i in range(3000)]
    spread = float(np.std([math.log(e.value / 100.0) for e in drawn]))
    assert spread == pytest.approx(noise.total, rel=0.15 if noise.freedom else 0.05)
    assert (drawn[0].sem is None) == (noise.told == "nothing")


def test_a_study_reports_a_winner_beside_its_truth():
    found = run(Study(1, TABLE, 0.6, "2%", "random"), None)
    truths = bounded(TABLE, 0.6, None).truths
    assert found["searched"] >= 20
    assert (found["goal"], found["excess"]) == truths[found["winner"]]
    assert found["showable"] <= found["best"]
    if "gain" in found:
        value, low, high = found["gain"]
        assert low < value < high
    assert run(Study(1, TABLE, 0.6, "2%", "random"), None) | {"seconds": 0} == found | {"seconds": 0}


def test_a_file_goes_on_where_it_ended(tmp_path, capsys):
    out = tmp_path / "trust.jsonl"
    asked = [
        "--problems",
        TABLE,
        "--noises",
        "2%",
        "--edges",
        "0.6",
        "--engines",
        "random",
        "--out",
        str(out),
    ]
    main([*asked, "--seeds", "1"])
    main([*asked, "--seeds", "2"])
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["seed"] for line in lines] == [0, 1]
    main(["--report", "--out", str(out)])
    assert "| random | all | 2 |" in capsys.readouterr().out
    assert report([]).count("\n") == 1


def test_within_and_between_add_up():
    assert Noise(0.03, 0.04).total == pytest.approx(0.05)

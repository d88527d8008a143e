"""The summary as text and as data."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from autotune.core.assessment import Assessment, ModelQuality
from autotune.core.measurement import DOUBT, SHORTFALL, Measurement
from autotune.core.objective import Objective
from autotune.core.trial import Reason, Suggestion, Trial, TrialState
from autotune.measure.watch import machine_watch
from autotune.report.summary import (
    JSON_KEYS,
    doubt_lines,
    measurement_lines,
    model_lines,
    notes,
    summary,
    summary_json,
)

GOLDEN = Path(__file__).parent / "golden"


def test_a_summary_reads_as_agreed(make_view, pytestconfig):
    text = summary(make_view(state="completed", confirm=1)) + "\n"
    path = GOLDEN / "summary-80.txt"
    if pytestconfig.getoption("--write-golden") and not path.exists():
        path.write_text(text, "utf-8")
    assert text == path.read_text("utf-8")


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_the_summary_keeps_to_the_width(make_view, width):
    assert max(len(line) for line in summary(make_view(), width=width).split("\n")) <= width


def test_a_summary_without_trials_says_so(make_view):
    text = summary(make_view((), running=()))
    assert "no trials yet" in text
    assert "nothing measured yet" in text


def test_summary_of_nothing_feasible(make_view, trials):
    text = summary(make_view((trials[2], trials[3])))
    assert "no configuration keeps tpot.p95 <= 60 ms yet; the nearest, trial 2, is 20 %\n  above" in text


def test_a_search_that_ended_early_says_why(make_view):
    view = make_view(state="converged", stopped="converged: at most 1.8 % is left (90 %)")
    assert "stopped before its budget: converged: at most 1.8 % is left (90 %)" in summary(view)
    assert summary_json(view)["stopped"] == view.stopped
    assert "stopped before" not in summary(make_view())


def test_what_the_model_says_is_two_lines():
    left = Assessment(
        1.8, 0.4, 0.05, 3.0, converged=True, reason="remaining gain at most 1.8 % (90 % confidence)"
    )
    good = {"speed": ModelQuality("speed", 0.87, 0.92, -0.3, 20)}
    assert model_lines(left, good, width=120) == [
        "remaining gain at most 1.8 % (90 % confidence)",
        "model: explains 87 % of speed (leave-one-out), 92 % of values inside their 90 % interval",
    ]
    assert model_lines(None, None) == model_lines(Assessment(reason="too few"), {}) == []


def test_values_of_one_metric_share_one_unit(make_view, make_trial):
    both = Objective.from_dict({"maximize": "output_throughput", "minimize": "tpot.p95"})
    default, best = (1, 16, 0, 1, 1), (8, 8, 0, 1, 2)
    trials = (make_trial(0, default, speed=30, tpot=0.00095), make_trial(1, best, speed=120, tpot=0.0020))
    text = summary(make_view(trials, objective=both, state="completed"), width=120)
    lines = [line for line in text.splitlines() if line.startswith(("  tpot.p95", "  * trial"))]
    assert len(lines) == 3
    assert not any(" us" in line for line in lines)
    assert "default 0.95" in lines[0]


def test_several_goals_show_the_front(make_view, trials):
    both = Objective.from_dict({"maximize": "output_throughput", "minimize": "tpot.p95"})
    assert "pareto front: trials 0, 2, 4" in summary(make_view(objective=both))
    text = summary(make_view(objective=both, state="completed"))
    assert "pareto front (* its ends and its knee):" in text
    assert "  * trial 2: output_throughput 812 ± 35 tokens/s, tpot.p95 72.0 ± 4.0 ms" in text
    assert "(2 fresh launches)" not in text


def test_a_winner_in_doubt_is_not_called_the_best(make_view, trials):
    view = make_view((trials[0], trials[2]), state="completed")
    assert view.best.trial.number == 0
    view = make_view((trials[2],), state="completed")
    assert view.best is None
    assert "nearest: trial 2" in summary(view)
    assert "no configuration keeps every limit" in summary(view)
    assert "not recommended" in summary(view)


def test_json_is_plain_and_its_keys_are_stable(make_view):
    data = summary_json(make_view(state="completed"))
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert list(data) == list(JSON_KEYS)
    assert list(data["trials"][0]) == [
        "number",
        "state",
        "config",
        "metrics",
        "feasible",
        "violations",
        "failure",
        "reason",
        "engine",
        "predicted",
        "p_feasible",
        "surprise",
        "doubt",
        "shortfall",
        "seconds",
        "attempts",
        "node",
    ]
    assert data["best"] == {
        "number": 4,
        "config": {
            "batch_size": 16,
            "quantization_bits": 16,
            "draft_length": 0,
            "tensor_parallel": 1,
            "threads": 2,
        },
        "metrics": data["trials"][6]["metrics"],
        "feasible": True,
        "launches": 1,
        "confirmed": True,
    }
    assert data["default"]["number"] == 0
    assert data["improvement"]["scale"] == "ratio"
    assert data["improvement"]["ratio"] == pytest.approx(398.3 / 31.9)
    assert data["improvement"]["low"] < data["improvement"]["ratio"] < data["improvement"]["high"]
    assert data["verdict"]["kind"] == "better"
    assert data["trials"][3]["failure"] == {
        "cause": "crashed_under_load",
        "message": "what the log said",
        "log_tail": "last line\n",
    }
    assert list(data["trials"][2]["violations"]) == ["tpot.p95 <= 60 ms"]
    assert data["counts"]["COMPLETED"] == 6


def test_a_summary_in_json_without_trials_has_nothing_best(make_view):
    data = summary_json(make_view((), running=(), state="completed"))
    assert data["best"] is None
    assert data["default"] is None
    assert data["improvement"] is None
    assert data["binding_limit"] is None
    assert data["verdict"]["kind"] == "undecided"
    assert data["verdict"]["text"] == "nothing was measured yet"


def test_lines_of_a_measurement(trials, make_view):
    assert measurement_lines(trials[0].metrics, make_view(trials).objective) == [
        "  output_throughput  31.20 ± 0.61 tokens/s  n=30",
        "  tpot.p95           32.0 ± 1.3 ms          n=30",
        "± is the half-width of the 95 % interval",
    ]


def test_each_kind_of_warning_has_its_own_line_and_trials():
    told = [
        ["3 of 20 answers had another length", "the card was 81 % busy with q8_0"],
        ["the card was 9.5 % busy with q8_0", "the card was 11 % busy with q8_0"],
        [],
        ["the card was 7 % busy with q4_0"],
    ]
    trials = [
        Trial(
            i, Suggestion({}, Reason.INITIAL), TrialState.COMPLETED, 1,
            Measurement({}, facts={"measured": {"warnings": notes}}),
        )
        for i, notes in enumerate(told)
    ]  # fmt: skip
    assert notes(trials) == [
        "warning: trial 0: 3 of 20 answers had another length",
        "warning: trials 0, 1: the card was 11 % busy with q8_0",
        "warning: trial 3: the card was 7 % busy with q4_0",
    ]


def test_names_of_busy_programs_make_no_warning_of_another_kind():
    busy = [
        {
            "cores": {"others": 1.61, "cpus": 2.0},
            "busy_processes": [{"name": name, "cores": 0.4} for name in names],
        }
        for names in (["python"], ["a, b", "python3"], ["autotune", "q4 (x)", "python"])
    ]
    trials = [
        Trial(
            i, Suggestion({}, Reason.INITIAL), TrialState.COMPLETED, 1,
            Measurement({}, facts={"measured": {"warnings": machine_watch.warnings(facts)}}),
        )
        for i, facts in enumerate(busy)
    ]  # fmt: skip
    (note,) = notes(trials)
    assert note.startswith(
        "warning: trials 0, 1, 2: other programs were busy while it was measured: 1.6 of 2 CPUs"
    )
    assert note.endswith("autotune (0.4 cores), q4 (x) (0.4 cores), python (0.4 cores)")


def test_each_doubtful_trial_has_its_own_reasons(make_view, trials):
    def doubtful(trial, text):
        facts = {DOUBT: text, SHORTFALL: text}
        return replace(trial, measurement=replace(trial.measurement, facts=facts))

    reasons = [
        "half-width 40 % where 5 % was asked",
        "not steady after 9 s of warm-up",
        "half-width 60 % where 5 % was asked",
    ]
    several = [
        doubtful(trial, text) for trial, text in zip((trials[0], trials[1], trials[4]), reasons, strict=True)
    ]
    text = " ".join(doubt_lines(make_view(several), width=1000))
    assert f"doubtful: trials 0, 4 (such as {reasons[2]}), trial 1 ({reasons[1]}); no limit" in text
    free = make_view(several, objective=Objective.from_dict({"maximize": "output_throughput"}))
    assert "no limit is judged" not in " ".join(doubt_lines(free))


def test_every_limit_of_a_metric_has_a_row_beside_the_best(make_view):
    both = {"maximize": "output_throughput", "limits": ["tpot.p95 <= 60 ms", "tpot.p95 >= 1 ms"]}
    lines = summary(make_view(objective=Objective.from_dict(both))).split("\n")
    upper, lower = (next(x for x in lines if x.startswith(f"  tpot.p95 {sign} ")) for sign in ("<=", ">="))
    assert upper.partition(" ms  ")[2].split() == lower.partition(" ms  ")[2].split() != []

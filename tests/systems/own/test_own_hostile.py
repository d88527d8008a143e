"""Programs that print or write what is no measurement: ``wrong_output``, within limits."""

import json
import os
import sys
import time

import pytest

from autotune.core.file_names import METRICS, OUTCOME, STARTED, STDOUT
from autotune.core.measured_table import read_tables
from autotune.core.measurement import Cause, Estimate, as_estimates
from autotune.core.parameter import Int
from autotune.core.space import Space
from autotune.errors import SpecError
from autotune.study.study import Study
from autotune.systems.base import AttemptFailed
from autotune.systems.own import driver
from autotune.systems.own.driver import connect

pytestmark = pytest.mark.timeout(120)
HUGE = "1" + "0" * 400
DIGITS = "1" + "0" * 5000


def deep(levels):
    return "[" * levels + "1" + "]" * levels


def read(folder, text, *, from_file=False, runs=1):
    """Return what a program that has ended well gave, and what was left out."""
    (folder / STARTED).write_text(json.dumps({"pid": os.getpid()}))
    (folder / OUTCOME).write_text(json.dumps({"exit": 0, "runs": [{}] * runs}))
    for run in range(1, runs + 1):
        (folder / (METRICS if from_file else STDOUT).format(run=run)).write_text(text)
    found = connect(folder, from_file, {})
    return found.measure(time.monotonic() + 20.0), found.facts()


def refusal(folder, text, **options):
    with pytest.raises(AttemptFailed) as caught:
        read(folder, text, **options)
    assert caught.value.failure.cause is Cause.WRONG_OUTPUT
    return caught.value.failure.message


@pytest.mark.parametrize("from_file", [False, True])
@pytest.mark.parametrize(
    ("value", "said"),
    [
        (f"[1, {DIGITS}]", "no JSON object of metrics"),
        (deep(5000), "no JSON object of metrics"),
        (deep(900), "must be a number"),
        (f'{{"value": 1, "n": {HUGE}}}', "n must be at least 1, found 1e400, which is too large"),
        ('{"value": 1, "n": NaN}', "n must be at least 1, found nan"),
        ('{"value": 5, "n": 3, "unit": 7}', "unit must be text"),
        ('"7"', "must be a number"),
        ("null", "must be a number"),
        ("{}", "an estimate needs a value"),
    ],
)
def test_a_metric_that_is_no_number_is_wrong_output(tmp_path, value, said, from_file):
    assert said in refusal(tmp_path, f'{{"speed": {value}}}', from_file=from_file)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (HUGE, "1e400, which is too large"),
        (f"-{HUGE}", "-1e400, which is too large"),
        (f"[1, {HUGE}]", "1e400, which is too large"),
        (f'{{"value": {HUGE}}}', "1e400, which is too large"),
        ("1e400", "inf"),
        ("1e200", "1e+200, beyond 1e+150"),
        ("[1e308, 1e308]", "1e+308, beyond 1e+150"),
        ("[1, -1e200]", "-1e+200, beyond 1e+150"),
    ],
)
def test_a_number_that_is_too_large_is_left_out_and_named(tmp_path, value, said):
    metrics, facts = read(tmp_path, f'{{"speed": 2, "odd": {value}}}')
    assert metrics == {"speed": Estimate(2.0)}
    assert facts["not_finite"]["odd"] == said
    text = str(as_estimates({"speed": 1.0}))
    assert "1.0" in text
    with pytest.raises(SpecError, match="must be finite, found"):
        as_estimates({"odd": 10**400})


@pytest.mark.parametrize("value", [HUGE, deep(5000), DIGITS])
def test_a_whole_attempt_with_such_a_goal_is_wrong_output(tmp_path, attempt, value):
    (tmp_path / "bench.py").write_text(f'print(\'{{"speed": {value}, "other": 1}}\')')
    system = {"use": "command", "argv": [sys.executable, "bench.py"], "folder": str(tmp_path)}
    failure = attempt(system, {}, "speed", 30.0).failure
    assert failure.cause is Cause.WRONG_OUTPUT
    assert "1e400, which is too large" in failure.message or "no JSON object" in failure.message


def test_a_function_may_return_them_too(tmp_path, attempt):
    (tmp_path / "own.py").write_text("def tuned(config): return {'speed': 10**400}\n")
    system = {"use": "function", "call": "own.py:tuned", "folder": str(tmp_path)}
    failure = attempt(system, {}, "speed", 30.0).failure
    assert failure.cause is Cause.WRONG_OUTPUT
    assert "the goal 'speed' is 1e400, which is too large" in failure.message


def test_told_results_are_refused_in_the_same_words():
    study = Study(Space([Int("a", 1, 4)]), {"maximize": "speed"}, engine="random")
    trial = study.ask()
    study.tell(trial, {"speed": 10**400})
    failure = study.trials[0].failure
    assert failure.cause is Cause.WRONG_OUTPUT
    assert "1e400, which is too large" in failure.message
    nested = 1.0
    for _ in range(5000):
        nested = [nested]
    with pytest.raises(SpecError, match="a list that is nested too deep"):
        study.tell(study.ask(), {"speed": nested})


def test_the_end_of_an_output_is_searched_and_a_file_is_read_whole_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "_MOST_SEARCHED", 1000)
    monkeypatch.setattr(driver, "_MOST_DOCUMENT", 3000)
    noise = "a-" * 24_000 + "\n"
    assert read(tmp_path, noise + '{"speed": 2}\n' + "b" * 100 + "\n")[0] == {"speed": Estimate(2.0)}
    said = refusal(tmp_path, '{"speed": 2}\n' + noise)
    assert said.startswith("its standard output holds no JSON object of metrics in its last 0 MiB")
    assert len(said) < 400
    samples = json.dumps({"speed": [1.0] * 500})
    assert read(tmp_path, samples, from_file=True)[0]["speed"].n == 500
    assert "metrics-1.json holds no JSON object" in refusal(tmp_path, samples * 2, from_file=True)


def test_a_pipe_in_place_of_a_file_of_metrics_is_not_waited_for(tmp_path):
    read(tmp_path, '{"speed": 2}', from_file=True)
    path = tmp_path / METRICS.format(run=1)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(AttemptFailed) as caught:
        connect(tmp_path, True, {}).measure(time.monotonic() + 20.0)
    assert "metrics-1.json holds no JSON object" in caught.value.failure.message


@pytest.mark.parametrize("stream", [pytest.param("stdout", marks=pytest.mark.slow), "stderr"])
def test_a_program_that_fills_the_disk_is_stopped(tmp_path, attempt, monkeypatch, stream):
    monkeypatch.setattr(driver, "MOST_WRITTEN", 1 << 20)
    (tmp_path / "bench.py").write_text(f"import sys\nwhile True: sys.{stream}.write('a-' * 24000 + '\\n')\n")
    system = {"use": "command", "argv": [sys.executable, "bench.py"], "folder": str(tmp_path)}
    failure = attempt(system, {}, "speed", 60.0).failure
    assert failure.cause is Cause.WRONG_OUTPUT
    assert "the program wrote more than" in failure.message


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("specs.json", "[" * 100_000, "nested too deep"),
        ("specs.json", '{"t": {}}', "t.: task must be a text"),
        ("specs.json", '{"t": 3}', "task must be a text, found '3'"),
        ("t.csv.gz", "no gzip", "no column 'task'; found 'no gzip'"),
        ("t.csv", f"task,a,status,ms\nx,1,ok,{HUGE}\n", "must be finite, found inf"),
        ("t.csv", "task,a,status,ms\nx,1,ok,1e200\n", "column 'ms' has 1e200, which is too large"),
        ("t.csv", "task,a,status,ms\nx,b,ok,1\n", "could not convert string to float"),
        ("t.csv", "task,a\nx,1\n", "no column 'status'"),
    ],
)
def test_a_table_that_cannot_be_read_says_why(tmp_path, name, data, said):
    spec = {"task": "task", "params": {"a": "ordinal"}, "objective": "ms", "direction": "min",
            "status": "status", "tasks": ["x"], "metrics": {"ms": "s"}}  # fmt: skip
    (tmp_path / "specs.json").write_text(json.dumps({"t": spec}))
    (tmp_path / "t.csv").write_text("task,a,status,ms\nx,1,ok,1\n")
    (tmp_path / name).write_text(data)
    with pytest.raises(SpecError, match=said):
        read_tables(tmp_path / (name if name.startswith("t.") else "t.csv"))

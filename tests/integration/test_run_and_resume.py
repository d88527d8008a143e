"""`autotune run` as a process: to the end, killed at any moment, interrupted, resumed."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from autotune.core.trial import Reason, TrialState
from autotune.ledger import Ledger
from tests_shared import wait_until, works_in

pytestmark = pytest.mark.timeout(300)


def ledger_of(tmp_path):
    return Ledger.open(tmp_path / "autotune-runs" / "ledger.sqlite", read_only=True)


def start(tmp_path, *args, env=None):
    return subprocess.Popen(
        [sys.executable, "-m", "autotune", "run", "toy.yaml", "--local", *args],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **(env or {})},
    )


def history(ledger):
    """What the engine proposed and what is known of it, without what differs between any two runs."""
    return [(t.number, t.suggestion.to_dict(), t.state) for t in ledger.trials("toy")]


def test_a_study_runs_to_its_end_and_says_what_is_best(tmp_path, toy_study, autotune_command, autotune_here):
    toy_study(budget="{trials: 3, confirm: 1}")
    done = autotune_command("run", "toy.yaml", "--local")
    assert "best: trial" in done.stdout
    assert "times better" in done.stdout or "better by" in done.stdout
    with ledger_of(tmp_path) as ledger:
        trials = ledger.trials("toy")
        assert [t.state for t in trials] == [TrialState.COMPLETED] * 5
        assert [t.suggestion.reason for t in trials][3:] == [Reason.CONFIRM] * 2
        assert ledger.study("toy").state == "COMPLETED"
    assert works_in(tmp_path / "autotune-runs") == []
    # the same command again has nothing left to do
    again = autotune_here("run", "toy.yaml", "--local")
    assert "trial 5" not in again.stdout
    with ledger_of(tmp_path) as ledger:
        assert len(ledger.trials("toy")) == 5
    # a larger budget goes on where it ended
    autotune_here("run", "toy.yaml", "--local", "--trials", "4", "--set", "budget.confirm=0")
    with ledger_of(tmp_path) as ledger:
        assert len(ledger.trials("toy")) == 6
    best = json.loads(autotune_here("best", "--json").stdout)
    assert best["deployment"]["argv"][0] == "toy"
    assert best["deploy"][-2:] == best["deployment"]["argv"]  # behind the variables that the launch was given


@pytest.mark.slow
def test_a_wider_space_goes_on_with_what_was_measured_when_asked_to(tmp_path, toy_study, autotune_command):
    toy_study(budget="{trials: 3, confirm: 0}")
    autotune_command("run", "toy.yaml", "--local")
    with ledger_of(tmp_path) as ledger:
        before = ledger.trials("toy")
    path = toy_study(budget="{trials: 4, confirm: 0}")
    narrow = path.read_text()
    path.write_text(narrow.replace("values: [1, 2, 3]", "values: [1, 2, 3, 4]"))
    refused = autotune_command("run", "toy.yaml", "--local", check=False)
    assert refused.returncode == 2
    assert "parameter speed: values: [1, 2, 3] -> [1, 2, 3, 4]" in refused.stderr
    assert "--widen" in refused.stderr
    autotune_command("run", "toy.yaml", "--local", "--widen")
    with ledger_of(tmp_path) as ledger:
        trials = ledger.trials("toy")
    assert len(trials) == 4
    assert [t.measurement for t in trials[:3]] == [t.measurement for t in before]
    # the wider space is the study's own from now on, and the old one has become the other
    assert autotune_command("run", "toy.yaml", "--local").returncode == 0
    path.write_text(narrow)
    assert autotune_command("run", "toy.yaml", "--local", check=False).returncode == 2


@pytest.mark.slow
def test_kill_9_at_random_moments_loses_nothing_and_measures_nothing_twice(
    tmp_path, toy_study, autotune_command
):
    toy_study(budget="{trials: 5, confirm: 1}", engine="{use: sobol, seed: 0}")
    rng = random.Random(3)
    before = {}
    for _ in range(6):
        with start(tmp_path) as process:
            time.sleep(rng.uniform(0.5, 4.0))
            process.kill()
        if (tmp_path / "autotune-runs" / "ledger.sqlite").exists():
            with ledger_of(tmp_path) as ledger:
                known = {t.number: t.measurement.to_dict() for t in ledger.trials("toy") if t.state.finished}
            assert before.items() <= known.items(), "a measurement was lost or changed"
            before = known
    autotune_command("run", "toy.yaml", "--local")
    with ledger_of(tmp_path) as ledger:
        trials = ledger.trials("toy")
        assert len(trials) == 7
        assert all(t.state is TrialState.COMPLETED for t in trials)
        for trial in trials:
            attempts = ledger.attempts("toy", trial.number)
            assert [a.state for a in attempts].count("DONE") == 1
            if trial.number in before:
                assert trial.measurement.to_dict() == before[trial.number]
        resumed = history(ledger)
    wait_until(lambda: not works_in(tmp_path / "autotune-runs"), 90)
    # an undisturbed study proposes the same search
    other = tmp_path / "undisturbed"
    other.mkdir()
    autotune_command("run", "toy.yaml", "--local", "--store", other)
    with Ledger.open(other / "ledger.sqlite", read_only=True) as ledger:
        assert history(ledger)[:5] == resumed[:5]


@pytest.mark.slow
@pytest.mark.parametrize(
    "place",
    [
        "ledger.commit:kill@4",
        "ledger.committed:kill@6",
        "runner.submit:kill@2",
        "runner.commit:kill@2",
    ],
)
def test_killed_at_a_step_the_same_command_goes_on(tmp_path, toy_study, autotune_command, place):
    toy_study(budget="{trials: 3, confirm: 0}")
    died = autotune_command("run", "toy.yaml", "--local", env={"AUTOTUNE_FAILPOINT": place}, check=False)
    assert died.returncode == -signal.SIGKILL
    autotune_command("run", "toy.yaml", "--local")
    with ledger_of(tmp_path) as ledger:
        trials = ledger.trials("toy")
        assert [t.state for t in trials] == [TrialState.COMPLETED] * 3
        done = [[a.state for a in ledger.attempts("toy", t.number)].count("DONE") for t in trials]
        assert done == [1, 1, 1]


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_an_interrupted_study_ends_cleanly_and_says_how_to_go_on(tmp_path, toy_study, autotune_here, number):
    toy_study(system="{use: toy, step: '0.02'}")
    with start(tmp_path) as process:
        for line in process.stdout:
            if line.startswith("trial 1 started"):
                break
        time.sleep(0.5)
        process.send_signal(number)
        rest = process.stdout.read()
    assert process.returncode == 5, rest
    assert "`autotune resume toy --local` goes on" in rest
    assert works_in(tmp_path / "autotune-runs") == []
    with ledger_of(tmp_path) as ledger:
        assert ledger.study("toy").state == "INTERRUPTED"
        first = ledger.trial("toy", 0)
        assert first.state is TrialState.COMPLETED
        assert ledger.trial("toy", 1).state is TrialState.WAITING
    autotune_here("resume", "toy", "--local", "--trials", "2", "--set", "budget.confirm=0")
    with ledger_of(tmp_path) as ledger:
        assert ledger.trial("toy", 0) == first
        assert ledger.trial("toy", 1).state is TrialState.COMPLETED


def test_a_second_run_of_the_same_study_is_refused_and_the_first_is_named(
    tmp_path, toy_study, autotune_command
):
    toy_study(system="{use: toy, step: '0.02'}")
    with start(tmp_path) as process:
        for line in process.stdout:
            if line.startswith("trial 0 started"):
                break
        second = autotune_command("run", "toy.yaml", "--local", check=False)
        process.kill()
    assert second.returncode == 2
    assert str(process.pid) in second.stderr


@pytest.mark.slow
def test_configurations_that_cannot_run_are_trials_with_reasons(tmp_path, toy_study, autotune_command):
    text = """
name: toy
parameters:
  mode: {type: categorical, values: [ok, oom, bad_flag, refused, dies, short, hangs], default: ok}
system: {use: toy}
workload: {prompt_tokens: 4, output_tokens: 4, precision: 99 %, time: 1 s, warmup: 1}
objective: {maximize: output_throughput}
budget: {trials: 7, confirm: 0}
engine: {use: gp, seed: 0}
tracking: {mlflow: none}
deadlines: {startup: 10 s, measure: 4 s, stop: 1 s}
"""
    toy_study(text)
    done = autotune_command("run", "toy.yaml", "--local")
    with ledger_of(tmp_path) as ledger:
        causes = {t.config["mode"]: t.failure and t.failure.cause.value for t in ledger.trials("toy")}
        tails = {t.config["mode"]: t.failure and t.failure.log_tail for t in ledger.trials("toy")}
    assert causes == {
        "ok": None,
        "oom": "out_of_memory",
        "bad_flag": "rejected_flags",
        "refused": "rejected_flags",
        "dies": "crashed_under_load",
        "short": "wrong_output",
        "hangs": "time_limit",
    }
    assert "can't allocate memory" in tails["oom"]
    assert "unsupported combination" in tails["bad_flag"]
    assert "out_of_memory" in done.stdout
    assert works_in(tmp_path / "autotune-runs") == []


def test_nothing_feasible_is_exit_code_4(toy_study, autotune_here):
    toy_study(
        objective="{maximize: output_throughput, limits: [tpot.p95 <= 1 us]}",
        budget="{trials: 2, confirm: 0}",
    )
    done = autotune_here("run", "toy.yaml", "--local", check=False)
    assert done.returncode == 4
    assert "tpot.p95 <= 1 us" in done.stdout


@pytest.mark.slow
def test_the_default_is_watched_and_a_resumed_study_watches_where_it_would_have(
    tmp_path, toy_study, autotune_command
):
    toy_study(budget="{trials: 3, confirm: 0, watch: 2}")
    autotune_command("run", "toy.yaml", "--local")
    toy_study(budget="{trials: 6, confirm: 0, watch: 2}")
    autotune_command("run", "toy.yaml", "--local")
    with ledger_of(tmp_path) as ledger:
        trials = ledger.trials("toy")
    watched = [t.number for t in trials if t.suggestion.reason is Reason.WATCH]
    assert watched == [2, 5]
    assert [trials[n].config for n in watched] == [trials[0].config] * 2
    assert len(trials) == 8
    assert json.loads(autotune_command("best", "--json").stdout)


def test_a_time_budget_ends_the_study(tmp_path, toy_study, autotune_here):
    toy_study(budget="{trials: 1000, time: 10 s, confirm: 0}", system="{use: toy, step: '0.02'}")
    autotune_here("run", "toy.yaml", "--local")
    with ledger_of(tmp_path) as ledger:
        trials = ledger.trials("toy")
        assert 0 < sum(t.state is TrialState.COMPLETED for t in trials) < 15
        assert all(t.state.finished for t in trials)


@pytest.mark.slow
def test_a_study_stops_when_nothing_worth_a_trial_is_left_and_goes_on_when_asked(
    tmp_path, toy_study, autotune_command
):
    text = """
name: toy
parameters:
  batch_size: {type: int, low: 1, high: 16, default: 1}
system: {use: toy, step: '0.004'}
workload: {prompt_tokens: 4, output_tokens: 4, precision: 10 %, time: 2 s, warmup: 1}
objective: {minimize: tpot.mean}
budget: {trials: 15, confirm: 0, stop_when: converged}
engine: {use: gp, seed: 0}
tracking: {mlflow: none}
deadlines: {startup: 20 s, measure: 20 s, stop: 1 s}
"""
    toy_study(text)
    done = autotune_command("run", "toy.yaml", "--local")
    with ledger_of(tmp_path) as ledger:
        trials = ledger.trials("toy")
    count = sum(t.suggestion.reason.of_search for t in trials)
    assert count < 15
    assert "no more trials: converged: remaining gain at most " in done.stdout
    assert "stopped before its budget: converged: remaining gain at most " in done.stdout
    assert "study toy: converged" in done.stdout
    # the same command again has nothing left to do
    again = json.loads(autotune_command("run", "toy.yaml", "--local", "--json").stdout.splitlines()[-1])
    assert again["state"] == "converged"
    assert again["stopped"].startswith("converged: remaining gain at most ")
    assert len(again["trials"]) == len(trials)
    status = autotune_command("status", "toy").stdout
    assert "remaining gain at most " in status
    assert "model: explains " in status
    # without the wish to stop the budget is spent
    more = f"budget.trials={count + 1}"
    autotune_command("run", "toy.yaml", "--local", "--set", "budget.stop_when=budget", "--set", more)
    with ledger_of(tmp_path) as ledger:
        searched = [t for t in ledger.trials("toy") if t.suggestion.reason.of_search]
        assert len(searched) == count + 1
    assert json.loads(autotune_command("status", "toy", "--json").stdout)["stopped"] is None


def test_a_changed_space_is_refused_and_new_starts_beside_it(tmp_path, toy_study, autotune_here):
    toy_study(budget="{trials: 1, confirm: 0}")
    autotune_here("run", "toy.yaml", "--local")
    changed = ("--set", "parameters.speed={type: ordinal, values: [1, 2]}")
    refused = autotune_here("run", "toy.yaml", "--local", *changed, check=False)
    assert refused.returncode == 2
    assert "speed" in refused.stderr
    assert "--new" in refused.stderr
    autotune_here("run", "toy.yaml", "--local", "--new", *changed)
    with ledger_of(tmp_path) as ledger:
        assert [row.name for row in ledger.studies()] == ["toy", "toy-2"]

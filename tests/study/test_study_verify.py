"""Winner and default measured again: real studies of functions, programs and a server, in real processes."""

import json
import os
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import yaml

from autotune.analysis.verification import Side, Verification
from autotune.cli import main
from autotune.cli.verify import _show
from autotune.core.file_names import LEDGER_NAME
from autotune.core.measurement import Estimate
from autotune.core.trial import Reason, Suggestion, TrialState
from autotune.ledger import Ledger, study_lock
from autotune.report.verification import annotation, annotation_lines, junit, junit_error
from autotune.study.study import Study
from autotune.study.study_file import read_study
from autotune.study.verify_plan import _order
from autotune.study.verify_settings import told, verification_file
from autotune.systems.own.system import OwnSystem
from autotune.tracking.items import VERIFICATION, VERIFIES
from tests_exports import CASES, record_study
from tests_shared import wait_until
from tests_study_files import TOY_STUDY

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.timeout(400)

PROGRAM = """
import json, os, sys
slower = float(os.environ.get("SLOWER", "1"))
b = int(sys.argv[1])
if os.environ.get("FAILS") == str(b):
    raise SystemExit("RuntimeError: CUDA out of memory")
metrics = {"throughput": {"value": 100.0 * b / slower, "sem": 0.5},
           "latency": {"value": 0.1 * slower, "sem": 0.001, "unit": "s"}}
print(json.dumps(metrics))
"""
STUDY = """
name: u
parameters: {b: {type: int, low: 1, high: 3}}
system: {use: command, argv: ["{python}", p.py, "{b}"], env: {SLOWER: "1"}}
objective: {maximize: throughput, limits: [latency <= 150 ms]}
budget: {trials: 3, confirm: 2}
engine: {use: random, seed: 0}
tracking: {mlflow: none}
"""


@pytest.fixture
def tuned(tmp_path):
    """A study of a program, measured earlier; its later versions may be slower or fail."""
    return record(tmp_path, STUDY)


def record(tmp_path, text, failing=None):
    (tmp_path / "p.py").write_text(PROGRAM)
    (tmp_path / "u.yaml").write_text(text)
    spec = read_study(tmp_path / "u.yaml")
    (tmp_path / "autotune-runs").mkdir()
    path = tmp_path / "autotune-runs" / "ledger.sqlite"
    plan = [({"b": b}, Reason.EXPLORE) for b in (1, 2, 3)]
    plan += [({"b": b}, Reason.CONFIRM) for b in (3, 1, 1, 3)]
    with Study(
        spec.space, spec.objective, engine="random", name="u", path=path, spec=spec.to_dict()
    ) as study:
        for config, reason in plan:
            trial = study.suggest(Suggestion(config, reason))
            if config["b"] == failing:
                study.tell(trial, failure="out_of_memory")
                continue
            speed, delay = Estimate(100.0 * config["b"], 0.5, 1), Estimate(0.1, 0.001, 1, "s")
            study.tell(trial, {"throughput": speed, "latency": delay})
        study.ledger.set_study_state("u", "COMPLETED")
    return tmp_path


def rows(folder):
    with Ledger.open(folder / "autotune-runs" / "ledger.sqlite", read_only=True) as ledger:
        return {row.name: (row, ledger.trials(row.name)) for row in ledger.studies()}


def test_nothing_got_worse_then_something_did_and_the_study_is_as_it_was(tmp_path, autotune_here):
    (tmp_path / "p.py").write_text(PROGRAM)
    (tmp_path / "u.yaml").write_text(STUDY.replace("trials: 3, confirm: 2", "trials: 2, confirm: 1"))
    autotune_here("run", "u.yaml", "--local", "-q")
    before = rows(tmp_path)["u"]
    best = json.loads(autotune_here("best", "--json").stdout)["best"]["config"]["b"]
    same = autotune_here("verify", "--local", "--launches", "2", "--ci", "--junit", "same.xml")
    assert "verdict: nothing got worse by more than 5 %" in same.stdout
    assert "versions and hardware are as they were" in same.stdout
    assert "::notice title=autotune verify u::verdict: nothing got worse by more than 5 %25" in same.stdout
    assert ET.parse(tmp_path / "same.xml").getroot()[0].attrib["failures"] == "0"

    (tmp_path / "p.py").write_text(PROGRAM.replace('"SLOWER", "1"', '"SLOWEST", "1.2"'))
    done = autotune_here(
        "verify", "u", "--local", "--launches", "2", "--ci", "--junit", "worse.xml", "-q", check=False
    )
    assert done.returncode == 1, done.stderr
    assert done.stdout.count("throughput: WORSE") == 2 * 2  # in the table and in the annotations
    assert "both sides" in done.stdout
    suite = ET.parse(tmp_path / "worse.xml").getroot()[0]
    failed = [case.attrib for case in suite.iter("testcase") if case.find("failure") is not None]
    assert {"classname": "u.winner", "name": "throughput"} in failed
    assert int(suite.attrib["failures"]) == len(failed) == 4
    assert all(len(line) <= 80 for line in done.stdout.splitlines() if not line.startswith(("::", "ledger")))

    after = rows(tmp_path)
    assert list(after) == ["u", "u-verify", "u-verify-2"]
    assert after["u"] == before
    assert [trial.config["b"] for trial in after["u-verify"][1]] == [1, best, best, 1]
    again = json.loads(autotune_here("best", "--json").stdout)  # verifications have no winner of their own
    assert again["study"] == "u"


def test_a_tolerance_takes_what_it_says_and_more_launches_are_made(tuned, autotune_here):
    (tuned / "p.py").write_text(PROGRAM.replace('"SLOWER", "1"', '"SLOWEST", "1.2"'))
    done = autotune_here("verify", "--local", "--tolerance", "40 %", "--launches", "1", "--json")
    data = json.loads(done.stdout)
    assert data["worse"] is False
    assert [side["launches"] for side in data["sides"]] == [1, 1]
    assert {change["status"] for side in data["sides"] for change in side["changes"]} == {"kept"}


def test_its_system_is_prepared_once(tuned, autotune_here, monkeypatch):
    monkeypatch.setattr(OwnSystem, "prepare", lambda self, log: log("prepared here"))
    done = autotune_here("verify", "--local", "--launches", "1")
    assert done.stdout.count("prepared here") == 1


def test_a_winner_that_fails_now_is_a_regression(tuned, autotune_here):
    (tuned / "p.py").write_text(PROGRAM.replace('os.environ.get("FAILS")', '"3"'))
    done = autotune_here("verify", "--local", "-q", "--launches", "1", check=False)
    assert done.returncode == 1
    assert "FAILED: out_of_memory" in done.stdout
    assert "default (trial 0): b=1\n  throughput: no worse" in done.stdout


def test_what_is_overridden_is_told_as_changed(tuned, autotune_here):
    done = autotune_here(
        "verify", "--local", "-q", "--launches", "1", "--set", "system.env.SLOWER=2", check=False
    )
    assert done.returncode == 1
    assert "system.env: {'SLOWER': '1'} -> {'SLOWER': '2'}" in done.stdout
    assert "LIMIT BROKEN, holds 0 %" in done.stdout


@pytest.mark.slow
def test_a_verification_is_a_run_of_its_own_beside_the_runs_of_its_study(
    tmp_path, autotune_command, monkeypatch
):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    (tmp_path / "p.py").write_text(PROGRAM)
    store = str(tmp_path / "mlruns")
    (tmp_path / "u.yaml").write_text(
        STUDY.replace("mlflow: none", f"mlflow: {store}").replace("trials: 3, confirm: 2", "trials: 2")
    )
    autotune_command("run", "u.yaml", "--local", "-q")
    args = ("verify", "u", "--local", "-q", "--launches", "1", "--set", "system.env.SLOWER=2")
    assert autotune_command(*args, check=False).returncode == 1
    kept = rows(tmp_path)["u-verify"][0].notes[VERIFICATION]
    assert kept["worse"] is True
    assert any("throughput: WORSE" in line for line in kept["lines"])

    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=store)
    assert [one.name for one in client.search_experiments() if one.name != "Default"] == ["u"]
    runs = client.search_runs([client.get_experiment_by_name("u").experiment_id])
    (run,) = [run for run in runs if run.data.tags["mlflow.runName"] == "u-verify"]
    assert {name: run.data.tags[f"autotune.{name}"] for name in ("kind", "verifies", "worse")} == {
        "kind": "verify", "verifies": "u", "worse": "true",
    }  # fmt: skip
    assert run.info.status == "FAILED"
    assert "verdict: something got worse" in run.data.tags["mlflow.note.content"]
    best = run.data.metrics["winner.throughput.then"]
    assert run.data.metrics["winner.throughput"] < 0.6 * best
    launches = [one for one in runs if one.data.tags.get("mlflow.parentRunId") == run.info.run_id]
    assert len(launches) == 2
    assert {one.data.tags["autotune.kind"] for one in launches} == {"verify"}
    assert {one.data.tags["autotune.launch"] for one in launches} == {"default", "winner"}
    assert {one.info.run_name for one in launches} == {
        "trial-0000 over limit default", "trial-0001 over limit winner",
    }  # fmt: skip
    names = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert names == {"verification.json", "verification.txt"}
    (parent,) = [one for one in runs if one.data.tags["mlflow.runName"] == "u"]
    assert "autotune.kind" not in parent.data.tags
    assert "u-verify: complete" in autotune_command("sync").stdout


def test_a_program_that_is_gone_is_an_error_in_every_output(tuned, autotune_here):
    (tuned / "p.py").unlink()
    done = autotune_here(
        "verify", "--local", "-q", "--launches", "1", "--ci", "--junit", "j.xml", check=False
    )
    assert done.returncode in (2, 3)
    assert "::error title=autotune verify::" in done.stdout
    assert ET.parse(tuned / "j.xml").getroot()[0].attrib["errors"] == "1"


@pytest.mark.slow
def test_a_verification_that_is_killed_while_it_is_mirrored_is_completed_and_not_doubled(
    tmp_path, autotune_command, monkeypatch
):
    """By the next verification, or by a `sync` of its study."""
    from mlflow import MlflowClient

    store = f"sqlite:///{tmp_path}/mlflow.db"
    record(tmp_path, STUDY.replace("mlflow: none", f"mlflow: {store}"))
    autotune_command("sync")
    client = MlflowClient(tracking_uri=store)

    def runs():
        found = client.search_runs([client.get_experiment_by_name("u").experiment_id])
        return [run for run in found if run.data.tags.get("autotune.kind") == "verify"]

    def statuses():
        return sorted((run.info.run_name.split()[0], run.info.status) for run in runs())

    verify = ("verify", "u", "--local", "-q", "--launches", "1", "--tolerance", "50%")
    for visit, cure in ((1, verify), (2, ("sync", "u")), (3, ("sync",))):
        before = len(runs())
        monkeypatch.setenv("AUTOTUNE_FAILPOINT", f"mirror.item:kill@{visit}")
        assert autotune_command(*verify, check=False).returncode == -signal.SIGKILL
        monkeypatch.delenv("AUTOTUNE_FAILPOINT")
        assert len(runs()) > before
        assert "RUNNING" in {run.info.status for run in runs()}
        autotune_command(*cure)
        assert {run.info.status for run in runs()} == {"FINISHED"}, statuses()
        trials = [(run.data.tags["autotune.study"], run.data.tags.get("autotune.trial")) for run in runs()]
        assert (
            len(trials) == len(set(trials)) == 3 * len([name for name in rows(tmp_path) if name != "u"])
        )  # two launches and their parent
    assert list(rows(tmp_path)) == ["u", "u-verify", "u-verify-2", "u-verify-3", "u-verify-4"]


@pytest.mark.slow
def test_a_killed_verification_goes_on_and_measures_nothing_twice(tuned, autotune_command):
    waiting = "import pathlib, time\nwhile pathlib.Path('hold').exists():\n    time.sleep(0.05)\n"
    (tuned / "p.py").write_text(waiting + PROGRAM)
    process = subprocess.Popen(
        [sys.executable, "-m", "autotune", "verify", "u", "--local", "-q", "--launches", "2"],
        cwd=tuned, env=dict(os.environ), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip

    def measured():
        found = rows(tuned).get("u-verify", (None, []))[1]
        return [t for t in found if t.state is TrialState.COMPLETED]

    try:
        wait_until(measured, 120)
        (tuned / "hold").touch()
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    (tuned / "hold").unlink(missing_ok=True)
    kept = {t.number: t.measurement for t in measured()}
    done = autotune_command("verify", "u", "--local", "--launches", "9")
    assert "going on with u-verify: 2 launches of each side" in done.stdout
    trials = rows(tuned)["u-verify"][1]
    assert len(trials) == 4
    assert {n: trials[n].measurement for n in kept} == kept
    assert list(rows(tuned)) == ["u", "u-verify"]


@pytest.mark.slow
@pytest.mark.parametrize("place", ["--local", ""])
def test_a_server_is_launched_again_through_the_same_driver(place, toy_study, autotune_command):
    toy_study(TOY_STUDY)
    autotune_command("run", "toy.yaml", "--local", "-q")
    done = autotune_command(
        "verify",
        "toy",
        *filter(None, [place]),
        "-q",
        "--json",
        "--launches",
        "1",
        "--tolerance",
        "90%",
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    data = json.loads(done.stdout)
    assert data["sides"][0]["launches"] == 1
    assert {c["metric"] for c in data["sides"][0]["changes"]} == {"output_throughput", "tpot.p95"}


def test_what_cannot_be_verified_says_why(tmp_path, capsys):
    with record_study(tmp_path, *CASES["function"]) as study:
        study.ledger.set_study_state("Chat_1", "RUNNING")
    store = ["--store", str(tmp_path)]
    with study_lock(tmp_path / LEDGER_NAME, "Chat_1"):  # whoever runs it is there
        assert main(["verify", "Chat_1", *store]) == 2
        assert "still runs" in capsys.readouterr().err
        assert main(["verify", "Chat_2", *store]) == 2
        assert "did you mean 'Chat_1'" in capsys.readouterr().err
        assert main(["verify", "Chat_1", "--tolerance", "0", *store]) == 2
        assert "still runs" in capsys.readouterr().err
        for share in ("5", "0.05"):
            assert main(["verify", "Chat_1", "--tolerance", share, *store]) == 2
            assert f"the % is missing in '{share}'" in capsys.readouterr().err
        for share in ("120%", "five", "%"):
            assert main(["verify", "Chat_1", "--tolerance", share, *store]) == 2
            assert "such as 5%" in capsys.readouterr().err


def test_the_default_comes_first_and_sides_alternate():
    a, b = {"x": 1}, {"x": 2}
    assert _order(b, a, 3) == [a, b, b, a, a, b]
    assert _order(a, a, 2) == [a, a]


def test_reports_of_equal_names_in_two_stores_are_told_apart(tmp_path, monkeypatch):
    """A service of continuous integration puts the reports of all steps together."""
    monkeypatch.chdir(tmp_path)
    side = Side("winner", 2, {"b": 4}, (), 1, ("out of memory",))
    found, cases = [], []
    for store in ("autotune-runs", "nightly/autotune-runs", f"{'far/' * 20}weekly"):
        ledger = str(tmp_path / store / "ledger.sqlite")
        one = Verification("u", "u-verify", "completed", 0.05, 0.95, 1, (side,), ledger=ledger)
        (line,) = annotation_lines(one)
        found.append(line.removeprefix("::error title=").partition("::")[0])
        suite = ET.fromstring(junit(one))[0]
        assert suite.attrib["name"].replace(":", "%3A") == found[-1]
        cases += [(case.attrib["classname"], case.attrib["name"]) for case in suite.iter("testcase")]
    assert found[:2] == ["autotune verify u", "autotune verify nightly%3Au"]
    assert len(set(found)) == len(set(cases)) == len(cases) == 3
    assert max(len(title) for title in found) < 50


def test_what_would_end_an_annotation_or_a_report_is_escaped():
    assert annotation("error", "a: b, c", "50 %\nnext\r::error::x") == (
        "::error title=a%3A b%2C c::50 %25%0Anext%0A::error::x"
    )
    text = "a < b & \x1b[31mred\x00 ]]>"
    assert ET.fromstring(junit_error("u", text)).find(".//error").text == "a < b & red ]]>"


@pytest.mark.slow
def test_the_documented_workflow_runs(tmp_path):
    job = yaml.safe_load((ROOT / "examples" / "ci" / "verify.yml").read_text())["jobs"]["verify"]
    (tmp_path / "examples").mkdir()
    for name in ("function.yaml", "compress.py"):
        (tmp_path / "examples" / name).write_text((ROOT / "examples" / name).read_text())
    scripts = tmp_path / "bin"
    scripts.mkdir()
    (scripts / "autotune").write_text(f'#!/bin/sh\nexec {sys.executable} -m autotune "$@"\n')
    (scripts / "autotune").chmod(0o755)
    env = {**os.environ, **job["env"], "PATH": f"{scripts}:{os.environ['PATH']}"}
    codes = {}
    for step in job["steps"]:
        if "run" in step and step["name"] != "Install":
            argv = ["bash", "-e", "-c", step["run"]]
            done = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
            codes[step["name"]] = done.returncode
            assert done.returncode == 0 or step["name"] == "Verify", done.stderr
            if step["name"] == "Verify":
                assert "::" in done.stdout, done.stderr
    suite = ET.parse(tmp_path / "verify.xml").getroot()[0]
    assert suite.attrib["errors"] == "0"
    # the compressor shares its processors with other tests: slower is what it may be, and then both say so
    assert codes["Verify"] == (1 if int(suite.attrib["failures"]) else 0)
    assert set(yaml.safe_load((tmp_path / "deployed.yaml").read_text())) == {
        "level",
        "strategy",
        "window_bits",
    }


def test_a_default_that_failed_in_the_study_too_got_no_worse(tmp_path, autotune_here):
    record(tmp_path, STUDY.replace("low: 1, high: 3", "low: 1, high: 3, default: 2"), failing=2)
    (tmp_path / "p.py").write_text(PROGRAM.replace('os.environ.get("FAILS")', '"2"'))
    done = autotune_here("verify", "--local", "-q", "--launches", "1", "--junit", "v.xml")
    assert "failed as before: out_of_memory" in done.stdout
    assert "FAILED" not in done.stdout
    assert "verdict: nothing got worse" in done.stdout
    suite = ET.parse(tmp_path / "v.xml").getroot().find("testsuite")
    assert suite.get("failures") == "0"
    assert [out for out in suite.iter("system-out") if "failed as before" in (out.text or "")]


def test_a_refused_override_blocks_no_later_verification(tuned, autotune_here):
    wrong = ("--set", 'system={use: command, argv: [echo, "{b}"]}')
    args = ("verify", "u", "--local", "--launches", "1")
    assert autotune_here(*args, *wrong, check=False).returncode == 2
    done = autotune_here(*args)
    assert "nothing got worse" in done.stdout
    assert "left half way" not in done.stdout  # nothing was measured that somebody could miss
    assert "going on" not in done.stdout
    assert "study u-verify-2: maximize throughput" in done.stdout
    assert "measured again in 1 fresh launch each (u-verify-2)" in done.stdout
    assert autotune_here(*args, *wrong, check=False).returncode == 2
    assert list(rows(tuned)) == ["u", "u-verify", "u-verify-2"]  # the same settings go on


def left_half_way(tuned, name, *, state="INTERRUPTED", winner=2, **env):
    """Record a verification of which one launch was measured."""
    spec = read_study(tuned / "u.yaml", [f"system.env.{key}={value}" for key, value in env.items()])
    with Study(
        spec.space, spec.objective, engine="random", name=name,
        path=tuned / "autotune-runs" / "ledger.sqlite", spec={**spec.to_dict(), "name": name},
    ) as study:  # fmt: skip
        plan = {"study": "u", "trial": winner, "launches": 1}
        study.ledger.set_study_note(name, VERIFIES, plan)
        trial = study.suggest(Suggestion({"b": 1}, Reason.REPEAT, "verification"))
        study.tell(trial, {"throughput": Estimate(100.0, 0.5, 1), "latency": Estimate(0.1, 0.001, 1, "s")})
        if state == "COMPLETED":
            trial = study.suggest(Suggestion({"b": 3}, Reason.REPEAT, "verification"))
            study.tell(
                trial, {"throughput": Estimate(300.0, 0.5, 1), "latency": Estimate(0.1, 0.001, 1, "s")}
            )
        study.ledger.set_study_state(name, state)


def test_a_verification_that_was_left_half_way_with_other_settings_is_told_and_goes_on_with_these(
    tuned, autotune_here
):
    left_half_way(tuned, "u-verify", SLOWER="1.01")
    done = autotune_here("verify", "u", "--local", "--launches", "1")
    said = (
        "u-verify was left half way with other settings (system.env: {'SLOWER': '1.01'} -> {'SLOWER': '1'})"
    )
    assert f"{said}: u-verify-2 begins beside it" in done.stdout
    args = ("verify", "u", "--local", "--launches", "1", "--set", "system.env.SLOWER=1.01")
    assert "going on with u-verify: 1 launch of each side" in autotune_here(*args).stdout
    assert {name: len(trials) for name, (_, trials) in rows(tuned).items()} == {
        "u": 7, "u-verify": 2, "u-verify-2": 2,
    }  # fmt: skip


def test_a_verification_of_another_winner_or_older_than_a_whole_one_is_not_gone_on_with(tuned, autotune_here):
    left_half_way(tuned, "u-verify")
    left_half_way(tuned, "u-verify-2", state="COMPLETED")
    left_half_way(tuned, "u-verify-3", winner=1)
    done = autotune_here("verify", "u", "--local", "--launches", "1")
    assert "left half way" not in done.stdout
    assert "measured again in 1 fresh launch each (u-verify-4)" in done.stdout


def test_other_limits_judge_the_launches_and_are_told(tuned, autotune_here):
    args = ("verify", "--local", "-q", "--launches", "1", "--tolerance", "20%")
    tight = 'objective.limits=["latency <= 50 ms"]'
    done = autotune_here(*args, "--set", tight, check=False)
    assert done.returncode == 1
    assert "objective.limits: ['latency <= 150 ms'] -> ['latency <= 50 ms']" in done.stdout
    assert done.stdout.count("latency <= 50 ms: LIMIT BROKEN, holds 0 %") == 1  # the default never kept it
    assert "verdict: the winner does not keep the limits that are asked for now" in done.stdout
    done = autotune_here(*args, "--set", 'objective.limits=["latency <= 0.12 s"]')
    assert "latency <= 0.12 s: no worse" in done.stdout
    done = autotune_here(*args, "--set", "objective.limits=[]")
    assert "latency" not in done.stdout.partition("changed since then")[0]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("objective={minimize: latency}", "maximize throughput -> minimize latency"),
        ('objective.limits=["latencies <= 50 ms"]', "did you mean 'latency'?"),
        ("budget.trials=40", "--launches says how often"),
        ("budget={time: 1 h, parallel: 1}", "every launch is made"),
        ("engine=sobol", "nothing is searched"),
        ("engine.seed=3", "nothing is searched"),
        ("start=[{b: 2}]", "nothing is searched"),
        ("description=nightly", "has no description"),
        ("tracking.mlflow=sqlite:///other.db", "study 'u' is mirrored to no store"),
        ("tracking={mirrors: {other: {}}}", "to MLflow only"),
        ("name=nightly", "keeps it"),
        ("parameters.b.high=4", "with its space, and keeps it"),
        ("space={b: {type: int, low: 1, high: 2}}", "with its space, and keeps it"),
        ("constraints=[b <= 2]", "with its space, and keeps it"),
    ],
)
def test_what_would_change_nothing_is_refused(override, said, tuned, capsys):
    store = ("--store", str(tuned / "autotune-runs"))
    assert main(["verify", "u", "--local", "--set", override, *store]) == 2
    text = capsys.readouterr().err
    assert said in text
    assert text.startswith("error: --set ")
    assert list(rows(tuned)) == ["u"]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ('system.argv=["{python}", p.py, "{c}"]', "unknown parameter 'b' for command"),
        ("system.units={latency: GB}", "found the limit latency <= 150 ms"),
        ("system.env.API_KEY=hf_abcdefghijklmnopqrstuvwxyz0123456789", "this is a secret"),
        ("workload.rate=4", "'rate' is for systems with an endpoint"),
        ("quality.text=nothere.txt", "cannot read nothere.txt"),
        ("on.end=nothere.py:f", "cannot find 'nothere.py'"),
        ('system.argv=["{python}", nothere.py, "{b}"]', "no file 'nothere.py'"),
        ("system.folder=/nowhere", "no such folder: /nowhere"),
    ],
)
def test_an_override_is_judged_as_in_a_file_before_anything_is_there(override, said, tuned, capsys):
    store = str(tuned / "autotune-runs")
    code = main(["verify", "--local", "-q", "--launches", "1", "--store", store, "--set", override])
    assert code in (2, 3)
    assert said in capsys.readouterr().err
    assert list(rows(tuned)) == ["u"]
    if code == 2:
        assert main(["resume", "u", "--local", "-q", "--store", store, "--set", override]) == 2
        assert said in capsys.readouterr().err


def test_a_study_whose_program_is_not_there_is_not_begun(tuned, capsys):
    (tuned / "p.py").unlink()
    args = ["run", str(tuned / "u.yaml"), "--local", "-q", "--store", str(tuned / "autotune-runs"), "--new"]
    assert main(args) == 3
    assert "no file 'p.py'" in capsys.readouterr().err
    assert list(rows(tuned)) == ["u"]


def test_what_is_applied_is_told_in_every_section(tuned):
    with Ledger.open(tuned / "autotune-runs" / "ledger.sqlite", read_only=True) as ledger:
        row = ledger.study("u")
    overrides = [
        "system.env.SLOWER=2", "workload.time=9 s", "objective.confidence=99 %", "budget.parallel=1",
        "resources.cpus=1", "deadlines.startup=9 s", "tracking.experiment=e", "on.end=https://example.org/x",
    ]  # fmt: skip
    before, now = (verification_file(row, "u-verify", 6, given) for given in ([], overrides))
    assert told(before, before) == []
    keys = [line.partition(":")[0] for line in told(before, now)]
    for override in overrides:
        given = override.partition("=")[0]
        assert any(given.startswith(key) for key in keys), (given, keys)
    assert now.budget.trials == before.budget.trials == 6


def test_configurations_to_start_with_are_none_of_a_verification(tmp_path, autotune_here):
    tuned = record(tmp_path, f"{STUDY}start: [{{b: 2}}]\n")
    autotune_here("verify", "u", "--local", "-q", "--launches", "1")
    assert [trial.config["b"] for trial in rows(tuned)["u-verify"][1]] == [1, 3]


def test_a_file_that_was_edited_since_is_told(tmp_path, autotune_here):
    (tmp_path / "p.py").write_text(PROGRAM)
    text = STUDY.replace("trials: 3, confirm: 2", "trials: 2, confirm: 0")
    (tmp_path / "u.yaml").write_text(text)
    autotune_here("run", "u.yaml", "--local", "-q")
    args = ("verify", "--local", "-q", "--launches", "1", "--tolerance", "30%")
    assert "as they were" in autotune_here(*args).stdout
    (tmp_path / "u.yaml").write_text(text.replace('SLOWER: "1"', 'SLOWER: "3"'))
    said = autotune_here(*args).stdout
    assert "u.yaml was edited" in " ".join(said.split())
    assert "WORSE" not in said
    (tmp_path / "u.yaml").unlink()
    assert "as they were" in autotune_here(*args).stdout


def test_the_command_that_goes_on_with_a_verification_has_its_settings(capsys):
    found = Verification("u", "u-verify", "interrupted", 0.05, 0.95, 1, (), ledger="ledger.sqlite")
    _show(found, Path("autotune-runs"), True, ["system.env.SLOWER=2", 'objective.limits=["a <= 1 s"]'])
    said = "--local --set system.env.SLOWER=2 --set 'objective.limits=[\"a <= 1 s\"]'` goes on"
    assert said in capsys.readouterr().out

"""Crashes at the steps of attempts and mirror: with real servers, the study goes on and nothing is left."""

import os
import signal
import subprocess
import sys
import time

import pytest

from autotune.core.trial import TrialState
from autotune.ledger import Ledger
from tests_shared import wait_until, works_in

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]

STEPS = (
    "worker.launch", "worker.launched", "worker.measure", "worker.measured", "write.result", "worker.report",
    "worker.reported",
)  # fmt: skip
MIRROR = ("mirror.item", "mirror.write", "mirror.marked")


class Run:
    """A toy study in a folder whose drivers and workers break once, where they are told to."""

    def __init__(self, tmp_path):
        self.folder = tmp_path
        self.mark = tmp_path / "mark"

    def start(self, failpoint):
        env = {**os.environ, "AUTOTUNE_FAILPOINT": failpoint, "AUTOTUNE_FAILPOINT_MARK": str(self.mark)}
        argv = [sys.executable, "-m", "autotune", "run", "toy.yaml", "--local"]
        log = (self.folder / "driver.log").open("ab")
        with log:
            return subprocess.Popen(argv, cwd=self.folder, env=env, stdout=log, stderr=log)

    def trials(self):
        with Ledger.open(self.folder / "autotune-runs" / "ledger.sqlite", read_only=True) as ledger:
            return ledger.trials("toy")

    def states(self):
        with Ledger.open(self.folder / "autotune-runs" / "ledger.sqlite", read_only=True) as ledger:
            return [[a.state for a in ledger.attempts("toy", t.number)] for t in ledger.trials("toy")]

    def nothing_left(self):
        began = time.monotonic()
        wait_until(lambda: not works_in(self.folder / "autotune-runs"), 90)
        return time.monotonic() - began


@pytest.mark.parametrize("step", STEPS)
def test_driver_killed_while_an_attempt_is_at_a_step(tmp_path, toy_study, autotune_command, record, step):
    toy_study(budget="{trials: 2, confirm: 0}")
    run = Run(tmp_path)
    process = run.start(f"{step}:hang")
    wait_until(run.mark.exists, 120)
    process.kill()
    process.wait()
    left = run.nothing_left()
    autotune_command("run", "toy.yaml", "--local")
    assert [t.state for t in run.trials()] == [TrialState.COMPLETED] * 2
    assert run.states() == [["LOST", "DONE"], ["DONE"]]
    record(
        f"driver killed while the attempt is at `{step}`", "P1 P2 P3 P5",
        f"nothing left after {left:.1f} s; 1 attempt repeated, 0 lost, 0 doubled",
    )  # fmt: skip


BREAKS = [(step, mode) for step in STEPS for mode in ("kill", "raise") if step != "write.result"]
BREAKS += [("write.result", "torn")]


@pytest.mark.parametrize(("step", "mode"), BREAKS)
def test_worker_broken_at_a_step_is_tried_again(tmp_path, toy_study, record, step, mode):
    toy_study(budget="{trials: 2, confirm: 0}")
    run = Run(tmp_path)
    process = run.start(f"{step}:{mode}")
    assert process.wait(200) == 0, (tmp_path / "driver.log").read_text()
    assert run.mark.exists()
    trials, states = run.trials(), run.states()
    assert [t.state for t in trials] == [TrialState.COMPLETED] * 2
    # broken after it had told its result it is measured; before, the attempt is an environment fault
    told = step == "worker.reported"
    assert states == ([["DONE"], ["DONE"]] if told else [["DONE", "DONE"], ["DONE"]])
    left = run.nothing_left()
    again = "measured all the same" if told else "tried again once and measured"
    record(f"worker: `{mode}` at `{step}`", "P2 P5 P9", f"{again}; nothing left after {left:.1f} s")


@pytest.mark.filterwarnings("default")  # of the libraries of MLflow
@pytest.mark.parametrize("mode", ["kill", "raise", "hang"])
@pytest.mark.parametrize("step", MIRROR)
def test_driver_broken_while_it_mirrors(tmp_path, toy_study, autotune_command, record, step, mode):
    from mlflow.tracking import MlflowClient

    toy_study(tracking="{mlflow: 'sqlite:///mlflow.db'}", budget="{trials: 3, confirm: 0}")
    run = Run(tmp_path)
    process = run.start(f"{step}:{mode}@3")
    if mode == "kill":
        assert process.wait(200) == -signal.SIGKILL
        autotune_command("run", "toy.yaml", "--local")
    else:  # the mirror fails or hangs: the study does not
        assert process.wait(200) == 0, (tmp_path / "driver.log").read_text()
    assert run.mark.exists()
    assert [t.state for t in run.trials()] == [TrialState.COMPLETED] * 3
    autotune_command("sync", "toy")
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("toy")
    runs = client.search_runs([experiment.experiment_id], max_results=100)
    numbers = sorted(found.data.tags.get("autotune.trial", "") for found in runs)
    assert numbers == ["", "0", "1", "2"]
    assert {found.info.status for found in runs} == {"FINISHED"}
    again = autotune_command("sync", "toy").stdout
    assert "complete" in again
    record(
        f"mirror: `{mode}` at `{step}`",
        "P6",
        "study measured to its end; after `sync` 4 runs of 4, 0 doubled",
    )

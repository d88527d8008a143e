"""A lost head node: its driver killed, its disk gone; what MLflow has of the ledger goes on elsewhere."""

import json
import multiprocessing
import os
import random
import shutil
import signal
import time

import driver
import pytest

from autotune.errors import AutotuneError
from autotune.ledger import Ledger
from autotune.ledger.copies import COPIES, last_copy
from autotune.tracking.mlflow import sync
from tests_shared import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),  # twenty kills beside other work
    pytest.mark.usefixtures("environment_restored"),
    # MLflow and what it loads warn about themselves
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

TRIALS, TRIAL_S = 40, 0.1
COPY_S = 1.0
KILLS = 20 if os.environ.get("AUTOTUNE_RELIABILITY") else 3  # each takes most of a minute
ALLOWED_S = 30.0  # half of what is promised with the usual 30 s between copies; a busy machine is slow


@pytest.fixture(scope="module")
def fork():
    """Processes that have everything imported when they start."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["driver", "mlflow.tracking"])
    return context


class Head:
    """A machine with a driver and its store, which can be lost."""

    def __init__(self, fork, folder, tracking="{mlflow: none}"):
        self.fork = fork
        self.folder = folder
        folder.mkdir(exist_ok=True)
        text = driver.STUDY.replace("ENGINE", "sobol").replace("trials: 9", f"trials: {TRIALS}")
        (folder / "study.yaml").write_text(text.replace("{mlflow: none}", tracking))
        self.process = None

    def start(self):
        self.process = self.fork.Process(target=driver.main, args=(self.folder, {}, True, TRIAL_S))
        self.process.start()

    def finish(self):
        self.start()
        self.process.join(240)
        assert self.process.exitcode == 0, (self.folder / "driver.log").read_text()

    def copied(self):
        """Return the last copy that the ledger knows of."""
        try:
            with Ledger.open(self.folder / "ledger.sqlite", read_only=True) as own:
                return last_copy(own.mirror_state("crash", COPIES))
        except AutotuneError:  # there is none yet
            return None

    def lose(self):
        """Kill the driver's group and remove its folder; what it had, its last copy, and the moment."""
        os.killpg(self.process.pid, signal.SIGKILL)
        killed_ns = time.time_ns()
        self.process.join()
        had, last = results(self.folder), self.copied()
        shutil.rmtree(self.folder)
        return had, last, killed_ns


def results(folder):
    """Return the acknowledged trials of a ledger: when each ended, and all that was measured."""
    with Ledger.open(folder / "ledger.sqlite", read_only=True) as ledger:
        return {
            trial.number: (
                ledger.attempts("crash", trial.number)[-1].ended_ns,
                trial.suggestion.to_dict(),
                trial.state,
                trial.measurement.to_dict(),
            )
            for trial in ledger.trials("crash")
            if trial.state.finished
        }


def test_a_lost_head_node_loses_nothing_that_was_copied(fork, tmp_path, server, autotune_command, record):
    undisturbed = Head(fork, tmp_path / "undisturbed")
    undisturbed.finish()
    expected = driver.history(undisturbed.folder)
    draw = random.Random(0)
    ages, lost_counts = [], []
    for number in range(KILLS):
        experiment = f"lost-{number}"
        tracking = f"{{mlflow: '{server.uri}', experiment: {experiment}, ledger_copy: {COPY_S:g} s}}"
        head = Head(fork, tmp_path / f"head-{number}", tracking)
        head.start()
        wait_until(head.copied, 120)
        time.sleep(draw.uniform(0.0, TRIALS * TRIAL_S))
        had, last, killed_ns = head.lose()

        new = tmp_path / f"new-{number}"
        told = autotune_command(
            "restore", "crash", "--mlflow", server.uri, "--experiment", experiment, "--store", new, "--json"
        )
        back = results(new)
        assert json.loads(told.stdout)["copy"] >= last.generation
        assert back.items() <= had.items(), "what came back is what was measured"
        lost = {key: row[0] for key, row in had.items() if key not in back}
        assert all(ended > last.copied_ns for ended in lost.values()), "a copy lacks what was acknowledged"
        age = max(((killed_ns - ended) / 1e9 for ended in lost.values()), default=0.0)
        assert age < ALLOWED_S
        ages.append(age)
        lost_counts.append(len(lost))

        Head(fork, new, tracking).finish()
        assert driver.history(new) == expected, "the study ends as one that nobody disturbed"
        states = driver.attempts(new)
        assert [each.count("DONE") for each in states] == [1] * len(expected)
        sync(new / "ledger.sqlite", "crash", tracking_uri=server.uri, experiment=experiment, copy=True)
        runs = server.runs(experiment)
        assert len(runs) == len(expected) + 1, "each trial's run is there once"
        assert {run.info.status for run in runs.values()} <= {"FINISHED", "FAILED"}
    record(
        f"driver killed and its store removed at {KILLS} random moments, copies every {COPY_S:g} s",
        "P1: all that was acknowledged before the newest copy comes back; P3, P4 with it",
        f"{sum(lost_counts)} results lost, the oldest {sorted(ages)[KILLS // 2]:.1f} s old (median of kills; "
        f"at most {max(ages):.1f} s); {KILLS} of {KILLS} studies ended as undisturbed ones, no run twice",
    )

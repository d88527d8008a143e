"""Several studies on one cluster: each gets its share of the nodes, a late one within about one trial."""

import os
import signal
import subprocess
import sys
import time
from itertools import pairwise

import pytest
from nodes import Nodes

from autotune.core.trial import TrialState
from autotune.ledger import Ledger
from autotune.study.share_note import SHARE
from tests_shared import wait_until

pytestmark = [pytest.mark.timeout(1800), pytest.mark.slow]

LONG_S = 4.0
WORK = f"""
import time

def work(config):
    time.sleep({LONG_S})
    return {{"speed": [float(config["x"])] * 3}}
"""
STUDY = """
name: {name}
parameters:
  x: {{type: int, low: 1, high: 999, default: 6}}
system: {{use: function, call: "work.py:work"}}
objective: {{maximize: speed}}
engine: {{use: random}}
budget: {{trials: {trials}, confirm: 0, watch: 0}}
tracking: {{mlflow: none}}
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A head without CPUs and four nodes."""
    cluster = Nodes(tmp_path_factory.mktemp("cluster"))
    for _ in range(4):
        cluster.join()
    yield cluster
    cluster.close()


class Run:
    """A study in a process of its own, in a store of its own."""

    def __init__(self, folder, name, env, trials=400):
        self.name, self.folder = name, folder / name
        self.folder.mkdir()
        (self.folder / "work.py").write_text(WORK)
        (self.folder / "study.yaml").write_text(STUDY.format(name=name, trials=trials))
        with (self.folder / "study.log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "autotune", "run", "study.yaml"],
                cwd=self.folder, env={**os.environ, **env}, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip

    @property
    def text(self):
        return (self.folder / "study.log").read_text()

    def read(self, what):
        with Ledger.open(self.folder / "autotune-runs" / "ledger.sqlite", read_only=True) as ledger:
            return what(ledger)

    def running(self):
        if "trial 0 started" not in self.text:
            return 0
        trials = self.read(lambda ledger: ledger.trials(self.name))
        return sum(trial.state is TrialState.RUNNING for trial in trials)

    def attempts(self):
        """Return node, start and end of each attempt that has ended, in seconds."""
        return self.read(
            lambda ledger: [
                (a.node, a.started_ns / 1e9, a.ended_ns / 1e9)
                for t in ledger.trials(self.name)
                for a in ledger.attempts(self.name, t.number)
                if a.ended_ns
            ]
        )

    def starts(self):
        """Return when each attempt began, in seconds."""
        return self.read(
            lambda ledger: sorted(
                a.started_ns / 1e9
                for t in ledger.trials(self.name)
                for a in ledger.attempts(self.name, t.number)
            )
        )

    def failures(self):
        return [t.failure for t in self.read(lambda ledger: ledger.trials(self.name)) if t.failure]


@pytest.fixture
def start(cluster, tmp_path):
    runs = []

    def start(name, **options):
        runs.append(Run(tmp_path, name, cluster.env, **options))
        return runs[-1]

    yield start
    for run in runs:
        run.process.kill()
        run.process.wait()


def overlaps(runs):
    """Return the attempts of different studies that ran on one node at one time for more than a moment."""
    spans = sorted((node, begin, end, run.name) for run in runs for node, begin, end in run.attempts())
    return [
        (a, b) for a, b in pairwise(spans) if a[0] == b[0] and a[3] != b[3] and min(a[2], b[2]) - b[1] > 0.5
    ]


def test_late_studies_get_their_share_within_about_a_trial_and_give_it_back(start, record):
    first = start("first")
    wait_until(lambda: first.running() == 4, 120)
    second = start("second")
    wait_until(lambda: "study second:" in second.text, 120)
    came = time.time()
    wait_until(lambda: second.running() >= 1, 240)
    wait_until(lambda: (first.running(), second.running()) == (2, 2), 240)
    got = second.starts()[0]
    between = sum(came < started < got for started in first.starts())
    assert between <= 4, "the first started more than one more trial on a node"
    third = start("third", trials=8)
    wait_until(lambda: third.running() >= 1 and first.running() + second.running() <= 3, 240)
    share = first.read(lambda ledger: ledger.study_notes("first"))[SHARE]
    assert share["nodes"] == 4
    assert third.process.wait(400) == 0, third.text
    wait_until(lambda: (first.running(), second.running()) == (2, 2), 240)
    second.process.kill()  # a driver that dies gives its nodes back when its lease ends
    wait_until(lambda: first.running() == 4, 240)
    for run in (first, second, third):
        assert run.failures() == [], run.text
    assert overlaps([first, second, third]) == []
    record(
        "a second and a third study come to four nodes that the first holds",
        "each gets what becomes free until all have their share; nobody is preempted",
        f"the second started {got - came:.0f} s after it came; the first started {between} trials in between",
    )


def test_without_the_book_every_study_goes_on(start, cluster):
    run = start("alone", trials=16)
    wait_until(lambda: run.running() == 4, 240)
    books = [
        int(pid) for pid in os.listdir("/proc") if pid.isdigit() and _title(pid).startswith("ray::_Book")
    ]
    assert books
    for pid in books:
        os.kill(pid, signal.SIGSTOP)
    try:
        assert run.process.wait(400) == 0, run.text
    finally:
        for pid in books:
            os.kill(pid, signal.SIGCONT)
    assert run.failures() == []


def _title(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().decode(errors="replace")
    except OSError:
        return ""

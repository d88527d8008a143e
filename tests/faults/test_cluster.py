"""A cluster of several nodes: where attempts are placed, and nodes that die, hang, are cut off and join."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from nodes import Nodes

from autotune.core.measurement import Cause
from autotune.core.trial import TrialState
from autotune.executor.health import QUARANTINE_AFTER
from autotune.ledger import Ledger
from tests_shared import name_of, wait_until, works_in

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    cluster = Nodes(tmp_path_factory.mktemp("cluster"))
    yield cluster
    cluster.close()


@pytest.fixture
def join(cluster):
    """Nodes that join for one test and end with it."""
    joined = []

    def one_more(**options):
        joined.append(cluster.join(**options))
        return joined[-1]

    yield one_more
    for node in joined:
        node.end()


class Run:
    """A study that runs in a process of its own."""

    def __init__(self, folder, env):
        self.folder = folder
        with (folder / "study.log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "autotune", "run", "toy.yaml"],
                cwd=folder, env={**os.environ, **env}, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip

    @property
    def text(self):
        return (self.folder / "study.log").read_text()

    def read(self, what):
        with Ledger.open(self.folder / "autotune-runs" / "ledger.sqlite", read_only=True) as ledger:
            return what(ledger)

    def trials(self):
        return self.read(lambda ledger: ledger.trials("toy"))

    def attempts(self):
        return self.read(
            lambda ledger: [
                (t.number, a) for t in ledger.trials("toy") for a in ledger.attempts("toy", t.number)
            ]
        )

    def wait_for(self, condition, seconds=180):
        def now():
            assert self.process.poll() is None, self.text
            return "trial 0" in self.text and condition()

        wait_until(now, seconds)

    def searched(self):
        """Return the states of the trials that the budget counts: doubtful ones are measured again on top."""
        return [trial.state for trial in self.trials() if trial.suggestion.reason.of_search]

    def failed(self):
        return [a for _, a in self.attempts() if a.measurement is not None and a.measurement.failure]

    def lost(self):
        """Return the failed attempts, but for measurements that a busy machine spoiled."""
        return [a for a in self.failed() if a.measurement.failure.cause is not Cause.INVALID_MEASUREMENT]

    def completed(self):
        return sum(trial.state is TrialState.COMPLETED for trial in self.trials())

    def end(self, seconds=300):
        assert self.process.wait(seconds) == 0, self.text
        return self.trials()


@pytest.fixture
def study(tmp_path, toy_study, cluster):
    """Start a study on the cluster; it is ended with the test."""
    runs = []

    def start(trials, **changes):
        toy_study(
            budget=f"{{trials: {trials}, confirm: 0, watch: 0}}", engine="{use: random, seed: 0}", **changes
        )
        runs.append(Run(tmp_path, cluster.env))
        return runs[-1]

    yield start
    for run in runs:
        run.process.kill()
        run.process.wait()


@pytest.mark.slow
def test_groups_stay_on_a_node_and_stages_may_spread(cluster, join, tmp_path, record):
    a = join(cpus=4, gpus=4, labels={"zone": "a"})
    b = join(cpus=4, gpus=4, labels={"zone": "b"})
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("placements.py")), str(tmp_path)],
        env={**os.environ, **cluster.env}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    both = [a.name, b.name]
    assert told["nodes"] == both
    assert told["capacity"] == {"1": 8, "3": 2, "4": 2, "8": 0}
    assert told["capacity in stages"] == 1
    assert told["shortage"] in [
        f"needs 1 CPUs and 8 GPUs on one node; the largest of 3 nodes, {name}, has 4 CPUs and 4 GPUs"
        for name in both
    ]
    assert (told["room for 1"], told["room for 2"]) == (True, False)
    assert sorted(group["nodes"] for group in told["tensor parallel"]) == [[a.name], [b.name]]
    assert {group["strategy"] for group in told["tensor parallel"]} == {"STRICT_PACK"}
    (pipeline,) = told["pipeline"]
    assert sorted(pipeline["nodes"]) == both
    assert [bundle["GPU"] for bundle in pipeline["bundles"]] == [4.0, 4.0]
    assert told["labelled"] == [b.name]
    assert "ray.io/accelerator-type=H100, which none of 3 has" in told["no such accelerator"]
    record(
        "configurations of 3, 4 and 8 GPUs on two nodes of 4",
        "a tensor-parallel group lies on one node, stages may spread, what fits nowhere is refused",
        "3 and 4 at once, 2 x 4 in stages on both, 8 refused with the numbers",
    )


@pytest.mark.slow
def test_a_node_is_killed_and_another_joins_while_a_study_runs(study, join, record):
    first, _ = join(), join()
    longer = "{prompt_tokens: 4, output_tokens: 4, precision: 0.001 %, time: 3 s, warmup: 1}"
    run = study(14, workload=longer)  # as many as last until a node has joined, on a busy machine too
    run.wait_for(lambda: run.completed() >= 2)
    first.kill()
    third = join()
    trials = run.end()
    assert run.searched() == [TrialState.COMPLETED] * 14, run.text
    used = {t.node for t in trials}
    assert third.name in used, run.text
    lost = run.lost()
    assert {a.measurement.failure.cause.value for a in lost} <= {"node_lost", "worker_lost"}, run.text
    assert {a.node for a in lost} <= {first.name}, run.text
    assert len(run.attempts()) == len(trials) + len(run.failed())
    wait_until(lambda: works_in(run.folder / "autotune-runs") == [], 60)
    record(
        "a node is killed and another joins",
        "its attempt is tried again elsewhere, the new node is used",
        f"14 of {len(trials)} trials measured, {len(lost)} attempts repeated, nodes used: {len(used)}",
    )


@pytest.mark.slow
def test_a_paused_and_a_cut_off_node_cost_their_attempts_only(study, join, cluster, record):
    if not cluster.namespaces:
        pytest.skip("cutting a node off needs network namespaces")
    good, paused, cut = join(), join(), join()
    run = study(14)
    run.wait_for(lambda: {t.node for t in run.trials()} >= {good.name, paused.name, cut.name})
    began = time.monotonic()
    paused.send(signal.SIGSTOP)
    cut.cut_off()
    run.wait_for(lambda: {a.node for a in run.lost()} >= {paused.name, cut.name})
    noticed = time.monotonic() - began
    trials = run.end()
    assert run.searched() == [TrialState.COMPLETED] * 14, run.text
    lost = run.lost()
    assert {a.node for a in lost} == {paused.name, cut.name}
    paused.send(signal.SIGCONT)
    wait_until(lambda: works_in(run.folder / "autotune-runs") == [], 120)
    record(
        "one node is paused, one is cut off from the network",
        "their attempts are tried again elsewhere; nothing of them is left afterwards",
        f"noticed after {noticed:.0f} s, 14 of {len(trials)} trials measured, {len(lost)} attempts repeated",
    )


@pytest.mark.slow
def test_a_node_with_a_full_disk_is_left_alone(study, join, cluster, tmp_path, record):
    if not cluster.namespaces:
        pytest.skip("a disk of its own needs a mount namespace")
    folder = tmp_path / "autotune-runs" / "toy"
    folder.mkdir(parents=True)
    good, bad = join(), join(full_disk=folder)
    run = study(10)
    trials = run.end()
    assert {(t.state, t.node) for t in trials} == {(TrialState.COMPLETED, good.name)}
    lost = [a for _, a in run.attempts() if a.measurement.failure is not None]
    assert {a.measurement.failure.cause.value for a in lost} == {"disk_full"}
    assert {a.node for a in lost} == {bad.name}
    assert len(lost) == QUARANTINE_AFTER
    record(
        "a node whose disk is full fails every attempt at once",
        "quarantined after three failures in a row; the study goes on without it",
        f"{len(lost)} attempts lost, 10 of {len(trials)} trials measured on the other node",
    )


HOLDER = """
import os, sys, time
import numpy, ray
ray.init(log_to_driver=False, logging_level="ERROR")

@ray.remote(num_cpus=1)
def fill(i):
    return numpy.full(9_000_000, i, numpy.float64)  # 72 MB: most of the node's object store

@ray.remote(num_cpus=1)
def hold():
    while not os.path.exists(sys.argv[1]):
        time.sleep(0.1)

kept = [fill.remote(i) for i in range(2)]
ray.wait(kept, num_returns=2, fetch_local=False)
held = hold.remote()
time.sleep(1.0)
print("held", flush=True)
ray.get(held)
print("freed", flush=True)
time.sleep(600)  # the store stays full
"""


@pytest.mark.slow
def test_a_cluster_without_a_free_cpu_is_waited_for_aloud(study, join, cluster, tmp_path, record):
    node = join(object_store_memory=80_000_000)
    free = tmp_path / "free"
    script = HOLDER.replace("sys.argv[1]", repr(str(free)))
    env = {**os.environ, **cluster.env}
    with subprocess.Popen(
        [sys.executable, "-c", script], env=env, stdout=subprocess.PIPE, text=True
    ) as holder:
        try:
            assert holder.stdout.readline() == "held\n"
            run = study(2)
            wait_until(lambda: "waiting for room" in run.text, 120)
            assert f"trial 0 needs 1 cpus; {node.name}: 1 of 1 CPUs held by other jobs" in run.text
            assert "trial 0 started" not in run.text
            free.touch()
            trials = run.end()
        finally:
            holder.kill()
    assert [t.state for t in trials] == [TrialState.COMPLETED] * 2
    assert [a.state for _, a in run.attempts()] == ["DONE"] * 2
    record(
        "another job holds every CPU of a cluster, and fills its object store",
        "said within seconds; the study goes on when the CPU is free, beside a full store",
        f"2 of {len(trials)} trials measured, 0 attempts lost",
    )


@pytest.mark.slow
def test_a_head_that_is_gone_ends_the_study_with_a_word_and_nothing_is_left(tmp_path, toy_study, record):
    head = Nodes(tmp_path, namespaces=False)
    try:
        head.join()
        longer = "{prompt_tokens: 4, output_tokens: 4, precision: 0.001 %, time: 3 s, warmup: 1}"
        toy_study(budget="{trials: 40, confirm: 0}", engine="{use: random, seed: 0}", workload=longer)
        run = Run(tmp_path, head.env)
        run.wait_for(lambda: run.completed() >= 2)
        (control,) = [pid for pid in head.head.pids if "/gcs_server " in name_of(pid)]
        began = time.monotonic()
        os.kill(control, signal.SIGKILL)
        assert run.process.wait(150) == 3, run.text
        took = time.monotonic() - began
        assert "the head node of the Ray cluster has not answered" in run.text
        assert "running the same command goes on" in run.text
        assert run.read(lambda ledger: ledger.study("toy").state) == "INTERRUPTED"
        assert run.completed() >= 2
        wait_until(lambda: works_in(tmp_path / "autotune-runs") == [], 120)
    finally:
        head.close()
    record(
        "the head node of the cluster is killed",
        "the study ends with a message and can go on; nothing is left",
        f"after {took:.0f} s, before Ray ends the process by itself after 60 s",
    )


@pytest.mark.slow
def test_a_cluster_that_asks_for_a_token_is_told_from_one_that_is_gone(
    tmp_path, toy_study, autotune_command, record
):
    toy_study(budget="{trials: 1, confirm: 0}")
    token = "a" * 64
    head = Nodes(tmp_path, namespaces=False, auth={"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token})
    home = {"HOME": str(tmp_path)}  # whoever runs the tests may have a token of their own
    try:
        node = head.join()
        refused = [
            autotune_command("run", "toy.yaml", env={**head.env, **home, **wrong}, check=False)
            for wrong in ({"RAY_AUTH_TOKEN": "b" * 64}, {"RAY_AUTH_MODE": "disabled"})
        ]
        done = autotune_command("run", "toy.yaml", env={**head.env, **home})
    finally:
        head.close()
    assert [run.returncode for run in refused] == [3, 3], refused[0].stderr + refused[1].stderr
    for run in refused:
        assert "refuses this process" in run.stderr
        assert "RAY_AUTH_TOKEN" in run.stderr
        assert token not in run.stdout + run.stderr
    assert "1 trial, 1 measured" in done.stdout
    record(
        "a cluster that asks for a token meets a wrong one and none",
        "refused with what to do, in bounded time",
        f"{len(refused)} of 2 named, with the token {node.name} is used",
    )

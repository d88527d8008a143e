"""`autotune run` on Ray: a cluster of its own, one that is there already, killed in the middle."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from autotune.core.trial import TrialState
from autotune.ledger import Ledger
from tests_shared import descendants, is_alive, wait_until, works_in

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(autouse=True)
def prompt_workers(monkeypatch):
    """Workers that start at nice 0: a busy machine starves those of Ray, at nice 15."""
    monkeypatch.setenv("RAY_worker_niceness", "0")


def ledger_of(tmp_path):
    return Ledger.open(tmp_path / "autotune-runs" / "ledger.sqlite", read_only=True)


def test_a_cluster_is_started_and_ended_with_the_study(tmp_path, toy_study, autotune_command):
    toy_study(budget="{trials: 2, confirm: 0}")
    autotune_command("run", "toy.yaml")
    with ledger_of(tmp_path) as ledger:
        trials = ledger.trials("toy")
        assert [t.state for t in trials] == [TrialState.COMPLETED] * 2
        assert {a.executor for t in trials for a in ledger.attempts("toy", t.number)} == {"ray"}


@pytest.mark.slow
def test_kill_9_leaves_no_process_and_the_same_command_goes_on(tmp_path, toy_study, autotune_command):
    toy_study(budget="{trials: 3, confirm: 0}", system="{use: toy, step: '0.02'}")
    with subprocess.Popen(
        [sys.executable, "-m", "autotune", "run", "toy.yaml"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        for line in process.stdout:
            if line.startswith("trial 1 started"):
                break
        wait_until(
            lambda: list((tmp_path / "autotune-runs" / "toy" / "trial-0001").glob("*/server.sock")), 60
        )
        started = descendants(process.pid) | set(works_in(tmp_path / "autotune-runs"))
        process.kill()
    wait_until(lambda: not works_in(tmp_path / "autotune-runs"), 90)
    wait_until(lambda: not [pid for pid in started if is_alive(pid)], 90)  # Ray's agents take a minute alone
    with ledger_of(tmp_path) as ledger:
        first = ledger.trial("toy", 0)
    autotune_command("run", "toy.yaml")
    with ledger_of(tmp_path) as ledger:
        assert ledger.trial("toy", 0) == first
        assert [t.state for t in ledger.trials("toy")] == [TrialState.COMPLETED] * 3
        assert [a.state for a in ledger.attempts("toy", 1)] == ["LOST", "DONE"]


@pytest.mark.slow
def test_ctrl_c_stops_the_server_and_exits_with_5(tmp_path, toy_study):
    toy_study(system="{use: toy, step: '0.02'}")
    with subprocess.Popen(
        [sys.executable, "-m", "autotune", "run", "toy.yaml"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        for line in process.stdout:
            if line.startswith("trial 0 started"):
                break
        wait_until(
            lambda: list((tmp_path / "autotune-runs" / "toy" / "trial-0000").glob("*/server.sock")), 60
        )
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: every process of the group
        rest = process.stdout.read()
    assert process.returncode == 5, rest
    assert "goes on" in rest
    assert works_in(tmp_path / "autotune-runs") == []


@pytest.mark.slow
def test_a_configuration_that_no_node_can_hold_is_refused_with_the_numbers(
    tmp_path, toy_study, autotune_command
):
    toy_study(budget="{trials: 3, confirm: 0}", engine="random")
    autotune_command("run", "toy.yaml", "--set", "resources={cpus: batch_size * 1000 - 999}", check=False)
    with ledger_of(tmp_path) as ledger:
        refused = [t for t in ledger.trials("toy") if t.config["batch_size"] > 1]
        assert refused
        for trial in refused:
            assert trial.state is TrialState.INFEASIBLE
            assert str(trial.config["batch_size"] * 1000 - 999) in trial.failure.message


@contextlib.contextmanager
def head_node(port):
    """Run the head of a cluster; end its processes and nobody else's (`ray stop` would end every cluster)."""
    argv = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port}"]
    argv += ["--num-cpus=1", "--include-dashboard=false", "--disable-usage-stats"]
    env = {**os.environ, "RAY_AUTH_MODE": "disabled"}
    with subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as head:
        try:
            wait_until(lambda: answers(port), 60)
            yield
        finally:
            below = descendants(head.pid)
            head.kill()
            for pid in below:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            wait_until(lambda: not any(is_alive(pid) for pid in below), 90)


def answers(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.slow
def test_the_cluster_that_ray_address_names_is_used(tmp_path, toy_study, autotune_command):
    toy_study(budget="{trials: 1, confirm: 0}")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = {"RAY_ADDRESS": f"127.0.0.1:{port}", "RAY_AUTH_MODE": "disabled"}
    with head_node(port):
        autotune_command("run", "toy.yaml", env=address)
        with ledger_of(tmp_path) as ledger:
            assert ledger.trial("toy", 0).state is TrialState.COMPLETED
    gone = autotune_command("run", "toy.yaml", "--new", env=address, check=False)
    assert gone.returncode == 3
    assert f"127.0.0.1:{port}" in gone.stderr


@pytest.mark.slow
def test_measure_on_ray_gives_one_measured_configuration(toy_study, autotune_command):
    toy_study()
    done = json.loads(
        autotune_command("measure", "toy.yaml", "--config", "speed=3", "--ray", "--json").stdout
    )
    assert done["config"] == {"batch_size": 1, "speed": 3}
    assert done["metrics"]["output_throughput"]["value"] > 0
    assert done["failure"] is None

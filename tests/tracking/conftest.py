"""A ledger with a whole study in it, and an MLflow server to talk to."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from types import SimpleNamespace

import pytest

from autotune.core.measurement import Cause, Estimate, Failure, Measurement
from autotune.core.trial import Reason, Suggestion, TrialState
from autotune.ledger import Ledger
from tests_proxy import Proxy

NAME = "chat"
SPEC = {
    "objective": {"maximize": "throughput", "limits": ["latency.p99 <= 500 ms"]},
    "space": {
        "parameters": {
            "batch_size": {"type": "int", "low": 1, "high": 64, "default": 1},
            "half": {"type": "bool", "default": True},
        }
    },
    "system": {"use": "command", "environment": "api_key=abcdef123456"},
    "engine": {"use": "random"},
}
START_NS = 1_700_000_000_000_000_000


def suggestion(batch=1, **more):
    more = {"reason": Reason.DEFAULT, "engine": "gp 1", **more}
    return Suggestion({"batch_size": batch, "half": True}, **more)


def measured(throughput, number=0, latency=0.1, sem=0.5, **more):
    start = START_NS + number * 60_000_000_000
    return Measurement(
        {"throughput": Estimate(throughput, sem, 5, "tokens/s"), "latency.p99": Estimate(latency, unit="s")},
        started_ns=start,
        ended_ns=start + 30_000_000_000,
        **more,
    )


def failed(cause, message, number=0):
    start = START_NS + number * 60_000_000_000
    failure = Failure(cause, message)
    return Measurement(failure=failure, started_ns=start, ended_ns=start + 1_000_000_000)


def run_trial(ledger, number, what, result, state, node="gpu-1"):
    ledger.add_trial(NAME, number, what)
    attempt = ledger.start_attempt(NAME, number, "local")
    ledger.finish_attempt(NAME, number, attempt, result, state=state, node=node)


def create(ledger):
    ledger.create_study(NAME, spec=SPEC, fingerprint="f1", seed=7, engine="gp 1")
    ledger.set_study_state(NAME, "RUNNING")


def fill(ledger, folder):
    """Put one trial of every kind into the ledger: 0 to 6."""
    create(ledger)
    log = folder / "server.log"
    log.write_text("ready\nAuthorization: Bearer abcdefgh12345678\n", encoding="utf-8")
    artifacts = {"server.log": str(log), "requests.jsonl": str(folder / "gone.jsonl")}
    facts = {"system": {"versions": {"torch": "2.9"}}}
    done, at_fault = TrialState.COMPLETED, TrialState.INFEASIBLE
    run_trial(ledger, 0, suggestion(), measured(100.0, 0, artifacts=artifacts, facts=facts), done)
    expected = suggestion(
        2, reason=Reason.EXPLOIT, p_feasible=0.75, predicted={"throughput": Estimate(140.0, 9.0)}
    )
    run_trial(ledger, 1, expected, measured(150.0, 1, sem=None), done)
    run_trial(
        ledger, 2, suggestion(64), failed(Cause.OUT_OF_MEMORY, "token=abcdefgh1234 did not fit"), at_fault
    )
    run_trial(ledger, 3, suggestion(4), failed(Cause.WORKER_LOST, "gone"), TrialState.FAILED)
    run_trial(ledger, 4, suggestion(8), measured(900.0, 4, latency=2.0), done)  # breaks the limit
    ledger.add_trial(NAME, 5, suggestion(16))
    ledger.start_attempt(NAME, 5, "local")
    ledger.add_trial(NAME, 6, suggestion(32))  # waits: no run before its first attempt


def add_three(ledger):
    """Put two measured trials into a ledger that has the study, and one that is being measured."""
    run_trial(ledger, 0, suggestion(), measured(100.0, 0), TrialState.COMPLETED)
    run_trial(ledger, 1, suggestion(2), measured(150.0, 1), TrialState.COMPLETED)
    ledger.add_trial(NAME, 2, suggestion(16))
    ledger.start_attempt(NAME, 2, "local")


@pytest.fixture
def ledger(tmp_path):
    with Ledger.open(tmp_path / "ledger.db") as opened, opened.lock_study(NAME):  # as its run does
        yield opened


@pytest.fixture
def store_uri(tmp_path, empty_store):
    """Address of an empty store; copied, because making the tables takes seconds."""
    folder = tmp_path / "a store"  # with a space: a folder may have one
    folder.mkdir()
    (folder / "mlflow.db").write_bytes(empty_store.read_bytes())
    return f"sqlite:///{folder}/mlflow.db"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A real ``mlflow server`` in a process of its own."""

    def __init__(self, argv, folder, port):
        self.uri = f"http://127.0.0.1:{port}"
        self.log = (folder.parent / f"{folder.name}-server.log").open("wb")
        env = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
        self.process = subprocess.Popen(
            argv, cwd=folder, env=env, stdout=self.log, stderr=self.log, start_new_session=True
        )

    def wait(self, seconds=180):
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            assert self.process.poll() is None, "the server ended"
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=1):
                    return self
            except OSError:
                time.sleep(0.1)
        raise AssertionError("the server did not come up")

    def stop(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        self.log.close()


@pytest.fixture
def start_server():
    """Start servers that end with the test."""
    servers = []

    def start(argv, folder, port):
        servers.append(Server(argv, folder, port))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def start_proxy():
    """Put proxies before servers."""
    proxies = []

    def start(port, at=0):
        proxies.append(Proxy(port, at))
        return proxies[-1]

    yield start
    for proxy in proxies:
        proxy.close()


def server_argv(uri, port, folder):
    return [
        sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri, "--host", "127.0.0.1",
        "--port", str(port), "--workers", "1", "--artifacts-destination", str(folder / "served"),
    ]  # fmt: skip


@pytest.fixture
def make():
    """The builders above; test modules cannot import a conftest."""
    return SimpleNamespace(
        name=NAME,
        spec=SPEC,
        start_ns=START_NS,
        suggestion=suggestion,
        measured=measured,
        failed=failed,
        run_trial=run_trial,
        create=create,
        fill=fill,
        add_three=add_three,
        free_port=free_port,
        server_argv=server_argv,
    )

"""The address of each trial's run: asked of a server without the MLflow library, in bounded time."""

import http.server
import json
import socket
import subprocess
import sys

import pytest

import autotune
from autotune.ledger import Ledger
from autotune.study.report import report_view
from autotune.tracking.run_addresses import run_addresses
from tests_shared import serving_in_a_thread

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.filterwarnings("default"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def study(tmp_path, make, start_server, store_uri):
    """A study that a real server has, its ledger and the server's address."""
    port = make.free_port()
    server = start_server(make.server_argv(store_uri, port, tmp_path), tmp_path, port).wait()
    space, path = autotune.Space([autotune.Int("x", 0, 5)]), tmp_path / "l.sqlite"
    autotune.tune(
        space, lambda config: float(config["x"]), {"maximize": "y"}, trials=3, engine="random", path=path,
        mlflow={"mlflow": server.uri, "experiment": "team"},
    ).close()  # fmt: skip
    return path, server


@pytest.mark.slow
def test_a_report_links_each_trial_to_its_run(study):
    from mlflow import MlflowClient

    path, server = study
    with Ledger.open(path, read_only=True) as ledger:
        found = report_view(ledger, ledger.study("study")).run_urls
        client = MlflowClient(tracking_uri=server.uri)
        experiment = client.get_experiment_by_name("team").experiment_id
        runs = client.search_runs([experiment])
        assert found == {
            int(
                run.data.tags["autotune.trial"]
            ): f"{server.uri}/#/experiments/{experiment}/runs/{run.info.run_id}"
            for run in runs
            if "autotune.trial" in run.data.tags
        }
        assert sorted(found) == [0, 1, 2]
        server.stop()
        assert report_view(ledger, ledger.study("study")).run_urls == {}


def test_asking_loads_no_mlflow(tmp_path):
    code = (
        "import sys; from autotune.tracking.run_addresses import run_addresses\n"
        "assert run_addresses('http://127.0.0.1:9', 'team', 'u', timeout=1) == {}\n"
        "assert 'mlflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "answer",
    [b"<html>", b"[]", b"{}", json.dumps({"experiment": {"experiment_id": "1"}, "runs": [7]}).encode()],
)
def test_whatever_else_answers_gives_no_addresses(answer):
    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer)

        do_POST = do_GET

        def log_message(self, *_):
            pass

    with serving_in_a_thread(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Other)) as server:
        assert run_addresses(f"http://127.0.0.1:{server.server_port}", "team", "u", timeout=5) == {}


def test_a_server_that_says_nothing_is_not_waited_for():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert run_addresses(uri, "team", "u", timeout=0.2) == {}


def test_a_server_is_asked_through_the_proxy_of_the_environment_unless_that_leaves_it_out(monkeypatch):
    asked = []

    class Proxy(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"experiment": {"experiment_id": "7"}}).encode())

        def do_POST(self):
            asked.append(self.path)
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            tags = [{"key": "autotune.trial", "value": "0"}]
            found = {"runs": [{"info": {"run_id": "r"}, "data": {"tags": tags}}]}
            self.wfile.write(json.dumps(found).encode())

        def log_message(self, *_):
            pass

    uri = "http://mlflow.invalid:5000"
    with serving_in_a_thread(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)) as server:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("no_proxy", "")
        found = run_addresses(uri, "team", "u", timeout=5)
        monkeypatch.setenv("no_proxy", "mlflow.invalid")
        assert run_addresses(uri, "team", "u", timeout=5) == {}
    assert found == {0: f"{uri}/#/experiments/7/runs/r"}
    assert asked == [
        f"{uri}/api/2.0/mlflow/experiments/get-by-name?experiment_name=team",
        f"{uri}/api/2.0/mlflow/runs/search",
    ]


@pytest.mark.parametrize("uri", ["sqlite:///mlflow.db", "mlruns", "http://me:secret@127.0.0.1:9"])
def test_a_local_store_and_one_with_a_password_have_no_addresses(uri):
    assert run_addresses(uri, "team", "u", timeout=0.2) == {}

"""Each name that Ray keeps to itself and we use does what we need, on the Ray that is installed."""

import http.server
import json
import logging
import platform
import subprocess
import sys

import pytest
import ray
from ray.job_submission import JobSubmissionClient

from autotune.errors import EnvironmentProblem
from autotune.executor import ray_private
from autotune.executor.ray_private import HeadValues
from tests_shared import serving_in_a_thread


def test_the_last_cluster_that_was_started_here_has_an_address(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert ray_private.started_address() is None
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("10.0.0.1:6379")
    assert ray_private.started_address() == "10.0.0.1:6379"


def test_a_head_says_its_versions_and_keeps_a_package_until_it_is_taken(ray_cluster):
    head = HeadValues(ray.get_runtime_context().gcs_address, 10)
    told = json.loads(head.versions())
    assert (told["ray_version"], told["python_version"]) == (ray.__version__, platform.python_version())
    assert head.take_package("none") is None
    from ray.experimental.internal_kv import _internal_kv_put

    _internal_kv_put(b"gcs://sent", b"\x00content")
    assert head.take_package("sent") == b"\x00content"
    assert head.take_package("sent") is None


@pytest.mark.parametrize("status", [200, 500])
def test_a_job_client_sends_bytes(status):
    sent = []

    class Head(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.answer(200, {"version": "4", "ray_version": ray.__version__, "ray_commit": ""})

        def do_PUT(self):
            sent.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.answer(status, {"why": "full"})

        def answer(self, status, what):
            body = json.dumps(what).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with serving_in_a_thread(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Head)) as server:
        client = JobSubmissionClient(f"http://127.0.0.1:{server.server_port}")
        if status == 200:
            ray_private.send_package(client, "sent", b"\x00content")
        else:
            with pytest.raises(RuntimeError, match=r'500: {"why": "full"}'):
                ray_private.send_package(client, "sent", b"\x00content")
    assert sent == [("/api/packages/gcs/sent", b"\x00content")]


def test_the_logger_of_packages_is_the_job_clients():
    assert isinstance(logging.root.manager.loggerDict[ray_private.PACKAGING_LOG], logging.Logger)


def test_each_node_says_what_is_free_on_it(ray_cluster):
    (node,) = ray.nodes()
    free = ray_private.free_resources()
    assert list(free) == [node["NodeID"]]
    assert 0 <= free[node["NodeID"]].get("CPU", 0.0) <= node["Resources"]["CPU"]


OF_THIS_MACHINE = """
import json, os, signal, sys, time
import ray
from autotune.executor import ray_private
from autotune.executor.ray_cluster import _init

before = signal.signal(signal.SIGTERM, own := lambda *_: None)
assert ray_private.ended_processes() == []
with ray_private.loopback_only(), ray_private.sigterm_left_alone():
    _init({"address": "local", "include_dashboard": False, "num_cpus": 1, "log_to_driver": False}, "start", 3)
kept = signal.getsignal(signal.SIGTERM) is own
(node,) = ray.nodes()
alive = ray_private.ended_processes()
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        line = open(f"/proc/{pid}/cmdline").read()
        parent = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1]
    except OSError:
        continue
    if parent == str(os.getpid()) and "/raylet\\0" in line:
        os.kill(int(pid), signal.SIGKILL)
until = time.monotonic() + 60
while not ray_private.ended_processes() and time.monotonic() < until:
    time.sleep(0.05)
found = [kept, node["NodeManagerAddress"], alive, ray_private.ended_processes()]
print("found", json.dumps(found), flush=True)
os._exit(0)
"""


@pytest.mark.timeout(500)
def test_a_cluster_of_this_machine_is_reached_from_it_only_and_tells_what_ended():
    done = subprocess.run(
        [sys.executable, "-c", OF_THIS_MACHINE], capture_output=True, text=True, check=False, timeout=450
    )
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("found ")] or [done.stderr]
    assert line == 'found [true, "127.0.0.1", [], ["raylet"]]'


def test_a_ray_that_refuses_those_without_a_token_knows_tokens():
    assert ray_private.knows_tokens() == hasattr(ray.exceptions, "AuthenticationError")


@pytest.mark.parametrize(
    ("use", "name"),
    [
        (ray_private.started_address, "ray._private.services.find_bootstrap_address"),
        (ray_private.free_resources, "ray._private.state.available_resources_per_node"),
        (ray_private.ended_processes, "ray._private.worker._global_node"),
        (lambda: HeadValues("127.0.0.1:1", 1), "ray._raylet.GcsClient"),
        (ray_private.sigterm_left_alone().__enter__, "ray._private.utils.set_sigterm_handler"),
        (ray_private.loopback_only().__enter__, "ray._private.ray_constants.ENABLE_RAY_CLUSTER"),
    ],
)
def test_a_name_that_is_gone_is_told(monkeypatch, use, name):
    monkeypatch.delattr(name)
    with pytest.raises(EnvironmentProblem, match=rf"Ray [\d.]+ lacks .*{name.rpartition('.')[2]}"):
        use()

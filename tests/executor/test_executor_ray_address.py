"""Addresses of Ray clusters: what is no address, and what answers there but is no head node."""

import http.server
import socket
import subprocess
import sys
import threading
import time

import pytest

from autotune.cli import main
from autotune.errors import EnvironmentProblem
from autotune.executor import ray_address
from autotune.executor.ray_address import check_address, split_address


@pytest.mark.parametrize(
    "address",
    ["head", "head:", ":6379", "head:port", "head:0", "head:65536", "head:6379:1", "he ad:6379", "[::1]",
     "http://head:8265", "redis://head:6379", "head:6379/path", "user@head:6379", "::1:6379", "head:٦"],
)  # fmt: skip
def test_what_is_no_address_is_said_with_what_is(address):
    with pytest.raises(EnvironmentProblem, match=r"is no address of a Ray cluster; allowed: host:port"):
        check_address(address)


def test_hosts_are_names_and_numbers():
    assert split_address("head.example.org:6379") == ("head.example.org", 6379)
    assert split_address("[::1]:6380") == ("::1", 6380)
    check_address("auto")
    check_address("local")


def test_an_address_of_ray_client_names_the_one_to_give():
    with pytest.raises(EnvironmentProblem, match=r"'ray://head:10001' is one of Ray Client") as caught:
        check_address("ray://head:10001")
    assert "host:port without ray://" in caught.value.hint


@pytest.mark.parametrize(
    "host", ["127.0.0.1:1", "[::1]:1", "no-such-host.invalid:6379", f"{'a' * 64}.x:6379"]
)
def test_an_address_where_no_cluster_answers_is_named(host):
    with pytest.raises(EnvironmentProblem, match="no Ray cluster answers at"):
        check_address(host)


def test_an_executor_names_a_cluster_that_does_not_answer():
    # in a process of its own: this one may be connected to the cluster that tests share
    script = "from autotune.executor.ray import RayExecutor; RayExecutor('127.0.0.1:1').start()"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60
    )
    assert "EnvironmentProblem: no Ray cluster answers at 127.0.0.1:1:" in done.stderr


def test_a_web_server_is_told_from_a_head_node():
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    server.RequestHandlerClass.log_message = lambda *_: None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(EnvironmentProblem, match="is no head node of a Ray cluster"):
            check_address(f"127.0.0.1:{server.server_address[1]}")
    finally:
        server.shutdown()
        server.server_close()


def test_a_head_that_is_paused_is_given_up(monkeypatch):
    monkeypatch.setattr(ray_address, "_REACH_S", 0.2)
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        pytest.raises(EnvironmentProblem, match=r"within 0\.2 s"),
    ):
        check_address(f"127.0.0.1:{listener.getsockname()[1]}")


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1:1", "ray://127.0.0.1:10001"])
def test_a_study_ends_with_exit_code_3_before_ray_is_asked(toy_study, monkeypatch, capsys, address):
    path = toy_study()
    monkeypatch.chdir(path.parent)
    monkeypatch.setenv("RAY_ADDRESS", address)
    began = time.monotonic()
    assert main(["run", str(path)]) == 3
    assert time.monotonic() - began < 60  # Ray itself takes minutes
    assert address in capsys.readouterr().err

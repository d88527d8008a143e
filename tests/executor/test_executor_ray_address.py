"""Addresses of Ray clusters: what is no address, and what answers there but is no head node."""

import contextlib
import http.server
import os
import re
import socket
import subprocess
import sys
import time

import pytest

from autotune.cli import main
from autotune.errors import EnvironmentProblem
from autotune.executor import ray_address
from autotune.executor.proc import command_line
from autotune.executor.ray_address import check_address, find_address, split_address
from tests_shared import serving_in_a_thread, wait_until


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
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=240
    )
    assert "EnvironmentProblem: no Ray cluster answers at 127.0.0.1:1:" in done.stderr


def test_a_web_server_is_told_from_a_head_node():
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    server.RequestHandlerClass.log_message = lambda *_: None
    with (
        serving_in_a_thread(server),
        pytest.raises(EnvironmentProblem, match="is no head node of a Ray cluster"),
    ):
        check_address(f"127.0.0.1:{server.server_address[1]}")


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
    monkeypatch.setattr("ray.is_initialized", lambda: False)  # other tests may have a cluster in this process
    began = time.monotonic()
    assert main(["run", str(path)]) == 3
    assert time.monotonic() - began < 60  # Ray itself takes minutes
    assert address in capsys.readouterr().err


# -- auto ----------------------------------------------------------------------------------------------


@pytest.fixture
def raylets(monkeypatch):
    """Run processes that look like nodes of clusters; only they are seen."""
    with contextlib.ExitStack() as stack:
        running = []

        def run(*addresses, started=None, of_study=()):
            for address in addresses:
                marked = {"AUTOTUNE_RAY": "1:2"} if address in of_study else {}
                argv = [
                    "/opt/a b/raylet",
                    "-c",
                    "import time; time.sleep(60)",
                    f"--gcs-address={address}",
                    "--x",
                ]
                process = subprocess.Popen(argv, executable=sys.executable, env={**os.environ, **marked})
                stack.callback(process.wait)
                stack.callback(process.kill)
                running.append(process.pid)
            wait_until(lambda: all("raylet" in command_line(pid) for pid in running), 90)
            monkeypatch.setattr(ray_address, "pids", lambda: running)
            monkeypatch.setattr(ray_address, "started_address", lambda: started)

        yield run


A, B, C = "10.0.0.1:6379", "10.0.0.1:6400", "127.0.0.1:51234"


@pytest.mark.parametrize(
    ("here", "chosen", "how"),
    [
        ({"addresses": (A,)}, A, "the only one here"),
        ({"addresses": (A, B), "started": B}, B, "that `ray start` has made"),
        ({"addresses": (A, C), "of_study": (C,)}, A, "the only one here"),
        ({"addresses": (A, C), "of_study": (C,), "started": "10.0.0.9:6379"}, A, "the only one here"),
    ],
)
def test_auto_is_the_cluster_of_which_there_is_no_doubt_and_is_named(raylets, caplog, here, chosen, how):
    raylets(*here.pop("addresses"), **here)
    assert find_address() == chosen
    assert [r.getMessage() for r in caplog.records] == [
        f"RAY_ADDRESS is 'auto': joined the Ray cluster at {chosen}, {how}"
    ]


@pytest.mark.parametrize(
    ("here", "said"),
    [
        (
            {"addresses": (A, B)},
            f"2 Ray clusters run on this machine, and 'auto' does not say which: {A}, {B}",
        ),
        ({"addresses": ()}, "the Ray address is 'auto', and no Ray cluster runs on this machine"),
        ({"addresses": (C,), "of_study": (C,)}, "no Ray cluster runs .* but 1 that studies have started"),
        ({"addresses": (), "started": A}, "no Ray cluster runs on this machine"),  # its head has ended
    ],
)
def test_auto_that_means_none_or_several_joins_none(raylets, here, said, toy_study, monkeypatch, capsys):
    raylets(*here.pop("addresses"), **here)
    with pytest.raises(EnvironmentProblem, match=said) as caught:
        find_address()
    assert "RAY_ADDRESS" in caught.value.hint
    path = toy_study()
    monkeypatch.chdir(path.parent)
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    monkeypatch.setattr("ray.init", lambda **_: pytest.fail("Ray was asked"))
    monkeypatch.setattr("ray.is_initialized", lambda: False)  # other tests may have a cluster in this process
    assert main(["run", str(path)]) == 3
    assert re.search(said, capsys.readouterr().err)

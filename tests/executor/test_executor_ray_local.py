"""What surrounds the start of a Ray cluster: its token, this process's signal handlers, and being stuck."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from autotune.executor.ray_local import _keep_token_private, handlers_kept
from autotune.executor.ray_private import knows_tokens


@pytest.fixture
def token(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / ".ray" / "auth_token"


def test_a_new_token_is_its_users_whatever_the_umask(token):
    if not knows_tokens():
        pytest.skip("Ray 2.50 knows no tokens")
    before = os.umask(0)
    try:
        _keep_token_private()
    finally:
        os.umask(before)
    assert token.stat().st_mode & 0o777 == 0o600
    assert len(token.read_text()) == 64
    assert os.listdir(token.parent) == ["auth_token"]


def test_a_ray_that_knows_no_tokens_needs_none(token, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray._private.authentication", None)
    _keep_token_private()
    assert not token.exists()


def test_a_token_that_is_there_stays_and_becomes_private(token):
    token.parent.mkdir()
    token.write_text("a" * 64)
    token.chmod(0o644)
    _keep_token_private()
    assert (token.stat().st_mode & 0o777, token.read_text()) == (0o600, "a" * 64)


@pytest.mark.parametrize(("name", "value"), [("RAY_AUTH_MODE", "disabled"), ("RAY_AUTH_TOKEN", "b" * 64)])
def test_no_token_is_made_where_none_is_needed(token, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    _keep_token_private()
    assert not token.exists()


def test_ray_replaces_no_handler_while_and_after_it_connects():
    from ray._private import utils

    before = signal.signal(signal.SIGTERM, own := lambda *_: None)
    try:
        with handlers_kept():
            utils.set_sigterm_handler(lambda *_: None)
            assert signal.getsignal(signal.SIGTERM) is own
            signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as a part of Ray does that we know nothing of
        assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, before)
    assert utils.set_sigterm_handler.__module__ == utils.__name__


START = """
import ctypes, signal, time
from autotune.executor import ray_local

def handler(number, frame):
    raise KeyboardInterrupt

signal.signal(signal.SIGTERM, handler)
ray_local._UNWIND_S = 0.2
with ray_local.ended_by_signals():
"""

STUCK = f"""{START}
    libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
    libc.pthread_mutex_init(mutex, None)
    while True:
        try:
            print("stuck", flush=True)
            while True:  # the second time of itself: native code that no handler interrupts
                libc.pthread_mutex_lock(mutex)
        except KeyboardInterrupt:
            pass  # the signal came before the lock
"""


def test_a_start_that_is_stuck_in_native_code_is_ended_by_sigterm():
    with subprocess.Popen(
        [sys.executable, "-c", STUCK], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout.readline() == "stuck\n"
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 5
            assert "error: stopped" in process.stderr.read()
        finally:
            process.kill()


def test_a_start_that_is_interrupted_in_time_goes_on_unwinding():
    script = textwrap.dedent(START).replace("0.2", "60") + (
        "    try:\n        print('stuck', flush=True)\n        time.sleep(60)\n"
        "    except KeyboardInterrupt:\n        print('unwound', flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "stuck\n"
            process.send_signal(signal.SIGTERM)
            assert process.stdout.readline() == "unwound\n"
            assert process.wait(30) == 0
        finally:
            process.kill()

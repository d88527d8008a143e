"""Failpoints: once among all processes of a run, and a write torn in its middle."""

import os
import signal
import subprocess
import sys
import time

import pytest

from autotune.core.failpoint import FailpointError, failpoint
from tests_shared import wait_until

VISITS = """
from autotune.core.failpoint import failpoint
for i in range(3):
    print(i, failpoint('here'), flush=True)
"""

WRITE = """
import pathlib, sys
from autotune.core.failpoint import failpoint, tear
path = pathlib.Path(sys.argv[1])
before = path.stat().st_size
with path.open('ab') as file:
    file.write(b'new' * 10)
if failpoint('write'):
    tear(path, before)
print('told')
"""


def run(code, *args, failpoint, mark=None):
    env = {**os.environ, "AUTOTUNE_FAILPOINT": failpoint}
    if mark is not None:
        env["AUTOTUNE_FAILPOINT_MARK"] = str(mark)
    argv = [sys.executable, "-c", code, *map(str, args)]
    return subprocess.run(argv, env=env, capture_output=True, text=True, check=False)


def test_with_a_mark_it_happens_once_in_a_run_and_is_seen(tmp_path):
    mark = tmp_path / "mark"
    first = run(VISITS, failpoint="here:kill@2", mark=mark)
    assert (first.returncode, first.stdout) == (-signal.SIGKILL, "0 False\n")
    assert mark.exists()
    second = run(VISITS, failpoint="here:kill@2", mark=mark)
    assert (second.returncode, second.stdout) == (0, "0 False\n1 False\n2 False\n")


def test_raise_and_torn_tell_the_caller(monkeypatch):
    monkeypatch.setenv("AUTOTUNE_FAILPOINT", "of_this_test:raise")
    failpoint("of_another")
    with pytest.raises(FailpointError, match="failpoint of_this_test"):
        failpoint("of_this_test")
    assert failpoint("of_this_test") is False  # the first visit only
    monkeypatch.setenv("AUTOTUNE_FAILPOINT", "torn_by_this_test:torn")
    assert failpoint("torn_by_this_test") is True


def test_hang_stays_until_it_is_killed(tmp_path):
    mark = tmp_path / "mark"
    env = {**os.environ, "AUTOTUNE_FAILPOINT": "here:hang", "AUTOTUNE_FAILPOINT_MARK": str(mark)}
    with subprocess.Popen([sys.executable, "-c", VISITS], env=env, stdout=subprocess.PIPE) as process:
        wait_until(mark.exists, 90)
        time.sleep(0.1)
        assert process.poll() is None
        process.kill()
        assert process.stdout.read() == b""


def test_a_torn_write_ends_in_its_middle_and_nobody_is_told(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    done = run(WRITE, path, failpoint="write:torn")
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "")
    assert path.read_bytes() == b"old" + b"new" * 5

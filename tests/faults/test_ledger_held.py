"""A ledger that another process holds: a measurement waits for it, and is written elsewhere in the end."""

import contextlib
import itertools
import logging
import re
import subprocess
import sys
import threading

import pytest

from autotune.core.parameter import Int
from autotune.core.space import Space
from autotune.errors import LedgerError
from autotune.executor.function import FunctionExecutor
from autotune.ledger import Ledger, connection, file
from autotune.study.driver import Driver
from autotune.study.function_jobs import FunctionJobs
from autotune.study.scheduler import Settings
from autotune.study.study import Study
from autotune.study.tune import tune
from tests_shared import wait_until

pytestmark = pytest.mark.timeout(120)

SPACE = Space((Int("a", 1, 1000),))
HOLD = (
    "import sqlite3, sys; db = sqlite3.connect(sys.argv[1], isolation_level=None); db.execute(sys.argv[2])\n"
    "print('held', flush=True); sys.stdin.readline(); db.execute('ROLLBACK')\n"
)


@contextlib.contextmanager
def held(path, how):
    """Hold a ledger in another process, for the block or until it is told to let go."""
    argv = [sys.executable, "-c", HOLD, str(path), how]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        try:
            yield other
        finally:
            other.kill()


class LetGo(logging.Handler):
    """Lets go what holds the ledger once a person is told of it."""

    def __init__(self, other):
        super().__init__()
        self.other, self.said = other, []

    def emit(self, record):
        self.said.append(record.getMessage())
        self.other.stdin.write("\n")
        self.other.stdin.flush()


@pytest.fixture
def study(tmp_path):
    with Study(SPACE, {"maximize": "x"}, engine="random", name="mine", path=tmp_path / "l.sqlite") as found:
        for number in range(3):
            found.tell(found.ask(), {"x": float(number)})
        found.ledger._db.execute("PRAGMA busy_timeout = 50")
        yield found


def values(path, name="mine"):
    with Ledger.open(path, read_only=True) as ledger:
        return [trial.metrics["x"].value for trial in ledger.trials(name) if trial.metrics]


@pytest.mark.parametrize("how", ["BEGIN EXCLUSIVE", "BEGIN IMMEDIATE"])
def test_a_measurement_waits_for_who_holds_the_ledger(study, how, record):
    trial = study.ask()
    log = logging.getLogger("autotune.ledger")
    with held(study.path, how) as other:
        handler = LetGo(other)
        log.addHandler(handler)
        try:
            study.tell(trial, {"x": 3.0})
        finally:
            log.removeHandler(handler)
        assert len(handler.said) == 1
        assert re.match(rf"process {other.pid} \(python.*\) holds the ledger .*l.sqlite", handler.said[0])
    assert values(study.path) == [0.0, 1.0, 2.0, 3.0]
    record(f"another process's `{how}` on the ledger", "P1: a commit waits up to 60 s and names the process",
           "4 of 4 measurements there")  # fmt: skip


def test_a_measurement_is_written_elsewhere_where_the_ledger_is_held_for_too_long(
    study, tmp_path, monkeypatch, record
):
    monkeypatch.setattr(file, "HELD_S", 0.2)
    trial, path = study.ask(), study.path
    with Study(SPACE, {"maximize": "x"}, engine="random", name="theirs", path=path) as other_study:
        other_study.tell(other_study.ask(), {"x": 7.0})
    with held(path, "BEGIN EXCLUSIVE") as other, pytest.raises(LedgerError) as caught:
        study.tell(trial, {"x": 3.0})
    rescued = tmp_path / "l-rescued" / "l.sqlite"
    assert f"was held by process {other.pid} (python" in caught.value.message
    assert f"everything of it is in {rescued}" in caught.value.message
    assert f"in Python, `path={str(rescued)!r}` goes on with 'mine'" in caught.value.hint
    assert caught.value.exit_code == 3
    assert values(rescued) == [0.0, 1.0, 2.0, 3.0]
    assert values(rescued, "theirs") == [7.0], "what others have written meanwhile too"
    assert values(path) == [0.0, 1.0, 2.0], "what was held is as it was, and opens"
    record("another process's `BEGIN EXCLUSIVE` on the ledger for longer than 60 s",
           "P1: all of it is written to `ledger-rescued`, and the error names the process",
           "4 of 4 measurements there, 1 of 1 of another study")  # fmt: skip


class Calls(logging.Handler):
    """Three calls at once: the first holds the ledger and ends, the others end while its commit waits."""

    def __init__(self, path, stack, waits=lambda other: None):
        super().__init__()
        self.path, self.stack, self.waits = path, stack, waits
        self.begun, self.go_on, self.returned = threading.Barrier(3), threading.Event(), 0
        self.count = itertools.count()

    def __call__(self, config):
        number = next(self.count)
        if number > 2:
            raise AssertionError("no other call begins")
        if self.begun.wait(60) == 0:
            self.other = self.stack.enter_context(held(self.path, "BEGIN EXCLUSIVE"))
        else:
            self.go_on.wait(60)
        self.returned += 1
        return {"x": float(number)}

    def emit(self, record):
        if not self.go_on.is_set():
            self.go_on.set()
            wait_until(lambda: self.returned == 3, 60)
            self.waits(self.other)


@pytest.fixture
def calls(tmp_path, monkeypatch):
    monkeypatch.setattr(connection, "_BUSY_MS", 50)
    with contextlib.ExitStack() as stack:
        found = Calls(tmp_path / "l.sqlite", stack)
        log = logging.getLogger("autotune.ledger")
        log.addHandler(found)
        stack.callback(log.removeHandler, found)
        yield found


def test_what_ended_while_the_ledger_was_held_for_too_long_is_written_elsewhere_too(
    calls, tmp_path, monkeypatch, record
):
    monkeypatch.setattr(file, "HELD_S", 0.2)
    with pytest.raises(LedgerError, match="was held by") as caught:
        tune(
            SPACE, calls, {"maximize": "x"}, trials=9, parallel=3, engine="random", name="t", path=calls.path
        )
    rescued = tmp_path / "l-rescued" / "l.sqlite"
    assert sorted(values(rescued, "t")) == [0.0, 1.0, 2.0]
    with Ledger.open(rescued, read_only=True) as ledger:
        assert ledger.study("t").state == "INTERRUPTED"
    assert f"in Python, `path={str(rescued)!r}` goes on with 't'" in caught.value.hint
    again = tune(SPACE, lambda config: {"x": 0.0}, {"maximize": "x"}, trials=4, engine="random", name="t",
                 path=rescued)  # fmt: skip
    again.close()
    record("another process's `BEGIN EXCLUSIVE` on the ledger for longer than 60 s, 3 trials at once",
           "P1: what ended meanwhile is in `ledger-rescued` too", "3 of 3 measurements there")  # fmt: skip


def test_what_ended_while_the_ledger_was_held_is_entered_before_a_study_that_was_stopped_ends(calls):
    with Study(SPACE, {"maximize": "x"}, engine="random", name="mine", path=calls.path) as study:
        executor = FunctionExecutor(calls, {}, 3)
        driver = Driver(study, Settings(SPACE, study.objective, 9, parallel=3), FunctionJobs(), executor)

        def stop(other):
            driver.stop.set()
            other.stdin.write("\n")
            other.stdin.flush()

        calls.waits = stop
        executor.start()
        try:
            assert driver.run() == "interrupted"
        finally:
            executor.close()
        assert sorted(values(calls.path)) == [0.0, 1.0, 2.0]
        assert study.ledger.study("mine").state == "INTERRUPTED"


def test_who_only_writes_now_and_then_is_told_who_holds_it(study):
    with Ledger.open(study.path) as ledger, held(study.path, "BEGIN EXCLUSIVE") as other:
        ledger._db.execute("PRAGMA busy_timeout = 50")
        with pytest.raises(LedgerError, match="locked") as caught:
            ledger.set_study_state("mine", "RUNNING")
    assert f"process {other.pid} (python" in caught.value.hint
    assert "wait for it or end it, then run the same command again" in caught.value.hint

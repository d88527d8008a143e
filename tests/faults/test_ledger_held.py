"""A ledger that another process holds: a measurement waits for it, and is written elsewhere in the end."""

import contextlib
import logging
import re
import subprocess
import sys

import pytest

from autotune.core.parameter import Int
from autotune.core.space import Space
from autotune.errors import LedgerError
from autotune.ledger import Ledger, file
from autotune.study.study import Study

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
    assert "autotune resume mine --store" in caught.value.hint
    assert caught.value.exit_code == 3
    assert values(rescued) == [0.0, 1.0, 2.0, 3.0]
    assert values(rescued, "theirs") == [7.0], "what others have written meanwhile too"
    assert values(path) == [0.0, 1.0, 2.0], "what was held is as it was, and opens"
    record("another process's `BEGIN EXCLUSIVE` on the ledger for longer than 60 s",
           "P1: all of it is written to `ledger-rescued`, and the error names the process",
           "4 of 4 measurements there, 1 of 1 of another study")  # fmt: skip


def test_who_only_writes_now_and_then_is_told_who_holds_it(study):
    with Ledger.open(study.path) as ledger, held(study.path, "BEGIN EXCLUSIVE") as other:
        ledger._db.execute("PRAGMA busy_timeout = 50")
        with pytest.raises(LedgerError, match="locked") as caught:
            ledger.set_study_state("mine", "RUNNING")
    assert f"process {other.pid} (python" in caught.value.hint
    assert "wait for it or end it, then run the same command again" in caught.value.hint

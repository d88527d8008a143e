"""The ledger: the life of a trial, nothing lost or entered twice, damage noticed, several processes."""

import gc
import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys

import pytest

from autotune.core.commands import free_name
from autotune.core.measurement import Cause, Estimate, Failure, Measurement
from autotune.core.trial import Reason, Suggestion, TrialState
from autotune.errors import LedgerError, StudyError
from autotune.ledger import Ledger
from autotune.ledger.lock import study_is_held

SUGGESTION = Suggestion({"a": 1}, Reason.INITIAL, "gp/1", {"x": Estimate(1.0, 0.1)}, 0.9)
MEASURED = Measurement(metrics={"x": Estimate(2.0, 0.1, 5, "s")}, facts={"k": [1]}, started_ns=1, ended_ns=9)
LOST = Measurement(failure=Failure(Cause.NODE_LOST, "gone"))


def make(path, trials=0):
    ledger = Ledger.open(path)
    ledger.create_study("s", spec={"space": {}}, fingerprint="f", seed=3, engine="gp/1")
    for number in range(trials):
        ledger.add_trial("s", number, SUGGESTION)
        ledger.start_attempt("s", number, "local", "/scratch")
        ledger.finish_attempt("s", number, 1, MEASURED, state=TrialState.COMPLETED, node="n")
    return ledger


@pytest.fixture(params=["file", "memory"])
def ledger(request, tmp_path):
    with make(tmp_path / "l.sqlite" if request.param == "file" else ":memory:") as ledger:
        yield ledger


def test_the_life_of_a_trial(ledger):
    ledger.add_trial("s", 0, SUGGESTION)
    assert ledger.trial("s", 0).state is TrialState.WAITING
    assert ledger.start_attempt("s", 0, "ray", "/scratch") == 1
    assert ledger.trial("s", 0).state is TrialState.RUNNING
    assert ledger.finish_attempt("s", 0, 1, MEASURED, state=TrialState.COMPLETED, node="n1")
    trial = ledger.trial("s", 0)
    assert (trial.state, trial.attempts, trial.node) == (TrialState.COMPLETED, 1, "n1")
    assert trial.suggestion == SUGGESTION
    assert trial.measurement == MEASURED
    (attempt,) = ledger.attempts("s", 0)
    assert (attempt.state, attempt.executor, attempt.scratch) == ("DONE", "ray", "/scratch")


def test_a_result_enters_once(ledger):
    ledger.add_trial("s", 0, SUGGESTION)
    ledger.start_attempt("s", 0, "ray")
    assert ledger.finish_attempt("s", 0, 1, MEASURED, state=TrialState.COMPLETED)
    other = Measurement(metrics={"x": Estimate(99.0)})
    assert not ledger.finish_attempt("s", 0, 1, other, state=TrialState.COMPLETED)
    assert ledger.trial("s", 0).measurement == MEASURED
    with pytest.raises(StudyError, match="already COMPLETED"):
        ledger.start_attempt("s", 0, "ray")


def test_the_late_result_of_a_given_up_attempt_is_kept_and_not_told(ledger):
    ledger.add_trial("s", 0, SUGGESTION)
    ledger.start_attempt("s", 0, "ray")
    ledger.requeue("s", 0)
    assert ledger.start_attempt("s", 0, "ray") == 2
    assert not ledger.finish_attempt("s", 0, 1, MEASURED, state=TrialState.COMPLETED)
    assert ledger.trial("s", 0).state is TrialState.RUNNING
    second = Measurement(metrics={"x": Estimate(3.0)})
    assert ledger.finish_attempt("s", 0, 2, second, state=TrialState.COMPLETED)
    assert ledger.trial("s", 0).measurement == second
    assert [a.state for a in ledger.attempts("s", 0)] == ["LATE", "DONE"]
    assert ledger.attempts("s", 0)[0].measurement == MEASURED


def test_an_environment_fault_puts_the_trial_back(ledger):
    ledger.add_trial("s", 0, SUGGESTION)
    ledger.start_attempt("s", 0, "ray")
    ledger.finish_attempt("s", 0, 1, LOST, state=TrialState.WAITING)
    trial = ledger.trial("s", 0)
    assert (trial.state, trial.attempts, trial.measurement) == (TrialState.WAITING, 1, None)
    ledger.abandon("s", 0)
    assert ledger.trial("s", 0).state is TrialState.ABANDONED
    with pytest.raises(StudyError, match="already ABANDONED"):
        ledger.requeue("s", 0)


def test_numbers_names_notes_and_what_is_not_there(ledger):
    with pytest.raises(StudyError, match="the next number is 0"):
        ledger.add_trial("s", 5, SUGGESTION)
    with pytest.raises(StudyError, match="already has a study 's'"):
        ledger.create_study("s", spec={}, fingerprint="f", seed=0, engine="gp")
    with pytest.raises(StudyError, match="has no trial 7"):
        ledger.trial("s", 7)
    ledger.add_trial("s", 0, SUGGESTION)
    with pytest.raises(StudyError, match="no attempt 4"):
        ledger.finish_attempt("s", 0, 4, MEASURED, state=TrialState.COMPLETED)
    assert ledger.study("nobody") is None
    assert ledger.unused_name("s") == "s-2"
    assert ledger.unused_name("t") == "t"
    assert free_name("a" * 64, ["a" * 64]) == "a" * 62 + "-2"  # as long as a study file may have it
    assert free_name("a" * 64, ["a" * 64, *(f"{'a' * 62}-{n}" for n in range(2, 10))]) == "a" * 61 + "-10"
    ledger.set_study_note("s", "spent_s", 1.5)
    ledger.set_study_note("s", "other", [1])
    assert ledger.study_notes("s") == {"spent_s": 1.5, "other": [1]}
    ledger.set_study_state("s", "COMPLETED")
    assert ledger.study("s").state == "COMPLETED"


def test_what_is_written_together_is_one_commit_or_none(ledger):
    before = ledger.revision()
    with ledger.together():
        ledger.add_trial("s", 0, SUGGESTION)
        ledger.start_attempt("s", 0, "ray")
        with pytest.raises(StudyError, match="the next number is 1"):
            ledger.add_trial("s", 7, SUGGESTION)  # undoes itself, not what came before
    assert ledger.revision() == before + 1
    assert ledger.changed_since("s", before) == [0]
    seen = ledger.trials("s")

    def fails():
        with ledger.together():
            ledger.finish_attempt("s", 0, 1, MEASURED, state=TrialState.COMPLETED)
            ledger.add_trial("s", 1, SUGGESTION)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert ledger.trials("s") == seen
    assert ledger.revision() == before + 1
    if ledger.path is not None:
        with Ledger.open(ledger.path) as again:
            assert again.trials("s") == seen


def test_what_is_not_finite_never_gets_in(ledger):
    ledger.add_trial("s", 0, SUGGESTION)
    ledger.start_attempt("s", 0, "ray")
    with pytest.raises(ValueError, match=r"JSON compliant"):
        ledger.finish_attempt("s", 0, 1, Measurement(facts={"x": float("nan")}), state=TrialState.COMPLETED)
    assert ledger.trial("s", 0).state is TrialState.RUNNING


def test_mirrors_see_what_changed(ledger):
    for number in range(3):
        ledger.add_trial("s", number, SUGGESTION)
    seen = ledger.revision()
    assert ledger.changed_since("s", seen) == []
    ledger.start_attempt("s", 1, "ray")
    assert ledger.changed_since("s", seen) == [1]
    ledger.set_mirror_state("s", "mlflow/x", {"trial/1": "abc"})
    ledger.set_mirror_state("s", "mlflow/x", {"trial/1": "def", "study": "g"})
    assert ledger.mirror_state("s", "mlflow/x") == {"trial/1": "def", "study": "g"}
    assert ledger.mirror_state("s", "mlflow/y") == {}


def test_measured_trials_are_added_in_one_step(ledger):
    ledger.add_measured("s", 0, SUGGESTION, MEASURED, TrialState.COMPLETED)
    assert ledger.trial("s", 0).measurement == MEASURED
    assert ledger.trials("s") == [ledger.trial("s", 0)]


def test_everything_is_there_after_opening_again_and_readers_do_not_disturb(tmp_path):
    path = tmp_path / "l.sqlite"
    with make(path, 3) as writer:
        readers = [Ledger.open(path, read_only=True) for _ in range(5)]
        writer.add_trial("s", 3, SUGGESTION)
        for reader in readers:
            assert len(reader.trials("s")) == 4
            with pytest.raises(LedgerError):
                reader.add_trial("s", 4, SUGGESTION)
            reader.close()
        before = writer.trials("s")
    with Ledger.open(path) as again:
        assert again.trials("s") == before


@pytest.mark.parametrize("where", ["file", "memory"])
def test_a_ledger_that_nothing_refers_to_any_more_is_closed(tmp_path, where):
    ledger = make(tmp_path / "l.sqlite" if where == "file" else ":memory:", trials=1)
    ledger.itself = ledger  # as a study and what it tells of its trials refer to each other
    connection, head = ledger._db, ledger._head
    del ledger
    gc.collect()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")
    assert head is None or head._file == -1


@pytest.mark.parametrize(("place", "entered"), [("ledger.commit", False), ("ledger.committed", True)])
def test_killed_around_a_commit_it_is_there_wholly_or_not_at_all(tmp_path, place, entered):
    path = tmp_path / "l.sqlite"
    make(path, 1).close()
    code = (
        "import sys; from autotune.ledger import Ledger\n"
        "from autotune.core.trial import Suggestion, Reason\n"
        "Ledger.open(sys.argv[1]).add_trial('s', 1, Suggestion({'a': 2}, Reason.RANDOM))"
    )
    env = {**os.environ, "AUTOTUNE_FAILPOINT": f"{place}:kill"}
    done = subprocess.run([sys.executable, "-c", code, str(path)], env=env, check=False)
    assert done.returncode == -signal.SIGKILL
    with Ledger.open(path) as ledger:
        assert len(ledger.trials("s")) == 1 + entered


def test_other_files_and_other_schemas_are_refused(tmp_path):
    foreign = tmp_path / "foreign.sqlite"
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE t (x)")
    connection.close()
    with pytest.raises(LedgerError, match="of another program"):
        Ledger.open(foreign)
    text = tmp_path / "text.sqlite"
    text.write_text("hello, this is no database at all" * 100)
    with pytest.raises(LedgerError, match="not a database"):
        Ledger.open(text)
    newer = tmp_path / "newer.sqlite"
    make(newer).close()
    with sqlite3.connect(newer) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(LedgerError, match="schema 99 of a newer autotune"):
        Ledger.open(newer)
    empty = tmp_path / "empty.sqlite"
    empty.touch()
    with pytest.raises(LedgerError, match="is empty: no study was started"):
        Ledger.open(empty, read_only=True)
    make(empty, 1).close()  # whoever was to make its tables died: the next one does
    with pytest.raises(LedgerError, match="no ledger at"):
        Ledger.open(tmp_path / "nowhere.sqlite", create=False)


def test_flipped_bits_are_noticed_named_and_the_rest_can_be_salvaged(tmp_path):
    path = tmp_path / "l.sqlite"
    with make(path, 6) as ledger:
        good = {t.number: t for t in ledger.trials("s")}
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    raw = path.read_bytes()
    rng = random.Random(0)
    noticed = 0
    places = [i for i in range(len(raw)) if raw[i : i + 4] == b'"x":' or raw[i : i + 9] == b"COMPLETED"]
    for case in range(60):
        spoiled = bytearray(raw)
        # half of them anywhere, half of them inside what was measured
        at = rng.randrange(4096, len(raw)) if case % 2 else rng.choice(places) + rng.randrange(30)
        spoiled[at] ^= 1 << rng.randrange(8)
        copy = tmp_path / f"copy-{case}.sqlite"
        copy.write_bytes(spoiled)
        try:
            with Ledger.open(copy) as ledger:
                # nothing was said: then nothing that is used may differ
                assert {t.number: t for t in ledger.trials("s")} == good
        except LedgerError as error:
            noticed += 1
            if "damaged: " in str(error) and "malformed" not in str(error):
                with Ledger.open(copy, salvage=True) as ledger:
                    assert ledger.damaged
                    assert all(good[t.number] == t for t in ledger.trials("s"))
        finally:
            copy.unlink()
            for suffix in ("-wal", "-shm"):
                copy.with_name(copy.name + suffix).unlink(missing_ok=True)
    assert noticed >= 20
    shutil.copy(path, tmp_path / "end.sqlite")


def test_the_second_process_is_refused_and_the_first_is_named(tmp_path):
    path = tmp_path / "l.sqlite"
    make(path).close()
    code = (
        "import sys, time; from autotune.ledger import Ledger\n"
        "ledger = Ledger.open(sys.argv[1])\n"
        "with ledger.lock_study('s'):\n    print('held', flush=True)\n    time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with Ledger.open(path) as ledger:
            with pytest.raises(StudyError, match=str(holder.pid)), ledger.lock_study("s"):
                pass
            with ledger.lock_study("other"):
                pass
            holder.kill()
            holder.wait()
            with ledger.lock_study("s"):
                pass


def test_a_child_that_is_just_starting_does_not_keep_a_lock_that_was_given_up(tmp_path):
    """Between fork and exec it has all that its parent had open; long, on a busy machine."""
    path = tmp_path / "l.sqlite"
    make(path).close()
    code = (
        "import os, sys, time; from autotune.ledger import Ledger\n"
        "ledger = Ledger.open(sys.argv[1])\n"
        "with ledger.lock_study('s'):\n"
        "    child = os.fork()\n"
        "    if not child:\n        time.sleep(1)\n        os._exit(0)\n"
        "with ledger.lock_study('s'):\n    print('held again')\n"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("held again\n", "")


def test_a_lock_over_the_words_of_a_dead_holder_names_the_living_one(tmp_path):
    with Ledger.open(tmp_path / "ledger.db") as ledger:
        with ledger.lock_study("s"):
            pass
        lock = next(tmp_path.glob("*.lock"))
        lock.write_text(json.dumps({"pid": 2**22 + 1, "host": socket.gethostname(), "since": "then"}))
        assert not study_is_held(ledger.path, "s")
        with ledger.lock_study("s"):
            assert json.loads(lock.read_text())["pid"] == os.getpid()
            assert study_is_held(ledger.path, "s")

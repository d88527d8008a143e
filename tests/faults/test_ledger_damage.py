"""A damaged ledger: cut at every byte, bits flipped; noticed, named, never silently wrong, the rest saved."""

import random
import re
import shutil
import sqlite3

import pytest

from autotune.core.measurement import Cause, Estimate, Failure, Measurement
from autotune.core.trial import Reason, Suggestion, TrialState
from autotune.errors import LedgerError
from autotune.ledger import Ledger
from autotune.ledger.salvage import salvage

pytestmark = pytest.mark.timeout(1200)

PAGE = 4096
FRAME = 24 + PAGE  # of the write-ahead log
TRIALS = {"alpha": 40, "beta": 12}


def fill(path):
    with Ledger.open(path) as ledger:
        for name, trials in TRIALS.items():
            ledger.create_study(
                name, spec={"space": {}, "text": name * 50}, fingerprint="f", seed=3, engine="gp/1"
            )
            for number in range(trials):
                write(ledger, name, number)
            ledger.set_study_note(name, "spent_s", 12.5)
            ledger.set_mirror_state(name, "mlflow/0", {f"trial/{n}": f"{n:032x}" for n in range(trials)})


def write(ledger, name, number):
    predicted = {"x": Estimate(float(number), 0.1)}
    ledger.add_trial(name, number, Suggestion({"a": number}, Reason.EXPLOIT, "gp/1", predicted, 0.9))
    ledger.start_attempt(name, number, "local", "/scratch")
    if number % 7 == 3:
        measured = Measurement(failure=Failure(Cause.OUT_OF_MEMORY, "does not fit", "log " * 30))
        ledger.finish_attempt(name, number, 1, measured, state=TrialState.INFEASIBLE, node="n1")
    elif number % 7 != 5:  # the others are still running
        metrics = {f"m{k}": Estimate(number + k / 7, 0.1, 64, "s") for k in range(6)}
        measured = Measurement(metrics=metrics, facts={"argv": ["--x"] * 9}, started_ns=1, ended_ns=2)
        ledger.finish_attempt(name, number, 1, measured, state=TrialState.COMPLETED, node="n1")


def content(ledger):
    """Everything that anybody reads of a ledger."""
    return {
        row.name: (
            row,
            ledger.trials(row.name),
            [ledger.attempts(row.name, trial.number) for trial in ledger.trials(row.name)],
            ledger.mirror_state(row.name, "mlflow/0"),
        )
        for row in ledger.studies()
    }


class Case:
    """A good ledger's bytes, and copies of it that are spoiled."""

    def __init__(self, folder):
        self.path = folder / "good.sqlite"
        fill(self.path)
        with Ledger.open(self.path) as ledger:
            self.good = content(ledger)
        self.raw = self.path.read_bytes()
        self.folder = folder
        self.spoiled = folder / "spoiled.sqlite"

    def clear(self):
        for suffix in ("", "-wal", "-shm", "-journal", ".head"):
            self.spoiled.with_name(self.spoiled.name + suffix).unlink(missing_ok=True)

    def put(self, raw, log=None):
        self.clear()
        self.spoiled.write_bytes(raw)
        head = self.path.with_name(self.path.name + ".head")
        shutil.copy(head, self.spoiled.with_name(self.spoiled.name + ".head"))
        if log is not None:
            self.spoiled.with_name(self.spoiled.name + "-wal").write_bytes(log)

    def said(self, read_only=True):
        """Open the spoiled copy; what was said of it, empty when it gives everything as it was."""
        try:
            with Ledger.open(self.spoiled, read_only=read_only) as ledger:
                assert content(ledger) == self.good, "silently wrong"
        except LedgerError as error:
            return error.message
        return ""

    def save(self):
        """Salvage the spoiled copy; everything that comes out must be what was written."""
        target = self.folder / "saved" / "ledger.sqlite"
        shutil.rmtree(target.parent, ignore_errors=True)
        try:
            done = salvage(self.spoiled, target)
        except LedgerError as error:
            if "nothing in" not in error.message:
                raise
            return None, 0
        with Ledger.open(target) as ledger:
            for name, (_, before, _, _) in self.good.items():
                known = {trial.config["a"]: trial for trial in before}
                for trial in ledger.trials(name) if ledger.study(name) else ():
                    was = known[trial.config["a"]]
                    assert trial.suggestion == was.suggestion
                    if trial.state is TrialState.WAITING:  # its measurement is lost: it is measured again
                        assert trial.measurement is None
                    else:
                        assert (trial.state, trial.measurement) == (was.state, was.measurement)
            write(ledger, "new", 0) if ledger.study("new") else None
        kept = sum(done.kept.values()) + len(done.strays)
        return done, kept


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return Case(tmp_path_factory.mktemp("damage"))


def thinned(numbers, step):
    return [
        pytest.param(numbers, step, id=f"every-{step}"),
        pytest.param(numbers, 1, marks=pytest.mark.slow, id="all"),
    ]


@pytest.mark.parametrize(("count", "step"), thinned(2 * PAGE, 61))
def test_cut_at_every_byte_of_its_last_two_pages(case, record, count, step):
    assert len(case.raw) > 6 * PAGE
    cuts = range(1, count + 1, step)
    named = saved = least = 0
    for cut in cuts:
        case.put(case.raw[: len(case.raw) - cut])
        said = case.said()
        assert said, f"{cut} bytes cut off went unnoticed"
        named += "(study=" in said or "(name=" in said or "rows were written" in said
        if cut % 1000 < step:
            _, kept = case.save()
            assert kept > 0
            saved += 1
            least = kept if saved == 1 else min(least, kept)
    if step == 1:
        total = sum(TRIALS.values())
        figure = (
            f"{len(cuts)} of {len(cuts)} noticed; {saved} salvaged, at least {least} of {total} trials kept"
        )
        record("ledger file cut at each byte of its last two pages", "P7", figure)


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """A ledger whose last commits are in the write-ahead log only, as a kill leaves it."""
    case = Case(tmp_path_factory.mktemp("log"))
    log = case.path.with_name(case.path.name + "-wal")
    with Ledger.open(case.path) as ledger:
        ledger.add_trial("alpha", TRIALS["alpha"], Suggestion({"a": 40}, Reason.RANDOM))
        ledger.add_trial("alpha", TRIALS["alpha"] + 1, Suggestion({"a": 41}, Reason.RANDOM))
        case.good = content(ledger)
        case.log = log.read_bytes()
        case.raw = case.path.read_bytes()
    return case


@pytest.mark.parametrize(("count", "step"), thinned(2 * FRAME, 83))
def test_log_cut_at_every_byte_of_its_last_two_pages(logged, record, count, step):
    logged.put(logged.raw, logged.log)
    assert logged.said() == ""
    cuts = range(1, count + 1, step)
    for cut in cuts:
        logged.put(logged.raw, logged.log[: len(logged.log) - cut])
        assert re.search(r"its last [12] commits are missing", logged.said()), cut
    logged.put(logged.raw)  # the log was not copied with the file
    assert "its last 2 commits are missing" in logged.said()
    done, kept = logged.save()
    assert kept == sum(TRIALS.values())
    assert "commits are missing" in done.lost[0]
    if step == 1:
        record(
            "write-ahead log cut at each byte of its last two pages, or left behind",
            "P1 P7",
            f"{len(cuts) + 1} of {len(cuts) + 1} noticed, with the number of lost commits; all others kept",
        )


@pytest.mark.parametrize(("flips", "step"), [(80, 5), pytest.param(2000, 25, marks=pytest.mark.slow)])
def test_flipped_bits_anywhere_are_noticed_and_the_rest_is_saved(case, record, flips, step):
    rng = random.Random(2000)
    noticed = named = saved = nothing = 0
    shares = []
    for number in range(flips):
        spoiled = bytearray(case.raw)
        spoiled[rng.randrange(len(spoiled))] ^= 1 << rng.randrange(8)
        case.put(bytes(spoiled))
        said = case.said(read_only=bool(number % 3))
        if not said:
            _still_writable(case)
            continue
        noticed += 1
        named += "(study=" in said or "(name=" in said or "(one=" in said
        if number % step == 0:
            case.put(bytes(spoiled))
            done, kept = case.save()
            saved += done is not None
            nothing += done is None
            shares.append(kept)
    assert noticed > flips / 4  # the rest fell on bytes that hold nothing
    assert not nothing
    if flips == 2000:
        total = sum(TRIALS.values())
        figure = (
            f"0 silently wrong: {noticed} noticed ({named} with a row's name), {flips - noticed} on bytes "
            f"that hold nothing; {saved} salvaged, median {sorted(shares)[len(shares) // 2]} and at least "
            f"{min(shares)} of {total} trials kept"
        )
        record(f"{flips} single bits flipped anywhere in the ledger file", "P7", figure)


def _still_writable(case):
    """What went unnoticed must do no harm later either."""
    with Ledger.open(case.spoiled) as ledger:
        write(ledger, "beta", TRIALS["beta"])
        ledger.set_study_note("beta", "later", 1)
    with Ledger.open(case.spoiled) as ledger:
        now = content(ledger)
    assert now["alpha"] == case.good["alpha"]
    assert now["beta"][1][:-1] == case.good["beta"][1]


def test_rows_that_vanish_come_back_or_are_planted_are_noticed(case, record):
    beta_2 = "trial(study='beta', number=2)"
    attempt = "attempt(study='beta', trial=4, attempt=1) is missing"
    tampered = {
        "DELETE FROM attempt WHERE study = 'beta' AND trial = 4": attempt,
        "DELETE FROM trial WHERE study = 'alpha' AND number = 7": "trial(study='alpha', number=7) is missing",
        "DELETE FROM trial WHERE study = 'beta' AND number = 11": "trial(study='beta', number=11) is missing",
        "DELETE FROM mirrored WHERE item = 'trial/3'": "rows were written and",
        "DELETE FROM study WHERE name = 'beta'": "study(name='beta') is missing",
        "UPDATE trial SET state = 'WAITING' WHERE study = 'beta' AND number = 2": beta_2,
        "UPDATE counter SET revision = revision - 1": "counter(one=1)",
        "CREATE TABLE other (x)": "the definition of table other",
        "ALTER TABLE trial RENAME COLUMN attempts TO tries": "the definition of table trial",
    }
    for statement, expected in tampered.items():
        case.put(case.raw)
        connection = sqlite3.connect(case.spoiled)
        connection.execute(statement)
        connection.commit()
        connection.close()
        assert expected in case.said(), statement
    record(f"rows deleted, changed, planted by hand: {len(tampered)} ways", "P7", "each noticed and named")


def test_an_old_row_put_back_with_its_checksum_is_noticed(case, tmp_path):
    """Every row is then as it was once written; only all of them together tell."""
    path = tmp_path / "l.sqlite"
    shutil.copy(case.path, path)
    with Ledger.open(path) as ledger:
        old = dict(ledger._db.execute("SELECT * FROM study WHERE name = 'alpha'").fetchone())
        ledger.set_study_note("alpha", "spent_s", 99.0)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE study SET notes = ?, revision = ?, checksum = ? WHERE name = 'alpha'",
                       (old["notes"], old["revision"], old["checksum"]))  # fmt: skip
    connection.commit()
    connection.close()
    with pytest.raises(LedgerError, match="rows are of another time than the rest"):
        Ledger.open(path)


@pytest.mark.slow
def test_salvage_from_the_command_line_and_the_study_goes_on(tmp_path, toy_study, autotune_command, record):
    toy_study(budget="{trials: 3, confirm: 0}")
    autotune_command("run", "toy.yaml", "--local")
    path = tmp_path / "autotune-runs" / "ledger.sqlite"
    with Ledger.open(path) as ledger:
        before = ledger.trials("toy")
    connection = sqlite3.connect(path)
    connection.execute("UPDATE attempt SET measurement = replace(measurement, '1', '2') WHERE trial = 1")
    connection.commit()
    connection.close()
    refused = autotune_command("status", "toy", check=False)
    assert refused.returncode == 3
    assert "attempt(study='toy', trial=1, attempt=1)" in refused.stderr
    assert "autotune salvage" in refused.stderr
    said = autotune_command("salvage", "--to", "saved").stdout
    assert "lost: attempt(study='toy', trial=1, attempt=1)" in said
    assert "kept: 3 trials of study toy" in said
    assert "measured again: 1" in said
    autotune_command("resume", "toy", "--local", "--store", "saved")
    with Ledger.open(tmp_path / "saved" / "ledger.sqlite") as ledger:
        after = ledger.trials("toy")
    assert [t.state for t in after] == [TrialState.COMPLETED] * 3
    assert [t.suggestion for t in after] == [t.suggestion for t in before]
    assert [after[n].measurement for n in (0, 2)] == [before[n].measurement for n in (0, 2)]
    again = autotune_command("salvage", "--to", "saved", check=False)
    assert "is there already" in again.stderr
    record(
        "a measurement altered in the file",
        "P7",
        "named at open; salvaged: 1 trial measured again, study goes on",
    )

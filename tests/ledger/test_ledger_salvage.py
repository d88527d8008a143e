"""Salvage: good rows in a new ledger that opens; what is lost is named and what moved is said."""

import json
import sqlite3

import pytest

from autotune.cli.app import main
from autotune.core.measurement import Estimate, Measurement
from autotune.core.trial import Reason, Suggestion, TrialState
from autotune.errors import LedgerError
from autotune.ledger import Ledger
from autotune.ledger.salvage import salvage


@pytest.fixture
def store(tmp_path):
    """A store with a study of five measured trials and one that runs."""
    folder = tmp_path / "store"
    folder.mkdir()
    with Ledger.open(folder / "ledger.sqlite") as ledger:
        ledger.create_study("s", spec={"space": {}}, fingerprint="f", seed=3, engine="gp/1")
        for number in range(6):
            ledger.add_trial("s", number, Suggestion({"a": number}, Reason.RANDOM))
            ledger.start_attempt("s", number, "local")
            if number < 5:
                measured = Measurement(metrics={"x": Estimate(float(number))})
                ledger.finish_attempt("s", number, 1, measured, state=TrialState.COMPLETED)
        ledger.set_mirror_state("s", "mlflow/x", {"trial/1": "abc"})
    return folder


def spoil(store, statement):
    connection = sqlite3.connect(store / "ledger.sqlite")
    connection.execute(statement)
    connection.commit()
    connection.close()


def saved(store, tmp_path):
    done = salvage(store / "ledger.sqlite", tmp_path / "new" / "ledger.sqlite")
    with Ledger.open(tmp_path / "new" / "ledger.sqlite") as ledger:
        return done, ledger.trials("s"), ledger.study("s"), ledger.mirror_state("s", "mlflow/x")


def test_of_a_good_ledger_everything_is_kept(store, tmp_path):
    with Ledger.open(store / "ledger.sqlite") as ledger:
        trials, row = ledger.trials("s"), ledger.study("s")
    done, kept, study, mirrored = saved(store, tmp_path)
    assert (kept, study.uid, mirrored) == (trials, row.uid, {"trial/1": "abc"})
    assert (done.lost, done.again, done.moved, done.strays) == ((), {}, {}, ())


def test_a_lost_measurement_puts_its_trial_back(store, tmp_path):
    spoil(store, "UPDATE attempt SET measurement = '{}' WHERE trial = 2")
    done, trials, study, mirrored = saved(store, tmp_path)
    assert done.lost == (
        "attempt(study='s', trial=2, attempt=1)",
        "attempt(study='s', trial=2, attempt=1) is missing",
    )
    assert done.again == {"s": [2]}
    assert [t.state.value for t in trials] == ["COMPLETED"] * 2 + ["WAITING"] + ["COMPLETED"] * 2 + [
        "RUNNING"
    ]
    assert trials[2].attempts == 0
    assert mirrored == {"trial/1": "abc"}
    assert study.notes["salvaged"]["lost"] == list(done.lost)


def test_a_lost_trial_moves_the_later_ones_and_makes_another_study_for_mirrors(store, tmp_path):
    with Ledger.open(store / "ledger.sqlite") as ledger:
        uid = ledger.study("s").uid
    spoil(store, "UPDATE trial SET suggestion = '{}' WHERE number = 1")
    done, trials, study, mirrored = saved(store, tmp_path)
    assert [t.config["a"] for t in trials] == [0, 2, 3, 4, 5]
    assert [t.number for t in trials] == [0, 1, 2, 3, 4]
    assert done.moved == {"s": {2: 1, 3: 2, 4: 3, 5: 4}}
    assert study.uid != uid
    assert mirrored == {}
    assert [t.metrics["x"].value for t in trials[:4]] == [0.0, 2.0, 3.0, 4.0]


def test_trials_of_a_study_whose_own_row_is_lost_are_given_as_data(store, tmp_path, capsys):
    spoil(store, "UPDATE study SET spec = '{}'")
    assert main(["salvage", "--store", str(store), "--to", str(tmp_path / "new"), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["kept"] == {}
    assert [row["suggestion"]["config"]["a"] for row in data["strays"]] == [0, 1, 2, 3, 4, 5]
    assert data["strays"][3]["measurement"]["metrics"]["x"]["value"] == 3.0
    assert data["strays"][5]["measurement"] is None


def test_the_command_says_what_is_lost_what_is_kept_and_how_to_go_on(store, tmp_path, capsys):
    spoil(store, "UPDATE trial SET suggestion = '{}' WHERE number = 1")
    assert main(["status", "--store", str(store)]) == 3
    assert "autotune salvage" in capsys.readouterr().err
    new = tmp_path / "new"
    assert main(["salvage", "--store", str(store), "--to", str(new)]) == 0
    said = capsys.readouterr().out
    assert "lost: trial(study='s', number=1)\n" in said
    assert "kept: 5 trials of study s\n" in said
    assert "new numbers: 2 is 1, 3 is 2, 4 is 3, 5 is 4\n" in said
    assert f"`autotune resume s --store {new}` goes on" in said
    assert main(["salvage", "--store", str(store), "--to", str(new)]) == 3
    assert "is there already" in capsys.readouterr().err


def test_what_is_no_ledger_is_refused(tmp_path):
    with pytest.raises(LedgerError, match="no ledger at"):
        salvage(tmp_path / "none.sqlite", tmp_path / "new.sqlite")
    (tmp_path / "text.sqlite").write_text("no database" * 2000)
    with pytest.raises(LedgerError, match=r"nothing in .* can be read"):
        salvage(tmp_path / "text.sqlite", tmp_path / "new.sqlite")
    assert not (tmp_path / "new.sqlite").exists()

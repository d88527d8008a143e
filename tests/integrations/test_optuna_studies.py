"""A study of ours opens in Optuna, and one of Optuna's becomes ours and goes on."""

import json
import sqlite3
from contextlib import closing

import optuna
import pytest
from optuna.trial import TrialState

import autotune
from autotune.cli import main
from autotune.core.parameter import Bool, Float, Int, Ordinal
from autotune.core.space import Space
from autotune.errors import SpecError
from autotune.ledger import Ledger
from autotune.study.exporting import add_trials, export_trials
from autotune.study.study import find_study

SPACE = Space(
    [Int("batch", 1, 64, powers_of=2, scale="log2", default=4), Ordinal("bits", (4, 8, 16), default=8),
     Bool("draft"), Int("length", 1, 8, when="draft == true"), Float("share", 0.5, 0.95)],
)  # fmt: skip
OBJECTIVE = {"maximize": "throughput", "minimize": "cost_of_mine", "limits": ["ttft.p99 <= 500 ms"]}


@pytest.fixture
def ours(tmp_path):
    """A study with trials of every state."""
    with autotune.Study(SPACE, OBJECTIVE, name="mine", path=tmp_path / "store" / "ledger.sqlite") as study:
        whole = {"bits": 4, "draft": True, "length": 3, "share": 0.7}
        estimate = autotune.Estimate(90.0, 1.5, 8)
        study.add({"batch": 8, **whole}, {"throughput": estimate, "cost_of_mine": 2.0, "ttft.p99": 0.25})
        study.add({"batch": 64, **whole}, {"throughput": 200.0, "cost_of_mine": 3.0, "ttft.p99": 1.0})
        study.add({"batch": 32, "bits": 16, "draft": False, "share": 0.9}, failure="out_of_memory")
        study.ask()
    return tmp_path / "store"


@pytest.fixture
def storage_of(rdb_storage):
    """Open the storage of Optuna's in a file."""

    def opened(path):
        if path.suffix == ".db":
            return rdb_storage(f"sqlite:///{path}")
        journal = optuna.storages.journal.JournalFileBackend(str(path))
        return optuna.storages.JournalStorage(journal)

    return opened


@pytest.mark.parametrize("file", ["mine.db", "mine.log"])
def test_an_export_opens_in_optuna(ours, tmp_path, file, storage_of, capsys):
    path = tmp_path / file
    assert main(["export", "mine", "--as", "optuna", "-o", str(path), "--store", str(ours)]) == 0
    found = optuna.load_study(study_name="mine", storage=storage_of(path))
    assert [d.name for d in found.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert found.metric_names == ["throughput", "cost_of_mine"]
    first, second, failed, waiting = found.trials
    states = [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.FAIL, TrialState.WAITING]
    assert [t.state for t in found.trials] == states
    assert (first.values, second.values, failed.values) == ([90.0, 2.0], [200.0, 3.0], None)
    assert first.params == {"batch": 8, "bits": 4, "draft": True, "length": 3, "share": 0.7}
    assert "length" not in failed.params
    assert first.distributions["bits"].choices == (4, 8, 16)
    assert first.distributions["share"] == optuna.distributions.FloatDistribution(0.5, 0.95)
    named = "constraints:ttft.p99 <= 500 ms"  # of Optuna 5; before, constraints have no names
    violated = [t.system_attrs[named] if named in t.system_attrs else t.system_attrs["constraints"][0]
                for t in (first, second)]  # fmt: skip
    assert violated == pytest.approx([-0.693, 0.693], abs=1e-3)  # the logarithm of the share of the bound
    assert first.user_attrs["throughput sem"] == 1.5
    assert (first.user_attrs["ttft.p99"], first.user_attrs["ttft.p99 unit"]) == (0.25, "s")
    assert failed.user_attrs["failure"] == "out_of_memory"
    assert waiting.system_attrs["fixed_params"].keys() >= {"batch", "bits", "draft", "share"}
    assert [t.number for t in found.best_trials] == [0]  # the other one breaks its constraint
    assert found.user_attrs["objective"] == autotune.Objective.from_dict(OBJECTIVE).to_dict()
    if path.suffix == ".log":  # without -o it is the journal
        capsys.readouterr()
        assert main(["export", "mine", "--as", "optuna", "--store", str(ours)]) == 0
        assert capsys.readouterr().out.splitlines()[0].startswith('{"op_code"')


def _with_another_study(storage):
    study = optuna.create_study(study_name="other", storage=storage)
    study.add_trial(optuna.trial.create_trial(value=7.0))
    return study


@pytest.mark.parametrize("file", ["there.db", "there.log"])
def test_an_export_adds_a_study_to_a_storage_that_is_there(ours, tmp_path, file, storage_of, capsys):
    path = tmp_path / file
    _with_another_study(storage_of(path))
    command = ["export", "mine", "--as", "optuna", "-o", str(path), "--store", str(ours)]
    assert main(command) == 0
    assert sorted(optuna.get_all_study_names(storage_of(path))) == ["mine", "other"]
    assert optuna.load_study(study_name="other", storage=storage_of(path)).best_value == 7.0
    mine = optuna.load_study(study_name="mine", storage=storage_of(path))
    assert [t.values for t in mine.trials] == [[90.0, 2.0], [200.0, 3.0], None, None]
    assert [t.number for t in mine.best_trials] == [0]
    before = path.read_bytes()
    assert main(command) == 2  # a study of that name is not replaced
    assert "has a study 'mine' already" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["store", file]


@pytest.mark.parametrize("file", ["there.db", "there.log"])
def test_an_export_that_ends_midway_leaves_a_storage_as_it_was(ours, tmp_path, file, storage_of, monkeypatch):
    path = tmp_path / file
    _with_another_study(storage_of(path))

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(optuna.Study, "add_trials", killed)
        with Ledger.open(ours / "ledger.sqlite", read_only=True) as ledger, pytest.raises(KeyboardInterrupt):
            add_trials(ledger, find_study(ledger, "mine"), path)
    assert optuna.get_all_study_names(storage_of(path)) == ["other"]
    assert optuna.load_study(study_name="other", storage=storage_of(path)).best_value == 7.0


@pytest.mark.parametrize("file", ["there.db", "there.log"])
@pytest.mark.parametrize("kind", ["text", "sqlite", "json", "broken"])
def test_an_export_refuses_a_file_that_is_no_storage(ours, tmp_path, file, kind, capsys):
    path = tmp_path / file
    if kind == "sqlite":
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE mine (x)")
    else:
        content = {"text": b"notes\n", "json": b'{"a": 1}\n', "broken": b"SQLite format 3\0 not at all"}
        path.write_bytes(content[kind])
    before = path.read_bytes()
    assert main(["export", "mine", "--as", "optuna", "-o", str(path), "--store", str(ours)]) == 2
    assert str(path) in capsys.readouterr().err
    assert path.read_bytes() == before


def test_an_export_of_all_trials_takes_no_choice_of_one(ours):
    with Ledger.open(ours / "ledger.sqlite", read_only=True) as ledger:
        row = find_study(ledger, "mine")
        for choice in ({"trial": 0}, {"under": ["ttft.p99 <= 1 s"]}, {"image": "x"}):
            with pytest.raises(SpecError, match="optuna holds all trials of a study"):
                export_trials(ledger, row, **choice)


@pytest.fixture
def theirs(tmp_path, rdb_storage):
    """An Optuna study with a branch, and trials of every kind."""

    def objective(trial):
        x = trial.suggest_int("n threads", 1, 16)
        kind = trial.suggest_categorical("kind", ["plain", "draft", None])
        length = trial.suggest_int("length", 1, 8) if kind == "draft" else 0
        if x == 13:
            trial.set_user_attr("failure", "out_of_memory")
            raise MemoryError
        if x == 12:
            raise optuna.TrialPruned
        return x + length

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.NSGAIISampler(seed=0)
    url = f"sqlite:///{tmp_path}/optuna.db"
    study = optuna.create_study(
        storage=rdb_storage(url), study_name="chat", direction="maximize", sampler=sampler
    )
    for x, kind in ((4, "plain"), (8, "draft"), (15, "draft"), (2, None), (13, "plain"), (12, "plain")):
        study.enqueue_trial({"n threads": x, "kind": kind, **({"length": 2} if kind == "draft" else {})})
    study.optimize(objective, n_trials=6, catch=(MemoryError,))
    optuna.logging.set_verbosity(before)
    return url


def test_an_optuna_study_becomes_ours_and_goes_on(theirs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["convert", theirs, "-o", "chat.yaml"]) == 0
    text = (tmp_path / "chat.yaml").read_text()
    assert "when: kind != 'none' and kind != 'plain'" in text
    (tmp_path / "serve.py").write_text(
        "def serve(config):\n    return {'value': float(config['n_threads'] + config.get('length', 0))}\n"
    )
    text += "system: {use: function, call: 'serve.py:serve'}\n"
    text += "budget: {trials: 8, confirm: 0}\nengine: {use: optuna:tpe, seed: 1}\n"
    (tmp_path / "chat.yaml").write_text(text)
    capsys.readouterr()
    assert main(["import", theirs, "chat.yaml", "--store", "store"]) == 0
    said = capsys.readouterr().out
    assert "4 measured trials and 1 failed taken over" in said
    assert "left out: trial 5: pruned: nothing was measured to its end" in said
    assert main(["import", theirs, "chat.yaml", "--store", "store", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert (again["measured"], again["failed"], again["known"]) == (0, 0, 5)
    study = autotune.Study.open("store")
    assert study.trials[1].config == {"n_threads": 8, "kind": "draft", "length": 2}
    assert study.trials[1].metrics["value"].value == 10.0
    assert study.trials[3].config == {"n_threads": 2, "kind": "none"}
    assert study.trials[4].failure.cause.value == "out_of_memory"
    study.close()
    assert main(["run", "chat.yaml", "--store", "store", "--local", "-q", "--no-mlflow"]) == 0
    with autotune.Study.open("store") as study:
        assert len(study.trials) == 8
        assert len({t.key for t in study.trials}) == 8  # nothing that Optuna tried is tried again
        assert all(t.metrics for t in study.trials[5:])


def test_constraints_become_limits(tmp_path, rdb_storage, capsys):
    study = optuna.create_study(storage=rdb_storage(f"sqlite:///{tmp_path}/o.db"), study_name="c")
    x_range = {"x": optuna.distributions.IntDistribution(1, 9)}
    for x, told in ((1, {"constraints:memory in GB": -1.5}), (3, {"constraints": [0.5]})):
        trial = optuna.trial.create_trial(
            params={"x": x}, distributions=x_range, value=float(x), system_attrs=told
        )
        study.add_trial(trial)
    assert main(["convert", f"{tmp_path}/o.db"]) == 0
    out = capsys.readouterr().out
    assert "memory_in_GB <= 0" in out
    assert "constraint_0 <= 0" in out

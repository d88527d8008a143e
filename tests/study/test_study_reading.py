"""A study of a ledger as a view."""

import os
import subprocess
import sys

import pytest

import autotune
from autotune.errors import LedgerError
from autotune.ledger import Ledger
from autotune.study.reading import file_note
from autotune.study.study_file import read_study
from autotune.tracking.mlflow_items import abandoned


def test_a_study_in_memory_and_its_ledger_have_the_same_view(tmp_path):
    space = autotune.Space([autotune.Int("x", 0, 3)])
    with autotune.Study(space, {"maximize": "y"}, engine="random", path=tmp_path / "l.sqlite") as study:
        for _ in range(3):
            trial = study.ask()
            study.tell(trial, {"y": float(trial.config["x"])})
        view = study.view
        with autotune.Study.open(tmp_path / "l.sqlite") as again:
            assert again.view.trials == view.trials
            assert again.view.name == view.name
    assert [t.number for t in view.trials] == [0, 1, 2]
    assert view.best is not None
    assert view.best.trial.config == max((t.config for t in view.trials), key=lambda c: c["x"])


def test_a_table_of_the_trials_fits_no_model():
    code = (
        "import sys, autotune\n"
        "study = autotune.Study(autotune.Space([autotune.Int('x', 0, 50)]), {'maximize': 'y'}, engine='gp')\n"
        "for i in range(10):\n"
        "    study.add({'x': 5 * i}, {'y': float(i)})\n"
        "print(len(study.to_frame()), 'torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["10", "False"]


@pytest.mark.timeout(60)
def test_a_study_file_whose_path_is_a_fifo_by_now_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "u.yaml")
    (tmp_path / "large.yaml").write_bytes(b" " * (1 << 20))
    for name in ("u.yaml", "large.yaml", "absent.yaml"):
        assert file_note(tmp_path / name) == {}
    (tmp_path / "small.yaml").write_text("name: u")
    assert set(file_note(tmp_path / "small.yaml")) == {"path", "digest"}


WRONG = [
    ("engine", "gp"),
    ("engine", []),
    ("engine", None),
    ("engine.use", {"use": 3}),
    ("engine.seed", {"use": "random", "seed": "x"}),
    ("engine.seed", {"use": "random", "seed": None}),
    ("engine.seed", {"use": "random", "seed": 1.5}),
    ("engine.seed", {"use": "random", "seed": True}),
    ("budget", 3),
    ("budget", "ten"),
    ("budget.trials", {"trials": [3]}),
    ("budget.trials", {"trials": 0}),
    ("budget.confirm", {"confirm": -1}),
    ("objective", None),
    ("objective", []),
    ("objective.maximize", {"maximize": 3}),
    ("space", None),
    ("space", []),
    ("space", {"parameters": 3}),
    ("space.parameters.x", {"parameters": {"x": 3}}),
    ("system", 3),
    ("system", "vllm"),
    ("workload", [1]),
    ("resources", "all"),
    ("deadlines", 3),
    ("tracking", 3),
    ("quality", 3),
]


@pytest.fixture(scope="module")
def two_studies(tmp_path_factory):
    """A ledger with a study whose spec can be replaced, and another one."""
    file = tmp_path_factory.mktemp("wrong") / "ledger.sqlite"
    for name in ("wrong", "other"):
        space = autotune.Space([autotune.Int("x", 1, 8)])
        with autotune.Study(space, {"maximize": "y"}, engine="random", path=file, name=name) as study:
            study.add({"x": 3}, {"y": 3.0})
    return file


@pytest.fixture
def stored(two_studies):
    """Give the stored study another value in one part of its spec."""
    with Ledger.open(two_studies) as ledger:
        spec = ledger.study("wrong").spec

    def put(found):
        with Ledger.open(two_studies) as ledger, ledger.lock_study("wrong"):
            ledger.set_study_spec("wrong", found if isinstance(found, list) else {**spec, **found})

    yield put
    put({})


@pytest.mark.parametrize(("part", "value"), WRONG)
def test_a_study_that_is_stored_wrongly_is_refused_with_ledger_study_and_part(
    two_studies, stored, part, value
):
    stored({part.partition(".")[0]: value})
    with pytest.raises(LedgerError) as caught:
        autotune.Study.open(two_studies, "wrong")
    assert f"{two_studies}: the study 'wrong' is stored with a wrong {part}: " in str(caught.value)
    with pytest.raises(LedgerError, match="'wrong' is stored with a wrong "):
        autotune.Study(
            autotune.Space([autotune.Int("x", 1, 8)]), {"maximize": "y"}, path=two_studies, name="wrong"
        )
    with autotune.Study.open(two_studies, "other") as other:
        assert len(other.trials) == 1


@pytest.mark.parametrize("value", [{"engine": "gp"}, {"budget": 3}, {"system": 3}, {"space": []}, []])
def test_commands_refuse_a_study_that_is_stored_wrongly_and_tell_the_others(
    two_studies, stored, autotune_here, value
):
    stored(value)
    at = ("--store", two_studies.parent)
    for words in (
        ("status", "wrong"), ("status", "wrong", "--follow"), ("best", "wrong"), ("report", "wrong"),
        ("export", "wrong", "--as", "args"), ("compare", "wrong", "other"), ("resume", "wrong", "--local"),
        ("verify", "wrong", "--local"), ("sync", "wrong"),
    ):  # fmt: skip
        done = autotune_here(*words, *at, check=False)
        assert done.returncode == 3, (words, done.stderr)
        assert done.stderr.startswith("error: ")
        assert f"{two_studies}: the study 'wrong' is stored with a wrong " in done.stderr
    listed = autotune_here("list", "studies", *at).stdout
    assert "wrong  created, 1 trial" in listed
    assert "other  created, 1 trial" in listed
    assert "0*  ok" in autotune_here("status", "other", *at).stdout
    assert autotune_here("status", *at).stdout == listed


@pytest.mark.parametrize("system", [3, "vllm", [1]])
def test_a_study_beside_one_whose_system_is_stored_wrongly_has_another_system(toy_study, system):
    assert read_study(toy_study()).differs_from({"system": system}, ("system",)) == "system"


def test_a_study_whose_tracking_is_stored_wrongly_was_mirrored_nowhere(two_studies, stored):
    stored({"tracking": 3})
    with Ledger.open(two_studies) as ledger, ledger.lock_study("wrong"):
        ledger.set_study_state("wrong", "RUNNING")
        assert abandoned(ledger, "other", "sqlite:///mlflow.db") == []
        ledger.set_study_state("wrong", "CREATED")

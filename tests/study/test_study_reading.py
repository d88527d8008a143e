"""A study of a ledger as a view."""

import os
import subprocess
import sys

import pytest

import autotune
from autotune.study.reading import file_note


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

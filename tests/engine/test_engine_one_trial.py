"""One ask commits one trial, however little of a space random points find."""

from pathlib import Path

import numpy as np
import pytest

import autotune
from autotune.core.objective import Objective
from autotune.core.space import Space
from autotune.engine.design import next_of_design
from autotune.engine.registry import build_engine
from autotune.engine.untried import random_untried
from autotune.ledger import Ledger
from autotune.study.study_file import read_study

ORDER = Path(__file__).parents[1] / "spec" / "files" / "order7.yaml"


def chain(n=6, high=400):
    """Return whole numbers in ascending order: one in n! of all combinations."""
    return Space.from_dict({
        "parameters": {f"x{i}": {"type": "int", "low": 1, "high": high} for i in range(n)},
        "constraints": [f"x{i} < x{i + 1}" for i in range(n - 1)],
    })  # fmt: skip


@pytest.mark.parametrize("engine", ["gp", "sobol", "random"])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_an_engine_gives_as_many_as_it_was_asked_for(engine, n):
    found = build_engine(engine).ask(chain(), Objective.from_dict({"minimize": "y"}), [], [], n, 0)
    assert len(found) == n
    assert len({suggestion.key for suggestion in found}) == n


def test_nothing_is_drawn_where_nothing_is_wanted():
    assert random_untried(chain(), set(), 0, np.random.default_rng(0)) == []
    assert next_of_design(chain(), set(), 0, 0, "x") == []


def test_a_study_takes_one_of_an_engine_that_gives_more():
    study = autotune.Study(chain(3, 20), {"minimize": "y"}, engine="random")
    ask = study.engine.ask
    study.engine.ask = lambda *args: ask(*args[:4], 50, args[5])
    study.ask()
    assert len(study.trials) == 1
    assert len(study.ask(4)) == 4
    assert len(study.trials) == 5


@pytest.mark.slow
def test_a_budget_of_three_is_three_trials_of_a_long_chain(tmp_path, autotune_command):
    file = tmp_path / "order7.yaml"
    file.write_text(ORDER.read_text())
    (tmp_path / "g.py").write_text("def f(config):\n    return {'y': float(sum(config.values()))}\n")
    assert read_study(file).budget.trials == 3
    autotune_command("run", "order7.yaml", "--local", "--no-mlflow", "-q")
    with Ledger.open(tmp_path / "autotune-runs" / "ledger.sqlite", read_only=True) as ledger:
        assert len(ledger.trials("order7")) == 3

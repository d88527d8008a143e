"""Memory of a long study: what an ask computes goes with it."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch

from autotune.core.objective import Objective
from autotune.core.parameter import Float
from autotune.core.space import Space
from autotune.engine.gp.choices import JOINT
from autotune.engine.gp.model.fit import fit_hyper
from autotune.engine.gp.model.kernels import squared_distances
from autotune.study.study import Study

_TRIALS = 60

_LONG_STUDY = """
import json, sys
from random import Random

import autotune
from autotune.engine.random import RandomEngine


def rss():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def tell(study, trial):
    chance = Random(repr(sorted(trial.config.items())))
    if chance.random() < 0.2:
        study.tell(trial, failure="out_of_memory")
    else:
        study.tell(trial, {"output_throughput": 100 + chance.random(), "ttft.p99": chance.random()})


objective = autotune.Objective.from_dict({"maximize": "output_throughput", "limits": ["ttft.p99 <= 500 ms"]})
study = autotune.Study(autotune.load_space("vllm"), objective, engine="gp", seed=0)
wanted = study.engine
for _ in range(12):
    tell(study, study.ask())
before = rss()
study.engine = RandomEngine()
for _ in range(600):
    tell(study, study.ask())
study.engine = wanted
found = []
for _ in range(8):
    tell(study, study.ask())
    found.append(rss())
print(json.dumps({"before": before, "after": found, "sympy": "sympy" in sys.modules}))
"""


def _study(trials: int) -> Study:
    space = Space((Float("x", 0.0, 1.0), Float("y", 0.0, 1.0)))
    objective = Objective.from_dict({"maximize": "output_throughput", "limits": ["ttft.p99 <= 500 ms"]})
    study = Study(space, objective, seed=0)
    for i in range(trials):
        x, y = (0.618 * i) % 1.0, (0.414 * i) % 1.0
        study.add({"x": x, "y": y}, {"output_throughput": 1.0 + x - y * y, "ttft.p99": 0.2 + 0.4 * y})
    return study


def test_matrices_of_the_models_go_with_their_ask() -> None:
    study = _study(_TRIALS)
    study.ask()
    gc.collect()
    gc.disable()  # models refer to themselves, and full collections are rare in a process this large
    try:
        study.ask()
        tensors = [o for o in gc.get_objects() if issubclass(type(o), torch.Tensor)]
    finally:
        gc.enable()
    assert not [tuple(t.shape) for t in tensors if t.shape[-2:] == (_TRIALS, _TRIALS)]


def test_equal_data_are_fitted_once_and_not_kept() -> None:
    X = torch.linspace(0.0, 1.0, 9, dtype=torch.float64).reshape(-1, 1)
    squares, y = squared_distances(X, [slice(0, 1)]), X[:, 0].sin().numpy()
    yvar = 0.01 * X[:, 0].cos().numpy()
    first = fit_hyper(squares, y, yvar, JOINT)
    assert fit_hyper(squares.copy(), y.copy(), yvar.copy(), JOINT) is first
    assert fit_hyper(2.0 * squares, y, yvar, JOINT) is not first
    assert fit_hyper(squares, y, 2.0 * yvar, JOINT) is not first
    alive = weakref.ref(squares)
    del squares
    assert alive() is None


@pytest.mark.slow
def test_asks_of_a_long_study_do_not_pile_up(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _LONG_STUDY], check=False, capture_output=True, text=True, cwd=tmp_path
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout.splitlines()[-1])
    assert max(found["after"]) - found["before"] < 50, found  # MB; they left 270 MB behind
    assert not found["sympy"]  # 35 MB for the shape of a constant

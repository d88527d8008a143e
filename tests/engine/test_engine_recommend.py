"""What the models predict of each configuration from all others, and what a study recommends with it."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from autotune.core.decision import Decision
from autotune.core.measurement import Estimate, Measurement
from autotune.core.objective import Objective
from autotune.core.parameter import Int
from autotune.core.space import Space
from autotune.core.trial import Reason, Suggestion, Trial, TrialState, config_key
from autotune.engine.base import predictions
from autotune.engine.gp import GPEngine
from autotune.engine.gp.config import GPConfig
from autotune.engine.gp.model.fitted_models import FittedModels
from autotune.engine.gp.problem import Problem
from autotune.engine.random import RandomEngine
from autotune.study.study import Study

SPACE = Space((Int("x", 1, 20),))
OBJECTIVE = Objective.from_dict({"maximize": "speed", "limits": ["latency <= 10 ms"]})


def trial(x, latency_ms, speed=None, reason=Reason.EXPLORE, number=None):
    metrics = {
        "speed": Estimate(10.0 * x if speed is None else speed, None),
        "latency": Estimate(latency_ms / 1e3, 0.02 * latency_ms / 1e3),
    }
    number = x if number is None else number
    return Trial(number, Suggestion({"x": x}, reason), TrialState.COMPLETED, 1, Measurement(metrics=metrics))


# latency is x milliseconds; that of 13 was measured by luck
LUCKY = [trial(x, x if x != 13 else 9.7) for x in (1, 3, 5, 7, 9, 10, 11, 12, 13, 14, 15, 17)]


def recommended(engine, history, objective=OBJECTIVE):
    known = predictions(engine, SPACE, objective, history)
    found = Decision(history, objective, config_key(SPACE.default_config), predictions=known).leader
    return None if found is None else found.contender.config["x"]


def test_luck_just_below_a_limit_is_not_recommended():
    assert recommended(GPEngine(), LUCKY) in (7, 9)


def test_a_goal_that_stands_out_is_not_averaged_away():
    history = [trial(x, 5.0, speed=100.0 + (30.0 if x == 11 else 0.0)) for x in range(1, 18)]
    history += [trial(x, 5.0, speed=100.0, number=20 + x) for x in (1, 2, 3)]  # launches do not differ
    assert recommended(GPEngine(), history) == 11


def test_values_that_have_no_logarithm():
    history = [
        trial(x, x if x != 13 else 9.9, speed=float(x - 6)) for x in (1, 3, 5, 7, 9, 10, 11, 12, 13, 15)
    ]
    assert recommended(GPEngine(), history) in (7, 9)


def test_minimizing_takes_the_least():
    objective = Objective.from_dict({"minimize": "latency", "limits": ["speed >= 100"]})
    history = [trial(x, x, speed=10.0 * x * math.exp(0.001 * x)) for x in (2, 5, 8, 11, 14, 17)]
    assert recommended(GPEngine(), history, objective) == 11


def test_predictions_leave_out_all_launches_of_what_they_predict():
    history = [trial(x, x * math.exp(0.05 * (-1) ** x)) for x in (1, 3, 5, 7, 9, 11, 13, 15)]
    history += [trial(x, x * 1.04, number=30 + x) for x in (5, 9)]
    found = predictions(GPEngine(), SPACE, OBJECTIVE, history)
    with torch.no_grad():
        belief = FittedModels(Problem(SPACE, OBJECTIVE, history), np.random.default_rng(0))
    # each goal and limit, refitted from nothing but the other configurations with the same hyper-parameters
    for modelled, at in ((belief.goals[0], 0), (belief.limits[0], 1)):
        series = modelled.series
        members = []
        for model in modelled.surrogate.models:
            K = model.covar_module(model.train_inputs[0]).to_dense()
            noise, y = model.likelihood.noise, model.train_targets - model.mean_module(model.train_inputs[0])
            rows = [i for i, t in enumerate(history) if t.config == {"x": 9}]
            rest = [i for i in range(len(history)) if i not in rows]
            S = K[rest][:, rest] + torch.diag(noise[rest])
            mean = model.mean_module(model.train_inputs[0])[rows[0]] + K[rows[0], rest] @ torch.linalg.solve(
                S, y[rest]
            )
            variance = K[rows[0], rows[0]] - K[rows[0], rest] @ torch.linalg.solve(S, K[rest, rows[0]])
            members.append((float(mean), float(variance)))
        low, high = min(m for m, _ in members), max(m for m, _ in members)
        mean, variance = found[config_key({"x": 9})][at]
        assert low - 1e-6 <= (mean - series.shift) / series.scale <= high + 1e-6
        spread = max(v for _, v in members) + (high - low) ** 2
        assert min(v for _, v in members) - 1e-6 <= variance / series.scale**2 <= spread + 1e-6


def test_few_trials_and_engines_without_a_model_predict_nothing():
    few = [trial(1, 5.0), trial(13, 9.9), trial(17, 17.0)]
    assert predictions(GPEngine(), SPACE, OBJECTIVE, few) is None
    assert predictions(RandomEngine(), SPACE, OBJECTIVE, LUCKY) is None
    with pytest.raises(AttributeError):
        RandomEngine().predict(SPACE, OBJECTIVE, LUCKY)


def test_no_model_is_asked_while_nothing_is_measured(monkeypatch):
    failed = [replace(t, measurement=None, state=TrialState.INFEASIBLE) for t in LUCKY]
    monkeypatch.setattr(GPEngine, "predict", lambda *_: pytest.fail("a model was loaded for nothing"))
    assert predictions(GPEngine(), SPACE, OBJECTIVE, failed) is None
    assert predictions(GPEngine(), SPACE, OBJECTIVE, []) is None


def test_a_surface_without_a_closed_form_leaves_it_to_the_mean_of_the_others():
    found = predictions(GPEngine(surrogate="botorch:SingleTaskGP"), SPACE, OBJECTIVE, LUCKY)
    assert all(math.isnan(mean) for pairs in found.values() for mean, _ in pairs)
    assert recommended(GPEngine(surrogate="botorch:SingleTaskGP"), LUCKY) is not None


def test_a_study_recommends_by_its_engine_and_decides_once():
    with Study(SPACE, OBJECTIVE, engine="gp") as study:
        assert study.best is None
        for t in LUCKY:
            study.add(t.config, dict(t.metrics))
        assert study.best.config["x"] in (7, 9)
        assert study.decide().recommended.contender.trial == study.best
        assert study.predictions is study.predictions  # fitted once for the same trials
        study.keep_predictions()
        note = study.ledger.study_notes(study.name)["predictions"]
        assert set(note["found"]) == {t.key for t in LUCKY}


def test_of_very_many_trials_the_better_ones_and_an_even_part_are_modelled():
    rng = np.random.default_rng(0)
    space = Space((Int("x", 1, 400),))
    history = [
        trial(int(x), x / 20 * math.exp(0.02 * rng.standard_normal()), number=i)
        for i, x in enumerate(rng.permutation(np.arange(1, 301)))
    ]
    config = GPConfig(trials=40)
    problem = Problem(space, OBJECTIVE, history, config=config)
    models = FittedModels(problem, np.random.default_rng(0))
    modelled = sorted(c["x"] for c in models.data.configs)
    assert len(modelled) == 40
    best = max(t.config["x"] for t in history if t.metrics["latency"].value <= 0.01)
    assert best in modelled
    assert len([x for x in modelled if x > best]) >= 5  # what breaks the limit is known too
    (asked,) = GPEngine(config=config).ask(space, OBJECTIVE, history, [], 1, 0)
    assert 150 <= asked.config["x"] <= 400
    assert GPEngine(config=config).assess(space, OBJECTIVE, history, 0).bound is not None
    assert (
        len(FittedModels(replace(problem, config=GPConfig()), np.random.default_rng(0)).data.configs) == 300
    )

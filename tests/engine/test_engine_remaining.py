"""What is left to gain, and how good the model is: the engine's account of itself."""

import math

import numpy as np
import pytest
import torch
from botorch.utils.multi_objective.hypervolume import Hypervolume
from botorch.utils.multi_objective.pareto import is_non_dominated

from autotune.core.measurement import Cause, Estimate, Failure, Measurement
from autotune.core.objective import Objective
from autotune.core.parameter import Int, Ordinal
from autotune.core.space import Space
from autotune.core.trial import Reason, Suggestion, Trial, TrialState
from autotune.engine.gp import GPEngine
from autotune.engine.gp.config import GPConfig
from autotune.engine.gp.model.leave_one_out import LEAST, leave_one_out, model_quality
from autotune.engine.gp.model.surrogates import fit_averaged
from autotune.engine.gp.problem import Problem
from autotune.engine.gp.regret.assess import assess
from autotune.engine.gp.regret.front import dominated
from autotune.engine.gp.regret.gap import CONFIDENCE, Gap
from autotune.engine.gp.regret.samples import SAMPLES
from autotune.testing.engine_contract import LARGE, OBJECTIVE, SPACE, TRADE_OFF, finished

LINE = Space((Int("x", 0, 40),))
SINGLE = GPConfig(surrogate="botorch:SingleTaskGP")
PLANE = Space((Int("x", 0, 40), Ordinal("y", (1, 2, 3))))
GOAL = Objective.from_dict({"maximize": "speed"})
COST = Objective.from_dict({"minimize": "speed"})


def trial(number, config, speed, sem=0.5, **others):
    metrics = {"speed": Estimate(speed, sem)} | {
        name: Estimate(value, 0.001) for name, value in others.items()
    }
    suggestion = Suggestion(config, Reason.EXPLORE)
    return Trial(number, suggestion, TrialState.COMPLETED, 1, Measurement(metrics))


def curve(config):
    return 100.0 - (int(config["x"]) - 25) ** 2 / 8


def tried(xs, sign=1):
    return [trial(i, {"x": x}, sign * curve({"x": x})) for i, x in enumerate(xs)]


def random_points(n=30, d=2, noise=0.05, seed=0):
    generator = torch.Generator().manual_seed(seed)
    X = torch.rand(n, d, generator=generator, dtype=torch.float64)
    Y = torch.sin(5 * X[:, 0]) + X[:, 1] + noise * torch.randn(n, generator=generator, dtype=torch.float64)
    return X, ((Y - Y.mean()) / Y.std()).unsqueeze(-1)


def test_leaving_one_out_in_closed_form_is_what_leaving_one_out_gives():
    X, Y = random_points(12)
    surface = fit_averaged(X, Y, torch.full_like(Y, 0.01))
    found = leave_one_out(surface)
    for k, model in enumerate(surface.models):
        for i in (0, 5, 11):
            rest = torch.arange(12) != i
            K = model.covar_module(X[rest]).to_dense() + torch.diag(model.likelihood.noise[rest])
            cross = model.covar_module(X[i : i + 1], X[rest]).to_dense()
            weights = torch.linalg.solve(K, model.train_targets[rest] - model.mean_module.constant)
            mean = model.mean_module.constant + cross @ weights
            variance = (
                model.covar_module.variance
                + model.likelihood.noise[i]
                - (cross @ torch.linalg.solve(K, cross.mT)).squeeze()
            )
            assert float(found.means[k, i]) == pytest.approx(float(mean), abs=1e-6)
            assert float(found.variances[k, i]) == pytest.approx(float(variance), abs=1e-6)
    assert found.log_weights.exp().sum(0) == pytest.approx(torch.ones(12).numpy())


def test_quality_tells_a_good_model_from_none():
    X, Y = random_points(40)
    good = leave_one_out(fit_averaged(X, Y, torch.full_like(Y, math.nan))).quality("speed")
    assert good.r2 > 0.9
    assert good.n == 40
    assert 0.75 <= good.coverage <= 1.0
    noise = torch.randn(40, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    bad = leave_one_out(fit_averaged(X, noise, torch.full_like(noise, math.nan))).quality("speed")
    assert bad.r2 < 0.3
    assert bad.log_density < good.log_density


def test_a_surface_of_another_kind_has_no_closed_form():
    X, Y = random_points(8)

    class Other:
        models = ()

    assert leave_one_out(Other()) is None
    assert leave_one_out(fit_averaged(X, Y, torch.full_like(Y, 0.1))).Y.shape == (8,)


@pytest.mark.parametrize(
    ("order", "low", "high"),
    [
        # values in an order of their own: a surface that had seen what it predicts would still seem good
        (np.random.default_rng(1).permutation(20), -math.inf, 0.1),
        pytest.param(range(20), 0.4, 1.0, marks=pytest.mark.slow),
    ],
    ids=["chance", "smooth"],
)
def test_a_surface_without_a_closed_form_is_fitted_again_without_each_tenth(order, low, high):
    configs = [{"x": x, "y": 1 + x % 3} for x in range(0, 40, 2)]
    trials = [trial(i, config, curve(configs[order[i]])) for i, config in enumerate(configs)]
    found = model_quality(Problem(PLANE, GOAL, trials, config=SINGLE))["speed"]
    assert found.n == 20
    assert low < found.r2 < high


def test_each_metric_of_the_objective_has_a_quality():
    objective = Objective.from_dict({"maximize": "speed", "limits": ["tpot <= 1", "flat <= 5"]})
    history = [trial(i, {"x": 4 * i, "y": 1 + i % 3}, 50.0 + i, tpot=0.1 + i, flat=3.0) for i in range(9)]
    found = model_quality(Problem(PLANE, objective, history))
    assert list(found) == ["speed", "tpot"]  # what never varies needs no model
    assert found["tpot"].n == 9
    assert model_quality(Problem(PLANE, objective, history[: LEAST - 1])) == {}


def test_little_is_left_where_the_best_was_measured_and_much_where_it_was_not():
    known = assess(Problem(LINE, GOAL, tried([0, 6, 12, 18, 22, 24, 25, 26, 28, 34, 40])))
    unknown = assess(Problem(LINE, GOAL, tried([0, 2, 4, 6, 8])))
    assert known.bound < unknown.bound / 3
    assert known.improvement < 0.5 < unknown.improvement
    assert known.median <= known.bound
    assert known.reason.startswith("remaining gain at most ")
    assert not unknown.converged


def test_a_cost_falls_by_less_than_all_of_it():
    history = tried([0, 2, 4, 6], sign=1)
    found = assess(Problem(LINE, COST, history))
    assert 0 <= found.median <= found.bound <= 100
    negative = assess(Problem(LINE, COST, tried([0, 6, 12, 20, 30], sign=-1)))  # no logarithm
    assert negative.bound > 0
    assert math.isfinite(negative.bound)


def test_configurations_that_cannot_be_measured_are_not_left_to_gain():
    history = tried([0, 4, 8, 12, 16, 20])
    failure = Measurement(failure=Failure(Cause.CRASHED_UNDER_LOAD))
    fails = [
        Trial(6 + i, Suggestion({"x": x}, Reason.EXPLORE), TrialState.INFEASIBLE, 1, failure)
        for i, x in enumerate((21, 22, 23, 24, 26, 28, 30, 34, 38))
    ]
    assert assess(Problem(LINE, GOAL, history + fails)).bound < assess(Problem(LINE, GOAL, history)).bound


def test_a_limit_that_excludes_the_better_ones_leaves_little():
    def measured(x):
        return trial(x, {"x": x}, curve({"x": x}), power=float(x + 1))

    history = [measured(x) for x in (0, 4, 8, 10, 11, 12, 14, 20)]
    limited = Objective.from_dict({"maximize": "speed", "limits": ["power <= 13"]})
    assert assess(Problem(LINE, limited, history)).bound < assess(Problem(LINE, GOAL, history)).bound


def test_the_answer_is_reproducible_and_never_converges_on_nothing():
    history = [
        finished(i, Suggestion(c, Reason.RANDOM))
        for i, c in enumerate(SPACE.sample(12, np.random.default_rng(0)))
    ]
    engine = GPEngine()
    assert engine.assess(SPACE, OBJECTIVE, history, 3) == engine.assess(SPACE, OBJECTIVE, history, 3)
    strict = Objective.from_dict({"maximize": "throughput", "limits": ["latency <= 1 us"]})
    found = engine.assess(SPACE, strict, history, 0)
    assert not found.converged
    assert found.bound is None
    assert found.reason.startswith("no configuration keeps latency <= 1 us yet; the nearest, trial ")
    assert engine.assess(SPACE, TRADE_OFF, history, 0).converged is False
    assert engine.assess(SPACE, OBJECTIVE, [], 0).converged is False


def test_a_space_too_large_to_enumerate_is_looked_through():
    configs = LARGE.sample(8, np.random.default_rng(1))
    history = [
        trial(i, c, 100.0 - abs(int(c["n0"]) - 9) - abs(float(c["x"]) - 0.1)) for i, c in enumerate(configs)
    ]
    found = assess(Problem(LARGE, GOAL, history))
    assert found.bound > 0
    assert found.improvement > 0


BOTH = Objective.from_dict({"maximize": "speed", "minimize": "power"})


def two_sided(xs):
    return [trial(i, {"x": x}, 20.0 + x, power=400.0 - (40 - x) ** 2 / 5) for i, x in enumerate(xs)]


def test_of_several_goals_the_hypervolume_is_what_is_left():
    known = assess(Problem(LINE, BOTH, two_sided([0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40])))
    unknown = assess(Problem(LINE, BOTH, two_sided([0, 1, 2, 3, 4])))
    assert 0 < known.bound < unknown.bound / 3
    assert known.improvement < unknown.improvement
    assert known.reason.startswith("remaining gain at most ")
    assert "% of the hypervolume (90 % confidence)" in known.reason
    everything = assess(Problem(LINE, BOTH, two_sided(range(41))))
    assert everything.converged
    assert everything.improvement == 0


@pytest.mark.parametrize("goals", [2, 3])
def test_what_points_dominate_is_botorchs_hypervolume(goals):
    values = torch.rand(4, 7, goals, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    reference = torch.full((goals,), 0.2, dtype=torch.float64)
    expected = [
        Hypervolume(reference).compute(points[is_non_dominated(points) & (points > reference).all(1)])
        for points in values
    ]
    found = dominated(values, reference, torch.full((goals,), 2.0, dtype=torch.float64))
    assert found.tolist() == pytest.approx(expected)


def test_when_everything_was_tried_only_noise_is_left():
    space = Space((Int("x", 0, 5),))
    history = [trial(i, {"x": i}, 10.0 + i, 0.01) for i in range(6)]
    found = assess(Problem(space, GOAL, history))
    assert found.improvement == 0.0
    assert found.bound < 2.0


def test_converged_is_small_in_both_respects():
    few = torch.zeros(SAMPLES, dtype=torch.float64)
    many = torch.linspace(0, 50, SAMPLES, dtype=torch.float64)
    assert Gap(few, 0.01, 1.0).small
    assert not Gap(few, 10.0, 1.0).small
    assert not Gap(many, 0.01, 1.0).small
    assert Gap(many, 0.0, 1.0).bound == pytest.approx(50 * CONFIDENCE, rel=0.01)


@pytest.mark.parametrize(
    "values", [[5.0] * 9, [1e-300, 1e300] * 5, [-3.0, 0.0, 2.0] * 3, [1.0] * 8 + [1e9]], ids=str
)
def test_any_values_get_an_answer(values):
    history = [trial(i, {"x": 4 * i}, value, None) for i, value in enumerate(values)]
    found = assess(Problem(LINE, GOAL, history))
    assert found.reason
    assert found.bound is None or found.bound >= found.median >= 0
    assert all(math.isfinite(q.r2) for q in model_quality(Problem(LINE, GOAL, history)).values())


def test_many_repeats_get_an_answer():
    history = [trial(i, {"x": i % 3}, 10.0 + i % 3 + 0.01 * (i % 7)) for i in range(100)]
    found = assess(Problem(LINE, GOAL, history))
    assert found.bound >= found.median >= 0

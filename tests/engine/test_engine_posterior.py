"""Functions sampled from the posterior: as the surrogate's own moments say, for every kind of surrogate."""

import math

import numpy as np
import pytest
import torch

import autotune
from autotune.analysis.importance import importance
from autotune.engine.base import posterior
from autotune.engine.gp.model.fit import fit_hyper, hyper_samples
from autotune.engine.gp.model.function_samples import _Features, sampled_functions
from autotune.engine.gp.model.kernels import squared_distances
from autotune.engine.gp.model.surrogates import fit_averaged
from autotune.engine.registry import build_engine

SPACE = autotune.Space.from_dict(
    {"parameters": {name: {"type": "float", "low": 0.0, "high": 1.0} for name in ("a", "b")}}
)
OBJECTIVE = autotune.Objective.from_dict({"maximize": "rate", "limits": ["heat <= 4", "floor >= 0.1"]})


def measured_trials(n):
    study = autotune.Study(SPACE, OBJECTIVE, engine="random")
    for config in SPACE.sample(n, np.random.default_rng(0)):
        a, b = config["a"], config["b"]
        study.add(config, {"rate": 10 * math.exp(a), "heat": 1 + b, "floor": 0.2 + b})
    return study.trials


@pytest.fixture(scope="module", name="fitted")
def fitted_fixture():
    generator = torch.Generator().manual_seed(0)
    X = torch.rand(30, 2, generator=generator, dtype=torch.float64)
    Y = torch.sin(4 * X[:, :1]) + X[:, 1:]
    Y = (Y - Y.mean()) / Y.std()
    return X, Y, fit_averaged(X, Y, torch.full_like(Y, 1e-3))


def test_random_cosines_have_the_covariance_of_their_kernel(fitted):
    X, _, surrogate = fitted
    kernel = surrogate.leading.covar_module
    found = [
        (f := _Features(kernel, torch.Generator().manual_seed(seed))(X[:10])) @ f.mT for seed in range(200)
    ]
    wanted = kernel(X[:10]).to_dense()
    assert (torch.stack(found).mean(0) - wanted).abs().max() < 0.03 * kernel.variance


def test_sampled_functions_pass_by_what_was_measured_and_differ_far_from_it(fitted):
    X, Y, surrogate = fitted
    functions = sampled_functions(surrogate, 128, 0, X)
    at = functions(X)
    assert at.shape == (128, 30)
    assert (at.mean(0) - Y.squeeze(-1)).abs().max() < 0.1
    far = torch.tensor([[2.5, -1.5]], dtype=X.dtype)
    assert functions(far).std() > 5 * at.std(0).mean()


def test_sampled_functions_have_the_moments_of_the_surrogate(fitted):
    X, _, surrogate = fitted
    points = torch.rand(40, 2, generator=torch.Generator().manual_seed(1), dtype=X.dtype)
    drawn = sampled_functions(surrogate, 512, 0, X)(points)
    mean, variance = surrogate.predict(points)
    assert (drawn.mean(0) - mean).abs().max() < 0.15
    ratio = drawn.std(0) / variance.sqrt()
    assert 0.5 < float(ratio.median()) < 3.0  # wider where the hyper-parameters are open too


def test_the_functions_are_the_same_at_every_call(fitted):
    X, _, surrogate = fitted
    functions = sampled_functions(surrogate, 16, 3, X)
    assert torch.equal(functions(X)[:, :4], functions(X[:4]))
    assert torch.equal(functions(X), sampled_functions(surrogate, 16, 3, X)(X))


def test_few_values_leave_hyper_parameters_open_and_many_do_not():
    def spread(n):
        X = torch.rand(n, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        y = torch.sin(4 * X[:, 0]) + X[:, 1]
        y = ((y - y.mean()) / y.std()).numpy()
        squares = squared_distances(X, [slice(0, 1), slice(1, 2)])
        hyper = fit_hyper(squares, y, np.full(n, 1e-3))
        found = hyper_samples(squares, y, np.full(n, 1e-3), hyper, 40, 0)
        return np.std([np.log(each.lengths) for each in found], axis=0).mean()

    assert spread(5) > 2 * spread(80)


@pytest.mark.parametrize("surrogate", ["auto", "infinite_network", "botorch:SingleTaskGP"])
def test_every_surrogate_says_what_it_believes_in_the_units_of_its_metrics(surrogate):
    engine = build_engine({"use": "gp", "surrogate": surrogate})
    found = posterior(engine, SPACE, OBJECTIVE, measured_trials(16))
    assert dict(found.logarithm) == {"rate": True, "heat": True, "floor": True}
    rows = SPACE.draw(50, np.random.default_rng(1))
    configs = SPACE.as_table(rows).configs(range(50))
    truths = {
        "rate": [10 * math.exp(c["a"]) for c in configs],
        "heat": [1 + c["b"] for c in configs],
        "floor": [0.2 + c["b"] for c in configs],
    }
    for metric, truth in truths.items():
        values = np.exp(found.values(metric, rows).mean(0))
        assert np.abs(np.log(values / np.array(truth))).mean() < 0.1
    assert (found.p_measured(rows) == 1.0).all()


def test_an_engine_without_a_model_tells_nothing_and_one_with_too_few_trials_neither():
    trials = measured_trials(8)
    assert posterior(build_engine("random"), SPACE, OBJECTIVE, trials) is None
    assert posterior(build_engine("gp"), SPACE, OBJECTIVE, trials[:1]) is None
    assert posterior(build_engine("gp"), SPACE, OBJECTIVE, []) is None


def test_importance_is_of_the_surrogate_that_the_study_has():
    def names(engine):
        study = autotune.Study(SPACE, OBJECTIVE, engine=engine)
        for trial in measured_trials(12):
            study.add(trial.config, {name: e.value for name, e in trial.metrics.items()})
        return importance(study.view).parameters

    assert names("gp") != names({"use": "gp", "surrogate": "infinite_network"})
    assert names("gp")[0].name == "a"

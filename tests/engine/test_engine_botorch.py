"""BoTorch on our models, and our engine with BoTorch's models and acquisition functions."""

import math

import numpy as np
import pytest
import torch
from botorch.acquisition import (
    LogExpectedImprovement,
    UpperConfidenceBound,
    qKnowledgeGradient,
    qLogNoisyExpectedImprovement,
)
from botorch.acquisition.max_value_entropy_search import qMaxValueEntropy
from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
from botorch.models.model import Model, ModelList
from botorch.optim import optimize_acqf_discrete
from botorch.sampling import IIDNormalSampler, SobolQMCNormalSampler
from botorch.test_functions import Branin, BraninCurrin

from autotune.core.measurement import Estimate, Measurement
from autotune.core.objective import Objective
from autotune.core.parameter import Categorical, Int
from autotune.core.space import Space
from autotune.core.trial import Trial, TrialState
from autotune.engine.gp import GPEngine
from autotune.engine.gp.botorch_names import acquisition_class, model_class
from autotune.engine.gp.model.averaged_gp import AveragedGP
from autotune.engine.gp.model.surrogates import fit_averaged
from autotune.engine.registry import build_engine
from autotune.errors import SpecError

torch.set_default_dtype(torch.float64)


def sobol(n, d=2, seed=0):
    return torch.quasirandom.SobolEngine(d, scramble=True, seed=seed).draw(n, dtype=torch.float64)


def fitted(X, y, noise=0.01):
    Y = ((y - y.mean()) / y.std()).unsqueeze(-1)
    with torch.no_grad():
        return fit_averaged(X, Y, torch.full_like(Y, noise))


@pytest.fixture(scope="module")
def branin():
    """Return points, values (more is better) and an average of several processes."""
    function, X = Branin(negate=True), sobol(14)
    y = -torch.log(-function(function.bounds[0] + X * (function.bounds[1] - function.bounds[0])))
    model = fitted(X, y)
    assert len(model.models) > 1
    return X, y, model


def test_a_fitted_model_is_one_of_botorchs(branin):
    _, _, model = branin
    assert isinstance(model, Model)
    assert (model.num_outputs, model.batch_shape) == (1, torch.Size([]))
    new = sobol(7, seed=3)
    posterior = model.posterior(new)
    mean, variance = model.predict(new)
    assert torch.allclose(posterior.mean.squeeze(-1), mean, atol=1e-5)
    assert torch.allclose(posterior.variance.squeeze(-1), variance, atol=1e-5)
    noisy = model.posterior(new, observation_noise=True)
    assert (noisy.variance > posterior.variance).all()
    assert model.posterior(new.unsqueeze(1)).mean.shape == (7, 1, 1)
    for sampler in (IIDNormalSampler, SobolQMCNormalSampler):
        assert sampler(torch.Size([5]), seed=0)(posterior).shape == (5, 7, 1)
    drawn = SobolQMCNormalSampler(torch.Size([4096]), seed=0)(posterior).squeeze(-1)
    assert torch.allclose(drawn.mean(0), mean, atol=0.02)


def test_measurements_that_are_added_are_learned(branin):
    X, _, model = branin
    new, value = torch.tensor([[0.31, 0.62]]), torch.tensor([[2.0]])
    after = model.condition_on_observations(new, value, noise=torch.full((1, 1), 1e-4))
    assert isinstance(after, AveragedGP)
    assert after.train_targets.shape == (15,)
    assert float(after.posterior(new).mean) == pytest.approx(2.0, abs=0.05)
    assert float(after.posterior(new).variance) < 0.1 * float(model.posterior(new).variance) + 1e-3
    sampler = SobolQMCNormalSampler(torch.Size([6]), seed=0)
    fantasies = model.fantasize(new.unsqueeze(0), sampler)
    assert fantasies.posterior(X[:3].unsqueeze(0)).mean.shape == (6, 1, 3, 1)


def acquisitions(X, model):
    sampler = SobolQMCNormalSampler(torch.Size([64]), seed=0)
    some = SobolQMCNormalSampler(torch.Size([8]), seed=0)
    return {
        "log EI": LogExpectedImprovement(model, best_f=model.train_targets.max()),
        "UCB": UpperConfidenceBound(model, beta=2.0),
        "qLogNEI": qLogNoisyExpectedImprovement(model, X, sampler=sampler),
        "qKG": qKnowledgeGradient(model, num_fantasies=8, sampler=some),
        "qMES": qMaxValueEntropy(model, sobol(64, seed=9), num_fantasies=8),
    }


@pytest.mark.parametrize("name", ["log EI", "UCB", "qLogNEI", "qMES"])
def test_botorchs_acquisition_functions_and_optimizer_take_it(branin, name):
    X, _, model = branin
    function = acquisitions(X, model)[name]
    choices = sobol(200, seed=5)
    found, value = optimize_acqf_discrete(function, q=1, choices=choices)
    assert found.shape == (1, 2)
    assert math.isfinite(float(value))
    mean, variance = model.predict(found)
    ranked, _ = model.predict(choices)
    assert float(mean + 3 * variance.sqrt()) > float(ranked.quantile(0.8))  # it may be good


def test_the_knowledge_gradient_and_its_gradient_are_finite(branin):
    X, _, model = branin
    function = acquisitions(X, model)["qKG"]
    points = sobol(3 * 9, seed=4).reshape(3, 9, 2).requires_grad_()
    value = function(points)
    assert value.isfinite().all()
    (gradient,) = torch.autograd.grad(value.sum(), points)
    assert gradient.isfinite().all()
    assert float(gradient.abs().max()) > 0


def test_two_goals_are_a_list_of_models():
    function, X = BraninCurrin(negate=True), sobol(12)
    Y = function(X)
    model = ModelList(fitted(X, Y[:, 0]), fitted(X, Y[:, 1]))
    gain = qLogNoisyExpectedHypervolumeImprovement(
        model, ref_point=[-1.0, -1.0], X_baseline=X, cache_root=False, prune_baseline=False
    )
    found, value = optimize_acqf_discrete(gain, q=1, choices=sobol(60, seed=2))
    assert found.shape == (1, 2)
    assert math.isfinite(float(value))


# -- in the engine ---------------------------------------------------------------------------------

SPACE = Space((Int("x", 0, 20), Int("y", 0, 20), Categorical("kind", ("a", "b", "c"))))
ONE = Objective.from_dict({"maximize": "speed", "limits": ["latency <= 1.2"]})
TWO = Objective.from_dict({"maximize": "speed", "minimize": "latency"})


def measured(config):
    distance = ((config["x"] - 14) / 20) ** 2 + ((config["y"] - 5) / 20) ** 2
    speed = 10.0 * math.exp(-4.0 * distance) * {"a": 0.8, "b": 1.0, "c": 0.7}[config["kind"]]
    return {"speed": speed, "latency": 0.5 + config["x"] / 25}


def play(engine, n, objective, seed=0):
    rng = np.random.default_rng(seed)
    history = []
    for i in range(n):
        (asked,) = engine.ask(SPACE, objective, history, [], 1, seed)
        values = {
            k: Estimate(v * math.exp(0.01 * rng.standard_normal())) for k, v in measured(asked.config).items()
        }
        history.append(Trial(i, asked, TrialState.COMPLETED, 1, Measurement(metrics=values)))
    return history


@pytest.mark.parametrize(
    ("option", "n"),
    [
        ({"acquisition": "botorch:qLogNoisyExpectedImprovement"}, 10),
        pytest.param({"acquisition": "botorch:LogNoisyExpectedImprovement"}, 14, marks=pytest.mark.slow),
        pytest.param({"acquisition": "botorch:UpperConfidenceBound"}, 14, marks=pytest.mark.slow),
        pytest.param({"acquisition": "botorch:qMaxValueEntropy"}, 14, marks=pytest.mark.slow),
        pytest.param({"acquisition": "botorch:qKnowledgeGradient"}, 5, marks=pytest.mark.slow),
        ({"surrogate": "botorch:SingleTaskGP"}, 10),
        pytest.param({"surrogate": "botorch:MixedSingleTaskGP"}, 5, marks=pytest.mark.slow),
        pytest.param({"surrogate": "botorch:EnsembleMapSaasSingleTaskGP"}, 5, marks=pytest.mark.slow),
    ],
)
def test_an_acquisition_function_or_a_model_of_botorchs_searches_and_is_repeatable(option, n):
    engine = build_engine({"use": "gp", **option})
    history = play(engine, n, ONE)
    assert len({t.key for t in history}) == n
    kept = [measured(t.config)["speed"] for t in history if measured(t.config)["latency"] <= 1.2]
    if n > 5:
        assert max(kept) > 8.5
    again = build_engine({"use": "gp", **option}).ask(SPACE, ONE, history[:4], [], 1, 0)
    assert again[0].config == history[4].config


def test_a_batch_by_a_model_and_an_acquisition_function_of_botorchs_is_distinct():
    engine = GPEngine(surrogate="botorch:SingleTaskGP", acquisition="botorch:qLogNoisyExpectedImprovement")
    history = play(GPEngine(), 5, ONE)
    asked = engine.ask(SPACE, ONE, history, [{"x": 20, "y": 0, "kind": "a"}], 3, 0)
    assert len({str(suggestion.config) for suggestion in asked}) == 3


def test_several_goals_are_searched_by_botorchs_hypervolume_improvement():
    history = play(GPEngine(acquisition="botorch:qLogNoisyExpectedHypervolumeImprovement"), 10, TWO)
    assert len({t.key for t in history}) == 10
    with pytest.raises(SpecError, match="is one of several goals; the study has one"):
        play(GPEngine(acquisition="botorch:qLogNoisyExpectedHypervolumeImprovement"), 5, ONE)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        (
            {"acquisition": "botorch:qLogNoisyExpectedImprovment"},
            "did you mean 'qLogNoisyExpectedImprovement'",
        ),
        ({"acquisition": "botorch:qMultiStepLookahead"}, "it needs 'batch_sizes'"),
        ({"acquisition": "botorch:qMultiFidelityKnowledgeGradient"}, "a study has one fidelity"),
        ({"acquisition": "botorch:AcquisitionFunction"}, "cannot be made for a study"),
        ({"acquisition": "botorch:SingleTaskGP"}, "BoTorch has no acquisition function 'SingleTaskGP'"),
        ({"surrogate": "botorch:SingleTaskGp"}, "did you mean 'SingleTaskGP'"),
        ({"surrogate": "botorch:KroneckerMultiTaskGP"}, "BoTorch has no model|cannot be made"),
        ({"acquisition": "knowledge_gradient"}, "was withdrawn: botorch:qKnowledgeGradient"),
        ({"surrogate": "forest"}, "was withdrawn"),
        ({"surrogate": "botorch:"}, "BoTorch has no model ''"),
    ],
)
def test_a_name_that_botorch_does_not_have_is_refused(section, words):
    with pytest.raises(SpecError, match=words):
        build_engine({"use": "gp", **section})


def test_what_is_accepted_can_be_made():
    assert model_class("SingleTaskGP").__name__ == "SingleTaskGP"
    assert acquisition_class("qLogNoisyExpectedImprovement").__name__ == "qLogNoisyExpectedImprovement"

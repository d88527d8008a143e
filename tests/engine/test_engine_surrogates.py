"""Surrogates by name, ours and BoTorch's: each keeps the contract of a surrogate."""

import math

import numpy as np
import pytest
import torch

from autotune.core.parameter import Categorical, Int, Ordinal
from autotune.core.space import Space
from autotune.engine.gp.acquisition.noisy_improvement import NoisyImprovement
from autotune.engine.gp.config import GPConfig
from autotune.engine.gp.model.candidate_table import FINE_ROWS, CandidateTable
from autotune.engine.gp.model.encode import Encoder
from autotune.engine.gp.model.optional import deep_kernel
from autotune.engine.gp.model.optional.evidence import log_marginal, maximize
from autotune.engine.gp.model.optional.infinite_network import Prior, network_covariance
from autotune.engine.gp.model.optional.ordinary import Ordinary, ordinary
from autotune.engine.gp.model.surrogates import surrogate_named

torch.set_default_dtype(torch.float64)

QUICK = ("auto", "rugged", "infinite_network", "botorch:SingleTaskGP")
LONG = ("deep_kernel", "botorch:EnsembleMapSaasSingleTaskGP")  # trained by gradients, for seconds each time
NAMES = (*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in LONG))
UNKNOWN = math.nan
SPACE = Space((Int("a", 0, 30), Int("b", 0, 30), Categorical("c", ("x", "y", "z"))))


def data(n=30, d=3, noise=0.0, seed=0):
    """Return points, standardized values and the same without noise."""
    rng = torch.Generator().manual_seed(seed)
    X = torch.rand(n, d, generator=rng)
    exact = torch.sin(3 * X[:, 0]) + X[:, 1] ** 2 + 0.5 * X[:, 0] * X[:, 1]
    Y = exact + noise * torch.randn(n, generator=rng)
    shift, scale = Y.mean(), Y.std()
    return X, (Y - shift) / scale, (exact - shift) / scale


def build(name, X, Y, Yvar=UNKNOWN, groups=None):
    Yvar = torch.full((len(X), 1), Yvar) if isinstance(Yvar, float) else Yvar.unsqueeze(-1)
    with torch.no_grad():  # as the engine does
        return surrogate_named(GPConfig(surrogate=name))(X, Y.unsqueeze(-1), Yvar, groups)


def log_improvement(surrogate, X, X_pending, eligible, seed=0, floor=0.0):
    """Return the log noisy expected improvement at ``X`` (``n x d``), shape ``n``."""
    each = surrogate.joint_samples(X_pending, seed)
    return surrogate.mix(torch.stack([NoisyImprovement(known, eligible, floor)(X) for known in each]))


def deviation(surrogate, X):
    return surrogate.predict(X)[1].sqrt()


@pytest.fixture(scope="module", params=NAMES)
def fitted(request):
    """Return a surrogate of 12 points of :data:`SPACE`, its points and values."""
    space_points = SPACE.sample(12, np.random.default_rng(3))
    X = torch.from_numpy(Encoder(SPACE).configs(space_points))
    Y = X[:, 0] - 2 * (X[:, 1] - 0.4) ** 2 + 0.3 * X[:, 2]
    Y = (Y - Y.mean()) / Y.std()
    return build(request.param, X, Y, 0.05, groups=Encoder(SPACE).groups), X, Y


@pytest.mark.parametrize("name", QUICK + LONG)
def test_a_smooth_function_is_predicted_with_honest_intervals(name):
    X, Y, exact = data(n=240)
    surrogate = build(name, X[:40], Y[:40])
    mean, variance = surrogate.predict(X[40:])
    assert torch.corrcoef(torch.stack([mean, exact[40:]]))[0, 1] > 0.9
    variance = variance + (surrogate.log_weights.exp() * surrogate.noise()).sum()
    inside = (exact[40:] - mean).abs() < 1.645 * variance.sqrt()
    assert 0.7 < inside.double().mean() <= 1.0
    assert deviation(surrogate, X[:40]).mean() < deviation(surrogate, X[40:]).mean()


@pytest.mark.parametrize("name", NAMES)
def test_equal_data_give_equal_surfaces_and_nobody_elses_draws_change(name):
    X, Y, _ = data(n=10)
    new = torch.rand(20, 3, generator=torch.Generator().manual_seed(5))
    state = torch.get_rng_state()
    first, second = build(name, X, Y).each(new), build(name, X, Y).each(new)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", NAMES)
def test_little_constant_and_repeated_data_are_survived(name):
    new = torch.rand(30, 3, generator=torch.Generator().manual_seed(5))
    X, Y, _ = data(n=20)
    repeated = X[:1].expand(20, -1)
    for X_, Y_ in (
        (X[:2], torch.tensor([-0.7, 0.7])),
        (X, torch.zeros(20)),
        (repeated, Y),
        (repeated, Y * 0),
    ):
        surrogate = build(name, X_, Y_)
        mean, variance = surrogate.predict(new)
        assert mean.isfinite().all()
        assert mean.abs().max() < 10
        assert variance.isfinite().all()
        assert (variance > 0).all()
        eligible = torch.ones(len(X_), dtype=torch.bool)
        assert log_improvement(surrogate, new, new[:0], eligible, seed=0, floor=0.0).isfinite().all()
    mean, _ = build(name, X[:2], torch.tensor([-0.7, 0.7])).predict(X[:2])
    assert mean[0] < mean[1]


@pytest.mark.parametrize("name", NAMES)
def test_noise_is_learned_where_there_is_some(name):
    X, Y, _ = data(n=60)
    assert float(build(name, X, Y).noise().max()) < 0.02
    X, noisy, exact = data(n=60, noise=0.4)
    surrogate = build(name, X, noisy)
    true = float((noisy - exact).var())
    learned = float((surrogate.log_weights.exp() * surrogate.noise()).sum())
    assert true / 3 < learned < true * 3
    mean, _ = surrogate.predict(X)
    assert (mean - exact).square().mean() < 0.6 * true  # not every wiggle is followed


@pytest.mark.parametrize("name", NAMES)
def test_measured_noise_keeps_the_mean_from_an_outlier(name):
    X = torch.linspace(0, 1, 12).unsqueeze(-1)
    Y = 2 * X.squeeze(-1) - 1
    Y[5] += 3.0
    Yvar = torch.full((12,), 1e-4)
    sure, _ = build(name, X, Y, Yvar).predict(X[5:6])
    Yvar[5] = 9.0
    doubtful, _ = build(name, X, Y, Yvar).predict(X[5:6])
    assert abs(float(doubtful) - float(Y[5] - 3.0)) < 0.6
    assert float(doubtful) < float(sure)


def test_covariances_agree_with_variances_and_are_positive(fitted):
    surrogate, X, _ = fitted
    new = torch.from_numpy(Encoder(SPACE).configs(SPACE.sample(15, np.random.default_rng(1))))
    points = torch.cat([X, new])
    joint = surrogate.covariance(points, points)
    _, variances = surrogate.each(points)
    assert torch.allclose(joint.diagonal(dim1=1, dim2=2), variances, atol=1e-7)
    assert torch.allclose(joint, joint.mT, atol=1e-9)
    assert torch.linalg.eigvalsh(joint).min() > -1e-7
    assert torch.allclose(surrogate.covariance(new, X), joint[:, 12:, :12], atol=1e-9)
    means, variances = surrogate.each(points)
    w = surrogate.log_weights.exp().unsqueeze(-1)
    assert float(w.sum()) == pytest.approx(1.0)
    mean, variance = surrogate.predict(points)
    assert torch.allclose(mean, (w * means).sum(0))
    assert torch.allclose(variance + mean**2, (w * (variances + means**2)).sum(0))
    below = surrogate.log_probability_below((means, variances), 0.3).exp()
    direct = (w * torch.special.ndtr((0.3 - means) / variances.sqrt())).sum(0)
    assert torch.allclose(below, direct, atol=1e-9)


def test_a_grid_is_scored_as_its_points_are_and_pending_points_lower_variances(fitted):
    surrogate, X, _ = fitted
    table = SPACE.table()
    grid = CandidateTable(Encoder(SPACE), table)
    rows = torch.arange(0, len(grid), 7)
    found = surrogate.on_grid(grid, rows, X[:0])
    direct = surrogate.each(grid.encode(rows))
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found, direct, strict=True))
    pending = grid.encode(rows[100:102])
    means, variances = surrogate.on_grid(grid, rows, pending)
    assert torch.allclose(means, found[0], atol=1e-5)
    assert (variances <= found[1] + 1e-6).all()
    assert (variances[:, 100:102] < 0.75 * found[1][:, 100:102]).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_large_table_is_scored_in_single_precision_like_its_points(name):
    space = Space(tuple(Int(f"p{i}", 0, 5) for i in range(6)))
    encoder, table = Encoder(space), space.table()
    assert len(table) > FINE_ROWS
    X = torch.from_numpy(encoder.configs(space.sample(9, np.random.default_rng(0))))
    Y = X[:, 0] + X[:, 1] * X[:, 2]
    surrogate = build(name, X, (Y - Y.mean()) / Y.std(), groups=encoder.groups)
    grid = CandidateTable(encoder, table)
    rows = torch.arange(0, len(grid), 997)
    found, direct = surrogate.on_grid(grid, rows, X[:0]), surrogate.each(grid.encode(rows))
    assert torch.allclose(found[0], direct[0], atol=1e-3)
    assert torch.allclose(found[1], direct[1], atol=3e-3)


def test_the_improvement_is_that_of_joint_samples(fitted):
    surrogate, X, _ = fitted
    X = X[:12]
    pending = torch.from_numpy(
        Encoder(SPACE).configs([{"a": 30, "b": 12, "c": "x"}, {"a": 2, "b": 2, "c": "z"}])
    )
    new = torch.from_numpy(Encoder(SPACE).configs(SPACE.sample(60, np.random.default_rng(8))))
    means, _ = surrogate.each(X)
    leading = means.mean(0).argsort(descending=True)[:6]  # as many as a finite set of functions samples
    eligible = torch.zeros(len(X) + 2, dtype=torch.bool)
    eligible[leading] = True
    eligible[-2] = True
    each = [log_improvement(surrogate, new, pending, eligible, seed=seed, floor=0.0) for seed in range(16)]
    found = torch.stack(each).logsumexp(0) - math.log(16)  # by few samples each

    points = torch.cat([X, pending, new])
    means, _ = surrogate.each(points)
    joint = surrogate.covariance(points, points)
    generator = torch.Generator().manual_seed(0)
    total = torch.zeros(len(new))
    for weight, mean, covariance in zip(surrogate.log_weights.exp(), means, joint, strict=True):
        values, vectors = torch.linalg.eigh(covariance)
        normal = torch.randn(20_000, len(points), generator=generator)
        draws = mean + normal @ (vectors * values.clamp_min(0).sqrt()).mT
        incumbent = draws[:, : len(eligible)][:, eligible].amax(1, keepdim=True)
        total += weight * (draws[:, len(eligible) :] - incumbent).clamp_min(0).mean(0)
    likely = total > 0.3 * total.max()
    assert int(likely.sum()) >= 2
    assert torch.allclose(found[likely], total[likely].log(), atol=0.15)
    assert torch.corrcoef(torch.stack([found.exp(), total]))[0, 1] > 0.98


def test_what_is_not_eligible_is_not_improved_upon(fitted):
    surrogate, X, _ = fitted
    nothing, everything = torch.zeros(12, dtype=torch.bool), torch.ones(12, dtype=torch.bool)
    low, high = (log_improvement(surrogate, X, X[:0], nothing, seed=0, floor=f) for f in (-2.0, 3.0))
    known = log_improvement(surrogate, X, X[:0], everything, seed=0, floor=-2.0)
    assert (low > high).all()
    assert (low >= known - 1e-6).all()
    beyond = surrogate.predict(X)[0] + 2.0  # far above the floor, the improvement is the difference
    assert torch.allclose(low.exp(), beyond, atol=0.35)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_of_any_surrogate_spreads_over_the_space(name):
    encoder = Encoder(SPACE)
    configs = [{"a": a, "b": b, "c": c} for a in (3, 15, 27) for b in (3, 15, 27) for c in ("x", "y")]
    X = torch.from_numpy(encoder.configs(configs))
    Y = -((X[:, 0] - 0.7) ** 2) - (X[:, 1] - 0.3) ** 2 + 0.05 * torch.sin(40 * X[:, 0])
    surrogate = build(name, X, (Y - Y.mean()) / Y.std(), groups=encoder.groups)
    table = SPACE.table()
    everything = CandidateTable(encoder, table).encode(torch.arange(len(table)))
    everything = everything[(torch.cdist(everything, X) > 1e-9).all(1)]
    eligible = torch.ones(len(X), dtype=torch.bool)
    alone = log_improvement(surrogate, everything, X[:0], eligible, seed=0, floor=0.0)
    best = everything[alone.argmax()].unsqueeze(0)
    near = torch.cdist(everything, best).squeeze(-1).argsort()[1:9]
    after = log_improvement(
        surrogate, everything, best, torch.cat([eligible, eligible[:1]]), seed=0, floor=0.0
    )
    assert (after[near].exp().mean() / alone[near].exp().mean()) < 0.95


def test_infinite_networks_are_the_limit_of_random_ones():
    X = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    for depth in (1, 2):
        prior = Prior(torch.ones(3), 1.0 + depth, 0.0, 0.0, depth, 0.0)
        generator = torch.Generator().manual_seed(depth)
        shapes = [(4, 64), *[(65, 64)] * (depth - 1), (65, 1)]
        weights = [torch.randn(1000, *shape, generator=generator) for shape in shapes]
        hidden = weights[0][:, -1:] + X @ weights[0][:, :-1]
        for layer in weights[1:]:
            hidden = layer[:, -1:] + math.sqrt(2.0 / 64) * hidden.relu() @ layer[:, :-1]
        values = hidden.squeeze(-1) * math.sqrt(prior.scale / (1 + depth))
        sampled = values.mT @ values / len(values)
        exact = network_covariance(X, X, depth)
        assert torch.allclose(sampled, exact, rtol=0.2, atol=0.2 * float(exact.diagonal().mean()))
        twice = network_covariance(2 * X, 2 * X, depth)
        assert (twice.diagonal() > exact.diagonal()).all()  # not stationary: it grows outwards


def test_the_arc_cosine_kernel_has_a_finite_gradient_where_points_meet():
    X = torch.rand(4, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: network_covariance(x, x[:2] + 0.1, 2), (X,), atol=1e-5)
    network_covariance(X, X, 3).sum().backward()
    assert X.grad.isfinite().all()


def test_the_log_marginal_has_the_best_mean():
    X, Y, _ = data(n=8)
    covariance = torch.exp(-torch.cdist(X, X)) + 0.01 * torch.eye(8)
    value, mean = log_marginal(covariance, Y + 0.8)

    def at(m):
        normal = torch.distributions.MultivariateNormal(torch.full((8,), m), covariance)
        return float(normal.log_prob(Y + 0.8)) + 4 * math.log(2 * math.pi) - 0.5 * m**2

    assert float(value) == pytest.approx(at(float(mean)))
    assert at(float(mean)) > max(at(float(mean) + 0.01), at(float(mean) - 0.01))


def test_the_optimizer_steps_back_from_where_nothing_is_defined():
    def log_density(theta):
        if bool(theta[0] > 1.5):
            raise torch.linalg.LinAlgError("not positive definite")
        return -((theta - torch.tensor([1.0, -2.0])) ** 2).sum()

    bounds = torch.tensor([[-5.0, 5.0], [-5.0, -1.0]])
    theta, value = maximize(log_density, torch.zeros(2).clamp_max(-1.0), bounds, 50)
    assert theta.tolist() == pytest.approx([1.0, -2.0], abs=1e-3)
    assert value == pytest.approx(0.0, abs=1e-5)


def test_slice_sampling_draws_from_the_posterior(monkeypatch):
    # one normal value seen through noise: the posterior is known
    monkeypatch.setattr(deep_kernel, "STEPS", 4000)
    monkeypatch.setattr(deep_kernel, "_KEPT", range(1, 4001))

    def log_likelihood(theta):
        if bool(theta[1] > 2.0):
            raise torch.linalg.LinAlgError("nothing there")
        return float(-0.5 * (theta[0] - 3.0) ** 2 / 0.5)

    prior = torch.tensor([1.0, 0.0]), torch.tensor([1.0, 2.0])
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack(
        deep_kernel.slice_samples(log_likelihood, *prior, torch.tensor([1.0, 0.0]), generator)
    )
    assert float(drawn[:, 0].mean()) == pytest.approx(1 + 2 / 1.5, abs=0.06)
    assert float(drawn[:, 0].var()) == pytest.approx(0.5 / 1.5, rel=0.15)
    assert float(drawn[:, 1].max()) <= 2.0
    assert float(drawn[:, 1].var()) < 4.0


def test_a_network_at_zero_is_an_ordinary_kernel():
    X, _, _ = data(n=6)
    shape = deep_kernel.Shape(Ordinary((slice(0, 1), slice(1, 3)), ()))
    theta = torch.zeros(sum(shape.sizes))
    theta[:2] = torch.tensor([0.5, 2.0]).log()
    theta[2] = math.log(1.7)
    r = math.sqrt(5) * torch.cdist(X / torch.tensor([0.5, 2.0, 2.0]), X / torch.tensor([0.5, 2.0, 2.0]))
    ordinary = 1.7 * (1 + r + r**2 / 3) * torch.exp(-r)
    assert torch.allclose(shape.covariance(theta, X, X), ordinary, atol=1e-6)
    theta[-shape.sizes[-1] :] = 0.3
    theta[4 : 4 + shape.sizes[3]] = 1.0
    assert not torch.allclose(shape.covariance(theta, X, X), ordinary, atol=1e-3)


def test_an_ordinary_process_says_the_noise_and_how_numbers_are_placed():
    for noise in (0.1, 0.5):
        X, Y, exact = data(n=80, noise=noise)
        found = ordinary(X, Y.unsqueeze(-1), torch.full((80, 1), UNKNOWN), None)
        assert found.noise == pytest.approx(float((Y - exact).var()), rel=0.5)
        assert found.columns.tolist() == [0, 1, 2]
    assert ordinary(X, exact.unsqueeze(-1), torch.full((80, 1), UNKNOWN), None).noise < 1e-3
    X, Y = logarithmic()
    groups = Encoder(LISTED).groups
    assert ordinary(X, Y.unsqueeze(-1), torch.full((len(X), 1), UNKNOWN), groups).groups == groups.other
    by_rank = torch.sin(6 * X[:, 0]).unsqueeze(-1)
    assert ordinary(X, by_rank, torch.full((len(X), 1), UNKNOWN), groups).groups == tuple(groups)


LISTED = Space((Ordinal("n", (1, 2, 3, 4, 1000, 1100, 1200, 1300, 100_000)), Int("m", 0, 3)))


def logarithmic():
    """Return every other point of :data:`LISTED` and values that are smooth in the logarithm of ``n``."""
    table = LISTED.table()
    configs = table.configs(range(len(table)))
    X = torch.from_numpy(Encoder(LISTED).configs(configs))
    Y = torch.tensor([math.sin(0.6 * math.log(c["n"])) + 0.1 * c["m"] for c in configs])
    return X, (Y - Y.mean()) / Y.std()


@pytest.mark.parametrize("name", NAMES)
def test_columns_of_the_other_placing_do_no_harm(name):
    X, Y = logarithmic()
    groups = Encoder(LISTED).groups
    assert X.shape[1] == 3
    surrogate = build(name, X[::2], Y[::2], groups=groups)
    mean, _ = surrogate.predict(X[1::2])
    assert torch.corrcoef(torch.stack([mean, Y[1::2]]))[0, 1] > 0.8
    grid = CandidateTable(Encoder(LISTED), LISTED.table())
    found = surrogate.on_grid(grid, torch.arange(1, len(grid), 2), X[:0])[0]
    assert torch.allclose(surrogate.log_weights.exp() @ found, mean, atol=1e-4)


@pytest.mark.parametrize("name", ["auto", "infinite_network", "deep_kernel", "botorch:SingleTaskGP"])
def test_gradients_for_continuous_parameters_are_right(name):
    X, Y, _ = data(n=15)
    surrogate = build(name, X, Y)
    eligible = torch.ones(15, dtype=torch.bool)

    def score(x):
        improvement = log_improvement(surrogate, x, X[:0], eligible, seed=0, floor=0.0)
        return improvement + surrogate.log_probability_below(surrogate.each(x), 0.5)

    x = torch.tensor([[0.31, 0.62, 0.47]]).requires_grad_()
    (gradient,) = torch.autograd.grad(score(x).sum(), x)
    steps = 1e-6 * torch.eye(3)
    differences = (score(x.detach() + steps) - score(x.detach() - steps)) / 2e-6
    assert torch.allclose(gradient[0], differences, rtol=1e-3, atol=1e-4)
    assert gradient.abs().max() > 1e-3

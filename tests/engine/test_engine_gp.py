"""The gp engine: encoding, surrogate, acquisition, feasibility, and that it finds what there is."""

import math

import numpy as np
import pytest
import scipy.optimize
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from autotune.core.measurement import Cause, Estimate, Failure, Measurement
from autotune.core.objective import Objective
from autotune.core.parameter import Categorical, Float, Int, Ordinal
from autotune.core.space import Space
from autotune.core.trial import Reason, Suggestion, Trial, TrialState, config_key
from autotune.engine.gp import GPEngine
from autotune.engine.gp.acquisition.noisy_improvement import (
    NoisyImprovement,
    log_expected_improvement,
    log_h,
    rough_log_improvement,
)
from autotune.engine.gp.choices import JOINT
from autotune.engine.gp.model import fit as fitting
from autotune.engine.gp.model.candidate_table import CandidateTable
from autotune.engine.gp.model.data import read_history
from autotune.engine.gp.model.encode import Encoder
from autotune.engine.gp.model.feasibility import Feasibility
from autotune.engine.gp.model.joint_samples import SamplesOfProcess
from autotune.engine.gp.model.memory import known_out_of_memory
from autotune.engine.gp.model.posterior import predict
from autotune.engine.gp.model.surrogates import fit_averaged
from autotune.engine.gp.optimize.candidates import candidates
from autotune.engine.random import RandomEngine
from autotune.testing.engine_contract import OBJECTIVE, SPACE, finished, respond

torch.set_default_dtype(torch.float64)


def search(engine, n, seed, space=SPACE, objective=OBJECTIVE, measure=finished):
    history = []
    for i in range(n):
        (asked,) = engine.ask(space, objective, history, [], 1, seed)
        history.append(measure(i, asked))
    return history


def smooth(n=25, d=3, noise=0.0, seed=0):
    rng = torch.Generator().manual_seed(seed)
    X = torch.rand(n, d, generator=rng)
    Y = torch.sin(4 * X[:, 0]) + X[:, 1] ** 2
    Y = (Y - Y.mean()) / Y.std()
    return X, Y + noise * torch.randn(n, generator=rng)


def fit_one(X, Y, Yvar):
    """Return the smooth process alone."""
    return fit_averaged(X, Y, Yvar, structures=(JOINT,)).leading


def test_encoding_keeps_order_scale_and_distance():
    space = Space(
        (
            Int("batch", 1, 256, powers_of=2, scale="log2"),
            Ordinal("bits", (4, 8, 16)),
            Categorical("kind", ("a", "b", "c")),
            Int("only", 3, 3),
            Float("x", 0.0, 2.0, when="kind == 'a'"),
        )
    )
    encoder = Encoder(space)
    configs = [
        {"batch": 16, "bits": 8, "kind": "a", "only": 3, "x": 0.5},
        {"batch": 1, "bits": 16, "kind": "b", "only": 3},
    ]
    X = encoder.configs(configs)
    assert X.shape == (2, encoder.dimension) == (2, 1 + 1 + 3 + 1)
    assert X[0].tolist() == pytest.approx([0.5, 0.5, 1 / math.sqrt(2), 0, 0, 0.25])
    assert X[1, -1] == 0.5  # inactive: the middle
    assert np.linalg.norm(X[0, 2:5] - X[1, 2:5]) == pytest.approx(1.0)
    table = space.table()
    rows = encoder.table(table.indices)
    some = [0, len(table) // 2, len(table) - 1]
    assert np.allclose(rows[some], encoder.configs(table.configs(some)))


def test_a_number_has_its_rank_and_where_it_differs_the_place_of_its_logarithm():
    space = Space(
        (
            Ordinal("block", (32, 64, 96, 128, 1024)),
            Ordinal("bits", (4, 8, 16)),
            Int("seqs", 1, 100),
            Ordinal("share", (0.0, 0.5, 0.9)),
            Categorical("kind", ("a", "b", "c")),
        )
    )
    encoder = Encoder(space)
    assert list(encoder.logarithms) == [0, 2]  # ranks of powers of two are their logarithms, and 0 has none
    assert encoder.dimension == 4 + 3 + 2
    X = encoder.configs([{"block": 128, "bits": 8, "seqs": 10, "share": 0.5, "kind": "a"}])
    assert X[0, [0, 2]].tolist() == pytest.approx([0.75, 9 / 99])
    assert X[0, 7:].tolist() == pytest.approx([0.4, 0.5])
    assert encoder.groups.other[0] == slice(7, 8)
    assert encoder.groups.other[1] == encoder.groups[1]
    table = space.as_table(space.draw(50, np.random.default_rng(0)))
    X = encoder.configs(table.configs(range(50)))
    assert np.allclose(encoder.table(table.indices), X)
    assert torch.allclose(CandidateTable(encoder, table).encode(torch.arange(50)), torch.from_numpy(X))

    speed = torch.from_numpy(np.sin(4 * X[:, 7]) + X[:, 8])  # by logarithms
    speed = ((speed - speed.mean()) / speed.std()).unsqueeze(-1)
    surrogate = fit_averaged(torch.from_numpy(X), speed, torch.full((50, 1), 1e-6), encoder.groups)
    assert surrogate.models[-1].covar_module.groups == encoder.groups.other
    assert float(surrogate.log_weights[-1].exp()) > 0.9
    means, variances = surrogate.on_grid(
        CandidateTable(encoder, table), torch.arange(50), torch.from_numpy(X[:0])
    )
    exact = surrogate.each(torch.from_numpy(X))
    assert torch.allclose(means, exact[0], atol=1e-6)
    assert torch.allclose(variances, exact[1], atol=1e-6)


def test_prediction_equals_botorchs_posterior():
    X, Y = smooth(noise=0.1)
    model = fit_one(X, Y.unsqueeze(-1), torch.full((25, 1), 0.01))
    test = torch.rand(7, 3)
    posterior = model.posterior(test)
    mean, variance = predict(model, test)
    assert torch.allclose(mean, posterior.mean.squeeze(-1), atol=1e-4)
    assert torch.allclose(variance, posterior.variance.squeeze(-1), atol=1e-4)


def test_posterior_covariance_equals_botorchs():
    X, Y = smooth(noise=0.1)
    surrogate = fit_averaged(X, Y.unsqueeze(-1), torch.full((25, 1), 0.01))
    test = torch.rand(6, 3)
    for model, found in zip(surrogate.models, surrogate.covariance(test[:2], test[2:]), strict=True):
        joint = model.posterior(test).distribution.covariance_matrix
        assert torch.allclose(found, joint[:2, 2:], atol=1e-4)
    _, variance = surrogate.each(test)
    own = surrogate.covariance(test, test).diagonal(dim1=1, dim2=2)
    assert torch.allclose(own, variance, atol=1e-6)


def test_the_surrogate_generalizes_and_ignores_what_does_not_matter():
    X, Y = smooth(n=40)
    model = fit_one(X, Y.unsqueeze(-1), torch.full((40, 1), 1e-6))
    new, truth = smooth(n=200, seed=1)
    mean, _ = predict(model, new)
    assert torch.corrcoef(torch.stack([mean, truth]))[0, 1] > 0.98
    lengths = model.covar_module.lengths
    assert lengths[2] > 2 * lengths[0]


def test_measured_noise_keeps_the_mean_from_every_outlier():
    X = torch.linspace(0, 1, 12).unsqueeze(-1)
    Y = X.squeeze(-1).clone()
    Y[5] += 3.0
    Yvar = torch.full((12, 1), 1e-4)
    Yvar[5] = 9.0
    mean, _ = predict(fit_one(X, Y.unsqueeze(-1), Yvar), X)
    assert abs(float(mean[5]) - float(X[5])) < 0.5


def test_log_h_is_exact_near_and_far():
    z = torch.tensor([-1e8, -1e5, -50.0, -5.0, -1.0, -0.5, 0.0, 3.0])
    near = [float(v) for v in z[3:]]
    direct = [
        math.log(math.exp(-v * v / 2) / math.sqrt(2 * math.pi) + v * 0.5 * math.erfc(-v / math.sqrt(2)))
        for v in near
    ]
    assert torch.allclose(log_h(z)[3:], torch.tensor(direct), rtol=1e-7)
    # far out h(z) tends to phi(z) / z**2
    far = z[:3]
    assert torch.allclose(
        log_h(far), -(far**2) / 2 - 0.5 * math.log(2 * math.pi) - 2 * far.abs().log(), rtol=1e-3
    )
    assert (torch.diff(log_h(z)) > 0).all()


def test_the_rough_improvement_orders_candidates_as_the_exact_one_does():
    mean, one = torch.linspace(-40.0, 6.0, 4001), torch.ones(())
    rough = rough_log_improvement(mean, one, torch.zeros(()))
    assert float((rough - log_expected_improvement(mean, one, torch.zeros(()))).abs().max()) < 0.04
    assert (torch.diff(rough) > 0).all()
    variances, incumbent = torch.linspace(0.1, 4.0, 4001), torch.tensor(-1.0)
    rough = rough_log_improvement(mean - 3.0, variances, incumbent)
    assert float((rough - log_expected_improvement(mean - 3.0, variances, incumbent)).abs().max()) < 0.04


def test_the_acquisition_agrees_with_botorchs_noisy_improvement():
    from botorch.acquisition.logei import qLogNoisyExpectedImprovement
    from botorch.sampling import SobolQMCNormalSampler

    X, Y = smooth(n=15, noise=0.2)
    model = fit_one(X, Y.unsqueeze(-1), torch.full((15, 1), 0.04))
    test = torch.rand(300, 3, generator=torch.Generator().manual_seed(3))
    ours = NoisyImprovement(SamplesOfProcess(model, X[:0], 0), torch.ones(15, dtype=torch.bool), 0.0)(test)
    peer = qLogNoisyExpectedImprovement(
        model, X, sampler=SobolQMCNormalSampler(torch.Size([512]), seed=0), prune_baseline=False
    )
    with torch.no_grad():
        theirs = peer(test.unsqueeze(1))
    best = theirs.argsort(descending=True)[:30]
    assert torch.corrcoef(torch.stack([ours[best], theirs[best]]))[0, 1] > 0.95
    assert int(ours.argmax()) in best[:5].tolist()


def test_a_pending_point_makes_its_neighbourhood_less_attractive():
    X, Y = smooth(n=15)
    model = fit_one(X, Y.unsqueeze(-1), torch.full((15, 1), 1e-4))
    grid = torch.rand(500, 3, generator=torch.Generator().manual_seed(1))
    everywhere = torch.ones(15, dtype=torch.bool)
    alone = NoisyImprovement(SamplesOfProcess(model, X[:0], 0), everywhere, 0.0)(grid)
    best = grid[alone.argmax()].unsqueeze(0)
    with_pending = torch.ones(16, dtype=torch.bool)
    waiting = NoisyImprovement(SamplesOfProcess(model, best, 0), with_pending, 0.0)(grid)
    assert waiting[alone.argmax()] < alone.max() - 1.0
    assert int(waiting.argmax()) != int(alone.argmax())


def test_feasibility_learns_from_failures_and_trusts_what_worked():
    X = torch.rand(30, 2, generator=torch.Generator().manual_seed(0))
    completed = X.sum(1) < 1.2
    model = Feasibility(X, completed.double() * 2 - 1)
    new = torch.rand(200, 2, generator=torch.Generator().manual_seed(1))
    likely = model.log_probability(new).exp() > 0.5
    assert (likely == (new.sum(1) < 1.2)).double().mean() > 0.85
    assert (Feasibility(X, torch.ones(30)).log_probability(new) == 0).all()


def test_failures_stay_out_of_the_goals_data():
    (asked,) = GPEngine().ask(SPACE, OBJECTIVE, [], [], 1, 0)
    ok = finished(0, asked)
    out = Trial(1, asked, TrialState.INFEASIBLE, 1, Measurement(failure=Failure(Cause.OUT_OF_MEMORY)))
    lost = Trial(2, asked, TrialState.FAILED, 3, Measurement(failure=Failure(Cause.NODE_LOST)))
    data = read_history([ok, out, lost], OBJECTIVE)
    assert data.labels.tolist() == [1.0, -1.0]
    assert data.goals[0].rows.tolist() == [0]
    assert data.limits[0].rows.tolist() == [0]


@pytest.mark.parametrize("seeds", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_it_finds_the_optimum_sooner_than_random_search_and_wastes_little(seeds):
    table = SPACE.table()
    known = [respond(c) for c in table.configs(range(len(table)))]
    feasible = [m for m in known if m is not None and OBJECTIVE.score(m).feasible]
    optimum = max(m["throughput"].value for m in feasible)

    def result(engine, seed):
        history = search(engine, 16, seed)
        good = [t for t in history if t.state is TrialState.COMPLETED and OBJECTIVE.score(t.metrics).feasible]
        best = max(t.metrics["throughput"].value for t in good)
        return best / optimum, sum(t.state is TrialState.INFEASIBLE for t in history)

    ours = [result(GPEngine(budget=16), seed) for seed in range(seeds)]
    theirs = [result(RandomEngine(), seed) for seed in range(seeds)]
    assert np.mean([found for found, _ in ours]) > 0.99
    assert np.mean([found for found, _ in ours]) >= np.mean([found for found, _ in theirs])
    # three configurations run out of memory, and the best ones lie beside them
    assert sum(wasted for _, wasted in ours) <= 2 * len(ours)


def test_what_needs_more_than_a_known_out_of_memory_configuration_is_left_alone():
    space = Space(
        (
            Int("batch", 1, 64, powers_of=2, memory="up"),
            Ordinal("shards", (1, 2, 4), memory="down"),
            Categorical("kind", ("a", "b")),
        )
    )
    table = space.table()
    suggestion = Suggestion({"batch": 16, "shards": 2, "kind": "a"}, Reason.INITIAL)
    failed = Measurement(failure=Failure(Cause.OUT_OF_MEMORY))
    trial = Trial(0, suggestion, TrialState.INFEASIBLE, 1, failed)
    known = known_out_of_memory(table, [trial])
    for config, hopeless in zip(table.configs(range(len(table))), known, strict=True):
        assert hopeless == (config["batch"] >= 16 and config["shards"] <= 2 and config["kind"] == "a")
    other = Trial(0, suggestion, TrialState.INFEASIBLE, 1, Measurement(failure=Failure(Cause.WRONG_OUTPUT)))
    assert not known_out_of_memory(table, [other]).any()

    def measured(number, asked):
        config = asked.config
        if config["batch"] / config["shards"] > 8:  # more is better until memory ends
            return Trial(number, asked, TrialState.INFEASIBLE, 1, failed)
        speed = float(config["batch"]) * (1.0 if config["kind"] == "a" else 0.85)
        metrics = {"throughput": Estimate(speed, 0.01), "latency": Estimate(0.1)}
        return Trial(number, asked, TrialState.COMPLETED, 1, Measurement(metrics=metrics))

    history = search(GPEngine(budget=24), 20, 0, space=space, measure=measured)
    good = [t.config for t in history if t.metrics]
    assert max(c["batch"] for c in good if c["kind"] == "a") == 32
    wasted = [t for t in history if t.state is TrialState.INFEASIBLE]
    for trial in wasted:  # none of them was implied by another one before it
        before = [t for t in wasted if t.number < trial.number]
        row = table.row(trial.config)
        assert not known_out_of_memory(table, before)[row] or trial.suggestion.reason is Reason.INITIAL


def test_limits_are_modelled_and_nothing_feasible_is_searched_for():
    strict = Objective.from_dict({"maximize": "throughput", "limits": ["latency <= 38 ms"]})
    history = search(GPEngine(budget=20), 14, 0, objective=strict)
    reasons = [t.suggestion.reason for t in history]
    assert Reason.FEASIBILITY in reasons
    assert any(t.metrics and strict.score(t.metrics).feasible for t in history)


def test_suggestions_carry_reason_prediction_and_feasibility():
    history = search(GPEngine(budget=16), 12, 1)
    modelled = [t for t in history if t.suggestion.predicted]
    assert modelled
    for trial in modelled:
        assert trial.suggestion.reason in (Reason.EXPLOIT, Reason.EXPLORE, Reason.FEASIBILITY)
        assert 0.0 <= trial.suggestion.p_feasible <= 1.0
        assert trial.suggestion.predicted["throughput"].value > 0
        assert trial.suggestion.predicted["throughput"].sem > 0
    close = [
        abs(math.log(t.suggestion.predicted["throughput"].value / t.metrics["throughput"].value))
        for t in modelled[3:]
        if t.metrics
    ]
    assert np.median(close) < 0.5


def test_minimizing_predicts_in_the_metrics_own_unit():
    objective = Objective.from_dict({"minimize": "latency"})
    history = search(GPEngine(budget=16), 12, 0, objective=objective)
    last = history[-1]
    assert last.suggestion.predicted["latency"].value > 0
    best = min(t.metrics["latency"].value for t in history if t.metrics)
    table = SPACE.table()
    known = [respond(c) for c in table.configs(range(len(table)))]
    assert best <= 1.05 * min(m["latency"].value for m in known if m is not None)


def test_candidates_of_a_small_space_are_all_that_is_untried():
    table = SPACE.table()
    tried = {config_key(table.config(i)) for i in range(0, len(table), 3)}
    found = candidates(SPACE, tried, [], np.random.default_rng(0))
    assert len(found) == len(table) - len(tried)


def blas_threads():
    return {pool["filepath"]: pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_an_ask_takes_one_thread_and_leaves_the_counts_as_they_were(monkeypatch):
    fitted = []

    def minimize(*args, **options):
        fitted.append((torch.get_num_threads(), *blas_threads().values()))
        return scipy.optimize.minimize(*args, **options)

    monkeypatch.setattr(fitting, "minimize", minimize)
    torch.set_num_threads(2)
    try:
        with threadpool_limits(2, user_api="blas"):
            search(GPEngine(budget=16), 8, 0)
            assert torch.get_num_threads() == 2
            assert set(blas_threads().values()) == {2}
    finally:
        torch.set_num_threads(1)
    assert fitted
    assert all(set(threads) == {1} and len(threads) > 1 for threads in fitted)


def test_an_added_configuration_off_the_grid_is_used_at_its_exact_place():
    space = Space((Float("x", 0.0, 1.0), Int("n", 1, 4)))
    trials = [
        Trial(
            i,
            Suggestion({"x": x, "n": 1 + i % 4}, Reason.ADDED),
            TrialState.COMPLETED,
            1,
            Measurement(metrics={"throughput": Estimate(1 + x), "latency": Estimate(0.1)}),
        )
        for i, x in enumerate((0.123, 0.456, 0.789))
    ]
    assert Encoder(space).configs([t.config for t in trials])[:, 0].tolist() == [0.123, 0.456, 0.789]
    assert GPEngine(initial=2).ask(space, OBJECTIVE, trials, [], 1, 0)[0].config["x"] >= 0.0


def test_numerical_failures_fall_back_in_a_fixed_order_and_are_said_once(monkeypatch, caplog):
    from autotune.engine.gp.choices import ADDITIVE, JOINT, RUGGED
    from autotune.engine.gp.model import surrogates

    history = search(GPEngine(budget=16), 6, 0)
    fits = []
    real = surrogates.fit_hyper

    def failing(squares, y, yvar, structure):
        fits.append(structure)
        if structure in (ADDITIVE, RUGGED) or "all" in fits:
            raise ArithmeticError("not positive definite")
        return real(squares, y, yvar, structure)

    monkeypatch.setattr(surrogates, "fit_hyper", failing)
    engine = GPEngine(budget=16)
    (asked,) = engine.ask(SPACE, OBJECTIVE, history, [], 1, 0)
    assert asked.predicted  # by the smooth model alone
    assert fits[0] is JOINT
    assert [r.message for r in caplog.records] == [
        "the 'auto' surrogate gave up, a simpler way is taken: not positive definite"
    ]
    fits.append("all")
    (asked,) = engine.ask(SPACE, OBJECTIVE, history, [], 1, 0)
    assert asked.reason is Reason.INITIAL
    assert config_key(asked.config) not in {config_key(t.config) for t in history}
    assert len(caplog.records) == 2  # the smooth one too; the first is not said again

    monkeypatch.setattr(surrogates, "fit_hyper", lambda *_: 1 / None)
    with pytest.raises(TypeError):  # a mistake is not hidden
        engine.ask(SPACE, OBJECTIVE, history, [], 1, 0)

"""Acquisitions: each beside BoTorch's, several goals, repeats, batches, beliefs of the user, explanations."""

import math
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from botorch.models import ModelListGP, SingleTaskGP
from botorch.sampling import SobolQMCNormalSampler
from gpytorch.kernels import MaternKernel, ScaleKernel

from autotune.core import ranking
from autotune.core.measurement import Cause, Estimate, Failure, Measurement
from autotune.core.objective import Objective
from autotune.core.parameter import Categorical, Float, Int, Ordinal, Prior
from autotune.core.space import Space
from autotune.core.trial import Reason, Suggestion, Trial, TrialState, config_key
from autotune.engine.gp import GPEngine
from autotune.engine.gp.acquisition.hypervolume import LogHypervolumeImprovement, boxes, reference_point
from autotune.engine.gp.acquisition.thompson import Samples
from autotune.engine.gp.config import ACQUISITIONS, GPConfig
from autotune.engine.gp.model.conditioning import Believed, Sampled
from autotune.engine.gp.model.data import Series
from autotune.engine.gp.model.fitted_models import FittedModels
from autotune.engine.gp.problem import Problem
from autotune.engine.random import RandomEngine
from autotune.errors import SpecError
from autotune.testing.engine_contract import SPACE, EngineContract, finished
from tests_contracts import LONG, slowly

torch.set_default_dtype(torch.float64)

NOISE = 0.01


class OneProcess:
    """A surface of one of BoTorch's own models: acquisitions need no more than the contract."""

    log_weights = torch.zeros(1)

    def __init__(self, model):
        self.model = model

    def predict(self, X):
        with torch.no_grad():
            posterior = self.model.posterior(X)
        return posterior.mean.squeeze(-1), posterior.variance.squeeze(-1)

    def each(self, X):
        mean, variance = self.predict(X)
        return mean.unsqueeze(0), variance.unsqueeze(0)

    def covariance(self, X, A):
        with torch.no_grad():
            joint = self.model.posterior(torch.cat([X, A])).distribution.covariance_matrix
        return joint[: len(X), len(X) :].unsqueeze(0)

    def noise(self):
        return torch.tensor([NOISE])

    def mix(self, logs):
        return torch.logsumexp(logs + self.log_weights.unsqueeze(-1), 0)


def process(X, y, length=0.3):
    kernel = ScaleKernel(MaternKernel(nu=2.5, ard_num_dims=X.shape[1]))
    kernel.base_kernel.lengthscale, kernel.outputscale = length, 1.0
    Yvar = torch.full((len(X), 1), NOISE)
    model = SingleTaskGP(X, y.unsqueeze(-1), Yvar, covar_module=kernel, outcome_transform=None)
    return model.requires_grad_(False).eval()


def believed(X, *models):
    """Return what acquisitions read of a belief without limits or failures."""
    goals = []
    for model in models:
        y = model.train_targets.numpy()
        series = Series(np.arange(len(y)), y, np.full(len(y), NOISE), 0.0, 1.0, logarithm=False)
        goals.append(SimpleNamespace(surrogate=OneProcess(model), series=series))
    return SimpleNamespace(
        goals=goals, goal=goals[0], measured=X, observed=torch.ones(len(X), dtype=torch.bool),
        default_rows=torch.arange(len(X)) == 0, seeking_feasible=False,
        kept=lambda points: torch.ones(len(points), dtype=torch.bool), config=GPConfig(),
    )  # fmt: skip


def points(n, d=2, seed=0):
    return torch.rand(n, d, generator=torch.Generator().manual_seed(seed))


def rank_correlation(a, b):
    ranks = [v.argsort().argsort().double() for v in (a, b)]
    return float(torch.corrcoef(torch.stack(ranks))[0, 1])


# -- beside BoTorch --------------------------------------------------------------------------------


def two_goals(n=12):
    X = points(n)
    first = process(X, torch.sin(4 * X[:, 0]) + X[:, 1])
    return X, first, process(X, torch.cos(3 * X[:, 0]) - 0.5 * X[:, 1] ** 2, length=0.4)


@pytest.mark.parametrize("waiting", [2, pytest.param(0, marks=pytest.mark.slow)])
def test_hypervolume_improvement_agrees_with_botorchs(waiting):
    from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement

    X, first, second = two_goals()
    acquisition = LogHypervolumeImprovement(believed(X, first, second), seed=3)
    X_pending, test = points(waiting, seed=5), points(200, seed=1)
    ours = acquisition.scorer(test, X_pending)(test)
    peer = qLogNoisyExpectedHypervolumeImprovement(
        ModelListGP(first, second), acquisition.reference, X, prune_baseline=False,
        sampler=SobolQMCNormalSampler(torch.Size([512]), seed=0), X_pending=X_pending if waiting else None,
    )  # fmt: skip
    with torch.no_grad():
        theirs = peer(test.unsqueeze(1))
        if waiting:  # theirs is the gain of the pending points and the candidate together
            theirs = theirs.exp()
            theirs = (theirs - float(theirs.min()) * 0.999).log()
    best = theirs.argsort(descending=True)[:40]
    assert rank_correlation(ours[best], theirs[best]) > 0.9
    assert int(ours.argmax()) in best[:5].tolist()
    if not waiting:
        assert float((ours[best[:20]] - theirs[best[:20]]).abs().median()) < 0.1


def test_boxes_fill_what_the_front_leaves():
    from botorch.utils.multi_objective.hypervolume import Hypervolume

    generator = torch.Generator().manual_seed(0)
    for m in (2, 3):
        values = torch.rand(4, 9, m, generator=generator)
        reference = torch.full((m,), 0.2)
        lower, upper = boxes(values, reference)
        for s in range(4):
            free = (upper[s].clamp_max(1.0) - lower[s]).clamp_min(0.0).prod(1).sum()
            taken = Hypervolume(reference).compute(values[s])
            assert float(free) + taken == pytest.approx(0.8**m, abs=1e-9)
    lower, upper = boxes(torch.empty(2, 0, 2), torch.zeros(2))  # nothing feasible: one box, all of it
    assert lower.tolist() == [[[0.0, 0.0]]] * 2
    assert bool(upper.isinf().all())


def test_three_goals_agree_with_sampling():
    X, first, second = two_goals()
    third = process(X, X[:, 0] * X[:, 1])
    acquisition = LogHypervolumeImprovement(believed(X, first, second, third), seed=0)
    test = points(30, seed=2)
    ours = acquisition.scorer(test, X[:0])(test)
    known = [Sampled(OneProcess(m), X, torch.zeros(1), 64, seed=1) for m in (first, second, third)]
    values = torch.stack([k.values for k in known], -1)
    lower, upper = boxes(values, acquisition.reference)
    moments = [k.moments(test) for k in known]
    normal = torch.randn(256, 64, 30, 3, generator=torch.Generator().manual_seed(0))
    drawn = torch.stack([mean for mean, _ in moments], -1) + normal * torch.stack(
        [variance[0].sqrt() for _, variance in moments], -1
    )
    gain = torch.zeros(30)
    for s in range(64):
        part = drawn[:, s, :, None]
        gain += (torch.minimum(part, upper[s]) - lower[s]).clamp_min(0.0).prod(-1).sum(-1).mean(0) / 64
    assert rank_correlation(ours, gain.log()) > 0.95


def test_the_reference_point_lies_below_the_front_and_the_default():
    front = torch.tensor([[1.0, 3.0], [2.0, 2.0]])
    assert reference_point(front, torch.tensor([[0.0, 2.5]])).tolist() == pytest.approx([-0.2, 1.9])
    assert reference_point(front[:1], front[:0]).tolist() == pytest.approx([0.9, 2.9])


def test_thompson_picks_as_often_as_a_candidate_is_the_best():
    X = points(8)
    model = process(X, torch.sin(4 * X[:, 0]) + X[:, 1])
    test = points(40, seed=4)
    samples = Samples(believed(X, model), test, 512, seed=0)
    ours = torch.bincount(samples.on_shortlist().argmax(1), minlength=40) / 512
    with torch.no_grad():
        drawn = model.posterior(test).rsample(torch.Size([4096])).squeeze(-1)
    theirs = torch.bincount(drawn.argmax(1), minlength=40) / 4096
    assert 0.5 * float((ours - theirs).abs().sum()) < 0.1
    assert torch.allclose(samples(test), samples.on_shortlist(), atol=1e-3)


def test_what_is_pending_lowers_the_covariance_as_measuring_it_does():
    X = points(10)
    y = torch.sin(4 * X[:, 0]) + X[:, 1]
    model, X_pending, test = process(X, y), points(2, seed=7), points(20, seed=8)
    mean, _ = OneProcess(model).predict(X_pending)
    more = OneProcess(process(torch.cat([X, X_pending]), torch.cat([y, mean])))
    waiting = Believed(OneProcess(model), X_pending)
    for found, wanted in zip(waiting.each(test), more.each(test), strict=True):
        assert torch.allclose(found, wanted, atol=1e-4)
    assert torch.allclose(waiting.covariance(test[:3], test), more.covariance(test[:3], test), atol=1e-4)


# -- in the engine ---------------------------------------------------------------------------------


@slowly(*LONG)
class TestThompson(EngineContract):
    def make(self, budget=None):
        return GPEngine(acquisition="thompson", budget=budget)


@slowly(*LONG)
class TestRepeating(EngineContract):
    """With 1 % of noise nothing is repeated even where it is allowed."""

    def make(self, budget=None):
        return GPEngine(repeat=True, budget=budget)

    # measurements that tell nothing are worth repeating: there, a configuration comes again
    test_a_space_of_any_size_is_exhausted = None
    test_the_next_one_is_given_wherever_a_sequence_or_a_list_of_points_ends = None


GRID = Space((Int("x", 0, 24), Int("y", 0, 24), Categorical("kind", ("a", "b"))))
PEAK = {"x": 17, "y": 6, "kind": "b"}
ONE = Objective.from_dict({"maximize": "speed"})


def speed(config):
    distance = ((config["x"] - 17) / 24) ** 2 + ((config["y"] - 6) / 24) ** 2
    return 10.0 * math.exp(-3.0 * distance) * (1.0 if config["kind"] == "b" else 0.8)


def play(engine, truth, n, seed=0, *, space=GRID, objective=ONE, noise=0.01, sem=None):
    """Return the trials of ``n`` asks; metrics have log-normal noise, a truth of ``None`` fails."""
    rng = np.random.default_rng(seed)
    history = []
    for i in range(n):
        (asked,) = engine.ask(space, objective, history, [], 1, seed)
        history.append(told(i, asked, truth(asked.config), noise, rng, sem))
    return history


def told(number, asked, exact, noise, rng, sem=None):
    if exact is None:
        failure = Measurement(failure=Failure(Cause.CRASHED_UNDER_LOAD))
        return Trial(number, asked, TrialState.INFEASIBLE, 1, failure)
    metrics = {
        name: Estimate(value * math.exp(noise * rng.standard_normal()), None if sem is None else sem * value)
        for name, value in exact.items()
    }
    return Trial(number, asked, TrialState.COMPLETED, 1, Measurement(metrics=metrics))


@pytest.mark.parametrize("name", ACQUISITIONS)
def test_every_acquisition_finds_the_peak(name):
    found = [
        max(
            speed(t.config) for t in play(GPEngine(acquisition=name), lambda c: {"speed": speed(c)}, 16, seed)
        )
        for seed in range(2)
    ]
    assert np.mean(found) > 9.5


def test_options_are_read_and_wrong_ones_refused():
    options = GPEngine.from_dict({"acquisition": "thompson", "repeat": "true"}).config
    assert options.acquisition == "thompson"
    assert options.repeat is True
    for wrong in ({"acquisition": "thomson"}, {"repeat": "perhaps"}):
        with pytest.raises(SpecError):
            GPEngine.from_dict(wrong)


SERVER = Space(
    (
        Int("batch", 1, 64, powers_of=2, scale="log2"),
        Int("shards", 1, 8, powers_of=2, scale="log2"),
        Ordinal("bits", (4, 8, 16), default=16),
        Int("chunk", 1, 16),
    )
)
BOTH = Objective.from_dict({"maximize": "throughput", "minimize": "latency"})


def server(config):
    step = (0.01 + 0.004 * config["batch"] ** 0.8) * (0.4 + 0.6 * config["bits"] / 16)
    step *= (1 + 0.005 * (config["chunk"] - 7) ** 2) / config["shards"] ** 0.6
    return {"throughput": config["batch"] / step / config["shards"] ** 0.5, "latency": 8 * step}


def hypervolume(configs, reference):
    points = [(math.log(m["throughput"]), -math.log(m["latency"])) for m in map(server, configs)]
    total, floor = 0.0, reference[1]
    for first, second in sorted((p for p in points if p[0] > reference[0]), reverse=True):
        if second > floor:
            total += (first - reference[0]) * (second - floor)
            floor = second
    return total


@pytest.mark.parametrize("seeds", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_the_front_of_two_goals_is_found(seeds):
    table = SERVER.table()
    everything = table.configs(range(len(table)))
    values = np.array([(math.log(m["throughput"]), -math.log(m["latency"])) for m in map(server, everything)])
    reference = tuple(np.quantile(values, 0.2, axis=0))
    whole = hypervolume(everything, reference)

    def share(engine, seed):
        history = play(engine, server, 20, seed, space=SERVER, objective=BOTH, noise=0.02)
        return hypervolume([t.config for t in history], reference) / whole, history

    ours = [share(GPEngine(), seed) for seed in range(seeds)]
    theirs = [share(RandomEngine(), seed)[0] for seed in range(3)]
    assert np.mean([found for found, _ in ours]) > 0.85
    assert np.mean([found for found, _ in ours]) > np.mean(theirs) + 0.15
    for _, history in ours:
        assert len(ranking.pareto_front(history, BOTH)) >= 4
        assert set(history[-1].suggestion.predicted) == {"throughput", "latency"}
    began = time.process_time()
    GPEngine().ask(SERVER, BOTH, ours[0][1], [], 1, 0)
    assert time.process_time() - began < 1.0


def test_several_goals_keep_limits_and_count_what_is_pending():
    limited = Objective.from_dict({**BOTH.to_dict(), "limits": ["memory <= 60 B"]})

    def truth(config):
        return {**server(config), "memory": config["batch"] * config["bits"] / 4.0}

    history = play(GPEngine(), truth, 14, 0, space=SERVER, objective=limited)
    later = [t for t in history[6:] if t.metrics["memory"].value > 62]
    assert len(later) <= 3
    asked = GPEngine().ask(SERVER, limited, history, [history[0].config | {"chunk": 9}], 4, 0)
    assert len({config_key(s.config) for s in asked}) == 4
    for suggestion in asked:
        assert set(suggestion.predicted) == {"throughput", "latency", "memory"}


def test_a_goal_that_some_trials_did_not_measure_is_survived():
    def truth(config):
        metrics = server(config)
        return metrics if config["chunk"] % 2 else {"throughput": metrics["throughput"]}

    history = play(GPEngine(), truth, 10, 0, space=SERVER, objective=BOTH)
    assert len({config_key(t.config) for t in history}) == 10
    never = play(GPEngine(), lambda c: {"throughput": 1.0}, 6, 0, space=SERVER, objective=BOTH)
    assert never[-1].suggestion.reason is Reason.RANDOM


# -- explanations ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "log"),
    [
        (["upper <= 9", "lower >= 0.2"], True),
        # a bound of 0 has no logarithm
        pytest.param(["upper <= 9", "lower >= 0"], False, marks=pytest.mark.slow),
        pytest.param(
            ["upper <= 9", "lower >= 0.2", "lower <= 2", "speed >= 0.5"], True, marks=pytest.mark.slow
        ),
    ],
)
def test_every_modelled_metric_is_predicted_in_its_own_unit(limits, log):
    objective = Objective.from_dict({"minimize": "cost", "limits": limits})

    def truth(config):
        lower = (config["y"] + 2) / 20 if log else (config["y"] - 2) / 20
        return {
            "cost": 50 / speed(config),
            "upper": 2 + config["x"] / 6,
            "lower": lower,
            "speed": 1.0 + lower,
        }

    engine = GPEngine()
    history = play(engine, truth, 24, 0, objective=objective, noise=0.01)
    asked = engine.ask(GRID, objective, history, [], 3, 0)
    for suggestion in asked:
        exact = truth(suggestion.config)
        assert set(suggestion.predicted) == set(objective.metrics)
        if exact["cost"] > 15:  # so bad a value is cut off before it is modelled
            continue
        for name, predicted in suggestion.predicted.items():
            assert abs(predicted.value - exact[name]) < 5 * predicted.sem + 0.02 * abs(exact[name])
            assert predicted.sem < 0.5 * abs(exact[name]) + 0.3
    surprises = [
        (t.metrics[name].value - predicted.value) / predicted.sem
        for t in history[8:]
        for name, predicted in t.suggestion.predicted.items()
    ]
    assert np.mean(np.abs(surprises) < 3.0) > 0.85


def test_predictions_take_the_unit_that_was_measured():
    def trial(i, x):
        metrics = {"speed": Estimate(1.0 + x, 0.01, 8, "frames/s")}
        suggestion = Suggestion({"x": x, "y": x, "kind": "a"}, Reason.ADDED)
        return Trial(i, suggestion, TrialState.COMPLETED, 1, Measurement(metrics=metrics))

    (asked,) = GPEngine(initial=1).ask(GRID, ONE, [trial(i, 3 * i) for i in range(6)], [], 1, 0)
    assert asked.predicted["speed"].unit == "frames/s"
    assert asked.p_feasible == pytest.approx(1.0)


# -- repeats ---------------------------------------------------------------------------------------

SMALL = Space((Int("x", 0, 9), Int("y", 0, 9)))


def flat(config):
    return {"speed": 10.0 * math.exp(-0.5 * (((config["x"] - 6) / 6) ** 2 + ((config["y"] - 3) / 6) ** 2))}


@pytest.mark.parametrize("seeds", [(1,), pytest.param((0, 1), marks=pytest.mark.slow)])
def test_leaders_are_measured_again_where_launches_differ_by_much_and_only_there(seeds):
    def repeats(noise, repeat, seeds=seeds):
        engine, count = GPEngine(repeat=repeat), 0
        for seed in seeds:
            history = play(engine, flat, 20, seed, space=SMALL, noise=noise)
            keys = [config_key(t.config) for t in history]
            again = [t for t in history if t.suggestion.reason is Reason.REPEAT]
            assert len(again) == len(keys) - len(set(keys))
            for trial in again:
                assert keys.count(config_key(trial.config)) <= 4
                assert trial.suggestion.predicted["speed"].sem > 0
            count += len(again)
        return count

    assert repeats(0.02, True) <= 1
    assert repeats(0.3, False, seeds=(0,)) == 0
    assert repeats(0.3, True) >= 3


def test_repeated_configurations_are_taken_by_the_models():
    rng = np.random.default_rng(0)
    config = {"x": 6, "y": 3}
    trials = [
        told(i, Suggestion(config, Reason.CONFIRM), {"speed": 10.0}, 0.1, rng, sem=0.01) for i in range(20)
    ]
    for i in range(6):
        place = {"x": i, "y": 9 - i}
        trials.append(told(20 + i, Suggestion(place, Reason.ADDED), flat(place), 0.1, rng))
    models = FittedModels(Problem(SMALL, ONE, trials), np.random.default_rng(0))
    mean, variance = models.goal.surrogate.predict(models.measured[:1])
    series = models.goal.series
    pooled = np.mean([math.log(t.metrics["speed"].value) for t in trials[:20]])
    assert float(mean) == pytest.approx(series.standardize(float(pooled)), abs=0.15)
    assert float(variance) < 0.1
    (asked,) = GPEngine(initial=1).ask(SMALL, ONE, trials, [], 1, 0)
    assert config_key(asked.config) != config_key(config)


# -- batches ---------------------------------------------------------------------------------------


def test_a_batch_costs_much_less_than_its_asks(monkeypatch):
    import autotune.engine.gp.model.fitted_models as module

    history = play(GPEngine(), lambda c: {"speed": speed(c)}, 8)
    fits = []
    surrogate_named = module.surrogate_named

    def counted(config):
        make = surrogate_named(config)
        return lambda *args: fits.append(1) or make(*args)

    monkeypatch.setattr(module, "surrogate_named", counted)
    asked = GPEngine().ask(GRID, ONE, history, [], 4, 0)
    assert len(fits) == 1
    assert len({config_key(s.config) for s in asked}) == 4
    assert asked[0] == GPEngine().ask(GRID, ONE, history, [], 1, 0)[0]


def test_a_batch_is_what_asks_with_the_earlier_ones_pending_give():
    history = play(GPEngine(), lambda c: {"speed": speed(c)}, 10)
    batch = GPEngine().ask(GRID, ONE, history, [], 3, 0)
    places = np.array([[s.config["x"], s.config["y"], 24 * (s.config["kind"] == "b")] for s in batch])
    gaps = [np.abs(a - b).sum() for i, a in enumerate(places) for b in places[:i]]
    assert min(gaps) >= 1
    assert max(gaps) >= 3  # they do not crowd around one point


def test_wide_batches_are_cheap_distinct_and_good():
    history = play(GPEngine(), lambda c: {"speed": speed(c)}, 12)
    began = time.process_time()
    asked = GPEngine().ask(GRID, ONE, history, [{"x": 1, "y": 1, "kind": "a"}], 64, 0)
    assert time.process_time() - began < 3.0
    tried = {config_key(t.config) for t in history} | {config_key({"x": 1, "y": 1, "kind": "a"})}
    keys = {config_key(s.config) for s in asked}
    assert len(keys) == 64
    assert not keys & tried
    assert asked == GPEngine().ask(GRID, ONE, history, [{"x": 1, "y": 1, "kind": "a"}], 64, 0)
    table = GRID.table()
    typical = np.median([speed(c) for c in table.configs(range(len(table)))])
    assert np.median([speed(s.config) for s in asked]) > typical


@pytest.mark.slow
def test_wide_batches_of_spaces_that_are_no_table_or_nearly_spent_are_distinct():
    large = Space((*GRID.parameters, *(Int(f"n{i}", 0, 30) for i in range(6))))
    assert large.table() is None
    some = play(GPEngine(), lambda c: {"speed": speed(c)}, 8, space=large)
    asked = GPEngine().ask(large, ONE, some, [], 20, 0)
    assert len({config_key(s.config) for s in asked}) == 20
    assert all(large.validate(s.config) == s.config for s in asked)
    space = Space((Int("x", 0, 24), Int("y", 0, 2), Categorical("kind", ("a",))))
    few = play(GPEngine(), lambda c: {"speed": speed(c)}, 5, space=space)
    everything = GPEngine().ask(space, ONE, few, [], 100, 0)
    assert len({config_key(s.config) for s in everything}) == len(space.table()) - 5


# -- what the user believes ------------------------------------------------------------------------


def with_belief(x, y, kind):
    return Space(
        (
            Int("x", 0, 24, prior=Prior(around=x, spread=2.0)),
            Int("y", 0, 24, prior=Prior(around=y, spread=2.0)),
            Categorical("kind", ("a", "b"), prior=Prior(weights=(("a", kind), ("b", 1.0 - kind)))),
        )
    )


def trials_needed(space, seed, most=30):
    """Return after how many trials one within 3 % of the best was measured."""
    engine, rng = GPEngine(), np.random.default_rng(seed)
    history = []
    while len(history) < most:
        (asked,) = engine.ask(space, ONE, history, [], 1, seed)
        if speed(asked.config) >= 9.7:
            return len(history) + 1
        history.append(told(len(history), asked, {"speed": speed(asked.config)}, 0.01, rng))
    return most + 1


@pytest.mark.parametrize("seeds", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_a_right_belief_gets_there_sooner_and_a_wrong_one_is_overcome(seeds):
    right = [trials_needed(with_belief(17, 6, 0.1), seed) for seed in range(seeds)]
    none = [trials_needed(GRID, seed) for seed in range(seeds)]
    wrong = [trials_needed(with_belief(3, 21, 0.9), seed) for seed in range(seeds)]
    assert np.mean(right) < np.mean(none)
    assert max(wrong) <= 30
    assert np.mean(wrong) > np.mean(right)


def test_a_belief_about_an_inactive_parameter_says_nothing():
    from autotune.engine.gp.model.user_prior import UserPrior

    space = Space(
        (
            Int("length", 0, 2),
            Float("share", 0.0, 1.0, when="length > 0", prior=Prior(around=0.5, spread=0.1)),
            Ordinal("bits", (4, 8), prior=Prior(weights=((4, 1e-300), (8, 1.0)))),
        )
    )
    table = space.table()
    found = UserPrior(space, 10)(table.indices)
    assert bool(found.isfinite().all())  # a weight of next to nothing excludes nothing
    none = [i for i, c in enumerate(table.configs(range(len(table)))) if c["length"] == 0 and c["bits"] == 8]
    assert found[none].tolist() == pytest.approx([math.log(2.0)])
    assert torch.allclose(UserPrior(space, 40)(table.indices), found / 4)
    assert not UserPrior(SPACE, 10)(SPACE.table().indices).any()


# -- nothing keeps the limits yet ------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_what_keeps_the_limits_is_looked_for_until_it_is_found(seed):
    strict = Objective.from_dict({"maximize": "speed", "limits": ["upper <= 1", "lower >= 8"]})

    def truth(config):  # two corners of the space exclude each other but for a few configurations
        if config["x"] > 20:
            return None
        return {"speed": 1.0 + config["x"], "upper": 0.5 + config["x"] / 12, "lower": config["y"] / 2.5}

    history = play(GPEngine(), truth, 20, seed, objective=strict, noise=0.005)
    good = [bool(t.metrics) and strict.score(t.metrics).feasible for t in history]
    assert any(good)
    first = good.index(True)
    modelled = [t.suggestion for t in history[3 : first + 1] if t.suggestion.predicted]
    assert all(s.reason is Reason.FEASIBILITY for s in modelled)
    assert sum(good[first + 1 :]) >= 3


def test_pending_points_spread_a_search_for_what_keeps_the_limits():
    strict = Objective.from_dict({"maximize": "speed", "limits": ["lower >= 100"]})
    history = play(GPEngine(), lambda c: {"speed": 1.0, "lower": 1.0 + c["y"]}, 8, objective=strict)
    batch = GPEngine().ask(GRID, strict, history, [], 4, 0)
    assert {s.reason for s in batch} == {Reason.FEASIBILITY}
    assert all(s.p_feasible < 0.2 for s in batch)
    assert len({config_key(s.config) for s in batch}) == 4
    assert finished(0, Suggestion(SPACE.default_config, Reason.DEFAULT)).metrics

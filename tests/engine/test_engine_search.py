"""Spaces too large to enumerate: candidates, local search, the trust region, continuous parameters."""

import itertools

import numpy as np
import pytest
import torch

from autotune.core.measurement import Cause, Estimate, Failure, Measurement
from autotune.core.objective import Objective
from autotune.core.parameter import Bool, Categorical, Float, Int, Ordinal
from autotune.core.space import Space
from autotune.core.trial import Reason, Suggestion, Trial, TrialState, config_key
from autotune.engine.gp import GPEngine
from autotune.engine.gp.choices import TrustRegionConfig
from autotune.engine.gp.config import GPConfig
from autotune.engine.gp.model.encode import Encoder
from autotune.engine.gp.model.fitted_models import FittedModels
from autotune.engine.gp.optimize.candidates import candidates
from autotune.engine.gp.optimize.local_search import CALLS, ROWS, climb
from autotune.engine.gp.optimize.moves import Moves
from autotune.engine.gp.optimize.refine import refine
from autotune.engine.gp.optimize.selection import Scores
from autotune.engine.gp.optimize.trust_region import Region, length_after, successes, trust_region
from autotune.engine.gp.problem import Problem
from autotune.engine.registry import build_engine
from autotune.engine.untried import untried_rows
from autotune.errors import SpecError

OBJECTIVE = Objective.from_dict({"maximize": "y", "limits": ["memory <= 5"]})
REGION = TrustRegionConfig()


def many(d):
    """Return parameters of all kinds, some of which constraints tie."""
    kinds = [
        lambda i: Int(f"batch{i}", 1, 1024, powers_of=2, scale="log2"),
        lambda i: Int(f"number{i}", 0, 19),
        lambda i: Categorical(f"choice{i}", ("a", "b", "c", "d")),
        lambda i: Bool(f"flag{i}"),
        lambda i: Ordinal(f"size{i}", (1, 2, 4, 8, 16), when=f"flag{i - 1}" if i == 4 else None),
    ]
    return tuple(kinds[i % 5](i) for i in range(d))


SPACES = {
    "ten to the 6": Space(tuple(Int(f"x{i}", 0, 9) for i in range(6))),
    "ten to the 9, conditions and constraints": Space(
        many(12), ("batch0 * size9 <= 2048", "number1 + number6 <= 30")
    ),
    "ten to the 22": Space(many(30), ("batch0 * size9 <= 2048", "number1 + number6 + number16 <= 30")),
    "ten to the 47": Space(many(60), ("batch0 * size9 <= 2048", "batch20 <= batch25")),
    "one in 10,000 is allowed": Space(
        tuple(Int(name, 0, 99) for name in "abcdefgh"), ("a == b", "c == d", "e + f + g + h >= 1")
    ),
    "sums and products are given": Space(
        tuple(Int(f"x{i}", 0, 19) for i in range(10)),
        ("x0 + x1 + x2 + x3 == 30", "x4 * x5 == 36 or x4 == x5"),
    ),
    "a branch of 20 among 300 million": Space(
        (
            Categorical("kind", ("tree", "kernel", "linear")),
            Bool("scaled"),
            *(Int(f"tree{i}", 0, 9, when="kind == 'tree'") for i in range(3)),
            *(Int(f"kernel{i}", 0, 49, when="kind == 'kernel'") for i in range(5)),
            Int("linear0", 0, 9, when="kind == 'linear'"),
        )
    ),
}
"""None of them can be enumerated."""


def hill(space, seed):
    """Return a score whose maximum 0 is at one allowed row, coupled between parameters, and that row."""
    rng = np.random.default_rng(seed)
    top = space.draw(1, rng)[0]
    if "linear0" in space.names and seed % 2:
        top = space.as_table(top[None]).encode({"kind": "linear", "scaled": True, "linear0": 7})
    counts = np.array([len(p.levels) for p in space.parameters])
    ordered = np.array([p.ordered for p in space.parameters])
    weights = np.exp(rng.normal(0, 1, len(space)))
    mixing = rng.normal(size=(len(space), len(space))) / len(space) ** 0.5

    def score(rows):
        gap = np.where(ordered, (rows - top) / np.maximum(1, counts - 1), (rows != top) * 0.5)
        gap = np.where((rows < 0) != (top < 0), 0.5, gap) * weights
        return -((gap @ mixing) ** 2).sum(1) - (gap**2).sum(1)

    return score, top


@pytest.mark.parametrize("name", SPACES)
def test_local_search_comes_far_closer_to_the_best_than_random_rows(name):
    space = SPACES[name]
    assert space.table() is None
    for seed in range(2):
        score, _ = hill(space, seed)
        rng = np.random.default_rng(seed)
        pool = space.draw(20_000, rng)
        scores = score(pool)
        middle, random = np.median(scores), scores.max()
        asked = []

        def counted(rows, score=score, asked=asked):
            asked.append(len(rows))
            return score(rows)

        found = climb(space, pool[:4000], counted, set(), rng, rows=12_000, calls=16)
        assert found.scores[0] == score(found.rows[:1])[0]
        assert (np.diff(found.scores) <= 0).all()
        assert found.scores[0] / middle <= 0.25 * random / middle
        assert found.scores[0] / middle < 0.02
        assert len(asked) == found.calls <= 17
        assert sum(asked) == found.scored <= 16_000
        usual = climb(space, pool[:500], score, set(), rng)
        assert usual.scores[0] / middle <= 0.25 * random / middle
        assert usual.scored <= ROWS + 500
        assert usual.calls <= CALLS + 1
        best = space.as_table(found.rows[:50])
        for config in best.configs(range(len(best))):
            assert space.validate(config) == config


def test_local_search_is_repeatable_and_never_finds_what_was_tried():
    space = SPACES["ten to the 9, conditions and constraints"]
    score, top = hill(space, 3)
    pool = space.draw(2000, np.random.default_rng(0))
    first, again = (climb(space, pool, score, set(), np.random.default_rng(1)) for _ in range(2))
    assert (first.rows == again.rows).all()
    assert (first.scores == again.scores).all()
    assert (first.rows[0] == top).all()
    best = space.as_table(first.rows[:20])
    tried = {config_key(c) for c in best.configs(range(20))}
    other = climb(space, pool, score, tried, np.random.default_rng(1), leaders=first.rows[:5])
    keys = {config_key(c) for c in space.as_table(other.rows).configs(range(len(other.rows)))}
    assert len(keys) == len(other.rows)
    assert not keys & tried
    assert first.scores[20] <= other.scores[0] < first.scores[0]


def test_local_search_begins_at_leaders_keeps_within_and_leaves_alone_what_scores_nothing():
    space = SPACES["ten to the 22"]
    score, top = hill(space, 0)
    near = Moves(space, np.random.default_rng(0)).mutations(top[None], 200, 0.1)
    alone = climb(space, near[:0], score, set(), np.random.default_rng(0), leaders=near[:3])
    assert alone.scores[0] > score(near[:3]).max()

    def even(rows):
        return rows[:, 1] % 2 == 0

    inside = climb(space, near, score, set(), np.random.default_rng(0), within=even)
    assert even(inside.rows).all()
    assert len(inside.rows) > 1000
    broken = climb(
        space,
        near,
        lambda rows: np.where(rows[:, 0] > 3, score(rows), -np.inf),
        set(),
        np.random.default_rng(0),
    )
    assert (broken.rows[:, 0] > 3).all()
    nothing = climb(space, near, lambda rows: np.full(len(rows), -np.inf), set(), np.random.default_rng(0))
    assert len(nothing.rows) == 0


def test_every_move_leads_to_an_allowed_configuration():
    for space in SPACES.values():
        moves = Moves(space, np.random.default_rng(0))
        rows = space.draw(3, np.random.default_rng(1))
        changes = [
            moves.settled(moves.every(rows)),
            moves.settled(moves.some(rows, 50)),
            moves.settled(moves.some(rows, 50, steps=2)),
            moves.settled(moves.together(rows, 5)),
        ]
        found = [*(moved.rows for moved in changes), moves.mutations(rows, 200), moves.branches(rows)]
        for table in map(space.as_table, found):
            for config in table.configs(range(0, len(table), 7)):
                assert space.validate(config) == config
        for moved in changes[:2]:
            differ = moved.rows != rows[moved.parent]
            assert differ[np.arange(len(moved)), moved.column].all()


def test_every_change_of_one_parameter_is_there():
    space = Space((*(Int(f"x{i}", 0, 4) for i in range(3)), Categorical("c", ("a", "b"))), ("x0 + x1 <= 6",))
    row = np.array([[1, 2, 3, 0]], np.int32)
    moves = Moves(space, np.random.default_rng(0))
    found = {tuple(r) for r in moves.settled(moves.every(row)).rows}
    table = space.table().indices
    assert found == {tuple(r) for r in table[(table != row).sum(1) == 1]}


def test_parameters_that_constraints_tie_move_together():
    space = Space(tuple(Int(f"x{i}", 0, 19) for i in range(5)), ("x0 + x1 + x2 == 30", "x3 == x4"))
    moves = Moves(space, np.random.default_rng(0))
    row = np.array([[10, 10, 10, 5, 5]], np.int32)
    alone = moves.settled(moves.every(row)).rows
    assert len(alone) == 0
    together = moves.settled(moves.together(row, 20)).rows
    assert len(np.unique(together, axis=0)) > 20
    assert {4, 6} <= set(together[:, 3])
    assert (np.abs(together[:, :3] - 10).sum(1) == 2).any()


def test_candidates_of_a_large_space_are_distinct_untried_and_dense_around_the_leaders():
    space = SPACES["a branch of 20 among 300 million"]
    leaders = space.sample(5, np.random.default_rng(5))
    first = candidates(space, set(), leaders, np.random.default_rng(0))
    tried = {config_key(first.config(i)) for i in range(0, 3000, 3)}
    found = candidates(space, tried, leaders, np.random.default_rng(0))
    again = candidates(space, tried, leaders, np.random.default_rng(0))
    assert (found.indices == again.indices).all()
    keys = [config_key(c) for c in found.configs(range(len(found)))]
    assert len(set(keys)) == len(keys) > 4000
    assert not set(keys) & tried
    assert all(space.validate(c) == c for c in found.configs(range(0, len(found), 97)))
    row = found.encode(leaders[0])
    assert ((first.indices != row).sum(1) <= 2).sum() > 50
    # a uniform draw shows the branch of 20 configurations once in millions
    linear = first.indices[first.indices[:, 0] == 2]
    assert {tuple(r) for r in linear[:, [1, -1]]} == set(itertools.product(range(2), range(10)))


def test_a_value_between_the_levels_excludes_no_level():
    space = Space((Float("x", 0.0, 1.0), Int("n", 1, 3)))
    table = space.table()
    tried = {config_key({"x": 0.51, "n": 2}), config_key(table.config(5))}
    assert len(untried_rows(table, tried)) == len(table) - 1
    large = Space((Float("x", 0.0, 1.0), *(Int(f"n{i}", 0, 9) for i in range(6))))
    near = {"x": 0.51, **{f"n{i}": 3 for i in range(6)}}
    found = candidates(large, {config_key(near)}, [near], np.random.default_rng(0))
    assert found.row({**near, "x": 0.5}) is not None


def trial(number, config, y=None, memory=1.0, reason=Reason.EXPLOIT, state=None):
    """Return a finished trial."""
    metrics = {} if y is None else {"y": Estimate(y), "memory": Estimate(memory)}
    failure = Failure(Cause.OUT_OF_MEMORY) if y is None and state is None else None
    state = state or (TrialState.INFEASIBLE if y is None else TrialState.COMPLETED)
    return Trial(number, Suggestion(config, reason), state, 1, Measurement(metrics, failure))


def test_successes_are_replayed_from_the_history():
    config = {"x": 1}
    history = [
        trial(0, config, 1.0, memory=9.0, reason=Reason.DEFAULT),
        trial(1, config, 5.0, memory=8.0),  # breaks the limit by less
        trial(2, config),
        trial(3, config, 2.0),  # the first that keeps it
        trial(4, config, 2.0005),
        trial(5, config, state=TrialState.FAILED),
        trial(6, config, 9.0, memory=6.0),
        trial(7, config, 3.0),
        trial(8, config, 4.0, reason=Reason.ADDED),
        trial(9, config, 3.5),
    ]
    assert successes(history, OBJECTIVE) == [True, False, True, False, False, True, False]
    both = Objective.from_dict({"maximize": "y", "minimize": "memory"})
    front = [
        trial(0, config, 1.0, 1.0),
        trial(1, config, 2.0, 2.0),
        trial(2, config, 0.5, 0.5),
        trial(3, config, 0.9, 1.5),
    ]
    assert successes(front, both) == [True, True, True, False]


def test_the_region_grows_with_successes_and_shrinks_with_failures():
    assert length_after([]) == REGION.first
    assert length_after([True] * 3) == 2 * REGION.first
    assert length_after([True, True, False, True]) == REGION.first
    assert length_after([False] * REGION.failures) == REGION.first / 2
    lengths = [length_after([False] * n) for n in range(60)]
    assert min(lengths) >= REGION.least
    assert REGION.first in lengths[20:]  # it opened again


def test_a_region_holds_its_centre_and_what_it_samples():
    space = SPACES["ten to the 22"]
    centre = space.sample(1, np.random.default_rng(2))[0]
    row = space.as_table(space.draw(0, np.random.default_rng(0))).encode(centre)
    sizes = []
    for length in (1.6, 0.8, 0.2, REGION.least):
        region = Region(space, centre, length)
        assert region(row[None]).all()
        moves = Moves(space, np.random.default_rng(0))
        rows = region.sample(500, moves)
        assert len(rows) > 50
        assert region(rows).all()
        assert all(space.validate(c) == c for c in space.as_table(rows[:20]).configs(range(20)))
        sizes.append(float((region.high - region.low).sum()))
        free = space.as_table(rows).configs(range(len(rows)))
        inside = candidates(space, {config_key(free[0])}, [centre], np.random.default_rng(0), region)
        assert len(inside) > 20
        assert region(inside.indices).all()
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 2 * sizes[-1]


def test_there_is_a_region_where_there_are_many_parameters_or_it_is_asked_for():
    small, large = SPACES["ten to the 6"], SPACES["ten to the 22"]
    for space, wanted, there in (
        (small, "auto", False), (small, "on", True), (large, "auto", True), (large, "off", False),
    ):  # fmt: skip
        problem = Problem(space, OBJECTIVE, [], config=GPConfig(trust_region=wanted))
        found = trust_region(problem, space.default_config)
        assert (found is not None) == there


MIXED = Space(
    (
        Float("x", 0.001, 10.0, scale="log10"),
        Float("y", -1.0, 3.0),
        Int("n", 1, 8),
        Categorical("c", ("a", "b", "c")),
        Float("z", 0.0, 1.0, when="c == 'a'"),
    ),
    ("y <= 1.5 or n > 4",),
)


def bowl(centre, differentiable=True):
    """Return a score of encodings with its maximum at ``centre``; its gradient may be withheld."""
    target = torch.from_numpy(Encoder(MIXED).configs([centre]))[0]

    def score(X):
        value = -((X - target).square() * torch.arange(1, X.shape[1] + 1)).sum(1)
        return value if differentiable else value.detach()

    return score


@pytest.mark.parametrize("differentiable", [True, False])
def test_continuous_parameters_are_refined_off_the_grid(differentiable):
    top = {"x": 0.0374, "y": 0.7123, "n": 3, "c": "a", "z": 0.456}
    start = {"x": 0.1, "y": 1.0, "n": 5, "c": "a", "z": 0.5}
    with torch.no_grad():  # as an engine calls it
        found = refine(MIXED, start, bowl(top, differentiable))
    assert MIXED.validate(found) == found
    assert found["n"] == 5
    assert found["c"] == "a"
    for name in "xyz":
        assert found[name] == pytest.approx(top[name], rel=1e-3)
        assert float(f"{found[name]:.6g}") == found[name]
    assert config_key(refine(MIXED, start, bowl(top))) == config_key(refine(MIXED, start, bowl(top)))


def test_refining_stops_at_constraints_bounds_and_conditions():
    start = {"x": 0.1, "y": 1.0, "n": 3, "c": "b"}
    found = refine(MIXED, start, bowl({"x": 10.0, "y": 3.0, "n": 5, "c": "b"}))
    assert MIXED.validate(found) == found
    assert 1.0 < found["y"] <= 1.5  # a shorter way was taken
    assert "z" not in found
    assert found["x"] <= 10.0
    best = {"x": 0.1, "y": 1.0, "n": 3, "c": "b"}
    assert refine(MIXED, best, bowl(best)) == best
    switch = Space((Float("x", 0.0, 1.0), Int("n", 1, 4, when="x > 0.5")))
    column = lambda X: X[:, 0]  # noqa: E731
    found = refine(switch, {"x": 0.40625}, column)
    assert "n" not in found
    assert 0.40625 < found["x"] <= 0.5
    assert refine(Space((Int("n", 1, 4),)), {"n": 2}, column) == {"n": 2}


def test_a_score_without_a_number_is_not_followed():
    start = {"x": 0.1, "y": 1.0, "n": 3, "c": "b"}
    assert refine(MIXED, start, lambda X: X[:, 0] * torch.nan) == start


def test_the_engines_own_score_has_the_gradient_that_its_differences_show():
    rng = np.random.default_rng(0)
    history = [
        trial(
            i,
            config,
            5.0 - abs(float(config["y"]) - 0.3) - int(config["n"]) / 8,
            memory=3 + int(config["n"]) / 4,
        )
        for i, config in enumerate(MIXED.sample(12, rng))
    ]
    history.append(trial(12, MIXED.sample(1, rng)[0]))
    with torch.no_grad():
        belief = FittedModels(Problem(MIXED, OBJECTIVE, history), rng)
        scores = Scores(Problem(MIXED, OBJECTIVE, history), belief, 0)
        X = torch.from_numpy(belief.encoder.configs(MIXED.sample(3, rng)))
        score = scores.of_encoded(scores.acquisition.scorer(X, X[:1]), X[:1])
        steps = 1e-6 * torch.eye(X.shape[1], dtype=X.dtype)
        slopes = torch.stack([(score(x + steps) - score(x - steps)) / 2e-6 for x in X[1:]])
    with torch.enable_grad():
        inside = X[1:].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(score(inside).sum(), inside)
    assert gradient.abs().max() > 0.1
    assert torch.allclose(gradient, slopes, rtol=1e-3, atol=1e-4)


def test_an_engine_proposes_continuous_values_off_the_grid_and_comes_closer_for_it():
    space = Space(
        (Float("x", 0.0, 1.0), Float("y", 0.01, 100.0, scale="log10"), Bool("b")), ("x <= 0.9 or b",)
    )

    def speed(config):
        return 10.0 - 50 * (float(config["x"]) - 0.328) ** 2 - (np.log10(float(config["y"])) - 0.81) ** 2

    history = []
    for i in range(14):
        (asked,) = GPEngine().ask(space, Objective.from_dict({"maximize": "y"}), history, [], 1, 0)
        assert space.validate(asked.config) == asked.config
        measured = Measurement({"y": Estimate(speed(asked.config), 1e-4)})
        history.append(Trial(i, asked, TrialState.COMPLETED, 1, measured))
    grid = space.table()
    best_on_grid = max(map(speed, grid.configs(range(len(grid)))))
    assert best_on_grid < 9.985  # the top lies between the levels
    assert max(speed(t.config) for t in history) > best_on_grid + 0.005
    assert len({config_key(t.config) for t in history}) == 14


def test_the_region_is_an_option():
    assert build_engine("gp").config.trust_region == "auto"
    for written, read in (("on", "on"), ("off", "off"), (True, "on"), ("false", "off"), ("auto", "auto")):
        assert build_engine({"use": "gp", "trust_region": written}).config.trust_region == read
    with pytest.raises(SpecError, match="unknown trust_region 'maybe'; allowed: auto, on, off"):
        build_engine({"use": "gp", "trust_region": "maybe"})


def test_with_many_parameters_suggestions_stay_in_the_region():
    space = SPACES["ten to the 22"]
    objective = Objective.from_dict({"maximize": "y"})
    rng = np.random.default_rng(0)
    history = [
        trial(i, c, float(i == 3) + 1, reason=Reason.INITIAL) for i, c in enumerate(space.sample(6, rng))
    ]
    history += [trial(6 + i, c, 1.0) for i, c in enumerate(space.sample(2 * REGION.failures, rng))]
    region = Region(space, history[3].config, REGION.first / 4)
    encode = space.as_table(space.draw(0, rng)).encode

    def inside(wanted):
        engine = build_engine({"use": "gp", "trust_region": wanted})
        asked = engine.ask(space, objective, history, [], 3, 0)
        return [bool(region(encode(s.config)[None])[0]) for s in asked]

    assert inside("auto") == inside("on") == [True] * 3
    assert inside("off") != [True] * 3

"""The design choices of the engine: one value that is printed, kept, and replaced by an ablation."""

import math
from dataclasses import asdict, fields, replace

import numpy as np
import pytest
import torch

import autotune
from autotune.core.measurement import Cause, Estimate, Failure, Measurement
from autotune.core.objective import Objective
from autotune.core.parameter import Bool, Float, Int
from autotune.core.space import Space
from autotune.core.trial import Reason, Suggestion, Trial, TrialState, config_key
from autotune.engine.gp import GPEngine
from autotune.engine.gp.choices import HistoryConfig, StoppingConfig, Structure, TrustRegionConfig
from autotune.engine.gp.config import GPConfig, described
from autotune.engine.gp.model.data import read_history
from autotune.engine.gp.model.feasibility import Feasibility
from autotune.engine.gp.optimize import selection
from autotune.engine.gp.optimize.candidates import candidates
from autotune.engine.gp.optimize.trust_region import length_after, successes, trust_region
from autotune.engine.gp.problem import Problem
from autotune.engine.gp.regret.gap import Gap
from autotune.engine.registry import build_engine

LARGE = Space(tuple(Int(f"x{i}", 0, 9) for i in range(6)))
SMALL = Space((Int("a", 0, 99), Int("b", 0, 99)))
OBJECTIVE = Objective.from_dict({"maximize": "y", "limits": ["memory <= 2"]})


def trial(number, config, y=None, shortfall=None):
    """Return a finished trial; without a value it was out of memory."""
    failure = Failure(Cause.OUT_OF_MEMORY, shortfall=shortfall) if y is None else None
    metrics = {} if y is None else {"y": Estimate(y), "memory": Estimate(1.0)}
    state = TrialState.INFEASIBLE if y is None else TrialState.COMPLETED
    return Trial(number, Suggestion(config, Reason.EXPLOIT), state, 1, Measurement(metrics, failure))


def history(space, n=6, seed=0):
    """Return trials of a slope with its top at the upper end."""
    drawn = space.sample(n, np.random.default_rng(seed))
    return [trial(i, config, 1.0 + sum(config.values())) for i, config in enumerate(drawn)]


def test_every_choice_is_printed_and_structures_by_their_names():
    shown = described(GPConfig())
    assert [text.partition("=")[0] for text in shown.split(" ")] == [f.name for f in fields(GPConfig)]
    assert " structures=(joint,additive,rugged) structures_of_many=(joint,additive) " in shown
    assert " failures=(nearby,everywhere) " in shown
    assert " region=(parameters=16,first=0.8," in shown
    other = described(replace(GPConfig(), structures=(Structure(part_length=0.5),), failures=()))
    assert (
        " structures=((length=(1.4142135623730951,1.7320508075688772),noise=(-6.0,2.0),parts=None," in other
    )
    assert " failures=() " in other


def test_a_study_stored_without_the_newer_choices_goes_on(tmp_path):
    path = tmp_path / "l.sqlite"
    with autotune.Study(SMALL, {"maximize": "y"}, engine={"use": "gp", "initial": 2}, path=path) as study:
        name = study.name
        for y in (1.0, 2.0):
            study.tell(study.ask(), {"y": y})
        kept = study.ledger.study_notes(name)["engine choices"]
        assert kept["region"] == asdict(TrustRegionConfig())
        older = {key: kept[key] for key in ("initial", "surrogate", "structures", "waste", "outliers")}
        study.ledger.set_study_note(name, "engine choices", older)
    with autotune.Study.open(path) as study:
        assert study.engine.config == replace(GPConfig(), initial=2)
        study.tell(study.ask(), {"y": 3.0})
        assert study.ledger.study_notes(name)["engine choices"] == older  # what it began with


def test_a_region_grows_as_it_is_configured():
    choices = TrustRegionConfig(parameters=2, first=0.4, successes=1, failures=2, better=0.5, perturbed=1.0)
    config = replace(GPConfig(), region=choices)
    found = trust_region(Problem(SMALL, OBJECTIVE, [], config=config), SMALL.default_config)
    assert (found.length, found.perturbed) == (0.4, 1.0)
    assert trust_region(Problem(SMALL, OBJECTIVE, []), SMALL.default_config) is None
    assert length_after([True], choices) == 0.8
    assert length_after([False] * 2, choices) == 0.2
    rising = [trial(0, {"a": 0, "b": 0}, 1.0), trial(1, {"a": 1, "b": 0}, 1.2)]
    assert successes(rising, OBJECTIVE) == [True, True]
    assert successes(rising, OBJECTIVE, choices.better) == [True, False]


def test_what_has_no_honest_number_is_told_as_configured():
    trials = [trial(i, {"a": i, "b": 0}, math.exp(y)) for i, y in enumerate([0.0, 0.1, 0.2, 0.3, -9.0])]
    trials.append(trial(5, {"a": 5, "b": 0}, shortfall=2.0**1.5))
    usual = read_history(trials, OBJECTIVE)
    other = read_history(trials, OBJECTIVE, HistoryConfig(bad_tail=100.0, furthest=1.25))
    assert (usual.labels[-1], other.labels[-1]) == (pytest.approx(-1.5), -1.25)
    assert usual.goals[0].scale < 0.5 < 3.0 < other.goals[0].scale


def test_a_gap_is_small_as_configured():
    gaps = torch.full((64,), 4.0, dtype=torch.float64)
    assert Gap(gaps, 0.1, 0.0).small
    assert not Gap(gaps, 0.1, 0.0, choices=StoppingConfig(close=3.0)).small
    assert not Gap(gaps, 0.1, 0.0, choices=StoppingConfig(worth=0.05)).small


def test_a_failure_weighs_as_configured():
    X = torch.linspace(0, 1, 12, dtype=torch.float64).unsqueeze(-1)
    labels = torch.ones(12, dtype=torch.float64)
    labels[0] = -1.0
    usual, vague = (
        Feasibility(X, labels, config=replace(GPConfig(), failure_variance=v)).log_probability(X[:1])
        for v in (0.01, 1.0)
    )
    assert float(usual) < float(vague)


def test_a_part_of_the_table_stands_for_the_whole_where_it_is_asked_for():
    leaders = [SMALL.default_config]
    part = replace(GPConfig(), exact=False)
    whole, some, even = (
        candidates(SMALL, set(), leaders, np.random.default_rng(0), config=config)
        for config in (GPConfig(), part, replace(part, near=False))
    )
    assert len(whole) == 10_000 > len(some) > len(even) > 3_000
    listed = Space(SMALL.parameters, configurations=tuple(SMALL.sample(20, np.random.default_rng(0))))
    assert len(candidates(listed, set(), [], np.random.default_rng(0), config=part)) == 20


def test_only_an_engine_that_climbs_climbs(monkeypatch):
    climbed = []
    climb = selection.climb
    monkeypatch.setattr(selection, "climb", lambda *args, **given: climbed.append(1) or climb(*args, **given))

    def asked(space, **choices):
        engine = GPEngine(config=replace(GPConfig(), **choices))
        climbed.clear()
        found = engine.ask(space, OBJECTIVE, history(space), [], 2, 0)
        assert len({str(suggestion.config) for suggestion in found}) == 2
        return len(climbed)

    assert asked(LARGE) == 2
    assert asked(LARGE, climb=False) == asked(LARGE, climb=False, near=False) == 0
    assert (asked(SMALL), asked(SMALL, exact=False), asked(SMALL, exact=False, climb=False)) == (0, 2, 0)


@pytest.mark.parametrize("acquisition", ["auto", "thompson"])
@pytest.mark.parametrize("seed", [0, 2, 4])
def test_a_choice_that_moves_off_the_grid_and_onto_it_again_is_named_once_in_a_batch(acquisition, seed):
    space = Space((Float("x", 0.0, 1.0), Bool("on")))
    engine = build_engine({"use": "gp", "initial": 2, "acquisition": acquisition})
    asked = engine.ask(space, OBJECTIVE, history(space, 4, seed), [], 12, seed)
    assert len({config_key(s.config) for s in asked}) == len(asked) == 12


def test_a_batch_is_filled_from_what_was_set_aside_as_doubtful():
    space = Space(tuple(Bool(f"b{i}") for i in range(6)))
    drawn = space.sample(24, np.random.default_rng(0))
    tried = [trial(i, c, None if c["b0"] else 1.0 + sum(c.values())) for i, c in enumerate(drawn)]
    asked = build_engine({"use": "gp", "initial": 2}).ask(space, OBJECTIVE, tried, [], 20, 0)
    left = 64 - len({config_key(c) for c in drawn})
    assert left >= 20
    assert len({config_key(s.config) for s in asked}) == len(asked) == 20

"""The decision of a study: posteriors that are calibrated, one rule, and words that follow from it."""

import math
import random

import numpy as np
import pytest

from autotune.core.binding import binding_limit
from autotune.core.decision import Decision, Quantity, posterior, restored, stored
from autotune.core.measurement import Estimate, Measurement
from autotune.core.objective import Objective
from autotune.core.trial import Reason, Suggestion, Trial, TrialState
from autotune.core.verdict import verdict
from autotune.errors import SpecError
from tests.core.ranked import FASTEST, LIMITED, failed, measured

DEFAULT = '{"x":1}'
C = Reason.CONFIRM


def decide(trials, objective=LIMITED, confirm=2, predictions=None):
    return Decision(trials, objective, DEFAULT, confirm=confirm, predictions=predictions)


def test_the_key_of_the_default_is_as_a_trial_has_it():
    assert measured(0, 1, 1.0).key == DEFAULT


def launches(truths, spread, sem, reasons, rng, told=True):
    """Launch configurations with these true (speed, delay) and return the trials."""
    trials = []
    for reason in reasons:
        for x, (speed, delay) in enumerate(truths, 1):
            values = [v * math.exp(rng.gauss(0, spread) + rng.gauss(0, sem)) for v in (speed, delay)]
            metrics = {
                name: Estimate(value, sem * value if told else None)
                for name, value in zip(("speed", "delay"), values, strict=True)
            }
            trials.append(
                Trial(
                    len(trials), Suggestion({"x": x}, reason), TrialState.COMPLETED, 1, Measurement(metrics)
                )
            )
    return trials


@pytest.mark.parametrize(("spread", "sem"), [(0.02, 0.005), (0.1, 0.02), (0.0, 0.1)])
def test_chances_that_a_limit_holds_come_true_as_often_as_they_say(spread, sem):
    rng = random.Random(3)
    chances, held = [], []
    for _ in range(60):
        truths = [(100.0, 0.5 * math.exp(rng.gauss(-0.1, 0.12))) for _ in range(8)]
        decision = decide(launches(truths, spread, sem, (Reason.EXPLORE, C), rng))
        for candidate in decision.candidates:
            chances.append(candidate.chance)
            held.append(truths[candidate.contender.config["x"] - 1][1] <= 0.5)
    sure = [h for p, h in zip(chances, held, strict=True) if p >= 0.95]
    assert len(sure) > 40
    assert sum(sure) / len(sure) >= 0.95
    assert abs(np.mean(chances) - np.mean(held)) < 0.06
    doubtful = [h for p, h in zip(chances, held, strict=True) if 0.2 <= p <= 0.8]
    assert 0.3 < sum(doubtful) / len(doubtful) < 0.7


@pytest.mark.parametrize(
    ("spread", "sem", "told"), [(0.03, 0.005, True), (0.05, 0.0, False), (0.1, 0.05, True)]
)
def test_the_interval_of_a_gain_covers_the_truth_as_often_as_it_says(spread, sem, told):
    rng = random.Random(7)
    covered = 0
    for _ in range(300):
        trials = launches([(100.0, 0.1), (106.0, 0.1)], spread, sem, (Reason.EXPLORE, C, C), rng, told)
        decision = decide(trials, FASTEST)
        base, other = decision.candidates
        gain = decision.gain(other, base)
        covered += gain.low <= 1.06 <= gain.high
    assert 0.92 <= covered / 300 <= 0.985


def test_without_any_error_or_replicate_no_interval_is_claimed():
    decision = decide([measured(0, 1, 9.0), measured(1, 2, 90.0)], confirm=0)
    gain = decision.gain(decision.candidates[1], decision.candidates[0])
    assert (gain.value, gain.low, gain.high) == (pytest.approx(10.0), None, None)


def test_replicates_of_one_configuration_tell_the_noise_of_another():
    def chance(apart):
        trials = [measured(i, 1, 100.0, delay=0.3 * apart**i) for i in range(4)]
        decision = decide([*trials, measured(4, 2, 100.0, delay=0.47)])
        return decision.candidates[1].chance

    assert chance(1.005) > 0.95
    assert chance(1.1) < 0.9


def test_a_lucky_measurement_is_drawn_back_by_what_is_predicted_of_it():
    trials = [measured(i, i, 100.0 + i, delay=0.52) for i in range(1, 9)] + [
        measured(9, 9, 109.0, delay=0.49)
    ]
    known = {t.key: [(math.log(100.0 + t.number), 1e-4), (math.log(0.53 / 0.5), 1e-4)] for t in trials}
    drawn_back = decide(trials, predictions=known).candidates[-1].chance
    believed = {**known, '{"x":9}': [(math.log(109.0), 1e-4), (math.log(0.48 / 0.5), 1e-4)]}
    assert drawn_back < 0.6 < 0.75 < decide(trials, predictions=believed).candidates[-1].chance


def test_nothing_unconfirmed_wins_once_something_was_launched_to_confirm():
    searched = [
        measured(0, 1, 100.0, sem=1.0, delay=0.2),
        measured(1, 2, 120.0, sem=1.0, delay=0.2),
        measured(2, 3, 300.0, sem=1.0, delay=0.2),
    ]
    assert decide(searched).winner.contender.trial.number == 2
    fresh = [measured(3 + i, 2, 119.0 + i, sem=1.0, delay=0.2, reason=C) for i in range(2)]
    assert decide([*searched, *fresh]).winner.contender.trial.number == 1
    begun = decide([*searched, fresh[0]])
    assert begun.winner is None  # neither side has the launches that were planned
    assert begun.nearest.contender.trial.number == 2


def test_a_configuration_that_failed_or_lacks_a_metric_is_no_candidate():
    trials = [measured(0, 1, 20.0), measured(1, 2, 30.0), failed(2, 2)]
    assert [c.key for c in decide(trials).candidates] == [DEFAULT]
    lacking = Trial(
        3,
        Suggestion({"x": 3}, Reason.EXPLORE),
        TrialState.COMPLETED,
        1,
        Measurement({"speed": Estimate(1.0)}),
    )
    assert [c.key for c in decide([*trials, lacking]).candidates] == [DEFAULT]
    assert decide([]).leader is None


def test_where_no_limit_can_be_kept_the_nearest_is_not_the_one_with_the_best_goal():
    far = [measured(n, n + 1, 10.0 ** (n + 1), sem=0.01, delay=2.0 * 8**n) for n in range(3)]
    decision = decide(far)
    assert {round(c.chance, 2) for c in decision.candidates} == {0.0}
    number = decision.nearest.contender.trial.number
    assert number == 0
    assert f"nearest: trial {number}" in verdict(decision).text
    assert f"trial {number}, is 4 times the bound" in binding_limit(far, LIMITED, decision.nearest.contender)


def test_where_nothing_holds_with_confidence_the_nearest_is_named():
    fresh = (Reason.EXPLORE, C, C)
    trials = [
        measured(3 * x + i, x, 100.0 * x, sem=1.0, delay=0.495 * (1.0 + 0.04 * (i - 1)), reason=reason)
        for x in (1, 2)
        for i, reason in enumerate(fresh)
    ]
    decision = decide(trials)
    assert decision.winner is None
    assert decision.recommended is None
    assert decision.nearest.contender.config == {"x": 2}
    assert 0.5 < decision.nearest.chance < 0.95
    relaxed = Objective.from_dict({**LIMITED.to_dict(), "confidence": 0.55})
    assert decide(trials, relaxed).winner is None  # 1 of 2 fresh launches broke it
    calmer = [
        measured(
            t.number,
            t.config["x"],
            100.0 * t.config["x"],
            sem=1.0,
            reason=t.suggestion.reason,
            delay=0.499 * (1.0 + 0.001 * (i % 3)),
        )
        for i, t in enumerate(trials)
    ]
    assert decide(calmer, relaxed).winner.contender.config == {"x": 2}


def test_a_metric_that_lies_on_its_bound_and_never_varies_keeps_it():
    trials = [measured(i, 1 + i // 3, 100.0 + i, sem=1.0, delay=0.5) for i in range(6)]
    assert all(c.chance > 0.99 for c in decide(trials).candidates)
    errors = Objective.from_dict({"maximize": "speed", "limits": ["delay <= 0 s"]})
    trials = [measured(i, 1 + i // 3, 100.0 + i, sem=1.0, delay=3.0 * (i // 3)) for i in range(6)]
    first, second = decide(trials, errors).candidates
    assert first.chance > 0.95
    assert second.chance < 0.05


@pytest.mark.parametrize("limit", ["delay <= -5 s", "delay >= -5 s", "delay <= 5 s", "delay >= 5 s"])
def test_what_lies_on_a_bound_but_for_rounding_keeps_it_on_either_side_of_zero(limit):
    objective = Objective.from_dict({"maximize": "speed", "limits": [limit]})
    bound = objective.limits[0].bound
    for off in (0.0, 1e-12, -1e-12):
        trials = [measured(i, 1 + i, 100.0 + i, sem=1.0, delay=bound + off) for i in range(6)]
        assert all(c.chance > 0.99 for c in decide(trials, objective).candidates)


@pytest.mark.parametrize("apart", [1e-5, 1e-4, 1e-2])
def test_a_limit_that_every_launch_broke_by_a_hair_is_not_said_to_hold(apart):
    trials = [measured(i, 1 + i // 3, 100.0 + i, sem=1.0, delay=0.5 * (1 + apart)) for i in range(6)]
    decision = decide(trials)
    assert all(c.chance < 0.5 for c in decision.candidates)
    assert decision.winner is None


def test_what_half_of_its_launches_broke_is_not_said_to_hold():
    fresh = [
        measured(3, 2, 134.0, sem=1.0, delay=0.2, reason=C),
        measured(4, 2, 134.0, sem=1.0, delay=0.51, reason=C),
    ]
    known = {'{"x":2}': [(math.log(134.0), 1e-6), (math.log(0.3 / 0.5), 1e-6)]}
    decision = decide([measured(0, 1, 100.0), measured(1, 2, 134.0, delay=0.3), *fresh], predictions=known)
    doubted = decision.candidates[1]
    assert not decision.holds(doubted)
    assert decision.winner is None


def test_a_calm_default_tells_less_of_the_others_than_its_launches_are_many():
    calm = [measured(i, 1, 100.0, sem=1.0, delay=0.35 * 1.003**i) for i in range(12)]
    other = [measured(20, 2, 100.0, delay=0.46), measured(21, 2, 100.0, delay=0.50)]
    chance = decide([*calm, *other]).candidates[1].chance
    assert 0.5 < chance < 0.95


def test_more_confidence_never_names_what_is_less_likely_to_hold():
    trials = [measured(i, 1 + i, 100.0 * (1 + i), sem=1.0, delay=0.2 * (1 + i)) for i in range(4)]
    chances = []
    for confidence in (0.6, 0.9, 0.99, 0.9999999):
        objective = Objective.from_dict({**LIMITED.to_dict(), "confidence": confidence})
        chances.append(decide(trials, objective, confirm=0).recommended.chance)
    assert chances == sorted(chances)


def test_what_more_launches_may_gain_grows_with_them_and_falls_near_the_limit():
    trials = [measured(i, 1, 100.0, sem=1.0, delay=0.3 * 1.05**i) for i in range(3)]
    trials += [measured(3, 2, 150.0, sem=1.0, delay=0.40), measured(4, 3, 150.0, sem=1.0, delay=0.55)]
    decision = decide(trials)
    default, near, over = decision.candidates
    few, many = (decision.gains({near.key: n, over.key: n}, None) for n in (1, 6))
    assert few[near.key] < many[near.key]
    assert many[over.key] < 0.2 < many[near.key]
    beyond = decision.gains({near.key: 6}, default)
    assert beyond[near.key] == pytest.approx(many[near.key] / 3, rel=0.2)
    assert beyond[default.key] == 0.0


def test_values_of_one_configuration_alone_are_not_certain():
    nothing = np.array([math.nan])
    found = posterior([[0.1]], [[math.nan]], nothing, nothing, logarithm=True)
    assert 0.0 < found.probability_kept()[0] < 0.2


TPOT = Objective.from_dict({"maximize": "speed", "limits": ["delay <= 60 ms"]})


def slow(number, x, value, half, n, reason=Reason.EXPLORE):
    """A launch with a delay in ms, shown with the half-width ``half`` of ``n`` observations."""
    sem = half / Estimate(value, 1.0, n).half_width
    metrics = {"speed": Estimate(100.0, 1.0, 30, "tokens/s"), "delay": Estimate(value, sem, n, "ms")}
    return Trial(number, Suggestion({"x": x}, reason), TrialState.COMPLETED, 1, Measurement(metrics))


@pytest.mark.parametrize("n", [2, 3, 4, 5, 30])
def test_a_chance_is_no_surer_than_the_interval_beside_it(n):
    """One launch of 19 +- 14 ms: 60 ms are 3.06 errors of its logarithm away, however few observations."""
    (alone,) = decide([slow(0, 1, 19.0, 14.0, n)], TPOT).candidates
    direct = 0.5 * math.erfc(-math.log(60 / 19) / (14 / 1.96 / 19) / math.sqrt(2))
    assert direct == pytest.approx(0.9989, abs=2e-4)
    assert alone.chance <= direct
    chances = [c.chance for c in decide([slow(i, i, 19.0, 14.0, n) for i in range(8)], TPOT).candidates]
    assert chances == pytest.approx([chances[0]] * 8)


@pytest.mark.parametrize("n", [2, 3, 30])
def test_single_launches_with_wide_errors_keep_a_limit_as_often_as_they_are_sure(n):
    """Errors of 37 %, as of 19 +- 14, from few observations and from many."""
    rng = np.random.default_rng(5)
    said, held = [], []
    for _ in range(60):
        truths = rng.normal(math.log(19.0), 0.5, 8)
        trials = []
        for x, truth in enumerate(truths):
            seen = truth + rng.normal(0, 0.04) + rng.normal(0, 0.37 * math.sqrt(n), n)
            sem = float(seen.std(ddof=1)) / math.sqrt(n)
            value = math.exp(float(seen.mean()))
            trials.append(slow(x, x, value, value * sem * Estimate(1.0, 1.0, n).half_width, n))
        for candidate, truth in zip(decide(trials, TPOT).candidates, truths, strict=True):
            said.append(candidate.chance)
            held.append(truth <= math.log(60.0))
    sure = [h for chance, h in zip(said, held, strict=True) if chance >= 0.99]
    assert len(sure) > 100
    assert np.mean(sure) >= 0.99
    assert np.mean(said) <= np.mean(held) + 0.01


SIZES = (0.0, 1.0, 5e-324, 1e160, -1e200, 1.7e308)


@pytest.mark.parametrize("sem", [None, 5e-324, 1.0, 1.7e308])
@pytest.mark.parametrize("first", SIZES)
@pytest.mark.parametrize("second", SIZES)
def test_no_number_that_a_ledger_holds_stops_a_decision(first, second, sem):
    trials = [measured(i, i, value, sem=sem, delay=second) for i, value in enumerate((first, second, first))]
    trials.append(measured(3, 0, second, sem=sem, delay=first, reason=Reason.CONFIRM))
    for objective in (FASTEST, LIMITED):
        predictions = {trials[1].key: [(first, abs(second)), (second, abs(first))]}
        decision = decide(trials, objective, predictions=predictions)
        for candidate in decision.candidates:
            assert math.isfinite(candidate.score)
            assert 0.0 <= candidate.chance < 1.0 + 1e-9
            decision.gain(candidate, decision.candidates[0])
            decision.half_width(candidate.contender, "speed")
        decision.gains({decision.candidates[0].key: 1}, decision.leader)
        assert decision.leader is not None
        assert decision.corners or objective is LIMITED


def test_what_is_stored_is_read_back_for_the_same_trials_only():
    trials = [measured(0, 1, 1.0), measured(1, 2, 2.0)]
    found = {DEFAULT: [(1.0, 0.5), (math.nan, math.nan)]}
    note = stored(found, trials, LIMITED)
    again = restored(note, trials, LIMITED)[DEFAULT]
    assert again[0] == (1.0, 0.5)
    assert math.isnan(again[1][0])
    assert restored(stored(None, trials, LIMITED), trials, LIMITED) is None
    for others, objective in ((trials[:1], LIMITED), (trials, FASTEST)):
        with pytest.raises(LookupError):
            restored(note, others, objective)
    with pytest.raises(LookupError):
        restored({}, trials, LIMITED)


@pytest.mark.parametrize("found", [0.5, 1, "often", "5 s", True, -0.95, None])
def test_a_confidence_that_is_none_is_refused(found):
    with pytest.raises(SpecError, match="confidence"):
        Objective.from_dict({"maximize": "speed", "confidence": found})


def test_confidence_is_written_only_where_it_is_not_the_usual():
    usual = Objective.from_dict({"maximize": "speed"})
    assert "confidence" not in usual.to_dict()
    assert Objective.from_dict({"maximize": "speed", "confidence": "0.95"}) == usual
    per_cent = Objective.from_dict({"maximize": "speed", "confidence": "95 %"})
    assert (per_cent, per_cent.fingerprint) == (usual, usual.fingerprint)
    strict = Objective.from_dict({"maximize": "speed", "confidence": "99%"})
    assert strict.confidence == pytest.approx(0.99)
    assert Objective.from_dict(strict.to_dict()) == strict
    assert strict.fingerprint != usual.fingerprint


def test_no_chance_is_above_one():
    weights = np.array([0.7, 0.2, 0.1 + 3e-16])
    grid = np.ones((3, 1))
    sure = Quantity(weights, -9.0 * grid, 0.01 * grid, np.full(3, 0.01), np.array([0.0]), logarithm=True)
    assert weights.sum() > 1
    assert sure.probability_kept().tolist() == [1.0]
    assert sure.probability_shown(np.array([1.0]), 0.9).tolist() == [1.0]


def signed(values, errors=None, keys=None):
    """Return the decision over launches of a metric that may be negative."""
    trials = []
    for i, value in enumerate(values):
        x = i if keys is None else keys[i]
        metrics = {"score": Estimate(value, None if errors is None else errors[i], 30, "1")}
        trials.append(
            Trial(i, Suggestion({"x": x}, Reason.EXPLORE), TrialState.COMPLETED, 1, Measurement(metrics))
        )
    return Decision(trials, Objective.from_dict({"maximize": "score"}), "")


def half_of(decision, number):
    contender = next(c for c in decision.contenders if c.trial.number == number)
    return decision.half_width(contender, "score")


def test_a_penalty_is_no_scale_of_the_noise_near_zero():
    rng = random.Random(4)
    values = [-0.2, -1e9, -0.9, -4.0, -1e9, 0.3, -700.0, -2.5]
    assert half_of(signed(values, [0.05] * 8), 5) < 3
    # replicates: those of a hopeless configuration differ by thousands, those near zero by little
    keys = [0, 0, 1, 1, 2, 2, 3]
    noisy = [-0.31 + rng.gauss(0, 0.02), -0.31, -5.0, -5.3, -50_000.0, -47_000.0, -0.2]
    decision = signed(noisy, keys=keys)
    assert half_of(decision, 6) < 1
    assert 1000 < half_of(decision, 4) < 20_000
    best, other = (next(c for c in decision.candidates if c.contender.trial.number == n) for n in (6, 0))
    gain = decision.gain(best, other)
    assert -1 < gain.low < gain.high < 1


def test_values_that_claim_no_error_at_all_keep_their_size():
    decision = signed([-1.0, 2.0, -3.0, 5.0], [0.0] * 4)
    assert decision.goals[0].unit == pytest.approx(1.75)
    means = decision.goals[0].mean
    assert [round(float(m)) for m in means] == [-1, 2, -3, 5]


def test_one_error_for_all_stays_one_for_values_near_zero():
    """A reward less its cost: nothing about zero is calm."""
    rng = random.Random(1)
    levels = [-30, -20, -10, -0.1, 10, 20, 30]
    keys = [k for k in range(len(levels)) for _ in range(3)]
    decision = signed([levels[k] + rng.gauss(0, 1) for k in keys], keys=keys)
    for k in range(len(levels)):
        assert 0.5 < half_of(decision, 3 * k) < 3

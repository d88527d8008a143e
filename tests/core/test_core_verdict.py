"""What a study found, in words: gains, limits, doubts."""

import pytest

from autotune.core.decision import Decision
from autotune.core.objective import Objective
from autotune.core.ranking import Improvement
from autotune.core.trial import Reason
from autotune.core.verdict import show_chance, show_improvement, verdict
from tests.core.ranked import FASTEST, LIMITED, failed, measured

C = Reason.CONFIRM


def judged(trials, objective=LIMITED, confirm=2):
    return verdict(Decision(trials, objective, '{"x":1}', confirm=confirm))


def test_nothing_measured_has_no_verdict():
    for trials in ([], [failed(0, 1)]):
        assert judged(trials, FASTEST).kind == "nothing feasible"


def twice(first, second, **more):
    """Both sides measured and launched twice more: values of the two configurations."""
    sides = ((1, first), (2, second))
    return [
        measured(3 * i + j, x, value, delay=more.get("delay", 0.1) * 1.01**j, sem=value / 100, reason=reason)
        for i, (x, value) in enumerate(sides)
        for j, reason in enumerate((Reason.EXPLORE, C, C))
    ]


def test_a_confirmed_winner_is_better_by_an_interval_and_keeps_its_limit():
    found = judged(twice(100.0, 134.0))
    assert found.kind == "better"
    assert found.improvement.value == pytest.approx(1.34)
    assert found.improvement.low < 1.34 < found.improvement.high
    assert found.text.startswith("better by 34.0 % [") or found.text.startswith("better by 34 % [")
    assert found.text.endswith("] than the default (95 % interval, 2 fresh launches each)")
    assert found.limits == (
        "kept delay <= 500 ms in 2 of 2 fresh launches; chance that it holds over 99.9 %",
    )


def test_a_search_alone_says_that_nothing_was_confirmed():
    trials = [measured(0, 1, 100.0, sem=1.0), measured(1, 2, 134.0, sem=1.34)]
    found = judged(trials, FASTEST)
    assert found.kind == "tie"  # nothing says how much launches differ
    assert "one launch each, not confirmed" in found.text
    again = judged([*trials, *(measured(2 + i, 1, 100.0 + i, sem=1.0) for i in range(3))], FASTEST)
    assert again.kind == "better"


def test_one_fresh_launch_decides_nothing():
    trials = [measured(i, x, 100.0 * x, sem=1.0) for i, x in enumerate((1, 2))]
    trials += [measured(2 + i, x, 100.0 * x, sem=1.0, reason=C) for i, x in enumerate((1, 2))]
    found = judged(trials, FASTEST, confirm=1)
    assert found.kind == "unproven"
    assert "one launch decides nothing" in found.text


def test_a_limit_that_was_broken_once_is_told_and_not_recommended():
    trials = twice(100.0, 134.0)
    trials = [t for t in trials if t.key != '{"x":2}']
    trials += [
        measured(3 + j, 2, 134.0, sem=1.0, delay=d, reason=r)
        for j, (d, r) in enumerate(((0.48, Reason.EXPLORE), (0.51, C), (0.49, C)))
    ]
    decision = Decision(trials, LIMITED, '{"x":1}', confirm=2)
    assert decision.winner.contender.config == {"x": 1}
    assert verdict(decision).text.endswith("that keeps every limit with 95 % confidence")
    alone = Decision(trials[3:], LIMITED, '{"x":1}', confirm=2)
    found = verdict(alone)
    assert found.kind == "limits in doubt"
    assert found.text.startswith("not recommended: no configuration keeps every limit with 95 % confidence")
    assert found.limits[0].startswith("kept delay <= 500 ms in 1 of 2 fresh launches; chance that it holds ")


def test_minimizing_speaks_of_less():
    found = judged(twice(100.0, 75.0), Objective.from_dict({"minimize": "speed"}))
    assert found.improvement.value == pytest.approx(4 / 3)
    assert found.text.startswith("better by 25")


def test_values_that_are_not_positive_differ():
    trials = [measured(0, 1, -10.0, sem=1.0), measured(1, 2, 4.0, sem=1.0), measured(2, 3, 3.0, sem=1.0)]
    found = judged(trials, FASTEST)
    assert not found.improvement.relative
    assert found.improvement.value == pytest.approx(14.0)
    assert found.text.startswith("better by 14 [")


@pytest.mark.parametrize(
    ("trials", "kind", "text"),
    [
        ([measured(0, 1, 9.0)], "default", "the default configuration is the best found"),
        ([measured(0, 2, 9.0)], "no default", "the default configuration was not measured"),
        (
            [failed(0, 1), measured(1, 2, 9.0)],
            "only feasible",
            "the default configuration fails, this one does not",
        ),
        (
            [measured(0, 1, 9.0, delay=2.0), measured(1, 2, 8.0)],
            "only feasible",
            "the default configuration breaks its limit (delay <= 500 ms), this one keeps it",
        ),
        (
            [measured(0, 1, 9.0), measured(1, 2, 90.0)],
            "unproven",
            "10 times better than the default, but no error is known; not confirmed",
        ),
        (
            [measured(0, 1, 9.0, delay=3.0), measured(1, 2, 90.0, delay=2.0)],
            "nothing feasible",
            "no configuration keeps every limit; nearest: trial 1",
        ),
    ],
)
def test_a_verdict_says_in_words_how_the_winner_compares(trials, kind, text):
    found = judged(trials, Objective.from_dict({**LIMITED.to_dict(), "confidence": 0.6}))
    assert (found.kind, found.text) == (kind, text)


@pytest.mark.parametrize(
    ("ends", "text"),
    [
        ((1.34, 1.30, 1.38), "better by 34.0 % [30.0, 38.0]"),
        ((1.34, 1.20, 1.48), "better by 34 % [20, 48]"),
        ((1.0034, 1.0030, 1.0038), "better by 0.34 % [0.30, 0.38]"),
        ((1.586, 1.0000874, 2.52), "better, by anything from 0.0 to 152 %"),
        ((1.585, 1.0713, 2.35), "better, by anything from 7.1 to 135 %"),
        ((1.04, 0.91, 1.19), "better by 4 % [-9, 19]"),
        ((12.7, 11.0, 14.4), "12.7 times better [11, 14.4]"),
        ((1.5, None, None), "better by 50 %"),
    ],
)
def test_an_improvement_is_shown_with_the_digits_that_mean_something(ends, text):
    assert show_improvement(Improvement(*ends, relative=True, launches=(2, 2))) == text


def test_chances_are_rounded_down():
    shown = {0.9499: "94 %", 0.95: "95 %", 0.9949: "99.4 %", 0.9995: "over 99.9 %", 0.5: "50 %"}
    assert {p: show_chance(p) for p in shown} == shown


def test_every_goal_is_named_with_what_it_gains_or_loses():
    both = Objective.from_dict({"maximize": "speed", "minimize": "delay"})
    trials = [
        measured(3 * i + j, x, speed, delay=delay * 1.001**j, sem=speed / 100, reason=reason)
        for i, (x, speed, delay) in enumerate(((1, 100.0, 0.1), (2, 200.0, 0.15)))
        for j, reason in enumerate((Reason.EXPLORE, C, C))
    ]
    found = judged(trials, both)
    assert found.text.startswith("speed: better by 100")
    assert "; delay: worse by 50" in found.text

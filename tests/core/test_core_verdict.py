"""What a study found, in words: gains, limits, doubts."""

import re
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.core.decision import Decision
from autotune.core.improvement_text import show_change, show_improvement
from autotune.core.objective import Objective
from autotune.core.ranking import Improvement
from autotune.core.trial import Reason, Suggestion, Trial, TrialState
from autotune.core.verdict import Kind, show_chance, verdict
from tests.core.ranked import FASTEST, LIMITED, failed, measured

GOLDEN = Path(__file__).parent / "golden" / "verdicts.txt"

C = Reason.CONFIRM


def judged(trials, objective=LIMITED, confirm=2):
    return verdict(Decision(trials, objective, '{"x":1}', confirm=confirm))


def test_nothing_measured_has_no_verdict():
    assert judged([failed(0, 1)], FASTEST).kind == "nothing feasible"
    waiting = Trial(0, Suggestion({"x": 1}, C), TrialState.WAITING)
    for trials in ([], [waiting], [replace(waiting, state=TrialState.ABANDONED)]):
        for objective in FASTEST, LIMITED:
            found = judged(trials, objective)
            assert (found.kind, found.text) == ("undecided", "nothing was measured yet")


def test_where_every_trial_failed_the_verdict_says_by_what():
    gone = [failed(0, 1), failed(1, 2, "crashed_under_load"), failed(2, 3)]
    for objective in FASTEST, LIMITED:
        assert judged(gone, objective).text == "every one of 3 trials failed, 2 of them by out of memory"
        assert judged(gone[:1], objective).text == "the only trial failed: out of memory"
    assert "limit" not in judged([], FASTEST).text


BESIDE = Objective.from_dict({"maximize": "speed", "limits": ["delay <= 1.1 x default", "delay <= 1 s"]})


@pytest.mark.parametrize(
    ("default", "why"),
    [
        ([failed(0, 1)], "the default configuration failed (out of memory); write the limit in absolute"),
        ([failed(0, 1, "worker_lost")], "the default configuration was not measured (worker lost); write"),
        ([], "the default configuration was not measured; write the limit in absolute numbers, or choose"),
        ([Trial(0, Suggestion({"x": 1}, C), TrialState.WAITING)], "the default configuration was not"),
    ],
    ids=["failed", "given up", "never launched", "waiting"],
)  # fmt: skip
def test_nothing_is_recommended_while_a_limit_relative_to_the_default_has_no_bound(default, why):
    trials = [
        *default,
        *(measured(i, i + 1, 10.0 * i, reason=reason) for i, reason in ((1, C), (2, C), (3, C))),
    ]
    decision = Decision(trials, BESIDE.anchored({}), '{"x":1}', confirm=1)
    assert (decision.winner, decision.recommended, decision.nearest) == (None, None, None)
    assert (decision.holding, decision.front, decision.corners) == ([], [], [])
    found = verdict(decision)
    assert found.kind == "limits in doubt"
    start = "nothing is recommended: the limit delay <= 1.1 x default cannot be judged, since "
    assert found.text.startswith(start + why)
    assert [line for line in found.limits if line.startswith("not judged: delay <= 1.1 x default")]
    bound = [measured(0, 1, 5.0), *trials[len(default) :]]
    anchored = BESIDE.anchored(bound[0].metrics)
    assert Decision(bound, anchored, '{"x":1}').winner is not None


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
            "not proven: measured 10 times better than the default, but no error is known (one launch "
            "each, not confirmed)",
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
        ((1.586, 1.0000874, 2.52), "better by up to 152 %"),
        ((1.585, 1.0713, 2.35), "better by anything from 7 to 135 %"),
        ((1.04, 0.91, 1.19), "not distinguishable: between 9 % worse and 19 % better"),
        ((12.7, 11.0, 14.4), "12.7 times better [11, 14.4]"),
        ((32.0, 31.98, 32.02), "32 times better [32, 32]"),
        ((1.5, None, None), "better by 50 %"),
        ((1.0, None, None), "the same"),
        ((2.43, 0.295, 20.0), "not distinguishable: between 3.39 times worse and 20 times better"),
        ((2.43, 1.2, 20.0), "between 1.2 and 20 times better"),
        ((0.8, 0.7, 0.9), "worse by 20 % [10, 30]"),
        ((1.001, 0.995, 1.0071), "as good within 0.72 %"),
        ((1.00001, 1.000005, 1.00002), "better by less than 0.01 %"),
        ((1e200, 1e-300, 1e303), "not distinguishable: the difference is not known to any factor"),
    ],
)
def test_an_improvement_is_shown_with_the_digits_that_mean_something(ends, text):
    assert show_improvement(Improvement(*ends, relative=True, launches=(2, 2))) == text


@pytest.mark.parametrize(
    ("gain", "text"),
    [
        (((1.34, 1.20, 1.48), True, True, "1"), "+34 % [+20, +48]"),
        (((1.05, 1.03, 1.07), True, False, "1"), "-4.8 % [-6.5, -2.9]"),
        (((0.924, 0.924, 0.924), True, True, "1"), "-7.6 %"),
        (((0.924, 0.9235, 0.9246), True, True, "1"), "-7.60 % [-7.65, -7.54]"),
        (((1.5, None, None), True, True, "1"), "+50.0 %"),
        (((12.7, 11.0, 14.4), True, True, "1"), "12.7 x [11, 14.4]"),
        (((4.0, 3.5, 4.5), True, False, "1"), "0.25 x [0.222, 0.286]"),
        (((2590.0, 1820.0, 3700.0), True, True, "1"), "over 1000 x"),
        (((2590.0, 1820.0, 3700.0), True, False, "1"), "under 0.001 x"),
        (((4.51, 0.00526, 3870.0), True, True, "1"), "0.00526 to over 1000 x"),
        (((2.4, 1e-9, 1e9), True, True, "1"), "not known to any factor"),
        (((0.0042, 0.0033, 0.0051), False, False, "s"), "-4.20 [-5.10, -3.30] ms"),
        (((2.59e6, None, None), False, True, "1"), "+2.59 million"),
        (((3.0, -1.0, 7.0), False, True, "points"), "+3.00 [-1.00, +7.00] points"),
    ],
)
def test_a_change_is_told_of_the_metric_itself(gain, text):
    ends, relative, maximize, unit = gain
    assert show_change(Improvement(*ends, relative, (2, 2), maximize, unit)) == text


_END = st.floats(1e-12, 1e12) | st.floats(0.9, 1.1) | st.floats(0.2, 5)
_DIFFERENCE = st.floats(-1e15, 1e15, allow_subnormal=False) | st.floats(-2, 2)
_NUMBER_SHOWN = re.compile(r"\d+(?:\.\d+)?(?!\d)")


@given(
    st.booleans().flatmap(
        lambda relative: st.tuples(
            st.just(relative), st.lists(_END if relative else _DIFFERENCE, min_size=3, max_size=3)
        )
    ),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["s", "tokens/s", "B", "1", "points"]),
)
def test_the_words_of_an_improvement_agree_with_its_interval(ends, maximize, known, unit):
    relative, values = ends
    low, value, high = sorted(values)
    if not known:
        low = high = None
    gain = Improvement(value, low, high, relative, (2, 2), maximize, unit)
    for text in (show_improvement(gain), show_improvement(gain, "the default")):
        for unreadable in ("e+", "nan", "inf", "no clear winner"):
            assert unreadable not in text, text
        assert "-" not in text.replace("10^-", ""), text  # no minus sign: words say which side
        for number in _NUMBER_SHOWN.findall(text.replace("10^", "")):
            digits = number.replace(".", "").lstrip("0")
            digits = digits if "." in number else digits.rstrip("0")
            assert len(digits) <= 3, text
        if gain.low is None or gain.side:
            assert "distinguishable" not in text
            on = gain.side or (value > gain.nothing) - (value < gain.nothing)
            assert ("worse" if on > 0 else "better") not in text or not on, text
        else:
            assert not re.search("(better|worse) by", text), text
            assert text.startswith(("not distinguishable", "as good", "the same")), text
        if "%" in text:
            assert relative
            assert 1 / 3 <= value <= 3
            assert low is None or high <= 3.0001 * low


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


def _sides(first, second, *, launches, spread=0.002, sem=0.002, delays=(0.1, 0.1), step=0.01):
    """Both sides measured once and launched so many times to confirm, with a spread between launches."""
    reasons = (Reason.EXPLORE, *(C,) * launches)
    return [
        measured(
            len(reasons) * side + j,
            side + 1,
            value * (1 + spread * (-1) ** j),
            sem=None if sem is None else abs(value) * sem,
            delay=delays[side] * (1 + step * j),
            reason=reason,
        )
        for side, value in enumerate((first, second))
        for j, reason in enumerate(reasons)
    ]


def _cases():
    """Every kind of verdict, relative and absolute, maximized and minimized, once and often launched."""
    plain, turned = FASTEST, Objective.from_dict({"minimize": "speed"})
    both = Objective.from_dict({"maximize": "speed", "minimize": "delay"})
    for goal, objective, better, worse in (("maximize", plain, 1.2, 0.8), ("minimize", turned, 0.8, 1.2)):
        for launches in (0, 1, 2, 4):
            for name, second in (("by a fifth", 100 * better), ("alike", 100.3), ("worse", 100 * worse)):
                trials = _sides(100.0, second, launches=launches)
                yield f"{goal}, {name}, {launches} launches", trials, objective, launches
        yield f"{goal}, 12 times", _sides(100.0, 100 * better**14, launches=2), objective, 2
        wide = {"spread": 0.6, "launches": 2}
        yield f"{goal}, wide", _sides(100.0, 100 * better, **wide), objective, 2
        yield f"{goal}, wide, many times", _sides(100.0, 100 * better**14, **wide), objective, 2
        yield f"{goal}, no error", _sides(100.0, 100 * better, launches=0, sem=None), objective, 0
        sign = 1 if goal == "maximize" else -1
        yield f"{goal}, difference", _sides(-100.0, 140.0 * sign - 100.0, launches=2), objective, 2
        yield f"{goal}, difference, wide", _sides(-1e6, -1e6 + 1e5 * sign, **wide), objective, 2
        yield f"{goal}, difference, once", _sides(-100.0, 140.0 * sign - 100.0, launches=0), objective, 0
        yield f"{goal}, interrupted", _sides(100.0, 100 * better, launches=0), objective, 2
    for name, second, delays, step, launches in (
        ("limits kept", 134.0, (0.1, 0.2), 0.01, 2),
        ("limits of the default broken", 90.0, (2.0, 0.1), 0.01, 2),
        ("limits of the default in doubt", 134.0, (0.48, 0.1), 0.02, 2),
        ("slower, limits of the default in doubt", 50.0, (0.48, 0.1), 0.02, 2),
        ("limits in doubt", 134.0, (2.0, 0.48), 0.02, 2),
        ("limits in doubt, search alone", 134.0, (2.0, 0.47), 0.01, 0),
        ("limits broken", 134.0, (2.0, 1.9), 0.01, 0),
    ):
        yield name, _sides(100.0, second, launches=launches, delays=delays, step=step), LIMITED, launches
    yield "several goals", _sides(100.0, 200.0, launches=2, delays=(0.1, 0.15)), both, 2
    yield "the default fails", [failed(0, 1), measured(1, 2, 9.0)], FASTEST, 0
    yield "the default was not measured", [measured(0, 2, 9.0)], FASTEST, 0
    yield "nothing measured", [], FASTEST, 0
    begun = [*_sides(100.0, 134.0, launches=0, delays=(0.47, 0.1)), measured(2, 2, 134.0, sem=1.0, reason=C)]
    yield "confirmation not completed", begun, LIMITED, 2


def test_the_words_of_every_kind_of_verdict_are_those_of_the_golden_table(request):
    lines, kinds = [], set()
    for name, trials, objective, confirm in _cases():
        found = judged(trials, objective, confirm)
        kinds.add(found.kind)
        lines += [f"{name}: {found.kind}", f"  {found.text}", *(f"  {text}" for text in found.limits)]
        settled = found.settlement
        lines += [] if settled is None else [f"  {' '.join(settled.options) or '-'}: {settled.effect}"]
        assert not ("not distinguishable" in found.text and "better by" in found.text)
    assert kinds == {*get_args(Kind)}
    text = "\n".join(lines) + "\n"
    if not GOLDEN.exists() and request.config.getoption("--write-golden"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()


def test_the_documentation_lists_the_words_that_verdicts_have():
    root = Path(__file__).parents[2]
    code = [(root / "autotune/core" / name).read_text() for name in ("verdict.py", "improvement_text.py")]
    said = "".join(code).replace("{f' from {other}' if other else ''}", " from the default")
    listed = (root / "docs/result.md").read_text().partition("## The verdict")[2].partition("## ")[0]
    words = re.findall(r"^- \*(.+?)\*", listed, re.MULTILINE)
    quoted = re.findall(r'\*\*It says "(.+?)"', (root / "docs/faq.md").read_text())
    assert len(words) == 5
    assert [each for each in (*words, *quoted) if each not in said] == []

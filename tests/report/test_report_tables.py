"""The table of trials at 80 columns, and at any other width."""

import math
import random
import re
import statistics
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autotune.analysis.quick_importance import by_importance
from autotune.analysis.study_view import StudyView
from autotune.core.estimate_text import common_scale
from autotune.core.measurement import Estimate, Measurement
from autotune.core.objective import Objective
from autotune.core.space import Space
from autotune.core.trial import Reason, Suggestion, Trial, TrialState
from autotune.report import document
from autotune.report.columns import goal_column
from autotune.report.plain import measured_line
from autotune.report.summary import measurement_lines
from autotune.report.tables import state_word, trial_table
from tests_views import two_goals_view, wide_view

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("study", ["quickstart", "wide", "two-goals"])
def test_a_table_reads_as_agreed(make_view, pytestconfig, study, width):
    views = {"quickstart": make_view, "wide": wide_view, "two-goals": two_goals_view}
    text = "\n".join(trial_table(views[study](), width=width)) + "\n"
    path = GOLDEN / f"table-{study}-{width}.txt"
    if pytestconfig.getoption("--write-golden") and not path.exists():
        path.write_text(text, "utf-8")
    assert text == path.read_text("utf-8")


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 200])
def test_no_line_is_wider_than_asked(make_view, width):
    assert max(len(line) for line in trial_table(make_view(), width=width)) <= width


def test_all_states_have_a_word(make_view, trials):
    words = [state_word(t, make_view().objective) for t in trials]
    assert words == ["ok", "ok", "limit", "failed", "ok", "failed", "ok", "ok", "running"]


def test_a_surprise_is_noted(make_view, trials):
    predicted = {"output_throughput": Estimate(300.0, 6.0, 1, "tokens/s")}
    surprising = replace(trials[4], suggestion=replace(trials[4].suggestion, predicted=predicted))
    assert "surprise +14.7 sd" in trial_table(make_view((trials[0], surprising)), width=90)[-1]
    assert "exploit" in trial_table(make_view(trials[:5]))[-1]


@pytest.mark.parametrize(
    ("limit", "unit", "value", "head", "cell", "said"),
    [
        ("cost <= 8 GB", "B", 7.5e9, "GB", "7.5", "7.5 GB"),
        ("cost <= 30 %", "1", 0.25, "%", "25", "25 %"),
        ("cost <= 100 ms", "s", 2.5, "ms", "2500", "2.5 s"),
        ("cost <= 90 tokens/min", "tokens/s", 1.25, "tokens/min", "75", "75 tokens/min"),
        ("cost <= 100 ms", "s", 2.5e-8, "ns", "25", "25 ns"),  # what a unit would show as nothing
        ("cost <= 8 GB", "s", 2.5, "s", "2.5", "2.5 s"),  # of another dimension
    ],
)
def test_a_metric_has_the_unit_of_its_limit(make_view, make_trial, limit, unit, value, head, cell, said):
    measured = Measurement({"cost": Estimate(value, None, 1, unit)})
    trial = make_trial(0, (1, 16, 0, 1, 1), state=TrialState.COMPLETED)
    trial = replace(trial, measurement=measured)
    objective = Objective.from_dict({"minimize": "cost", "limits": [limit]})
    view = make_view((trial,), objective=objective, running=())
    lines = trial_table(view)
    place = next(i for i, line in enumerate(lines) if "state" in line)
    end = next(i for i, line in enumerate(lines) if line.startswith("0"))
    assert head in " ".join(lines[place:end]).split()
    assert cell in lines[end].split()
    name = next(c.name for c in document.trial_columns(view) if c.name.startswith("cost"))
    (row,) = document.trial_rows(view)
    assert (name, row.cells[2]) == (f"cost, {head}", (cell, value))  # sorted by the base unit
    assert f"cost {said}" in measured_line(trial, view)


def test_a_table_without_trials_says_so(make_view):
    assert trial_table(make_view(())) == ["no trials yet"]


def test_inactive_parameters_show_a_dash(make_view, trials):
    config = dict(trials[8].config)
    config.pop("draft_length")
    short = replace(trials[8], suggestion=Suggestion(config, Reason.EXPLORE))
    assert " - " in trial_table(make_view((trials[0], short)))[-1]


def number(text):
    """Return the number of a cell without its half-width and marks."""
    return float(re.sub(r"[<>~]", "", text.split("±")[0]))


names = st.from_regex(r"[a-z][a-z0-9]{0,40}(_[a-z0-9]{1,20}){0,4}", fullmatch=True).filter(
    lambda s: len(s) <= 64
)
values = st.one_of(
    st.integers(-(2**62), 2**62),
    st.floats(-1e300, 1e300, allow_nan=False),
    st.text("abc/-", min_size=1, max_size=60),
)
speeds = st.floats(1e-12, 1e15, allow_nan=False, allow_infinity=False)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), width=st.integers(60, 140))
def test_any_study_fits_any_width_and_shows_what_matters_most(data, width):
    chosen = data.draw(st.lists(names, min_size=1, max_size=20, unique=True))
    space = Space.from_dict({"parameters": {n: {"type": "int", "low": 0, "high": 1} for n in chosen}})
    unit = data.draw(st.sampled_from(["tokens/s", "B/s", "1", "s", "images/s", "B"]))
    trials = []
    for i in range(data.draw(st.integers(1, 12))):
        config = {n: data.draw(values) if j < 3 else i for j, n in enumerate(chosen)}
        speed = data.draw(speeds)
        goal = Estimate(speed, data.draw(st.one_of(st.none(), st.floats(0.0, 1e9))), 30, unit)
        trials.append(
            Trial(i, Suggestion(config, Reason.RANDOM), TrialState.COMPLETED, 1, Measurement({"speed": goal}))
        )
    view = StudyView("s", space, Objective.from_dict({"maximize": "speed"}), trials)
    lines = trial_table(view, width=width)
    assert max(len(line) for line in lines) <= width
    text = "\n".join(lines)
    assert not [name for name in chosen if re.search(rf"{re.escape(name[:3])}\w*~", header_of(lines))]
    first = by_importance(view)[0]
    assert first not in named_after("also varied:", text) + named_after("not shown:", text)


@settings(max_examples=60, deadline=None)
@given(
    numbers=st.lists(st.tuples(speeds, st.one_of(st.none(), st.floats(1e-9, 1e6))), min_size=1, max_size=12),
    unit=st.sampled_from(["tokens/s", "B/s", "1", "s", "images/s", "B", "USD"]),
)
def test_numbers_of_a_column_have_one_scale(numbers, unit):
    estimates = [Estimate(value, sem, 30, unit) for value, sem in numbers]
    rows = [
        Trial(i, Suggestion({}, Reason.RANDOM), TrialState.COMPLETED, 1, Measurement({"speed": e}))
        for i, e in enumerate(estimates)
    ]
    scale, _ = common_scale(estimates)
    column = goal_column(Objective.from_dict({"maximize": "speed"}).goals[0], rows)
    for estimate, cell in zip(estimates, column.cells, strict=True):
        assert "e" not in cell
        if "<" in cell.split("±")[0]:
            assert 0 < estimate.value * scale < 1e-5
            continue
        shown = number(cell)
        decimals = len(cell.split("±")[0].strip().partition(".")[2])
        assert shown == pytest.approx(estimate.value * scale, rel=5e-3, abs=0.6 * 10.0**-decimals)


def test_a_rate_of_bytes_has_a_prefix_and_no_exponent():
    estimates = [
        Estimate(v, s, 30, "B/s") for v, s in [(7_190_000.0, 2e5), (5e6, None), (812_345.0, 40_000.0)]
    ]
    rows = [
        Trial(i, Suggestion({}, Reason.RANDOM), TrialState.COMPLETED, 1, Measurement({"disk": e}))
        for i, e in enumerate(estimates)
    ]
    column = goal_column(Objective.from_dict({"maximize": "disk"}).goals[0], rows)
    assert [cell.strip() for cell in column.cells] == ["7.19 ± 0.39", "5", "0.812 ± 0.078"]
    assert "MB/s" in " ".join(column.header)


def test_what_matters_most_comes_first_and_is_the_last_to_go():
    view = wide_view()
    assert by_importance(view)[0] == "gpu_memory_utilization"
    for width in range(40, 200, 7):
        text = "\n".join(trial_table(view, width=width))
        assert "gpu_memory_utilization" not in named_after("also varied:", text)


@pytest.mark.parametrize("bend", [False, True])
def test_what_matters_most_is_seldom_hidden_among_many(bend):
    """24 parameters, 15 trials, 60 columns; one explains 80 % of the goal, on a line or around a peak."""
    names = [f"parameter_{i}" for i in range(24)]
    space = Space.from_dict({"parameters": {n: {"type": "int", "low": 0, "high": 8} for n in names}})
    hidden = 0
    for seed in range(40):
        rng = random.Random(seed)
        main, trials = rng.choice(names), []
        weights = {n: rng.choice([-1, 1]) * rng.expovariate(1.0) for n in names}
        size = math.sqrt(sum(w * w for n, w in weights.items() if n != main) * 60 / 9)
        for i in range(15):
            config = {n: rng.randint(0, 8) for n in names}
            x = (config[main] - 4) / 2.58
            speed = 2.0 * size * (1.1 * (1 - x * x) if bend else x)
            speed += sum(weights[n] * (config[n] - 4) for n in names if n != main)
            trials.append(
                Trial(
                    i, Suggestion(config, Reason.RANDOM), TrialState.COMPLETED, 1,
                    Measurement({"speed": Estimate(math.exp(speed / (5 * size)), None)}),
                )
            )  # fmt: skip
        view = StudyView("s", space, Objective.from_dict({"maximize": "speed"}), tuple(trials))
        text = "\n".join(trial_table(view, width=60))
        hidden += main in named_after("also varied:", text) + named_after("not shown:", text)
    assert hidden <= (3 if bend else 0)


@pytest.mark.parametrize(("bend", "most"), [(False, 8), (True, 20)])
def test_what_matters_most_is_seldom_hidden_where_a_search_climbed(bend, most):
    """24 parameters, 40 trials around a best that moves, 60 columns; one has 40 % of the goal's variance.

    No parameter alone goes with the goal, and near the winner the most important one varies least.
    """
    names = [f"parameter_{i}" for i in range(24)]
    space = Space.from_dict(
        {"parameters": {n: {"type": "int", "low": 0, "high": 8, "default": 2} for n in names}}
    )
    hidden = 0
    for seed in range(40):
        rng = random.Random(seed)
        main, top = rng.choice(names), rng.randint(2, 6)
        weights = {n: rng.choice([-1, 1]) * rng.expovariate(1.0) for n in names if n != main}
        places = [-((x - top) ** 2) if bend else x - 4 for x in range(9)]
        size = math.sqrt(0.4 / 0.6 * sum(w * w for w in weights.values()) * 60 / 9)
        size /= statistics.pstdev(places)
        configs = [space.default_config, *({n: rng.randint(0, 8) for n in names} for _ in range(5))]
        trials, best = [], (-math.inf, {})
        for i in range(40):
            config = dict(configs[i] if i < len(configs) else best[1])
            for name in rng.sample(names, rng.randint(1, 3)) if i >= len(configs) else ():
                config[name] = min(8, max(0, config[name] + rng.choice([-2, -1, 1, 2])))
            found = size * places[config[main]] + sum(w * (config[n] - 4) for n, w in weights.items())
            best = max(best, (found, config), key=lambda pair: pair[0])
            trials.append(
                Trial(
                    i, Suggestion(config, Reason.EXPLORE), TrialState.COMPLETED, 1,
                    Measurement({"speed": Estimate(math.exp(0.05 * found + rng.gauss(0, 0.02)), None)}),
                )
            )  # fmt: skip
        view = StudyView("s", space, Objective.from_dict({"maximize": "speed"}), tuple(trials))
        text = "\n".join(trial_table(view, width=60))
        hidden += main in named_after("also varied:", text) + named_after("not shown:", text)
    assert hidden <= most


def test_every_parameter_that_varies_is_named_somewhere():
    view = wide_view()
    for width in (50, 60, 80, 120):
        lines = trial_table(view, width=width)
        text = "\n".join(lines)
        hidden = named_after("also varied:", text)
        shown = re.sub(r"[\s_-]", "", "".join(sorted(header_of(lines))))
        for name in by_importance(view):
            letters = sorted(name.replace("_", ""))
            assert name in hidden or not Counter(letters) - Counter(shown), name


def test_a_name_that_no_header_holds_has_a_letter_and_a_legend():
    long = "speculativedecodingacceptancethreshold" + "x" * 20
    names = [long, *(f"parameter_{i}_of_many" for i in range(8))]
    space = Space.from_dict({"parameters": {n: {"type": "int", "low": 0, "high": 9} for n in names}})
    trials = [
        Trial(
            i,
            Suggestion({n: (i + j * (j > 0)) % 9 for j, n in enumerate(names)}, Reason.RANDOM),
            TrialState.COMPLETED,
            1,
            Measurement({"speed": Estimate(10.0 + i, 0.1, 30, "tokens/s")}),
        )
        for i in range(8)
    ]
    view = StudyView("s", space, Objective.from_dict({"maximize": "speed"}), trials)
    lines = trial_table(view, width=60)
    assert f"A={long}" in "".join(lines).replace(" ", "")
    assert re.search(r"\bA\b", header_of(lines))
    assert max(len(line) for line in lines) <= 60
    assert len(header_of(lines).splitlines()) <= 6


def test_one_value_in_all_trials_stands_above_the_table(make_view, trials):
    lines = trial_table(make_view((trials[1], trials[5])))
    assert lines[0].startswith("the same in all trials: quantization_bits=8 draft_length=0")
    assert "threads=2" in " ".join(lines[:2])
    assert "threads" not in " ".join(lines[3:])
    assert not trial_table(make_view((trials[1], trials[5])), [trials[1]])[0].startswith("the same")


def header_of(lines):
    end = next(i for i, line in enumerate(lines) if line.lstrip().startswith("#"))
    return "\n".join(lines[: end + 1])


def named_after(label, text):
    found = re.search(rf"{label}((?:.|\n)*)", text)
    return [] if found is None else re.split(r"[,\s]+", found[1].strip())


@pytest.mark.parametrize("size", [1e-12, 3e-11, 1e-5, 1.0, 1e6, 1e15])
@pytest.mark.parametrize("error", [None, 0.02])
def test_the_numbers_of_a_report_are_as_readable_as_those_of_a_terminal(make_view, make_trial, size, error):
    """No row of noughts, no exponent, and different numbers stay different."""
    objective = Objective.from_dict({"minimize": "loss"})
    trials = []
    for i, part in enumerate((1.0, -1.25, 1.5)):
        found = {"loss": Estimate(part * size, error and error * size, 30, "1")}
        base = make_trial(i, (2**i, 16, 0, 1, 1), speed=1.0, tpot=0.1)
        trials.append(replace(base, measurement=replace(base.measurement, metrics=found)))
    view = make_view(tuple(trials), objective=objective, running=())
    cells = [row.cells[2][0] for row in document.trial_rows(view)]
    assert len(set(cells)) == 3
    for cell in cells:
        value = cell.partition(" ")[0]
        assert re.fullmatch(r"-?\d{1,7}(\.\d{1,4})?", value), cells
        assert float(value) != 0
    table = "\n".join(trial_table(view))
    assert all(cell.partition(" ")[0] in table for cell in cells)
    lines = measurement_lines({"loss": trials[0].metrics["loss"]}, objective)
    assert not re.search(r"\de[+-]?\d", lines[0])

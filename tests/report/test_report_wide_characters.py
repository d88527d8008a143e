"""Wide, combining and joined characters in names, values and units: every text counts a terminal's cells."""

import io
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from autotune.analysis.change import Change, Measured
from autotune.analysis.side_by_side import compare
from autotune.analysis.verification import Side, Verification
from autotune.cli import main
from autotune.cli.show import show_studies
from autotune.core import cells
from autotune.core.measurement import Cause, Estimate, Failure, Measurement
from autotune.core.objective import Objective
from autotune.core.ranking import Improvement
from autotune.core.short_texts import SHORT, shortened
from autotune.core.space import Space
from autotune.core.trial import Reason, Suggestion, Trial, TrialState
from autotune.report.comparison import comparison_lines
from autotune.report.live import render
from autotune.report.summary import measurement_lines, summary
from autotune.report.tables import trial_table
from autotune.report.text import wrap
from autotune.report.verification import verification_lines
from tests_views import make_view

WIDTHS = (60, 80, 100)
MODES = ("標準", "高速モード(実験的な設定)", "👩‍🚀 宇宙", "cafe\u0301", "속도우선")
SPACE = Space.from_dict(
    {
        "mode": {"type": "categorical", "values": list(MODES), "default": MODES[0]},
        "batch": {"type": "int", "low": 1, "high": 8, "unit": "件数"},
        "a_parameter_of_a_name_that_is_as_long_as_any_name_may_ever_be_64": {
            "type": "int",
            "low": 1,
            "high": 8,
        },
    }
)
GOAL, HEAT = "処理速度の平均値.p50", "温度" * 20
OBJECTIVE = Objective.from_dict({"maximize": GOAL, "limits": [f"{HEAT} <= 60"]})
METRICS = {GOAL: Estimate(812.3, 6.1, 30, "トークン/s"), HEAT: Estimate(41.5, 0.4, 30, "度")}


def make_trials(count=10):
    """Return trials of every mode, the last of which failed with a message without spaces."""
    trials = []
    for i in range(count):
        config = {"mode": MODES[i % 5], "batch": 1 + i % 8, SPACE.names[2]: 1 + (3 * i) % 8}
        metrics = {name: Estimate(e.value + i, e.sem, e.n, e.unit) for name, e in METRICS.items()}
        done = i < count - 1
        failed = Failure(Cause.OUT_OF_MEMORY, "メモリが足りません。" * 30)
        found = Measurement(metrics, ended_ns=10**9) if done else Measurement(failure=failed)
        state = TrialState.COMPLETED if done else TrialState.INFEASIBLE
        trials.append(
            Trial(i, Suggestion(config, Reason.DEFAULT if not i else Reason.EXPLORE), state, 1, found)
        )
    return tuple(trials)


def view_of(**changes):
    changes = {"state": "completed", "running": (), **changes}
    return make_view(make_trials(), name="研究" * 30, space=SPACE, objective=OBJECTIVE, **changes)


def verification():
    """Return a verification in which nothing got worse."""
    measured = [Measured(METRICS[name], 0.2) for name in (GOAL, HEAT)]
    gain = Improvement(1.0, 0.9, 1.1, True, (3, 3))
    changes = (
        Change(GOAL, measured[0], measured[0], gain),
        Change(HEAT, measured[1], measured[1], gain, limit=OBJECTIVE.limits[0], chance=0.9),
    )
    sides = (Side("winner", 1, make_trials()[1].config, changes, 3, failed=("壊れました" * 30,)),)
    return Verification("研究" * 30, "確認", "completed", 0.05, 0.9, 3, sides, differs=("版" * 90,))


def comparison():
    """Return two studies side by side."""
    labels = ["研究" * 8, "比較対象" * 8]
    return compare(labels, ["a", "b"], [view_of(), view_of()], [OBJECTIVE] * 2, [[], ["版: 一 -> 二" * 20]])


def live(width):
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(render(view_of(state="running", running=((3, 1, 0),)), width, 40))
    return console.file.getvalue().splitlines()


TEXTS = {
    "table": lambda width: trial_table(view_of(), width=width),
    "summary": lambda width: summary(view_of(), width=width).splitlines(),
    "live": live,
    "compare": lambda width: comparison_lines(comparison(), width=width),
    "verify": lambda width: verification_lines(verification(), width=width),
}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("text", TEXTS)
def test_no_line_takes_more_cells_than_the_terminal_has(text, width):
    lines = TEXTS[text](width)
    assert [(line, cell_len(line)) for line in lines if cell_len(line) > width] == []
    assert any(cell_len(line) != len(line) for line in lines)


def test_a_list_of_names_keeps_to_the_width_and_its_lines_begin_at_one_cell(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "40")
    texts = {"研究研究": "created, 0 trials, engine random/2", "ab": "created, 0 trials, engine random/2"}
    monkeypatch.setattr("autotune.cli.show.studies_of", lambda _store: texts)
    show_studies(texts, "none", as_json=False)
    shown = capsys.readouterr().out
    lines = shown.splitlines()
    assert max(map(cell_len, lines)) <= 40
    assert {cell_len(line.partition("created")[0]) for line in lines if "created" in line} == {10}
    assert main(["list", "studies", "--store", str(tmp_path)]) == 0
    assert capsys.readouterr().out == shown
    show_studies({}, "none", as_json=False)
    assert capsys.readouterr().out == "none\n"


def test_a_word_longer_than_the_width_is_broken_in_each_line_of_a_summary():
    goals = {"maximize": "m" * 90, "minimize": "n" * 90}
    objective = Objective.from_dict(goals)
    metrics = {"m" * 90: Estimate(1.0), "n" * 90: Estimate(2.0)}
    done = Measurement(metrics, started_ns=1, ended_ns=2)
    config = make_view().default_config
    trial = Trial(0, Suggestion(config, Reason.DEFAULT, "gp"), TrialState.COMPLETED, 1, done)
    text = summary(make_view((trial,), objective=objective, state="completed", running=()), width=60)
    assert "pareto front (" in text
    assert max(map(cell_len, text.splitlines())) <= 60


@pytest.mark.parametrize("width", WIDTHS)
def test_the_columns_of_a_table_begin_at_one_cell(width):
    lines = trial_table(view_of(), width=width)
    head = next(line for line in lines if line.lstrip().startswith("#"))
    assert "time" in head or "note" in head
    word = "note" if "note" in head else "time"
    at = head.index(word) + (len(word) if word == "time" else 0)
    at = cell_len(head[:at])
    rows = [line for line in lines if line.strip() and line.split()[0].rstrip("*").isdecimal()]
    assert len(rows) == 10
    for row in rows:
        before = cells.beginning(row, at)
        assert cell_len(before) == at, row
        assert row[len(before) :][:1].strip() if word == "note" else before.endswith(("s", "-"))


@pytest.mark.parametrize("width", [100, 140])
def test_the_columns_of_a_comparison_begin_at_one_cell(width):
    lines = comparison_lines(comparison(), width=width)
    found = [line for line in lines if "completed, 10 trials" in line]
    starts = [cell_len(line[: line.rindex("completed")]) for line in found]
    for line in lines:
        if line.startswith(("configurations", "confirmed")):
            value = line.split()[-1]
            assert cell_len(line[: line.rindex(value)]) == starts[0], line


def test_the_rows_of_a_verification_and_of_one_measurement_are_aligned():
    rows = [line for line in verification_lines(verification(), width=200) if "not settled" in line]
    assert len(rows) == 2
    assert len({cell_len(line[: line.index("not settled")]) for line in rows}) == 1
    rows = measurement_lines(METRICS, OBJECTIVE)[:2]
    assert len({cell_len(line[: line.index("n=30")]) for line in rows}) == 1


def test_a_value_of_several_lines_stays_in_its_row(make_view):
    values = ["one\ntwo", "one\ttwo", "three"]
    space = Space.from_dict({"mode": {"type": "categorical", "values": values}})
    found = {
        "output_throughput": Estimate(1.0, None, 1, "tokens/s"),
        "tpot.p95": Estimate(0.01, None, 1, "s"),
    }
    trials = tuple(
        Trial(i, Suggestion({"mode": mode}, Reason.EXPLORE), TrialState.COMPLETED, 1, Measurement(found))
        for i, mode in enumerate(values)
    )
    lines = trial_table(make_view(trials, space=space, running=()))
    assert not {"\n", "\t"} & set("".join(lines))
    assert sum("one two" in line for line in lines) == 2


ATOMS = [*"abz ._-é日本語한글ﾊ👍", "👍🏽", "👩\u200d🚀", "e\u0301", "❤\ufe0f", "🇩🇪"]
texts = st.lists(st.sampled_from(ATOMS), max_size=60).map("".join)


@settings(max_examples=300, deadline=None)
@given(text=texts, width=st.integers(2, 40))
@example(text="aaaa日  日日", width=2)  # two spaces where a line is full
@example(text="   👍🏽é-_b👍éb 日ﾊ語", width=2)  # begins with more spaces than other lines
def test_what_is_cut_padded_or_folded_has_its_cells(text, width):
    assert cell_len(cells.beginning(text, width)) <= width
    assert text.startswith(cells.beginning(text, width))
    assert cell_len(cells.ending(text, width)) <= width
    assert text.endswith(cells.ending(text, width))
    assert cell_len(cells.cut(text, width)) <= width
    assert cell_len(cells.padded(text, 200)) == 200 == cell_len(cells.padded(text, 200, left=False))
    assert "".join(cells.chopped(text, width)) == text
    assert max(map(cell_len, cells.chopped(text, width)), default=0) <= width
    for lines in (cells.fill(text, width + 4), wrap(text, width + 4)):
        wide = [line for line in lines if cell_len(line) > width + 4]
        assert all(len(line.split()) == 1 and cell_len(line) == len(line) for line in wide), lines
    assert max(map(cell_len, cells.fill(text, width + 4))) <= width + 4


def test_no_mark_is_parted_from_its_letter():
    text = "cafe\u0301 日本 👍🏽👍🏽"
    for width in range(2, 14):
        for part in (cells.ending(text, width), *cells.chopped(text, width)):
            assert part == "" or not unicodedata.combining(part[0])


@pytest.mark.parametrize("texts", [MODES, [f"{'長い値' * 20}{i}" for i in range(3)], ["値" * 9, "値" * 10]])
def test_shortened_values_keep_to_the_cells_of_a_column(texts):
    found = shortened(texts)
    assert max(map(cell_len, found)) <= SHORT
    assert len(set(found)) == len(texts)

"""The table of trials at 80 columns, and at any other width."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.analysis.study_view import StudyView
from autotune.core.measurement import Estimate
from autotune.core.objective import Objective
from autotune.core.space import Space
from autotune.core.trial import Reason, Suggestion, Trial
from autotune.report.tables import state_word, trial_table

GOLDEN = Path(__file__).parent / "golden"


def test_golden_table_at_80_columns(make_view):
    assert "\n".join(trial_table(make_view())) + "\n" == (GOLDEN / "table-80.txt").read_text("utf-8")


def test_golden_table_at_60_columns(make_view):
    assert "\n".join(trial_table(make_view(), width=60)) + "\n" == (GOLDEN / "table-60.txt").read_text(
        "utf-8"
    )


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


def test_a_table_without_trials_says_so(make_view):
    assert trial_table(make_view(())) == ["no trials yet"]


def test_inactive_parameters_show_a_dash(make_view, trials):
    config = dict(trials[8].config)
    config.pop("draft_length")
    short = replace(trials[8], suggestion=Suggestion(config, Reason.EXPLORE))
    assert " - " in trial_table(make_view((trials[0], short)))[-1]


names = st.text("abcdefgh_", min_size=1, max_size=30).filter(lambda s: not s.startswith("_"))


@settings(max_examples=40, deadline=None)
@given(names=st.lists(names, min_size=1, max_size=25, unique=True), width=st.integers(30, 120))
def test_any_space_fits_any_width(names, width):
    space = Space.from_dict({"parameters": {n: {"type": "int", "low": 0, "high": 100000} for n in names}})
    trials = [Trial(i, Suggestion(dict.fromkeys(names, i * 99999), Reason.RANDOM)) for i in range(2)]
    view = StudyView("s", space, Objective.from_dict({"maximize": "speed"}), trials)
    # a name is not broken: alone on its line it has its indentation and the comma behind it
    longest = 2 + max(len(n) for n in names) + (len(names) > 1)
    assert max(len(line) for line in trial_table(view, width=width)) <= max(width, longest)

"""Figures of what the trials themselves say, without a model."""

import pytest

import autotune
from autotune import plot
from autotune.core.objective import Objective

NAMES = (
    "comparison", "cost", "drift", "latency_distribution", "noise", "pareto_front", "phases", "progress",
    "progress_in_time", "throughput_latency",
)  # fmt: skip


def strings(data):
    if isinstance(data, str):
        yield data
    for part in data.values() if isinstance(data, dict) else data if isinstance(data, list | tuple) else ():
        yield from strings(part)


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_of_every_kind_of_study(name, make_view, make_trial, trials):
    failed = [make_trial(i, (1, 8, i, 1, 1), cause="out_of_memory") for i in range(2)]
    two = Objective.from_dict({"maximize": "output_throughput", "minimize": "tpot.p95"})
    make = getattr(plot, name)
    ended = {"state": "completed", "running": ()}
    for view in (
        make_view(trials[:8], **ended), make_view(), make_view((), **ended), make_view(failed, **ended),
        make_view(trials[:8], objective=two, **ended),
    ):  # fmt: skip
        figure = make(view)
        assert figure.layout.title.text
        assert figure.data or figure.layout.meta["nothing"]
    assert make(make_view((), **ended)).layout.meta["nothing"]


@pytest.mark.parametrize("name", NAMES)
def test_names_become_no_markup(name, tmp_path):
    evil = "m<a/href=x>"
    study = autotune.Study(autotune.Space([autotune.Int("x", 0, 5)]), {"maximize": "m"}, engine="random")
    with study:
        for i in range(4):
            metrics = {"m": autotune.Estimate(1.0 + i, 0.1, 5, "<b>u</b>"), evil: 2.0 + i}
            study.add({"x": i % 3}, metrics)
        study.ledger.set_study_state(study.name, "COMPLETED")
        figure = getattr(plot, name)(study)
    assert [text for text in strings(figure.to_plotly_json()) if "<a" in text or "<b>u" in text] == []


def test_a_module_of_a_figure_does_not_hide_it():
    from autotune.plot import progress_figure

    assert plot.progress is progress_figure.progress
    assert callable(plot.progress)


def test_a_comparison_without_a_ratio_says_so(make_view, make_trial):
    """The default was measured: at nothing, of which no other is so many times as much."""
    objective = Objective.from_dict({"maximize": "output_throughput"})
    default = make_trial(0, (1, 16, 0, 1, 1), speed=0.0, tpot=0.0)
    better = make_trial(1, (8, 8, 0, 1, 2), speed=120.3, tpot=0.0)
    view = make_view((default, better), objective=objective, running=())
    found = plot.comparison(view)
    assert "no metric has a ratio" in str(found.layout.annotations[0].text)

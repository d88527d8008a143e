"""Figures of what the trials themselves say, without a model."""

from dataclasses import replace

import pytest

import autotune
from autotune import plot
from autotune.core.objective import Objective
from autotune.core.trial import Reason

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


def test_the_interval_of_what_is_above_zero_does_not_end_below_it(make_view):
    from autotune.core.measurement import Estimate, Measurement
    from tests_views import TRIALS

    rough = Measurement({"output_throughput": Estimate(90.0, 400.0, 3, "tokens/s"),
                         "tpot.p95": Estimate(0.05, 0.2, 3, "s")}, ended_ns=1)  # fmt: skip
    trials = [replace(t, measurement=rough) if t.number == 1 else t for t in TRIALS[:8]]
    figure = plot.throughput_latency(make_view(trials, state="completed", running=()))
    ends = [
        value - down
        for trace in figure.data
        if trace.error_x.array is not None
        for values, error in ((trace.x, trace.error_x), (trace.y, trace.error_y))
        for value, down in zip(values, error.arrayminus, strict=True)
    ]
    assert min(ends) == 0.0
    assert max(max(trace.error_x.array) for trace in figure.data if trace.error_x.array) > 400


def test_the_cost_is_in_the_units_of_the_tables(make_view, make_trial):
    trials = [make_trial(i, (1, 8, 0, 1, 1), speed=30.0, tpot=0.03) for i in range(2)]
    long = replace(trials[0].measurement, ended_ns=400 * 10**9)
    confirm = replace(trials[1].suggestion, reason=Reason.CONFIRM)
    trials = [replace(trials[0], measurement=long), replace(trials[1], suggestion=confirm)]
    (bars,) = plot.cost(make_view(trials, state="completed", running=())).data
    assert [text.split(",")[0] for text in bars.text] == ["6.65 min", "13 s"]


def test_the_recommended_line_is_that_of_all_its_launches(make_view, make_trial):
    slow, fast, again = (
        make_trial(i, (batch, 8, 0, 1, 1), speed=speed, tpot=0.03)
        for i, (batch, speed) in enumerate([(1, 100.0), (32, 300.0), (32, 500.0)])
    )
    figure = plot.parallel_coordinates(make_view([slow, fast, again], state="completed", running=()))
    recommended = next(trace for trace in figure.data if trace.name == "recommended, launches pooled")
    assert recommended.y[-1] == pytest.approx(0.75, abs=0.01)  # 400 between 100 and 500


def test_what_failed_has_the_colour_of_failures_in_the_cost(make_view, make_trial):
    trials = [make_trial(i, (1, 8, i, 1, 1), speed=50.0 + i, tpot=0.02) for i in range(3)]
    trials.append(make_trial(3, (1, 8, 3, 1, 1), cause="out_of_memory"))
    (bars,) = plot.cost(make_view(trials, state="completed", running=())).data
    assert dict(zip(bars.y, bars.marker.color, strict=True))["failed"] == plot.theme.FAILED
    assert list(bars.marker.color).count(plot.theme.FAILED) == 1


def test_axes_have_the_unit_that_a_limit_was_written_in(make_view, trials):
    objective = Objective.from_dict(
        {
            "maximize": "output_throughput",
            "limits": ["output_throughput >= 600 tokens/min", "tpot.p95 <= 60 ms"],
        }
    )
    view = make_view(trials[:8], objective=objective, state="completed", running=())
    assert plot.progress(view).layout.yaxis.title.text == "output_throughput (tokens/min)"
    plane = plot.pareto_front(view).layout
    assert "(tokens/min)" in plane.xaxis.title.text + plane.yaxis.title.text


def test_no_interval_of_a_positive_metric_reaches_below_zero(make_view, make_trial):
    """One launch each and no model: nothing tells how far launches differ, and the interval is wide."""
    trials = [make_trial(i, (2 ** (i % 6), 8, 0, 1, 1), speed=50.0 * 4**i, tpot=0.02) for i in range(6)]
    view = make_view(trials, state="completed", running=(), confirm=0)
    star = next(trace for trace in plot.progress(view).data if trace.marker.symbol == "star")
    assert star.error_y.array[0] >= star.error_y.arrayminus[0]
    assert star.y[0] - star.error_y.arrayminus[0] >= 0
    bars = next(trace for trace in plot.comparison(view).data if trace.type == "bar")
    assert all(x - least >= 0 for x, least in zip(bars.x, bars.error_x.arrayminus, strict=True))


def test_an_interval_that_says_nothing_runs_out_of_the_frame(make_view, make_trial):
    trials = [make_trial(i, (2 ** (i % 6), 8, 0, 1, 1), speed=50.0 * (i + 1), tpot=0.02) for i in range(6)]
    wild = {**trials[3].metrics, "tpot.p95": autotune.Estimate(0.03, 5.0, 4, "s")}
    trials[3] = replace(trials[3], measurement=replace(trials[3].measurement, metrics=wild))
    two = Objective.from_dict({"maximize": "output_throughput", "minimize": "tpot.p95"})
    layout = plot.pareto_front(make_view(trials, objective=two, state="completed", running=())).layout
    low, high = (layout.yaxis if "tpot" in layout.yaxis.title.text else layout.xaxis).range
    assert low < 0 < 30 < high < 60, "in ms; the interval ends at some seconds"


def test_the_end_of_an_interval_chooses_no_unit():
    assert plot.theme.axis_unit([0.02, 0.03, 0.05, 4000.0], "s")[1] == "ms"
    assert plot.theme.axis_unit([0.0, 0.0, 40.0], "s")[1] == "s"

"""Figures of a study's model: what is on their axes, what they say in words, and what they refuse."""

import json
import math
import re

import numpy as np
import pytest

import autotune
from autotune import plot
from autotune.core.trial import Reason, Suggestion
from autotune.errors import SpecError
from autotune.plot.axes import metric_axis

SPACE = autotune.Space.from_dict(
    {
        "parameters": {
            "batch": {"type": "int", "low": 1, "high": 256, "scale": "log2", "unit": "requests"},
            "bits": {"type": "ordinal", "values": [4, 8, 16]},
            "draft": {"type": "bool"},
            "length": {"type": "int", "low": 1, "high": 8, "when": "draft"},
            "share": {"type": "float", "low": 0.1, "high": 0.9},
        }
    }
)
OBJECTIVE = autotune.Objective.from_dict({"maximize": "output_throughput", "limits": ["ttft.p99 <= 400 ms"]})
FIGURES = {
    "importance": plot.importance,
    "effect": lambda study: plot.effect(study, "batch"),
    "effects": plot.effects,
    "pair": lambda study: plot.pair(study, "batch", "bits"),
    "prediction": plot.prediction,
    "failures": plot.failures,
    "parallel_coordinates": plot.parallel_coordinates,
}


def measured_study(trials, seed=0):
    study = autotune.Study(SPACE, OBJECTIVE, engine="random", seed=seed)
    rng = np.random.default_rng(seed)
    for trial in study.ask(trials):
        c = trial.config
        if c["batch"] > 200 and c["bits"] == 16:
            study.tell(trial, failure="out_of_memory")
            continue
        noise = math.exp(0.02 * rng.standard_normal())
        speed = 100 * c["batch"] ** 0.6 * (16 / c["bits"]) ** 0.3 * noise
        study.tell(trial, {"output_throughput": speed, "ttft.p99": 0.02 * c["batch"] ** 0.6})
    return study


@pytest.fixture(scope="module", name="view")
def view_fixture():
    return measured_study(60).view


def words(figure):
    """All texts of a figure as one."""
    return json.dumps(figure.to_plotly_json(), default=list)


def subtitle(figure):
    return figure.layout.title.subtitle.text.replace("<br>", " ")


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_public_and_drawn_of_a_study_as_of_its_view(name, view):
    figure = FIGURES[name](view)
    assert name in dir(plot)
    assert figure.data
    assert figure.layout.title.text
    assert figure.layout.title.subtitle.text


@pytest.mark.parametrize("name", FIGURES)
def test_a_study_with_nothing_measured_gives_a_sentence(name):
    study = autotune.Study(SPACE, OBJECTIVE, engine="random")
    figure = FIGURES[name](study)
    assert not figure.data
    (annotation,) = figure.layout.annotations
    assert annotation.text.endswith(".")
    study.tell(study.ask(), failure="out_of_memory")
    FIGURES[name](study)


@pytest.mark.parametrize("name", FIGURES)
def test_one_measured_trial_and_equal_ones_are_no_exception(name):
    study = autotune.Study(SPACE, OBJECTIVE, engine="random")
    for trial in study.ask(3):
        study.tell(trial, {"output_throughput": 5.0, "ttft.p99": 0.1})
        FIGURES[name](study)


def test_symbols_tell_what_colours_tell(view):
    for name in ("effect", "prediction"):
        drawn = [t for t in FIGURES[name](view).data if t.mode == "markers" and t.showlegend is not False]
        assert len({t.marker.symbol for t in drawn}) == len(drawn)
    lines = plot.parallel_coordinates(view).data
    assert len({(t.line.dash, t.line.width) for t in lines}) == len(lines)
    bars = [t for t in plot.failures(view).data if t.type == "bar" and t.showlegend]
    assert all(t.marker.pattern.shape for t in bars)


def test_axes_have_units_and_the_scale_of_their_parameter(view):
    figure = plot.effect(view, "batch")
    assert figure.layout.xaxis.type == "log"
    assert figure.layout.xaxis.title.text == "batch (requests)"
    assert "tokens/s" in figure.layout.yaxis.title.text
    latency = plot.effect(view, "share", "ttft.p99")
    assert latency.layout.xaxis.type == "linear"
    assert latency.layout.yaxis.title.text == "ttft.p99 (ms)"
    listed = plot.effect(view, "bits").layout.xaxis
    assert listed.type == "category"
    assert list(listed.categoryarray) == ["4", "8", "16"]


def test_where_a_parameter_is_inactive_has_a_place_of_its_own(view):
    figure = plot.effect(view, "length")
    assert "inactive" in figure.layout.xaxis.ticktext
    place = figure.layout.xaxis.tickvals[figure.layout.xaxis.ticktext.index("inactive")]
    assert place < 1
    inactive = [t.number for t in view.trials if t.metrics and "length" not in t.config]
    points = [x for t in figure.data if t.name in ("measured", "breaks a limit") for x in t.x]
    assert points.count(place) == len(inactive)


def test_no_tick_of_an_importance_is_beyond_all_there_is(view):
    ticks = plot.importance(view).layout.xaxis.tickvals
    assert ticks[0] == 0
    assert 3 <= len(ticks) <= 8
    assert max(ticks) <= 1


def test_importance_says_how_much_and_how_sure(view):
    figure = plot.importance(view)
    bars = figure.data[0]
    assert bars.y[-1] == "batch"  # the topmost
    assert sum(bars.x) == pytest.approx(1.0)
    assert len(bars.error_x.array) == len(bars.x)
    assert "measured trials" in subtitle(figure)
    assert "more trials may change the order" in subtitle(plot.importance(measured_study(5)))


def test_failures_are_named_and_counted(view):
    figure = plot.failures(view)
    failed = sum(t.failure is not None for t in view.trials)
    assert subtitle(figure) == f"{failed} of 60 trials failed: {failed} out of memory"
    assert {"out of memory", "expected by the model"} <= {t.name for t in figure.data}


def test_the_pair_shows_a_number_in_every_allowed_cell(view):
    heat = plot.pair(view, "batch", "bits").data[0]
    texts = np.array(heat.text)
    assert texts.shape == (3, 12)
    assert (texts != "").all()


def test_prediction_says_how_often_its_intervals_hold(view):
    assert "inside their 95 % intervals" in subtitle(plot.prediction(view))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda v: plot.effect(v, "bacth"), "unknown parameter 'bacth'; allowed: batch, bits"),
        (lambda v: plot.pair(v, "batch", "bit"), "did you mean 'bits'?"),
        (lambda v: plot.pair(v, "batch", "batch"), "a pair needs two parameters, found 'batch' twice"),
        (lambda v: plot.importance(v, "ttft.p9"), "did you mean 'ttft.p99'?"),
        (lambda v: plot.effect(v, "batch", "speed"), "the study has no metric 'speed'"),
        (lambda v: plot.effects(v, "speed"), "the study has no metric 'speed'"),
        (lambda v: plot.prediction(v, "speed"), "the study has no metric 'speed'"),
        (lambda v: plot.parallel_coordinates(v, "speed"), "the study has no metric 'speed'"),
    ],
)  # fmt: skip
def test_a_wrong_argument_is_one_clear_error(call, message, view):
    with pytest.raises(SpecError) as error:
        call(view)
    assert message in str(error.value)


def test_text_from_a_study_is_never_markup():
    space = autotune.Space.from_dict(
        {
            "parameters": {
                "kind": {"type": "categorical", "values": ["<i>x</i>", "y"]},
                "n": {"type": "int", "low": 1, "high": 4, "unit": "<u>"},
            }
        }
    )
    study = autotune.Study(space, autotune.Objective.from_dict({"maximize": "rate"}), engine="random")
    for number, trial in enumerate(study.ask(8)):
        if number == 5:
            study.tell(trial, failure="out_of_memory")
        else:
            study.tell(trial, {"rate": float(number + 1)})
    view = study.view
    for figure in (
        plot.effect(view, "n"),
        plot.effect(view, "kind"),
        plot.pair(view, "kind", "n"),
        plot.failures(view),
        plot.parallel_coordinates(view),
        plot.effects(view),
    ):
        assert not any(tag in words(figure) for tag in ("<i>x", "<u>"))


def test_of_very_many_trials_a_part_is_drawn_and_said():
    view = measured_study(450, seed=1).view
    measured = len(view.measured("output_throughput"))
    drawn = {"effect": 400, "effects": 400, "parallel_coordinates": 300}
    for name, most in drawn.items():
        figure = FIGURES[name](view)
        assert f"{most} of {measured} trials drawn" in subtitle(figure)
        assert max(len(t.x) for t in figure.data if t.x is not None) < 5000
    assert sum(len(t.x) for t in plot.prediction(view).data if t.mode == "markers") <= 400


@pytest.mark.parametrize("name", ["effect", "effects", "prediction"])
@pytest.mark.parametrize(("factor", "shift"), [(-30.0, 0.0), (30.0, -200.0)], ids=["negative", "mixed"])
def test_a_metric_below_zero_is_shown_on_a_linear_axis(name, factor, shift):
    study = autotune.Study(SPACE, {"maximize": "score"}, engine="random", seed=1)
    with study:
        for trial in study.ask(24):
            size = trial.config["batch"] ** 0.6 * 16 / trial.config["bits"]
            study.tell(trial, {"score": factor * size + shift})
        figure = FIGURES[name](study)
    kinds = {figure.layout[axis].type for axis in figure.layout.to_plotly_json() if axis.startswith("yaxis")}
    assert figure.data
    assert "log" not in kinds


def test_an_axis_is_logarithmic_only_where_all_that_it_shows_is_above_zero(make_view):
    kinds = {
        values: metric_axis(make_view(), "m", values).logarithmic
        for values in ((1.0, 900.0), (-1.0, -900.0), (-3.0, 900.0), (0.0, 900.0), (1.0, 2.0), ())
    }
    assert [values for values, logarithmic in kinds.items() if logarithmic] == [(1.0, 900.0)]


def test_too_few_configurations_for_a_model_are_counted_by_configuration():
    config = {"batch": 1, "bits": 4, "draft": False, "share": 0.5}
    with autotune.Study(SPACE, OBJECTIVE, engine="random") as study:
        for i in range(8):
            metrics = {"output_throughput": 10.0 + i, "ttft.p99": {"value": 0.1, "unit": "s"}}
            study.add({**config, "batch": 1 + i % 2}, metrics)
        said = " ".join(note.text for note in plot.prediction(study).layout.annotations)
    text = (
        "Too few configurations have measured output_throughput for a model: 2 configurations, 5 are needed."
    )
    assert text in " ".join(said.replace("<br>", " ").split())


def test_long_names_are_short_on_axes_and_whole_under_the_pointer():
    stem = "speculative_decoding_acceptance_threshold_of_the_draft_model"
    a, b, goal, heat = f"a_{stem}", f"b_{stem}", f"speed_{stem * 3}", f"heat_{stem}"
    space = autotune.Space([autotune.Int(a, 0, 63, default=0), autotune.Int(b, 1, 4, default=1)])
    objective = {"maximize": goal, "limits": [f"{heat} <= 60"]}
    with autotune.Study(space, objective, engine="random", seed=1) as study:
        study.suggest(Suggestion(space.default_config, Reason.DEFAULT))
        for _ in range(12):
            asked = study.ask()
            x, y = asked.config[a], asked.config[b]
            study.tell(asked, {goal: autotune.Estimate(10.0 + x * y, 0.2, 9, "tokens/s"), heat: 5.0 + x % 7})
        figures = {
            "comparison": plot.comparison(study),
            "effect": plot.effect(study, a),
            "effects": plot.effects(study),
            "importance": plot.importance(study),
            "pair": plot.pair(study, a, b),
            "parallel": plot.parallel_coordinates(study),
            "pareto": plot.pareto_front(study),
            "prediction": plot.prediction(study),
            "progress": plot.progress(study),
        }
    for name, figure in figures.items():
        data = json.loads(figure.to_json())
        layout = data["layout"]
        axes = [axis for key, axis in layout.items() if re.match("[xy]axis", key)]
        seen = [axis.get("title", {}).get("text", "") for axis in axes]
        seen += [text for axis in axes for text in axis.get("ticktext", ())]
        if name in ("comparison", "importance"):
            seen = [text for trace in data["data"] for text in trace["y"]]
        assert [text for text in seen if max(map(len, text.split("<br>"))) > 55] == [], name
        assert max(map(len, layout["title"]["text"].split("<br>"))) <= 62
        assert any("~" in text for text in seen), name
        hovers = re.sub("<br>", "", json.dumps(data["data"]))
        assert any(whole in hovers for whole in (a, b, goal, heat)), name

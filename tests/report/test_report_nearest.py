"""Where no configuration surely keeps the limits, the nearest is nowhere called recommended."""

from dataclasses import replace

import pytest

from autotune import plot
from autotune.analysis.comparison import comparison
from autotune.core.objective import Objective
from autotune.report import document
from autotune.report.html import write_report
from autotune.report.markdown import markdown_report
from autotune.report.notebook import study_html
from autotune.report.summary import best_lines, summary_json
from autotune.study.exporting import choose
from autotune.study.result import StudyResult

FIGURES = (
    "comparison", "latency_distribution", "pareto_front", "progress", "progress_in_time",
    "throughput_latency",
)  # fmt: skip
LEVELS = {"levels": [0.5, 0.9, 0.99], "ttft": [0.1, 0.2, 0.3]}


@pytest.fixture
def view(make_view, trials):
    """A study whose best trial keeps its limit with a chance of 72 %, where 95 % were asked for."""
    facts = {"measured": {"latency_quantiles": LEVELS}}
    measured = [
        replace(trials[n], measurement=replace(trials[n].measurement, facts=facts)) for n in (1, 2, 4)
    ]
    objective = Objective.from_dict({"maximize": "output_throughput", "limits": ["tpot.p95 <= 53 ms"]})
    return make_view(
        tuple(measured), state="completed", running=(), objective=objective, deploy=("deploy:", "  serve")
    )


def words_of(figure):
    """Return the title of a figure, its legend and what is shown at its points."""
    return [
        str(figure.layout.title.text), *(str(t.name) for t in figure.data),
        *(str(text) for t in figure.data for text in (t.hovertext if t.hovertext is not None else ())),
        *(str(note.text) for note in figure.layout.annotations),
    ]  # fmt: skip


@pytest.mark.parametrize("name", FIGURES)
def test_figures_name_the_nearest_where_nothing_is_recommended(view, name):
    said = words_of(getattr(plot, name)(view))
    assert not [text for text in said if "recommended" in text.lower() or "winner" in text.lower()]
    assert [text for text in said if "nearest" in text.lower()]
    sure = replace(view, objective=replace(view.objective, confidence=0.51))
    assert [text for text in words_of(getattr(plot, name)(sure)) if "recommended" in text.lower()]


def test_texts_and_data_name_the_nearest_and_no_winner(view, tmp_path):
    assert view.best.trial.number == 4
    assert best_lines(view)[0].startswith("nearest: trial 4")
    data = summary_json(view)
    assert (data["best"]["number"], data["recommended"], data["decision"]["winner"]) == (4, False, None)
    assert StudyResult(view).to_dict()["recommended"] is False
    assert choose(view).why.startswith("the nearest")
    assert choose(view, trial=4).why == "chosen by its number, 4"
    found = comparison(view)
    assert not found.recommended
    row = next(row for row in document.trial_rows(view) if row.best)
    assert any(text.startswith("nearest") for text, _ in row.cells)
    markdown = markdown_report(view)
    assert "## Nearest against default" in markdown
    assert "inner" not in markdown
    page = write_report(view, tmp_path / "report.html", seconds=0.0).read_text()
    assert ">Nearest against default<" in page
    assert "Winner" not in page
    assert "nearest" in StudyResult(view)._repr_html_()
    assert "winner" not in study_html(view)

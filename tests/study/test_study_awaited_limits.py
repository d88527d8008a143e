"""Limits relative to a default that was not measured: nothing that may break them is recommended."""

import json
import re
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

import autotune
from autotune import plot
from autotune.analysis.trade_off import pareto_planes
from autotune.cli import main
from autotune.core.trial import Reason, Suggestion
from autotune.report import document
from autotune.report.live import render
from autotune.report.summary import summary, summary_json
from autotune.report.tables import trial_table
from autotune.study.comparing import compare_studies
from autotune.study.study_file import read_study
from autotune.tracking.mlflow_items import find

STUDY = """
name: df
parameters: {x: {type: int, low: 0, high: 3, default: 0}}
system: {use: function, call: "f.py:measure"}
objective: {maximize: speed, limits: ["heat <= 1.1 x default"]}
budget: {trials: 4, confirm: 1}
engine: {use: random, seed: 0}
tracking: {mlflow: none}
"""
WHY = (
    "the limit heat <= 1.1 x default cannot be judged, since the default configuration failed (out of memory)"
)


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A study that has ended, whose default ran out of memory; its function is not called again."""
    monkeypatch.chdir(tmp_path)
    Path("f.py").write_text("def measure(config): return {}\n")
    Path("df.yaml").write_text(STUDY)
    spec = read_study("df.yaml")
    path = tmp_path / "autotune-runs" / "ledger.sqlite"
    path.parent.mkdir()
    with autotune.Study(spec.space, spec.objective, name="df", path=path, spec=spec.to_dict()) as study:
        study.tell(study.suggest(_at(0)), failure="out_of_memory")
        for x in (1, 2, 3):
            study.tell(study.suggest(_at(x)), {"speed": 10.0 + x, "heat": 5.0 + x})
        study.tell(study.suggest(_at(3, Reason.CONFIRM)), {"speed": 13.0, "heat": 8.0})
        study.ledger.set_study_state("df", "COMPLETED")
        yield study


def _at(x, reason=Reason.EXPLORE):
    return Suggestion({"x": x}, reason)


def said(capsys, *command):
    """Return the exit code of a command and its words, folded lines joined."""
    code = main([*command])
    found = capsys.readouterr()
    return code, " ".join((found.out + found.err).split())


def test_no_command_recommends_what_was_never_judged(store, capsys):
    code, text = said(capsys, "best", "df")
    assert code == 4
    assert WHY in text
    assert "write the limit in absolute numbers, or choose another default" in text
    code, text = said(capsys, "status", "df")
    assert f"verdict: nothing is recommended: {WHY}" in text
    assert "best df" not in text
    assert "best: trial" not in text
    for more in ((), ("--under", "heat <= 1.1 x default"), ("--under", "speed >= 1")):
        code, text = said(capsys, "export", "df", "--as", "yaml", *more)
        assert (code, WHY in text) == (4, True), more
    code, text = said(capsys, "export", "df", "--as", "yaml", "--under", "heat <= 8.5")
    assert "cannot be judged" not in text
    code, text = said(capsys, "verify", "df")
    assert code == 4
    found = compare_studies(["df", "df"], store.ledger.path.parent).studies[0]
    assert (found.best, found.nearest) == (None, None)
    _, text = said(capsys, "compare", "df", "df")
    assert "cannot be judged" in text


def test_data_and_reports_say_that_it_is_not_known(store, capsys):
    data = summary_json(store.view)
    assert (data["best"], data["recommended"], data["pareto_front"]) == (None, False, [])
    assert [trial["feasible"] for trial in data["trials"]] == [None] * 5
    assert data["verdict"]["limits"][0].startswith("not judged: heat <= 1.1 x default")
    assert data["binding_limit"] == WHY
    assert store.best is None
    assert store.to_frame()["feasible"].isna().all()
    assert [words.split()[1] for words in trial_table(store.view)[-5:]] == ["failed", *["unknown"] * 4]
    assert store._repr_html_().count(">unknown</td>") == 4
    assert "unknown" in drawn(render(store.view, 100))
    for suffix in ("md", "html", "csv"):
        assert said(capsys, "report", "df", "-o", f"r.{suffix}")[0] == 0
    page = Path("r.md").read_text().replace("\\", "")
    _, _, limits = page.partition("## Limits")
    assert WHY[1:] in limits
    assert page.count("| unknown |") == 4
    html = Path("r.html").read_text().replace("&lt;", "<")
    assert WHY[1:] in html[html.index('id="limits"') :]
    assert pd.read_csv("r.csv")["feasible"].isna().all()


def drawn(part):
    console = Console(file=StringIO(), width=100)
    console.print(part)
    return console.file.getvalue()


def test_no_figure_says_that_limits_are_kept_which_cannot_be_judged(store):
    for make in (plot.progress, plot.pareto_front, plot.parallel_coordinates):
        names = [trace.name for trace in make(store).data]
        assert "limits not judged" in names, make
        assert not {"keeps every limit", "best so far, as measured", "best tenth"} & {*names}, make
    assert "no configuration to compare with" in plot.comparison(store).layout.annotations[0].text
    page = document.trial_columns(store.view)
    assert [column.name for column in page][:4] == ["#", "state", "speed", "heat"]


def test_an_exported_file_says_which_limit_was_not_judged(store):
    said = "# heat <= 1.1 x default: 6, NOT JUDGED: the default configuration failed (out of memory)"
    for name in ("yaml", "python", "env"):
        assert said in store.export(name, trial=1).splitlines(), name
    assert "NOT JUDGED" not in store.export("yaml", under=["heat <= 8.5"])


def test_values_under_a_limit_have_its_unit(store):
    for under, value in (("heat <= 20 s", r"8[^,]* s"), ("heat <= 9000 ms", r"8[^,]* m?s")):
        text = store.export("yaml", under=[under])
        assert re.search(rf"^# {under}: {value}, chance", text, re.MULTILINE), text


def test_a_verdict_shows_itself_in_a_notebook(store):
    html = store.result.verdict._repr_html_()
    assert "nothing is recommended: the limit heat &lt;= 1.1 x default cannot be judged" in html
    assert "<td" in html
    assert "not judged: heat &lt;= 1.1 x default" in html


def test_a_search_goes_on_while_the_default_is_to_be_measured(tmp_path):
    space = autotune.Space([autotune.Int("x", 0, 3, default=0)])
    objective = autotune.Objective(maximize="speed", limits=["heat <= 1.5 x default"])
    with autotune.Study(
        space, objective, engine="random", path=tmp_path / "ledger.sqlite", name="s"
    ) as study:
        default = study.suggest(_at(0))
        study.tell(study.suggest(_at(1)), {"speed": 11.0, "heat": 6.0})
        running = replace(study.view, state="running")
        assert running.best.trial.number == 1  # as measured
        assert study.best is None
        study.tell(default, {"speed": 10.0, "heat": 5.0})
        assert study.best.config == {"x": 1}
        assert json.loads(json.dumps(summary_json(study.view)))["trials"][1]["feasible"] is True


def test_a_search_whose_default_has_failed_names_no_best_so_far(tmp_path):
    space = autotune.Space([autotune.Int("x", 0, 3, default=0)])
    objective = autotune.Objective(maximize="speed", limits=["heat <= 1.5 x default"])
    with autotune.Study(
        space, objective, engine="random", path=tmp_path / "ledger.sqlite", name="s"
    ) as study:
        study.tell(study.suggest(_at(0)), failure="out_of_memory")
        study.tell(study.suggest(_at(1)), {"speed": 11.0, "heat": 6.0})
        running = replace(study.view, state="running")
        assert running.best is None
        assert "cannot be judged" in running.binding
        assert study.ask().config != {"x": 1}


@pytest.mark.parametrize("measured", [True, False])
def test_every_view_leaves_the_front_out_until_the_default_is_measured(tmp_path, measured):
    space = autotune.Space([autotune.Int("x", 0, 3, default=0)])
    objective = {"maximize": "speed", "minimize": "size", "limits": ["heat <= 1.5 x default"]}
    spec = {"objective": objective, "space": space.to_dict()}
    path = tmp_path / "ledger.sqlite"
    with autotune.Study(space, objective, engine="random", path=path, name="s", spec=spec) as study:
        default = study.suggest(_at(0))
        for x in (1, 2):
            study.tell(study.suggest(_at(x)), {"speed": 11.0 + x, "size": 2.0 + x, "heat": 6.0})
        if measured:
            study.tell(default, {"speed": 10.0, "size": 1.0, "heat": 5.0})
        wanted = {0, 1, 2} if measured else set()
        views = [study.view, replace(study.view, state="running")]
        assert {t.number for t in study.pareto_front} == wanted
        for view in views:
            assert {t.number for t in view.pareto_front} == wanted
            assert {point.trial for plane in pareto_planes(view) for point in plane.front} == wanted
            assert ("none while a limit cannot be judged" in summary(view)) == (
                not measured and view.state == "running"
            )
        row = study.ledger.study("s")
        assert find(row, study.trials, study.anchored).front == wanted

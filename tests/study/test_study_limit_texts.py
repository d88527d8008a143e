"""A limit is told in its author's words by every output: number and unit as they were written."""

import html
import json
import re
from pathlib import Path

import pytest

from autotune.cli import main
from autotune.core.file_names import LEDGER_NAME
from autotune.core.measurement import Estimate
from autotune.core.trial import Reason, Suggestion
from autotune.ledger import Ledger
from autotune.report.verification import annotation_lines, junit, verification_json, verification_lines
from autotune.study.reading import read_view
from autotune.study.study import Study
from autotune.study.study_file import read_study
from autotune.study.verify import compared
from autotune.study.verify_plan import VerificationPlan
from autotune.tracking.items import VERIFICATION, VERIFIES
from autotune.tracking.mlflow_items import items_of

WRITTEN = "latency <= 0.15 s"
STUDY = f"""
name: u
parameters: {{b: {{type: int, low: 1, high: 4}}}}
system: {{use: command, argv: ["{{python}}", p.py, "{{b}}"]}}
objective: {{maximize: throughput, limits: [{WRITTEN.replace(" ", "")}]}}
budget: {{trials: 4, confirm: 2}}
engine: sobol
tracking: {{mlflow: none}}
"""
_LIMIT = re.compile(r"latency\s*<=\s*[\d.e+-]+\s*[a-zA-Z]*")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A finished study: trial 3 breaks the limit, trial 2 is just within it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    (tmp_path / "u.yaml").write_text(STUDY)
    spec = read_study(tmp_path / "u.yaml")
    (tmp_path / "autotune-runs").mkdir()
    plan = [(b, Reason.EXPLORE) for b in (1, 2, 3, 4)] + [(b, Reason.CONFIRM) for b in (2, 1, 1, 2)]
    enter(spec, "u", plan, 0.05)
    enter(spec, "u-verify", [(1, Reason.REPEAT), (2, Reason.REPEAT)], 0.2)
    return tmp_path


def enter(spec, name, plan, unit_s):
    """Record a study with these values of ``b``; the second one is a verification of the first."""
    path = Path("autotune-runs") / LEDGER_NAME
    with Study(
        spec.space, spec.objective, engine="random", name=name, path=path, spec=spec.to_dict()
    ) as study:
        for b, reason in plan:
            trial = study.suggest(Suggestion({"b": b}, reason))
            speed, delay = Estimate(100.0 * b, 0.5, 1), Estimate(unit_s * b, 0.001, 1, "s")
            study.tell(trial, {"throughput": speed, "latency": delay})
        if name != "u":
            study.ledger.set_study_note(name, VERIFIES, VerificationPlan("u", 1, 1).to_dict())
        study.ledger.set_study_state(name, "COMPLETED")


def check(name, text, least=1):
    """Assert that a text tells the limit, always in the words of its author, and its metric in their unit."""
    plain = html.unescape(text).replace(r"\<", "<").replace(r"\u003c", "<")  # in Markdown, in JSON
    found = _LIMIT.findall(plain)
    assert len(found) >= least, name
    assert {" ".join(one.split()) for one in found} == {WRITTEN}, name
    values = [line for line in plain.splitlines() if "latency" in line and len(line) < 2000]
    assert not [line for line in values if re.search(r"\d ms\b", line)], name


def test_every_output_has_the_limit_as_it_was_written(folder, capsys):
    def said(*argv):
        assert main([*argv]) == 0, argv
        return capsys.readouterr().out

    check("best", said("best", "u"))
    check("best --json", said("best", "u", "--json"))
    check("status", said("status", "u"))
    check("status --json", said("status", "u", "--json"))
    for kind in ("html", "md", "json"):
        said("report", "u", "-o", f"r.{kind}", "--format", kind)
        check(kind, (folder / f"r.{kind}").read_text(), least=2)
    for kind in ("args", "env", "yaml", "python", "optuna"):
        check(kind, said("export", "u", "--as", kind))
    check("compare", said("compare", "u", "u", "--ci"), least=2)
    check("compare --json", said("compare", "u", "u", "--json"))
    with Ledger.open(folder / "autotune-runs" / LEDGER_NAME) as ledger:
        row, again = ledger.studies()
        views = [read_view(ledger, one) for one in (row, again)]
        found = compared(views[0], row, VerificationPlan("u", 1, 1), views[1], 0.05, [], "completed")
        check("verify", "\n".join(verification_lines(found)), least=2)
        check("verify --json", json.dumps(verification_json(found)), least=2)
        check("junit", junit(found), least=2)
        check("annotations", "\n".join(annotation_lines(found)), least=2)
        note = {**verification_json(found), "lines": verification_lines(found)}
        ledger.set_study_note(again.name, VERIFICATION, note)
        mirrored = [
            items_of(one, view.trials, views[0].objective)
            for one, view in zip(ledger.studies(), views, strict=True)
        ]
    for items in mirrored:
        check("MLflow", json.dumps([{**item.params, **item.tags, **item.texts} for item in items]), least=2)
    assert any(item.tags.get("autotune.broken_limits") == WRITTEN for item in mirrored[0])


def test_json_has_one_form_of_a_limit(folder, capsys):
    """Objectives and chances have the same text: it reads back exactly, as a study file would."""
    assert main(["best", "u", "--json"]) == 0
    best = json.loads(capsys.readouterr().out)
    assert main(["compare", "u", "u", "--json"]) == 0
    compared = json.loads(capsys.readouterr().out)
    assert compared["objective"]["limits"] == [WRITTEN]
    assert list(compared["studies"][0]["best"]["chances"]) == [WRITTEN]
    told = [text for text in _texts(best) if "<=" in text]
    assert told
    assert all(WRITTEN in text for text in told)


def _texts(data):
    """Return the keys and texts of JSON data."""
    if isinstance(data, dict):
        return [*data, *(text for value in data.values() for text in _texts(value))]
    if isinstance(data, list):
        return [text for value in data for text in _texts(value)]
    return [data] if isinstance(data, str) else []

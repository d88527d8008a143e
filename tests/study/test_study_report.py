"""The report at the end of a run: made beside the ledger, and never in the study's way."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace

import pytest

import autotune
from autotune.cli.app import main
from autotune.core.commands import store_options
from autotune.core.file_names import LEDGER_NAME
from autotune.ledger import Ledger
from autotune.study.carried import complete_carried
from autotune.study.report import report_path, write_at_end
from autotune.tracking.items import DEPLOYMENT
from tests_study_files import TOY_STUDY

SPACE = autotune.Space([autotune.Int("x", 0, 5)])
pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("with_report")]


def tuned(tmp_path, **options):
    return autotune.tune(
        SPACE, lambda config: float(config["x"]), {"maximize": "y"}, trials=3, engine="random",
        path=tmp_path / "l.sqlite", **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Folder of a study that was run in a process of its own, and what that said; nobody changes it."""
    folder = tmp_path_factory.mktemp("ran")
    text = TOY_STUDY.replace("{trials: 4, confirm: 1}", "{trials: 2, confirm: 0}")
    (folder / "toy.yaml").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "autotune", "run", "toy.yaml", "--local"],
        cwd=folder, capture_output=True, text=True, check=True,
        env={**os.environ, **SERVERS_OWN, "AUTOTUNE_REPORT": "1"},
    )  # fmt: skip
    return folder, done.stdout


SERVERS_OWN = {"NCCL_DEBUG": "WARN"}
"""Says how a server runs, and no file names it."""


def test_a_run_that_is_told_so_ends_without_a_report(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AUTOTUNE_REPORT", "0")
    tuned(tmp_path)
    assert not list(tmp_path.glob("*report*"))
    monkeypatch.delenv("AUTOTUNE_REPORT")
    tuned(tmp_path)
    assert [path.name for path in tmp_path.glob("*report*")] == ["study-report.html"]


def test_a_run_ends_with_a_report_beside_its_ledger(ran):
    folder, out = ran
    path = folder / "autotune-runs" / "toy-report.html"
    assert f"report: {path}" in out.splitlines()
    text = path.read_text()
    assert '<section id="deploy"' in text
    assert "toy" in text.partition('<section id="deploy"')[2]


@pytest.mark.parametrize("error", [MemoryError("none left"), RecursionError("deep"), OSError(28, "full"),
                                   KeyboardInterrupt()], ids=repr)  # fmt: skip
def test_no_failure_of_the_report_touches_the_study_and_each_is_said(tmp_path, monkeypatch, caplog, error):
    def broken(*args, **options):
        raise error

    monkeypatch.setattr("autotune.report.html.render_report", broken)
    with tuned(tmp_path) as study:
        assert len(study.trials) == 3
        caplog.clear()
        assert write_at_end(study) is None
    assert "`autotune report" in caplog.text
    with Ledger.open(tmp_path / "l.sqlite", read_only=True) as ledger:
        assert ledger.study("study").state == "COMPLETED"
    assert list(tmp_path.glob("*.html")) == []


@pytest.mark.slow
def test_what_an_earlier_version_did_not_keep_is_made_or_said(tmp_path, toy_study, autotune_command):
    toy_study(budget="{trials: 2, confirm: 0}")
    autotune_command("run", "toy.yaml", "--local")
    (tmp_path / "autotune-runs" / "toy-report.html").unlink()
    path = tmp_path / "autotune-runs" / LEDGER_NAME
    with Ledger.open(path) as ledger:
        made = ledger.study("toy").notes[DEPLOYMENT]
        row = replace(ledger.study("toy"), notes={})
        ledger.set_study_note("toy", DEPLOYMENT, None)
    assert complete_carried(path, row) == ["there is no report yet"]
    with Ledger.open(path, read_only=True) as ledger:
        found = ledger.study("toy").notes[DEPLOYMENT]
    assert {**found, "env": {}, "line": ""} == {**made, "env": {}, "line": ""}  # PYTHONPATH is the process's
    strange = replace(row, spec={**row.spec, "system": {"use": "gone"}})
    assert complete_carried(path, strange)[0].startswith("no deployment is known: ")


def test_what_is_kept_is_what_best_prints(ran, autotune_here):
    store = ran[0] / "autotune-runs"
    best = autotune_here("best", "toy", "--store", store, "--json", env=SERVERS_OWN)
    said = json.loads(best.stdout)["deployment"]
    with Ledger.open(store / LEDGER_NAME, read_only=True) as ledger:
        kept = dict(ledger.study("toy").notes[DEPLOYMENT])
    assert said["env"]["NCCL_DEBUG"] == "WARN"
    assert kept == {"trial": kept["trial"], **said}


def test_a_folder_that_takes_no_file_costs_only_the_report(tmp_path):
    report_path(tmp_path / "l.sqlite", "study").mkdir()
    with tuned(tmp_path) as study:
        assert len(study.trials) == 3
        assert write_at_end(study) is None


def test_a_study_in_memory_has_no_report(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with autotune.Study(SPACE, {"maximize": "y"}, engine="random") as study:
        study.tell(study.ask(), {"y": 1.0})
        assert write_at_end(study) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "file"), [("toy", "toy"), ("../../etc/x y", "etc-x-y"), ("..", "study"),
                                            ("a" * 300, "a" * 64)])  # fmt: skip
def test_the_name_of_the_file_stays_in_its_folder(tmp_path, name, file):
    path = report_path(tmp_path / "l.sqlite", name)
    assert path.parent == tmp_path
    assert re.fullmatch(rf"{file}(-[0-9a-f]{{8}})?-report\.html", path.name)
    assert path != report_path(tmp_path / "l.sqlite", file) or name == file


def test_a_plot_loads_when_it_is_asked_for():
    code = (
        "import sys, json, autotune, autotune.cli.app, autotune.study.run, autotune.study.tune\n"
        "print(json.dumps([n for n in ('plotly', 'jinja2', 'pandas', 'mlflow') if n in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


COMMANDS = (
    "status", "status --follow", "best", "report", "export --as yaml", "list studies", "ui study --print",
    "compare study study",
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_a_ledger_that_python_named_is_read_by_its_path(tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    tuned(tmp_path, progress=False).close()
    assert main([*command.split(), "--store", "l.sqlite"]) == 0
    text = capsys.readouterr().out
    for named in re.findall(r"`(autotune [^`]*study[^`]*)`", text):
        assert named.endswith("--store l.sqlite")
    assert main(["resume", "study", "--store", "l.sqlite"]) == 2  # what writes wants a store's folder


def test_the_words_of_a_report_name_the_ledger_that_is_not_the_usual_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert store_options("") == store_options("autotune-runs/ledger.sqlite") == ()
    assert store_options("x/ledger.sqlite") == ("--store", "x")
    assert store_options("x/lim.sqlite") == ("--store", "x/lim.sqlite")
    with tuned(tmp_path, name="lim") as study:
        path = write_at_end(study, seconds=0.0)
    assert f"autotune report lim --store {tmp_path / 'l.sqlite'}" in path.read_text()

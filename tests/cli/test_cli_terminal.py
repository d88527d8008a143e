"""What a person sees first and last, how wide it is, and in which order."""

import json
import os
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from autotune.cli import main
from autotune.cli.options import next_step
from autotune.core.trial import TrialState
from autotune.ledger import Ledger
from autotune.report.summary import best_lines
from autotune.spec.stored import StoredSpec
from autotune.study.plan import opening_line
from autotune.study.reading import options_of
from autotune.study.run import run_study
from autotune.study.study import Study
from autotune.study.study_file import read_study
from tests_views import SPACE, make_view, wide_view

FILE = """\
name: demo
parameters:
  x: {type: int, low: 1, high: 9}
system: {use: function, call: "fn.py:measure"}
objective: {maximize: speed}
budget: {trials: 3, confirm: 0}
engine: random
"""
FUNCTION = "def measure(config):\n    return {'speed': float(config['x'])}\n"


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("fn.py").write_text(FUNCTION)
    path = Path("study.yaml")
    path.write_text(FILE)
    return path


@pytest.mark.parametrize(
    "command", ["check", "run", pytest.param("run --new", marks=pytest.mark.slow), "sweep"]
)
def test_a_ledger_that_another_process_is_just_making_is_as_good_as_none(file, command):
    """As where many studies are started at once in a fresh folder."""
    file.write_text(FILE.replace("trials: 3", "trials: 1"))
    (file.parent / "autotune-runs").mkdir()
    (file.parent / "autotune-runs" / "ledger.sqlite").touch()
    word, *more = command.split()
    more += {"check": [], "run": ["--local", "--no-mlflow"], "sweep": ["--out", "t.csv", "--sample", "1"]}[
        word
    ]
    assert main([word, str(file), *more]) == 0


def test_what_a_run_will_do_is_said_before_anything_heavy_is_loaded(file):
    heavy = ("torch", "ray", "mlflow", "scipy", "plotly", "pandas", "jinja2", "rich", "autotune.study.run")
    code = f"""
import os, sys
from autotune.report.plain import PlainView
def message(self, text):
    print(text)
    print([n for n in {heavy!r} if n in sys.modules], flush=True)
    os._exit(0)
PlainView.message = message
from autotune.cli import main
main(["run", "{file}", "--local", "--no-mlflow"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == (
        "demo: 3 trials of function; the first shows how long they take. Ctrl-C loses nothing\n[]\n"
    )


def test_until_when_a_run_goes_is_said_where_it_is_known(file):
    with_time = read_study(file, ["budget.time=2 h", "budget.confirm=2"])
    text = opening_line(with_time, Path())
    assert text.startswith("demo: 3 trials of function, then 2 fresh launches each of winner and default; ")
    assert "at most " in text
    assert ", until " in text


def test_a_run_ends_with_the_next_command_and_its_own_options(file, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    file.write_text(FILE.replace("trials: 3", "trials: 1"))
    assert main(["run", str(file), "--local", "--no-mlflow", "--store", "my runs"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "next: `autotune best demo --store 'my runs'` shows the command that deploys it"
    with Ledger.open(Path("my runs/ledger.sqlite"), read_only=True) as ledger:
        row = ledger.study("demo")
    assert options_of(row) == ["--local", "--no-mlflow"]
    with Ledger.open(Path("my runs/ledger.sqlite")) as ledger:
        ledger.set_study_state("demo", "INTERRUPTED")
    assert main(["status", "--store", "my runs"]) == 0
    command = capsys.readouterr().out.splitlines()[-1].split("`")[1]
    assert shlex.split(command) == [
        "autotune", "resume", "demo", "--local", "--no-mlflow", "--store", "my runs",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"state": "running"}, "`autotune status quickstart --follow` shows it as it goes on"),
        ({"state": "interrupted"}, "`autotune resume quickstart --local` goes on where it stopped"),
        ({"state": "completed"}, "`autotune best quickstart` shows the command that deploys it"),
        (
            {"state": "completed", "trials": make_view().trials[2:4], "running": ()},
            "`autotune resume quickstart --trials 24 --local` searches twice as long; "
            "a looser limit may find one too",
        ),
        (
            {"state": "completed", "trials": make_view().trials[3:4], "running": ()},
            "mend what the failures name; then `autotune resume quickstart --trials 24 --local` searches "
            "twice as long",
        ),
        (  # nothing failed: there is nothing to mend, and more trials are of no use without more time
            {
                "state": "completed",
                "trials": (replace(make_view().trials[0], state=TrialState.WAITING, measurement=None),),
                "running": (),
                "budget_seconds": 90.0,
                "stopped": "its time of 90 s is over",
            },
            "`autotune resume quickstart --set 'budget.time=180 s' --local` searches twice as long",
        ),
        (
            {"state": "completed", "spec": StoredSpec()},
            "`autotune best quickstart` shows the best configuration",
        ),
        (
            {"state": "completed", "name": "-dash"},
            "`autotune best -- -dash` shows the command that deploys it",
        ),
        (
            {"state": "completed", "trials": make_view().trials[3:4], "running": (), "spec": StoredSpec()},
            "mend what the failures name; then more trials search on",
        ),
        (
            {"state": "exhausted", "trials": make_view().trials[2:4], "running": ()},
            "a looser limit, or a wider space with `autotune run FILE --widen`: none is left to try",
        ),
    ],
)
def test_each_state_has_its_next_command(monkeypatch, changes, said):
    monkeypatch.setenv("COLUMNS", "200")
    view = make_view(**{"spec": StoredSpec({"system": {"use": "command"}}), **changes})
    assert next_step(view, Path("autotune-runs"), ["--local"]) == f"next: {said}"


@pytest.mark.parametrize("width", [40, 60, 80])
def test_the_next_command_fits_the_terminal_and_a_shell_takes_it_as_it_is(monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    store = Path("runs of mine/it's/" + "deeper/" * 3)
    options = ["--local", "--no-mlflow", "--pass-env", "HF_TOKEN", "--confirm-trial", "12"]
    view = make_view(spec=StoredSpec({"system": {"use": "command"}}), state="interrupted")
    lines = next_step(view, store, options).splitlines()
    assert (lines[0], lines[-1]) == ("next:", "goes on where it stopped")
    assert all(len(line) <= max(width, len(shlex.quote(str(store))) + 6) for line in lines)
    shell = "autotune() { printf '%s\\n' \"$@\"; }\n" + "\n".join(lines[1:-1])
    taken = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=True).stdout
    assert taken.splitlines() == ["resume", "quickstart", *options, "--store", str(store)]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_piped_output_is_as_wide_as_columns_says(tmp_path, width):
    view = wide_view()
    with Study(
        view.space, view.objective, engine="random", name="wide", path=tmp_path / "ledger.sqlite"
    ) as study:
        for trial in view.trials:
            if trial.metrics:
                study.add(trial.config, trial.metrics)
    done = subprocess.run(
        [sys.executable, "-m", "autotune", "status", "--store", str(tmp_path)],
        capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": str(width)},
    )  # fmt: skip
    lines = done.stdout.partition("next:")[0].splitlines()  # the path of a test is wider than that
    assert width - 20 < max(len(line) for line in lines) <= width


def test_configurations_have_the_order_of_the_file_wherever_they_are_shown():
    view = make_view(state="completed", confirm=1)
    ledger_order = [
        replace(t, suggestion=replace(t.suggestion, config=json.loads(json.dumps(t.config, sort_keys=True))))
        for t in view.trials
    ]
    sorted_view = make_view(tuple(ledger_order), state="completed", confirm=1)
    assert best_lines(sorted_view) == best_lines(view)
    assert " ".join(best_lines(view)).index(SPACE.names[0]) < " ".join(best_lines(view)).index(SPACE.names[1])


def test_a_run_notes_its_options_for_those_who_only_look(file, tmp_path):
    from autotune.report.plain import QuietView

    run_study(
        read_study(file, ["budget.trials=1"]),
        store=tmp_path / "s",
        view=QuietView(),
        local=True,
        tracking=False,
        options=["--local"],
    )
    with Ledger.open(tmp_path / "s" / "ledger.sqlite", read_only=True) as ledger:
        assert options_of(ledger.study("demo")) == ["--local"]


def test_parameters_have_the_order_of_the_file_in_run_status_and_resume(file, capsys):
    file.write_text(
        FILE.replace("  x:", "  zeta: {type: ordinal, values: [1, 2]}\n  x:").replace(
            "trials: 3", "trials: 2"
        )
    )
    outputs = []
    for command in (
        ["run", str(file)],
        ["resume", "demo", "--trials", "3"],
        ["status", "demo"],
        ["best", "demo"],
    ):
        assert main([*command, *(["--local", "--no-mlflow"] if command[0] in ("run", "resume") else [])]) == 0
        outputs.append(capsys.readouterr().out)
    for text in outputs:
        shown = [line for line in text.splitlines() if "x=" in line and "zeta=" in line]
        assert shown
        assert all(line.index("zeta=") < line.index("x=") for line in shown)
    assert [line for line in outputs[1].splitlines() if line.lstrip().startswith("#")] == [
        line for line in outputs[2].splitlines() if line.lstrip().startswith("#")
    ]


def test_a_widened_study_knows_where_its_new_parameter_stands(tmp_path):
    from autotune.core.space import Space
    from autotune.study.reading import read_view

    def space(*names):
        return Space.from_dict(
            {"parameters": {n: {"type": "ordinal", "values": [1, 2], "default": 1} for n in names}}
        )

    path = tmp_path / "ledger.sqlite"
    for names in (("z", "a"), ("z", "m", "a")):
        with Study(
            space(*names), {"maximize": "v"}, engine="random", name="s", path=path, widen=True
        ) as study:
            study.tell(study.ask(), {"v": 1.0})
    with Ledger.open(path, read_only=True) as ledger:
        assert read_view(ledger, ledger.study("s")).space.names == ("z", "m", "a")
    with Study.open(path) as study:
        assert list(study.space.names) == ["z", "m", "a"]


@pytest.mark.parametrize("width", [40, 60, 80])
def test_a_command_that_would_settle_a_verdict_can_be_pasted_with_its_options(tmp_path, width):
    view = make_view(
        trials=make_view().trials[:7],
        running=(),
        state="completed",
        spec=StoredSpec({"system": {"use": "command"}}),
        options=("--local",),
        ledger=str(tmp_path / "st ore" / "ledger.sqlite"),
        budget_seconds=90.0,
        stopped="its time of 90 s is over",
    )
    assert view.verdict.settlement is not None
    lines = best_lines(view, width=width)
    at = next(i for i, line in enumerate(lines) if "autotune resume" in line)
    command = lines[at].strip()
    while command.endswith("\\"):
        at += 1
        command = command[:-1] + lines[at].strip()
    words = shlex.split(command.strip("`"))
    assert words[:3] == ["autotune", "resume", "quickstart"]
    assert words[words.index("--store") + 1] == str(tmp_path / "st ore")
    assert words[words.index("--set") + 1] == "budget.time=270 s"  # the rest of the search too
    assert "--local" in words

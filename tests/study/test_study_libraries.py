"""A library that is missing is one error of one wording at every door of Python, before a measurement."""

import json
import subprocess
import sys

import pytest

from autotune.core.dependencies import missing_dependency, need, what_is_missing
from autotune.errors import EnvironmentProblem
from tests_shared import without_libraries

DOORS = without_libraries("torch", "botorch", "ray", "optuna", "mlflow")
DOORS += """
import asyncio, json
from autotune import Float, Objective, Space, Study, tune

space, goal, calls = Space([Float("x", low=0, high=1)]), Objective(minimize="y"), []

def work(config):
    calls.append(config)
    return {"y": config["x"]}

def study(engine):
    return Study(space, goal, engine=engine)

def measured():
    known = study("random")
    known.tell(known.ask(), {"y": 1.0})
    return known

doors = {
    "tune gp": lambda: tune(space, work, goal, trials=2, progress=False),
    "tune optuna": lambda: tune(space, work, goal, trials=2, engine="optuna:tpe", progress=False),
    "tune class": lambda: tune(space, work, goal, engine="optuna:optuna.samplers:TPESampler"),
    "tune ray": lambda: tune(space, work, goal, trials=2, engine="random", ray=True, progress=False),
    "tune mlflow": lambda: tune(space, work, goal, engine="random", path="a.sqlite", mlflow="sqlite:///a.db"),
    "tune_async": lambda: asyncio.run(study("gp").tune_async(work, trials=2, progress=False)),
    "ask": lambda: study("gp").ask(),
    "export": lambda: measured().export("optuna"),
    "tune random": lambda: tune(space, work, goal, trials=2, engine="random", progress=False),
}
said = {}
for name, door in doors.items():
    calls.clear()
    try:
        door()
        said[name] = [len(calls), "", "", ""]
    except Exception as error:
        texts = [getattr(error, key, "") for key in ("message", "hint")]
        said[name] = [len(calls), type(error).__name__, *texts]
print(json.dumps(said))
"""


def test_every_door_of_python_names_what_is_missing_before_anything_is_measured(tmp_path):
    argv = [sys.executable, "-c", DOORS]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=True)
    assert list(tmp_path.iterdir()) == []
    said = json.loads(done.stdout.splitlines()[-1])
    assert said.pop("tune random") == [2, "", "", ""]
    models = [0, "EnvironmentProblem", "torch, botorch are not installed here", "pip install torch botorch"]
    optuna = [0, "EnvironmentProblem", "optuna is not installed here", "pip install optuna"]
    ray = [0, "EnvironmentProblem", "ray is not installed here", "pip install ray"]
    assert said == {
        "tune gp": models, "tune_async": models, "ask": models, "tune optuna": optuna, "tune class": optuna,
        "export": optuna, "tune ray": ray,
        "tune mlflow": [0, "EnvironmentProblem", "mlflow is not installed here", "pip install mlflow"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            ModuleNotFoundError("No module named 'yaml'", name="yaml"),
            "yaml is not installed here: pip install pyyaml",
        ),
        (
            ModuleNotFoundError("no", name="theirs"),
            "theirs is not installed here: install the package that has it",
        ),
        (
            ImportError("cannot import name 'f'\nmore", name="torch.nn"),
            "torch cannot be used here: cannot import name 'f': `pip install -U torch` may mend it",
        ),
        (
            ImportError("libcuda.so.1: cannot open"),
            "a library cannot be used here: libcuda.so.1: cannot open",
        ),
        (ModuleNotFoundError("no", name="autotune.nothing"), ""),  # ours to mend
        (ModuleNotFoundError("no", name="json.nothing"), ""),
        (ValueError("no"), ""),
    ],
)
def test_an_error_of_an_import_is_told_in_one_wording(error, said):
    assert what_is_missing(error) == said
    assert (missing_dependency(error) is None) == (not said)


def test_all_that_is_needed_and_missing_is_named_at_once():
    need(["json", "torch"])
    with pytest.raises(EnvironmentProblem) as missing:
        need(["json", "nowhere", "nowhere_at_all.deep"], extra="transformers")
    assert missing.value.message == "nowhere, nowhere_at_all.deep are not installed here"
    assert missing.value.hint == "pip install 'autotune-inference[transformers]'"


WITHOUT_OPTUNA = f"""
{without_libraries("optuna")}
from autotune.cli.app import main

sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("engine", ["optuna:tpe", "optuna:optuna.samplers:TPESampler"])
def test_a_file_whose_engine_runs_elsewhere_is_checked_and_submitted_here_and_not_run(engine, tmp_path):
    (tmp_path / "study.yaml").write_text(
        "name: a\nsystem: {use: command, argv: ['true']}\n"
        "parameters:\n  x: {type: int, low: 0, high: 3}\n"
        f"objective: {{maximize: y}}\nengine: {engine}\n"
    )
    codes, said = [], ""
    for words in (
        ["check"], ["run", "--local", "--no-mlflow"], ["submit", "--address", "http://127.0.0.1:9"],
    ):  # fmt: skip
        argv = [sys.executable, "-c", WITHOUT_OPTUNA, *words, "study.yaml"]
        done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)
        codes.append(done.returncode)
        said += " ".join(done.stdout.split() + done.stderr.split())
    assert codes == [0, 3, 3], said
    assert "the job server at http://127.0.0.1:9" in said  # the file was right, and nobody takes it there
    assert "`autotune run` would end here: optuna is not installed here: pip install optuna" in said

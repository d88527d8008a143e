"""Commands that only look load no torch, Ray or MLflow: they say the same where importing these fails."""

import json
import os
import re
import subprocess
import sys

import pytest

from autotune.analysis.model_facts import MODEL_FACTS, ModelFacts
from autotune.core.decision import PREDICTIONS
from autotune.core.objective import Objective
from autotune.core.parameter import Int
from autotune.core.space import Space
from autotune.engine.sobol import SobolEngine
from autotune.study.report import write_at_end
from autotune.study.study import Study
from tests_shared import without_libraries

pytestmark = [pytest.mark.timeout(280), pytest.mark.usefixtures("with_report")]
HEAVY = ("torch", "botorch", "gpytorch", "linear_operator", "ray", "mlflow", "optuna", "transformers")
STUDY = """
name: light
parameters:
  wide: {type: int, low: 1, high: 8, default: 1}
  kind: {type: categorical, values: [x, y], default: x}
system: {use: command, argv: ["{python}", program.py, "{wide}", "{kind}"]}
objective: {maximize: speed, limits: [size <= 12]}
budget: {trials: 6, confirm: 0, watch: 0}
engine: {use: gp, seed: 0, initial: 4}
tracking: {mlflow: none}
"""
PROGRAM = """
import json, sys
wide, kind = int(sys.argv[1]), sys.argv[2]
if wide == 8:
    sys.exit("RuntimeError: CUDA error: out of memory")
print(json.dumps({"speed": wide * (3 if kind == "y" else 2), "size": 2 * wide}))
"""
WITHOUT = without_libraries(*HEAVY)
DRIVER = f"""
import contextlib, io, json, sys
import autotune
from autotune.cli import main
from tests_shared import without_libraries

said = []
for args in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(args)
    said.append([code, out.getvalue(), err.getvalue(), sorted(set({HEAVY}) & set(sys.modules))])
print(json.dumps(said))
"""
LOOKS = [
    ["--help"],
    ["list"],
    ["check", "study.yaml"],
    ["status", "light"],
    ["status", "light", "--json"],
    ["best", "light"],
    ["report", "light", "-o", "-", "--format", "html"],
    ["report", "light", "-o", "-", "--format", "md"],
    ["report", "light", "-o", "-", "--format", "csv"],
    ["export", "light", "--as", "env"],
    ["compare", "light", "light"],
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A study as a real run left it that had time for all of its report."""
    path = tmp_path_factory.mktemp("light")
    (path / "study.yaml").write_text(STUDY)
    (path / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "-m", "autotune", "run", "study.yaml", "--local"],
        cwd=path, capture_output=True, text=True, check=False, env={**os.environ, "AUTOTUNE_REPORT": "0"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    with pytest.MonkeyPatch.context() as patch, Study.open(path / "autotune-runs" / "ledger.sqlite") as study:
        patch.delenv("AUTOTUNE_REPORT")
        assert write_at_end(study, seconds=600.0) is not None
    return path


def look(folder, commands, *, heavy):
    """Run commands one after the other in a fresh interpreter; return code, texts and what was imported."""
    done = subprocess.run(
        [sys.executable, "-c", DRIVER if heavy else WITHOUT + DRIVER, json.dumps(commands)],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    made = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC")  # of a report: a minute may end in between
    return json.loads(made.sub("", done.stdout))


def test_looking_says_the_same_without_the_heavy_libraries_and_never_loads_them(folder):
    with_them, without = (look(folder, LOOKS, heavy=heavy) for heavy in (True, False))
    for command, found, same in zip(LOOKS, with_them, without, strict=True):
        assert found[0] == 0, (command, found)
        assert found[3] == [], command
        if command[0] == "check":  # which tells what a run would need
            text, _, told = same[1].partition("\nwarning   `autotune run` would end here: torch, ")
            assert (same[0], text.strip(), same[2:]) == (0, found[1].strip(), found[2:])
            assert "not installed" in told
        else:
            assert same == found, command
    texts = dict(zip(map(" ".join, LOOKS), (found[1] for found in with_them), strict=True))
    assert "Optuna's tree-structured Parzen estimator" in texts["list"]
    assert "explains" in texts["status light"]
    page = texts["report light -o - --format html"]
    for part in (
        "What mattered for speed",
        "Effects on speed",
        "expected by the model",
        "predicted as measured",
    ):
        assert part in page, part


@pytest.fixture
def store(folder, tmp_path):
    """A copy of its ledger without facts, as one that was killed, or of an earlier version."""
    store = tmp_path / "store"
    store.mkdir()
    for file in (folder / "autotune-runs").glob("ledger.sqlite*"):
        (store / file.name).write_bytes(file.read_bytes())
    with Study.open(store / "ledger.sqlite") as study:
        study.ledger.set_study_note("light", MODEL_FACTS, {})
        study.ledger.set_study_note("light", PREDICTIONS, {})
    return store


def test_a_ledger_without_facts_is_told_all_the_same_with_what_is_missing(folder, store):
    where = ["light", "--store", str(store)]
    commands = [["status", *where], ["best", *where], ["report", *where, "-o", "-"]]
    status, best, report = look(folder, commands, heavy=False)
    assert (status[0], best[0], report[0]) == (0, 0, 0)
    flat = " ".join(status[1].split())
    missing = "torch is not installed here: pip install torch"
    assert missing in flat
    assert "what is left to gain is not estimated" in flat
    assert "decided by the measurements alone" in " ".join(best[1].split())
    assert missing in report[1]
    assert "Trials across parameters and metrics" in report[1]  # what needs no model stands


@pytest.mark.slow
def test_facts_are_found_again_where_the_libraries_are_installed(folder, store):
    whole, kept = (
        look(folder, [["status", "light", "--store", str(store)]], heavy=True),
        look(folder, [["status", "light"]], heavy=True),
    )
    assert [line for line in whole[0][1].splitlines() if line.startswith("model:")] == [
        line for line in kept[0][1].splitlines() if line.startswith("model:")
    ]


def test_facts_hold_for_the_trials_that_they_are_of(folder):
    with Study.open(folder / "autotune-runs" / "ledger.sqlite", name="light") as study:
        view = study.view
        note = study.ledger.study_notes("light")[MODEL_FACTS]
    engine = view.spec.stated("engine")
    wider = Space([*view.space.parameters, Int("more", 1, 9, default=1)])

    def is_known(trials=view.trials, objective=view.objective, space=view.space, engine=engine):
        facts = ModelFacts(note, trials, objective, space, engine=engine)
        return facts.recall("importance speed", lambda: "computed") != "computed"

    assert is_known()
    assert not is_known(trials=view.trials[:-1])
    assert not is_known(objective=Objective(minimize="speed"))
    assert not is_known(space=wider)
    assert not is_known(engine={"use": "gp", "acquisition": "thompson"})


def test_a_fact_that_json_lacks_is_computed_again(folder):
    study = Study.open(folder / "autotune-runs" / "ledger.sqlite")
    of = ModelFacts({}, (), study.objective, study.space).note()["of"]
    for spoiled in ("x", [1], None, {"of": of}, {"of": of, "found": None}, {"of": of, "found": "a"}):
        assert ModelFacts(spoiled, (), study.objective, study.space).recall("a", lambda: 1) == 1
    facts = ModelFacts({}, (), study.objective, study.space)
    assert facts.recall("a", lambda: float("inf")) == float("inf")
    assert facts.recall("b", lambda: [1.5, None]) == [1.5, None]
    assert facts.note()["found"] == {"b": [1.5, None]}


def test_an_engine_that_fails_to_account_for_itself_costs_no_report(tmp_path, monkeypatch, caplog):
    class Mute(SobolEngine):
        def predict(self, *_given):
            return None

        def assess(self, *_given):
            raise RuntimeError("no account today")

        quality = assess

    monkeypatch.setattr("autotune.study.reading.stored_engine", lambda _section: Mute())
    space = {"parameters": {"a": {"type": "int", "low": 1, "high": 4}}}
    with Study(
        space, {"maximize": "speed"}, engine="sobol", name="mute", path=tmp_path / "l.sqlite"
    ) as study:
        for a in (1, 2, 3):
            study.add({"a": a}, {"speed": float(a)})
        study.ledger.set_study_state("mute", "COMPLETED")
        assert write_at_end(study) is not None
        assert "importance speed" in study.ledger.study_notes("mute")[MODEL_FACTS]["found"]
    assert "could not be written" not in caplog.text


@pytest.mark.parametrize(
    ("command", "library"),
    [
        (["export", "light", "--as", "optuna", "-o", "storage.db"], "optuna"),
        (["ui", "--no-open"], "mlflow"),
        (["sync", "light", "--mlflow", "sqlite:///there.db"], "mlflow"),
        (["restore", "light", "--mlflow", "sqlite:///there.db", "--store", "back"], "mlflow"),
        (["resume", "light", "--trials", "12", "--local"], "torch"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_missing_library_is_named_with_what_installs_it(folder, command, library):
    code, _, said, _ = look(folder, [command], heavy=False)[0]
    assert code == 3, said
    assert re.search(rf"error: {library}[\w, ]* (is|are) not installed here", said), said
    assert f"pip install {library}" in said
    for wrong in ("internal", "traceback", "disk", "mistake in autotune"):
        assert wrong not in said

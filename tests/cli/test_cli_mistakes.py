"""A person's mistakes at the command line: found by `check`, said by the first trial, charged to nothing."""

import json
import os
import sys
from pathlib import Path

import pytest

from autotune.cli import main
from autotune.core.trial import TrialState
from autotune.errors import EnvironmentProblem
from autotune.ledger import Ledger
from autotune.study import readiness
from autotune.study.study_file import read_study

pytestmark = pytest.mark.timeout(300)

CODE = """
import autotune

def good(c):
    return {"speed": float(c["a"]), "delay": 1.0 / c["a"]}

def typo(c):
    return {"speed": c["btach"]}

def name(c):
    return {"speed": spede}

def other(c):
    return {"sped": 1.0}

def text(c):
    return {"speed": "fast"}

def pair(c):
    return {"speed": (1.0, 0.1)}

async def later(c):
    return {"speed": 1.0}

def absent(c):
    import no_such_package

def always(c):
    raise RuntimeError("no such device")

def small(c):
    if c["a"] < 5:
        raise autotune.Infeasible("five at least", "out_of_memory")
    return {"speed": float(c["a"])}
"""
STUDY = """
name: mine
parameters: {a: {type: int, low: 1, high: 8, default: 2}}
system: {use: function, call: "mine.py:good"}
objective: {maximize: speed}
budget: {trials: 4, confirm: 0, watch: 0}
engine: {use: sobol, seed: 0}
tracking: {mlflow: none}
"""


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Write a study file with changes; return its name."""
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(CODE)

    def write(*changes):
        text = STUDY
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        Path("mine.yaml").write_text(text)
        return "mine.yaml"

    return write


def run(capsys, *args):
    code = main(list(map(str, args)))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def trials():
    with Ledger.open("autotune-runs/ledger.sqlite", read_only=True) as ledger:
        return ledger.trials("mine")


@pytest.mark.parametrize(
    ("function", "code", "said"),
    [
        ("typo", 2, "trial 0, the default configuration: KeyError: 'btach'"),
        pytest.param("name", 2, "NameError: name 'spede' is not defined", marks=pytest.mark.slow),
        pytest.param(
            "other", 2, "lacks the goal 'speed'; reported: sped; did you mean 'sped'?", marks=pytest.mark.slow
        ),
        pytest.param(
            "text",
            2,
            "metric 'speed': an estimate's value must be a number, found 'fast'",
            marks=pytest.mark.slow,
        ),
        pytest.param("pair", 2, "a tuple is not two samples", marks=pytest.mark.slow),
        pytest.param("later", 2, "the function is async", marks=pytest.mark.slow),
        ("absent", 3, "No module named 'no_such_package'"),
    ],
)
def test_the_first_trial_says_what_is_wrong_and_the_mended_study_goes_on(study, capsys, function, code, said):
    path = study(("mine.py:good", f"mine.py:{function}"))
    found, _, err = run(capsys, "run", path, "--local")
    assert found == code
    assert said in err
    assert "no configuration is charged" in err
    (trial,) = trials()
    assert trial.state is TrialState.FAILED
    assert trial.failure.cause.value == "owner_mistake"
    code, out, _ = run(capsys, "status")
    assert code == 0
    assert "failed: 1 owner mistake\n  1 x owner mistake: " in out
    assert all(len(line) <= 80 for line in out.splitlines())
    (message,) = json.loads(run(capsys, "status", "--json")[1])["failure_messages"]
    assert (message["cause"], message["count"], message["trials"]) == ("owner_mistake", 1, [0])
    Path("mine.py").write_text(f"{CODE}\n{function} = good\n")
    code, out, _ = run(capsys, "run", path, "--local", "--trials", "2")
    assert code == 0
    assert [trial.state for trial in trials()] == [TrialState.COMPLETED] * 2
    assert trials()[0].attempts == 2


def test_a_message_of_every_configuration_ends_the_study_once(study, capsys):
    path = study(("mine.py:good", "mine.py:always"))
    code, _, err = run(capsys, "run", path, "--local")
    assert code == 2
    assert "3 configurations fail alike, and none was measured; trial 2: RuntimeError: no such device" in err
    assert [trial.state.value for trial in trials()] == ["WAITING", "WAITING", "FAILED"]
    code, out, _ = run(capsys, "run", path, "--local")  # whoever runs it again insists
    assert code == 4
    assert "4 x crashed under load: RuntimeError: no such device" in out


def test_what_the_function_says_is_infeasible_is_an_answer(study, capsys):
    code, out, _ = run(capsys, "run", study(("mine.py:good", "mine.py:small")), "--local")
    assert code in (0, 4)
    assert "out of memory: five at least" in out
    assert trials()[0].state is TrialState.INFEASIBLE


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (("mine.py:good", "mine.py:goood"), 2, "mine.py has no function 'goood'\n  did you mean 'good'?"),
        (("mine.py:good", "mien.py:good"), 2, "mine.yaml:4:31: cannot find '/"),
        (("mine.py:good", "mine:goood"), 2, "mine.py has no function 'goood'\n  did you mean 'good'?"),
        (("budget:", "on: {end: [mine.py:goood]}\nbudget:"), 2, "mine.py has no function 'goood'\n  did you"),
        (("budget:", "on: {trial: {call: 'mien:good'}}\nbudget:"), 2, ":20: no module 'mien' in /"),
        (("budget:", "quality: {scorer: 'mine.py:goood'}\nbudget:"), 2, "mine.py has no scorer 'goood'\n"),
        (("mine.py:good", "broken.py:good"), 2, "broken.py:1: no valid Python"),
        (('function, call: "mine.py:good"', "command, argv: [no-such-tool]"), 3, "no program 'no-such-tool'"),
        (('system: {use: function, call: "mine.py:good"}', ""), 2, "system"),
        (("objective: {maximize: speed}", ""), 2, "a function system needs an objective"),
        (("mlflow: none", "mlflow: postgres://host/db"), 2, "unknown scheme 'postgres'"),
        (("budget:", "resources: {gpus: 512}\nbudget:"), 3, "needs 512 GPUs; this machine has"),
    ],
)  # fmt: skip
def test_check_refuses_what_a_run_would_refuse_with_its_exit_code(study, capsys, change, code, said):
    path = study(change)
    Path("broken.py").write_text("def good(c:\n")
    for command in (("check", path), ("run", path, "--local")):
        found, _, err = run(capsys, *command)
        assert found == code, err
        assert said in err
    as_json = json.loads(run(capsys, "check", path, "--json")[1])
    assert as_json["error"]["exit_code"] == code


GGUF = """
parameters:
  model_quantization: {type: categorical, values: [F16, Q8_0]}
  draft_length: {type: int, low: 0, high: 6, default: 0}
system: {use: llama_cpp, model: ./model-{quantization}.gguf, program: /bin/true}
tracking: {mlflow: none}
"""


def test_a_value_that_names_an_absent_file_and_a_key_that_is_missing_are_found(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("served.yaml").write_text(
        GGUF.replace("./model-{quantization}.gguf", '"./model-{quantization}.gguf"')
    )
    Path("model-F16.gguf").write_text("")
    for command in (("check", "served.yaml"), ("run", "served.yaml", "--local")):
        code, out, err = run(capsys, *command)
        assert code == 3
        assert "model_quantization Q8_0: no such file: " in err
    Path("model-Q8_0.gguf").write_text("")
    code, out, _ = run(capsys, "check", "served.yaml")
    assert code == 0
    assert "warning   86% of the configurations would be refused: spec_type draft-simple" in out
    assert "draft_model" in out
    code, _, err = run(capsys, "check", "served.yaml", "--set", "parameters.draft_length.low=1",
                       "--set", "parameters.draft_length.default=1")  # fmt: skip
    assert code == 2
    assert "every configuration would be refused: spec_type draft-simple needs a draft_model" in err


def test_what_no_machine_could_launch_is_refused_before_anything_is_stored_or_announced(study, capsys):
    path, many = study(), ("--set", "resources.gpus=99")
    said = "error: --set resources.gpus=99: every configuration needs 99 GPUs; this machine has "
    for command in (("run", path, "--local"), ("sweep", path)):
        code, out, err = run(capsys, *command, *many)
        assert (code, out) == (3, "")
        assert err.startswith(said)
        assert not Path("autotune-runs").exists()
    assert run(capsys, "run", path, "--local", "--trials", "2")[0] == 0
    for command in (("resume", "mine", "--local"), ("verify", "mine", "--local", "--launches", "1")):
        code, out, err = run(capsys, *command, *many)
        assert (code, out) == (3, "")
        assert err.startswith(said)
    with Ledger.open(Path("autotune-runs/ledger.sqlite"), read_only=True) as ledger:
        assert [(row.name, row.state) for row in ledger.studies()] == [("mine", "COMPLETED")]
        assert ledger.study("mine").spec["resources"].get("gpus", "") == ""
    path = study(("budget:", "resources: {gpus: a + 98}\nbudget:"))
    code, out, err = run(capsys, "run", path, "--local")
    assert (code, out) == (3, "")
    assert err.startswith("error: resources.gpus: every configuration needs 100 GPUs; this machine has ")


def test_what_a_cluster_may_have_is_not_judged_before_ray_is_there(study, capsys, monkeypatch):
    spec = read_study(Path(study(("budget:", "resources: {gpus: 99}\nbudget:"))))
    monkeypatch.setattr(readiness, "_ACCELERATORS", ())  # of /dev
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    code, out, err = run(capsys, "run", "mine.yaml")
    assert (code, out) == (3, "")
    assert err.startswith("error: resources.gpus: every configuration needs 99 GPUs; this machine has ")
    with pytest.raises(EnvironmentProblem, match="every configuration needs 99 GPUs"):
        readiness.refuse_unplaceable(spec)
    monkeypatch.setenv("RAY_ADDRESS", "ray://a-cluster-with-gpus:10001")
    readiness.refuse_unplaceable(spec)
    with pytest.raises(EnvironmentProblem, match="every configuration needs 99 GPUs"):
        readiness.refuse_unplaceable(spec, local=True)


def test_another_objective_is_printed_and_stored(study, capsys):
    assert run(capsys, "run", study(), "--local", "--trials", "2")[0] == 0
    path = study(("{maximize: speed}", "{minimize: delay}"))
    code, out, _ = run(capsys, "run", path, "--local", "--trials", "2")
    assert code == 0
    assert "objective: maximize speed -> minimize delay; scored anew: 2 measured trials" in out
    path = study(("{maximize: speed}", "{minimize: power}"))
    code, _, err = run(capsys, "run", path, "--local", "--trials", "3")
    assert code == 2
    assert "trial 0 did not measure power; it measured delay, speed" in err
    assert json.loads(run(capsys, "status", "--json")[1])["objective"] == {"minimize": "delay"}


@pytest.mark.filterwarnings("ignore")  # of what MLflow imports
def test_a_run_reaches_a_store_of_files(study, monkeypatch, capfd):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    file = study(("{mlflow: none}", '{mlflow: "file:./mlruns"}'), ("trials: 4", "trials: 2"))
    assert main(["run", file, "--local"]) == 0
    said = capfd.readouterr().err
    assert "not in MLflow" not in said
    assert "trying again" not in said
    metas = [path.read_text() for path in Path("mlruns").glob("*/meta.yaml")]
    assert any("name: mine" in text for text in metas)
    assert "" not in metas


def test_a_name_that_is_too_long_for_a_file_is_a_mistake_of_the_command(capsys):
    long = "x" * 300
    for args in (["status", "--store", long], ["run", long], ["compare", long, "b"]):
        assert main(args) == 2, args
        said = capsys.readouterr().err
        # from Python 3.14 on, such a file is one that is not there
        assert "the name is too long for a file" in said or (sys.version_info >= (3, 14) and "x" * 50 in said)


def test_a_store_that_is_no_folder_and_no_file_is_named_so(tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe")
    for command in ("status", "best"):
        code, _, err = run(capsys, command, "mine", "--store", tmp_path / "pipe")
        assert code == 2
        assert "pipe: it is neither a folder nor a regular file\n" in err
        assert "ledger.sqlite" not in err


def test_the_help_of_export_says_where_its_formats_stand(capsys):
    _, out, _ = run(capsys, "export", "--help")
    formats, option = out.index("Formats: "), out.index("--as FORMAT")
    assert ("above" if formats < option else "below") in out[option:].partition("--trial")[0]

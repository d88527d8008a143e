"""The command line as a user meets it: exit codes, errors, plain output, JSON, 80 columns."""

import json
import os
import re
import shlex
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from autotune.cli import main
from autotune.cli.options import passed_variables
from autotune.cli.reading import open_ledger
from autotune.cli.study import closing_text
from autotune.spec.stored import StoredSpec
from autotune.study.reading import read_view
from autotune.study.run import RunSummary
from autotune.study.study import Study
from tests_study_files import TOY_STUDY

SPACE = {"parameters": {"batch_size": {"type": "int", "low": 1, "high": 4, "default": 1}}}


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store with one finished study that needs no system."""
    monkeypatch.chdir(tmp_path)
    from autotune import Estimate, Space

    with Study(
        Space.from_dict(SPACE), {"maximize": "throughput"}, engine="random", name="demo",
        path=_folder(tmp_path / "autotune-runs") / "ledger.sqlite",
    ) as study:  # fmt: skip
        for _ in range(3):
            trial = study.ask()
            study.tell(trial, {"throughput": Estimate(10.0 * trial.config["batch_size"], 0.1, 5, "tokens/s")})
        study.ledger.set_study_state("demo", "COMPLETED")
    return tmp_path


def _folder(path):
    path.mkdir()
    return path


def run(capsys, *args):
    code = main(list(map(str, args)))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_help_and_import_load_no_heavy_package():
    heavy = ("torch", "ray", "mlflow", "botorch", "gpytorch", "transformers", "pandas", "scipy")
    for code in (
        "import autotune",
        "import autotune; autotune.Space; autotune.Objective; autotune.Study",
        "from autotune.cli import main; assert main(['--help']) == 0",
        "from autotune.cli import main; assert main(['run', '--help']) == 0",
        "from autotune.cli import main; assert main(['list', 'spaces']) == 0",
        "from autotune.cli import main; assert main(['list', 'systems']) == 0",
    ):
        check = (
            f"{code}\nimport sys; found = [n for n in {heavy!r} if n in sys.modules]; assert not found, found"
        )
        done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
        assert done.returncode == 0, (code, done.stderr)


def test_every_command_has_help(capsys):
    from autotune.cli.app import _COMMANDS

    for name in _COMMANDS:
        code, out, _ = run(capsys, name, "--help")
        assert code == 0
        assert out.startswith(f"Usage: autotune {name}")


def test_usage_errors_are_code_2_and_name_the_nearest(capsys):
    code, _, err = run(capsys, "rnu")
    assert code == 2
    assert "unknown command 'rnu'" in err
    assert "did you mean 'run'" in err
    code, _, err = run(capsys, "run", "nowhere.yaml")
    assert code == 2
    assert "nowhere.yaml" in err
    assert run(capsys, "status", "--bogus")[0] == 2
    assert run(capsys)[0] == 2


def test_a_wrong_file_is_one_clear_error(capsys, tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_text("parameters:\n  a: {type: int, low: 1, hihg: 2}\n")
    code, out, err = run(capsys, "check", path)
    assert code == 2
    assert out == ""
    assert err.startswith(f"error: {path}:2:26: unknown key 'hihg'")
    assert "did you mean 'high'?" in err
    code, out, err = run(capsys, "check", path, "--json")
    assert json.loads(out)["error"]["exit_code"] == 2


def test_looking_at_a_study(capsys, store):
    code, out, _ = run(capsys, "status")
    assert code == 0
    assert "study demo: completed, 3 trials" in out
    assert all(len(line) <= 80 for line in out.splitlines())
    code, out, _ = run(capsys, "best", "demo")
    assert code == 0
    assert "best: trial" in out
    data = json.loads(run(capsys, "status", "--json")[1])
    assert data["study"] == "demo"
    assert len(data["trials"]) == 3
    assert json.loads(run(capsys, "best", "--json")[1])["best"]["config"]["batch_size"] > 1
    code, _, err = run(capsys, "status", "dmeo")
    assert code == 2
    assert "did you mean 'demo'" in err
    assert "demo" in run(capsys, "list", "studies")[1]


def test_a_store_that_is_not_there(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for command in ("status", "best", "sync", "resume"):
        code, _, err = run(capsys, command)
        assert code == 2
        assert "autotune run FILE" in err
    assert run(capsys, "list", "studies")[0] == 0


def test_a_damaged_ledger_is_code_3(capsys, store):
    path = store / "autotune-runs" / "ledger.sqlite"
    path.write_bytes(b"not a database at all " * 500)
    code, _, err = run(capsys, "status")
    assert code == 3
    assert str(path.name) in err


def test_listing_what_there_is(capsys, store):
    data = json.loads(run(capsys, "list", "--json")[1])
    assert set(data) == {
        "spaces", "objectives", "systems", "engines", "studies", "metrics", "mirrors", "exporters",
        "converters", "plugins",
    }  # fmt: skip
    assert data["mirrors"] == {"mlflow": "Mirror of one study of a ledger in MLflow"}
    assert data["systems"]["toy"] == "plug-in toy-system 1.0: toy_system:ToySystem"
    assert data["plugins"]["export format toy-text"] == "toy-system 1.0: toy_system:ToyFormat"
    assert {"gp", "sobol", "random"} <= set(data["engines"])
    assert data["engines"]["gp"]
    assert data["systems"]["transformers"]
    assert "transformers" in data["spaces"]
    assert json.loads(run(capsys, "version", "--json")[1])["version"]


def test_check_shows_the_plan_and_launches_nothing(capsys, toy_study, store):
    path = toy_study()
    code, out, _ = run(capsys, "check", path)
    assert code == 0
    assert "15 configurations of 2 parameters" in out
    assert "launches" in out
    assert "sample 3" in out
    assert all(len(line) <= 80 for line in out.splitlines() if "toy_server.py" not in line)
    assert not (store / "autotune-runs" / "toy").exists()
    data = json.loads(run(capsys, "check", path, "--json", "--set", "budget.trials=9")[1])
    assert data["configurations"] == {"count": 15, "exact": True, "error": 0.0}
    assert len(data["launches"]) == 4
    assert data["launches"][0]["config"] == data["default"]
    assert 0 < data["expected_seconds"]["low"] < data["expected_seconds"]["high"]
    assert data["budget"]["trials"] == 9


@pytest.mark.timeout(60)
def test_measure_runs_one_configuration_and_prints_its_metrics(capsys, toy_study, store):
    path = toy_study()
    code, out, _ = run(capsys, "measure", path, "--config", "speed=2")
    assert code == 0
    assert "output_throughput" in out
    assert "limit tpot.p95 <= 1 s: kept" in out
    code, _, err = run(capsys, "measure", path, "--config", "sped=2")
    assert code == 2
    assert "did you mean 'speed'" in err
    text = "{type: categorical, values: [oom], default: oom}"
    code, out, err = run(capsys, "measure", path, "--set", f"parameters.mode={text}")
    assert code == 4
    assert "out_of_memory" in err
    assert "can't allocate memory" in out


def test_doctor_says_what_works(capsys, store):
    code, out, _ = run(capsys, "doctor")
    assert code == 0
    assert "everything required is there" in out
    data = json.loads(run(capsys, "doctor", "--json")[1])
    assert data["ok"]
    assert {"python", "torch", "processors", "store"} <= {check["name"] for check in data["checks"]}


def test_doctor_names_the_servers_that_are_there(capsys, store, tmp_path, monkeypatch):
    program = tmp_path / "llama-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert "llama_cpp (llama-server)" in run(capsys, "doctor")[1]


def test_doctor_says_ok_only_of_what_it_has_found(capsys, store, tmp_path, monkeypatch):
    folder = _folder(tmp_path / "bin")
    for name in ("python", "g++"):
        (folder / name).write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "arn:nobody://knows")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    found = {check["name"]: check for check in json.loads(run(capsys, "doctor", "--json")[1])["checks"]}
    assert found["servers"]["status"] == "warn"  # a Python that has no sglang is no sglang
    assert found["servers"]["found"] == "none on the PATH"
    assert found["accelerators"]["status"] == "none"
    assert (found["mlflow store"]["status"], found["ray cluster"]["status"]) == ("none", "none")
    package = _folder(tmp_path / "sglang")
    (package / "__init__.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    assert "ok       servers       sglang (python -m sglang.launch_server)" in run(capsys, "doctor")[1]


def test_printed_commands_keep_what_the_study_was_started_with(capsys, store, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    folder = "my runs"
    (store / "autotune-runs").rename(store / folder)
    monkeypatch.setenv("AUTOTUNE_PASS_ENV", "API_KEY")
    with open_ledger(Path(folder)) as ledger:
        view = read_view(ledger, ledger.study("demo"))
    function = closing_text(RunSummary(view, "interrupted"), Path(folder))
    assert f"in Python, `path={view.ledger!r}` goes on with 'demo'" in function
    assert "autotune resume" not in function
    view = replace(view, spec=StoredSpec(view.spec.with_parts({"system": {"name": "script"}})))
    done = RunSummary(view, "interrupted", mirror_pending=3)
    text = closing_text(done, Path(folder), ["--local", "--no-mlflow", *passed_variables()])
    printed = [shlex.split(command) for command in re.findall(r"`(autotune .*?)`", text)]
    assert ["autotune", "sync", "demo", "--store", folder] in printed
    assert ["autotune", "report", "demo", "--store", folder] in printed  # none was made
    assert [
        "autotune",
        "resume",
        "demo",
        "--local",
        "--no-mlflow",
        "--pass-env",
        "API_KEY",
        "--store",
        folder,
    ] in printed
    assert "3 items are not in MLflow yet; `" in text
    told = closing_text(
        replace(done, mirror_errors=("the disk is full at sql://a:planted-0123@b",)), Path(folder)
    )
    assert "3 items are not in MLflow yet (the disk is full at sql://" in told
    assert "planted-0123" not in told
    unread = closing_text(replace(done, mirror_pending=0, mirror_errors=("no ledger",)), Path(folder))
    assert "some items are not in MLflow yet (no ledger); `" in unread
    best = re.search(r"`autotune (best .*?)`", closing_text(replace(done, state="completed"), Path(folder)))[
        1
    ]
    code, out, _ = run(capsys, *shlex.split(best))
    assert code == 0
    assert "best: trial" in out


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense", "ray://127.0.0.1:10001"])
def test_doctor_names_what_is_missing(capsys, store, monkeypatch, address):
    monkeypatch.setenv("RAY_ADDRESS", address)
    code, out, _ = run(capsys, "doctor")
    assert code == 3
    assert "missing: ray cluster" in out
    assert address in out


def test_ui_prints_the_command_for_the_studys_store(capsys, store):
    code, out, _ = run(capsys, "ui", "--print", "--port", "5999")
    assert code == 0
    assert "mlflow server --backend-store-uri sqlite:///mlflow.db" in out
    assert "--port 5999" in out


def test_a_study_that_is_to_have_no_store_has_none(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = TOY_STUDY.replace("{trials: 4, confirm: 1}", "{trials: 1, confirm: 0}")
    (tmp_path / "toy.yaml").write_text(text)
    assert "{mlflow: none}" in text
    assert run(capsys, "run", "toy.yaml", "--local", "-q")[0] == 0
    for command in (("sync", "toy"), ("ui", "toy", "--print")):
        code, _, err = run(capsys, *command)
        assert code == 2, command
        assert "study 'toy' has no MLflow store: its `tracking` says `mlflow: none`" in err
    assert run(capsys, "sync")[0] == 0
    assert json.loads(run(capsys, "status", "toy", "--json")[1])["tracking"] == ""
    assert {path.name for path in tmp_path.iterdir()} <= {"toy.yaml", "autotune-runs"}


def test_ui_names_a_port_that_is_in_use(capsys, store):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, out, err = run(capsys, "ui", "--port", str(port))
    assert code == 3
    assert f"port {port} is in use" in err
    assert "starting" not in out


def test_an_internal_error_is_code_6_and_its_traceback_is_kept(capsys, monkeypatch):
    from autotune.cli import show

    def broken(_):
        raise RuntimeError("oops with token=abcdefgh1234")

    monkeypatch.setattr(show, "echo", broken)
    code, _, err = run(capsys, "version")
    assert code == 6
    assert "internal: RuntimeError: oops" in err
    assert "abcdefgh1234" not in err
    path = err.split("traceback is in ")[1].split()[0]
    with open(path) as file:
        text = file.read()
    os.unlink(path)
    assert "def broken" in text or "broken" in text
    assert "abcdefgh1234" not in text
    code, _, err = run(capsys, "--debug", "version")
    assert code == 6
    assert "Traceback" in err


def test_a_reader_that_has_seen_enough_is_no_error():
    command = f"{sys.executable} -m autotune list metrics | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1


VLLM = """
space: vllm
name: chat
system: {use: vllm, model: Qwen/Qwen3-8B, flags: {max_model_len: 8192}}
parameters:
  draft_length: {high: 2}
derived:
  total: tensor_parallel * pipeline_parallel
constraints:
  - total <= 4
budget: {trials: 40, time: 2 h}
"""


def test_check_says_of_a_system_that_it_is_planned_only(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("model.yaml").write_text("name: m\nspace: triton\nsystem: {use: triton, model: resnet}\n")
    code, out, _ = run(capsys, "check", "model.yaml")
    assert code == 0
    assert "system    triton; it is planned only, not measured" in out
    code, _, err = run(capsys, "run", "model.yaml", "--local", "--no-mlflow")
    assert code == 3
    assert "triton cannot be measured: " in err


def test_check_says_what_needs_no_launch_of_its_own(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("batches.yaml").write_text(
        "parameters:\n  batch_size: {type: int, low: 1, high: 8}\n  threads: {type: int, low: 1, high: 2}\n"
        f"system: {{use: transformers, model: {tmp_path}}}\n"
    )
    out = run(capsys, "check", "batches.yaml")[1]
    assert "requests  batch_size: no launch of their own; a server is shared with" in out
    code, out, _ = run(capsys, "check", "batches.yaml", "--json", "--set", "system.reuse=true")
    assert code == 0
    assert json.loads(out)["restarts"] == {"batch_size": "request", "threads": "system"}


def test_check_says_of_a_single_value_and_of_a_rare_parameter_what_is_true(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("fixed.yaml").write_text(
        "parameters:\n"
        "  max_num_seqs: {type: ordinal, values: [8]}\n"
        "  draft: {type: categorical, values: [ngram, eagle], when: length == 1}\n"
        "  length: {type: int, low: 1, high: 32, default: 4}\n"
        "system:\n"
        "  use: openai_server\n"
        "  command: [env, serve, '{port}', --seqs, '{max_num_seqs}',\n"
        "    --draft, '{draft}', --length, '{length}']\n"
        "objective: {maximize: output_throughput}\n"
    )
    code, out, err = run(capsys, "check", "fixed.yaml")
    assert code == 0, err
    assert "fixed     max_num_seqs: one value only" in out
    assert "no launch of their own" not in out
    restarts = json.loads(run(capsys, "check", "fixed.yaml", "--json")[1])["restarts"]
    assert restarts == {"max_num_seqs": "fixed", "draft": "system", "length": "system"}


def test_check_plans_a_server(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("chat.yaml").write_text(VLLM)
    code, out, err = run(capsys, "check", "chat.yaml")
    assert code == 3, "the plan is shown, and what this machine lacks for it"
    assert "vllm needs 'vllm', which is not on this machine" in err
    assert "system    vllm\n" in out
    assert "requests " not in out, "every parameter is a flag"
    assert " 50.0%  total <= 4" in out
    assert "vllm serve Qwen/Qwen3-8B --max-model-len 8192 --max-num-seqs 256" in out
    assert "at most 2 h" in out
    launches = json.loads(run(capsys, "check", "chat.yaml", "--json")[1])["launches"]
    for launch in launches:
        assert launch["problem"] == ""
        assert launch["config"]["total"] <= 4
        assert "--total" not in launch["argv"]
        assert launch["argv"][launch["argv"].index("--tensor-parallel-size") + 1] in ("1", "2", "4")
    code, _, err = run(capsys, "run", "chat.yaml", "--local", "--no-mlflow")
    assert code == 3
    assert "vllm needs 'vllm', which is not on this machine" in err
    code, _, err = run(capsys, "check", "chat.yaml", "--set", "parameters.max_num_sekwences.type=bool")
    assert code == 2
    assert "unknown parameter 'max_num_sekwences' for vllm" in err
    assert "did you mean 'max_num_seqs'?" in err


def test_flags_of_a_server(capsys, tmp_path):
    code, out, _ = run(capsys, "flags", "vllm")
    assert code == 0
    assert out.startswith("vllm 0.33.0, from the source text of vllm")
    assert "max_num_seqs" in out
    told = json.loads(run(capsys, "flags", "ollama", "--json")[1])
    assert told["ollama_max_queue"]["default"] == 512
    assert told["ollama_max_queue"]["owner_only"] == ""
    assert told["ollama_models"]["owner_only"] == "names a path"
    server = tmp_path / "llama-server"
    server.write_text(
        "#!/bin/sh\n"
        'if [ "$1" = --version ]; then echo "version: 9 (new)"; else\n'
        'echo "-t,    --threads N                      number of threads (default: 4)"; fi\n'
    )
    server.chmod(0o755)
    code, out, _ = run(capsys, "flags", "llama_cpp", "--installed", str(server))
    assert code == 1
    assert "9 (new) installed" in out
    assert "threads: default -1 -> 4" in out
    assert "parallel: gone, was --parallel" in out
    written = tmp_path / "table.json"
    run(capsys, "flags", "llama_cpp", "--installed", str(server), "--write", str(written))
    assert json.loads(written.read_text())["version"] == "9 (new)"
    code, _, err = run(capsys, "flags", "vlm")
    assert code == 2
    assert "did you mean 'vllm'?" in err


def test_convert_writes_a_file_that_can_be_checked(capsys, tmp_path, monkeypatch):
    source = Path(__file__).parents[1] / "convert" / "files" / "auto_tune_vllm.yaml"
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, "convert", str(source), "-o", "chat.yaml")
    assert code == 0
    assert "chat.yaml: 4 parameters" in out
    assert "note: " in err
    assert "'database_url' has no equivalent" in err
    code, _, err = run(capsys, "check", "chat.yaml")
    assert code == 3
    assert "vllm needs 'vllm', which is not on this machine" in err
    code, out, _ = run(capsys, "convert", str(source))
    assert out == Path("chat.yaml").read_text()

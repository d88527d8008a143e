"""`autotune best`: the command that deploys the best configuration, printed from anywhere, and run."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from autotune.cli import main
from autotune.errors import StudyError
from autotune.study.run import open_study
from autotune.study.study import Study
from autotune.study.study_file import read_study
from autotune.systems.deployment import deployment
from autotune.systems.registry import SystemConfig
from autotune.systems.served.launch import free_port
from tests_shared import wait_until

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "hf_" + "a" * 20  # of the form of a real one


def test_the_served_example_is_deployed_as_it_was_measured_from_any_folder(tmp_path, monkeypatch, capsys):
    started, elsewhere, store = tmp_path / "started", tmp_path / "elsewhere", tmp_path / "store"
    for folder in (started / "server" / "bin", elsewhere, store):
        folder.mkdir(parents=True)
    (started / "server" / "bin" / "python").symlink_to(sys.executable)
    (started / "served.yaml").write_text((ROOT / "examples" / "served.yaml").read_text())
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    for name, value in (("HF_HOME", "/hf"), ("HF_TOKEN", TOKEN), ("LD_LIBRARY_PATH", f"/lib/{TOKEN}")):
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(started)
    spec = read_study("served.yaml")
    with Study(
        spec.space, spec.objective, engine="random", name=spec.name, path=store / "ledger.sqlite",
        spec=spec.to_dict(),
    ) as study:  # fmt: skip
        for trial in [study.ask() for _ in range(6)]:
            fast = trial.config["model_quantization"] == "Q8_0"
            study.tell(trial, {"output_throughput": 100 + 100 * fast, "ttft.p95": 0.1})
        best = study.best.config
    assert best["model_quantization"] == "Q8_0"

    monkeypatch.chdir(elsewhere)
    assert main(["best", "--store", str(store), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    found = deployment(spec.system.built, best, spec.space.derived)
    assert data["deploy"] == ["env", *data["deploy"][1 : -len(found.argv)], *found.argv]
    assert found.argv[0] == str(started / "server" / "bin" / "python")
    assert found.argv[3].startswith("/cache/autotune/models/tiny-")
    assert found.argv[3].endswith("/target-Q8_0.gguf")
    assert "HF_HOME=/hf" in data["deploy"]
    assert data["deployment"]["argv"] == list(found.argv)
    assert data["deployment"]["notes"] == ["secrets are not shown: put them in the place of [redacted]"]

    assert main(["best", "--store", str(store)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert TOKEN not in "\n".join(lines) + json.dumps(data)
    assert lines[lines.index("deploy:") + 1].strip() == data["deployment"]["line"]
    assert lines[lines.index("ask:") + 1].strip() == data["deployment"]["ask"]


def test_a_ledger_whose_model_is_a_relative_path_goes_on_and_is_deployed_from_anywhere(tmp_path, monkeypatch):
    (tmp_path / "models" / "m").mkdir(parents=True)
    (tmp_path / "store").mkdir()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text(
        "name: s\nparameters: {max_num_seqs: {type: ordinal, values: [8, 16]}}\n"
        "system: {use: vllm, model: models/m}\nobjective: throughput\n"
    )
    spec = read_study("s.yaml")
    assert spec.system.section["model"] == str(tmp_path / "models" / "m")
    earlier = {**spec.to_dict(), "system": {"use": "vllm", "model": "models/m"}}
    path = tmp_path / "store" / "ledger.sqlite"
    with Study(spec.space, spec.objective, name="s", path=path, spec=earlier):
        pass
    study, _ = open_study(spec, tmp_path / "store", "s", False)
    with study:
        assert study.ledger.study("s").spec["system"] == spec.system.section
    other = replace(spec, system=SystemConfig.from_dict({"use": "vllm", "model": "models/other"}))
    with pytest.raises(StudyError, match="was measured with another system"):
        open_study(other, tmp_path / "store", "s", False)


SERVER = """
import os, sys
import toy_openai

class Handler(toy_openai.Handler):
    def look(self, asked):
        asked["prompt"] = {"top_k": asked.get("top_k"), "model": asked.get("model"), "n": sys.argv[2],
                           "mode": os.environ.get("OMP_NUM_THREADS")}

toy_openai.serve(Handler)
"""
STUDY = """
name: asked
parameters:
  n:     {type: ordinal, values: [1, 2], default: 1}
  top_k: {type: ordinal, values: [10, 20], default: 10}
derived: {twice: n * 2}
constraints: [twice <= 4]
system:
  use: openai_server
  command: [COMMAND, SERVER, "{port}", "{n}"]
  request: [top_k]
  env: {OMP_NUM_THREADS: 3, PYTHONPATH: TOY}
workload:
  {arrival: concurrency, concurrency: 1, prompt_tokens: 4, output_tokens: 4, time: 1 s, precision: 90 %}
objective: {maximize: output_throughput}
budget: {trials: 2, confirm: 0}
engine: {use: random, seed: 0}
tracking: {mlflow: none}
"""


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_the_best_of_a_real_study_answers_when_its_line_is_pasted(tmp_path, autotune_command, monkeypatch):
    (tmp_path / "server.py").write_text(SERVER)
    text = STUDY.replace("COMMAND", sys.executable).replace("SERVER", str(tmp_path / "server.py"))
    (tmp_path / "asked.yaml").write_text(text.replace("TOY", str(ROOT / "tests" / "toy")))
    autotune_command("run", "asked.yaml", "--local")
    data = json.loads(autotune_command("best", "--json").stdout)
    config, found = data["best"]["config"], data["deployment"]
    assert found["request"] == {"top_k": config["top_k"]}
    port = str(free_port())  # another test may have the usual one
    empty = tmp_path / "empty"
    empty.mkdir()

    def shell(line):
        line = line.replace(":8000", f":{port}").replace(" 8000 ", f" {port} ")
        return ["env", "-i", f"HOME={Path.home()}", "PATH=/usr/bin:/bin", "bash", "-c", f"exec {line}"]

    with subprocess.Popen(shell(found["line"]), cwd=empty) as server:
        try:

            def answer():
                assert server.poll() is None
                done = subprocess.run(shell(found["ask"]), capture_output=True, text=True, check=False)
                return done.stdout

            text = json.loads(wait_until(answer, 60))["choices"][0]["text"]
        finally:
            server.terminate()
    seen = {"top_k": config["top_k"], "model": "toy", "n": str(config["n"]), "mode": "3"}
    assert text == str(seen)
    assert os.listdir(empty) == []

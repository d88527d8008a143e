"""What the README and the examples show works as it stands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from autotune.errors import SpecError
from autotune.study.study_file import read_study

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.timeout(200)
def test_the_python_example_finds_something_better():
    done = subprocess.run(
        [sys.executable, "examples/tune_function.py"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    default, best = (float(speed) for speed in re.findall(r"([\d.]+) MB/s", done.stdout))
    assert best > default


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda p: p.name)
def test_study_files_are_right(path):
    spec = read_study(path)
    assert spec.space.count().value > spec.budget.trials


@pytest.mark.timeout(200)
def test_the_readmes_python_runs():
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    serve = "def serve(config):\n    return config['batch_size'] / (1 + config['bits'] / 16)\n"
    done = subprocess.run([sys.executable, "-c", serve + code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "batch_size=64" in done.stdout


def study_of(tmp_path, text):
    path = tmp_path / "readme.yaml"
    path.write_text(text)
    return read_study(path)


def yaml_of(path):
    return re.findall(r"```yaml\n(.*?)```", path.read_text(), re.DOTALL)


def test_the_readmes_study_files_are_right(tmp_path):
    written, started = yaml_of(ROOT / "README.md")
    assert study_of(tmp_path, written).budget.trials == 12
    study = study_of(tmp_path, started)
    assert study.space["max_num_seqs"].high == 512
    assert study.system.built.check(study.space.default_config) is None


def test_the_catalogues_readmes_study_files_are_right(tmp_path):
    # two examples of servers as they are run in tests/systems/served/test_served_documented.py
    whole, part, _, _, load, program, quality, replayed = yaml_of(ROOT / "search_spaces" / "README.md")
    study = study_of(tmp_path, whole)
    assert study.space["max_num_seqs"].high == 512
    assert len(study.space["block_size"].levels) == 1
    assert "stream_interval" in study.space.names
    assert study.system.built.check(study.space.default_config) is None
    one = "parameters:\n  {}: {{type: int, low: 1, high: 4}}\n".format
    served = study_of(tmp_path, one("threads") + "system: {use: llama_cpp, model: m.gguf}\n" + load)
    assert served.workload.rate == 4
    command = study_of(tmp_path, one("batch_size") + "  threads: {type: bool}\n" + program)
    assert command.system.built.repeats == 3
    checked = study_of(tmp_path, one("draft_length") + "system: {use: transformers, model: tiny}\n" + quality)
    assert checked.objective.limits[1].relative
    with pytest.raises(SpecError, match="no such table"):
        study_of(tmp_path, replayed)
    derived = study_of(tmp_path, part + "system: {use: vllm, model: m}\n")
    assert derived.space.default_config["max_num_batched_tokens"] == 2048
    assert derived.system.built.check(derived.space.default_config) is None

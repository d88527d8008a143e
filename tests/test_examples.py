"""What the README and the examples show works as it stands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from autotune.sections import read_study

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
    assert "'batch_size': 64" in done.stdout


def test_the_readmes_study_file_is_right(tmp_path):
    (text,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    path = tmp_path / "readme.yaml"
    path.write_text(text)
    assert read_study(path).budget.trials == 12


def test_the_catalogues_readmes_study_file_is_right(tmp_path):
    text = re.findall(r"```yaml\n(.*?)```", (ROOT / "search_spaces" / "README.md").read_text(), re.DOTALL)[0]
    path = tmp_path / "readme.yaml"
    path.write_text(text)
    assert len(read_study(path).space["batch_size"].levels) == 5

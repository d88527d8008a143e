"""What the README and the examples show works as it stands: search_spaces/README.md too."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from autotune import Study
from autotune.errors import SpecError
from autotune.study.study_file import read_study

ROOT = Path(__file__).resolve().parent.parent


EXAMPLES = ROOT / "examples"
PROGRAMS = ("ask_tell", "conditions", "pareto", "tune_function", "warm_start")
"""Examples that search in Python; each asserts what it is to find."""

STUDIES = ("command", "function", "server")
"""Study files that measure for less than a minute; the others measure for minutes, as `.ci/run` does."""

QUICK = ("ask_tell",)
"""The others are slow: `tune` runs in the notebook, a study of a function with the pages that show it."""


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in PROGRAMS]
)
def test_a_program_finds_what_it_says(name, tmp_path):
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert list(tmp_path.iterdir()) == [], "it leaves nothing behind"


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
def test_a_study_file_ends_with_a_better_configuration(name, tmp_path):
    study = EXAMPLES / f"{name}.yaml"
    command = [sys.executable, "-m", "autotune", "run", study, "--local", "--json", "--store", tmp_path]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    with Study.open(tmp_path, f"{name}-example") as found:
        best, default = found.best, found.trials[0]
        goal = found.objective.goals[0].metric
        limit = found.objective.limits[0]
        assert best is not None
        assert best.config != default.config
        assert best.metrics[goal].value > default.metrics[goal].value
        launches = [t for t in found.trials if t.config == best.config and not t.doubt]
        assert min(t.metrics[limit.metric].value for t in launches) <= limit.bound


def test_every_example_is_run_and_says_what_it_shows_and_how_long_it_takes():
    helpers = {"compress.py", "toy_server.py"}  # what the study files launch
    minutes = {"quickstart.yaml", "served.yaml"}
    elsewhere = {"notebook.ipynb"}  # tests/test_notebook.py
    names = {f"{name}.py" for name in PROGRAMS} | {f"{name}.yaml" for name in STUDIES}
    assert {
        path.name for path in EXAMPLES.iterdir() if path.is_file()
    } == names | helpers | minutes | elsewhere
    assert len(names) >= 8
    for name in names:
        head = (EXAMPLES / name).read_text()[:600]
        assert re.search(r"takes? (about )?\d+( to \d+)? s|takes (half )?a minute", head, re.IGNORECASE), name


def test_the_readme_shows_the_file_that_make_run_runs():
    made = (ROOT / "Makefile").read_text()
    (study,) = re.findall(r"^STUDY \?= (\S+)$", made, re.MULTILINE)
    text = (ROOT / study).read_text()
    assert f"```yaml\n{text}```" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda p: p.name)
def test_study_files_are_right(path):
    spec = read_study(path)
    assert spec.space.count().value > spec.budget.trials


def study_of(tmp_path, text):
    path = tmp_path / "readme.yaml"
    path.write_text(text)
    return read_study(path)


def yaml_of(path):
    return re.findall(r"```yaml\n(.*?)```", path.read_text(), re.DOTALL)


def test_the_readmes_study_files_are_right(tmp_path):
    _, started = yaml_of(ROOT / "README.md")
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

"""Study files: what is read, what is merged, and the exact text of errors."""

from pathlib import Path

import pytest

import autotune
from autotune import load_objective, load_space
from autotune.core.space import Space
from autotune.errors import SpecError
from autotune.measure.workload import Length, Workload
from autotune.spec.catalogue import entries, find, folder, names
from autotune.spec.yaml_text import parse_text
from autotune.study.study_file import read_stored_study, read_study
from tests_study_files import ERRORS, GOOD, SERVED

GOLDEN = Path(__file__).parent / "golden"


def write(tmp_path, text, name="study.yaml"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_a_study_file_becomes_values(tmp_path):
    spec = read_study(write(tmp_path, GOOD))
    assert spec.name == "demo"
    assert spec.space.default_config == {"batch_size": 2, "draft_length": 0}
    assert spec.budget.trials == 5
    assert spec.budget.time_s == 7200
    assert spec.budget.parallel == "2"
    assert spec.resources.needed({"batch_size": 4, "draft_length": 0}) == {"cpus": 8.0}
    assert (spec.engine.use, spec.engine.seed, spec.engine.options) == ("gp", 7, {})
    assert spec.tracking.mlflow is None
    assert (spec.deadlines.startup_s, spec.deadlines.measure_s, spec.deadlines.stop_s) == (60, 30, 0.5)
    assert read_stored_study(spec.to_dict()).to_dict() == spec.to_dict()


def test_the_least_file_has_defaults_for_everything_else(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    text = (
        "parameters:\n  threads: {type: ordinal, values: [1, 2]}\nsystem: {use: transformers, model: tiny}\n"
    )
    path = write(tmp_path, text, "least.yaml")
    spec = read_study(path)
    assert spec.name == "least"
    assert str(spec.objective) == "maximize output_throughput"
    assert spec.tracking.mlflow == "sqlite:///mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking:5000")
    assert read_study(path).tracking.mlflow == "http://tracking:5000"


def test_overrides_act_as_if_written_in_the_file(tmp_path):
    path = write(tmp_path, GOOD)
    spec = read_study(path, ["budget.trials=30", "parameters.batch_size.high=4", "objective=latency"])
    assert spec.budget.trials == 30
    assert len(spec.space["batch_size"].levels) == 4
    assert spec.objective.goals[0].metric == "tpot.p95"
    with pytest.raises(SpecError, match=r"^--set budget.trials=many: trials must be a whole number"):
        read_study(path, ["budget.trials=many"])
    with pytest.raises(SpecError, match=r"--set wants KEY=VALUE"):
        read_study(path, ["budget.trials"])
    with pytest.raises(SpecError, match="name is no mapping of keys"):
        read_study(path, ["name.first=x"])


def test_a_file_starts_from_a_shipped_space_and_narrows_it(tmp_path):
    text = """space: transformers
parameters:
  batch_size: {high: 16}
  threads: {type: ordinal, values: [2], default: 2}
constraints:
  - batch_size * quantization_bits <= 128
workload: {output_tokens: 8}
"""
    spec = read_study(write(tmp_path, text))
    assert spec.space["batch_size"].levels == (1, 2, 4, 8, 16)
    assert spec.space["threads"].levels == (2,)
    assert "draft_length == 0 or batch_size == 1" in spec.space.constraints
    assert "batch_size * quantization_bits <= 128" in spec.space.constraints
    assert spec.workload == Workload(prompt_tokens=Length(64), output_tokens=Length(8))
    wrong = text.replace("batch_size * quantization_bits <= 128", "batch_sise <= 1")
    with pytest.raises(SpecError, match=r"study.yaml:6:5: unknown parameter 'batch_sise'"):
        read_study(write(tmp_path, wrong))


def test_files_that_start_from_each_other_in_a_circle_are_refused(tmp_path):
    write(tmp_path, "space: ./b.yaml\nparameters: {}\n", "a.yaml")
    write(tmp_path, "space: ./a.yaml\n", "b.yaml")
    with pytest.raises(SpecError, match="circle"):
        read_study(tmp_path / "a.yaml")


@pytest.mark.parametrize("case", ERRORS)
def test_every_error_has_its_exact_text(case, tmp_path, monkeypatch, request):
    old, new = ERRORS[case]
    assert old in GOOD
    monkeypatch.chdir(tmp_path)
    write(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(SpecError) as caught:
        read_study("study.yaml")
    golden = GOLDEN / f"{case}.txt"
    if not golden.exists() and request.config.getoption("--write-golden"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(f"{caught.value}\n")
    assert f"{caught.value}\n" == golden.read_text()


def test_metrics_that_a_server_is_asked_for_are_accepted(tmp_path):
    text = (
        f"{SERVED}objective: {{maximize: max_rate, limits: [quality.token_agreement >= 0.9]}}\n"
        "workload: {arrival: poisson, rate: {search: max}}\nquality: {prompts: 2}\n"
    )
    assert read_study(write(tmp_path, text)).system.use == "vllm"


def test_the_catalogue_is_found_loaded_and_described():
    assert "transformers" in names("search_spaces")
    assert {"latency", "throughput"} <= set(names("objectives"))
    for kind in ("search_spaces", "objectives"):
        assert all(text for text in entries(kind).values())
    for name in names("search_spaces"):
        space = load_space(name)
        assert space.validate(space.default_config) == space.default_config
        assert space.count().value > 1
    for name in names("objectives"):
        assert load_objective(name).goals
    with pytest.raises(SpecError, match="did you mean 'transformers'"):
        find("search_spaces", "transformer")
    with pytest.raises(SpecError, match="no such file"):
        find("search_spaces", "./nowhere.yaml")


def test_space_and_objective_are_read_from_yaml(tmp_path):
    from autotune import Objective, Space

    path = write(tmp_path, GOOD)
    assert Space.from_yaml(path).names == ("batch_size", "draft_length")
    assert Objective.from_yaml(path).limits[0].bound == 0.5
    assert Objective.from_yaml(find("objectives", "latency")).goals[0].maximize is False


def test_every_metric_is_explained_in_the_objectives_readme():
    from autotune.core.metric import METRICS

    text = (find("objectives", "latency").parent / "README.md").read_text()
    for name, info in METRICS.items():
        assert f"`{name}{'.*' if info.statistics else ''}`" in text


DERIVED = """
parameters:
  batch: {type: int, low: 1, high: 8}
  depth: {type: int, low: 0, high: 8}
derived:
  cost: batch * depth
constraints:
  - cost <= 12
system: {use: command, argv: [echo]}
objective: {maximize: x}
"""

AS_TEXT = """
parameters:
  kv_cache_dtype: {type: categorical, values: [auto, 017, 1e-3]}
  block_size: {type: ordinal, values: [8, 016]}
system: {use: vllm, model: m}
objective: {maximize: output_throughput}
"""


@pytest.mark.parametrize("text", [DERIVED, AS_TEXT], ids=["derived", "values-as-text"])
def test_every_reader_of_a_study_file_reads_the_same_space(tmp_path, text):
    file = tmp_path / "study.yaml"
    file.write_text(text)
    of_check = read_study(file).space
    for read in (Space.from_yaml, autotune.load_space):
        assert read(file).to_dict() == of_check.to_dict()
    assert Space.from_dict(of_check.to_dict()).fingerprint == of_check.fingerprint


@pytest.mark.parametrize("name", names("search_spaces"))
def test_every_reader_of_a_catalogue_file_reads_the_same_space(name):
    file = folder("search_spaces") / f"{name}.yaml"
    whole = parse_text(file.read_text(), str(file)).data
    needs_model = whole.get("system", {}).get("use") not in (None, "transformers", "command", "function")
    of_check = read_study(file, ["system.model=m"] if needs_model else []).space
    for space in (Space.from_yaml(file), autotune.load_space(name), autotune.load_space(file)):
        assert space.to_dict() == of_check.to_dict()
        assert space.fingerprint == of_check.fingerprint
    assert dict(of_check.derived) == dict(whole.get("derived", {}))
    assert len(of_check.constraints) == len(whole.get("constraints", ()))
    assert Space.from_dict(of_check.to_dict()).to_dict() == of_check.to_dict()
    assert of_check.default_config.keys() >= of_check.derived.keys()

"""A study file as one value: read once, by one reader, and read back from what it writes."""

import json
import os
import re
from pathlib import Path

import pytest

import autotune
from autotune.core.objective import Objective
from autotune.core.space import Space
from autotune.errors import SpecError
from autotune.executor.brought import FOLDER
from autotune.measure.workload import Workload
from autotune.spec import catalogue
from autotune.spec.load import read_file
from autotune.study.jobs import make_job
from autotune.study.plan import make_plan
from autotune.study.readiness import readiness
from autotune.study.study_file import read_stored_study, read_study, study_from_dict
from autotune.systems import registry
from autotune.systems.command import CommandSystem
from autotune.systems.openai_server import OpenAIServerSystem

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
STUDY = """
parameters:
  threads: {type: ordinal, values: [1, 2, 4]}
  batch: {type: int, low: 1, high: 8}
derived: {work: threads * batch}
constraints: [work <= 16]
system: {use: command, argv: [prog, "{threads}", "{batch}"]}
objective: {maximize: speed}
"""

VLLM = "system: {use: vllm, model: m}"


def as_json(data):
    return json.loads(json.dumps(data))


@pytest.mark.parametrize("name", catalogue.names("search_spaces"))
def test_a_shipped_space_is_read_alike_by_all_and_read_back(name, tmp_path):
    model = "" if name in ("inference_time_compute", "cpu_inference") else ", model: m"
    file = catalogue.find("search_spaces", name)
    of_python = Space.from_yaml(file)
    assert of_python.fingerprint == autotune.load_space(name).fingerprint
    assert Space.from_dict(as_json(of_python.to_dict())).fingerprint == of_python.fingerprint
    whole = read_file(file)[1].data
    use = whole.get("system", {}).get("use")
    own = tmp_path / "study.yaml"
    if use is None:
        own.write_text(f"space: {name}\nobjective: {{maximize: speed}}\n")
    else:
        own.write_text(f"space: {name}\nsystem: {{use: {use}{model or ', model: m'}}}\n")
    study = read_study(own)
    assert study.space.fingerprint == of_python.fingerprint
    assert read_stored_study(as_json(study.to_dict())).to_dict() == study.to_dict()


@pytest.mark.parametrize("name", catalogue.names("objectives"))
def test_a_shipped_objective_is_read_back(name):
    objective = autotune.load_objective(name)
    assert objective == Objective.from_yaml(catalogue.find("objectives", name))
    assert Objective.from_dict(as_json(objective.to_dict())) == objective


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_is_read_alike_by_all_and_read_back(file):
    study = read_study(file)
    assert Space.from_yaml(file).fingerprint == study.space.fingerprint
    assert Objective.from_yaml(file) == study.objective
    assert read_stored_study(as_json(study.to_dict())).to_dict() == study.to_dict()


def test_derived_values_are_kept_by_every_reader(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text(STUDY)
    study = read_study(file)
    assert Space.from_yaml(file).to_dict() == autotune.load_space(file).to_dict() == study.space.to_dict()
    assert study.space.derived == {"work": "threads * batch"}
    assert autotune.load_space("inference_time_compute").derived


def test_the_objective_of_a_study_that_states_none_is_that_of_check(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text("space: transformers\nsystem: {use: transformers, model: tiny}\nobjective: throughput\n")
    assert Objective.from_yaml(file) == read_study(file).objective
    file.write_text("parameters: {batch_size: {type: int, low: 1, high: 4}}\n"
                    "system: {use: transformers, model: tiny}\n")  # fmt: skip
    assert Objective.from_yaml(file) == read_study(file).objective


@pytest.mark.parametrize("use", ["command", "openai_server"])
def test_the_system_of_a_study_is_built_once(use, tmp_path, monkeypatch):
    """From reading to the jobs of several attempts; a space makes its owner's words be looked at."""
    kind = {"command": CommandSystem, "openai_server": OpenAIServerSystem}[use]
    words = {
        "command": "argv: [python3, -V, '{threads}']",
        "openai_server": "command: [python3, '{port}', '{threads}']",
    }
    (tmp_path / "base.yaml").write_text("parameters: {threads: {type: ordinal, values: [1, 2, 4]}}\n")
    file = tmp_path / "study.yaml"
    file.write_text(
        f"space: ./base.yaml\nsystem: {{use: {use}, {words[use]}}}\nobjective: {{maximize: speed}}\n"
    )
    built = []
    plain = kind.from_dict.__func__
    monkeypatch.setattr(
        kind, "from_dict", classmethod(lambda cls, data: built.append(data) or plain(cls, data))
    )
    study = read_study(file)
    readiness(study)
    make_plan(study, tmp_path)
    for attempt in (1, 2, 3):
        make_job(study, "s", study.space.default_config, {}, tmp_path, trial=0, attempt=attempt)
    assert len(built) == 1


def test_files_of_lengths_lie_beside_the_study_wherever_it_is_read_from(tmp_path, monkeypatch):
    (tmp_path / "lengths.txt").write_text("16\n16\n512\n")
    (tmp_path / "elsewhere").mkdir()
    file = tmp_path / "study.yaml"
    file.write_text("space: vllm\nsystem: {use: vllm, model: m}\nworkload:"
                    " {arrival: poisson, rate: 4, prompt_tokens: {file: lengths.txt}}\n")  # fmt: skip
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert read_study(file).workload.prompt_tokens.longest == 512
    job_data = read_study(file).workload.to_dict()
    (tmp_path / "lengths.txt").unlink()
    assert Workload.from_dict(as_json(job_data)).prompt_tokens.longest == 512  # they travel with the job


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("workload: {trace: absent.csv}", r"study\.yaml:3:\d+: .*absent\.csv"),
        (
            "workload: {rate: 4, prompt_tokens: {file: absent.txt}}",
            r"study\.yaml:3:\d+: cannot read the lengths",
        ),
        ("quality: {tasks: absent.jsonl}", r"study\.yaml:3:\d+: tasks: cannot read"),
    ],
)
def test_a_file_that_is_not_there_is_said_where_it_is_named(section, said, tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text(f"parameters: {{max_num_seqs: {{type: int, low: 1, high: 8}}}}\n{VLLM}\n{section}\n")
    with pytest.raises(SpecError, match=said):
        read_study(file)


def test_a_ledger_that_kept_sections_as_they_were_written_is_the_same_study(tmp_path):
    file = tmp_path / "study.yaml"
    parameters = "parameters: {max_num_seqs: {type: int, low: 1, high: 8}}"
    file.write_text(f"{parameters}\n{VLLM}\nworkload: {{rate: 4, time: 90 s}}\nquality: {{prompts: 4}}\n")
    study = read_study(file)
    stored = {**study.to_dict(), "workload": {"rate": "4.0", "time": "1.5 min"},
              "quality": {"prompts": "4", "folder": str(tmp_path)}}  # fmt: skip
    assert not study.differs_from(as_json(stored))
    assert study.differs_from({**stored, "workload": {"rate": "5"}}) == "workload"
    assert study.differs_from({**stored, "workload": {"rate": "no rate"}}) == "workload"
    assert study.differs_from({**stored, "quality": {}}) == "quality"
    assert study.differs_from({**stored, "system": {"use": "vllm", "model": "other"}}) == "system"


@pytest.mark.parametrize(
    "lines",
    [
        "system: {use: command, argv: [sh, a.sh]}",
        "system: {use: vllm, model: a/b}\nworkload: {trace: rows.jsonl}",
    ],
    ids=["system", "workload"],
)
def test_the_folders_of_submissions_differ_in_nothing_that_was_measured(tmp_path, monkeypatch, lines):
    text = f"parameters: {{max_num_seqs: {{type: int, low: 1, high: 9}}}}\n{lines}\n"
    text += "objective: {maximize: output_throughput}\n"
    home, studies = tmp_path / "files" / "chat", []
    for folder in (
        home,
        home / f"{1:016x}",
        home / f"{2:016x}",
    ):  # of an earlier version, and two of this one
        folder.mkdir(parents=True)
        (folder / "rows.jsonl").write_text('{"timestamp": 0, "input_length": 9, "output_length": 9}\n')
        (folder / "study.yaml").write_text(text)
        studies.append(read_study(folder / "study.yaml"))
    stored = [as_json(study.to_dict()) for study in studies]
    assert studies[2].differs_from(stored[1])  # nobody said that these are submissions
    monkeypatch.setenv(FOLDER, str(home / f"{2:016x}"))
    assert [studies[2].differs_from(each) for each in stored] == ["", "", ""]
    monkeypatch.setenv(FOLDER, str(tmp_path / "files" / "code" / f"{2:016x}"))
    assert studies[2].differs_from(stored[1])


def test_the_tracking_store_of_the_environment_is_the_default(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://there:1")
    data = {"name": "s", "parameters": {"a": {"type": "bool"}}}
    assert study_from_dict(data).tracking.mlflow == os.environ["MLFLOW_TRACKING_URI"]
    for off in ("none", "null", "~", "off"):
        assert study_from_dict({**data, "tracking": {"mlflow": off}}).tracking.mlflow is None


def test_a_plugin_of_a_space_is_not_imported_before_its_owner_is_asked(tmp_path, monkeypatch):
    (tmp_path / "base.yaml").write_text("parameters: {a: {type: bool}}\nsystem: {use: toy}\n")
    file = tmp_path / "study.yaml"
    file.write_text("space: ./base.yaml\nobjective: {maximize: speed}\n")
    loaded = []
    monkeypatch.setattr(registry, "build_system", loaded.append)
    monkeypatch.setattr(registry, "locate_system", lambda section, folder: loaded.append(section))
    with pytest.raises(SpecError, match="may not say this"):
        read_study(file)
    assert not loaded


def test_a_program_that_makes_its_own_load_is_recorded_with_none(tmp_path):
    (tmp_path / "study.yaml").write_text(
        "parameters: {x: {type: int, low: 1, high: 4}}\n"
        "system: {use: command, argv: [echo, '{x}']}\n"
        "objective: {minimize: y}\n"
    )
    study = read_study(tmp_path / "study.yaml")
    assert study.to_dict()["workload"] == {}
    job = make_job(study, "s", {"x": 1}, {}, tmp_path, trial=0, attempt=1)
    assert job.workload == {}


def test_a_file_may_name_what_is_measured_first(tmp_path):
    file = tmp_path / "mine.yaml"
    text = "parameters:\n  a: {type: int, low: 1, high: 8}\n  b: {type: bool}\nobjective: {maximize: x}\n"
    file.write_text(f"{text}start:\n  - {{a: 3, b: true}}\n  - {{a: 5}}\n")
    study = read_study(file)
    assert study.start == ({"a": 3, "b": True}, {"a": 5, "b": False})
    assert read_stored_study(study.to_dict()).start == study.start
    file.write_text(f"{text}start:\n  - {{a: 3}}\n  - {{a: 9}}\n")
    with pytest.raises(SpecError, match=r"mine.yaml:7:9: a cannot be '9'; allowed: int from 1 to 8"):
        read_study(file)
    file.write_text(f"{text}budget: {{trials: 2}}\nstart:\n  - {{a: 3}}\n  - {{a: 4}}\n")
    with pytest.raises(
        SpecError, match=r"mine.yaml:7:3: 2 configurations to start with and the default are 3"
    ):
        read_study(file)


@pytest.mark.parametrize(
    "override", ["name=other", "parameters.x.high=4", "parameters={x: {type: bool}}", "constraints=[x <= 2]",
                 "space=vllm", "space.parameters.x.high=4", "configurations=[{x: 1}]"],
)  # fmt: skip
def test_what_makes_a_stored_study_the_one_that_it_is_cannot_be_set(override):
    stored = {
        "name": "u", "space": {"parameters": {"x": {"type": "int", "low": 1, "high": 9}}},
        "objective": {"maximize": "speed"},
    }  # fmt: skip
    with pytest.raises(
        SpecError, match=f"^--set {re.escape(override)}: study 'u' is in the ledger"
    ) as caught:
        read_stored_study(stored, [override])
    assert "autotune run FILE" in caught.value.hint

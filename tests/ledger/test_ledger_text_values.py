"""Studies from before values had types: their values are text, and they go on with what was measured."""

import json

import pytest

from autotune import Study
from autotune.core.file_names import LEDGER_NAME
from autotune.core.space import Space
from autotune.errors import StudyError
from autotune.ledger import Ledger
from autotune.study.run import as_measured
from autotune.study.study_file import read_study

FILE = """name: old
parameters:
  b: {type: categorical, values: [16, 0.50, true, auto], default: auto, prior: {weights: {16: 2}}}
  c: {type: ordinal, values: [true, false]}
constraints: [b != '16' or c == 'true']
system: {use: function, call: "f.py:f"}
objective: {maximize: y}
budget: {trials: 4, confirm: 0, watch: 0}
engine: {use: random, seed: 0}
"""
CODE = """import json
def f(config):
    with open("seen.jsonl", "a") as file:
        file.write(json.dumps(config) + "\\n")
    return {"y": float(len(str(config["b"])))}
"""


@pytest.fixture
def old(tmp_path):
    """Return the file of a study that has two trials from before values had types, and its ledger."""
    file = tmp_path / "old.yaml"
    file.write_text(FILE)
    (tmp_path / "f.py").write_text(CODE)
    spec = json.loads(json.dumps(read_study(file).to_dict()))
    entries = spec["space"]["parameters"]
    entries["b"] |= {"values": ["16", "0.50", "true", "auto"], "prior": {"weights": [["16", 2.0]]}}
    entries["c"]["values"] = ["true", "false"]
    path = tmp_path / "autotune-runs" / LEDGER_NAME
    path.parent.mkdir()
    space = Space.from_dict(spec["space"])
    with Study(space, {"maximize": "y"}, name="old", path=path, spec=spec, engine="sobol") as study:
        for _ in range(2):
            trial = study.ask()
            study.tell(trial, {"y": float(len(trial.config["b"]))})
    return file, path


def test_the_same_file_goes_on_with_text(old, autotune_command, tmp_path):
    file, path = old
    with Ledger.open(path, read_only=True) as ledger:
        row, trials = ledger.study("old"), ledger.trials("old")
    assert read_study(file).space.fingerprint != row.fingerprint
    assert as_measured(read_study(file), path, "old").space.fingerprint == row.fingerprint
    autotune_command("run", "old.yaml", "--local", "--no-mlflow", "-q")
    with Ledger.open(path, read_only=True) as ledger:
        now, found = ledger.study("old"), ledger.trials("old")
    assert (len(found), now.fingerprint) == (4, row.fingerprint)
    assert [t.suggestion for t in found[:2]] == [t.suggestion for t in trials]
    assert now.spec["space"] == row.spec["space"]
    seen = [json.loads(line) for line in (tmp_path / "seen.jsonl").read_text().splitlines()]
    assert all(isinstance(value, str) for config in seen for value in config.values())
    autotune_command("run", "old.yaml", "--local", "--no-mlflow", "-q", "--new", "--trials", "2")
    seen = [json.loads(line) for line in (tmp_path / "seen.jsonl").read_text().splitlines()][2:]
    assert any(not isinstance(value, str) for config in seen for value in config.values())


def test_python_goes_on_with_it_too(old):
    file, path = old
    with Study(read_study(file).space, {"maximize": "y"}, name="old", path=path, engine="sobol") as study:
        assert study.space["c"].levels == ("true", "false")
        assert study.ask().number == 2


def test_another_space_is_refused_as_before(old):
    file, path = old
    file.write_text(FILE.replace("0.50", "0.75"))
    with pytest.raises(StudyError, match="another search space"):
        Study(read_study(file).space, {"maximize": "y"}, name="old", path=path, engine="sobol")


def test_requests_go_on_as_they_were_sent(tmp_path):
    file = tmp_path / "s.yaml"
    file.write_text(
        "parameters: {top_p: {type: float, low: 0.1, high: 1.0}}\n"
        "system: {use: openai_server, url: 'http://127.0.0.1:1', body: {temperature: 0.70, n: 1}}\n"
        "objective: {maximize: output_throughput}\n"
    )
    spec = read_study(file)
    assert spec.system.section["body"] == {"temperature": 0.7, "n": 1}
    stored = spec.to_dict()
    stored["system"] = {**stored["system"], "body": {"temperature": "0.70", "n": "1"}}
    path = tmp_path / LEDGER_NAME
    with Study(spec.space, spec.objective, name="s", path=path, spec=stored):
        pass
    assert as_measured(spec, path, "s").system.section["body"] == {"temperature": "0.70", "n": "1"}
    other = read_study(file, ["system.body.n=2"])
    assert as_measured(other, path, "s").system.section["body"] == {"temperature": 0.7, "n": 2}
    assert as_measured(spec, path, "another").system == spec.system


def test_a_ledger_that_another_process_is_making_has_no_study_yet(old, tmp_path):
    path = tmp_path / "making.sqlite"
    path.touch()
    spec = read_study(old[0])
    assert as_measured(spec, path, spec.name) is spec

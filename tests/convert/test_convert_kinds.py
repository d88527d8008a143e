"""Kinds of fault, each over all converters: what is there is converted, or one line says why it is not."""

import gc
import json
import math
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from statistics import NormalDist

import numpy as np
import optuna
import pytest

from autotune.convert.formats import convert
from autotune.convert.names import metric_name
from autotune.errors import SpecError
from autotune.study.study_file import read_study


def converted(tmp_path, monkeypatch, text, name="x.yaml"):
    """Return the conversion of a file after `autotune check` has read what it wrote."""
    monkeypatch.chdir(tmp_path)
    Path(name).write_text(text if isinstance(text, str) else json.dumps(text))
    found = convert(name)
    Path("study.yaml").write_text(found.to_yaml())
    spec = read_study("study.yaml")
    assert spec.space.default_config
    system = spec.system.built if spec.system else None
    for config in spec.space.sample(6, np.random.default_rng(0)):
        assert system is None or system.check(config) is None
    return found


# -- entries that are null, lists, nested or empty --------------------------------------------------------

FLAGS = [
    [{"max_num_seqs": 8, "quantization": None}, {"max_num_seqs": 16, "quantization": "fp8"}],
    [{"speculative_config": None}, {"speculative_config": {"method": "ngram", "num_speculative_tokens": 3}}],
    [{"compilation_config.mode": 1, "compilation_config.pass_config.fuse": True, "max_num_seqs": "8"}],
    [{}, {"max_num_seqs": 16}, {"enforce_eager": True}],
    {"base": {}, "wide": {"max-num-seqs": 64}},
    [{"disable_log_stats": True}, {"max_num_seqs": 4}],
    [{"_benchmark_name": "a", "enforce_eager": False}, {"enforce_eager": True}],
    [
        {"no_enable_prefix_caching": True},
        {"--enable-prefix-caching": True},
        {"no-enable-prefix-caching": True},
    ],
    [{"tp": 2}, {"tensor_parallel_size": 1}],
    [
        {"tensor_parallel": 2, "max-num-batched-token": 64},
        {"tensor-parallel": 1, "max_num_batched_tokens": 8},
    ],
    [{"cc.pass_config.fuse": False}, {"cc.pass_config.fuse": True}],
]


LONG = {
    "tp": "tensor-parallel-size",
    "tensor-parallel": "tensor-parallel-size",
    "max-num-batched-token": "max-num-batched-tokens",
    "cc": "compilation-config",
}


def words_of(entry):
    """Return the flags that `vllm bench sweep serve` passes for an entry, null left out."""
    words = {}
    nested = {}
    for key, value in entry.items():
        name, *inner = key.lstrip("-").replace("_", "-").split(".")
        name = LONG.get(name, name)
        if key == "_benchmark_name" or value is None:
            continue
        if inner:
            place = nested.setdefault(name, {})
            for part in key.split(".")[1:-1]:
                place = place.setdefault(part, {})
            place[key.split(".")[-1]] = value
        elif isinstance(value, bool):
            words[f"--{name}" if value else f"--no-{name}"] = None
        else:
            text = json.dumps(value) if isinstance(value, dict) else str(value)
            words[f"--{name}"] = json.loads(text) if text.startswith("{") else text
    return words | {f"--{name}": value for name, value in nested.items()}


def as_flags(words):
    """Return the words of a command as flags with their values."""
    flags = {}
    for word in words:
        if word.startswith("--"):
            last = word
            flags[last] = None
        else:
            flags[last] = json.loads(word) if word.startswith("{") else word
    return flags


@pytest.mark.parametrize("given", FLAGS)
def test_a_configuration_of_a_sweep_launches_what_its_entry_would(tmp_path, monkeypatch, given):
    found = converted(tmp_path, monkeypatch, given, "p.json")
    spec = read_study("study.yaml")
    system = spec.system.built
    entries = list(given.values()) if isinstance(given, dict) else given
    ours = [as_flags(system.flag_words(system.settings(dict(config)))) for config in spec.space.configurations
            or spec.space.sample(64, np.random.default_rng(0))]  # fmt: skip
    for entry in entries:
        assert words_of(entry) in ours, (entry, ours, found.notes)
    default = system.settings(dict(spec.space.default_config))
    assert as_flags(system.flag_words(default)) == words_of(entries[0])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([{"max_num_seqs": 8}, None], r"p\.json:1:23: entry 1 must be a mapping .* found null"),
        ([{"max_num_seqs": 8}, [1, 2]], r"p\.json:1:23: entry 1 must be .* found \[1, 2\]"),
        ([[{"max_num_seqs": 8}]], r"p\.json:1:1: entry 0 must be a mapping|p\.json:1:2: entry 0 must be"),
        ([{"max_num_seqs": 8}, "x"], r"entry 1 must be a mapping of flags to values, found 'x'"),
        ({"a": {"max_num_seqs": 8}, "b": None}, r"p\.json:1:33: entry 'b' must be .* found null"),
        ([], r"p\.json: it has no entries"),
        ([{}, {}], r"no parameter could be converted\n.*p\.json:1:2: entry 0 is empty"),
        ('[{"max_num_seqs": 8, "max_num_seqs": 16}]',
         r"p\.json:1:22: duplicate key 'max_num_seqs', first in"),
        ('[{"max_num_seqs": NaN}]', r"p\.json:1:19: NaN is no finite number"),
        ('[{"max_num_seqs": 1e999}]', r"p\.json:1:19: 1e999 is no finite number"),
        ([{"max_num_seqs": "many"}],
         r"entry 0 is left out, vLLM refuses it: max_num_seqs takes a whole number"),
        ([{"model": "m", "tp": 8, "num_seqs_list": "128 256"}],
         r"p\.json:1:26: entry 0 with 'num_seqs_list' is a run of vLLM's auto_tune script"),
        ([{"random_input_len": 3}], r"p\.json:1:3: entry 0: 'random_input_len' belongs to the benchmark"),
        ([{"compilation_config.mode": 1, "compilation_config.mode.x": 2}],
         r"its part 'mode' has parts and is 1"),
    ],
)  # fmt: skip
def test_entries_that_are_no_configuration_are_one_clear_error(tmp_path, monkeypatch, given, said):
    with pytest.raises(SpecError, match=said):
        converted(tmp_path, monkeypatch, given, "p.json")


def test_every_entry_that_is_left_out_has_its_line(tmp_path, monkeypatch):
    given = [
        {"max_num_seqs": 8, "cudagraph_capture_sizes": [1, 2], "port": 9},
        {"max_num_seqs": "lots"},
        {"max_num_seqs": 16, "cudagraph_capture_sizes": [1], "max-num-seqs": 32},
        {"model": "a/b", "no_such_flag": 1},
        {"model": "c/d", "max_num_seqs": 1},
    ]
    found = converted(tmp_path, monkeypatch, given, "p.json")
    notes = "\n".join(found.notes)
    for said in (
        "entry 1 is left out, vLLM refuses it: max_num_seqs takes a whole number, found 'lots'",
        "'cudagraph_capture_sizes' takes several words, and no parameter has lists as values; it is left out",
        "entry 2: 'max-num-seqs': duplicate 'max_num_seqs'; the last one counts",
        "entry 4 is left out: it serves 'c/d', the others 'a/b'",
        "entry 3: 'no_such_flag' is no flag of vLLM",
        "entry 0: 'port' is set by the measurement itself; it is left out",
    ):
        assert said in notes
    assert found.study["system"] == {"use": "vllm", "model": "a/b"}
    assert found.study["parameters"]["max_num_seqs"]["values"] == [8, 32, "auto"]


def test_a_list_that_all_entries_have_is_a_fixed_flag(tmp_path, monkeypatch):
    given = [{"max_num_seqs": n, "cudagraph_capture_sizes": [1, 2]} for n in (8, 16)]
    found = converted(tmp_path, monkeypatch, given, "p.json")
    assert found.study["system"]["flags"] == {"cudagraph_capture_sizes": [1, 2]}


SEQS = "parameters: {max_num_seqs: {min: 1, max: 3}}"
WANDB = "method: bayes\nprogram: t.py\nmetric: {name: loss}\n"
TUNE = "optimization: {preset: high_throughput}\nbenchmark: {model: m}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (WANDB + "parameters: {a: null}", r"x\.yaml:4:17: a must be a mapping, found None"),
        (WANDB + "parameters: {a: [1, 2]}", r"x\.yaml:4:17: a must be a mapping, found \[1, 2\]"),
        (WANDB + "parameters: {a: {}}", r"x\.yaml:4:17: min must be a number, found None"),
        (WANDB + "parameters: {}", "no parameter could be converted"),
        (WANDB + "parameters: {a: {values: []}}", r"x\.yaml:4:18: values of 'a' are no list"),
        (WANDB + "parameters: {a: {parameters: {b: null}}}", r"b must be a mapping, found None"),
        (WANDB + "parameters: {a: {min: 5, max: 1}}", r"x\.yaml:4:17: low 5 is above high 1"),
        (WANDB + "parameters: {a: {min: 1, max: 5, q: 0, distribution: q_uniform}}",
         r"4:37: q must be above 0"),
        (WANDB + "parameters: {a: {min: 1, max: 5000, distribution: log_uniform}}", r"4:17: .* too large"),
        (WANDB + "run_cap: 0\nparameters: {a: {values: [1]}}",
         r"x\.yaml:4:10: run_cap must be a whole number"),
        (WANDB.replace("loss}", "loss, goal: max}") + "parameters: {a: {values: [1]}}",
         r"x\.yaml:3:9: 'max' is no direction; allowed: maximize, minimize"),
        (TUNE + "parameters: {max_num_seqs: [1, 2]}", r"x\.yaml:3:28: max_num_seqs must be a mapping"),
        (TUNE + "parameters: {}", "no parameter could be converted"),
        (TUNE + "parameters:", r"x\.yaml:3:12: parameters must be a mapping, found None"),
        (TUNE + "parameters: {max_num_seqs: {min: , max: 3}}",
         r"x\.yaml:3:33: min must be a number, found None"),
        (TUNE + "parameters: {max_num_seqs: {min: 9, max: 3}}", r"x\.yaml:3:28: low 9 is above high 3"),
        (TUNE.replace("preset: high_throughput", "objectives: [null]") + SEQS,
         r"x\.yaml:1:29: unknown metric in None"),
        (TUNE.replace("model: m", "model: m, prompt_tokens: -3") + SEQS,
         r"x\.yaml:2:12: prompt_tokens must be a whole number of at least 1"),
        ('{"a": null, "b": {"name": "IntDistribution", "attributes": {"low": 1, "high": 2}}}',
         r"x\.yaml:1:7: a must be a mapping, found None"),
        ('{"a": {"name": "IntDistribution", "attributes": null}}',
         r"attributes must be a mapping, found None"),
        ('{"a": {"name": "CategoricalDistribution", "attributes": {"choices": []}}}',
         r"choices of 'a' are \[\]"),
        ('{"a": {"name": "IntDistribution", "attributes": {"low": 9, "high": 2}}}',
         r"1:7: low 9 is above high 2"),
    ],
)  # fmt: skip
def test_entries_that_are_null_lists_or_empty_are_one_clear_error(tmp_path, monkeypatch, text, said):
    with pytest.raises(SpecError, match=said):
        converted(tmp_path, monkeypatch, text)


@pytest.mark.parametrize(
    ("text", "said", "values"),
    [
        (WANDB + "parameters: {a: {values: [[1, 2], null, {b: c}]}}", "JSON texts", ["[1,2]",
         "none", '{"b":"c"}']),
        (WANDB + "parameters: {a: {value: {b: [1]}}}", "JSON texts", ['{"b":[1]}']),
        (TUNE + "parameters: {quantization: {options: [null, fp8]}}", "option null leaves", ["auto", "fp8"]),
        (TUNE + "parameters: {dtype: {options: [auto, fp9, half]}}",
         "'fp9' is left out", ["auto", "half"]),
        ('{"a": {"name": "CategoricalDistribution", "attributes": {"choices": [[1], null, "x"]}}}',
         "JSON texts",
         ["[1]", "none", "x"]),
    ],
)  # fmt: skip
def test_values_that_are_null_or_nested_are_kept_and_said(tmp_path, monkeypatch, text, said, values):
    found = converted(tmp_path, monkeypatch, text)
    assert next(iter(found.study["parameters"].values()))["values"] == values
    assert said in "\n".join(found.notes)


def test_weights_of_structures_are_those_of_their_texts(tmp_path, monkeypatch):
    text = WANDB + "parameters: {a: {values: [[64, 32], null, true], probabilities: [0.5, 0.25, 0.25]}}"
    found = converted(tmp_path, monkeypatch, text)
    assert found.study["parameters"]["a"]["prior"]["weights"] == {"[64,32]": 0.5, "none": 0.25, "true": 0.25}


def test_notes_are_printable_lines(tmp_path, monkeypatch):
    text = {"method": "a\0b\n- c\x1b[31m", "program": "t.py", "parameters": {"a": {"values": [1, 2]}}}
    found = converted(tmp_path, monkeypatch, text)
    (line,) = [line for line in found.notes if "method:" in line]
    assert "a\\x00b - c\\x1b[31m" in line


def test_ranges_with_more_values_than_a_search_lists_are_thinned(tmp_path, monkeypatch):
    wide = '{"s": {"name": "IntDistribution", "attributes": {"low": 0, "high": 4294967295, "log": false}}}'
    found = converted(tmp_path, monkeypatch, wide)
    assert found.study["parameters"]["s"]["step"] == 429497
    assert "'s' has too many values: every 429497th is searched" in found.notes[0]
    log = WANDB + "parameters: {s: {min: 1, max: 1000000000, distribution: q_log_uniform_values}}"
    found = converted(tmp_path, monkeypatch, log)
    assert found.study["parameters"]["s"]["values"][:3] == [1, 2, 4]
    assert "powers of 2 are searched" in "\n".join(found.notes)


def test_yaml_of_other_tools_has_the_types_that_they_read(tmp_path, monkeypatch):
    text = (
        WANDB
        + "parameters: {a: {values: [017, 1_000, 0x10, yes, !!str 5, !!float 3]},"
        + " b: {min: !!float 1e-5, max: 1.0}}"
    )
    parameters = converted(tmp_path, monkeypatch, text).study["parameters"]
    assert parameters["a"]["values"] == [15, 1000, 16, True, "5", 3.0]
    assert parameters["b"]["low"] == 1e-5
    with pytest.raises(SpecError, match="tags are not allowed"):
        converted(tmp_path, monkeypatch, WANDB + "parameters: {a: {value: !!python/name:os.system x}}")


# -- names of studies -------------------------------------------------------------------------------------


def wandb_named(name):
    return WANDB + f"name: {json.dumps(name)}\nparameters: {{a: {{values: [1, 2]}}}}\n"


def tune_named(name):
    return TUNE + f"study: {{name: {json.dumps(name)}}}\nparameters: {{max_num_seqs: {{min: 1, max: 4}}}}\n"


NAMES = [
    ("my first sweep", "my-first-sweep"),
    ("team/sweep: 3", "team-sweep-3"),
    ("../../etc/passwd", "etc-passwd"),
    ("Épreuve n° 1", "Epreuve-n-1"),
    ("-x-", "x"),
    ("first", "first"),
    ("v1.2_b", "v1.2_b"),
]


@pytest.mark.parametrize("form", [wandb_named, tune_named])
@pytest.mark.parametrize(("name", "called"), NAMES)
def test_the_name_of_a_study_is_cleaned_and_the_change_said(tmp_path, monkeypatch, form, name, called):
    found = converted(tmp_path, monkeypatch, form(name))
    assert read_study("study.yaml").name == called
    said = [line for line in found.notes if "the study is called" in line]
    assert bool(said) == (name != called)
    assert not said or (repr(called) in said[0] and repr(name) in said[0])


@pytest.mark.parametrize("form", [wandb_named, tune_named])
def test_names_that_are_cut_or_in_another_script_stay_apart(tmp_path, monkeypatch, form):
    called = [
        converted(tmp_path, monkeypatch, form(name)).study["name"]
        for name in ("x" * 500, "x" * 501, "初めて", "二番目", "日本 run")
    ]
    assert len(set(called)) == 5
    assert all(len(name) <= 64 for name in called)
    assert called[4].startswith("run-")


@pytest.mark.parametrize("form", [wandb_named, tune_named])
@pytest.mark.parametrize("name", ["", "  ", None, ["a"], {"a": 1}])
def test_a_study_without_a_usable_name_has_that_of_its_file(tmp_path, monkeypatch, form, name):
    found = converted(tmp_path, monkeypatch, form(name))
    assert "name" not in found.study
    assert "the file's name is taken" in "\n".join(found.notes)


@pytest.fixture
def optuna_study(tmp_path, rdb_storage):
    """Write a study into ``s.db`` and convert it."""

    def made(name, metrics, directions):
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        url = f"sqlite:///{tmp_path}/s.db"
        study = optuna.create_study(study_name=name, storage=rdb_storage(url), directions=directions)
        if metrics:
            study._storage.set_study_system_attr(study._study_id, "study:metric_names", metrics)
        study.add_trial(optuna.trial.create_trial(
            params={"a": 1}, distributions={"a": optuna.distributions.IntDistribution(1, 4)},
            values=[0.0] * len(directions),
        ))  # fmt: skip
        return convert(url)

    return made


def test_an_optuna_study_with_free_names(optuna_study):
    names = ["Latency (ms)", "Mean Merit", "Mean/Merit", "Mean, Merit"]
    found = optuna_study("my first study", names, ["minimize", "maximize", "minimize", "maximize"])
    assert found.study["name"] == "my-first-study"
    assert found.study["objective"] == {
        "minimize": ["Latency", "Mean/Merit"], "maximize": ["Mean_Merit", "Mean_Merit_"],
    }  # fmt: skip
    notes = "\n".join(found.notes)
    assert "metric 'Latency (ms)' is called 'Latency' here: report it by that name" in notes
    assert "its unit is ms: say so with `units: {Latency: ms}` under `system`" in notes
    assert "metric 'Mean, Merit' is called 'Mean_Merit_' here" in notes


def test_an_optuna_study_whose_objectives_have_no_names(optuna_study):
    found = optuna_study("s", None, ["minimize", "maximize"])
    assert found.study["objective"] == {"minimize": "value", "maximize": "value1"}
    assert "its objectives have no names" in "\n".join(found.notes)


@pytest.mark.parametrize("source", ["sqlite:///nix.db", "nix.db", "nix.log", "sqlite+pysqlite:///nix.db"])
def test_a_storage_that_is_not_there_is_not_made(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError, match="no such file"):
        convert(source)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def emptied(tmp_path, optuna_study):
    """Return an Optuna storage after a statement of SQL."""

    def made(statement, *values):
        optuna_study("s", None, ["minimize"])
        with closing(sqlite3.connect(tmp_path / "s.db")) as database:
            database.execute(statement, values)
            database.commit()
        return str(tmp_path / "s.db")

    return made


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{not json", "parameter 'a' of trial 0: Expecting property name"),
        ("[" * 100_000, "parameter 'a' of trial 0: nested too deep"),
        ('{"name": 5, "attributes": 7}', "parameter 'a' of trial 0"),
    ],
)
def test_a_malformed_row_of_a_storage_is_said_with_its_place(emptied, text, said):
    source = emptied("UPDATE trial_params SET distribution_json = ?", text)
    with pytest.raises(SpecError, match=f"s.db: no readable Optuna storage: {said}"):
        convert(source)


def test_no_connection_to_a_storage_outlives_its_reading(emptied):
    def opened():
        places = [os.path.realpath(link) for link in Path("/proc/self/fd").iterdir()]
        return [place for place in places if "/storage.db" in place]  # deleted ones too

    source = emptied("UPDATE trial_params SET param_name = 'b'")
    gc.disable()  # it closes what is dropped, some time later, and warns about it
    try:
        convert(source)
        assert opened() == []
        with closing(sqlite3.connect(source)) as database:
            database.execute("UPDATE alembic_version SET version_num = 'v99.0.0.a'")
            database.commit()
        with pytest.raises(SpecError):
            convert(source)
        assert opened() == []
    finally:
        gc.enable()


def test_a_storage_without_a_study_is_said(emptied):
    with pytest.raises(SpecError, match="it has no study"):
        convert(emptied("DELETE FROM studies"))


@pytest.mark.parametrize(
    ("line", "said"),
    [('{"op_code": "x"}', "no entry of a journal"), ("{bad", "no JSON"), ("[" * 100_000, "no JSON: nested"),
     ("[]", "no entry of a journal")],
)  # fmt: skip
def test_a_malformed_line_of_a_journal_is_said_with_its_place(tmp_path, line, said):
    first = {"op_code": 0, "worker_id": "w", "study_name": "s", "directions": [2]}
    (tmp_path / "j.log").write_text(f"{json.dumps(first)}\n{line}\n{json.dumps(first)}\n")
    with pytest.raises(SpecError, match=f"j.log: no readable Optuna storage: line 2: {said}"):
        convert(str(tmp_path / "j.log"))


def test_control_characters_of_a_name_are_not_in_the_file_that_is_written(tmp_path, optuna_study):
    found = optuna_study("a\x1b[2J\x07\x00b\nc", None, ["minimize"])
    text = found.to_yaml()
    assert all(c.isprintable() or c == "\n" for c in text)
    (tmp_path / "study.yaml").write_text(text)
    assert read_study(str(tmp_path / "study.yaml")).space.names == ("a",)


def test_a_conditional_parameter_of_optuna_is_said(tmp_path, rdb_storage):
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = f"sqlite:///{tmp_path}/s.db"
    study = optuna.create_study(study_name="s", storage=rdb_storage(url))
    whole = optuna.distributions.IntDistribution
    for params in ({"a": 1}, {"a": 2, "b": 3}):
        distributions = {name: whole(1, 4 + params["a"] * (name == "a")) for name in params}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=0.0))
    found = convert(url)
    assert list(found.study["parameters"]) == ["a", "b"]
    notes = "\n".join(found.notes)
    assert "'b' is not in every trial" in notes
    assert "'a' is not in every trial" not in notes
    assert "'a' has different distributions in its trials" in notes


# -- names of metrics -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "name", "unit"),
    [
        ("Mean Merit", "Mean_Merit", ""),
        ("Latency (ms)", "Latency", "ms"),
        ("latency [s]", "latency", "s"),
        ("Memory, GiB", "Memory", "GiB"),
        ("rate (%)", "rate", "%"),
        ("p95 latency (in ms)", "p95_latency", "ms"),
        ("latency_ms", "latency_ms", "ms"),
        ("loss_min", "loss_min", ""),
        ("loss (a.u.)", "loss_a.u.", ""),
        ("val/loss", "val/loss", ""),
        ("ttft.p99", "ttft.p99", ""),
        ("ttft", "reported_ttft", ""),
        ("output_throughputs", "reported_output_throughputs", ""),
        ("cost", "reported_cost", ""),
        ("1st loss", "metric_1st_loss", ""),
        ("損失 値", "損失_値", ""),
    ],
)
@pytest.mark.parametrize("goal", ["maximize", "minimize"])
def test_a_metric_of_another_tool_has_a_valid_name_a_unit_and_its_goal(
    tmp_path, monkeypatch, written, name, unit, goal
):
    assert metric_name(written) == (name, unit)
    metric = json.dumps({"name": written, "goal": goal})
    text = f"method: bayes\nprogram: t.py\nmetric: {metric}\nparameters: {{a: {{values: [1, 2]}}}}\n"
    found = converted(tmp_path, monkeypatch, text)
    assert found.study["objective"] == {goal: name}
    notes = "\n".join(found.notes)
    assert (f"is called {name!r} here: report it by that name" in notes) == (written != name)
    assert (f"units: {{{name}: {unit}}}" in notes) == bool(unit)


def test_a_metric_without_a_name_is_said(tmp_path, monkeypatch):
    text = "method: bayes\nprogram: t.py\nmetric: {goal: maximize}\nparameters: {a: {values: [1, 2]}}\n"
    found = converted(tmp_path, monkeypatch, text)
    assert "a goal needs a metric, found None: name it under `objective`" in "\n".join(found.notes)


def test_goals_and_bounds_of_several_metrics(tmp_path, monkeypatch):
    text = (
        "method: ax\njob: x\nparameters: {a: {values: [1, 2]}}\n"
        "metrics: [{name: beam cost, goal: minimize, threshold: 4}, {name: gain, goal: maximize}]\n"
        "metric_constraints: ['peak memory <= 512', 'g >= 0.5', nonsense, 3]\n"
    )
    found = converted(tmp_path, monkeypatch, text)
    assert found.study["objective"] == {
        "minimize": "beam_cost", "maximize": "gain", "limits": ["peak_memory <= 512", "g >= 0.5"],
    }  # fmt: skip
    notes = "\n".join(found.notes)
    for said in ("'threshold' has no equivalent", "the limit 'nonsense' is left out",
                 "the limit 3 is left out", "metric 'peak memory' is called 'peak_memory' here"):  # fmt: skip
        assert said in notes


# -- switches that are turned round -----------------------------------------------------------------------

SWITCHES = [
    ("no_enable_prefix_caching", True, False),
    ("no_enable_prefix_caching", False, True),
    ("no-enable-prefix-caching", True, False),
    ("--no-enable-prefix-caching", True, False),
    ("enable_prefix_caching", False, False),
    ("--enable-prefix-caching", True, True),
    ("enable-prefix-caching", "false", False),
    ("no_enable_prefix_caching", "true", False),
    ("disable_prefix_caching", True, False),
    ("no_prefix_caching", True, False),
]


@pytest.mark.parametrize(("written", "value", "means"), SWITCHES)
def test_a_switch_of_vllm_has_its_polarity_in_every_converter(tmp_path, monkeypatch, written, value, means):
    wanted = ["--enable-prefix-caching" if means else "--no-enable-prefix-caching"]

    def words(text, name):
        found = converted(tmp_path, monkeypatch, text, name)
        spec = read_study("study.yaml")
        system = spec.system.built
        every = system.flag_words(system.settings(dict(spec.space.default_config)))
        turned = written.strip("-").replace("-", "_") != "enable_prefix_caching"
        assert ("turned round" in "\n".join(found.notes)) == turned
        return [word for word in every if "prefix-caching" in word]

    assert words([{written: value}], "p.json") == wanted
    given = json.dumps(value)
    static = f"static_parameters: {{{written}: {given}}}\nparameters: {{max_num_seqs: {{min: 1, max: 4}}}}\n"
    assert words(TUNE + static, "t.yaml") == wanted
    assert words(TUNE + f"parameters: {{{written}: {{options: [{given}]}}}}\n", "t.yaml") == wanted


def test_a_switch_that_is_there_twice_is_one_parameter(tmp_path, monkeypatch):
    both = "{no_enable_prefix_caching: {options: [true]}, enable_prefix_caching: {options: [true, false]}}"
    found = converted(tmp_path, monkeypatch, TUNE + f"parameters: {both}\n")
    assert found.study["parameters"]["enable_prefix_caching"]["values"] == [False]
    assert len(found.study["parameters"]) == 1
    assert "is the parameter 'enable_prefix_caching' a second time" in "\n".join(found.notes)
    static = "static_parameters: {no_enable_prefix_caching: true}\n"
    text = TUNE + static + "parameters: {enable_prefix_caching: {options: [true, false]}}\n"
    found = converted(tmp_path, monkeypatch, text)
    assert "flags" not in found.study["system"]
    assert "'no_enable_prefix_caching' is searched" in "\n".join(found.notes)


def test_where_the_server_listens_is_not_for_the_file_to_say(tmp_path, monkeypatch):
    static = "static_parameters: {port: 80, api-key: x}\n"
    searched = "parameters: {host: {options: [a]}, max_num_seqs: {min: 1, max: 4}}\n"
    found = converted(tmp_path, monkeypatch, TUNE + static + searched)
    assert list(found.study["parameters"]) == ["max_num_seqs"]
    assert found.study["system"] == {"use": "vllm", "model": "m"}
    for name in ("host", "port", "api-key"):
        assert any(f"'{name}'" in line and "set by the measurement" in line for line in found.notes)


def test_variables_of_the_environment_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "hunter2")
    text = (
        "optimization: {preset: high_throughput, n_trials: '${N:-7}'}\nbenchmark: {model: '${SECRET}'}\n"
        "parameters: {max_num_seqs: {min: 8, max: '${HIGH:-64}'}}\n"
    )
    found = converted(tmp_path, monkeypatch, text)
    assert found.study["budget"] == {"trials": 7}
    assert found.study["parameters"]["max_num_seqs"]["high"] == 64
    assert "hunter2" not in found.to_yaml()
    assert "the variable SECRET of the environment is left as it is: write its value" in "\n".join(
        found.notes
    )


def test_the_command_says_the_notes(tmp_path):
    (tmp_path / "w.yaml").write_text(wandb_named("my first sweep"))
    program = [sys.executable, "-m", "autotune", "convert", "w.yaml", "-o", "study.yaml"]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "note: w.yaml:4:1: the study is called 'my-first-sweep' here" in done.stderr


# -- what a source draws is what is allowed ---------------------------------------------------------------


def quantized(draw, step):
    """Return draws rounded to multiples of a step, as W&B rounds them."""
    return lambda u: np.round(draw(u) / step) * step


def even(low, high):
    return lambda u: low + u * (high - low)


def exp(draw):
    return lambda u: np.exp(draw(u))


def normal(mean, spread):
    """Return draws within three standard deviations; the rest is cut, and said."""
    inverse = np.vectorize(NormalDist(mean, spread).inv_cdf)
    return lambda u: inverse(NormalDist().cdf(-3) + u * (NormalDist().cdf(3) - NormalDist().cdf(-3)))


LOGS = (math.log(32), math.log(256))
DISTRIBUTIONS = {
    "min: 1, max: 9": lambda u: np.floor(1 + u * 9),
    "min: 0.0, max: 2.5": even(0.0, 2.5),
    "distribution: q_uniform, min: 0.3, max: 0.6, q: 0.1": quantized(even(0.3, 0.6), 0.1),
    "distribution: q_uniform, min: 1, max: 10, q: 3": quantized(even(1, 10), 3),
    "distribution: log_uniform, min: -5, max: -1": exp(even(-5, -1)),
    "distribution: log_uniform_values, min: 32, max: 256": exp(even(*LOGS)),
    "distribution: q_log_uniform, min: 0, max: 4, q: 1": quantized(exp(even(0, 4)), 1),
    "distribution: q_log_uniform_values, min: 32, max: 256, q: 8": quantized(exp(even(*LOGS)), 8),
    "distribution: inv_log_uniform, min: 1, max: 3": exp(even(-3, -1)),
    "distribution: inv_log_uniform_values, min: 32, max: 256": exp(even(*LOGS)),
    "distribution: normal, mu: 5, sigma: 2": normal(5, 2),
    "distribution: q_normal, mu: 100, sigma: 10, q: 5": quantized(normal(100, 10), 5),
    "distribution: log_normal, mu: 0, sigma: 0.5": exp(normal(0, 0.5)),
    "distribution: q_log_normal, mu: 3, sigma: 0.3, q: 1": quantized(exp(normal(3, 0.3)), 1),
    "distribution: beta, a: 2, b: 5": even(0, 1),
    "distribution: q_beta, a: 2, b: 5, q: 0.1": quantized(even(0, 1), 0.1),
    "distribution: q_beta, a: 2, b: 5": quantized(even(0, 1), 1),
}


def check_draws(parameter, drawn):
    """Check that a parameter allows what its source draws and, where it lists levels, nothing else."""
    if parameter.type_name == "float" and parameter.step is None:
        assert parameter.low == pytest.approx(min(drawn), rel=0.01, abs=0.01)
        assert parameter.high == pytest.approx(max(drawn), rel=0.01, abs=0.01)
        assert parameter.low <= min(drawn) + 1e-9
        assert max(drawn) <= parameter.high + 1e-9
        return
    levels = np.array([float(level) for level in parameter.levels])
    assert {round(value, 9) for value in drawn} == {round(level, 9) for level in levels.tolist()}
    assert all(type(level) is int for level in parameter.levels) == np.all(levels == levels.astype(int))


@pytest.mark.parametrize("written", DISTRIBUTIONS)
def test_a_distribution_of_wandb_allows_what_it_draws(tmp_path, monkeypatch, written):
    found = converted(tmp_path, monkeypatch, WANDB + f"parameters: {{p: {{{written}}}}}\n")
    drawn = DISTRIBUTIONS[written]((np.arange(40_000) + 0.5) / 40_000)
    check_draws(read_study("study.yaml").space["p"], [float(value) for value in drawn])
    unbounded = "normal" in written
    assert ("has no bounds" in "\n".join(found.notes)) == unbounded


@pytest.mark.parametrize(
    "distribution",
    [
        optuna.distributions.IntDistribution(1, 9),
        optuna.distributions.IntDistribution(8, 64, step=8),
        optuna.distributions.IntDistribution(1, 64, log=True),
        optuna.distributions.FloatDistribution(0.7, 0.95, step=0.05),
    ],
)
def test_a_distribution_of_optuna_allows_what_it_draws(tmp_path, monkeypatch, distribution):
    text = json.dumps({"p": json.loads(optuna.distributions.distribution_to_json(distribution))})
    converted(tmp_path, monkeypatch, text, "d.json")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = {study.ask({"p": distribution}).params["p"] for _ in range(1500)}
    check_draws(read_study("study.yaml").space["p"], [float(value) for value in drawn])

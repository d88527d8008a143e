"""Every message about a wrong file, exactly as it reads; and that there is no message without such a case."""

import ast
import os
import sys
from pathlib import Path

import numpy as np
import pytest

import autotune
from autotune import load_space
from autotune.core.expression import Expression
from autotune.core.grammar import MAX_LENGTH
from autotune.core.measurement import Estimate
from autotune.core.objective import Goal, Limit, Objective
from autotune.core.parameter import Bool, Float, Int, Ordinal, Prior, parameter_from_dict
from autotune.core.space import Space
from autotune.core.units import base_unit, parse_quantity
from autotune.engine.registry import build_engine, read_engine
from autotune.errors import SpecError
from autotune.measure.workload import Workload
from autotune.spec.catalogue import find
from autotune.spec.hooks import read_hooks
from autotune.spec.stored import StoredSpec
from autotune.spec.trust import review_space
from autotune.spec.yaml_text import MAX_BYTES, parse_text, read_text
from autotune.study.study import Study
from autotune.study.study_file import read_stored_study, read_study, review, study_from_dict
from autotune.systems.registry import build_system
from tests_study_files import ERRORS, GOOD, SERVED

GOLDEN = Path(__file__).parent / "golden"
PACKAGE = Path(autotune.__file__).parent
BATCH = "batch_size: {type: int, low: 1, high: 8, default: 2}"
DRAFT = "draft_length: {type: int, low: 0, high: 4}"
OWN = (
    "name: a\nparameters: {b: {type: bool}}\n"
    "system: {use: command, argv: [x], units: {latency: ms, rate: images/s}}\n"
    "objective: {maximize: throughput, limits: [%s]}\n"
)
VLLM = "name: a\nsystem: {use: vllm, model: m%s}\nparameters: {max_num_seqs: {type: bool}}\n"
STRANGER = """system: {use: vllm, model: evil/model, flags: {host: 0.0.0.0, max_model_len: ../x}}
parameters: {worker_cls: {type: categorical, values: [evil.Worker]}}
"""

CHANGES = {
    # expressions
    "expression_types": ("draft_length == 0 or batch_size == 1", "batch_size == 'two'"),
    "expression_operand": ("draft_length == 0 or batch_size == 1", "batch_size and true"),
    "expression_list": ("- draft_length == 0 or batch_size == 1", "- [a, b]"),
    "expression_long": ("draft_length == 0 or batch_size == 1", " or ".join(["batch_size == 1"] * 20)),
    "expression_empty": ("- draft_length == 0 or batch_size == 1", '- ""'),
    "expression_end": ("draft_length == 0 or batch_size == 1", "batch_size >="),
    "expression_deep": ("draft_length == 0 or batch_size == 1", "(" * 40 + "true" + ")" * 40),
    "expression_signs": ("draft_length == 0 or batch_size == 1", "batch_size > " + "-" * 40 + "1"),
    "expression_arguments": ("draft_length == 0 or batch_size == 1", "min(batch_size) > 1"),
    "constraint_number": ("draft_length == 0 or batch_size == 1", "batch_size + 1"),
    "constraints_text": ("\n  - draft_length == 0 or batch_size == 1", " batch_size > 1"),
    "condition_number": (DRAFT, DRAFT[:-1] + ", when: batch_size + 1}"),
    "condition_circle": (
        f"{BATCH}\n  {DRAFT}",
        "batch_size: {type: int, low: 1, high: 8, when: draft_length > 0}\n"
        "  draft_length: {type: int, low: 0, high: 4, when: batch_size > 1}",
    ),
    "condition_syntax": (DRAFT, DRAFT[:-1] + ", when: batch_size >< 1}"),
    # parameters
    "parameter_text": (DRAFT, "draft_length: 4"),
    "parameter_no_type": (DRAFT, "draft_length: {low: 0, high: 4}"),
    "parameter_lacks_low": (DRAFT, "draft_length: {type: int, high: 4}"),
    "parameter_name": ("draft_length: {", "draft-length: {"),
    "parameter_scale": (DRAFT, DRAFT[:-1] + ", scale: log3}"),
    "parameter_scale_list": (DRAFT, DRAFT[:-1] + ", scale: [log2]}"),
    "parameter_log_from_zero": (DRAFT, DRAFT[:-1] + ", scale: log2}"),
    "parameter_step_zero": (DRAFT, DRAFT[:-1] + ", step: 0}"),
    "parameter_step_tiny": (DRAFT, "draft_length: {type: float, low: 0, high: 4, step: 1e-9}"),
    "parameter_multiple": (DRAFT, DRAFT[:-1] + ", multiple_of: 0}"),
    "parameter_no_value": (DRAFT, "draft_length: {type: int, low: 1, high: 4, multiple_of: 8}"),
    "parameter_whole": (DRAFT, "draft_length: {type: int, low: 0.5, high: 4}"),
    "parameter_many": (DRAFT, "draft_length: {type: int, low: 0, high: 99999999}"),
    "parameter_finite": (DRAFT, "draft_length: {type: float, low: 0, high: inf}"),
    "default_float": (DRAFT, "draft_length: {type: float, low: 0, high: 4, default: 5}"),
    "default_bool": (DRAFT, "draft_length: {type: bool, default: yes}"),
    "default_label": (DRAFT, "draft_length: {type: categorical, values: [ngram, eagle], default: ngrm}"),
    "values_empty": (DRAFT, "draft_length: {type: ordinal, values: []}"),
    "values_twice": (DRAFT, "draft_length: {type: ordinal, values: [1, 2, 1]}"),
    "values_null": (DRAFT, "draft_length: {type: categorical, values: [~, 1]}"),
    "values_nested": (DRAFT, "draft_length: {type: ordinal, values: [1, [2]]}"),
    "prior_text": (DRAFT, DRAFT[:-1] + ", prior: 2}"),
    "prior_both": (DRAFT, DRAFT[:-1] + ", prior: {weights: {0: 1}, around: 2}}"),
    "prior_unknown": (DRAFT, DRAFT[:-1] + ", prior: {arround: 2}}"),
    "prior_around": (DRAFT, DRAFT[:-1] + ", prior: {around: low, spread: 1}}"),
    "prior_spread": (DRAFT, DRAFT[:-1] + ", prior: {around: 2, spread: 0}}"),
    "prior_outside": (DRAFT, DRAFT[:-1] + ", prior: {around: 9, spread: 1}}"),
    "prior_of_a_number": (DRAFT, DRAFT[:-1] + ", prior: {weights: {0: 1}}}"),
    "prior_of_labels": (DRAFT, "draft_length: {type: bool, prior: {around: 1, spread: 1}}"),
    "prior_weights": (DRAFT, "draft_length: {type: bool, prior: {weights: [true]}}"),
    "prior_weight": (DRAFT, "draft_length: {type: bool, prior: {weights: {true: much}}}"),
    "prior_value": (DRAFT, "draft_length: {type: bool, prior: {weights: {maybe: 2}}}"),
    "prior_twice": (DRAFT, "draft_length: {type: ordinal, values: [1, 2], prior: {weights: {1: 2, 1.0: 3}}}"),
    # derived values and lists
    "derived_list": ("constraints:", "derived: [a]\nconstraints:"),
    "derived_taken": ("constraints:", "derived: {batch_size: 2 * draft_length}\nconstraints:"),
    "derived_circle": ("constraints:", "derived: {a: b + 1, b: a + 1}\nconstraints:"),
    "derived_too_large": (
        "constraints:",
        "derived: {d0: batch_size + 1, "
        + ", ".join(f"d{i}: d{i - 1} + d{i - 1}" for i in range(1, 14))
        + "}\nconstraints:",
    ),
    "derived_unknown": ("constraints:", "derived: {a: batch_sise + 1}\nconstraints:"),
    "configurations_text": ("constraints:", "configurations: all\nconstraints:"),
    "configurations_entry": ("constraints:", "configurations: [all]\nconstraints:"),
    "configurations_none": ("constraints:", "configurations: []\nconstraints:"),
    "configurations_lack": ("constraints:", "configurations: [{batch_size: 1}]\nconstraints:"),
    "configurations_unknown": ("constraints:", "configurations: [{batch_sise: 1}]\nconstraints:"),
    "default_breaks": (f"{DRAFT}\n", "draft_length: {type: int, low: 0, high: 4, default: 3}\n"),
    "parameter_of_another_system": (DRAFT, DRAFT + "\n  batch_sise: {type: bool}"),
    # objectives
    "goal_none": ("maximize: output_throughput", "description: nothing"),
    "metric_spelled_otherwise": ("maximize: output_throughput", "minimize: ttft/p99"),
    "goal_twice": ("maximize: output_throughput", "maximize: [ttft.p99, ttft.p99]"),
    "goal_name": ("maximize: output_throughput", "maximize: output throughput"),
    "goal_list": ("maximize: output_throughput", "maximize: {a: b}"),
    "limits_text": ("limits: [ttft.p99 <= 500 ms]", "limits: ttft.p99 <= 500 ms"),
    "limit_form": ("ttft.p99 <= 500 ms", "ttft.p99 < 500 ms"),
    "limit_statistic_of_one_number": ("ttft.p99 <= 500 ms", "output_throughput.p99 <= 5"),
    "limit_unknown_unit": ("ttft.p99 <= 500 ms", "ttft.p99 <= 500 msec"),
    "limit_number": ("ttft.p99 <= 500 ms", "ttft.p99 <= fast"),
    "limit_separators": ("[ttft.p99 <= 500 ms]", "['output_throughput >= 1,000']"),
    "expression_character": ("draft_length == 0 or batch_size == 1", "batch_size ^ 2 == 1"),
    "engine_no_option": ("{use: gp, seed: 7}", "{use: sobol, scramble: true}"),
    "limit_infinite": ("ttft.p99 <= 500 ms", "ttft.p99 <= 1e999 ms"),
    # the other sections
    "stop_when_without_model": (
        "confirm: 1}\nresources: {cpus: batch_size * 2}\nengine: {use: gp, seed: 7}",
        "confirm: 1, stop_when: converged}\nengine: sobol",
    ),
    "stop_when": ("trials: 5", "trials: 5, stop_when: convergd"),
    "tracking_password": ("mlflow: none", "mlflow: 'http://ann:hunter22@mlflow:5000'"),
    "tracking_scheme": ("mlflow: none", "mlflow: 'postgres://host/db'"),
    "tracking_list": ("mlflow: none", "mlflow: [a]"),
    "tracking_copy_number": ("mlflow: none", "mlflow: none, ledger_copy: 30"),
    "tracking_copy_word": ("mlflow: none", "mlflow: none, ledger_copy: often"),
    "tracking_copy_short": ("mlflow: none", "mlflow: none, ledger_copy: 10 ms"),
    "engine_list": ("engine: {use: gp, seed: 7}", "engine: {use: [gp]}"),
    "budget_text": ("budget: {trials: 5, time: 2 h, parallel: 2, confirm: 1}", "budget: 5"),
    "budget_time_zero": ("time: 2 h", "time: 0 s"),
    "resources_unknown": ("cpus: batch_size * 2", "cpus: batch_sise * 2"),
    "system_use": ("system: {use: transformers, model: tiny}", "system: {model: tiny}"),
    "transformers_model": ("system: {use: transformers, model: tiny}", "system: {use: transformers}"),
    "transformers_dtype": ("model: tiny}", "model: tiny, dtype: float8}"),
    "transformers_text": ("model: tiny}", "model: tiny, draft_model: [a]}"),
    "transformers_memory": ("model: tiny}", "model: tiny, memory_limit: 4 s}"),
    "space_unknown": ("name: demo\n", "name: demo\nspace: vlm\n"),
    "space_file": ("name: demo\n", "name: demo\nspace: ./nowhere.yaml\n"),
    "space_circle": ("name: demo\n", "name: demo\nspace: ./study.yaml\n"),
    "space_opens": ("name: demo\n", "name: demo\nspace: ./opens.yaml\n"),
    "space_quotes": ("name: demo\n", "name: demo\nspace: ./quotes.yaml\n"),
    "space_code": ("system: {use: transformers, model: tiny}",
                   "space: ./study.yaml\nsystem: {use: transformers, model: tiny, perplexity_text: x}"),
    # workloads
    "workload_text": ("workload: {prompt_tokens: 16, output_tokens: 8}", "workload: 16"),
    "workload_arrival": ("{prompt_tokens: 16,", "{arrival: poison, prompt_tokens: 16,"),
    "workload_arrival_open": ("{prompt_tokens: 16,", "{arrival: poisson, rate: 4, prompt_tokens: 16,"),
    "workload_endpoint": ("{prompt_tokens: 16,", "{shared_prefix: {tokens: 8}, prompt_tokens: 16,"),
    "workload_mean": ("prompt_tokens: 16", "prompt_tokens: {spread: 2}"),
    "workload_least": ("prompt_tokens: 16", "prompt_tokens: 0"),
    "workload_whole": ("prompt_tokens: 16", "prompt_tokens: 1.5"),
    "workload_precision": ("{prompt_tokens: 16,", "{precision: 120 %, prompt_tokens: 16,"),
    "workload_time": ("{prompt_tokens: 16,", "{time: 0 s, prompt_tokens: 16,"),
    "workload_warmup": ("{prompt_tokens: 16,", "{warmup: long, prompt_tokens: 16,"),
    "workload_goodput": ("{prompt_tokens: 16,", "{goodput: 1 s, prompt_tokens: 16,"),
}  # fmt: skip
"""One piece of the good file is replaced."""

FILES = {
    "objective_of_a_command": b"parameters: {a: {type: bool}}\nsystem: {use: command, argv: [run]}\n",
    "confidence_unreadable": b"""parameters: {a: {type: bool}}
objective: {maximize: speed, confidence: often}
""",
    "confidence_too_low": b"""parameters: {a: {type: bool}}
objective: {maximize: speed, confidence: 40 %}
""",
    "changes_nothing": b"name: a\nsystem: {use: sglang, model: m}\nparameters:\n"
    b"  page_size: {type: ordinal, values: [1, 16]}\n  draft_length: {type: int, low: 0, high: 4}\n",
    "max_rate_without_a_search": f"{SERVED}objective: {{maximize: max_rate}}\n".encode(),
    "quality_without_a_section": (
        f"{SERVED}objective: {{maximize: goodput, limits: [quality.token_agreement >= 0.9]}}\n".encode()
    ),
    "yaml_empty": b"# nothing\n",
    "yaml_list": b"- a\n- b\n",
    "yaml_tab": b"a:\n\tb: 1\n",
    "yaml_character": b"a: \x01\n",
    "yaml_bytes": b"a: \xff\n",
    "yaml_large": b"a: " + b"x" * MAX_BYTES,
    "yaml_anchor": b"a: &x 1\nb: *x\n",
    "yaml_tag": b"a: !!python/name:os.system 1\n",
    "yaml_documents": b"a: 1\n---\nb: 2\n",
    "yaml_key": b"? [a]\n: 1\n",
    "yaml_deep": b"a: " + b"[" * 20 + b"]" * 20 + b"\n",
    "space_unknown_key": b"space: ./base.yaml\n",
    "vllm_model": b"name: a\nsystem: {use: vllm}\nparameters: {max_num_seqs: {type: bool}}\n",
    "vllm_flags": (VLLM % ", flags: [a]").encode(),
    "vllm_flag": (VLLM % ", flags: {max_num_sek: 1}").encode(),
    "limit_not_as_declared": (OWN % "latency <= 4 GiB").encode(),
    "limit_lacks_the_declared_unit": (OWN % "latency <= 500").encode(),
    "limit_in_a_unit_of_ones_own": (OWN % "rate >= 5 s").encode(),
    "limit_on_a_plain_number": (OWN % "ratio <= 0.32 ms").encode(),
    "limits_in_two_units": (OWN % "wait <= 2 s, wait >= 1 KiB").encode(),
    "units_of_a_known_metric": (OWN.replace("latency: ms", "ttft.p99: GiB") % "a <= 1").encode(),
    "units_misspelt": (OWN.replace("latency: ms", "latency: Ms") % "a <= 1").encode(),
    "vllm_flag_value": (VLLM % ", flags: {max_num_seqs: many}").encode(),
}
"""Whole files."""

OVERRIDES = {
    "set_form": "budget.trials",
    "set_yaml": "budget={",
    "set_mapping": "name.first=a",
}
"""Options of the command line over the good file."""


ONE = Space((Int("b", 1, 4),))
STORED = {"name": "chat", "space": ONE.to_dict(), "objective": {"maximize": "speed"}}


def told(*measured):
    with Study(ONE, {"maximize": "a", "limits": ["wait <= 500"]}, engine="sobol") as study:
        for metrics in measured:
            study.tell(study.ask(), metrics)


def far():
    digits = {f"d{i}": {"type": "int", "low": 0, "high": 9} for i in range(12)}
    space = Space.from_dict({"parameters": digits, "constraints": [" + ".join(digits) + " == 108"]})
    return space.sample(1, np.random.default_rng(0))


CALLS = {
    "limit_metric": lambda: Limit("", True, 1.0),
    "limit_upper": lambda: Limit("t", "<=", 1.0),
    "limit_bound": lambda: Limit("t", True, None),
    "hook_address": lambda: read_hooks({"end": ["ftp://a.example/x"]}),
    "hook_secret": lambda: read_hooks({"trial": {"url": "https://hooks.slack.com/services/T0/B0/x"}}),
    "hook_text": lambda: read_hooks({"end": "a.example"}),
    "hook_two": lambda: read_hooks({"end": [{"url": "https://a.example", "call": "a:b"}]}),
    "hook_signed_call": lambda: read_hooks({"end": [{"call": "a:b", "secret_variable": "KEY"}]}),
    "hook_folder": lambda: read_hooks({"end": [{"url": "https://a.example", "folder": "hooks"}]}),
    "hook_folder_text": lambda: read_hooks({"end": [{"call": "a:b", "folder": "a\0b"}]}),
    "trainable_absent": lambda: build_system({"use": "ray_tune", "stop": {"training_iteration": 3}}),
    "trainable_stop": lambda: build_system({"use": "ray_tune", "trainable": "a:b", "stop": {"n": "soon"}}),
    "reuse_value": lambda: build_system({"use": "vllm", "model": "m", "reuse": "maybe"}),
    "reuse_of_what_starts_afresh": lambda: build_system({"use": "command", "argv": ["x"], "reuse": True}),
    "set_stored_name": lambda: read_stored_study(STORED, ["name=other"]),
    "set_stored_space": lambda: read_stored_study(STORED, ["parameters.b.high=4"]),
    "stored_engine": lambda: StoredSpec({"engine": {"use": 3}}).engine,
    "space_of_a_stranger": lambda: review_space({}, parse_text(STRANGER, "theirs.yaml"), review),
    "api_expression_text": lambda: Expression.parse(3),
    "api_space_empty": lambda: Space(()),
    "api_space_twice": lambda: Space((Bool("a"), Bool("a"))),
    "api_space_parameters": lambda: Space.from_dict({"parameters": []}),
    "api_space_unknown": lambda: Space((Bool("a"),))["b"],
    "api_validate": lambda: Space((Int("a", 1, 4),), ("a < 3",)).validate({"a": 4}),
    "api_empty": lambda: Space((Ordinal("a", (1, 2)),), ("a > 3",)).sample(1, np.random.default_rng(0)),
    "api_not_found": far,
    "api_float_finite": lambda: Float("x", float("nan"), 1.0),
    "api_restart": lambda: Int("a", 1, 2, restart="never"),
    "api_parameter_text": lambda: parameter_from_dict("a", {"type": "bool", "unit": 3}),
    "api_goal": lambda: Goal("a b"),
    "api_objective": lambda: Objective(()),
    "api_objective_goals": lambda: Objective(("throughput",)),
    "api_space_constraints": lambda: Space((Bool("a"),), "a == true"),
    "api_space_of_names": lambda: Space(("a",)),
    "api_space_derived": lambda: Space((Bool("a"),), derived="a"),
    "api_space_configurations": lambda: Space((Bool("a"),), configurations="a"),
    "api_config": lambda: Space((Bool("a"),)).validate(5),
    "api_when": lambda: Bool("a", when=5),
    "api_load": lambda: load_space(5),
    "api_unit": lambda: base_unit("furlong"),
    "api_no_file": lambda: read_text(Path("nowhere.yaml")),
    "api_no_regular_file": lambda: read_text(Path(".")),
    "api_unreadable": lambda: read_text(Path("x" * 300)),
    "api_quantity_infinite": lambda: parse_quantity(float("inf")),
    "api_quantity_whole": lambda: parse_quantity(10**400),
    "api_quantity_type": lambda: parse_quantity([1]),
    "api_quantity_large": lambda: parse_quantity("9e307 GB"),
    "api_estimate_large": lambda: Estimate(1e308, unit="h").in_base_unit(),
    "api_unit_of_a_limit": lambda: Study(ONE, {"maximize": "a", "limits": ["ttft.p99 <= 4 GiB"]}),
    "api_unit_of_a_metric": lambda: told({"a": 1.0, "ttft.p99": Estimate(4.0, unit="GiB")}),
    "api_unit_unknown": lambda: told({"a": 1.0, "ttft.p99": {"value": 4.0, "unit": "msec"}}),
    "api_unit_against_a_plain_limit": lambda: told({"a": 1.0, "wait": Estimate(410.0, unit="ms")}),
    "api_unit_of_another_trial": lambda: told(
        {"a": 1.0, "wait": 1.0}, {"a": {"value": 1.0, "unit": "ms"}, "wait": 1.0}
    ),
    "api_quantity_huge": lambda: parse_quantity("1e999"),
    "api_engine": lambda: build_engine({"use": 3}),
    "api_engine_unknown": lambda: read_engine("gpp"),
    "api_engine_object": lambda: read_engine(5),
    "api_engine_given": lambda: build_engine({"use": "mine/1", "given": "my_engine.Mine"}),
    "api_objective_description": lambda: Objective(maximize="a", description=3),
    "api_prior_both": lambda: Prior(around=1, weights={1: 2}),
    "api_study_name": lambda: study_from_dict({"parameters": {"a": {"type": "bool"}}}),
    "api_workload": lambda: Workload.from_dict("poisson"),
    "api_system": lambda: build_system({"use": 3}),
    "api_text_large": lambda: parse_text("a: " + "x" * MAX_BYTES, "text"),
    "api_folder": lambda: Space.from_yaml("."),
    "api_find": lambda: find("objectives", "fast.yaml"),
}  # fmt: skip
"""What no file can say."""


def provoke(case, folder):
    """Return the error of a case."""
    (folder / "base.yaml").write_text("parameters: {a: {type: bool}}\ntracking: {mlflow: none}\n")
    (folder / "opens.yaml").write_text("objective: /etc/shadow\n")
    (folder / "quotes.yaml").write_text("objective: ./base.yaml\n")
    with pytest.raises(SpecError) as caught:
        act(case, folder / "study.yaml")
    return caught.value


def act(case, path):
    if case in CALLS:
        CALLS[case]()
        return
    old, new = (CHANGES | ERRORS).get(case, ("", ""))
    assert old in GOOD, old
    path.write_bytes(FILES.get(case, GOOD.replace(old, new, 1).encode()))
    read_study("study.yaml", [OVERRIDES[case]] if case in OVERRIDES else [])


@pytest.mark.parametrize("case", [*CHANGES, *FILES, *OVERRIDES, *CALLS])
def test_the_message_reads_as_agreed(case, tmp_path, monkeypatch, request):
    monkeypatch.chdir(tmp_path)
    found = f"{provoke(case, tmp_path)}\n"
    golden = GOLDEN / f"{case}.txt"
    if not golden.exists() and request.config.getoption("--write-golden"):
        golden.write_text(found)
    assert found == golden.read_text()


def readers():
    """Return the modules that read study files."""
    core = PACKAGE / "core"
    names = ("space", "space_data", "expression", "grammar", "objective", "metric", "units", "registry")
    return [
        *(core / "parameter").glob("*.py"),
        *(core / f"{name}.py" for name in names),
        *(PACKAGE / "spec").glob("*.py"),
        PACKAGE / "study" / "study_file.py",
        PACKAGE / "errors.py",
        PACKAGE / "engine" / "registry.py",
        PACKAGE / "systems" / "registry.py",
        PACKAGE / "systems" / "ray_tune.py",
        PACKAGE / "systems" / "served" / "system.py",
        PACKAGE / "systems" / "transformers" / "system.py",
    ]


def raising_lines(path):
    """Return the lines of a module where a message is written; those that pass one on do not count."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    return {
        call.lineno
        for call in calls
        if getattr(call.func, "id", "") in ("SpecError", "UnitError")
        and not (isinstance(call.args[0], ast.Attribute) and call.args[0].attr == "message")
    }


def test_no_message_is_without_a_case(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seen = set()
    plain = SpecError.__init__

    def remember(self, *args, **kwargs):
        frame = sys._getframe(1)
        seen.add((os.path.realpath(frame.f_code.co_filename), frame.f_lineno))
        plain(self, *args, **kwargs)

    monkeypatch.setattr(SpecError, "__init__", remember)
    for case in [*ERRORS, *CHANGES, *FILES, *OVERRIDES, *CALLS]:
        provoke(case, tmp_path)
    missing = sorted(
        f"{path.relative_to(PACKAGE)}:{line}"
        for path in readers()
        for line in raising_lines(path)
        if (os.path.realpath(path), line) not in seen
    )
    assert not missing, missing


def test_an_expression_may_be_as_long_as_said():
    text = "a" + " " * (MAX_LENGTH - 1)
    assert Expression.parse(text).text == "a"

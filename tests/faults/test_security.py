# ruff: noqa: E501, RUF001 - hostile text does not wrap
"""Security: hostile text runs nothing, and planted secrets appear in no output."""

import contextlib
import io
import json
import logging
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import autotune
from autotune.cli.app import _log_to_stderr
from autotune.cli.output import echo, echo_json
from autotune.core.environment import server_environment
from autotune.core.expression import Expression
from autotune.core.redact import MASK, find_secret, redact, redacted, visible
from autotune.core.redact_files import redact_file
from autotune.errors import SpecError
from autotune.executor.attempt_files import mask_files
from autotune.ledger import Ledger
from autotune.report.live import LiveView
from autotune.report.plain import JsonView, PlainView
from autotune.study.study_file import read_study
from autotune.systems.registry import build_system
from tests_shared import is_alive, wait_until

pytestmark = pytest.mark.timeout(240)

# -- text that would run, were it run ------------------------------------------------------------------

COMMANDS = [
    "touch canary", "touch${IFS}canary", "true; touch canary", "$(touch canary)", "`touch canary`",
    "| touch canary", "|| touch canary", "&& touch canary", "> canary", "x > canary", "\n touch canary \n",
    "'; touch canary; '", '"; touch canary; "', "--config=$(touch canary)", "%0atouch canary", "$0 touch canary",
]  # fmt: skip
CODE = [
    "__import__('os').system('touch canary')", "open('canary', 'w')", "exec('open(\"canary\", \"w\")')",
    "eval('open(\"canary\",\"w\")')", "().__class__.__base__.__subclasses__()", "lambda: open('canary', 'w')",
    "[open('canary', 'w') for _ in (1,)]", "(lambda f: f('canary', 'w'))(open)", "getattr(x, 'system')",
    "x.__class__.__mro__", "x if open('canary','w') else y", "f'{open(\"canary\", \"w\")}'", "x := open('canary')",
    "print(open('canary', 'w'))", "globals()", "import os", "x; import os", "x\nimport os", "@x", "yield x",
    "__builtins__['open']('canary', 'w')", "os.system('touch canary')", "x ** 9999999", "9 ** 9 ** 9 ** 9",
    "x << 99999999", "x @ y", "~x", "x and open", "min(open, 'canary')", "max(*x)", "log2(x=open)", "x[0]", "{x}",
    "'x'.format(x)", "'%s' % open('canary','w')", "x\\\n.system", "\\x5f\\x5fimport\\x5f\\x5f", "ⅰmport os", "x()",
    "None", "True if x else y", "...", "x.real", "0x10", "1_000", "1j", "b'x'", "x is y", "x in y", "not", "()",
    "{{ ''.__class__ }}", "{% import os %}", "${x}", "#{x}", "<%= x %>", "{0.__class__}", "!!python/name:os.system",
    "!!python/object/apply:os.system ['touch canary']", "!!python/object/new:os.system [touch canary]",
    "*x", "&x y", "<<: *x", "%TAG ! tag:x,2000:", "? x", "=cmd|' /C touch canary'!A0", "@SUM(1+1)*cmd",
    "';DROP TABLE trial;--", "' OR '1'='1", "'); ATTACH 'canary' AS c; --", "x' UNION SELECT load_extension('x')",
    "../../canary", "/proc/self/environ", "~/canary", "file:///canary", "//host/canary", "a/../../canary",
    "{parameters}", "{metrics_file}", "{python}", "{port}", "{run}", "{x!r}", "{x:>99999999}", "{x.y}", "{x[0]}", "{",
    "}", "{}", "{{", "%s%n", "%(x)s", "-rf", "--", "-", "-o canary", "--output=canary", "-c open('canary','w')",
    "<script>open('canary')</script>", "javascript:open('canary')", "\" onload=\"x", "<!--#exec cmd=\"touch canary\"-->",
]  # fmt: skip
UNSEEN = [
    "\x00", "a\x00b", "\x1b[2J", "\x1b]0;title\x07", "\x1b]8;;http://x\x1b\\y", "\x1b[31mred", "\x9b31m", "\r",
    "a\rb", "a\nb", "\x08\x08", "\x7f", "\u202ereversed", "\u2066x\u2069", "\ufeff", "\u200b", "é", "🚀", "\ud800",
    "a" * 5000, "(" * 150, "-" * 150, "not " * 40, "x" * 201, "\x1b[6n", "\x1bP+q544e\x1b\\", "\x1b_Gf=100;\x1b\\",
]  # fmt: skip
WORDS = [f"--set=x={text}" for text in COMMANDS] + [f"{text}.yaml" for text in CODE[:40]]
HOSTILE = [*COMMANDS, *CODE, *UNSEEN, *WORDS]
assert len(set(HOSTILE)) >= 200


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """Work in an empty folder, and look whether a canary is there at the end."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not list(tmp_path.rglob("canary*")), "something was run"
    assert not Path("/canary").exists()
    assert not Path("~/canary").expanduser().exists()


def quoted(text):
    """Return text as a YAML scalar that stands for exactly it, where YAML can write it at all."""
    return json.dumps(text, ensure_ascii=True)


PLACES = {
    "constraint": "constraints: [{text}]",
    "when": "parameters: {{x: {{type: bool}}, y: {{type: bool, when: {text}}}}}",
    "derived": "derived: {{z: {text}}}",
    "resources": "resources: {{cpus: {text}}}",
    "value": "parameters: {{x: {{type: categorical, values: [a, {text}]}}}}",
    "parameter": "parameters: {{{text}: {{type: bool}}}}",
    "name": "name: {text}",
    "experiment": "tracking: {{mlflow: none, experiment: {text}}}",
    "store": "tracking: {{mlflow: {text}}}",
    "goal": "objective: {{maximize: {text}}}",
    "limit": "objective: {{maximize: speed, limits: [{text}]}}",
    "space": "space: {text}",
    "engine": "engine: {{use: {text}}}",
    "system": "system: {{use: {text}}}",
    "unknown": "{text}: 1",
}


@pytest.mark.parametrize("part", [12, pytest.param(1, marks=pytest.mark.slow)])
def test_hostile_text_anywhere_in_a_file_runs_nothing(part, alone, record):
    """Read and checked, with the seconds of each: most is refused, the rest is data."""
    least = {
        "name": "name: hostile",
        "parameters": "parameters: {x: {type: bool}}",
        "objective": "objective: {maximize: speed}",
        "system": "system: {use: command, argv: [true]}",
        "tracking": "tracking: {mlflow: none}",
    }
    path = alone / "study.yaml"
    refused = taken = 0
    slowest = 0.0
    for first, template in enumerate(PLACES.values()):
        for text in HOSTILE[first % part :: part]:
            line = template.format(text=quoted(text))
            kept = [value for key, value in least.items() if not line.startswith(f"{key}:")]
            path.write_text("\n".join([*kept, line]) + "\n", encoding="utf-8")
            began = time.process_time()
            try:
                spec = read_study(path)
                json.dumps(spec.to_dict())
                taken += 1
            except SpecError:
                refused += 1
            slowest = max(slowest, time.process_time() - began)
    assert refused > taken > 0
    assert slowest < 5
    figure = f"{refused} refused, {taken} kept as data, 0 run; slowest {1000 * slowest:.0f} ms"
    if part == 1:
        injection = f"{len(HOSTILE)} hostile texts in {len(PLACES)} places of a study file"
        record(injection, "P10: nothing runs", figure)


# -- search spaces of strangers ------------------------------------------------------------------------

SERVED = (
    "vllm",
    "sglang",
    "llama_cpp",
    "tensorrt_llm",
    "ollama",
    "openvino",
    "triton",
    "onnxruntime",
    "transformers_serve",
)
TRIED = {
    "trust_remote_code": "true", "worker_cls": "evil.Worker", "worker_extension_cls": "evil.Extension",
    "scheduler_cls": "evil.Scheduler", "tool_parser_plugin": "/opt/evil.py", "reasoning_parser_plugin": "/opt/evil.py",
    "io_processor_plugin": "evil", "middleware": "os.system", "logits_processors": "evil.Processor",
    "model_class_overrides": "{A: evil.Model}", "model_impl": "transformers", "load_format": "evil",
    "distributed_executor_backend": "evil.Executor", "config": "/etc/evil.yaml", "host": "0.0.0.0", "port": "80",
    "uds": "/run/evil", "root_path": "/x", "ssl_keyfile": "/x", "ssl_certfile": "/x", "ssl_ca_certs": "/x",
    "allowed_local_media_path": "/", "allowed_media_domains": "evil.example", "download_dir": "/", "chat_template": "/x",
    "hf_config_path": "/x", "hf_token": "x", "api_key": "x", "otlp_traces_endpoint": "http://198.51.100.7:4317",
    "kv_transfer_config": "{kv_connector_module_path: evil}", "kv_events_config": "{endpoint: 'tcp://*:1'}",
    "data_parallel_address": "198.51.100.7", "master_addr": "198.51.100.7", "tokenizer": "evil/model",
    "lora_modules": "a=/x", "hf_overrides": "{auto_map: {AutoModel: evil.Model}}",
    "speculative_config": "{method: draft_model, model: evil/model}", "compilation_config": "{backend: evil.backend}",
    "generation_config": "/x", "tool_server": "http://198.51.100.7", "profiler_config": "{torch_profiler_dir: /}",
}  # fmt: skip


def test_a_space_of_a_stranger_runs_nothing_by_any_flag_of_any_server(alone, record, capsys, monkeypatch):
    """Every flag that is the owner's, fixed and searched, and hostile values of those that are not."""
    from autotune.cli import main
    from autotune.systems.owner_only import flag_classes

    started = []
    monkeypatch.setattr(subprocess.Popen, "__init__", lambda *args, **_: started.append(args))
    (alone / "study.yaml").write_text("space: ./theirs.yaml\nsystem: {model: mine}\n")

    def refused(use, flags="", parameter=""):
        system = f"system: {{use: {use}, flags: {{{flags}}}}}"
        (alone / "theirs.yaml").write_text(f"{system}\nparameters: {{{parameter or 'x: {type: bool}'}}}\n")
        with pytest.raises(SpecError, match="a search space may not say this"):
            read_study(alone / "study.yaml")
        return 1

    found = sum(refused("vllm", flags=f"{name}: {value}") for name, value in TRIED.items())
    for name, value in TRIED.items():
        if not value.startswith("{"):
            found += refused("vllm", parameter=f"{name}: {{type: categorical, values: [{value}]}}")
    names = [(use, name) for use in SERVED for name in flag_classes(use).owner_only]
    for use, name in names:
        found += refused(use, flags=f"{name}: 1")
        found += refused(use, parameter=f"{name}: {{type: bool}}")
    for use in SERVED:
        name = min(flag_classes(use).tunable)
        for text in [*COMMANDS, "../../canary", "http://evil/canary", "evil/canary", "~/canary"]:
            found += refused(use, parameter=f"{name}: {{type: categorical, values: [{quoted(text)}]}}")

    folder = alone / "theirs"
    folder.mkdir()
    (folder / "config.json").write_text('{"auto_map": {"AutoConfig": "evil.Config"}}')
    (folder / "evil.py").write_text("open('canary', 'w')\n")
    (alone / "study.yaml").write_text("space: ./theirs.yaml\n")
    for use in SERVED:
        (alone / "theirs.yaml").write_text(
            f"system: {{use: {use}, model: ./theirs, flags: {{trust_remote_code: true}}}}\nparameters: {{x: {{type: bool}}}}\n"
        )
        for command in (["check"], ["run", "--local"], ["measure"], ["sweep"]):
            assert main([*command, "study.yaml"]) == 2
            assert "names a model" in capsys.readouterr().err
            found += 1
    assert started == []
    record(f"search spaces of strangers: {len(TRIED)} ways into vLLM, {len(names)} flags of {len(SERVED)} servers, models with code, hostile values",
           "P10: refused by name and reason, nothing is launched", f"{found} refused, 0 processes started")  # fmt: skip


def test_a_space_of_a_stranger_opens_no_file_outside_its_folder_and_quotes_none(alone):
    theirs = alone / "theirs"
    (theirs / "below").mkdir(parents=True)
    for secret in (alone / "secret.yaml", theirs / "below" / "secret.yaml"):
        secret.write_text("planted: planted0123\n")
    (theirs / "broken.yaml").write_text("&planted0123 x\n")
    (theirs / "link.yaml").symlink_to(alone / "secret.yaml")
    (theirs / "out").symlink_to(alone)
    (theirs / "good.yaml").write_text("maximize: speed\n")
    (theirs / "base.yaml").write_text("parameters: {x: {type: bool}}\n")
    (alone / "study.yaml").write_text("space: ./theirs/s.yaml\nsystem: {use: command, argv: [echo, '{x}']}\n")
    space = theirs / "s.yaml"
    outside = [alone / "secret.yaml", "/etc/shadow", "../secret.yaml", "below/../../secret.yaml", "./link.yaml",
               "out/secret.yaml", "/no/such.yaml"]  # fmt: skip
    for key in ("objective", "space"):
        for name in outside:
            space.write_text(f"parameters: {{x: {{type: bool}}}}\n{key}: {quoted(str(name))}\n")
            with pytest.raises(
                SpecError, match=r"s.yaml:2:\d+: a search space may not name the file"
            ) as caught:
                read_study(alone / "study.yaml")
            assert "planted" not in str(caught.value)
        for name in ("below/secret.yaml", "broken.yaml"):
            space.write_text(f"parameters: {{x: {{type: bool}}}}\n{key}: {name}\n")
            with pytest.raises(SpecError, match=r"s.yaml:2:\d+: the file .* that can be read") as caught:
                read_study(alone / "study.yaml")
            assert "planted" not in str(caught.value)
    for objective in ("./good.yaml", "throughput"):
        space.write_text(f"space: ./base.yaml\nobjective: {objective}\n")
        assert read_study(alone / "study.yaml").space.names == ("x",)


DOORS = {
    "load_space": (autotune.load_space, "s.yaml"),
    "Space.from_yaml": (autotune.Space.from_yaml, "s.yaml"),
    "load_objective": (autotune.load_objective, "s.yaml"),
    "Objective.from_yaml": (autotune.Objective.from_yaml, "s.yaml"),
    "a path": (lambda name: autotune.load_space(Path(name)), "s.yaml"),
    "an absolute path": (lambda name: autotune.load_space(Path(name).resolve()), "s.yaml"),
}


@pytest.mark.parametrize("door", DOORS)
def test_a_file_that_python_reads_opens_none_outside_its_folder_and_quotes_none(
    alone, monkeypatch, door, record
):
    read, name = DOORS[door]
    theirs = alone / "theirs"
    theirs.mkdir()
    monkeypatch.chdir(theirs)
    monkeypatch.setenv("HOME", str(alone))
    table = "planted0123,y\n1,2\n"
    for folder in (alone, theirs):
        (folder / "secret.yaml").write_text("planted: planted0123\n")
        (folder / "secret.csv").write_text(table)
    (theirs / "link.yaml").symlink_to(alone / "secret.yaml")
    (theirs / "link.csv").symlink_to(alone / "secret.csv")
    (theirs / "out").symlink_to(alone)
    outside = [
        alone / "secret.yaml",
        "/etc/shadow",
        "../secret.yaml",
        "./link.yaml",
        "out/secret.yaml",
        "~/secret.yaml",
    ]
    tables = [
        "../secret.csv",
        "link.csv",
        "out/secret.csv",
        "~/secret.csv",
        "/etc/shadow",
        str(alone / "secret.csv"),
    ]
    texts = [f"{key}: {quoted(str(path))}" for key in ("objective", "space") for path in outside]
    texts += [f"space: {{table: {quoted(path)}}}" for path in tables]
    for text in texts:
        Path(name).write_text(f"{text}\nparameters: {{x: {{type: bool}}}}\n")
        with pytest.raises(SpecError, match=r"s.yaml:1:\d+: a search space may not name the file") as caught:
            read(name)
        assert "planted" not in str(caught.value)
        assert "trust_space=True" in str(caught.value)
    for text in ("objective: ./secret.yaml", "space: ./secret.yaml"):
        Path(name).write_text(f"{text}\nparameters: {{x: {{type: bool}}}}\n")
        with pytest.raises(SpecError) as caught:
            read(name)
        assert "planted" not in str(caught.value)
    (theirs / "base.yaml").write_text("parameters: {x: {type: bool}}\nobjective: throughput\n")
    Path(name).write_text("space: ./base.yaml\n")
    assert read(name)
    record(f"a stranger's file read in Python by {door}, naming files outside its folder",
           "P10: refused by line and column, nothing quoted", f"{len(texts)} of {len(texts)} refused")  # fmt: skip


def test_the_owner_says_that_a_file_may_name_others(alone):
    (alone / "base.yaml").write_text("parameters: {x: {type: bool}}\nobjective: throughput\n")
    (alone / "mine").mkdir()
    (alone / "mine" / "study.yaml").write_text(
        "space: ../base.yaml\nsystem: {use: command, argv: [echo, '{x}']}\n"
    )
    path = alone / "mine" / "study.yaml"
    assert autotune.load_space(path, trust_space=True).names == read_study(path).space.names == ("x",)
    assert autotune.load_objective(path, trust_space=True).goals
    with pytest.raises(SpecError, match=r"may not name the file '\.\./base\.yaml'"):
        autotune.load_space(path)


def test_a_space_of_a_stranger_passes_no_text_through_derived_values(alone):
    (alone / "study.yaml").write_text("space: ./theirs.yaml\nsystem: {use: vllm, model: my/model}\n")
    text = quoted("""'{"backend":"evil.module.fn"}'""")
    (alone / "theirs.yaml").write_text(
        "parameters: {max_num_seqs: {type: int, low: 8, high: 64, powers_of: 2, default: 8}}\n"
        f"derived: {{x: {text}, compilation_config: x}}\nobjective: throughput\n"
    )
    with pytest.raises(SpecError, match=r"compilation_config.*a search space may not say this"):
        read_study(alone / "study.yaml")
    (alone / "study.yaml").write_text("space: ./theirs.yaml\nsystem: {use: vllm, model: my/model}\n"
                                      "derived: {x: \"'/mine'\"}\n")  # fmt: skip
    with pytest.raises(SpecError, match="compilation_config: /mine: a search space may not say this"):
        read_study(alone / "study.yaml")


KINDS = {
    "name",
    "constant",
    "neg",
    "not",
    "and",
    "or",
    "min",
    "max",
    "log2",
    *["+", "-", "*", "/", "//", "%", "==", "!=", "<", "<=", ">", ">="],
}


def kinds_of(node):
    """Return what an expression is made of."""
    return {node.kind}.union(*(kinds_of(child) for child in node.children))


def test_hostile_expressions_are_refused_or_are_arithmetic(alone, record):
    refused = 0
    for text in HOSTILE:
        try:
            found = Expression.parse(text)
        except SpecError:
            refused += 1
            continue
        assert kinds_of(found.root) <= KINDS, text
        with contextlib.suppress(SpecError):
            found.check_types({"x": "number", "y": "number"})
        with contextlib.suppress(KeyError, TypeError, ValueError):
            found.value({"x": 2, "y": 3})
    assert refused > 0.9 * len(HOSTILE)
    rng = random.Random(11)
    atoms = ["x", "y", "1", "'a'", "(", ")", "+", "**", ".", "[", "]", "__class__", "min(", ",", "not", "and", "==",
             "open", "lambda", ":", "=", "%", "//", "\\", "`", "$", "{", "}", "log2(", "-", "eval", "import"]  # fmt: skip
    for _ in range(5000):
        text = " ".join(rng.choice(atoms) for _ in range(rng.randrange(1, 12)))
        with contextlib.suppress(SpecError):
            assert kinds_of(Expression.parse(text).root) <= KINDS
    record(f"{len(HOSTILE)} hostile expressions and 5,000 random ones", "P10: parsed or refused, never evaluated",
           f"{refused} of {len(HOSTILE)} refused, 0 run")  # fmt: skip


SHOW = """
import json, os, sys
print(json.dumps([sys.argv[1:], os.environ.get("GIVEN")]))
"""


def test_hostile_values_reach_a_program_as_whole_words_or_not_at_all(alone, record):
    """Through ``command`` and ``openai_server``: argv as launched, and what the program really gets."""
    (alone / "show.py").write_text(SHOW)
    words = ["{python}", str(alone / "show.py"), "--x={x}", "{x}"]
    own = build_system({"use": "command", "argv": words, "env": {"GIVEN": "{x}"}})
    served = build_system(
        {"use": "openai_server", "command": ["true", "--port", "{port}", "--x", "{x}"], "body": {}}
    )
    refused = launched = 0
    for text in HOSTILE:
        for system in (own, served):
            failure = system.check({"x": text})
            if failure is not None:
                assert failure.cause.value == "rejected_flags"
                refused += 1
                continue
            words = list(system.command({"x": text}, alone).argv)
            assert words[-1] == text, "a value is one word"
            assert not text.startswith("-")
            launched += 1
            if system is own:
                program = words[words.index("--") + 1 :]
                done = subprocess.run(program, capture_output=True, text=True, check=True, cwd=alone)
                assert json.loads(done.stdout.splitlines()[0])[0] == [f"--x={text}", text]
    assert refused > launched > 0
    record(f"{len(HOSTILE)} hostile values in the words of a command and of a server",
           "P10: one plain word or rejected_flags, never a shell",
           f"{refused} refused, {launched} given as one word, 0 run")  # fmt: skip


@pytest.mark.parametrize("part", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_hostile_flags_of_the_command_line_run_nothing(part, alone, toy_study, record):
    """Overrides and arguments, through the program's own front door in this process."""
    from autotune.cli import main

    toy_study()
    texts = [text for text in HOSTILE if "\0" not in text][::part]  # which no command line can hold
    for text in texts:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            for args in (["check", "toy.yaml", "--set", f"parameters.speed.when={text}"],
                         ["check", "toy.yaml", "--set", text], ["status", text], ["check", text]):  # fmt: skip
                code = main([word.encode("utf-8", "replace").decode() for word in args])
                assert code in (0, 2, 3), (code, args, err.getvalue())
        assert visible(out.getvalue() + err.getvalue()) == out.getvalue() + err.getvalue(), text
    if part == 1:
        record(f"{len(texts)} hostile texts in 4 places of the command line", "P10: usage errors, nothing runs",
               f"{4 * len(texts)} answered, 0 run, 0 exit codes of an internal error")  # fmt: skip


def test_metrics_with_hostile_names_are_data(alone, toy_study):
    """A program may name its metrics as it likes: through the ledger, the terminal and MLflow's names."""
    from autotune.core.measurement import as_estimates
    from autotune.tracking.names import allowed_name

    for text in HOSTILE:
        with contextlib.suppress(SpecError):
            (name,) = as_estimates({text: 1.0})
            assert re.fullmatch(r"[A-Za-z0-9_\-. /:]+", allowed_name(name))


# -- terminals -----------------------------------------------------------------------------------------

TRICKS = "a\x1b[31mred\x1b[0m\x1b]0;owned\x07\x1b]8;;http://evil\x1b\\link\x9b2J\x1b[6n\x1bP+q\x1b\\\u202egpj.exe\x07\rover"
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def test_escape_sequences_in_a_log_do_not_reach_a_terminal(
    tmp_path, toy_study, autotune_command, autotune_here, record
):
    """A server's last words are a failure's message; shown by every command that shows it."""
    script = f"import sys; sys.stderr.write({TRICKS!r} + '\\nValueError: ' + {TRICKS!r} + '\\n'); sys.exit(1)"
    (tmp_path / "evil.py").write_text(script)
    path = tmp_path / "evil.yaml"
    path.write_text(
        "name: evil\nparameters: {x: {type: int, low: 1, high: 2}}\nobjective: {maximize: speed}\n"
        f"system: {{use: command, argv: ['{sys.executable}', ./evil.py], folder: .}}\n"
        "budget: {trials: 2, confirm: 0}\ntracking: {mlflow: none}\nengine: random\n"
    )
    shown = [autotune_command("run", "evil.yaml", "--local", check=False)]
    shown += [
        autotune_here(*command, check=False) for command in (["status"], ["best"], ["status", "--json"])
    ]
    text = "".join(done.stdout + done.stderr for done in shown)
    with Ledger.open(tmp_path / "autotune-runs" / "ledger.sqlite", read_only=True) as ledger:
        failures = [trial.failure for trial in ledger.trials("evil")]
    assert any("\x1b" in failure.message + failure.log_tail for failure in failures), "kept as it was"
    assert OBEYED.findall(text) == []
    record("a server that dies with escape sequences in its last words", "P10: none reaches a terminal",
           f"0 of {len(OBEYED.findall(TRICKS))} control characters in what 4 commands show")  # fmt: skip


def test_every_door_to_a_terminal_strips_what_it_would_obey():
    for show in (echo, lambda text, stream: PlainView(stream).message(text),
                 lambda text, stream: LiveView(stream).message(text)):  # fmt: skip
        stream = io.StringIO()
        show(TRICKS, stream)
        assert OBEYED.findall(stream.getvalue()) == []
        assert "red" in stream.getvalue()
        assert "owned" not in stream.getvalue()
    _log_to_stderr(False)  # what is logged, by whatever part, goes through a door as well
    (handler, *_) = logging.getLogger("autotune").handlers
    logged = handler.format(logging.LogRecord("autotune.x", logging.WARNING, "", 0, "%s", (TRICKS,), None))
    assert OBEYED.findall(logged) == []
    assert "red" in logged
    stream = io.StringIO()
    JsonView(stream).message(TRICKS)
    assert OBEYED.findall(stream.getvalue()) == []
    assert json.loads(stream.getvalue())["text"] == TRICKS, "a machine is told everything"
    with contextlib.redirect_stdout(io.StringIO()) as out:
        echo_json({"text": TRICKS})
    assert OBEYED.findall(out.getvalue()) == []
    assert json.loads(out.getvalue()) == {"text": TRICKS}
    assert visible("plain\ttext\nof two lines ± é 🚀") == "plain\ttext\nof two lines ± é 🚀"


# -- secrets -------------------------------------------------------------------------------------------

SECRETS = {
    "TOY_API_KEY": "sk-planted0123456789abcdefXYZ",
    "AWS_SECRET_ACCESS_KEY": "plantedAws/Secret+Key0123456789",
    "HF_TOKEN": "hf_plantedPlantedPlanted012345",
    "DB_PASSWORD": "planted-horse-battery",
    "GIVEN_TO_SERVER": "planted-and-passed-by-name",  # no name of a secret, but passed by name
}
LEAKY = """
import os, sys
import toy_openai
print("starting with", {k: v for k, v in os.environ.items()}, flush=True)
print("postgresql://admin:planted-in-url@db/x?api_key=planted-in-query", flush=True)
print("argv", sys.argv, flush=True)

class Handler(toy_openai.Handler):
    def listed(self):
        print("headers", dict(self.headers), flush=True)
        return {"data": [{"id": "leaky"}], "key": dict(self.headers)}

    def look(self, asked):
        print("asked", asked.get("prompt") or asked, dict(self.headers), flush=True)

toy_openai.serve(Handler)
"""


class Onlooker(threading.Thread):
    """Read the command lines of all processes again and again, as ``ps`` of anybody does."""

    def __init__(self):
        super().__init__(daemon=True)
        self.over, self.seen = threading.Event(), set()

    def run(self):
        while not self.over.wait(0.02):
            for entry in os.scandir("/proc"):
                if entry.name.isdigit():
                    with contextlib.suppress(OSError):
                        self.seen.add(Path(entry.path, "cmdline").read_bytes())


def planted_in(data, secrets):
    return sorted({name for name, value in secrets.items() if value.encode() in data})


@pytest.mark.slow
def test_planted_secrets_appear_nowhere(tmp_path, autotune_command, record):
    (tmp_path / "leaky.py").write_text(LEAKY)
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("Say again: sk-plantedInAPrompt0123456789\nand token=planted-in-a-prompt too\n")
    score = "import json, sys; print(len([json.loads(line) for line in sys.stdin]))"
    (tmp_path / "score.py").write_text(score)
    (tmp_path / "study.yaml").write_text(
        "name: leaky\nparameters: {top_k: {type: ordinal, values: [1, 2]}}\n"
        "objective: {maximize: output_throughput}\n"
        f"system: {{use: openai_server, command: ['{sys.executable}', {tmp_path}/leaky.py, '{{port}}'], "
        "request: [top_k], key_variable: TOY_API_KEY}\n"
        f"quality: {{prompts: ./prompts.txt, scorer: ['{sys.executable}', ./score.py]}}\n"
        "workload: {prompt_tokens: 4, output_tokens: 4, time: 2 s, warmup: 1, precision: 99 %}\n"
        "budget: {trials: 1, confirm: 0}\nengine: sobol\n"
        "tracking: {mlflow: 'sqlite:///mlflow.db'}\ndeadlines: {startup: 20 s, measure: 20 s, stop: 1 s}\n"
    )
    onlooker = Onlooker()
    onlooker.start()
    shown = [
        autotune_command(
            "run", "study.yaml", "--local", "--pass-env", "GIVEN_TO_SERVER", env=SECRETS, check=False
        )
    ]
    onlooker.over.set()
    onlooker.join()
    commands = (["status"], ["best"], ["status", "--json"], ["best", "--json"], ["sync"])
    shown += [autotune_command(*command, env=SECRETS, check=False) for command in commands]
    log = "".join(path.read_text() for path in tmp_path.rglob("server.log"))
    assert "Bearer [redacted]" in log, (
        shown[0].stdout + shown[0].stderr
    )  # it came, and the server wrote it down
    assert "'GIVEN_TO_SERVER': '[redacted]'" in log
    assert "AWS_SECRET_ACCESS_KEY" not in log, "never passed"
    everywhere = {**SECRETS, "URL": "planted-in-url", "query": "planted-in-query"}
    everywhere |= {"prompt": "sk-plantedInAPrompt0123456789", "another": "planted-in-a-prompt"}
    leaks = {}
    files = [
        path
        for path in tmp_path.rglob("*")
        if path.is_file() and path not in (tmp_path / "leaky.py", prompts)
    ]
    for path in files:
        if found := planted_in(path.read_bytes(), everywhere):
            leaks[str(path.relative_to(tmp_path))] = found
    for done in shown:
        if found := planted_in((done.stdout + done.stderr).encode(), everywhere):
            leaks[" ".join(map(str, done.args[3:]))] = found
    if found := planted_in(b"\n".join(onlooker.seen), everywhere):
        leaks["process list"] = found
    assert leaks == {}
    assert any(b"leaky.py" in line for line in onlooker.seen)
    names = {path.name for path in files}
    assert {
        "ledger.sqlite",
        "mlflow.db",
        "server.log",
        "job.json",
        "requests.jsonl",
        "answers.jsonl",
    } <= names
    with Ledger.open(tmp_path / "autotune-runs" / "ledger.sqlite", read_only=True) as ledger:
        facts = ledger.trial("leaky", 0).measurement.facts
    assert MASK in json.dumps(facts["quality"]["answers"])
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        assert database.execute("SELECT count(*) FROM runs").fetchone() == (2,)
    record(f"{len(everywhere)} secrets in environment, header, URL, prompts, answers and a server's log",
           "P11: in no ledger, log, MLflow store, JSON or process list",
           f"0 found in {len(files)} files, {len(shown)} outputs, {len(onlooker.seen)} command lines")  # fmt: skip


def test_no_link_leads_masking_out_of_an_attempts_folder(tmp_path, monkeypatch, record):
    """Symbolic and hard links to the user's own files, a folder that is one, and one named like a draft."""
    secret = "planted-canary-5ecret-value"
    monkeypatch.setenv("OPENAI_API_KEY", secret)
    home, attempt = tmp_path / "home", tmp_path / "attempt-1"
    home.mkdir()
    (attempt / "deep").mkdir(parents=True)
    own = [home / name for name in (".env", "notes.txt", "server.log", "draft")]
    for path in own:
        path.write_text(f"KEY={secret}\n")
    (attempt / "env.txt").symlink_to(home / ".env")
    (attempt / "deep" / "server.log").symlink_to(home / "server.log")
    (attempt / "home").symlink_to(home, target_is_directory=True)
    (attempt / ".mine.masking").symlink_to(home / "draft")
    os.link(home / "notes.txt", attempt / "notes.txt")
    (attempt / "mine").write_text(secret)
    mask_files(attempt)
    assert [path.read_text() for path in own] == [f"KEY={secret}\n"] * len(own)
    assert (attempt / "mine").read_text() == MASK
    assert secret not in (attempt / "notes.txt").read_text()
    record("an attempt's folder with links to the user's own files", "P11: masked inside, nothing written outside",
           f"{len(own)} of {len(own)} files of the user as they were")  # fmt: skip


def test_derived_values_that_double_end_at_once(alone, record):
    """Four hundred bytes that stand for four million additions."""
    lines = "".join(f"  d{i}: d{i - 1} + d{i - 1}\n" for i in range(1, 22))
    (alone / "study.yaml").write_text(
        "name: t\nparameters: {a: {type: int, low: 1, high: 8}}\nobjective: {maximize: speed}\n"
        f"system: {{use: command, argv: [echo]}}\nderived:\n  d0: a + a\n{lines}"
    )
    with pytest.raises(SpecError, match=r"study.yaml:14:7.* 'd7 \+ d7' stands for 1,023 names") as caught:
        read_study(alone / "study.yaml")
    record(
        "derived values that double 21 times",
        "P9 P10: refused where they pass the limit",
        str(caught.value.message).partition("14:7: ")[2],
    )


@pytest.mark.parametrize(
    "section",
    [
        "system: {use: command, argv: [serve, --api-key, planted0123]}",
        "system: {use: command, argv: [serve, --hf-token=planted0123]}",
        "system: {use: command, argv: [serve], env: {SERVICE_TOKEN: planted0123}}",
        "system: {use: command, argv: [serve, 'http://ann:planted0123@host/']}",
        "system: {use: openai_server, url: 'http://host:1/v1?api_key=planted0123'}",
        "tracking: {mlflow: 'http://ann:planted0123@host:5000'}",
        "system: {use: command, argv: [serve, sk-planted0123planted0123]}",
        "system: {use: command, argv: [serve, the-value-of-a-variable]}",
    ],
)
def test_a_study_file_with_a_secret_is_refused_before_it_is_stored(tmp_path, monkeypatch, section):
    monkeypatch.setenv("SOME_PASSWORD", "the-value-of-a-variable")
    path = tmp_path / "study.yaml"
    path.write_text(
        f"name: s\nparameters: {{x: {{type: bool}}}}\nobjective: {{maximize: speed}}\n{section}\n"
    )
    with pytest.raises(SpecError, match="this is a secret") as caught:
        read_study(path)
    assert "planted" not in str(caught.value)
    assert "the-value" not in str(caught.value)
    assert "--pass-env" in caught.value.hint


@pytest.mark.parametrize(
    "innocent",
    [
        {"argv": ["serve", "--max-tokens", "123456789", "--tokenizer", "some/model-name"]},
        {"argv": ["serve", "--token", "{token}"], "key_variable": "A_LONG_VARIABLE_NAME"},
        {"env": {"TOKENIZERS_PARALLELISM": "false-or-not"}, "tokenize": "/tokenize/here"},
        {"model": "Qwen/Qwen3-8B", "url": "http://127.0.0.1:8000/v1"},
        {"argv": ["serve", "--api-key", "EMPTY"], "mlflow": "sqlite:///mlflow.db"},
    ],
)
def test_what_only_looks_like_a_secret_is_not_refused(innocent):
    assert find_secret(innocent, {}) is None


def test_what_stays_in_an_attempts_folder_is_masked_and_json_stays_json(tmp_path):
    secret = "sk-planted0123456789"
    rows = [
        {"id": 1, "x_token": 12345678, "error": f"api_key={secret}"},
        {"argv": ["--api-key", "planted0123"]},
    ]
    path = tmp_path / "requests.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"torn": "token=planted0123')
    assert redact_file(path)
    assert not redact_file(path), "once is enough"
    lines = path.read_text().splitlines()
    assert json.loads(lines[0]) == {"id": 1, "x_token": 12345678, "error": f"api_key={MASK}"}
    assert json.loads(lines[1]) == {"argv": ["--api-key", MASK]}
    assert "planted" not in lines[2]
    raw = tmp_path / "server.log"
    raw.write_bytes(b"\xff\xfe\n" + secret.encode() + b"\n\xc3\x28")
    assert redact_file(raw)
    assert raw.read_bytes() == b"\xff\xfe\n" + MASK.encode() + b"\n\xc3\x28"
    assert redacted({"API_KEY": "planted0123", "n": 1, "deep": [{"x": f"Bearer {secret}"}]}) == {
        "API_KEY": MASK, "n": 1, "deep": [{"x": f"Bearer {MASK}"}],
    }  # fmt: skip


def test_a_variable_passed_by_name_reaches_the_server_and_is_a_secret():
    source = {"PATH": "/bin", "ODD": "planted0123", "OTHER": "x" * 20, "AUTOTUNE_PASS_ENV": "ODD, MISSING"}
    assert server_environment({}, source) == {"PATH": "/bin", "ODD": "planted0123"}
    assert redact("it is planted0123 or " + "x" * 20, source) == f"it is {MASK} or " + "x" * 20


SERVER = """
import os, signal, sys, time
def say(*_):
    print("given", os.environ["GIVEN_TO_SERVER"], flush=True)
def leave(*_):
    say()
    sys.exit()
signal.signal(signal.SIGTERM, leave)
say()
time.sleep(600)
"""
WORKER = """
import os, sys, time
from pathlib import Path
from autotune.executor.attempt_files import mask_files
from autotune.core.environment import server_environment
from autotune.executor.process import SupervisedProcess
with SupervisedProcess([sys.executable, "-c", sys.argv[1]], env=server_environment({}), log=Path("server.log"),
                       cwd=Path("."), mark="store/s/0/1", grace_s=5.0, lease_s=float(sys.argv[2])) as process:
    print(os.getpid(), process.supervisor_pid, process.pid, flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize(
    ("number", "victims", "lease_s"),
    [
        (signal.SIGKILL, ("worker",), 600.0),
        (signal.SIGKILL, ("worker", "supervisor"), 600.0),
        (signal.SIGSTOP, ("worker",), 1.0),
    ],
    ids=["killed", "killed with its supervisor", "stopped"],
)
def test_what_a_lost_worker_left_is_masked_on_its_node(tmp_path, record, number, victims, lease_s):
    passed = {"AUTOTUNE_PASS_ENV": "GIVEN_TO_SERVER", "GIVEN_TO_SERVER": SECRETS["GIVEN_TO_SERVER"]}
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, SERVER, str(lease_s)], cwd=tmp_path, env={**os.environ, **passed},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    log = tmp_path / "server.log"
    try:
        roles = ("worker", "supervisor", "server")
        pids = dict(zip(roles, map(int, worker.stdout.readline().split()), strict=True))
        wait_until(lambda: log.exists() and SECRETS["GIVEN_TO_SERVER"] in log.read_text(), 90)
        began = time.monotonic()
        for victim in victims:
            os.kill(pids[victim], number)
        wait_until(lambda: not is_alive(pids["server"]), 90)
        # a server whose two killers are not one instant may be asked to end twice, and say more
        wait_until(lambda: SECRETS["GIVEN_TO_SERVER"] not in log.read_text(), 90)
        lines = log.read_text().splitlines()
        assert f"given {MASK}" in lines
        if "supervisor" not in victims:  # which may die before it asks the server to end, or after
            assert lines == [f"given {MASK}"] * 2
    finally:
        worker.kill()
        worker.wait()
        worker.stdout.close()
    how = {signal.SIGKILL: "SIGKILL", signal.SIGSTOP: "SIGSTOP (lease of 1 s)"}[number]
    record(f"{how} of the {' and the '.join(victims)} while a server writes a secret down",
           "P11: masked where the attempt ran, without the driver",
           f"after {time.monotonic() - began:.1f} s")  # fmt: skip

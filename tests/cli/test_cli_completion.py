"""Completion as the shells do it: real bash, zsh and fish, and what they are answered."""

import contextlib
import os
import pty
import re
import select
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from autotune.cli import app, completion, main
from autotune.core.section import declared_fields
from autotune.core.space import Space
from autotune.spec import sections
from autotune.study.study import Study

FILE = """\
name: demo
space: vllm
parameters:
  batch_size: {type: int, low: 1, high: 32, default: 4}
  kv_kind:    {type: categorical, values: [fp8, int8]}
system: {use: command, command: [true]}
"""
LONGEST_S = 60  # a shell that has not answered by then hangs


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a study file, a store with two studies, and the program's command on the PATH."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text(FILE)
    (tmp_path / "autotune-runs").mkdir()
    path = tmp_path / "autotune-runs" / "ledger.sqlite"
    space = Space.from_dict({"parameters": {"x": {"type": "int", "low": 1, "high": 9}}})
    for name in ("quick", "quiet"):
        with Study(space, {"maximize": "speed"}, engine="random", name=name, path=path) as study:
            study.tell(study.ask(), {"speed": 1.0})
            study.tell(study.ask(), failure="out_of_memory")
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    program = bin_ / "autotune"
    program.write_text(f"#!{sys.executable}\nimport sys\nfrom autotune.cli import main\nsys.exit(main())\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(Path(app.__file__).parents[2]))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("AUTOTUNE_STORE", raising=False)
    return tmp_path


def answers(line):
    *before, last = completion._words(line)
    return [str(item.value) for item in completion.completions(app.cli, before, last)]


@pytest.mark.parametrize(
    ("line", "some"),
    [
        ("autotune st", ["status", "stop"]),
        ("autotune --debug st", ["status", "stop"]),
        ("autotune stop qui", ["quick", "quiet"]),
        ("autotune submit --fol", ["--follow"]),
        ("autotune status qui", ["quick", "quiet"]),
        ("autotune status --fol", ["--follow"]),
        ("autotune resume quick --confirm-trial ", ["0"]),
        ("autotune measure study.yaml --config batch", ["batch_size="]),
        ("autotune measure study.yaml --config max_num_s", ["max_num_seqs="]),
        ("autotune measure study.yaml --config kv_kind=", ["kv_kind=fp8", "kv_kind=int8"]),
        ("autotune run study.yaml --set bu", ["budget."]),
        ("autotune run study.yaml --set budget.tr", ["budget.trials="]),
        ("autotune run study.yaml --set parameters.batch_size.hi", ["parameters.batch_size.high="]),
        ("autotune run study.yaml --set space=sgl", ["space=sglang"]),
        ("autotune run study.yaml --set objective=th", ["objective=throughput"]),
        ("autotune run study.yaml --set system.use=vl", ["system.use=vllm"]),
        ("autotune list spa", ["spaces"]),
        ("autotune flags vl", ["vllm"]),
        ("autotune completion b", ["bash"]),
        ("autotune export quick --as vl", ["vllm-yaml"]),
        ("autotune export quick --as docker", ["docker-compose"]),
        ("autotune export quick --as op", ["optuna"]),
        ("autotune export quick --as=docker", ["--as=docker-compose"]),
        ("autotune run study.yaml --set=budget.tr", ["--set=budget.trials="]),
        ("autotune measure study.yaml --config=kv_kind=", ["--config=kv_kind=fp8", "--config=kv_kind=int8"]),
        ("autotune status --store=autotune-runs qui", ["quick", "quiet"]),
        ("autotune init m --goal lat", ["latency", "latency_throughput"]),
        ("autotune init m --workload=c", ["--workload=chat", "--workload=code"]),
        ("autotune run m --system tr", ["transformers", "triton"]),
        ("autotune new ", ["engine", "metric", "system"]),
        ("autotune measure nowhere.yaml --config a", []),
        ("autotune status --store nowhere ", []),
    ],
)
@pytest.mark.usefixtures("folder")
def test_a_word_has_its_completions(line, some):
    assert sorted(answers(line)) == some


@pytest.mark.parametrize("damage", [b"", b"no ledger at all", b"SQLite format 3\0 and no more"])
def test_a_damaged_ledger_completes_nothing(folder, damage):
    (folder / "autotune-runs" / "ledger.sqlite").write_bytes(damage)
    assert answers("autotune status ") == []


def test_keys_are_those_of_the_typed_reader():
    from autotune.core.deadlines import Deadlines
    from autotune.measure.quality.section import Quality
    from autotune.measure.workload import Workload

    kinds = {
        "budget": sections.Budget,
        "resources": sections.Resources,
        "tracking": sections.Tracking,
        "workload": Workload,
        "deadlines": Deadlines,
        "quality": Quality,
    }
    for name, kind in kinds.items():
        assert set(completion.SECTIONS[name]) == {item.key for item in declared_fields(kind)}


def test_choices_are_those_of_the_starter():
    from autotune.init.choose import CANDIDATES
    from autotune.init.goals import GOALS
    from autotune.init.workloads import LOADS

    assert {"goal": GOALS, "workload": tuple(LOADS), "system": tuple(CANDIDATES)} == completion.CHOICES


def test_every_command_that_names_a_study_completes_it():
    context = app.cli.make_context("autotune", [], resilient_parsing=True)
    for name in app.cli.list_commands(context):
        for parameter in app.cli.get_command(context, name).params:
            if parameter.human_readable_name.upper().startswith(("STUDY", "STUDIES")):
                assert parameter.name in completion.COMPLETERS, (name, parameter.name)


def test_an_answer_loads_nothing_heavy(folder):
    heavy = ("numpy", "torch", "ray", "mlflow", "scipy", "plotly", "pandas", "jinja2")
    for line in (
        "autotune ",
        "autotune status ",
        "autotune measure study.yaml --config ",
        "autotune run x --set b",
    ):
        code = (
            "import sys; from autotune.cli import main; main()\n"
            f"found = [n for n in {heavy!r} if n in sys.modules]; assert not found, found"
        )
        env = {**os.environ, completion.VARIABLE: "bash", "COMP_LINE": line, "COMP_POINT": str(len(line))}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=env
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("plain\t")


def test_the_script_of_each_shell_is_printed(capsys):
    for shell in ("bash", "zsh", "fish"):
        assert main(["completion", shell]) == 0
        assert "_AUTOTUNE_COMPLETE" in capsys.readouterr().out
    assert main(["completion", "csh"]) == 2


class Shell:
    """An interactive shell on a pseudo-terminal, typed to as a person does."""

    def __init__(self, argv, env):
        pid, self.fd = pty.fork()
        if pid == 0:
            os.execvpe(argv[0], argv, {**os.environ, **env})
        self.pid, self.text = pid, ""

    def type(self, keys):
        os.write(self.fd, keys.encode())

    def wait_for(self, pattern):
        """Return the match of a pattern in what the terminal has shown since the last one."""
        while not (found := re.search(pattern, self.text)):
            ready, _, _ = select.select([self.fd], [], [], LONGEST_S)
            assert ready, f"nothing more after {self.text!r}"
            part = os.read(self.fd, 65536).decode(errors="replace")
            self.text += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[=>]|\r", "", part)
            self.text = re.sub(r"[^\x08]\x08", "", self.text)  # zsh takes back what it has drawn
        self.text = self.text[found.end() :]
        return found

    def close(self):
        with contextlib.suppress(OSError):
            self.type("\x03\x04")
            os.close(self.fd)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)


SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], 'eval "$(autotune completion bash)"'),
    "zsh": (["zsh", "-f", "-i"], 'eval "$(autotune completion zsh)"'),
}


@pytest.mark.parametrize("name", ["bash", "zsh"])
@pytest.mark.usefixtures("folder")
def test_a_real_shell_completes_what_is_typed(name):
    if shutil.which(name) is None:
        pytest.skip(f"no {name} here")
    argv, load = SHELLS[name]
    shell = Shell(argv, {"PS1": "$ ", "TERM": "xterm", "INPUTRC": "/dev/null"})
    try:
        shell.wait_for(r"\$ ")
        shell.type(f"{load}; echo loaded-$((1+1))\n")
        shell.wait_for("loaded-2")
        for typed, completed in (
            ("autotune stat", "autotune status "),
            ("autotune status quic", "autotune status quick "),
            ("autotune measure study.yaml --config batch", "--config batch_size="),
            ("autotune measure study.yaml --config kv_kind=in", "--config kv_kind=int8 "),
            ("autotune run study.yaml --set budget.tri", "--set budget.trials="),
            ("autotune export quick --as=dock", "--as=docker-compose "),
            ("autotune run study.yaml --set=budget.tri", "--set=budget.trials="),
            ("autotune measure study.yaml --config=kv_kind=in", "--config=kv_kind=int8 "),
            ("autotune run stu", "autotune run study.yaml "),
        ):
            shell.type(f"{typed}\t")
            shell.wait_for(re.escape(completed.strip()))
            shell.type("4")  # right behind a "=", and behind a space elsewhere
            shell.wait_for("^4" if completed.endswith("=") else "^ 4")
            shell.type("\x15echo end-$((1+1))\n")
            shell.wait_for("end-2")
    finally:
        shell.close()


HOSTILE = (
    "$(touch x)",
    "two words",
    "it's",
    "`touch y`",
    'say "hi"',
    "back\\slash",
    "a=b c",
    "m@n o",
    "~root",
    "z;!w",
)


def test_a_shell_runs_nothing_of_a_name_that_it_completes(folder):
    path = folder / "autotune-runs" / "ledger.sqlite"
    space = Space.from_dict({"parameters": {"x": {"type": "int", "low": 1, "high": 9}}})
    for name in (*HOSTILE, "linebreak", "tabname"):
        Study(space, {"maximize": "speed"}, engine="random", name=name, path=path).close()
    with closing(sqlite3.connect(path)) as older:  # when names could have them
        older.execute("UPDATE study SET name = 'line\nbreak' WHERE name = 'linebreak'")
        older.execute("UPDATE study SET name = 'tab\tname' WHERE name = 'tabname'")
        older.commit()
    assert answers("autotune status li") == answers("autotune status ta") == []
    (folder / "bin" / "shown").write_text('#!/bin/sh\nprintf "<%s>" "$@"; echo\n')
    (folder / "bin" / "shown").chmod(0o755)
    shell = Shell(SHELLS["bash"][0], {"PS1": "$ ", "TERM": "xterm", "INPUTRC": "/dev/null", "COLUMNS": "200"})
    try:
        shell.wait_for(r"\$ ")
        shell.type(f"bind 'set enable-bracketed-paste off'; {SHELLS['bash'][1]}; echo loaded-$((1+1))\n")
        shell.wait_for("loaded-2")
        for typed, name in (
            *((re.sub(r"([$(`~;])", r"\\\1", name[:2]), name) for name in HOSTILE),
            ("two\\ ", "two words"), ("'two ", "two words"), ("'it", "it's"), ('"it', "it's"),
            ("a=", "a=b c"), ("'$", "$(touch x)"), ('"sa', 'say "hi"'), ("'a=", "a=b c"), ("m@", "m@n o"),
            ("'z", "z;!w"),
        ):  # fmt: skip
            shell.type(f"autotune status {typed}\t\x01shown \x05\n")
            assert shell.wait_for(r"\n<autotune>(.*)\n")[1] == f"<status><{name}>", typed
    finally:
        shell.close()
    assert not (folder / "x").exists()
    assert not (folder / "y").exists()


@pytest.mark.usefixtures("folder")
def test_a_real_fish_completes_what_is_typed():
    if shutil.which("fish") is None:
        pytest.skip("no fish here")

    def complete(line):
        code = f"autotune completion fish | source; complete -C '{line}'"
        done = subprocess.run(
            ["fish", "-N", "-c", code], capture_output=True, text=True, check=True, timeout=LONGEST_S
        )
        return [text.partition("\t")[0] for text in done.stdout.splitlines()]

    assert complete("autotune stat") == ["status"]
    assert complete("autotune status qui") == ["quick", "quiet"]
    assert complete("autotune measure study.yaml --config batch") == ["batch_size="]
    assert "study.yaml" in complete("autotune run stu")

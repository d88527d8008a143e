"""The command system: words, environment, the forms of metrics, causes of failures, nothing left behind."""

import json
import os
import sys
from dataclasses import replace

import pytest

from autotune.cli import main
from autotune.core.measurement import Cause, Estimate
from autotune.errors import EnvironmentProblem, SpecError
from autotune.study.study_file import read_study
from autotune.systems.command import CommandSystem
from autotune.systems.own import launch
from autotune.systems.own.diagnosis import diagnose
from autotune.systems.own.last_object import last_object
from autotune.systems.registry import SystemConfig, build_system
from tests_shared import is_alive, wait_until

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def command(tmp_path, attempt):
    """Run a Python program as a command system."""

    def run(code, config=None, words=(), goal="speed", measure_s=30.0, **section):
        (tmp_path / "bench.py").write_text(code)
        argv = [sys.executable, "bench.py", *words]
        system = {"use": "command", "argv": argv, "folder": str(tmp_path), **section}
        return attempt(system, config, goal, measure_s)

    return run


ECHO = "import json, os, sys; print('loading {'); print(json.dumps({'speed': 2.5, 'words': len(sys.argv)}))"


def argv_of(config, argv=("prog",), **section):
    system = build_system({"use": "command", "argv": list(argv), "folder": "/", **section})
    found = system.deploy(config)
    assert found.folder == "/"
    return replace(found, folder="").words


def test_parameters_are_whole_words_and_the_rest_names_and_values():
    argv = ["prog", "-b", "{batch_size}", "--mode={mode}", "{parameters}"]
    config = {"batch_size": 4, "mode": "fast", "draft_length": 2, "share": 0.123456789, "eager": True}
    assert argv_of(config, argv) == [
        "prog", "-b", "4", "--mode=fast", "--draft-length", "2", "--share", "0.123456789", "--eager", "true",
    ]  # fmt: skip
    assert argv_of({"bits": 8}) == ["prog", "--bits", "8"]


def test_a_folder_with_a_null_character_is_one_error_at_every_door(tmp_path, capsys):
    text = """
parameters: {x: {type: int, low: 1, high: 9, default: 6}}
system: {use: command, argv: [echo], metrics: stdout, folder: "sub\\0"}
objective: {maximize: speed}
"""
    (tmp_path / "study.yaml").write_text(text)
    for words in (["check"], ["run", "--local"], ["submit", "--address", "http://h:1"]):
        assert main([words[0], str(tmp_path / "study.yaml"), *words[1:]]) == 2
        error = capsys.readouterr().err
        assert (
            error == f"error: {tmp_path}/study.yaml:3:63: a null character is not allowed, found 'sub\\x00'\n"
        )
    section = {"use": "command", "argv": ["echo"], "folder": "sub\0"}
    with pytest.raises(EnvironmentProblem, match="no such folder"):
        SystemConfig.from_dict(section, tmp_path).built.check_machine()


def test_words_of_inactive_parameters_are_left_out_with_their_flag():
    argv = ["prog", "--draft", "{draft}", "--bits={bits}", "--verbose", "last"]
    assert argv_of({"bits": 4}, argv) == ["prog", "--bits=4", "--verbose", "last"]
    assert argv_of({"draft": 2}, argv) == ["prog", "--draft", "2", "--verbose", "last"]


def test_the_environment_is_filled_in_too():
    words = argv_of({"threads": 2}, ["prog"], env={"OMP_NUM_THREADS": "{threads}", "OTHER": "{absent}"})
    assert words == ["env", "OMP_NUM_THREADS=2", "prog"]


@pytest.mark.parametrize("value", ["a\nb", "--flag", "$(touch x)", "a;b", "", "`x`", "{run}"])
def test_values_that_a_command_should_not_see_are_refused(value):
    failure = CommandSystem.from_dict({"argv": ["prog"]}).check({"mode": value})
    assert failure.cause is Cause.REJECTED_FLAGS
    assert repr(value) in failure.message


def test_a_parameter_that_changes_nothing_is_an_error_of_the_file(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text(
        "parameters:\n  bits: {type: ordinal, values: [4, 8]}\n  unused: {type: bool}\n"
        "system: {use: command, argv: [prog, '{bits}']}\nobjective: {maximize: speed}\n"
    )
    with pytest.raises(
        SpecError, match=r"s.yaml:3:3: unknown parameter 'unused' for command\s+name it in argv"
    ):
        read_study(path)


def test_the_metrics_are_the_last_object_printed(command):
    measurement = command(ECHO, {"bits": 4})
    assert measurement.failure is None
    assert measurement.metrics["speed"] == Estimate(2.5)
    assert measurement.metrics["words"].value == 3
    assert "loading" not in "".join(measurement.artifacts)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"a": 1}\nnoise {"a": 2} noise\n{"a":\n 3, "b": {"c": 1}}\n\n', {"a": 3, "b": {"c": 1}}),
        ('{"a": 1}\n{"a": ', {"a": 1}),
        ('{"a": 1} tail\n', None),
        ("[1]\n", None),
        ("", None),
    ],
)
def test_objects_are_found_among_anything_else(text, found):
    assert last_object(text) == found


def test_every_form_of_a_metric_is_read(command):
    code = (
        "import json; print(json.dumps({'speed': [1.0, 2.0, 3.0], 'memory': 4,"
        "'tail': {'value': 0.5, 'sem': 0.1, 'n': 9, 'unit': 's'}}))"
    )
    metrics = command(code, units={"speed": "tokens/s", "tail": "ms"}).metrics
    assert metrics["speed"].value == 2.0
    assert metrics["speed"].sem == pytest.approx(3**-0.5)
    assert (metrics["speed"].n, metrics["speed"].unit) == (3, "tokens/s")
    assert metrics["tail"] == Estimate(0.5, 0.1, 9, "s")
    assert metrics["memory"].unit == "1"


def test_a_metrics_file_is_named_to_the_program(command):
    code = "import sys; print('{}')\n"
    code += "assert sys.argv[1] == '--metrics-file'; open(sys.argv[2], 'w').write('{\"speed\": 7}')"
    assert command(code, metrics="file").metrics["speed"].value == 7


def test_repeats_give_the_error_between_runs(command):
    measurement = command("import sys; print({'speed': 1}) if 0 else print('{\"speed\": %s}' % sys.argv[1])",
                          words=["{run}"], repeats="3")  # fmt: skip
    speed = measurement.metrics["speed"]
    assert (speed.value, speed.n) == (2.0, 3)
    assert speed.sem == pytest.approx(3**-0.5)


@pytest.mark.parametrize(
    ("code", "cause", "said"),
    [
        ("raise MemoryError('needs 9 GiB')", Cause.OUT_OF_MEMORY, "MemoryError: needs 9 GiB"),
        ("import sys; sys.exit('OutOfMemoryError: CUDA out of memory')", Cause.OUT_OF_MEMORY, "CUDA out"),
        ("raise ValueError('odd head size')", Cause.CRASHED_UNDER_LOAD, "ValueError: odd head size"),
        ("import os; os.kill(os.getpid(), 11)", Cause.CRASHED_UNDER_LOAD, "SIGSEGV"),
        ("import os; os.kill(os.getpid(), 9)", Cause.CRASHED_UNDER_LOAD, "SIGKILL"),
        ("import sys; sys.exit(7)", Cause.REJECTED_FLAGS, "ended with 7"),
        ("import sys; sys.exit('this is bad luck')", Cause.THROTTLED, "bad luck"),
        ("print('done')", Cause.WRONG_OUTPUT, "no JSON object of metrics; it ends with 'done'"),
        ("print('{\"speed\": NaN}')", Cause.WRONG_OUTPUT, "the goal 'speed' is nan, not a finite"),
        ("print('{\"speed\": 1e999}')", Cause.WRONG_OUTPUT, "the goal 'speed' is inf, not a finite"),
        ("print('{\"speed\": 1e308}')", Cause.WRONG_OUTPUT, "the goal 'speed' is 1e+308, beyond 1e+150"),
        ("print('{\"speed\": 1' + '0' * 400 + '}')", Cause.WRONG_OUTPUT, "1e400, which is too large"),
        ("print('{\"speed\": [' + '1e308,' * 50 + '1e308]}')", Cause.WRONG_OUTPUT, "1e+308, beyond"),
        ("print('{\"speed\": {\"value\": 1, \"sem\": -1e200}}')", Cause.WRONG_OUTPUT, "-1e+200, beyond"),
        ("print('{\"speed\": \"4\"}')", Cause.WRONG_OUTPUT, "must be a number, found '4'"),
        ("print('{\"speed\": {\"sem\": 1}}')", Cause.WRONG_OUTPUT, "an estimate needs a value"),
        ("print('{\"sped\": 1}')", Cause.WRONG_OUTPUT, "the goal 'speed'; reported: sped; did you mean"),
        ("print('{}')", Cause.WRONG_OUTPUT, "empty"),
    ],
)  # fmt: skip
def test_what_went_wrong_has_its_cause(command, code, cause, said):
    failure = command(code, failures={"7": "rejected_flags", "bad luck": "throttled"}).failure
    assert failure.cause is cause
    assert said in failure.message


def test_a_program_that_takes_too_long_is_ended_with_its_children(command, tmp_path):
    code = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "open('pids', 'w').write(f'{os.getpid()} {child.pid}')\ntime.sleep(600)\n"
    )
    failure = command(code, measure_s=3.0).failure
    assert failure.cause is Cause.TIME_LIMIT
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2
    wait_until(lambda: not any(is_alive(pid) for pid in pids), 90)


def test_its_environment_has_no_secrets_and_its_output_is_not_in_the_log(command, tmp_path, monkeypatch):
    monkeypatch.setenv("MY_API_KEY", "very-secret-value")
    code = (
        "import json, os, sys; print('log line', file=sys.stderr)\n"
        "print(json.dumps({'speed': len([name for name in os.environ if 'KEY' in name])}))"
    )
    measurement = command(code)
    assert measurement.metrics["speed"].value == 0
    with open(measurement.artifacts["server.log"]) as file:
        assert file.read() == "log line\n"


def test_a_kill_is_memory_only_if_the_kernel_says_so(tmp_path, monkeypatch, capsys):
    counts = iter([0, 1])
    monkeypatch.setattr(launch, "oom_kills", lambda: next(counts))
    code = launch._run([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], tmp_path / "out")
    log = capsys.readouterr().err
    assert code == 137
    assert diagnose(code, log, {}).cause is Cause.OUT_OF_MEMORY
    assert diagnose(code, "", {}).cause is Cause.CRASHED_UNDER_LOAD
    assert diagnose(-9, "", {"137": Cause.OUT_OF_MEMORY}).cause is Cause.OUT_OF_MEMORY


def test_the_kernels_counters_are_read(tmp_path):
    file = tmp_path / "memory.events"
    file.write_text("low 0\noom 3\noom_kill 2\noom_group_kill 0\n")
    assert launch._counter(file) == 2
    assert launch._counter(tmp_path / "absent") == 0
    assert launch.oom_kills() >= 0


def test_an_absent_program_is_an_error_of_the_environment(tmp_path):
    system = CommandSystem.from_dict({"argv": ["no-such-program"], "folder": str(tmp_path)})
    with pytest.raises(EnvironmentProblem, match="no program 'no-such-program'"):
        system.prepare(print)
    assert diagnose(127, "cannot start ./x: [Errno 2]", {}).cause is Cause.OWNER_MISTAKE


@pytest.mark.parametrize(
    ("section", "said", "path"),
    [
        ({}, "needs argv", ("argv",)),
        ({"argv": "prog -x"}, "argv must be a list of program and arguments, found", ("argv",)),
        ({"argv": ["prog", "{a.b}"]}, "plain parameter name", ("argv", 1)),
        ({"argv": ["prog", "{a"]}, "cannot read the braces", ("argv", 1)),
        ({"argv": ["prog"], "env": {"A": "{b!r}"}}, "plain parameter name", ("env", "A")),
        ({"argv": ["prog"], "metrics": "stdin"}, "unknown metrics", ("metrics",)),
        ({"argv": ["prog"], "repeats": "0"}, "at least 1", ("repeats",)),
        ({"argv": ["prog"], "failures": {"1": "oom"}}, "unknown cause 'oom'", ("failures", "1")),
        ({"argv": ["prog"], "shell": "true"}, "unknown key 'shell'", ("shell",)),
    ],
)
def test_mistakes_of_the_section_are_located(section, said, path):
    with pytest.raises(SpecError, match=said) as caught:
        CommandSystem.from_dict(section)
    assert caught.value.path == path


def test_the_section_is_read_back():
    section = {"argv": ["prog"], "env": {"A": "1"}, "metrics": "file", "folder": "/", "repeats": 2,
               "failures": {"7": "rejected_flags"}, "units": {"speed": "B/s"}}  # fmt: skip
    assert CommandSystem.from_dict(section).to_dict() == section


def test_relative_folders_start_from_the_study_file(tmp_path):
    (tmp_path / "s.yaml").write_text(
        "parameters:\n  bits: {type: ordinal, values: [4, 8]}\n"
        "system: {use: command, argv: [prog], folder: sub}\nobjective: {maximize: speed}\n"
    )
    spec = read_study(os.path.relpath(tmp_path / "s.yaml"))
    assert spec.system.section["folder"] == str(tmp_path / "sub")
    assert json.dumps(spec.to_dict())


def test_a_metric_that_is_not_finite_is_left_out_where_nothing_needs_it(command):
    measurement = command('print(\'{"speed": 4, "power": NaN}\')')
    assert set(measurement.metrics) == {"speed"}
    assert measurement.facts["not_finite"] == {"power": "nan"}


def test_a_metric_that_is_too_large_is_left_out_where_nothing_needs_it(command):
    measurement = command('print(\'{"speed": 4, "power": -1e200}\')')
    assert set(measurement.metrics) == {"speed"}
    assert measurement.facts["not_finite"] == {"power": "-1e+200, beyond 1e+150"}


def test_a_nul_in_what_a_program_prints_leaves_no_secret_in_its_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bench.py").write_text(
        "import json, sys\n"
        "for out in (sys.stdout, sys.stderr):\n"
        "    out.buffer.write(b'\\0 token=planted-secret \\xff\\n' + b'hf_' + b'b' * 40 + b'\\n')\n"
        "    out.flush()\n"
        "print(json.dumps({'speed': 2.5}))\n"
    )
    (tmp_path / "study.yaml").write_text(
        "name: nul\n"
        "parameters: {n: {type: int, low: 1, high: 2, default: 1}}\n"
        f"system: {{use: command, argv: [{sys.executable}, bench.py], folder: {tmp_path}}}\n"
        "objective: {maximize: speed}\n"
        "budget: {trials: 1, confirm: 0}\n"
        "tracking: {mlflow: none}\n"
    )
    assert main(["run", "study.yaml", "--local", "-q"]) == 0
    printed = [
        path.read_bytes()
        for name in ("stdout-*.txt", "server.log")
        for path in (tmp_path / "autotune-runs").rglob(name)
    ]
    assert len(printed) >= 2
    for data in printed:
        assert b"planted-secret" not in data
        assert b"bbbbbbbb" not in data
        assert data.startswith(b"\0 token=[redacted] \xff\n")

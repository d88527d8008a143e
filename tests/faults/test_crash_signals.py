"""Signals and lost terminals: the study stops cleanly or goes on, and nothing is left behind."""

import os
import pty
import signal
import subprocess
import sys
import time

import click
import pytest
from driver import Moments, prepare
from nodes import Nodes

from autotune.cli import main
from autotune.cli.output import SAID
from autotune.core.trial import TrialState
from autotune.errors import LedgerError
from autotune.ledger import Ledger
from autotune.report.plain import PlainView
from autotune.study import run
from tests_shared import wait_until, works_in

pytestmark = pytest.mark.timeout(300)

SLOW_ATTEMPTS = "{use: toy, step: '0.05'}"
PROMISE = "P1 P3 P5"


class Place:
    """Where the attempts of a run go: options of the command, its environment, words for the table."""

    def __init__(self, name, options, env):
        self.name, self.options, self.env = name, options, env
        self.suffix = "" if name == "local" else ", on a Ray cluster"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    nodes = Nodes(tmp_path_factory.mktemp("cluster"), namespaces=False)
    nodes.join()
    yield nodes
    nodes.close()


@pytest.fixture(params=["local", pytest.param("ray", marks=pytest.mark.slow)])
def place(request):
    """Both places; the cluster is started for the tests that run."""
    if request.param == "local":
        return Place("local", ["--local"], {})
    return Place("ray", [], request.getfixturevalue("cluster").env)


def ledger_of(tmp_path):
    return Ledger.open(tmp_path / "autotune-runs" / "ledger.sqlite", read_only=True)


def states(tmp_path):
    if not (tmp_path / "autotune-runs" / "ledger.sqlite").exists():
        return []
    try:
        with ledger_of(tmp_path) as ledger:
            return [trial.state for trial in ledger.trials("toy")]
    except LedgerError as error:  # its maker has only just begun
        if "is empty" not in str(error):
            raise
        return []


def start(tmp_path, place, *, terminal=None, **options):
    """Start a run; with a terminal, as the leader of its session, as a shell's window would have it."""
    streams = {"stdin": terminal, "stdout": terminal, "stderr": terminal}
    if terminal is None:
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    argv = [sys.executable, "-m", "autotune", "run", "toy.yaml", *place.options]
    env = {**os.environ, **place.env}
    return subprocess.Popen(argv, cwd=tmp_path, env=env, text=terminal is None, **streams, **options)


def second_runs(tmp_path):
    """Return whether the first trial is measured and the second one runs its server."""
    found = states(tmp_path)
    scratch = tmp_path / "autotune-runs" / "toy" / "trial-0001" / "attempt-1" / "process.json"
    return len(found) >= 2 and found[0] is TrialState.COMPLETED and scratch.exists()


def measuring(tmp_path):
    """Wait until the second trial runs its server."""
    wait_until(lambda: second_runs(tmp_path), 120)


def resumes(tmp_path, autotune_command, place):
    """Go on to the end; the trial that was measured must not have changed."""
    with ledger_of(tmp_path) as ledger:
        first = ledger.trial("toy", 0)
    less = ["--set", "budget.trials=2", "--set", "budget.confirm=0"]
    autotune_command("resume", "toy", *place.options, *less, env=place.env)
    with ledger_of(tmp_path) as ledger:
        assert ledger.trial("toy", 0) == first
        assert [t.state for t in ledger.trials("toy")] == [TrialState.COMPLETED] * 2
        assert [a.state for a in ledger.attempts("toy", 1)] == ["LOST", "DONE"]


def ended_cleanly(tmp_path):
    wait_until(lambda: not works_in(tmp_path / "autotune-runs"), 90)
    with ledger_of(tmp_path) as ledger:
        assert ledger.study("toy").state == "INTERRUPTED"
        assert ledger.trial("toy", 1).state is TrialState.WAITING


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["SIGINT", "SIGTERM", "SIGHUP"],
)
def test_one_signal_stops_the_study_and_a_resume_goes_on(
    tmp_path, toy_study, autotune_command, record, place, name
):
    toy_study(system=SLOW_ATTEMPTS)
    with start(tmp_path, place) as process:
        measuring(tmp_path)
        began = time.monotonic()
        process.send_signal(signal.Signals[name])
        process.stdout.read()
        process.wait(60)
        seconds = time.monotonic() - began
    assert process.returncode == 5
    ended_cleanly(tmp_path)
    resumes(tmp_path, autotune_command, place)
    figure = f"exit code 5 after {seconds:.1f} s, 0 processes left, 1 attempt repeated"
    record(f"{name} while a trial is measured{place.suffix}", PROMISE, figure)


@pytest.mark.slow
def test_a_second_ctrl_c_does_not_wait_for_a_server_that_will_not_go(
    tmp_path, toy_study, autotune_command, record, place
):
    path = toy_study(system=SLOW_ATTEMPTS, deadlines="{startup: 60 s, measure: 60 s, stop: 15 s}")
    text = path.read_text()
    path.write_text(text.replace("system:", "  mode: {type: categorical, values: [stubborn]}\nsystem:"))
    with start(tmp_path, place) as process:
        scratch = tmp_path / "autotune-runs" / "toy" / "trial-0000" / "attempt-1" / "process.json"
        wait_until(scratch.exists, 120)
        time.sleep(1.0)  # until its server ignores TERM
        process.send_signal(signal.SIGINT)
        time.sleep(1.0)
        assert process.poll() is None  # the server has its grace
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        said = process.stdout.read()
        process.wait(60)
        seconds = time.monotonic() - began
    assert process.returncode == 5
    assert "nothing that was measured is lost" in said
    assert works_in(tmp_path / "autotune-runs"), "it waited for the whole grace"
    # what is left of the grace is the supervisor's; then nothing lives
    wait_until(lambda: not works_in(tmp_path / "autotune-runs"), 60)
    again = autotune_command("status", "toy")
    assert "toy" in again.stdout
    record(
        f"SIGINT twice, the server ignoring SIGTERM for a grace of 15 s{place.suffix}",
        PROMISE,
        f"exit code 5 {seconds:.1f} s after the second, 0 processes left after the grace",
    )


@pytest.mark.slow
def test_a_closed_terminal_stops_the_study_and_a_resume_goes_on(
    tmp_path, toy_study, autotune_command, record, place
):
    toy_study(system=SLOW_ATTEMPTS)
    master, slave = pty.openpty()
    process = start(
        tmp_path, place, terminal=slave, start_new_session=True, preexec_fn=lambda: _own_terminal(0)
    )
    os.close(slave)
    drained = os.dup(master)
    os.set_blocking(drained, False)

    def read():
        try:
            while os.read(drained, 65536):
                pass
        except BlockingIOError:
            return

    deadline = time.monotonic() + 120
    while not second_runs(tmp_path):
        read()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    began = time.monotonic()
    os.close(master)
    os.close(drained)  # the window is gone: SIGHUP, and every write fails
    process.wait(60)
    seconds = time.monotonic() - began
    assert process.returncode == 5
    ended_cleanly(tmp_path)
    resumes(tmp_path, autotune_command, place)
    figure = f"exit code 5 after {seconds:.1f} s, 0 processes left, 1 attempt repeated"
    record(f"the terminal closed while a trial is measured{place.suffix}", PROMISE, figure)


@pytest.mark.slow
def test_under_nohup_the_study_outlives_its_terminal(tmp_path, toy_study, record, place):
    toy_study(budget="{trials: 3, confirm: 0}")
    process = start(tmp_path, place, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    with process:
        measuring(tmp_path)
        process.send_signal(signal.SIGHUP)
        process.stdout.read()
        process.wait(120)
    assert process.returncode == 0
    assert states(tmp_path) == [TrialState.COMPLETED] * 3
    record(f"SIGHUP under nohup{place.suffix}", "P9", "ignored: the study went on to its end")


@pytest.mark.slow
def test_a_reader_that_goes_away_does_not_end_the_study(tmp_path, toy_study, record, place):
    toy_study(budget="{trials: 3, confirm: 0}")
    with start(tmp_path, place) as process:
        assert process.stdout.readline()
        process.stdout.close()  # as `| head -1` does
        process.wait(120)
    assert states(tmp_path) == [TrialState.COMPLETED] * 3
    assert process.returncode == 0
    record(
        f"standard output's reader gone after one line{place.suffix}", "P6", "the study went on to its end"
    )


def _own_terminal(number):
    import fcntl
    import termios

    fcntl.ioctl(number, termios.TIOCSCTTY, 0)


LONG_LINE = """
import os, pathlib, sys, time
print("a-" * 24_000, flush=True)
sys.stderr.write("a-" * 24_000 + "\\n")
sys.stderr.flush()
time.sleep(1)  # until the worker has seen it start: what dies before is launched once more
pathlib.Path("running").write_text(str(os.getpid()))
time.sleep(600)
"""


def test_a_program_that_prints_one_long_line_is_killed_and_the_run_is_stopped(tmp_path, record, place):
    (tmp_path / "bench.py").write_text(LONG_LINE)
    (tmp_path / "toy.yaml").write_text(
        "name: toy\nparameters: {a: {type: int, low: 1, high: 40}}\n"
        f"system: {{use: command, argv: [{sys.executable}, bench.py]}}\n"
        "objective: {maximize: speed}\ntracking: {mlflow: none}\n"
    )
    running = tmp_path / "running"
    with start(tmp_path, place) as process:
        wait_until(lambda: running.exists() and running.read_text(), 120)
        first = int(running.read_text())
        running.unlink()
        os.kill(first, signal.SIGKILL)
        wait_until(running.exists, 120)  # the next trial's
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        said = process.stdout.read()
        process.wait(60)
        seconds = time.monotonic() - began
    assert process.returncode == 5
    ended_cleanly(tmp_path)
    assert "trial 0: crashed_under_load: ended by SIGKILL: a-a-" in said
    assert max(map(len, said.splitlines())) < 700
    record(
        f"a program prints one line of 48 kB and is killed; then SIGTERM of the run{place.suffix}",
        PROMISE,
        f"exit code 5 after {seconds:.1f} s, 0 processes left",
    )


@pytest.mark.parametrize(
    "moment",
    [
        (Moments, "close"),
        (run, "keep_deployment"),
        (run, "write_at_end"),
        (PlainView, "finish"),
        (PlainView, "close"),
    ],
    ids=lambda moment: moment[1],
)
def test_a_signal_once_all_is_measured_ends_the_run_as_ever(tmp_path, monkeypatch, capsys, record, moment):
    prepare(tmp_path / "study", "sobol")
    monkeypatch.setattr(run, "build_executor", lambda _spec, _local: Moments(seconds=0.0))
    place, name = moment
    ordinary, sent = getattr(place, name), []

    def told(*args, **options):
        if not sent:
            sent.append(signal.raise_signal(signal.SIGTERM))
        return ordinary(*args, **options)

    monkeypatch.setattr(place, name, told)
    code = main(
        ["run", str(tmp_path / "study" / "study.yaml"), "--local", "--store", str(tmp_path / "store")]
    )
    said = capsys.readouterr().out
    assert code == 0, said
    assert "best: trial" in said
    assert "next:" in said
    assert "autotune best crash" in said
    with Ledger.open(tmp_path / "store" / "ledger.sqlite", read_only=True) as ledger:
        assert ledger.study("crash").state == "COMPLETED"
    record(f"SIGTERM after the last trial ({name})", "P1 P9", "exit code 0 with the summary")


@pytest.mark.parametrize("command", ["run", "sweep", "verify"])
def test_a_signal_while_a_command_that_has_said_all_returns_does_not_change_its_exit_code(
    tmp_path, monkeypatch, capsys, record, command
):
    prepare(tmp_path / "study", "sobol")
    monkeypatch.setattr(run, "build_executor", lambda _spec, _local: Moments(seconds=0.0))
    ordinary = click.Context.__exit__

    ran = []

    def late(context, *raised):  # the handlers of the run are those of the command again by then
        if context.info_name == command and SAID in context.meta and not ran:
            ran.append(context)
            signal.raise_signal(signal.SIGTERM)
        ordinary(context, *raised)

    monkeypatch.setattr(click.Context, "__exit__", late)
    monkeypatch.chdir(tmp_path)  # where the sweep leaves its table
    study, store = str(tmp_path / "study" / "study.yaml"), ["--store", str(tmp_path / "store")]
    if command == "verify":
        assert main(["run", study, "--local", *store]) == 0
    words = {
        "run": [study, "--local"],
        "sweep": [study, "--sample", "3"],
        "verify": ["--launches", "1", "--local"],
    }
    assert main([command, *words[command], *store]) in (0, 1)
    assert ran
    assert "stopped" not in capsys.readouterr().err
    record(f"SIGTERM while `{command}` that has said all returns", "P9", "its exit code")


def test_a_signal_after_the_last_line_of_a_run_does_not_change_its_exit_code(tmp_path, toy_study, record):
    toy_study(budget="{trials: 1, confirm: 0}")
    with start(tmp_path, Place("local", ["--local"], {})) as process:
        said = []
        for line in process.stdout:
            said.append(line)
            if line.startswith("next:"):
                process.send_signal(signal.SIGTERM)
                break
        said += process.stdout.readlines()
        process.wait(60)
    assert process.returncode == 0, "".join(said)
    record("SIGTERM after the last line of a run", "P9", "exit code 0")

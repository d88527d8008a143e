"""How other systems stop a study on its own Ray: systemd, Slurm, Docker, a driver that is killed."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from nodes import PROMPT

from autotune.core.trial import Reason, TrialState
from autotune.errors import LedgerError
from autotune.ledger import Ledger
from tests_shared import descendants, is_alive, name_of, wait_until, works_in
from tests_study_files import TOY_STUDY

pytestmark = pytest.mark.timeout(400)

SLOW_ATTEMPTS = "{use: toy, step: '0.05'}"
LEFT_S = 20  # Ray's own agents look for their parent once a minute


class Run:
    """A study in a session of its own, and every process that it ever had."""

    def __init__(self, folder, *, prefix=(), options=(), env=None):
        self.folder, self.runs = folder, folder / "autotune-runs"
        self.log = folder / "study.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, "-m", "autotune", "run", "toy.yaml", *options],
                cwd=folder, env={**os.environ, **PROMPT, **(env or {})}, stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self.known = set()

    def look(self):
        """Return the processes of the study now."""
        found = {self.process.pid, *descendants(self.process.pid)}
        self.known |= found
        return found

    def named(self, text):
        return [pid for pid in self.look() if text in name_of(pid)]

    def trials(self):
        try:
            with self.ledger() as ledger:
                return ledger.trials("toy")
        except LedgerError:  # not there yet, or only just begun
            return []

    def ledger(self):
        return Ledger.open(self.runs / "ledger.sqlite", read_only=True)

    def state(self):
        try:
            with self.ledger() as ledger:
                return ledger.study("toy").state
        except (LedgerError, AttributeError):
            return ""

    def wait_for(self, condition, seconds=180):
        def now():
            assert self.process.poll() is None, self.log.read_text()
            return condition()

        return wait_until(now, seconds)

    def server_of(self, trial):
        return (self.runs / "toy" / f"trial-{trial:04d}" / "attempt-1" / "process.json").exists()

    def ended(self, code):
        """Wait for the end; return how long it took until then, and until nothing was left."""
        began = time.monotonic()
        self.look()
        found = self.process.wait(120)
        took = time.monotonic() - began
        assert found == code, self.log.read_text()
        wait_until(lambda: not works_in(self.runs), LEFT_S)
        wait_until(lambda: not [pid for pid in self.known if is_alive(pid)], LEFT_S)
        return took


@pytest.fixture
def study(tmp_path, toy_study):
    """Start a study; whatever is left of it ends with the test."""
    started = []

    def start(*, prefix=(), options=(), env=None, text=TOY_STUDY, **changes):
        toy_study(text, **{"system": SLOW_ATTEMPTS, **changes})
        started.append(Run(tmp_path, prefix=prefix, options=options, env=env))
        return started[-1]

    yield start
    for run in started:
        for pid in run.look():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        run.process.wait()


def put_back(run):
    """The ledger is consistent: what was measured stays, what ran waits again."""
    with run.ledger() as ledger:
        assert ledger.study("toy").state == "INTERRUPTED"
        states = [trial.state for trial in ledger.trials("toy")]
        attempts = [a.state for t in ledger.trials("toy") for a in ledger.attempts("toy", t.number)]
    assert TrialState.RUNNING not in states
    assert "RUNNING" not in attempts
    assert states[0] is TrialState.COMPLETED
    assert TrialState.WAITING in states


@pytest.mark.slow
def test_sigterm_to_the_driver_ends_the_study_as_without_ray(study, record):
    run = study()
    run.wait_for(lambda: run.server_of(1))
    run.process.send_signal(signal.SIGTERM)
    took = run.ended(5)
    put_back(run)
    said = run.log.read_text()
    assert "`autotune resume toy` goes on" in said
    assert "***" not in said  # no native dump
    record("SIGTERM while a trial is measured, on a local Ray", "P1 P3 P5", f"exit code 5 after {took:.1f} s")


@pytest.mark.slow
def test_sigterm_while_ray_ends_after_the_last_trial(study, record):
    run = study(budget="{trials: 2, confirm: 0}")
    run.wait_for(lambda: run.state() == "COMPLETED")
    run.process.send_signal(signal.SIGTERM)
    took = run.ended(0)
    said = run.log.read_text()
    assert "best: trial" in said
    assert "autotune best toy" in said
    record(
        "SIGTERM after the last trial, on a local Ray",
        "P1 P9",
        f"the summary, exit code 0 after {took:.1f} s",
    )


@pytest.mark.slow
def test_sigterm_to_every_process_at_once_as_systemd_and_slurm_send_it(study, record):
    run = study()
    run.wait_for(lambda: run.server_of(1))
    for pid in run.look():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    took = run.ended(5)
    put_back(run)
    record(
        "SIGTERM to the driver, Ray's processes, workers, supervisors and servers at once",
        "P1 P3 P5", f"exit code 5 after {took:.1f} s, 0 processes left",
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("everybody", [False, True], ids=["driver", "everybody"])
@pytest.mark.parametrize("part", ["gcs_server", "raylet/raylet"])
def test_sigterm_while_ray_is_started(study, record, part, everybody):
    run = study()
    run.wait_for(lambda: run.named(part))
    for pid in run.look() if everybody else [run.process.pid]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    took = run.ended(5)
    assert "stopped" in run.log.read_text()
    assert run.trials() == []
    whom = "every process" if everybody else "the driver"
    record(
        f"SIGTERM to {whom} while Ray is started ({part.rpartition('/')[2]} runs)",
        "P1 P5", f"exit code 5 after {took:.1f} s, 0 processes left",
    )  # fmt: skip


@pytest.mark.slow
def test_sigterm_before_anything_has_begun(study):
    run = study()
    run.wait_for((run.runs / "ledger.sqlite").exists)
    run.process.send_signal(signal.SIGTERM)
    run.ended(5)
    assert run.state() in ("", "CREATED")


@pytest.mark.slow
@pytest.mark.parametrize("options", [["--local"], []], ids=["local", "ray"])
def test_sigterm_while_a_winner_is_confirmed(study, record, options):
    run = study(options=options, budget="{trials: 2, confirm: 3}")

    def confirms():
        trials = run.trials()
        return any(
            t.suggestion.reason is Reason.CONFIRM
            and t.state is TrialState.RUNNING
            and run.server_of(t.number)
            for t in trials
        )

    run.wait_for(confirms)
    run.process.send_signal(signal.SIGTERM)
    run.ended(5)
    put_back(run)
    where = "in child processes" if options else "on a local Ray"
    record(
        f"SIGTERM while the winner is confirmed, {where}", "P1 P3 P5", "exit code 5, its trial waits again"
    )


@pytest.mark.slow
@pytest.mark.parametrize("options", [["--local"], []], ids=["local", "ray"])
def test_sigterm_while_a_study_ends(study, options):
    run = study(options=options, budget="{trials: 1, confirm: 0}")
    run.wait_for(lambda: run.trials() and run.trials()[0].state.finished)
    with contextlib.suppress(ProcessLookupError):
        run.process.send_signal(signal.SIGTERM)
    code = run.process.wait(60)
    assert code in (0, 5), run.log.read_text()
    assert run.state() == ("COMPLETED" if code == 0 else run.state())
    assert run.trials()[0].state is TrialState.COMPLETED
    run.ended(code)


@pytest.mark.slow
@pytest.mark.parametrize("options", [["--local"], []], ids=["local", "ray"])
@pytest.mark.parametrize("mode", ["never_ready", "stubborn"])
def test_sigterm_while_a_trial_starts_or_stops(study, mode, options):
    """One whose server is never ready, and one whose server lets its grace pass after it was measured."""
    text = TOY_STUDY.replace("system:", f"  mode: {{type: categorical, values: [{mode}]}}\nsystem:")
    run = study(options=options, text=text, deadlines="{startup: 60 s, measure: 60 s, stop: 4 s}")
    measured = run.runs / "toy" / "trial-0000" / "attempt-1" / "requests.jsonl"
    run.wait_for(measured.exists if mode == "stubborn" else lambda: run.server_of(0))
    run.process.send_signal(signal.SIGTERM)
    run.ended(5)
    with run.ledger() as ledger:
        assert ledger.study("toy").state == "INTERRUPTED"
        assert ledger.trial("toy", 0).state in (TrialState.WAITING, TrialState.COMPLETED)


@pytest.mark.slow
def test_nothing_of_a_local_ray_outlives_a_driver_that_is_killed_while_the_head_hangs(
    study, tmp_path, record
):
    run = study(env={"HOME": str(tmp_path)})  # whoever runs the tests may have a token of their own
    run.wait_for(lambda: run.server_of(0))
    listening = listeners(run.look())
    assert len(listening) >= 5  # head, manager, agent, driver, workers
    assert [address for address in listening if "127.0.0.1" not in address] == []
    token = tmp_path / ".ray" / "auth_token"
    assert token.stat().st_mode & 0o777 == 0o600
    (head,) = run.named("/gcs_server ")
    os.kill(head, signal.SIGSTOP)
    run.process.kill()
    took = run.ended(-signal.SIGKILL)
    assert took < LEFT_S
    record(
        "SIGKILL of the driver while the head of its local Ray is stopped",
        "P5: no process of Ray or of the trial is left", f"0 of {len(run.known)} left",
    )  # fmt: skip
    record(
        "what a local Ray leaves open to others",
        "P11: its ports are those of the loopback address, its token is its user's",
        f"{len(listening)} ports, none on a network; token of mode 600",
    )


def listeners(pids):
    """Return the addresses at which processes listen."""
    told = subprocess.run(["ss", "-ltnp"], capture_output=True, text=True, check=True).stdout
    return [
        line.split()[3]
        for line in told.splitlines()
        if {int(pid) for pid in re.findall(r"pid=(\d+)", line)} & set(pids)
    ]


@pytest.mark.slow
def test_a_full_shared_memory_disturbs_no_study_on_a_local_ray(study, record):
    """A container has 64 MiB of it unless told otherwise; others may have filled them."""
    probe = ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/dev/shm"]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("no mount namespaces here")
    fill = 'mount -t tmpfs -o size=64m none /dev/shm; cat /dev/zero >/dev/shm/full 2>&1; exec "$0" "$@"'
    run = study(prefix=["unshare", "--mount", "sh", "-c", fill], budget="{trials: 2, confirm: 0}")
    run.ended(0)
    assert [trial.state for trial in run.trials()] == [TrialState.COMPLETED] * 2
    record("/dev/shm of 64 MiB, full, when a local Ray starts", "P9", "2 of 2 trials measured")


def namespaces_work():
    probe = ["unshare", "--pid", "--fork", "--mount-proc", "true"]
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(
    "options", [["--local"], pytest.param([], marks=pytest.mark.slow)], ids=["local", "ray"]
)
def test_as_process_1_of_a_container_it_hears_signals_and_reaps(study, record, options):
    if not namespaces_work():
        pytest.skip("no process namespaces here")
    run = study(prefix=["unshare", "--pid", "--fork", "--mount-proc"], options=options)
    run.wait_for(lambda: run.server_of(2))
    below = run.look()
    (first,) = [pid for pid in below if inner_pid(pid) == 1]
    assert [pid for pid in below if not is_alive(pid)] == []  # orphans of two trials that were reaped
    os.kill(first, signal.SIGTERM)
    took = run.ended(5)
    put_back(run)
    where = "in child processes" if options else "on a local Ray"
    record(
        f"SIGTERM to process 1 of a container, {where}", "P1 P3 P5",
        f"exit code 5 after {took:.1f} s, 0 zombies after 2 trials",
    )  # fmt: skip


def inner_pid(pid):
    """Return the id of a process in its own namespace."""
    try:
        with open(f"/proc/{pid}/status") as file:
            return next(int(line.split()[-1]) for line in file if line.startswith("NSpid:"))
    except OSError:
        return 0


def test_a_cluster_that_a_driver_only_visits_is_left_alone(tmp_path):
    """The guard of one cluster ends its processes, by mark or by title and log, and nobody else's."""
    from autotune.executor.ray_guard import MARK, members, session_of

    session = tmp_path / "session_2026-01-01_00-00-00_1_2" / "logs"
    session.mkdir(parents=True)
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    titled = ["ray::Agent", *sleep[1:]]
    with (session / "agent.log").open("wb") as log:
        started = {
            "marked": subprocess.Popen(sleep, env={**os.environ, MARK: "one"}, stdout=log),
            "titled": subprocess.Popen(titled, executable=sys.executable, stdout=log),
            "visitor": subprocess.Popen(sleep, stdout=log),
            "other": subprocess.Popen(sleep, env={**os.environ, MARK: "two"}),
        }
    try:
        pids = {name: process.pid for name, process in started.items()}
        wait_until(lambda: all(b"sleep" in name_of(pid).encode() for pid in pids.values()), 90)
        assert session_of("one") == f"{session.parent}/"
        found = set(members("one", session_of("one")))
        assert found & set(pids.values()) == {pids["marked"], pids["titled"]}
    finally:
        for process in started.values():
            process.kill()
            process.wait()

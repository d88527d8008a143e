"""The supervisor and the worker: nothing outlives its parent, every failure has its cause."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from autotune.core.deadlines import Deadlines
from autotune.core.environment import own_environment, server_environment
from autotune.core.measurement import SHORTFALL, Cause
from autotune.errors import EnvironmentProblem
from autotune.executor.base import Job
from autotune.executor.local import LocalExecutor
from autotune.executor.proc import namespace, owner_lives, start_time
from autotune.executor.process import SupervisedProcess, SupervisorLost
from autotune.executor.supervisor import sweep_leftovers
from autotune.executor.worker import mark_prefix, run_attempt
from tests_jobs import job_of, results_of
from tests_shared import is_alive, wait_until, works_in
from toy_system import ToySystem

pytestmark = pytest.mark.timeout(300)

STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pids = [os.getpid()]
child = os.fork()
if child == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        open("grandchild", "w").write(str(os.getpid()))
        time.sleep(600)
    os._exit(0)
open("started.tmp", "w").write(str(os.getpid()))
os.rename("started.tmp", "started")
time.sleep(600)
"""


def supervised(tmp_path, code, **options):
    settings = {
        "env": server_environment({}),
        "log": tmp_path / "log",
        "cwd": tmp_path,
        "mark": "store/s/0/1",
    }
    return SupervisedProcess([sys.executable, "-c", code], **{**settings, "grace_s": 0.3, **options})


def pids_of(tmp_path):
    wait_until(lambda: (tmp_path / "started").exists() and (tmp_path / "grandchild").exists(), 90)
    wait_until((tmp_path / "grandchild").read_text, 90)
    return [int((tmp_path / name).read_text()) for name in ("started", "grandchild")]


def test_exit_codes_and_output_are_kept(tmp_path):
    with supervised(
        tmp_path, "import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)"
    ) as process:
        assert wait_until(process.poll, 10) == 7
    assert set((tmp_path / "log").read_text().split()) == {"out", "err"}
    with supervised(tmp_path, "import os; os.kill(os.getpid(), 11)") as process:
        assert wait_until(process.poll, 10) == -11


def test_a_program_that_is_not_there_is_an_environment_problem(tmp_path):
    with pytest.raises(EnvironmentProblem, match="cannot start /no/such/program"):
        SupervisedProcess(["/no/such/program"], env={}, log=tmp_path / "log", cwd=tmp_path, mark="m/s/0/1")


def test_stop_leaves_nothing_of_a_stubborn_tree(tmp_path):
    process = supervised(tmp_path, STUBBORN)
    pids = pids_of(tmp_path)
    process.stop()
    process.stop()
    assert not any(is_alive(pid) for pid in pids)
    wait_until(lambda: not is_alive(process.supervisor_pid), 90)


@pytest.mark.parametrize("victim", ["parent", "guard", "supervisor", "server"])
def test_killing_any_one_process_leaves_none(tmp_path, victim):
    code = f"""
import os, sys, time
from pathlib import Path
from autotune.core.environment import own_environment, server_environment
from autotune.executor.process import SupervisedProcess
p = SupervisedProcess([sys.executable, "-c", {STUBBORN!r}], env=server_environment({{}}), log=Path("log"),
                      cwd=Path("."), mark="store/s/0/1", grace_s=0.3)
print(p.guard_pid, p.supervisor_pid, p.pid, flush=True)
while p.poll() is None:
    time.sleep(0.05)
p.stop()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as parent:
        guard, supervisor, server = map(int, parent.stdout.readline().split())
        pids = [*pids_of(tmp_path), guard, supervisor, server]
        victims = {"parent": parent.pid, "guard": guard, "supervisor": supervisor, "server": server}
        os.kill(victims[victim], signal.SIGKILL)
        if victim == "guard":  # nothing depends on it: the server goes on, and ends with its worker
            time.sleep(0.3)
            assert is_alive(supervisor)
            assert is_alive(server)
            parent.kill()
        wait_until(lambda: not any(is_alive(pid) for pid in pids), 90)


@pytest.mark.parametrize("first", ["server", "supervisor"])
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_signal_to_every_process_is_no_fault_of_the_server(tmp_path, first, name):
    """As systemd, Slurm and a closed terminal send it; the order is nobody's choice."""
    code = "open('started', 'w').write('1'); import time; time.sleep(600)"
    with supervised(tmp_path, code) as process:
        wait_until((tmp_path / "started").exists, 90)
        pids = [process.pid, process.supervisor_pid]
        for pid in pids if first == "server" else reversed(pids):
            os.kill(pid, signal.Signals[name])
        with pytest.raises(SupervisorLost, match=f"it got {name}"):
            wait_until(lambda: process.poll() is not None, 90)


def test_a_sweep_touches_only_what_carries_the_mark(tmp_path):
    foreign = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    process = supervised(tmp_path, "import time; time.sleep(600)", mark="other/s/0/1")
    try:
        assert sweep_leftovers("store/s/") == []
        assert is_alive(foreign.pid)
        assert process.poll() is None
    finally:
        process.stop()
        foreign.kill()
        foreign.wait()


@pytest.mark.parametrize("kind", ["batches", "function"])
def test_an_attempt_tells_who_used_the_processors_and_how_it_ran(tmp_path, kind):
    (tmp_path / "program.py").write_text(
        "import time\n\ndef measure(config):\n"
        "    end = time.process_time() + 0.5\n"
        "    while time.process_time() < end:\n        pass\n    return {'output_throughput': 1.0}\n"
    )
    function = {"use": "function", "call": "program.py:measure", "folder": str(tmp_path)}
    load = {"prompt_tokens": "4", "output_tokens": "4", "time": "0.5 s", "precision": "0.0001 %"}
    job = job_of(tmp_path, workload=load, system=function if kind == "function" else {"use": "toy"})
    deadlines = Deadlines(startup_s=60, measure_s=60, stop_s=0.5)
    found = run_attempt(replace(job, deadlines=deadlines)).measurement
    assert found.failure is None, found.failure
    cores = found.facts["measured"]["machine"]["cores"]
    assert cores["cpus"] == len(os.sched_getaffinity(0))
    assert cores["others"] >= 0
    if kind == "function":  # the program has ended by then, and is ours all the same
        assert cores["own"] * found.facts["phases_s"]["measure"] >= 0.4
    assert {"nice", "oom_score_adj"} <= set(found.facts["priority"])


def test_a_measurement_says_how_far_it_is_from_the_precision_asked_for(tmp_path):
    workload = {"prompt_tokens": "4", "output_tokens": "4", "time": "0.3 s", "warmup": "1"}
    asked = {"50 %": False, "0.0001 %": True}
    for precision, short in asked.items():
        job = job_of(tmp_path / precision.split()[0], workload={**workload, "precision": precision})
        found = run_attempt(replace(job, deadlines=Deadlines(60, 60, 0.5))).measurement
        assert (SHORTFALL in found.facts) == short, (precision, found.facts.get("measured"))
        if short:
            assert f"where {precision} was asked" in found.facts[SHORTFALL]
            assert found.facts["measured"]["precision_reached"] is False


def test_secrets_do_not_reach_a_server():
    source = {
        "PATH": "/bin",
        "AWS_SECRET_ACCESS_KEY": "x",
        "HF_TOKEN": "y",
        "HF_HOME": "/hf",
        "CUDA_VISIBLE_DEVICES": "0",
    }
    env = server_environment({"EXTRA": "1"}, source)
    assert env == {"PATH": "/bin", "HF_HOME": "/hf", "CUDA_VISIBLE_DEVICES": "0", "EXTRA": "1"}


@pytest.mark.parametrize(
    ("mode", "cause", "text"),
    [
        ("oom", Cause.OUT_OF_MEMORY, "can't allocate memory"),
        ("bad_flag", Cause.REJECTED_FLAGS, "unsupported combination"),
        ("refused", Cause.REJECTED_FLAGS, "toy refuses"),
        ("never_ready", Cause.STARTUP_TIMEOUT, "not ready after 3 s"),
        ("dies", Cause.CRASHED_UNDER_LOAD, "ended with 3|no output"),
        ("killed", Cause.OUT_OF_MEMORY, "SIGKILL"),
        ("hangs", Cause.TIME_LIMIT, "in time"),
        ("short", Cause.WRONG_OUTPUT, "got 3 of 4 tokens"),
    ],
)
def test_every_failure_has_its_cause(tmp_path, mode, cause, text):
    import re

    result = run_attempt(job_of(tmp_path, {"mode": mode}), build=lambda _: ToySystem())
    failure = result.measurement.failure
    assert failure.cause is cause, failure
    assert re.search(text, failure.message + failure.log_tail)
    assert works_in(tmp_path) == []
    assert result.measurement.metrics == {}
    assert result.measurement.ended_ns > result.measurement.started_ns


def test_a_good_attempt_has_metrics_facts_and_files(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted")
    result = run_attempt(job_of(tmp_path), build=lambda _: ToySystem())
    measurement = result.measurement
    assert measurement.failure is None
    assert measurement.metrics["output_throughput"].value > 100
    assert measurement.metrics["memory.peak"].value == 1e6
    assert measurement.facts["system"]["secret"] == "absent"
    assert set(measurement.facts["phases_s"]) == {"hardware", "startup", "measure", "system_metrics", "stop"}
    assert set(measurement.artifacts) == {"command.txt", "requests.jsonl", "server.log"}
    assert all(Path(path).exists() for path in measurement.artifacts.values())
    assert result.key == ("s", 0, 1)
    assert works_in(tmp_path) == []


def test_a_stubborn_server_is_ended_with_the_attempt(tmp_path):
    result = run_attempt(job_of(tmp_path, {"mode": "stubborn"}), build=lambda _: ToySystem())
    assert result.measurement.failure is None
    assert works_in(tmp_path) == []


def test_our_own_mistakes_are_never_the_configurations_fault(tmp_path):
    def broken(section):
        raise ZeroDivisionError("a bug")

    failure = run_attempt(job_of(tmp_path), build=broken).measurement.failure
    assert failure.cause is Cause.WORKER_LOST
    assert "ZeroDivisionError: a bug" in failure.message
    blocked = tmp_path / "file"
    blocked.write_text("")
    failure = run_attempt(job_of(tmp_path, scratch=str(blocked / "x" / "y"))).measurement.failure
    assert not failure.cause.configuration_at_fault


def test_jobs_and_marks_are_plain_data(tmp_path):
    job = job_of(tmp_path)
    assert Job.from_dict(job.to_dict()) == job
    assert mark_prefix(job).endswith("/s/")
    elsewhere = job_of(tmp_path, scratch=str(tmp_path / "other" / "s" / "trial-0000" / "attempt-1"))
    assert mark_prefix(job) != mark_prefix(elsewhere)


def test_the_local_executor_runs_workers_and_reports_lost_ones(tmp_path):
    executor = LocalExecutor()
    executor.start()
    assert executor.capacity({"cpus": 1}) == 1
    assert executor.capacity({"gpus": 99}) == 0
    try:
        executor.submit(job_of(tmp_path))
        (result,) = results_of(executor)
        assert result.measurement.failure is None
        executor.submit(job_of(tmp_path, {"mode": "hangs"}, attempt=2))
        (worker,) = wait_until(lambda: [p for p in works_in(tmp_path) if p], 30)[:1] or [None]
        assert worker
        next(iter(executor._running.values())).process.kill()
        (lost,) = results_of(executor)
        assert lost.measurement.failure.cause is Cause.WORKER_LOST
        wait_until(lambda: works_in(tmp_path) == [], 90)
        executor.submit(job_of(tmp_path, {"mode": "hangs"}, attempt=3))
        wait_until(lambda: works_in(tmp_path), 90)
        executor.cancel()
        # a worker that is cancelled while it launches leaves the end to the supervisor
        wait_until(lambda: works_in(tmp_path) == [], 90)
        assert executor.wait(0.1) == []
    finally:
        executor.close()


def test_ended_children_are_reaped_and_the_wanted_ones_exit_code_is_told():
    code = (
        "import os, time\n"
        "from autotune.executor.proc import reap\n"
        "other, wanted = os.fork(), 0\n"
        "if other == 0: os._exit(3)\n"
        "wanted = os.fork()\n"
        "if wanted == 0: time.sleep(600)\n"
        "while True:\n"
        "    left, found = reap(other)\n"
        "    if found is not None: break\n"
        "assert (left, found) == (True, 3), (left, found)\n"
        "assert reap(wanted) == (True, None)\n"
        "os.kill(wanted, 9)\n"
        "while (found := reap(wanted)) == (True, None): pass\n"
        "assert found == (False, -9), found\n"
        "assert reap() == (False, None)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=own_environment(), timeout=240)


def test_an_owner_that_was_killed_is_gone_before_it_has_a_processor_to_end_on():
    for _ in range(20):
        with subprocess.Popen(["sleep", "60"]) as process:
            tag = f"{process.pid}:{start_time(process.pid)}:{namespace()}"
            assert owner_lives(tag)
            process.kill()
            assert owner_lives(tag) is False

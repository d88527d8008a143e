"""Processes: any one of them killed, stopped or cut off leaves nothing behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from family import ROLES

from autotune.core.environment import server_environment
from autotune.core.measurement import Cause
from autotune.errors import EnvironmentProblem
from autotune.executor.proc import descendants, owner_tag, send, start_time
from autotune.executor.process import SupervisedProcess
from autotune.executor.shared_memory import SharedMemory, remove_unheld
from autotune.executor.supervisor import MARK, OWNER, sweep_leftovers
from autotune.executor.worker import mark_prefix, run_attempt
from tests_jobs import job_of
from tests_shared import is_alive, name_of, wait_until
from toy_system import ToySystem

pytestmark = pytest.mark.timeout(200)

FAMILY = Path(__file__).with_name("family.py")
GRACE_S = 0.5
WITHIN_S = 20.0  # never waited for on a quiet machine: the figures say how long it took

WORKER = """
import os, sys
from pathlib import Path
from autotune.errors import EnvironmentProblem
from autotune.core.environment import server_environment
from autotune.executor.process import SupervisedProcess, depend_on_parent
argv, lease_s, options = [sys.executable, *sys.argv[3:]], float(sys.argv[1]), sys.argv[2]
if "parent" in options:
    depend_on_parent()
p = SupervisedProcess(argv, env=server_environment({}), log=Path("log"), cwd=Path("."), mark="store/s/0/1",
                      grace_s=0.5, lease_s=lease_s)
if "fork" in options and os.fork() == 0:  # holds the other end of the pipe, whatever becomes of the worker
    import time
    Path("holder.part").write_text(str(os.getpid()))
    Path("holder.part").rename("holder")
    time.sleep(600)
print(os.getpid(), p.guard_pid, p.supervisor_pid, p.pid, flush=True)
for line in sys.stdin:
    if line.startswith("stop"):
        p.stop()
    try:
        print(p.poll(), flush=True)
    except EnvironmentProblem as error:
        print(error.message, flush=True)
"""


class Tree:
    """A worker, its supervisor and the family of processes below it."""

    def __init__(self, folder, *, lease_s=600.0, options="", deaf=False, through=()):
        self.folder = folder
        self.worker = subprocess.Popen(
            [*through, sys.executable, "-c", WORKER, str(lease_s), options, str(FAMILY), *["deaf"] * deaf],
            cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        pids = map(int, self.worker.stdout.readline().split())
        self.pids = dict(zip(("worker", "guard", "supervisor", "server"), pids, strict=True))
        self.held = {}
        for role in ROLES:
            wait_until((folder / f"{role}.json").exists, WITHIN_S)
            self.held[role] = json.loads((folder / f"{role}.json").read_text())
            self.pids[role] = self.held[role]["pid"]
        time.sleep(
            0.4
        )  # two looks at the shared memory: a segment younger than one is found while it is held

    def say(self, text):
        """Send the worker a line; return its answer."""
        self.worker.stdin.write(text + "\n")
        self.worker.stdin.flush()
        return self.worker.stdout.readline().strip()

    def left(self, *, but=()):
        """Return what is still there: processes, ports, shared memory."""
        found = [role for role, pid in self.pids.items() if role not in but and is_alive(pid)]
        for role, held in self.held.items():
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", held["port"])) == 0:
                    found.append(f"port of {role}")
            if os.path.exists(held["segment"]):
                found.append(f"memory of {role}")
        return found

    def gone(self, *, but=()):
        """Wait until nothing is left; return after how many seconds."""
        began = time.monotonic()
        deadline = began + WITHIN_S
        while left := self.left(but=but):
            assert time.monotonic() < deadline, f"left: {left}"
            time.sleep(0.02)
        return time.monotonic() - began

    def close(self):
        for pid in self.pids.values():
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)
        for held in self.held.values():
            Path(held["segment"]).unlink(missing_ok=True)
        self.worker.kill()
        self.worker.wait()
        self.worker.stdin.close()
        self.worker.stdout.close()


@pytest.fixture
def grow(tmp_path):
    """Start trees that end with the test, also when it fails."""
    trees = []

    def start(**options):
        trees.append(Tree(tmp_path, **options))
        return trees[-1]

    yield start
    for tree in trees:
        tree.close()


PARTS = "no process, port or shared memory left"


@pytest.mark.parametrize("deaf", [False, True], ids=["hears", "deaf"])
@pytest.mark.parametrize("victim", ["worker", "supervisor", "server"])
def test_killing_one_ends_all(grow, record, victim, deaf):
    tree = grow(deaf=deaf)
    os.kill(tree.pids[victim], signal.SIGKILL)
    but = () if victim == "worker" else ("worker",)
    seconds = tree.gone(but=but)
    if victim == "supervisor":
        # never the configuration's fault: it is tried again
        assert tree.say("") == "the process supervisor ended before the server: killed"
    if victim == "server":
        assert tree.say("") == "-9"
    kind = "server of 7 processes (plain, setsid, doubly forked) that ignore SIGTERM" if deaf else (
        "server of 7 processes (plain, setsid, doubly forked, one ignores SIGTERM)"
    )  # fmt: skip
    record(f"SIGKILL of the {victim}, {kind}", f"P5: {PARTS}", f"0 of 7 left after {seconds:.1f} s")


@pytest.mark.parametrize("victim", ["guard", "child", "grandchild", "daemon"])
def test_killing_one_below_or_the_guard_changes_nothing_until_the_stop(grow, record, victim):
    tree = grow()
    os.kill(tree.pids[victim], signal.SIGKILL)
    wait_until(lambda: not is_alive(tree.pids[victim]), WITHIN_S)
    time.sleep(0.2)
    assert all(is_alive(tree.pids[role]) for role in ("worker", "supervisor", "server", "session"))
    began = time.monotonic()
    tree.say("stop")
    assert tree.left(but=("worker", "guard", "supervisor")) == [], "a stop returns when nothing is left"
    seconds = time.monotonic() - began
    tree.gone(but=("worker",))
    whose = "supervisor" if victim == "guard" else "server"
    promise = f"P5: the server goes on; after the stop {PARTS}"
    record(f"SIGKILL of the {whose}'s {victim}", promise, f"0 of 7 left after {seconds:.1f} s")


@pytest.mark.parametrize("hearing", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_guard_and_supervisor_ends_all(grow, hearing):
    tree = grow()
    os.kill(tree.pids["guard"], hearing)
    time.sleep(0.2)
    assert is_alive(tree.pids["guard"])
    os.kill(tree.pids["supervisor"], hearing)
    tree.gone(but=("worker",))


def test_a_stopped_worker_loses_its_lease(grow, record):
    tree = grow(lease_s=2.0)
    os.kill(tree.pids["worker"], signal.SIGSTOP)
    seconds = tree.gone(but=("worker",))
    os.kill(tree.pids["worker"], signal.SIGCONT)
    assert tree.say("") == "the process supervisor ended before the server: this process was silent for 2 s"
    record("SIGSTOP of the worker, lease of 2 s", f"P5, P9: {PARTS}; the attempt is lost, not infeasible",
           f"0 of 7 left after {seconds:.1f} s")  # fmt: skip


def test_a_working_worker_keeps_its_lease(grow):
    tree = grow(lease_s=1.0)
    time.sleep(3.0)
    assert tree.say("") == "None"
    assert is_alive(tree.pids["server"])


def test_a_killed_worker_whose_pipe_a_fork_holds_loses_its_lease(grow, record):
    tree = grow(lease_s=1.5, options="fork")
    wait_until((tree.folder / "holder").exists, WITHIN_S)
    tree.pids["holder"] = int((tree.folder / "holder").read_text())
    os.kill(tree.pids["worker"], signal.SIGKILL)
    seconds = tree.gone(but=("holder",))
    assert is_alive(tree.pids["holder"])
    record("SIGKILL of a worker whose pipe a forked process still holds, lease of 1.5 s", f"P5: {PARTS}",
           f"0 of 7 left after {seconds:.1f} s")  # fmt: skip


@pytest.mark.parametrize("stuck", [False, True], ids=["working", "stuck"])
def test_the_manager_of_a_worker_is_killed(grow, record, stuck):
    """As Ray's raylet is: its worker must not go on, and what a stopped one launched neither."""
    manager = [sys.executable, "-c", "import subprocess, sys; subprocess.run(sys.argv[1:])"]
    tree = grow(lease_s=1.5 if stuck else 600.0, options="parent", through=manager)
    if stuck:
        os.kill(tree.pids["worker"], signal.SIGSTOP)
    os.kill(tree.worker.pid, signal.SIGKILL)
    seconds = tree.gone(but=("worker",) if stuck else ())
    state = "stopped worker, lease of 1.5 s" if stuck else "living worker"
    injected = f"SIGKILL of the manager (raylet) of a {state}"
    record(injected, f"P5: {PARTS}", f"0 of 7 left after {seconds:.1f} s")


# -- leftovers ----------------------------------------------------------------------------------------


def kill_all_three(tree):
    """Kill worker, guard and supervisor at one moment: the tree is nobody's then."""
    for role in ("guard", "supervisor", "worker"):
        os.kill(tree.pids[role], signal.SIGSTOP)
    for role in ("guard", "supervisor", "worker"):
        os.kill(tree.pids[role], signal.SIGKILL)
    tree.worker.wait()


def test_leftovers_are_swept_with_their_memory(grow, record):
    tree = grow(deaf=True)
    kill_all_three(tree)
    wait_until(lambda: not is_alive(tree.pids["server"]), WITHIN_S)  # it dies with the supervisor
    assert is_alive(tree.pids["session"])
    began = time.monotonic()
    swept = sweep_leftovers("store/s/")
    seconds = time.monotonic() - began
    left = [line for line in tree.left() if "memory of server" not in line]
    assert left == []  # the server's own segment: nobody that could be asked held it any more
    assert {tree.pids["session"], tree.pids["daemon"], tree.pids["grandchild"]} <= set(swept)
    injected = "worker, guard and supervisor killed at one moment; the next trial begins"
    figure = f"{len(swept)} processes ended in {seconds:.1f} s"
    record(injected, "P5: leftovers of a crash are swept", figure)


def marked(mark, owner, argv=("sleep", "600")):
    return subprocess.Popen(argv, env={"PATH": os.environ["PATH"], MARK: mark, OWNER: owner})


def dead_owner():
    with subprocess.Popen(["sleep", "600"]) as process:
        tag = f"{process.pid}:{start_time(process.pid)}:{owner_tag().split(':', 2)[2]}"
        process.kill()
    return tag


def test_a_sweep_touches_nobody_else(record):
    mine, dead = owner_tag(), dead_owner()
    pid, start, space = mine.split(":", 2)
    spared = {
        "another store": marked("other/s/0/1", dead),
        "a study whose name begins alike": marked("store/s2/0/1", dead),
        "no owner": marked("store/s/0/1", ""),
        "an owner in another pid namespace": marked("store/s/0/1", f"{pid}:1:pid:[1]"),
        "an owner that is no number": marked("store/s/0/1", f"x:{start}:{space}"),
        "no mark": subprocess.Popen(["sleep", "600"]),
    }
    with subprocess.Popen(["sleep", "600"]) as alive:
        spared["a living owner"] = marked("store/s/0/1", f"{alive.pid}:{start_time(alive.pid)}:{space}")
        taken = {
            "a dead owner": marked("store/s/0/1", dead),
            "an owner whose pid is another process's now": marked("store/s/0/2", f"{alive.pid}:1:{space}"),
            "an attempt of this process's past": marked("store/s/0/3", mine),
        }
        try:
            for process in (*spared.values(), *taken.values()):
                wait_until(lambda p=process: "sleep" in name_of(p.pid), WITHIN_S)
            swept = sweep_leftovers("store/s/")
            assert sorted(swept) == sorted(process.pid for process in taken.values())
            assert [name for name, process in spared.items() if process.poll() is not None] == []
        finally:
            for process in (*spared.values(), *taken.values()):
                process.kill()
                process.wait()
            alive.kill()
    record(f"{len(spared)} look-alikes beside {len(taken)} leftovers: other marks, living owners, other "
           "namespaces, reused pids", "P5: nobody else's process is touched",
           f"{len(swept)} of {len(taken)} ended, 0 of {len(spared)} touched")  # fmt: skip


def test_a_leftover_that_lost_its_mark_is_found_below_one_that_has_it(tmp_path):
    """As servers do that write a title where the environment was."""
    script = "env -i sleep 601 & echo $! > below.part; mv below.part below; wait"
    process = subprocess.Popen(
        ["sh", "-c", script], cwd=tmp_path,
        env={"PATH": os.environ["PATH"], MARK: "store/s/0/1", OWNER: dead_owner()},
    )  # fmt: skip
    wait_until((tmp_path / "below").exists, WITHIN_S)
    below = int((tmp_path / "below").read_text())
    wait_until(lambda: "sleep 601" in name_of(below) and "env" not in name_of(below), WITHIN_S)
    assert below in sweep_leftovers("store/s/")  # its parent may end by itself at that
    process.wait()
    assert not is_alive(below)


def test_a_signal_never_reaches_a_later_process_of_the_same_pid():
    with subprocess.Popen(["sleep", "600"]) as process:
        started = start_time(process.pid)
        assert not send(process.pid, started - 1, signal.SIGKILL)
        assert process.poll() is None
        assert send(process.pid, started, signal.SIGKILL)
    assert not send(process.pid, started, signal.SIGKILL)


def test_a_trial_begins_by_sweeping(tmp_path):
    job = job_of(tmp_path)
    left = marked(f"{mark_prefix(job)}7/1", dead_owner())
    reaper = threading.Thread(target=left.wait)  # a zombie is no leftover; ours would stay one
    reaper.start()
    wait_until(lambda: "sleep" in name_of(left.pid), WITHIN_S)
    result = run_attempt(job, build=lambda _: ToySystem())
    reaper.join(WITHIN_S)
    assert result.measurement.failure is None
    assert result.measurement.facts["swept_processes"] == 1
    assert left.returncode == -signal.SIGKILL


def test_a_supervisor_that_was_killed_is_an_environment_fault(tmp_path):
    """The configuration is tried again: who killed the supervisor says nothing of it."""

    def kill_it():
        path = tmp_path / "store" / "s" / "trial-0000" / "attempt-1" / "process.json"
        wait_until(path.exists, WITHIN_S)
        os.kill(json.loads(path.read_text())["supervisor"], signal.SIGKILL)

    killer = threading.Thread(target=kill_it)
    killer.start()
    failure = run_attempt(job_of(tmp_path, {"mode": "never_ready"}), build=lambda _: ToySystem()).measurement
    killer.join()
    assert failure.failure.cause is Cause.WORKER_LOST, failure
    assert "supervisor" in failure.failure.message


# -- shared memory ------------------------------------------------------------------------------------


def test_memory_of_others_is_never_removed(record):
    """There before the server, made by others while it ran, made again by another, or held by another."""
    names = ["before", "others", "again", "shared", "ours"]
    paths = {name: Path(f"/dev/shm/autotune-test-{os.getpid()}-{name}") for name in names}
    hold = "import mmap, sys, time\nfor p in sys.argv[1:]:\n  f = open(p, 'a+b'); f.truncate(9)\n" \
           "  m = mmap.mmap(f.fileno(), 9)\n  k = globals().setdefault('kept', []); k += [f, m]\n" \
           "print('held', flush=True)\ntime.sleep(600)"  # fmt: skip

    def holder(*paths):
        process = subprocess.Popen(
            [sys.executable, "-c", hold, *map(str, paths)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout.readline() == "held\n"
        return process

    running = []
    try:
        paths["before"].write_bytes(b"weights")
        memory = SharedMemory()
        running = [
            holder(paths["others"]),
            holder(*(paths[n] for n in ("before", "again", "shared", "ours"))),
        ]
        server = running[-1]
        found = memory.look(lambda: [server.pid])
        assert set(found) == {str(paths[n]) for n in ("again", "shared", "ours")}
        running.append(holder(paths["shared"]))
        server.kill()
        server.wait()
        paths["again"].unlink()
        other = paths["again"].with_name(paths["again"].name + "-new")
        other.write_bytes(b"another's")
        other.rename(paths["again"])
        assert remove_unheld(memory.inodes) == [str(paths["ours"])]
        assert [name for name in names if not paths[name].exists()] == ["ours"]
    finally:
        for process in running:
            process.kill()
            process.wait()
            process.stdout.close()
        for path in paths.values():
            path.unlink(missing_ok=True)
    record("shared memory: the server's own beside four of others", "P5: nobody else's is touched",
           "1 of 1 removed, 0 of 4 touched")  # fmt: skip


# -- cycles -------------------------------------------------------------------------------------------


def possessions():
    """Return what this process and its leavings hold: descriptors, threads, processes, memory, ports."""
    ours = descendants(os.getpid())
    segments = {name for name in os.listdir("/dev/shm") if name.startswith("autotune-test-")}
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": sum(thread.name == "lease" for thread in threading.enumerate()),
        "processes": len(ours),
        "zombies": len(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()),
        "segments": len(segments),
    }


def cycle(folder, number):
    """Launch the family, and stop it; every fifth time a program that is not there."""
    folder = folder / str(number)
    folder.mkdir()
    options = {"env": server_environment({}), "log": folder / "log", "cwd": folder, "mark": "store/s/0/1"}
    if number % 5 == 4:
        with pytest.raises(EnvironmentProblem):
            SupervisedProcess(["/no/such/program"], **options)
        return []
    with SupervisedProcess([sys.executable, str(FAMILY)], grace_s=0.2, **options):
        held = []
        for role in ROLES:
            wait_until((folder / f"{role}.json").exists, WITHIN_S)
            held.append(json.loads((folder / f"{role}.json").read_text()))
    return held


@pytest.mark.parametrize(
    "count", [20, pytest.param(200, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])]
)
def test_launching_and_stopping_leaks_nothing(tmp_path, record, count):
    cycle(tmp_path, -1)  # what a first launch loads once
    wait_until(lambda: possessions()["threads"] == 0, WITHIN_S)
    before = possessions()
    began = time.monotonic()
    held = [item for number in range(count) for item in cycle(tmp_path, number)]
    seconds = time.monotonic() - began
    # tests before this one may have threads that end meanwhile: no more than before is what is promised
    wait_until(lambda: all(count <= before[name] for name, count in possessions().items()), WITHIN_S)
    assert [item for item in held if is_alive(item["pid"])] == []
    assert [item for item in held if os.path.exists(item["segment"])] == []
    for item in held:
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", item["port"])) != 0
    record(f"{count} launches and stops of a server of 7 processes, every fifth one not startable",
           "P5: no descriptor, thread, process, zombie, port or shared memory more than before",
           f"0 more of each, {seconds / count:.2f} s a cycle")  # fmt: skip

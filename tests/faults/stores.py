"""Studies beside MLflow stores: of a cheap function, each in a process of its own, and of simulated trials.

``python tests/faults/stores.py 20 50 FOLDER`` kills fifty that make a database, starts twenty studies at
once, then kills fifty one by one.
"""

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from autotune.core.measurement import Estimate, Measurement
from autotune.errors import EmptyLedgerError
from autotune.executor.base import AttemptResult
from autotune.ledger import Ledger

TRIALS = 3
WORK_S = 0.15  # simulated work of a trial

STUDY = """
name: {name}
parameters: {{b: {{type: int, low: 1, high: 8, default: 2}}}}
system: {{use: function, call: "{folder}/cheap.py:f"}}
objective: {{minimize: y}}
budget: {{trials: {trials}, confirm: 0}}
engine: {{use: sobol, seed: 0}}
tracking: {{mlflow: "sqlite:///mlflow.db", experiment: all}}
"""


class Simulated:
    """An executor whose trials take :data:`WORK_S` and succeed; it notes when they begin and end."""

    name = "simulated"

    def __init__(self, each=lambda number: None):
        self.jobs, self.each = [], each
        self.began = self.ended = 0.0

    def start(self):
        pass

    def capacity(self, resources):
        return 1

    def has_room(self, resources, beside=()):
        return not self.jobs

    def shortage(self, resources):
        return ""

    def nodes(self):
        return ["here"]

    def submit(self, job):
        self.began = self.began or time.monotonic()
        self.jobs.append((job, time.time_ns()))

    def wait(self, timeout):
        if not self.jobs:
            return []
        time.sleep(WORK_S)
        job, started = self.jobs.pop()
        self.each(job.trial)
        self.ended = time.monotonic()
        speed = Estimate(100.0 + job.trial, 1.0, 5, "tokens/s")
        measured = {"output_throughput": speed, "tpot.p95": Estimate(0.1, unit="s")}
        found = Measurement(measured, started_ns=started, ended_ns=time.time_ns())
        return [AttemptResult(job.key, found, "here")]

    def drop(self, key):
        pass

    def cancel(self):
        self.jobs.clear()

    def close(self):
        pass


def prepare(folder: Path) -> None:
    """Write the function that is tuned into a new folder."""
    folder.mkdir(parents=True)
    (folder / "cheap.py").write_text("def f(config):\n    return {'y': 1.0 / config['b']}\n")


def begin(folder: Path, name: str, *more: str, env=None) -> subprocess.Popen:
    """Start ``autotune run`` of a study of the folder, in a process group of its own."""
    path = folder / f"{name}.yaml"
    path.write_text(STUDY.format(name=name, folder=folder, trials=TRIALS))
    argv = [sys.executable, "-m", "autotune", "run", path.name, "--local", *more]
    with (folder / f"{name}.out").open("ab") as out:
        return subprocess.Popen(
            argv,
            cwd=folder,
            stdout=out,
            stderr=out,
            start_new_session=True,
            env={**os.environ, **(env or {})},
        )


def run_at_once(folder: Path, count: int, seconds: float = 600.0) -> list[int]:
    """Run so many studies at once to their ends; their exit codes."""
    started = [begin(folder, f"s{i}") for i in range(count)]
    deadline = time.monotonic() + seconds
    try:
        return [process.wait(max(1.0, deadline - time.monotonic())) for process in started]
    finally:
        for process in started:
            kill(process)


def kill(process: subprocess.Popen) -> None:
    """Kill a study's whole group, as a machine that goes down would."""
    kill_group(process)
    process.wait()


def kill_group(process: subprocess.Popen) -> None:
    """Kill what a killed process left in its group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def settle(path: Path) -> None:
    """Let a file be one that nobody has changed for a while."""
    if path.exists():
        os.utime(path, (time.time() - 60, time.time() - 60))


def kill_at(folder: Path, name: str, seconds: float) -> bool:
    """Start a study and kill it after so many seconds; whether it was alive still."""
    process = begin(folder, name)
    try:
        process.wait(seconds)
        alive = False
    except subprocess.TimeoutExpired:
        alive = True
    kill(process)
    return alive


def sync(folder: Path, *more: str) -> subprocess.CompletedProcess:
    """Run ``autotune sync`` in the folder."""
    argv = [sys.executable, "-m", "autotune", "sync", *more]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=600, check=False)


def runs(folder: Path) -> dict[str, list[int]]:
    """Return the active trials' runs of each study in the database, read without any library of MLflow's."""
    with sqlite3.connect(f"file:{folder}/mlflow.db?mode=ro", uri=True) as database:
        rows = database.execute(
            "SELECT s.value, t.value FROM runs r JOIN tags s ON s.run_uuid = r.run_uuid"
            " AND s.key = 'autotune.study' LEFT JOIN tags t ON t.run_uuid = r.run_uuid"
            " AND t.key = 'autotune.trial' WHERE r.lifecycle_stage = 'active'"
        ).fetchall()
    database.close()
    found: dict[str, list[int]] = {}
    for study, trial in rows:
        found.setdefault(study, []).append(-1 if trial is None else int(trial))
    return {study: sorted(numbers) for study, numbers in sorted(found.items())}


def trials(folder: Path) -> dict[str, list[int]]:
    """Return what the store should hold: each study of the ledger (-1) and its trials once begun."""
    try:
        with Ledger.open(folder / "autotune-runs" / "ledger.sqlite", read_only=True) as ledger:
            return {
                row.name: [-1, *(t.number for t in ledger.trials(row.name) if t.attempts or t.state.finished)]
                for row in sorted(ledger.studies(), key=lambda row: row.name)
            }
    except EmptyLedgerError:  # killed between making the file and its first table
        return {}


def many_at_once(folder: Path, count: int) -> str:
    """Run so many studies at once in a fresh folder, then ``sync``; the figures."""
    prepare(folder)
    codes = run_at_once(folder, count)
    assert codes == [0] * count
    before = runs(folder)
    done = sync(folder)
    assert done.returncode == 0, done.stderr
    wanted, found = trials(folder), runs(folder)
    assert found == wanted
    there, whole = (sum(map(len, part.values())) for part in (before, wanted))
    return (
        f"{codes.count(0)} of {count} ended well, {there} of {whole} runs there, "
        f"{sum(map(len, found.values()))} after `sync`, none twice"
    )


def kills_in_the_making(folder: Path, shares: list[float], completed: int) -> str:
    """Kill processes that make a database, at parts of the time that making one takes, measured first.

    They are forked from this process, which has loaded MLflow: a kill then falls into the making and nowhere
    else. The first ones of those that were killed before their database had its name are made again.

    Args:
        folder: Of all of them.
        shares: Moments, from 0 to 1.
        completed: How many are made again.

    Returns:
        The figures.
    """
    from autotune.tracking.mlflow_database import _schema, prepare_database
    from autotune.tracking.mlflow_session import load_quietly

    def make(where: Path) -> int:
        where.mkdir(exist_ok=True)
        uri = f"sqlite:///{where}/mlflow.db"
        load_quietly(uri)
        pid = os.fork()
        if not pid:
            prepare_database(uri, lambda: False, print)
            os._exit(0)
        return pid

    def make_whole(where: Path) -> float:
        began = time.monotonic()
        assert os.waitpid(make(where), 0)[1] == 0
        assert [path.name for path in where.iterdir()] == ["mlflow.db"]
        assert _schema(where / "mlflow.db").whole
        return time.monotonic() - began

    folder.mkdir(parents=True, exist_ok=True)
    make_whole(folder / "first")  # modules that are loaded late
    window_s = make_whole(folder / "measured")
    whole = drafts = again = 0
    for number, share in enumerate(shares):
        where = folder / f"making-{number}"
        pid = make(where)
        time.sleep(share * window_s)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        there = [path.name for path in where.iterdir()]
        if "mlflow.db" in there:
            assert _schema(where / "mlflow.db").whole, f"half made under its name after {share:.2f}"
            whole += 1
            continue
        drafts += any(name.startswith("mlflow.db.new-") for name in there)
        if again < completed:
            make_whole(where)
            again += 1
    return (
        f"{len(shares)} kills: {drafts} with a draft, {whole} with a whole database, "
        f"{len(shares) - drafts - whole} with nothing yet; {again} of {again} made whole again, nothing left "
        f"beside; making takes {window_s:.1f} s"
    )


def many_kills(folder: Path, moments: list[float]) -> str:
    """Kill a study at each of the moments, in seconds, each in a fresh folder, then ``sync``; the figures."""
    alive = whole = drafts = 0
    for number, moment in enumerate(moments):
        where = folder / f"kill-{number}"
        prepare(where)
        alive += kill_at(where, "s", moment)
        store, draft = (where / "mlflow.db").exists(), bool(list(where.glob("mlflow.db.new-*")))
        whole += store
        drafts += draft and not store
        if not (where / "autotune-runs" / "ledger.sqlite").exists():
            assert not store, "a store without a study"
            continue
        if trials(where):
            done = sync(where)
            assert done.returncode == 0, f"killed after {moment:.2f} s: {done.stderr}"
            assert runs(where) == trials(where), f"killed after {moment:.2f} s"
            assert [path.name for path in where.glob("mlflow.db*")] == ["mlflow.db"]
    return (
        f"{alive} of {len(moments)} died alive: {whole} with a whole database, {drafts} with one in the "
        f"making, none half made under its name; `sync` completed {len(moments)} of {len(moments)}"
    )


if __name__ == "__main__":
    at_once, kills, target = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    draw = random.Random(0)
    moments = [draw.random() for _ in range(kills)]
    print(kills_in_the_making(target / "making", moments, max(1, kills // 5)), flush=True)
    if at_once:
        print(many_at_once(target / "many", at_once), flush=True)
        print(many_kills(target, [10.0 * share for share in moments]), flush=True)

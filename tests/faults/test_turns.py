"""A turn of the loop: what is committed together, and what keeps other writers out while it thinks."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from simulated import Clock, Messages, simulate, study_file

from autotune.core.measurement import Cause, Failure, Measurement
from autotune.core.trial import TrialState
from autotune.executor.base import AttemptResult
from autotune.ledger import Ledger
from autotune.study.driver import TOGETHER_S
from autotune.study.study import Study


class Slow:
    """An engine whose asks take their time, and note whether the ledger was held meanwhile."""

    def __init__(self, engine, clock, seconds):
        self.engine, self.clock, self.seconds = engine, clock, seconds
        self.name = engine.name
        self.held = []

    def ask(self, *arguments):
        self.held.append(self.ledger._db.in_transaction)
        self.clock.now += self.seconds
        return self.engine.ask(*arguments)


def turns(tmp_path, monkeypatch, seconds):
    """Run a study whose asks take so long; return what each found, and the commits in all."""
    spec = study_file(tmp_path, trials=12)
    clock = Clock()
    loop = simulate(spec, None, monkeypatch, executor=Messages(clock, lambda _job: [1.0]))
    engine = loop.study.engine = Slow(loop.study.engine, clock, seconds)
    engine.ledger = loop.study.ledger
    before = int(loop.study.ledger._counter()["revision"])
    assert loop.run() == "completed"
    commits = int(loop.study.ledger._counter()["revision"]) - before
    loop.study.close()
    return engine.held, commits


def test_a_slow_ask_keeps_no_other_writer_out(tmp_path, monkeypatch):
    held, _ = turns(tmp_path, monkeypatch, 2 * TOGETHER_S)
    assert len(held) == 12
    assert not any(held)


def test_quick_asks_share_a_commit(tmp_path, monkeypatch):
    slow, quick = (turns(tmp_path, monkeypatch, seconds)[1] for seconds in (2 * TOGETHER_S, 0.0))
    assert quick < 0.7 * slow


class Reader:
    """A mirror that reads the ledger at the moment it is told of something, and never again."""

    def __init__(self, path, name):
        self.path, self.name = path, name
        self.seen = []

    def notify(self):
        with Ledger.open(self.path, read_only=True) as ledger:
            self.seen.append(sum(trial.state.finished for trial in ledger.trials(self.name)))


class Impossible(Messages):
    """Machines that can hold no configuration but those of an even width."""

    def shortage(self, resources):
        return "" if resources["cpus"] % 2 == 0 else "no node has an odd number of CPUs"


@pytest.mark.parametrize("executor", [Messages, Impossible])
def test_the_mirror_finds_what_it_is_told_of(tmp_path, monkeypatch, executor, record):
    spec = study_file(tmp_path, trials=6, parallel=1)
    study = Study(spec.space, spec.objective, engine="random", name="s", budget=6, path=tmp_path / "l.sqlite")
    machines = executor(Clock(), lambda _job: [1.0])
    loop = simulate(spec, None, monkeypatch, executor=machines, study=study)
    wide = SimpleNamespace(resources=lambda config: {"cpus": float(config["width"])})
    loop.jobs = replace(loop.jobs, system=wide)
    monkeypatch.setattr("autotune.study.jobs.any_fits", lambda *_: True)
    loop.mirror = reader = Reader(study.path, study.name)
    assert loop.run() == "completed"
    finished = sum(trial.state.finished for trial in study.trials)
    assert finished == 6
    assert reader.seen[-1] == finished, "what it was not told of, it would have slept through"
    assert reader.seen == sorted(set(reader.seen)), "each time it was told, there was something new"
    if executor is Messages:
        assert reader.seen == [1, 2, 3, 4, 5, 6]
    study.close()
    kind = "measured" if executor is Messages else "measured or refused"
    record(f"a mirror that sleeps until it is told of trials {kind}", "P6: what it is told of is committed",
           f"{reader.seen[-1]} of {finished} trials found")  # fmt: skip


class Failing(Messages):
    """Attempts of one trial fail; while their first failure is on its way, a signal comes to the driver."""

    failure = None
    loop = None
    heard = 0

    def result(self, job, node):
        if job.trial != 2:
            return super().result(job, node)
        return AttemptResult(job.key, Measurement(failure=self.failure, started_ns=1, ended_ns=2), node)

    def wait(self, timeout):
        if self.heard and not self.loop.stop.is_set():  # the first wait after the failure was handed over
            self.loop.stop.set()
        due = super().wait(timeout)
        self.heard += any(result.measurement.failure is not None for result in due)
        return due


@pytest.mark.parametrize(
    "failure",
    [
        Failure(Cause.CRASHED_UNDER_LOAD, "ended by SIGTERM: shutting down"),
        Failure(Cause.REJECTED_FLAGS, "ended by SIGHUP (in two launches)"),
        Failure(Cause.OWNER_MISTAKE, "cannot start serve: it was ended"),
        Failure(Cause.WORKER_LOST, "the process supervisor ended before the server: it got SIGTERM"),
        Failure(Cause.NODE_LOST, "the raylet is gone"),
    ],
    ids=lambda failure: failure.cause.value,
)
def test_a_signal_to_every_process_is_an_interruption_whoever_hears_it_first(tmp_path, monkeypatch, failure):
    """systemd and Slurm send it to workers, servers and the driver at once, in any order."""
    spec = study_file(tmp_path, trials=9, parallel=1)
    executor = Failing(Clock(), lambda _job: [1.0], 1)
    executor.failure = failure
    executor.loop = loop = simulate(spec, None, monkeypatch, executor=executor)
    assert loop.run() == "interrupted"
    assert executor.heard == 1
    states = [trial.state for trial in loop.study.trials]
    assert states == [TrialState.COMPLETED] * 2 + [TrialState.WAITING]
    assert [a.state for a in loop.study.ledger.attempts(loop.study.name, 2)] == ["LOST"]
    loop.study.close()


class FullDisk(Messages):
    """Two nodes, a place each: one has a full disk and fails at once, the other measures for long."""

    def held(self, resources):
        return ""

    def waits_elsewhere(self, resources, avoid, beside=()):
        others = [node for node in self.nodes() if node not in avoid]
        return bool(others) and all(node in self.running.values() for node in others)

    def result(self, job, node):
        if node != "node-0":
            return super().result(job, node)
        failure = Failure(Cause.DISK_FULL, "no space left on device")
        return AttemptResult(job.key, Measurement(failure=failure, started_ns=1, ended_ns=2), node)

    def submit(self, job):
        super().submit(job)
        if self.running[job.key] != "node-0":
            at = next(i for i, (_, _, result) in enumerate(self.queue) if result.key == job.key)
            _, number, result = self.queue.pop(at)
            self.queue.append((self.clock.now + 40.0, number, result))
            self.queue.sort()


def test_a_node_with_a_full_disk_does_not_take_all_attempts_of_a_trial(tmp_path, monkeypatch):
    """The other node is busy for longer than all pauses: it is waited for."""
    spec = study_file(tmp_path, trials=8, parallel=2)
    executor = FullDisk(Clock(), lambda _job: [0.5], 2)
    loop = simulate(spec, None, monkeypatch, executor=executor, places=2)
    assert loop.run() == "completed"
    assert [trial.state for trial in loop.study.trials] == [TrialState.COMPLETED] * 8
    for trial in loop.study.trials:
        nodes = [result.node for result, _ in executor.delivered if result.key[1] == trial.number]
        assert nodes.count("node-0") <= 1
        assert nodes[-1] == "node-1"
    loop.study.close()

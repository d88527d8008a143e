"""A turn of the loop: what is committed together, and what keeps other writers out while it thinks."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from simulated import Clock, Messages, simulate, study_file

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

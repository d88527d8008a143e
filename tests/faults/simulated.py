"""A driver without machines: a clock of its own, messages that a plan loses, delays and doubles."""

import heapq
import itertools
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from autotune.core.measurement import Estimate, Measurement
from autotune.executor.base import AttemptResult
from autotune.study import driver as driver_module
from autotune.study.driver import Driver
from autotune.study.jobs import StudyJobs
from autotune.study.run import settings_of
from autotune.study.study import Study
from autotune.study.study_file import read_study

STUDY = """
name: simulated
parameters:
  width: {type: int, low: 1, high: 64, default: 1}
system: {use: toy}
objective: {maximize: output_throughput}
budget: {trials: %d, confirm: 0, watch: 0, parallel: %s}
engine: {use: random, seed: 0}
tracking: {mlflow: none}
deadlines: {startup: 20 s, measure: 20 s, stop: 1 s}
"""


@dataclass
class Clock:
    """Time that passes only when somebody waits."""

    now: float = 1000.0

    def monotonic(self):
        return self.now

    def time_ns(self):
        return int(self.now * 1e9)


class Silent:
    """A screen that keeps what it was told."""

    def __init__(self):
        self.messages = []

    def start(self, view):
        self.view = view

    def update(self, view):
        self.view = view

    def message(self, text, kind=None):
        self.messages.append(text)


@dataclass
class Messages:
    """Run attempts in no time; ``plan(job)`` gives the seconds until each copy of the result comes."""

    clock: Clock
    plan: object
    places: int = 4
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    name = "simulated"

    def __post_init__(self):
        self.queue = []
        self.count = itertools.count()
        self.running, self.dropped, self.delivered = {}, set(), []
        self.most_at_once = 0

    def start(self):
        self.running.clear()

    def nodes(self):
        return [f"node-{i}" for i in range(self.places)]

    def capacity(self, resources):
        return self.places

    def has_room(self, resources, beside=()):
        return len(self.running) + len(beside) < self.places

    def shortage(self, resources):
        return ""

    def submit(self, job):
        free = [node for node in self.nodes() if node not in self.running.values()]
        preferred = [node for node in free if node not in job.avoid]
        node = self.running[job.key] = (preferred or free)[0]
        self.most_at_once = max(self.most_at_once, len(self.running))
        result = self.result(job, node)
        for delay in self.plan(job):
            heapq.heappush(self.queue, (self.clock.now + delay, next(self.count), result))

    def result(self, job, node):
        value = Estimate(job.trial + job.attempt / 10, 0.01, 3, "tokens/s")
        now = self.clock.time_ns()
        return AttemptResult(
            job.key, Measurement({"output_throughput": value}, started_ns=now, ended_ns=now), node
        )

    def wait(self, timeout):
        until = self.clock.now + timeout
        if self.queue and self.queue[0][0] <= until:
            until = max(self.clock.now, self.queue[0][0])
        self.clock.now = until
        due = []
        while self.queue and self.queue[0][0] <= until:
            due.append(heapq.heappop(self.queue)[2])
        self.rng.shuffle(due)
        for result in due:
            self.running.pop(result.key, None)
            self.delivered.append((result, result.key in self.dropped))
        return due

    def drop(self, key):
        self.dropped.add(key)
        return self.running.pop(key)

    def cancel(self):
        self.running.clear()
        self.queue.clear()

    def close(self):
        self.cancel()


class Toy:
    """As much of a system as the driver asks for."""

    def resources(self, config):
        return {"cpus": 1.0}


def study_file(folder, trials=6, parallel="auto"):
    path = Path(folder) / "simulated.yaml"
    path.write_text(STUDY % (trials, parallel))
    return read_study(path)


def simulate(spec, plan, monkeypatch, *, executor=None, places=4, seed=0, study=None):
    """Return the real driver over a simulated executor, its study open; ``run()`` runs it."""
    clock = executor.clock if executor is not None else Clock()
    clocks = SimpleNamespace(monotonic=clock.monotonic, time_ns=clock.time_ns)
    monkeypatch.setattr(driver_module, "time", clocks)
    executor = executor or Messages(clock, plan, places, np.random.default_rng(seed))
    study = study or Study(
        spec.space, spec.objective, engine=spec.engine.use, name=spec.name, budget=spec.budget.trials
    )
    return Driver(
        study, settings_of(spec, study), StudyJobs(spec, Toy(), Path("unused") / study.name), executor,
        screen=Silent(),
    )  # fmt: skip

"""A study's driver in a process of its own, over attempts that take a moment and depend on nothing but their
configuration: what two undisturbed runs measure is equal bit for bit."""

import os
import platform
import sys
import time
from pathlib import Path

from autotune.core.measurement import Cause, Estimate, Failure, Measurement
from autotune.errors import AutotuneError
from autotune.executor.base import AttemptResult
from autotune.ledger import Ledger
from autotune.report.plain import PlainView
from autotune.study.run import run_study
from autotune.study.study_file import read_study

STUDY = """
name: crash
parameters:
  batch_size: {type: int, low: 1, high: 64, scale: log2, default: 1}
  bits:       {type: ordinal, values: [4, 8, 16], default: 16}
  speed:      {type: ordinal, values: [1, 2, 3], default: 1}
system: {use: toy}
objective: {maximize: output_throughput, limits: [tpot.p95 <= 60 ms]}
budget: {trials: 9, confirm: 1, parallel: 2, watch: 5}
engine: {use: ENGINE, seed: 7}
tracking: {mlflow: none}
"""


def measured(config):
    """Return what a configuration measures, always the same."""
    batch, bits, speed = config["batch_size"], config["bits"], config["speed"]
    if batch * bits > 512:
        failure = Failure(Cause.OUT_OF_MEMORY, f"{batch * bits} do not fit", shortfall=batch * bits / 512)
        return Measurement(failure=failure, started_ns=1, ended_ns=2)
    step = (0.004 + 0.0011 * batch) * (0.5 + bits / 16) / speed**0.5
    metrics = {
        "output_throughput": Estimate(batch / step, 0.02 * batch / step, 40, "tokens/s"),
        "tpot.p95": Estimate(1.3 * step, 0.01 * step, 40, "s"),
    }
    return Measurement(metrics=metrics, facts={"config": dict(config)}, started_ns=1, ended_ns=2)


class Moments:
    """Run attempts one after the other in this process, each for a moment."""

    name = "moments"

    def __init__(self, parallel=2, seconds=0.02):
        self.parallel, self.seconds = parallel, seconds
        self.jobs = []

    def start(self):
        self.jobs = []

    def capacity(self, resources):
        return self.parallel

    def has_room(self, resources, starting=()):
        return len(self.jobs) + len(starting) < self.parallel

    def shortage(self, resources):
        return ""

    def nodes(self):
        return [platform.node()]

    def submit(self, job):
        self.jobs.append(job)

    def wait(self, timeout):
        if not self.jobs:
            time.sleep(timeout)
            return []
        time.sleep(self.seconds)
        job = self.jobs.pop(0)
        return [AttemptResult(job.key, measured(job.config), "here")]

    def drop(self, key):
        self.jobs = [job for job in self.jobs if job.key != key]

    def cancel(self):
        self.jobs = []

    close = cancel


def main(folder, environment, tracking=False, seconds=0.02):
    """Run the study of a folder to its end, in a process group; the exit code is that of the command line."""
    os.setpgid(0, 0)
    os.environ.update(environment)
    log = os.open(folder / "driver.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    spec = read_study(folder / "study.yaml", ())
    try:
        run_study(
            spec, store=folder, view=PlainView(), local=True, tracking=tracking,
            make_executor=lambda _spec, _local: Moments(seconds=seconds),
        )  # fmt: skip
    except AutotuneError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)


def prepare(folder: Path, engine: str) -> Path:
    """Write the study's file into a new folder."""
    folder.mkdir(parents=True)
    (folder / "study.yaml").write_text(STUDY.replace("ENGINE", engine))
    return folder


def history(folder):
    """Return everything that two runs must agree on, as plain data."""
    with Ledger.open(folder / "ledger.sqlite", read_only=True) as ledger:
        return [
            (t.number, t.suggestion.to_dict(), t.state, t.measurement and t.measurement.to_dict(), t.node)
            for t in ledger.trials("crash")
        ]


def attempts(folder):
    """Return the states of the attempts of each trial."""
    with Ledger.open(folder / "ledger.sqlite", read_only=True) as ledger:
        return [[a.state for a in ledger.attempts("crash", t.number)] for t in ledger.trials("crash")]

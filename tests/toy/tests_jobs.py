"""Attempts of the toy system for the tests of executors."""

import time

from autotune.core.deadlines import Deadlines
from autotune.executor.base import Job


def job_of(tmp_path, config=None, **changes):
    """Return an attempt of the toy system; ``changes`` replace its fields."""
    settings = {
        "study": "s", "trial": 0, "attempt": 1, "config": config or {"batch_size": 2},
        "system": {"use": "toy"}, "goal": "output_throughput",
        "workload": {
            "prompt_tokens": "4", "output_tokens": "4", "time": "1 s", "precision": "50 %", "warmup": "1",
        },
        "scratch": str(tmp_path / "store" / "s" / "trial-0000" / "attempt-1"),
        "deadlines": Deadlines(startup_s=3, measure_s=4, stop_s=0.5),
    }  # fmt: skip
    return Job(**{**settings, **changes})


def results_of(executor, seconds=150):
    """Wait for the next results of an executor; none when ``seconds`` have passed."""
    found = []
    deadline = time.monotonic() + seconds
    while not found and time.monotonic() < deadline:
        found = executor.wait(0.5)
    return found

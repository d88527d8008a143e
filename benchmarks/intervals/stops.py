"""Closed loops that are stopped once the interval is narrow enough: does it hold the truth then, too?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autotune.measure.endpoint.served import LOOK_REQUESTS, NARROW_LOOKS
from autotune.measure.statistics.estimate import fixed_width, usual_width
from autotune.measure.statistics.flow import Requests, rate
from autotune.measure.statistics.stopping import GROWTH
from benchmarks.intervals.streams import Run, Stream

PRECISIONS = (0.05, 0.02)
_FIRST_S = 1.0  # after which the first look is taken
_ROUNDED = 1 + 1e-9
_MOST_S = 60.0  # the workload's time, the default


@dataclass(frozen=True)
class Stopped:
    """A run that was ended by its precision or by its time.

    Args:
        seconds: Length.
        value: Rate.
        half: Half-width of its interval.
        reached: Whether it is what was asked for.
    """

    seconds: float
    value: float
    half: float
    reached: bool


def prefix(run: Run, seconds: float) -> Run:
    """Return the first part of a run."""
    seen, done = run.times <= seconds, run.ended <= seconds
    return Run(run.times[seen], run.amounts[seen], run.ended[done], run.took[done], run.tokens[done], seconds)


def stopped(run: Run, stream: Stream, precision: float) -> Stopped:
    """Return a run as :mod:`autotune.measure.endpoint.served` ends it: looks at growing lengths."""
    seconds, narrow = _FIRST_S, 0
    looks: list[tuple[float, float]] = []
    while True:
        part = prefix(run, min(seconds, run.seconds))
        requests = Requests(part.ended, part.took, part.tokens, stream.concurrency)
        found = rate(part.times, part.amounts, part.seconds, requests, "tokens/s", 64)
        half = 1.96 * (found.sem or 0.0)
        if len(part.ended) >= LOOK_REQUESTS:
            looks.append((part.seconds, half / found.value))
        known = len(part.ended) >= LOOK_REQUESTS and half <= precision * found.value
        narrow = narrow + 1 if known else 0
        if narrow == NARROW_LOOKS:
            stated = 1.96 * (fixed_width(found, precision, usual_width(looks, run.seconds)).sem or 0.0)
            return Stopped(part.seconds, found.value, stated, stated <= _ROUNDED * precision * found.value)
        if part.seconds >= run.seconds:
            usual = usual_width(looks, run.seconds)
            stated = usual * found.value if half <= precision * found.value < usual * found.value else half
            return Stopped(part.seconds, found.value, stated, stated <= precision * found.value)
        seconds *= GROWTH


def stops(stream: Stream, precision: float, runs: int, seed: int) -> list[Stopped]:
    """Return runs of at most a minute that precision may end."""
    simulated = stream.simulate(np.random.default_rng(seed), _MOST_S, runs)
    return [stopped(run, stream, precision) for run in simulated]

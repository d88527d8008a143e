"""Simulated closed loops with a known rate: what a client sees of them, seeded, without a server.

Every generator yields independent runs of ``seconds`` each, in steady state from the first moment on (a
stretch before is thrown away), and knows the rate that an endless run would show.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.special import ndtr

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Run:
    """What a client saw of one run.

    Args:
        times: Arrivals of output tokens in seconds since the run began, ascending.
        amounts: Tokens in each arrival.
        ended: Completions in seconds, ascending.
        took: Latency of each of them in seconds.
        tokens: Output tokens of each.
        seconds: Length of the run.
    """

    times: Floats
    amounts: Floats
    ended: Floats
    took: Floats
    tokens: Floats
    seconds: float


@dataclass(frozen=True)
class Stream:
    """A simulated closed loop.

    Args:
        name: In the tables.
        concurrency: Requests under way at once.
        rate: True output rate in tokens/s.
        simulate: Yields the runs: generator of random numbers, seconds, count of runs.
    """

    name: str
    concurrency: int
    rate: float
    simulate: Callable[[np.random.Generator, float, int], Iterator[Run]]


def autoregressive(rng: np.random.Generator, n: int, correlation: float) -> Floats:
    """Return ``n`` values of a stationary AR(1) of unit variance."""
    noise = rng.normal(size=n + 200)
    scale = np.sqrt(1 - correlation**2)
    return np.asarray(lfilter([scale], [1, -correlation], noise)[200:])


def lockstep(
    name: str, *, latency: float, spread: float, correlation: float, concurrency: int = 16, steps: int = 32
) -> Stream:
    """All requests begin and end together; durations are log-normal and correlated from lump to lump.

    Args:
        name: In the tables.
        latency: Mean duration in seconds.
        spread: Standard deviation of its logarithm.
        correlation: Of the logarithms of successive durations.
        concurrency: Requests in a lump.
        steps: Arrivals of a request; 1 for an answer that comes as a whole.
    """

    def simulate(rng: np.random.Generator, seconds: float, runs: int) -> Iterator[Run]:
        for _ in range(runs):
            n = int((seconds + 4 * latency) / latency * 1.5) + 20
            took = latency * np.exp(spread * autoregressive(rng, n, correlation) - spread**2 / 2)
            ends = np.cumsum(took) - latency * (1 + rng.random())
            arrivals = (ends - took)[:, None] + took[:, None] * (np.arange(steps) + 1) / steps
            times = arrivals.ravel()
            single = ends[:, None] + 0.002 * rng.random((n, concurrency))
            single.sort(axis=1)
            latencies = np.diff(single, axis=0, prepend=(single[:1] - took[0]))
            ended = single.ravel()
            amounts = np.full(len(times), float(concurrency))
            if steps == 1:  # every answer comes by itself, a little after the others
                times, amounts = ended, np.ones(len(ended))
            tokens = np.full(len(ended), float(steps))
            yield _cut(times, amounts, ended, latencies.ravel(), tokens, seconds)

    tokens = 1 if steps == 1 else steps
    return Stream(name, concurrency, concurrency * tokens / latency, simulate)


def renewals(
    name: str, draw: Callable[[np.random.Generator, int], Floats], *, mean: float, concurrency: int = 8
) -> Stream:
    """Slots that do not hinder each other; an answer comes as a whole.

    Args:
        name: In the tables.
        draw: Durations of that many requests in seconds.
        mean: Of the durations.
        concurrency: Slots.
    """

    def simulate(rng: np.random.Generator, seconds: float, runs: int) -> Iterator[Run]:
        for _ in range(runs):
            n = int((seconds + 30 * mean) / mean * 1.6) + 40
            took = draw(rng, concurrency * n).reshape(concurrency, n)
            ended = np.cumsum(took, axis=1).ravel() - 20 * mean
            order = np.argsort(ended)
            ended, one = ended[order], np.ones(len(ended))
            yield _cut(ended, one, ended, took.ravel()[order], one, seconds)

    return Stream(name, concurrency, concurrency / mean, simulate)


def batching(
    name: str,
    lengths: Callable[[np.random.Generator, int], NDArray[np.int64]],
    *,
    mean: float = 64.0,
    concurrency: int = 16,
    noise: float = 0.1,
    correlation: float = 0.0,
    prefill: float = 0.03,
) -> Stream:
    """Continuous batching: one token per slot and step, a step that admits requests is longer.

    Args:
        name: In the tables.
        lengths: Output tokens of that many requests.
        mean: Of the lengths.
        concurrency: Slots, all busy.
        noise: Standard deviation of the logarithm of a step's time.
        correlation: From step to step.
        prefill: Seconds that each admitted request adds to its step.
    """
    step = 0.01 + 0.0005 * concurrency
    rate = concurrency / (step * math.exp(noise**2 / 2) + prefill * concurrency / mean)

    def simulate(rng: np.random.Generator, seconds: float, runs: int) -> Iterator[Run]:
        count = int((seconds + 8.0) / step * 1.2)
        length, left = _under_way(lengths, rng, (runs, concurrency))
        sent = -(length - left) * step
        level = np.array([autoregressive(rng, count, correlation) for _ in range(runs)])
        took = np.empty((count, runs))
        now, admitted = np.zeros(runs), np.zeros(runs)
        ends: list[tuple[Floats, Floats, Floats, Floats]] = []
        for i in range(count):
            took[i] = step * np.exp(noise * level[:, i]) + prefill * admitted
            now = now + took[i]
            left -= 1
            done = left <= 0
            admitted = done.sum(axis=1)
            if done.any():
                row = np.nonzero(done)[0]
                ends.append((row.astype(float), now[row], now[row] - sent[done], length[done].astype(float)))
                left[done] = length[done] = lengths(rng, len(row))
                sent[done] = now[row]
        begin = 6.0 + rng.random(runs)
        times = np.cumsum(took, axis=0) - begin
        owner, ended, latency, tokens = (np.concatenate(part) for part in zip(*ends, strict=True))
        for r in range(runs):
            mine = owner == r
            amounts = np.full(count, float(concurrency))
            yield _cut(times[:, r], amounts, ended[mine] - begin[r], latency[mine], tokens[mine], seconds)

    return Stream(name, concurrency, rate, simulate)


def _under_way(
    lengths: Callable[[np.random.Generator, int], NDArray[np.int64]],
    rng: np.random.Generator,
    shape: tuple[int, int],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return lengths of the requests that a look finds under way, and what is left of them.

    A long request is found more often, in proportion to its length.
    """
    pool = lengths(rng, 20_000)
    found = rng.choice(pool, size=shape, p=pool / pool.sum())
    return found, np.ceil(found * rng.random(shape)).astype(np.int64)


def _cut(times: Floats, amounts: Floats, ended: Floats, took: Floats, tokens: Floats, seconds: float) -> Run:
    if times[-1] < seconds:
        raise RuntimeError("the simulation is shorter than the run")
    seen, done = (times > 0) & (times <= seconds), (ended > 0) & (ended <= seconds)
    return Run(times[seen], amounts[seen], ended[done], took[done], tokens[done], seconds)


def _equal(rng: np.random.Generator, n: int) -> NDArray[np.int64]:
    return np.full(n, 64)


def _spread(rng: np.random.Generator, n: int) -> NDArray[np.int64]:
    return np.maximum(rng.normal(64, 16, n).round(), 1).astype(np.int64)


def _heavy(rng: np.random.Generator, n: int) -> NDArray[np.int64]:
    return np.clip(np.exp(rng.normal(3.6, 1.0, n)), 1, 2000).astype(np.int64)


_HEAVY_MEAN = 1 + float(ndtr(3.6 - np.log(np.arange(2, 2001))).sum())  # sum of the chances to be that long

STREAMS = (
    lockstep("lockstep, uncorrelated", latency=0.3, spread=0.1, correlation=0.0),
    lockstep("lockstep, correlation -0.5", latency=0.3, spread=0.1, correlation=-0.5),
    lockstep("lockstep, correlation 0.5", latency=0.3, spread=0.1, correlation=0.5),
    lockstep("lockstep, correlation 0.8", latency=0.3, spread=0.1, correlation=0.8),
    lockstep("lumps of whole answers", latency=0.3, spread=0.1, correlation=0.0, steps=1),
    renewals("slots, gamma", lambda rng, n: rng.gamma(4.0, 0.25 / 4, n), mean=0.25),
    renewals("slots, heavy tails", lambda rng, n: 0.15 * (rng.pareto(2.5, n) + 1), mean=0.25),
    batching("batching, equal lengths", _equal),
    batching("batching, spread lengths", _spread),
    batching("batching, heavy lengths", _heavy, mean=_HEAVY_MEAN),
    batching("batching, noisy neighbour", _spread, noise=0.3, correlation=0.95),
)

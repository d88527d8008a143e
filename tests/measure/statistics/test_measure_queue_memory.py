"""How many relaxation times of its queue a run spans, and what that does to latencies."""

import math

import numpy as np
import pytest

from autotune.measure.statistics.estimate import mean, percentiles
from autotune.measure.statistics.queue_memory import LEAST_RELAXATIONS, relaxations

SECONDS = 30.0


def single_queue(rng, load, before=400.0):
    """Return sends and latencies of M/M/1 with 10 requests/s at most, in steady state from 0 on."""
    n = int(10 * load * (before + SECONDS) * 1.3) + 50
    sent = np.cumsum(rng.exponential(0.1 / load, n)) - before
    service = rng.exponential(0.1, n)
    walk = np.concatenate([[0.0], np.cumsum(service[:-1] - np.diff(sent))])
    latency = walk - np.minimum.accumulate(walk) + service
    kept = (sent + latency > 0) & (sent < SECONDS)
    return sent[kept], latency[kept]


def spans(sent, took):
    return relaxations(np.asarray(sent), np.asarray(took), SECONDS)


def test_a_queue_near_its_capacity_remembers_and_an_idle_one_forgets():
    rng = np.random.default_rng(1)
    loaded = [spans(*single_queue(rng, 0.95)) for _ in range(20)]
    idle = [spans(*single_queue(rng, 0.2)) for _ in range(20)]
    assert np.mean(np.array(loaded) < LEAST_RELAXATIONS) >= 0.8
    assert min(idle) > LEAST_RELAXATIONS


@pytest.mark.parametrize("took", [20.0, 2.0])
def test_long_requests_that_do_not_hinder_each_other_are_no_queue(took):
    rng = np.random.default_rng(2)
    found = []
    for _ in range(40):
        sent = np.sort(rng.uniform(-5 * took, SECONDS, int(5 * (5 * took + SECONDS))))
        found.append(spans(sent, rng.gamma(4.0, took / 4, len(sent))))
    assert np.mean(np.isinf(found)) >= 0.9


def test_equal_latencies_are_no_queue():
    sent = np.arange(0.0, SECONDS, 0.1)
    assert math.isinf(spans(sent, np.full(len(sent), 0.05)))
    assert math.isinf(spans(sent[:4], np.full(4, 0.05)))


def groups(sent, took, count=64):
    seen = (sent >= 0) & (sent < SECONDS)
    return [g for g in np.array_split(took[seen], count) if len(g)]


def test_short_looks_at_a_long_queue_say_so_or_hold_the_truth():
    # At a load of 0.95 the mean is 2 s and the median 1.39 s; half a minute is a fifth of what it remembers.
    rng = np.random.default_rng(3)
    held, held_without, said = [], [], []
    for _ in range(60):
        sent, took = single_queue(rng, 0.95, before=1500.0)
        memory, parts = spans(sent, took), groups(sent, took)
        found = mean(parts, "s", memory), *percentiles(parts, (0.5, 0.95), "s", relaxations=memory)
        inside = [abs(e.value - t) <= 1.96 * e.sem for e, t in zip(found, (2.0, 1.386, 5.991), strict=True)]
        held.append(inside)
        plain = mean(parts, "s")
        held_without.append(abs(plain.value - 2.0) <= 1.96 * plain.sem)
        said.append(memory < LEAST_RELAXATIONS)
    held, said = np.array(held), np.array(said)
    assert np.mean(held_without) < 0.6
    assert np.all(held.mean(axis=0) >= 0.75), held.mean(axis=0)
    assert np.all((held | said[:, None]).mean(axis=0) >= 0.88)


def test_a_quiet_open_loop_is_no_wider():
    rng = np.random.default_rng(4)
    sent = np.arange(0.0, SECONDS, 0.05)
    took = 0.1 + 0.002 * rng.normal(size=len(sent))
    memory, parts = spans(sent, took), groups(sent, took)
    for found, plain in zip(
        (mean(parts, "s", memory), *percentiles(parts, (0.5, 0.95), "s", relaxations=memory)),
        (mean(parts, "s"), *percentiles(parts, (0.5, 0.95), "s")),
        strict=True,
    ):
        assert found.sem <= 1.1 * plain.sem

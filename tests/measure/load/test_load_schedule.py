import itertools

import numpy as np
import pytest
from scipy import stats

from autotune.measure.load.schedule import offsets
from autotune.measure.load.trace import Entry, Trace
from autotune.measure.workload import Workload

N = 20_000
RATE = 40.0


def drawn(workload, stream="measured", count=N, rate=RATE, trace=None):
    return np.array(list(itertools.islice(offsets(workload, rate, stream, trace), count)))


def gaps(workload, stream="measured"):
    return np.diff(drawn(workload, stream), prepend=0) / 1e9


def test_constant_arrivals_do_not_drift():
    times = drawn(Workload(arrival="constant", rate=3.0), rate=3.0)
    assert times[0] == 0
    assert np.abs(times - np.arange(N) * 1e9 / 3).max() <= 0.5


@pytest.mark.parametrize("seed", range(5))
def test_poisson_gaps_are_exponential(seed):
    found = gaps(Workload(arrival="poisson", rate=RATE, seed=seed))
    assert found.mean() == pytest.approx(1 / RATE, rel=3 / np.sqrt(N))
    assert found.std() / found.mean() == pytest.approx(1, abs=4 / np.sqrt(N))
    assert stats.kstest(found, stats.expon(scale=1 / RATE).cdf).pvalue > 1e-3
    assert abs(np.corrcoef(found[1:], found[:-1])[0, 1]) < 4 / np.sqrt(N)


@pytest.mark.parametrize("burstiness", [0.25, 1.0, 4.0])
def test_gamma_gaps_have_the_coefficient_of_variation_asked_for(burstiness):
    found = gaps(Workload(arrival="gamma", rate=RATE, burstiness=burstiness))
    assert found.mean() == pytest.approx(1 / RATE, rel=4 / np.sqrt(N * burstiness))
    assert found.std() / found.mean() == pytest.approx(burstiness**-0.5, rel=0.06)
    gamma = stats.gamma(burstiness, scale=1 / (burstiness * RATE))
    assert stats.kstest(found, gamma.cdf).pvalue > 1e-3


def test_counts_of_a_poisson_stream_are_poisson():
    times = drawn(Workload(arrival="poisson", rate=RATE)) / 1e9
    counts = np.bincount(times.astype(int))[:-1]
    assert counts.var() / counts.mean() == pytest.approx(1, abs=4 * np.sqrt(2 / len(counts)))


def test_streams_and_seeds_are_their_own_and_reproducible():
    workload = Workload(arrival="poisson", rate=RATE)
    assert np.array_equal(drawn(workload), drawn(Workload.from_dict(workload.to_dict())))
    others = [gaps(workload, "warmup"), gaps(workload, "search/0"), gaps(Workload(arrival="poisson", seed=1))]
    for other in others:
        assert abs(np.corrcoef(gaps(workload), other)[0, 1]) < 4 / np.sqrt(N)


def test_the_first_times_are_written_down():
    assert drawn(Workload(arrival="poisson"), count=3, rate=1.0).tolist() == FIRST_POISSON
    assert drawn(Workload(arrival="gamma", burstiness=0.5), count=3, rate=1.0).tolist() == FIRST_GAMMA


def test_a_faster_rate_is_the_same_schedule_pressed_together():
    workload = Workload(arrival="poisson")
    assert drawn(workload, rate=2 * RATE) == pytest.approx(drawn(workload) / 2, abs=1)


def test_a_trace_keeps_its_times_or_takes_a_rate():
    trace = Trace(tuple(Entry(at, 1, 1) for at in (0.0, 1.0, 1.5, 4.0)), "x")
    workload = Workload(arrival="trace", trace="x")
    assert drawn(workload, rate=None, trace=trace).tolist() == [0, 10**9, 15 * 10**8, 4 * 10**9]
    assert trace.rate == pytest.approx(0.75)
    assert drawn(workload, rate=1.5, trace=trace).tolist() == [0, 5 * 10**8, 75 * 10**7, 2 * 10**9]


def test_an_open_loop_needs_a_rate():
    with pytest.raises(ValueError, match="needs a rate"):
        next(offsets(Workload(arrival="poisson"), None, "measured"))


FIRST_POISSON = [997609062, 2845399393, 6364991008]
FIRST_GAMMA = [536648277, 596980808, 3696182875]

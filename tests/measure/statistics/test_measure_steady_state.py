import numpy as np
import pytest

from autotune.measure.statistics.steady_state import is_steady, truncation_point


def test_the_cut_by_hand():
    # Kept from 0: sum of squares 81 * 0.8 = 64.8, over 25; kept from 1: 0.
    assert truncation_point([10, 1, 1, 1, 1]) == 1
    assert truncation_point([1, 1, 1, 1, 1]) == 0
    assert truncation_point([9, 5, 1, 1, 1, 1, 1]) == 2
    assert truncation_point([3, 2]) == 0


@pytest.mark.parametrize(
    ("series", "steady"),
    [
        ([1, 1, 1], False),  # too short to say
        ([1, 1, 1, 1], True),
        ([10, 1, 1, 1], False),
        ([10, 1, 1, 1, 1], True),
        ([10, 8, 6, 4, 2, 1], False),
        ([8, 4, 2, 1, 0.5, 0.25, 0.125], False),
        ([1, 2, 3, 4, 5, 6, 7, 8], False),
        ([9, 9, 9, 1, 1, 1, 1], True),
        ([9, 9, 9, 9, 9, 1, 1, 1, 1], False),  # a step in the second half
    ],
)
def test_a_series_is_steady_or_not(series, steady):
    assert is_steady(series) is steady


def test_every_series_must_be_steady():
    assert is_steady([1] * 6, [2] * 6)
    assert not is_steady([1] * 6, [1, 2, 3, 4, 5, 6])


def first_steady(series):
    return next((n for n in range(1, len(series) + 1) if is_steady(series[:n])), None)


def test_noise_ends_soon_and_a_transient_is_waited_for():
    rng = np.random.default_rng(0)
    noise = [first_steady(list(rng.normal(1, 0.05, 20))) for _ in range(300)]
    assert None not in noise
    assert np.mean(noise) < 8
    decay = 2.0 * 0.6 ** np.arange(20)
    ends = [first_steady(list(decay + rng.normal(1, 0.05, 20))) for _ in range(300)]
    left = [decay[n] if n is not None and n < 20 else 0.0 for n in ends]
    assert np.median(left) < 0.1  # of a steady value of 1, twice the noise

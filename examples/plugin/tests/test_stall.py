"""The metric keeps the contract of a metric, and its formula is what it says."""

import pytest
from autotune_example.stall import STALL, values

from autotune.core.request import RequestRecord
from autotune.testing.metric_contract import MetricContract


class TestStall(MetricContract):
    """Everything that a metric must keep."""

    @pytest.fixture
    def metric(self):
        """Give the metric."""
        return STALL


def test_the_formula_by_hand():
    """Tokens at 1, 2 and 5 s of a request that was sent at 0."""
    arrivals = tuple((second * 10**9, 1) for second in (1, 2, 5))
    assert values(RequestRecord(0, 8, 0, arrivals, 5 * 10**9)) == [3.0]

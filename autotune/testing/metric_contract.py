"""What every metric of the load must keep; inherit it to test one of your own.

.. code-block:: python

    class TestMyMetric(MetricContract):
        @pytest.fixture
        def metric(self):
            return MY_METRIC
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from autotune.core.metric import METRICS, MetricInfo
from autotune.core.request import Request, RequestRecord
from autotune.core.units import parse_quantity
from autotune.measure.metrics import Metric
from autotune.measure.statistics.samples import Batch, Sample, cut_windows

_MS = 1_000_000


def records(count: int = 40) -> list[RequestRecord]:
    """Return requests one after the other, each of four tokens; every tenth failed."""
    found = []
    for i in range(count):
        sent, first = 100 * i * _MS, (20 + i % 7) * _MS
        arrivals = tuple((sent + first + 10 * k * _MS, 1) for k in range(4))
        error = "boom" if i % 10 == 9 else None
        found.append(RequestRecord(i, 16, sent, arrivals, arrivals[-1][0] + _MS, error))
    return found


def batches(every: Sequence[RequestRecord], size: int = 4) -> list[Batch]:
    """Return records as batches that ran one after the other."""
    found = []
    for i in range(0, len(every), size):
        part = tuple(every[i : i + size])
        requests = tuple(Request(record.id, "x", 4, record.prompt_tokens) for record in part)
        found.append(Batch(requests, part, part[0].send_ns, part[-1].end_ns))
    return found


SAMPLES: dict[str, Sequence[Sample]] = {
    "batches": batches(records()),
    "windows": cut_windows(records(), 0, 4_000 * _MS, 10, concurrency=1),
    "windows of an open loop": cut_windows(records(), 0, 4_000 * _MS, 10),
}


class MetricContract:
    """Contract suite of a metric; a subclass gives it as the fixture ``metric``."""

    @pytest.fixture
    def metric(self) -> Metric:
        """Give the metric under test."""
        raise NotImplementedError

    def info(self, metric: Metric) -> MetricInfo:
        """Return what is known of the metric: by itself, or by the table of this package."""
        return getattr(metric, "info", None) or METRICS[metric.name]

    def test_its_info_can_stand_in_a_study_file(self, metric: Metric) -> None:
        info = self.info(metric)
        assert info.name == metric.name
        assert metric.name.replace(".", "_").isidentifier()
        assert info.direction in ("minimize", "maximize")
        assert info.description
        assert info.unit == "1" or parse_quantity(f"2 {info.unit}").unit == info.unit, "a base unit"

    @pytest.mark.parametrize("kind", SAMPLES)
    def test_estimates_are_its_own_finite_and_the_same_again(self, metric: Metric, kind: str) -> None:
        info, found = self.info(metric), metric.estimates(SAMPLES[kind], seed=3)
        names = {f"{info.name}.{statistic}" for statistic in info.statistics} or {info.name}
        assert found, "these requests tell it"
        assert set(found) <= names
        for estimate in found.values():
            assert math.isfinite(estimate.value)
            assert estimate.unit == info.unit
            assert estimate.sem is None or estimate.sem >= 0
        assert metric.estimates(SAMPLES[kind], seed=3) == found

    def test_the_order_of_requests_that_ran_together_does_not_matter(self, metric: Metric) -> None:
        turned = [
            Batch(batch.requests[::-1], batch.records[::-1], batch.called_ns, batch.returned_ns)
            for batch in batches(records())
        ]
        found = metric.estimates(SAMPLES["batches"])
        assert {name: estimate.value for name, estimate in metric.estimates(turned).items()} == pytest.approx(
            {name: estimate.value for name, estimate in found.items()}
        )

    def test_nothing_measured_and_nothing_answered_raise_nothing(self, metric: Metric) -> None:
        assert metric.estimates([]) == {}
        failed = [RequestRecord(r.id, 16, r.send_ns, (), r.end_ns, "boom") for r in records(8)]
        assert all(math.isfinite(e.value) for e in metric.estimates(batches(failed)).values())
        assert all(math.isfinite(e.value) for e in metric.estimates(batches(records(1))).values())

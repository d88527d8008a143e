import pytest

from autotune.core.metric import METRICS, STATISTICS, MetricInfo, check_metric, known_metrics, metric_info
from autotune.core.units import DIMENSIONS
from autotune.errors import SpecError


def test_names_with_a_statistic():
    found = metric_info("ttft.p99")
    assert found == MetricInfo(
        "ttft.p99",
        "s",
        "minimize",
        "time from sending a request to its first token",
        ("mean", "p50", "p95", "p99"),
        "p99",
    )


def test_a_metric_without_a_statistic_is_found_by_its_name():
    assert metric_info("output_throughput") is METRICS["output_throughput"]
    found = metric_info("memory.peak")
    assert found is not None
    assert (found.unit, found.direction) == ("B", "minimize")


@pytest.mark.parametrize("name", ["ttft", "ttft.p98", "bleu", "memory", "memory.peak.p99", "", ".p99", "p99"])
def test_unknown_names_are_left_to_the_caller(name):
    assert metric_info(name) is None


def test_every_known_name_is_found_and_has_a_base_unit():
    names = known_metrics()
    assert len(names) == len(set(names))
    assert {"ttft.p99", "e2e.mean", "output_throughput", "memory.peak", "acceptance_length"} <= set(names)
    for name in names:
        found = metric_info(name)
        assert found is not None
        assert found.name == name
        assert found.unit in DIMENSIONS.values()
        assert set(found.statistics) <= set(STATISTICS)


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("ttft", "metric 'ttft' needs a statistic; allowed: ttft.mean, ttft.p50, ttft.p95, ttft.p99", ""),
        (
            "ttft.p98",
            "metric 'ttft' has no statistic 'p98'; allowed: ttft.mean, ttft.p50, ttft.p95, ttft.p99",
            "did you mean 'ttft.p95'?",
        ),
        (
            "memory.peak.p99",
            "metric 'memory.peak' is one number and has no statistics, found 'memory.peak.p99'",
            "",
        ),
    ],
)
def test_near_misses_are_refused(name, message, hint):
    with pytest.raises(SpecError) as caught:
        check_metric(name)
    assert caught.value.message == message
    assert caught.value.hint[:12] == hint[:12]


def test_check_lets_users_own_metrics_pass():
    assert check_metric("bleu") is None
    assert check_metric("tpot.p95") == metric_info("tpot.p95")

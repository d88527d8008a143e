"""The one rule that ends a run, and the one validity of it."""

import math
import re
from itertools import pairwise
from pathlib import Path

import pytest

import autotune
from autotune.core.measurement import Cause, Estimate
from autotune.core.request import Request, RequestRecord
from autotune.measure.batches import validity as batches
from autotune.measure.endpoint import validity as endpoint
from autotune.measure.statistics.samples import Batch
from autotune.measure.statistics.stopping import GROWTH, Looks, StoppingRule, half_width
from autotune.measure.statistics.validity import Finding, Validity, errors, is_backwards


def test_looks_are_a_quarter_apart():
    looks = Looks(5)
    seen = [length for length in range(1, 40) if looks.due(length)]
    assert seen == [5, 7, 9, 12, 15, 19, 24, 30, 38]
    assert all(later >= GROWTH * earlier for earlier, later in pairwise(seen))


def test_precision_ends_a_run_at_a_look_only():
    looked = []

    def width():
        looked.append(True)
        return 0.01

    rule = StoppingRule(0.05, time=100.0, looks=Looks(4), in_a_row=2)
    assert [rule.reason(length, 0, 0.0, width) for length in range(1, 6)] == ["", "", "", "", "precision"]
    assert len(looked) == 2  # at 4 and at 5


def test_a_wide_look_begins_the_row_again():
    widths = iter([0.01, 0.2, 0.01, 0.01])
    rule = StoppingRule(0.05, time=1e9, in_a_row=2)
    assert [rule.reason(2.0**k, 0, 0.0, lambda: next(widths)) for k in range(4)] == ["", "", "", "precision"]


def test_requests_and_time_end_a_run_without_a_look():
    rule = StoppingRule(0.05, time=10.0, requests=40)
    assert rule.reason(1.0, 39, 9.9, None) == ""
    assert rule.reason(1.0, 40, 9.9, None) == "requests"
    assert rule.reason(1.0, 39, 10.0, None) == "time"


@pytest.mark.parametrize("estimate", [None, Estimate(1.0), Estimate(0.0, 0.1)])
def test_an_unknown_half_width_is_never_narrow(estimate):
    assert half_width(estimate) == math.inf


def test_a_half_width_is_relative():
    assert half_width(Estimate(-50.0, 1.0)) == pytest.approx(0.0392, rel=1e-3)


def test_the_first_finding_says_whose_fault_it_is():
    queue, other = Finding("slow", Cause.TIME_LIMIT, by_queue=True), Finding("odd", Cause.WRONG_OUTPUT)
    validity = Validity((queue, other))
    assert validity.reasons == ("slow", "odd")
    assert validity.reasons_excluding_overload == ("odd",)
    assert validity.cause is Cause.TIME_LIMIT
    assert Validity().reasons == ()
    assert Validity().cause is Cause.INVALID_MEASUREMENT


def test_batches_and_loads_are_judged_in_the_same_words():
    record = RequestRecord(0, 10, 5, ((15, 1), (12, 1)), 20)
    assert is_backwards(record)
    assert endpoint.clock([record]) == "the clock ran backwards in request 0"
    batch = Batch((Request(0, "a", 2, 0),), (record,), 0, 30)
    assert batches.clock([batch]) == "the clock ran backwards in batch 0, request 0"
    assert errors([None, "HTTP 500"], 4, 0.1) == "2 of 4 requests failed, at most 10.0% may; first: HTTP 500"
    assert errors(["x"], 10, 0.1) == ""


def test_one_module_says_when_a_run_ends():
    root = Path(autotune.__file__).parent / "measure"
    for pattern in (r"\bGROWTH = ", r"sem / abs\(", r"erfc\(z"):
        assert len([p for p in root.rglob("*.py") if re.search(pattern, p.read_text())]) == 1, pattern

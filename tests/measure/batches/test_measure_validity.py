from dataclasses import replace

import numpy as np
import pytest

from autotune.core.request import Request, RequestRecord
from autotune.measure.batches import validity
from autotune.measure.statistics.samples import Batch

MS = 1_000_000


def run(seconds, size=2, tokens=4):
    """Return one batch per length in seconds, one after the other."""
    batches, now = [], 0
    for number, length in enumerate(seconds):
        end = now + round(length * 1e9)
        requests = tuple(Request(number * size + i, "x", tokens, 10) for i in range(size))
        step = (end - now) // tokens
        records = tuple(
            RequestRecord(r.id, 10, now, tuple((now + step * (i + 1), 1) for i in range(tokens)), end)
            for r in requests
        )
        batches.append(Batch(requests, records, now, end))
        now = end + 10
    return batches


def altered(batches, number, **changes):
    batch = batches[number]
    records = (replace(batch.records[0], **changes), *batch.records[1:])
    return [*batches[:number], replace(batch, records=records), *batches[number + 1 :]]


def reasons(batches, least):
    return validity.validity_of(batches, least).reasons


def test_a_good_run_has_no_reasons():
    assert reasons(run([0.1, 0.12, 0.09, 0.1, 0.11]), 5) == ()


def test_too_few_batches_are_no_measurement():
    assert reasons(run([0.1] * 4), 5) == ("too few batches: 4 with answers, at least 5 are needed",)
    assert validity.too_little([], 2) == "too few batches: 0 with answers, at least 2 are needed"


def test_more_failed_requests_than_allowed_make_a_measurement_invalid():
    batches = altered(run([0.1] * 5), 2, error="connection reset")
    assert reasons(batches, 5) == ("1 of 10 requests failed, at most 0.1% may; first: connection reset",)
    few = altered(run([0.1] * 1000), 2, error="connection reset")  # 1 of 2,000
    assert validity.errors(few) == ""
    silent = altered(run([0.1] * 5), 2, arrivals=())
    assert validity.errors(silent) == "1 of 10 requests failed, at most 0.1% may; first: no output tokens"


def test_a_missing_record_is_an_error():
    batches = run([0.1] * 5)
    batches[0] = replace(batches[0], records=batches[0].records[:1])
    assert validity.errors(batches).startswith("1 of 10 requests failed")


def test_answers_of_another_length_make_a_measurement_invalid():
    batches = run([0.1] * 5)
    batches = altered(batches, 1, arrivals=batches[1].records[0].arrivals[:3])
    assert reasons(batches, 5) == (
        "1 of 10 answers have another length than asked for; first: request 2, 3 of 4 tokens",
    )


def test_prompts_that_were_cut_make_a_measurement_invalid():
    batches = run([0.1] * 5)
    for number in range(5):
        batches = altered(batches, number, prompt_tokens=6)
    assert reasons(batches, 5) == ("prompts were cut: 8.0 tokens on average instead of 10.0",)


def test_a_clock_that_ran_backwards_makes_a_measurement_invalid():
    batches = run([0.1] * 5)
    swapped = tuple(reversed(batches[3].records[0].arrivals))
    assert (
        validity.clock(altered(batches, 3, arrivals=swapped))
        == "the clock ran backwards in batch 3, request 6"
    )
    end = batches[3].returned_ns + 1
    assert validity.clock(altered(batches, 3, end_ns=end)) == (
        "times of request 6 in batch 3 lie outside the call that ran it: "
        "the system's clock is not this machine's monotonic clock"
    )
    assert validity.clock(altered(batches, 3, send_ns=batches[3].called_ns - 1)).startswith(
        "times of request 6"
    )


@pytest.mark.parametrize(("factor", "found"), [(1.5, "-41%"), (0.7, "+36%"), (1.05, "")])
def test_a_drifting_output_rate_makes_a_measurement_invalid(factor, found):
    reason = validity.drift(run(np.linspace(0.1, 0.1 * factor, 30)))
    assert bool(reason) is bool(found)
    if found:
        assert reason == f"the output rate drifted by {found} during the run, at most 10% may"


def test_noise_is_no_drift():
    rng = np.random.default_rng(0)
    runs = [run(0.1 * np.exp(0.15 * rng.normal(size=n))) for n in (8, 12, 30) for _ in range(200)]
    assert sum(bool(validity.drift(batches)) for batches in runs) <= 3  # one in a thousand is expected


def test_drift_of_a_long_run_is_cheap():
    assert validity.drift(run(np.linspace(0.1, 0.2, 3000), size=1, tokens=1)) != ""

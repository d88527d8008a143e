"""Why a measurement must not be believed. Each rule gives one line for a person, or nothing.

The rules are written here so that a number we report was VALID by something one can read:

* too little: fewer batches with answers than the workload asks for;
* errors: more than ``MOST_ERRORS`` of the requests failed: more would flatter those that were answered;
* token counts: an answer shorter or longer than asked for is other work than the workload's, and prompts
  that came out more than a tenth shorter than asked were cut;
* clock: times out of order, or outside the call that produced them;
* drift: the rate changed by more than ``MOST_DRIFT`` of its median from the start to the end (Theil-Sen)
  and a Mann-Kendall test says that it is no accident. Heat, a neighbour or too short a warm-up do this.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autotune.core.request import Request, RequestRecord
from autotune.measure.statistics.samples import Batch, is_answered
from autotune.measure.statistics.validity import Finding, Validity, is_backwards, trend
from autotune.measure.statistics.validity import errors as found_errors

MOST_ERRORS = 0.001
MOST_DRIFT = 0.10  # twice the usual precision: less does not change which configuration is best
_SHORTEST_PROMPTS = 0.9


def validity_of(batches: Sequence[Batch], min_batches: int) -> Validity:
    """Return why the run is INVALID; no reasons for a valid one.

    Args:
        batches: Measured batches in the order they ran.
        min_batches: Fewest batches with answers.
    """
    found = [
        too_little(batches, min_batches),
        errors(batches),
        token_counts(batches),
        prompt_lengths(batches),
        clock(batches),
        drift(batches),
    ]
    return Validity(tuple(Finding(reason) for reason in found if reason))


def too_little(batches: Sequence[Batch], min_batches: int) -> str:
    """Return a reason if too few batches have answers to tell their spread."""
    answered = sum(1 for batch in batches if batch.answered)
    if answered >= min_batches:
        return ""
    return f"too few batches: {answered} with answers, at least {min_batches} are needed"


def errors(batches: Sequence[Batch]) -> str:
    """Return a reason if more than 0.1 % of the requests failed or got no answer."""
    total = sum(len(batch.requests) for batch in batches)
    failed = [r.error for batch in batches for r in batch.records if not is_answered(r)]
    absent = sum(max(len(batch.requests) - len(batch.records), 0) for batch in batches)
    return found_errors([*failed, *[None] * absent], total, MOST_ERRORS)


def token_counts(batches: Sequence[Batch]) -> str:
    """Return a reason if answers are shorter or longer than asked for."""
    pairs = [pair for batch in batches for pair in _answered_pairs(batch)]
    wrong = [(q, r) for q, r in pairs if r.output_tokens != q.max_tokens]
    if len(wrong) <= MOST_ERRORS * len(pairs):
        return ""
    request, record = wrong[0]
    return (
        f"{len(wrong)} of {len(pairs)} answers have another length than asked for; "
        f"first: request {request.id}, {record.output_tokens} of {request.max_tokens} tokens"
    )


def prompt_lengths(batches: Sequence[Batch]) -> str:
    """Return a reason if prompts reached the model shorter than the workload says."""
    pairs = [p for batch in batches for p in _answered_pairs(batch) if p[0].prompt_tokens is not None]
    wanted = sum(request.prompt_tokens or 0 for request, _ in pairs)
    seen = sum(record.prompt_tokens for _, record in pairs)
    if not pairs or seen >= _SHORTEST_PROMPTS * wanted:
        return ""
    return f"prompts were cut: {seen / len(pairs):.1f} tokens on average instead of {wanted / len(pairs):.1f}"


def clock(batches: Sequence[Batch]) -> str:
    """Return a reason if times run backwards or lie outside the call that produced them."""
    for number, batch in enumerate(batches):
        for record in batch.records:
            if is_backwards(record):
                return f"the clock ran backwards in batch {number}, request {record.id}"
            if record.send_ns < batch.called_ns or record.end_ns > batch.returned_ns:
                return (
                    f"times of request {record.id} in batch {number} lie outside the call that ran it: "
                    "the system's clock is not this machine's monotonic clock"
                )
    return ""


def drift(batches: Sequence[Batch]) -> str:
    """Return a reason if the output rate rose or fell through the run."""
    rates = np.array([rate_of(batch) for batch in batches if batch.answered and batch.seconds > 0])
    change = trend(rates, MOST_DRIFT)
    if change is None:
        return ""
    return f"the output rate drifted by {change:+.0%} during the run, at most {MOST_DRIFT:.0%} may"


def rate_of(batch: Batch) -> float:
    """Return the batch's output tokens per second, 0 without any."""
    return sum(r.output_tokens for r in batch.answered) / batch.seconds if batch.seconds > 0 else 0.0


def _answered_pairs(batch: Batch) -> list[tuple[Request, RequestRecord]]:
    answered = {record.id: record for record in batch.answered}
    return [(request, answered[request.id]) for request in batch.requests if request.id in answered]

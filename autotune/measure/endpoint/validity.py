"""Why a measurement of a served system must not be believed, and whose fault that is.

The rules, beside those of :mod:`.validity` that hold for both:

* too few: fewer than ``LEAST_REQUESTS`` answered requests say nothing about their spread;
* errors: more than the workload's ``max_error_rate`` of the requests failed, truncated streams included. The
  server did that under this configuration, so it is the configuration's fault (``crashed_under_load``, or
  ``wrong_output`` where all that came was no answer at all); but a redirect is the owner's to mend;
* lengths: answers of another length than asked for are other work (the generator checks them and says so
  in the record's error);
* generator: the p99 of how late requests were sent is above ``MOST_SLIP_S`` and a tenth of the median time to
  the first token. Latencies count from the schedule, so they are too long then (``load_generator_behind``);
* cut off: a request that never ended although the load went on for twice as long as any other took;
* clock: times out of order;
* drift: the latency rose or fell by more than ``MOST_CHANGE`` over the run, and a Mann-Kendall test over ten
  parts says that it is no accident. Where it rises in an open loop, the caller looks for an overload first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autotune.core.endpoint import is_redirect
from autotune.core.measurement import Cause
from autotune.core.request import RequestRecord, is_malformed
from autotune.measure.statistics.samples import CUT_OFF, Window, is_answered
from autotune.measure.statistics.validity import Finding, Validity, is_backwards, trend
from autotune.measure.statistics.validity import errors as found_errors

LEAST_REQUESTS = 10
MOST_SLIP_S = 0.01
_SLIP_SHARE = 0.1
MOST_CHANGE = 0.25  # of the median: requests that queue differ by more than batches do
_PARTS = 10


@dataclass(frozen=True)
class LoadValidity(Validity):
    """Validity of a load.

    Args:
        rising: Whether the latency of an open loop rose all the time.
        slip_p99_s: Lateness of sending, 99th percentile.
    """

    rising: bool = False
    slip_p99_s: float = 0.0


def validity_of(
    windows: Sequence[Window],
    sent: Sequence[RequestRecord],
    max_error_rate: float,
    stopped_by: str,
    *,
    open_loop: bool,
) -> LoadValidity:
    """Judge what was measured.

    Args:
        windows: Measured ones.
        sent: Records of what was sent in them.
        max_error_rate: Share of the requests that may fail.
        stopped_by: Reason why the run ended.
        open_loop: Whether requests were sent at a rate rather than one for each that ended.
    """
    found: list[Finding] = []
    late = Cause.TIME_LIMIT if stopped_by == "deadline" else Cause.INVALID_MEASUREMENT
    if problem := errors(sent, max_error_rate):
        failed = [r.error for r in sent if r.error not in (None, CUT_OFF)]
        odd = all(is_malformed(error or "") for error in failed) and failed
        cause = Cause.WRONG_OUTPUT if odd else Cause.CRASHED_UNDER_LOAD
        if any(is_redirect(error or "") for error in failed):  # whichever else there was: it is mended first
            cause = Cause.OWNER_MISTAKE
        found.append(Finding(problem, cause))
    if problem := behind(sent):
        found.append(Finding(problem, Cause.LOAD_GENERATOR_BEHIND))
    if problem := too_few(sent):
        found.append(Finding(problem, late))
    if problem := clock(sent):
        found.append(Finding(problem))
    if problem := cut_off(sent):
        found.append(Finding(problem, late, by_queue=True))
    change = latency_trend(windows)
    if change is not None:
        text = f"the latency drifted by {change:+.0%} during the run, at most {MOST_CHANGE:.0%} may"
        found.append(Finding(text, by_queue=True))
    rising = open_loop and change is not None and change > 0
    return LoadValidity(tuple(found), rising, slip_p99(sent))


def errors(sent: Sequence[RequestRecord], most: float) -> str:
    """Return a reason if too large a share of the requests failed."""
    counted = [r for r in sent if r.error != CUT_OFF]
    failed = [r.error for r in counted if not is_answered(r)]
    failed.sort(key=lambda error: not is_redirect(error or ""))
    return found_errors(failed, len(counted), most)


def too_few(sent: Sequence[RequestRecord]) -> str:
    """Return a reason if too few requests were answered."""
    answered = sum(is_answered(r) for r in sent)
    if answered >= LEAST_REQUESTS:
        return ""
    return f"too few requests: {answered} answered, at least {LEAST_REQUESTS} are needed"


def slip_p99(sent: Sequence[RequestRecord]) -> float:
    """Return how late requests were sent, p99 in seconds; 0 without any."""
    return float(np.quantile([r.slip_ns for r in sent], 0.99)) / 1e9 if sent else 0.0


def behind(sent: Sequence[RequestRecord]) -> str:
    """Return a reason if the generator could not keep its schedule."""
    late = slip_p99(sent)
    first = [(r.arrivals[0][0] - r.send_ns) / 1e9 for r in sent if is_answered(r)]
    if late <= MOST_SLIP_S or (first and late <= _SLIP_SHARE * float(np.median(first))):
        return ""
    return f"the load generator was behind its schedule: p99 {1e3 * late:.3g} ms"


def cut_off(sent: Sequence[RequestRecord]) -> str:
    """Return a reason if requests never ended."""
    count = sum(r.error == CUT_OFF for r in sent)
    return f"{count} of {len(sent)} requests did not end while the load went on" if count else ""


def clock(sent: Sequence[RequestRecord]) -> str:
    """Return a reason if the times of a request run backwards."""
    for record in sent:
        if is_backwards(record):
            return f"the clock ran backwards in request {record.id}"
    return ""


def latency_trend(windows: Sequence[Window]) -> float | None:
    """Return by which share of its median the latency changed over the run; ``None`` if by chance."""
    means = []
    for part in np.array_split(np.arange(len(windows)), _PARTS):
        taken = [r.end_ns - r.send_ns for i in part for r in windows[i].answered]
        if taken:
            means.append(float(np.mean(taken)))
    return trend(np.array(means), MOST_CHANGE)

"""When requests are sent in an open loop: offsets from the start, fixed before it.

They follow from the workload's seed, the stream's name, the rate and the kind of arrival alone; nothing that
the system does can move them (no coordinated omission).

* ``constant``: one every ``1 / rate``;
* ``poisson``: exponential gaps of that mean;
* ``gamma``: gaps of that mean with shape ``burstiness`` (below 1: bursts; vLLM ``vllm bench serve`` has the
  same word for the same number);
* ``trace``: the times of a file, stretched so that their mean rate is ``rate`` where one is given.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from autotune.measure.load.trace import Trace
from autotune.measure.workload import Workload


def offsets(workload: Workload, rate: float | None, stream: str, trace: Trace | None = None) -> Iterator[int]:
    """Yield the offsets in nanoseconds, in order; without end but for a trace.

    Args:
        workload: Kind of arrival and seed.
        rate: Requests per second; ``None`` keeps the times of a trace.
        stream: Name of the random stream.
        trace: Trace of the workload.
    """
    if trace is not None:
        stretch = 1.0 if rate is None else trace.rate / rate
        for entry in trace.entries:
            yield round(entry.at_s * stretch * 1e9)
        return
    if rate is None or rate <= 0:
        raise ValueError(f"an open loop needs a rate above 0, found {rate!r}")
    if workload.arrival == "constant":
        i = 0
        while True:
            yield round(i * 1e9 / rate)
            i += 1
    random = workload.random(stream, "arrivals")
    shape = workload.burstiness if workload.arrival == "gamma" else None
    at = 0.0
    while True:
        if shape is None:
            gap = -math.log1p(-random.random()) / rate
        else:
            gap = random.gammavariate(shape, 1.0 / (shape * rate))
        at += gap
        yield round(at * 1e9)

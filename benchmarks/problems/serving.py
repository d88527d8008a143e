"""A simulated server for benchmarks of the optimizer: the shape of real ones, at no cost.

It serves the benchmarks and tests of engines only; nothing it says is ever reported as a measurement.
"""

from __future__ import annotations

import math

from autotune.core.measurement import Cause
from autotune.core.objective import Objective
from autotune.core.parameter import Bool, Int, Ordinal
from autotune.core.space import Space
from autotune.core.trial import Config
from benchmarks.problems.base import Problem, Truth

SPACE = Space(
    (
        Int("max_num_seqs", 8, 1024, powers_of=2, scale="log2", default=256, memory="up"),
        Int("max_num_batched_tokens", 512, 16384, powers_of=2, scale="log2", default=2048, memory="up"),
        Ordinal("quantization_bits", (4, 8, 16), default=16, memory="up"),
        Int("draft_length", 0, 6, default=0),
        Ordinal("tensor_parallel", (1, 2, 4, 8), default=1),
        Bool("prefix_caching", default=False),
        Bool("chunked_prefill", default=False),
    ),
)
OBJECTIVE = Objective.from_dict({"maximize": "output_throughput", "limits": ["tpot.p95 <= 60 ms"]})
NOISE = 0.03  # of serving measurements: 1 to 4 % (repeats of the same configuration)

_WEIGHTS_GB = 28.0  # a model of 14 billion parameters at 16 bits
_MEMORY_GB = 34.0


def truth(config: Config) -> Truth:
    """Return the noise-free metrics of a configuration, or the cause where memory runs out."""
    batch, tokens = int(config["max_num_seqs"]), int(config["max_num_batched_tokens"])
    bits, ranks, draft = (
        int(config["quantization_bits"]),
        int(config["tensor_parallel"]),
        int(config["draft_length"]),
    )
    weights = _WEIGHTS_GB * bits / 16
    memory = weights / ranks + 0.02 * batch / ranks + tokens * 2e-4 + (1.5 if draft else 0.0)
    if memory > _MEMORY_GB:
        return Cause.OUT_OF_MEMORY
    read = weights / ranks / 1.4  # ms to read the weights once
    compute = batch * (0.05 if bits == 16 else 0.035 if bits == 8 else 0.06) / ranks**0.85
    talk = 0.0 if ranks == 1 else 1.2 * math.log2(ranks) + 0.004 * batch
    step = max(read, compute) + 0.3 * min(read, compute) + talk + 2.0
    accepted = sum(0.72**i for i in range(draft + 1))
    step *= 1 + draft * (0.06 + 0.0009 * batch)
    stall = 25.0 * tokens / 16384 if not config["chunked_prefill"] else 4.0 + 6.0 * 512 / tokens
    prefill = (1.0 - 0.25 * bool(config["prefix_caching"])) * (1 + 600 / tokens)
    per_token = (step + 0.25 * stall * prefill) / accepted
    throughput = batch / per_token * 1e3 / ranks**0.3
    return {"output_throughput": throughput, "tpot.p95": per_token * 1.15 / 1e3}


def serving() -> Problem:
    """Return the simulator as a problem: 16,128 configurations, few of them good."""
    return Problem("serving", SPACE, OBJECTIVE, truth, NOISE)


def stalling() -> Problem:
    """Return the same on a machine that spoils one measurement in twelve."""
    return Problem("stalling", SPACE, OBJECTIVE, truth, NOISE, stalls=1 / 12)

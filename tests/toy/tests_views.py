"""A small study in every state that a report must show, and the fixtures that give it."""

import pytest

from autotune.analysis.study_view import StudyView
from autotune.core.measurement import Cause, Estimate, Failure, Measurement
from autotune.core.objective import Objective
from autotune.core.space import Space
from autotune.core.trial import Reason, Suggestion, Trial, TrialState

SECOND = 1_000_000_000

SPACE = Space.from_dict(
    {
        "parameters": {
            "batch_size": {"type": "int", "low": 1, "high": 32, "powers_of": 2, "default": 1},
            "quantization_bits": {"type": "ordinal", "values": [4, 8, 16], "default": 16},
            "draft_length": {"type": "int", "low": 0, "high": 6, "default": 0},
            "tensor_parallel": {"type": "ordinal", "values": [1, 2]},
            "threads": {"type": "int", "low": 1, "high": 2},
        },
        "constraints": ["draft_length == 0 or batch_size == 1"],
    }
)
OBJECTIVE = Objective.from_dict({"maximize": "output_throughput", "limits": ["tpot.p95 <= 60 ms"]})


def trial(
    number, values, *, speed=None, tpot=None, cause=None, reason=Reason.EXPLORE, state=None, attempts=1
):
    config = dict(zip(SPACE.names, values, strict=True))
    measurement = None
    if cause is not None:
        failure = Failure(Cause(cause), "what the log said", "last line\n")
        measurement = Measurement(failure=failure, started_ns=SECOND, ended_ns=8 * SECOND)
        state = state or TrialState.INFEASIBLE
    elif speed is not None:
        metrics = {
            "output_throughput": Estimate(speed, speed * 0.01, 30, "tokens/s"),
            "tpot.p95": Estimate(tpot, tpot * 0.02, 30, "s"),
        }
        measurement = Measurement(metrics, started_ns=SECOND, ended_ns=14 * SECOND)
        state = TrialState.COMPLETED
    return Trial(
        number, Suggestion(config, reason, "gp"), state or TrialState.WAITING, attempts, measurement, "node-1"
    )


TRIALS = (
    trial(0, (1, 16, 0, 1, 1), speed=31.2, tpot=0.032, reason=Reason.DEFAULT),
    trial(1, (8, 8, 0, 1, 2), speed=120.3, tpot=0.055, reason=Reason.INITIAL),
    trial(2, (32, 16, 0, 2, 2), speed=812.3, tpot=0.072, reason=Reason.INITIAL),
    trial(3, (32, 4, 0, 1, 1), cause="crashed_under_load"),
    trial(4, (16, 16, 0, 1, 2), speed=402.3, tpot=0.052, reason=Reason.EXPLOIT),
    trial(5, (4, 8, 0, 1, 2), cause="worker_lost", state=TrialState.FAILED, attempts=3),
    trial(6, (16, 16, 0, 1, 2), speed=398.3, tpot=0.053, reason=Reason.CONFIRM),
    trial(7, (1, 16, 0, 1, 1), speed=31.9, tpot=0.0321, reason=Reason.CONFIRM),
    trial(8, (1, 16, 4, 1, 1), state=TrialState.RUNNING),
)


def make_view(trials=TRIALS, **changes):
    values = {
        "name": "quickstart",
        "space": SPACE,
        "objective": OBJECTIVE,
        "trials": trials,
        "budget_trials": 12,
        "now_ns": 60 * SECOND,
        "running": ((8, 1, 50 * SECOND),),
        "ledger": "autotune-runs/ledger.sqlite",
    }
    return StudyView(**{**values, **changes})


WIDE = Space.from_dict(
    {
        "parameters": {
            "max_num_seqs": {"type": "int", "low": 8, "high": 1024, "scale": "log2"},
            "max_num_batched_tokens": {"type": "ordinal", "values": [2048, 8192, 16384, 65536]},
            "gpu_memory_utilization": {"type": "float", "low": 0.7, "high": 0.97},
            "kv_cache_dtype": {"type": "categorical", "values": ["auto", "fp8_e5m2", "fp8_e4m3"]},
            "enable_prefix_caching": {"type": "bool"},
            "enable_chunked_prefill": {"type": "bool"},
            "tensor_parallel_size": {"type": "ordinal", "values": [1, 2, 4, 8]},
            "pipeline_parallel_size": {"type": "ordinal", "values": [1, 2]},
            "swap_space_bytes": {"type": "ordinal", "values": [0, 4294967296, 8589934592], "unit": "B"},
            "speculative_draft_tokens": {"type": "int", "low": 0, "high": 8},
            "attention_backend": {"type": "categorical", "values": ["FLASH_ATTN", "FLASHINFER"]},
            "block_size": {"type": "ordinal", "values": [16, 32]},
        }
    }
)


def wide_view(count=14, **changes):
    """Return a study of twelve parameters with long names, of which memory utilization matters most."""
    trials = []
    for i in range(count):
        config = {
            p.name: p.levels[(i * (2 * j + 3) + j) % len(p.levels)] for j, p in enumerate(WIDE.parameters)
        } | {"block_size": 16}
        speed = 1e4 * float(config["gpu_memory_utilization"]) ** 3 + i % 3
        metrics = {
            "output_throughput": Estimate(speed, speed * 0.02, 30, "tokens/s"),
            "ttft.p99": Estimate(0.2 + 0.01 * i, 0.004, 30, "s"),
        }
        failed = Measurement(failure=Failure(Cause.OUT_OF_MEMORY, "CUDA out of memory"), ended_ns=9 * SECOND)
        done = i % 5 != 4
        trials.append(
            Trial(
                i,
                Suggestion(config, Reason.EXPLORE, "gp"),
                TrialState.COMPLETED if done else TrialState.INFEASIBLE,
                1,
                Measurement(metrics, started_ns=SECOND, ended_ns=95 * SECOND) if done else failed,
            )
        )
    wanted = Objective.from_dict({"maximize": "output_throughput", "limits": ["ttft.p99 <= 300 ms"]})
    values = {"space": WIDE, "objective": wanted, "running": ()}
    return make_view(tuple(trials), **{**values, **changes})


def two_goals_view():
    """Return the small study with two goals."""
    return make_view(objective=Objective.from_dict({"maximize": "output_throughput", "minimize": "tpot.p95"}))


@pytest.fixture(name="make_view")
def make_view_fixture():
    """Builds the view of a study; keywords replace its fields."""
    return make_view


@pytest.fixture(name="make_trial")
def make_trial_fixture():
    """Builds a trial from the values of its parameters."""
    return trial


@pytest.fixture(name="trials")
def trials_fixture():
    """A trial in every state that a report must show."""
    return TRIALS

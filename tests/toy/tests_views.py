"""A small study in every state that a report must show."""

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

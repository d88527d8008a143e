"""Trials of one parameter ``x`` with a speed and a delay, for the tests of what ranks them."""

from autotune.core.measurement import Cause, Estimate, Failure, Measurement
from autotune.core.objective import Objective
from autotune.core.trial import Reason, Suggestion, Trial, TrialState

FASTEST = Objective.from_dict({"maximize": "speed"})
LIMITED = Objective.from_dict({"maximize": "speed", "limits": ["delay <= 500 ms"]})


def measured(number, x, speed, *, sem=None, delay=0.1, reason=Reason.EXPLORE):
    metrics = {"speed": Estimate(speed, sem, 8, "tokens/s"), "delay": Estimate(delay, None, 1, "s")}
    return Trial(number, Suggestion({"x": x}, reason), TrialState.COMPLETED, 1, Measurement(metrics))


def failed(number, x, cause="out_of_memory"):
    state = TrialState.INFEASIBLE if Cause(cause).configuration_at_fault else TrialState.FAILED
    return Trial(
        number, Suggestion({"x": x}, Reason.EXPLORE), state, 1, Measurement(failure=Failure(Cause(cause)))
    )

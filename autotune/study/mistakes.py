"""The owner's mistakes in a study's course: which failure is one, and what it must not be charged to."""

from __future__ import annotations

from dataclasses import dataclass, replace

from autotune.core.measurement import INFEASIBLE, Cause, Failure
from autotune.core.mistake import alike, blamed, mistake_error, repeated
from autotune.core.trial import Config, Trial, TrialState, config_key
from autotune.errors import AutotuneError
from autotune.study.study import Study

_NOTE = "mistakes"


@dataclass(frozen=True)
class Mistake:
    """A mistake of the owner's that ends a run.

    Args:
        trial: Trial in which it showed.
        failure: Failure of that trial.
        error: Exception that a function raised; ``None`` for anything else.
        others: Number of other trials that failed alike.
    """

    trial: Trial
    failure: Failure
    error: Exception | None = None
    others: int = 0

    def told(self, default: Config) -> AutotuneError:
        """Return the error that ends the run of a study file, whose default configuration is given."""
        is_default = self.trial.key == config_key(default)
        number = self.trial.number
        where = f"trial {number}, the default configuration" if is_default else f"trial {number}"
        if self.others and not is_default:
            where = f"{self.others + 1} configurations fail alike, and none was measured; {where}"
        return mistake_error(self.failure, where, alike=bool(self.others) and not is_default)


def judge(study: Study, number: int, failure: Failure, *, raised: bool = False) -> Failure:
    """Return a failure with its true cause: the owner's mistake where no configuration is to blame.

    What a function says itself of a configuration (``Infeasible``) stays so. A message that ended the study
    once, because every configuration failed with it, does not end it again: whoever runs it anew insists that
    the configurations are to blame.

    Args:
        study: Study of the trial.
        number: Number of the trial.
        failure: Failure as whoever ran the attempt reported it.
        raised: Whether it is an exception of a function that says what is infeasible in another way.
    """
    if INFEASIBLE in failure.log_tail:
        return failure
    trials = study.trials
    default = trials[number].key == config_key(study.space.default_config)
    measured = any(trial.state is TrialState.COMPLETED for trial in trials)
    judged = blamed(failure, is_default=default, measured=measured)
    if raised and default and not measured:
        judged = replace(failure, cause=Cause.OWNER_MISTAKE)
    told = list(study.ledger.study_notes(study.name).get(_NOTE) or ())
    if judged.cause is not Cause.OWNER_MISTAKE and failure.message not in told:
        if not repeated(trials, number, failure):
            return judged
        study.ledger.set_study_note(study.name, _NOTE, [*told, failure.message])
        return replace(failure, cause=Cause.OWNER_MISTAKE)
    return judged


def acquit(study: Study, mistake: Failure) -> int:
    """Put the trials back that failed as the owner's mistake did, and return how many: none is charged."""
    numbers = alike(study.trials, mistake)
    for number in numbers:
        study.reopen(number)
    return len(numbers)


__all__ = ["Mistake", "acquit", "judge"]

"""Trials of an Optuna study as measured trials of ours."""

from __future__ import annotations

from dataclasses import dataclass, field

from optuna.trial import FrozenTrial, TrialState

from autotune.convert.base import Conversion
from autotune.convert.entries import plain_value
from autotune.convert.optuna import constraint_metric, constraints_of, read_trials
from autotune.core.measurement import Failure
from autotune.core.trial import Reason, config_key
from autotune.errors import AutotuneError
from autotune.integrations.optuna_parameters import cause_of
from autotune.study.study import Study


@dataclass
class Imported:
    """The fate of the trials of a foreign study.

    Args:
        measured: Number of trials that were measured.
        failed: Number of trials that failed.
        known: Number of those that the study had already.
        left_out: Numbers of the others, by reason.
    """

    measured: int = 0
    failed: int = 0
    known: int = 0
    left_out: dict[str, list[int]] = field(default_factory=dict)

    def leave_out(self, number: int, why: str) -> None:
        """Note a trial that is not taken over."""
        self.left_out.setdefault(why, []).append(number)


def import_trials(study: Study, source: str, name: str | None = None) -> Imported:
    """Add the finished trials of an Optuna study to a study of ours; those that it has stay as they are.

    Args:
        study: Study over the space and the objective that ``autotune convert`` made of the source.
        source: Address of a storage, or the path of a SQLite file or a journal.
        name: Name of the Optuna study; may be left out where the storage has one only.

    Raises:
        SpecError: There is no such storage or study.
        EnvironmentProblem: A database cannot be reached.
    """
    conversion, metrics, trials = read_trials(source, name)
    done = Imported()
    known = {t.key for t in study.trials if t.suggestion.reason is Reason.ADDED}
    for trial in trials:
        _import(study, trial, conversion, metrics, known, done)
    return done


def _import(
    study: Study,
    trial: FrozenTrial,
    conversion: Conversion,
    metrics: list[str],
    known: set[str],
    done: Imported,
) -> None:
    if trial.state not in (TrialState.COMPLETE, TrialState.FAIL):
        done.leave_out(trial.number, f"{trial.state.name.lower()}: nothing was measured to its end")
        return
    values = {conversion.names[n]: plain_value(v) for n, v in trial.params.items() if n in conversion.names}
    config = {n: v for n, v in values.items() if n in study.space.names}
    found = dict(zip(metrics, trial.values or (), strict=False))
    found |= {constraint_metric(key): value for key, value in constraints_of(trial).items()}
    lacking = [m for m in study.objective.metrics if m not in found]
    if trial.state is TrialState.COMPLETE and lacking:
        done.leave_out(trial.number, f"it has no {', '.join(lacking)}")
        return
    try:
        whole = study.space.validate(config)
        if config_key(whole) in known:
            done.known += 1
        elif trial.state is TrialState.COMPLETE:
            study.add(whole, {name: float(found[name]) for name in found})
            done.measured += 1
        else:
            message = str(trial.user_attrs.get("failure message", "failed in Optuna"))
            study.add(whole, failure=Failure(cause_of(trial), message))
            done.failed += 1
    except AutotuneError as error:
        done.leave_out(trial.number, error.message)

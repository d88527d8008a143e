r"""How much the machine changes during a study, seen in the default configuration measured again and again.

A launch's own standard error says how well it knows its mean, not that the machine is the same an hour later.
With :math:`v_i` the logarithms of what the default gave in its launches through the search and :math:`s_i`
their relative standard errors, the variance that is not explained is

.. math:: e^2 = \max(0, S^2 \nu / (\nu + 2) - \overline{s^2}), \quad S^2 = \sum (v_i - \bar v)^2 / \nu

with :math:`\nu` one less than the launches. The factor shrinks a spread from two or three launches, which may
be anything, towards none: two launches of no extra variance are believed beforehand. Every measurement is
told to the engine with an error widened by :math:`e`. People are told where
:math:`\sum (v_i - \bar v)^2 / \overline{s^2}` is beyond the 99 % quantile of chi squared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from autotune.core.measurement import LARGEST, Estimate
from autotune.core.objective import Objective
from autotune.core.quantiles import chi_squared_quantile
from autotune.core.space import Space
from autotune.core.trial import Config, Reason, Trial, TrialState, config_key

_BELIEVED = 2  # launches without extra variance that are believed beforehand
_CERTAIN = 0.99


@dataclass(frozen=True)
class Drift:
    """Change of a metric of the default configuration through a study.

    Args:
        metric: Metric that drifts.
        values: Values of its launches in the order they ran.
        trials: Their numbers.
        extra: Relative standard deviation between launches that their own errors do not explain.
        change: Relative change of the last against the first.
        certain: Whether the launches differ by more than their own errors say.
    """

    metric: str
    values: tuple[float, ...]
    trials: tuple[int, ...]
    extra: float
    change: float
    certain: bool

    def __str__(self) -> str:
        shown = ", ".join(f"{value:.4g}" for value in self.values)
        return (
            f"the machine drifted: the default configuration gave {self.metric} {shown} in trials "
            f"{', '.join(str(n) for n in self.trials)} ({100 * self.change:+.0f} % from first to last); "
            f"{100 * self.extra:.1f} % are counted as noise of every measurement"
        )

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON data."""
        return {
            "metric": self.metric,
            "values": list(self.values),
            "trials": list(self.trials),
            "extra": self.extra,
            "change": self.change,
            "certain": self.certain,
        }


def find_drift(trials: Sequence[Trial], metric: str, default: Config) -> Drift | None:
    """Return how ``metric`` of the default changed while the study searched; ``None`` before a second look.

    Args:
        trials: Trials of the study. Confirmations do not count: they come together at the end.
        metric: Name of a metric that is positive where it was measured.
        default: The default configuration.
    """
    if not any(t.suggestion.reason is Reason.WATCH for t in trials):
        return None
    key = config_key(default)
    launches = [
        t
        for t in sorted(trials, key=lambda t: t.number)
        if t.state is TrialState.COMPLETED
        and t.suggestion.reason is not Reason.CONFIRM
        and metric in t.metrics
        and t.metrics[metric].value > 0
        and t.key == key
    ]
    if len(launches) < 2:
        return None
    estimates = [t.metrics[metric] for t in launches]
    logs = [math.log(e.value) for e in estimates]
    freedom = len(logs) - 1
    mean = math.fsum(logs) / len(logs)
    squares = math.fsum((v - mean) ** 2 for v in logs)
    within = math.fsum(min((e.sem or 0.0) / e.value, LARGEST) ** 2 for e in estimates) / len(estimates)
    extra = max(0.0, squares / (freedom + _BELIEVED) - within)
    values = tuple(e.value for e in estimates)
    return Drift(
        metric,
        values,
        tuple(t.number for t in launches),
        math.sqrt(extra),
        values[-1] / values[0] - 1,
        within > 0 and squares / within > chi_squared_quantile(freedom, _CERTAIN),
    )


def with_drift(history: Sequence[Trial], objective: Objective, space: Space) -> list[Trial]:
    """Return the history with the errors of the objective's metrics widened by the drift.

    Args:
        history: Finished trials.
        objective: Its goals and limits are what an engine models.
        space: Space with the default configuration.
    """
    watch = Reason.WATCH
    if not any(t.suggestion.reason is watch for t in history):
        return list(history)
    default = space.default_config
    found = {metric: find_drift(history, metric, default) for metric in objective.metrics}
    extra = {metric: drift.extra for metric, drift in found.items() if drift is not None and drift.extra > 0}
    if not extra:
        return list(history)
    return [_widened(trial, extra) for trial in history]


def _widened(trial: Trial, extra: dict[str, float]) -> Trial:
    measurement = trial.measurement
    if measurement is None or not measurement.metrics:
        return trial
    metrics = {
        name: _wider(estimate, extra[name]) if name in extra else estimate
        for name, estimate in measurement.metrics.items()
    }
    return replace(trial, measurement=replace(measurement, metrics=metrics))


def _wider(estimate: Estimate, extra: float) -> Estimate:
    if estimate.sem is None:  # unknown stays unknown: the engine estimates such noise itself
        return estimate
    return replace(estimate, sem=math.hypot(estimate.sem, extra * estimate.value))

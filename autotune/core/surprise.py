"""How far a measurement lies from what the engine had predicted, in standard deviations."""

from __future__ import annotations

import math

from autotune.core.measurement import Estimate
from autotune.core.trial import Trial

NOTEWORTHY = 3.0
"""Standard deviations from which a surprise is shown: one in 400 for a model that is right."""

SURPRISE = "surprise"
"""How the text of a surprise begins."""

_LEAST = 1e-6  # relative: a prediction that claims to be more exact than this is rounding


def surprises(trial: Trial) -> dict[str, float]:
    """Return by metric how many standard deviations more was measured than predicted.

    Formula: ``(log(measured) - log(predicted)) / max(sd, sem)`` with the relative predictive deviation and
    standard error; plain differences where a value is not positive. The deviation is that of a measurement
    with the noise of the others; one that is noisier counts with its own error. Metrics without a prediction
    or a predictive deviation are left out.
    """
    result = {}
    for metric, predicted in trial.suggestion.predicted.items():
        measured = trial.metrics.get(metric)
        if measured is not None and predicted.sem is not None:
            result[metric] = _score(predicted, measured)
    return result


def largest(trial: Trial) -> tuple[str, float] | None:
    """Return the metric that surprised most and by how much, if that is noteworthy; else ``None``."""
    found = surprises(trial)
    if not found:
        return None
    metric = max(found, key=lambda name: abs(found[name]))
    return (metric, found[metric]) if abs(found[metric]) > NOTEWORTHY else None


def show_surprise(score: float) -> str:
    """Return ``surprise +4.2 sd``."""
    return f"{SURPRISE} {score:+.1f} sd" if abs(score) < 100 else f"{SURPRISE} {score:+.0f} sd"


def _score(predicted: Estimate, measured: Estimate) -> float:
    spread, error = predicted.sem or 0.0, measured.sem or 0.0
    if predicted.value > 0 and measured.value > 0:
        apart = math.log(measured.value) - math.log(predicted.value)
        deviation = max(spread / predicted.value, error / measured.value)
        return apart / max(deviation, _LEAST)
    least = _LEAST * max(abs(predicted.value), abs(measured.value))
    return (measured.value - predicted.value) / max(spread, error, least, 1e-300)

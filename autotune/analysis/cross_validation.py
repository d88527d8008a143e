"""Prediction against measurement: what the model says of each configuration from all the others.

Every launch of a configuration is left out at once; hyper-parameters are those fitted to all of them
([Rasmussen2006], section 5.4.2). An interval is of one more launch: the doubt of the prediction, what differs
between launches, and the error of the measurement it is compared with.

References:
    [Rasmussen2006] C. E. Rasmussen, C. K. I. Williams, "Gaussian Processes for Machine Learning", 2006.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np

from autotune.analysis.study_view import StudyView
from autotune.core.quantiles import NORMAL
from autotune.engine.base import Prediction


@dataclass(frozen=True)
class LeftOut:
    """One trial and what was predicted of it, in the metric's base unit.

    Args:
        trial: Number of the trial.
        measured: Measured value.
        predicted: Expected value.
        low: Lower bound of the 95 % interval of a measurement.
        high: Upper bound.
        residual: Standardized residual: measured less predicted, in predicted deviations.
    """

    trial: int
    measured: float
    predicted: float
    low: float
    high: float
    residual: float

    @property
    def inside(self) -> bool:
        """Whether the measurement is inside its interval."""
        return self.low <= self.measured <= self.high


@dataclass(frozen=True)
class CrossValidation:
    """Leave-one-out predictions of one metric.

    Args:
        metric: Name of the metric.
        logarithm: Whether the model is of the logarithm.
        points: One for each trial with a prediction.
        r2: Share of the variance that is predicted, on the model's scale; ``None`` where nothing varies.
    """

    metric: str
    logarithm: bool
    points: tuple[LeftOut, ...]
    r2: float | None

    @property
    def coverage(self) -> float:
        """Share of the measurements inside their 95 % intervals."""
        return sum(point.inside for point in self.points) / len(self.points)


def cross_validation(view: StudyView, metric: str | None = None) -> CrossValidation | None:
    """Return what the model predicts of each trial from all other configurations.

    Args:
        view: The study.
        metric: A goal's or a limit's; by default that of the first goal.

    Returns:
        ``None`` without a model of it that can leave trials out.

    Raises:
        SpecError: The study's objective has no such metric.
    """
    name = view.metric_named(metric)

    def computed() -> dict[str, object] | None:
        model = view.model
        if model is None or name not in model.logarithm:
            return None
        expected = {key: asdict(found) for key, found in model.left_out(name).items()}
        return {"logarithm": model.logarithm[name], "expected": expected}

    kept = view.facts.recall(f"prediction {name}", computed)
    if kept is None:
        return None
    logarithm = kept["logarithm"]
    left_out = {key: Prediction(**found) for key, found in kept["expected"].items()}
    points, pairs = [], []
    for trial, value, sem in view.measured(name):
        found = left_out.get(trial.key)
        if found is None or (logarithm and value <= 0):
            continue
        error = (sem or 0.0) / abs(value) if logarithm else (sem or 0.0)
        deviation = math.sqrt(found.variance + found.noise + error**2)
        measured = math.log(value) if logarithm else value
        ends = (found.mean, found.mean - NORMAL * deviation, found.mean + NORMAL * deviation)
        predicted, low, high = (math.exp(min(end, 700.0)) if logarithm else end for end in ends)
        residual = (measured - found.mean) / deviation if deviation else 0.0
        points.append(LeftOut(trial.number, value, predicted, low, high, residual))
        pairs.append((measured, found.mean))
    if not points:
        return None
    measured_values, means = np.array(pairs).T
    total = float(((measured_values - measured_values.mean()) ** 2).sum())
    missed = float(((measured_values - means) ** 2).sum())
    return CrossValidation(name, logarithm, tuple(points), 1.0 - missed / total if total > 0 else None)

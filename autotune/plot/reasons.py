"""Why a figure of a model has nothing to show."""

from __future__ import annotations

from autotune.analysis.study_view import LEAST_MODELLED, StudyView
from autotune.core.units import counted


def without_model(view: StudyView, metric: str) -> str:
    """Return in a sentence why there is no model of a metric."""
    if view.facts.missing:
        return f"{view.facts.missing}."
    measured = view.measured(metric)
    if not measured:
        return f"No trial has measured {metric} yet."
    values = {value for _, value, _ in measured}
    if len(values) < 2 and len(measured) > 1:
        return f"All {len(measured)} trials measured the same {metric}."
    found = counted(len({trial.key for trial, _, _ in measured}), "configuration")
    return f"Too few configurations have measured {metric} for a model: {found}, {LEAST_MODELLED} are needed."

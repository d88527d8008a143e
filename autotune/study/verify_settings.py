"""What a verification takes of its study's file, and what of it may be set otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace

from autotune.core.json_object import JsonObject
from autotune.errors import SpecError, StudyError
from autotune.executor.brought import same_place
from autotune.ledger import StudyRow
from autotune.spec.overrides import apply_overrides
from autotune.spec.sections import EngineConfig
from autotune.spec.stored import StoredSpec
from autotune.spec.yaml_text import Document
from autotune.study.comparing import differing_settings
from autotune.study.study_file import MEASURED_WITH, StudyFile, read_stored_study

LAUNCHED_WITH = (*MEASURED_WITH, "resources", "space")
"""Sections that have to be equal for launches to stand beside others of the same verification."""

_TOLD = (*MEASURED_WITH, "objective", "budget", "resources", "deadlines", "tracking", "on")

_LAUNCHES = "winner and default are launched, and nothing is searched", "--launches says how often"
_REFUSED = {
    "description": ("a verification has no description", ""),
    "start": ("winner and default are launched, and nothing is searched", ""),
    "engine": ("winner and default are launched, and nothing is searched", ""),
    "budget.trials": _LAUNCHES,
    "budget.time": ("every launch is made, whatever time that takes", "`deadlines` bound each of them"),
    "budget.confirm": _LAUNCHES,
    "budget.watch": _LAUNCHES,
    "budget.stop_when": _LAUNCHES,
    "tracking.mirrors": ("a verification is mirrored to MLflow only", ""),
}
"""Reason and hint for each key that would change nothing."""


def verification_file(row: StudyRow, name: str, launches: int, overrides: Sequence[str] = ()) -> StudyFile:
    """Return the file of a study as that of a verification.

    Args:
        row: The study in the ledger.
        name: Name of the verification.
        launches: Launches in all.
        overrides: ``KEY=VALUE`` of the file.

    Raises:
        SpecError: An override is wrong, or would change nothing.
    """
    for override in overrides:
        _check_key(override)
    stored = StoredSpec(deepcopy(row.spec)).with_parts({"name": row.name})
    spec = read_stored_study(deepcopy(stored), overrides)
    if overrides:
        _check_values(spec, read_stored_study(stored), row.name)
    budget = replace(spec.budget, trials=launches, time_s=None, confirm=0, watch=0, stop_when="budget")
    tracking = replace(spec.tracking, experiment=spec.tracking.experiment or row.name)
    engine = EngineConfig("random", row.seed)
    return replace(spec, name=name, budget=budget, engine=engine, tracking=tracking, start=())


def told(before: StudyFile, now: StudyFile) -> list[str]:
    """Return what was overridden, a line for each key."""
    return differing_settings(before.to_dict(), now.to_dict(), _TOLD)


def launched_otherwise(stored: JsonObject, now: StudyFile) -> list[str]:
    """Return in what the launches of an earlier verification differ from those of another, a line each.

    Args:
        stored: Study file of the earlier one, as the ledger has it.
        now: Study file of the other one.
    """
    try:
        before = read_stored_study(deepcopy(dict(stored)))
    except (SpecError, StudyError) as error:  # of a version that wrote it otherwise
        return [error.message]
    return differing_settings(same_place(before.to_dict()), same_place(now.to_dict()), LAUNCHED_WITH)


def _check_key(override: str) -> None:
    document = Document({}, "")
    apply_overrides(document, [override])
    for key, value in document.data.items():
        inner = [f"{key}.{each}" for each in value] if isinstance(value, Mapping) else []
        for name in (key, *inner):
            if name in _REFUSED:
                why, hint = _REFUSED[name]
                raise SpecError(f"--set {override}: {why}", hint=hint)


def _check_values(spec: StudyFile, study: StudyFile, name: str) -> None:
    """Refuse another goal, and a mirror that has nothing of the study."""
    if spec.objective.goals != study.objective.goals:
        goals = ("; ".join(map(str, one.objective.goals)) for one in (study, spec))
        raise SpecError(
            f"--set objective: the winner of study {name!r} is that of its own goal: {' -> '.join(goals)}",
            hint="limits and confidence may be others; another goal is another study",
        )
    if spec.tracking.mlflow not in (None, study.tracking.mlflow):
        raise SpecError(
            f"--set tracking.mlflow: study {name!r} is mirrored to {study.tracking.mlflow or 'no store'}, "
            "and its verification to the same",
            hint="`none` mirrors nothing",
        )

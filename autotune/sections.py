"""Read study files with every section checked by the part that it belongs to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autotune.engine.registry import build_engine
from autotune.measure.workload import Workload
from autotune.spec.load import Check, load_study_file, study_spec_from_dict
from autotune.spec.study_file import StudySpec
from autotune.systems.registry import build_system

CHECKS: dict[str, Check] = {
    "system": build_system,
    "workload": Workload.from_dict,
    "engine": build_engine,
}


def read_study(path: str | Path, overrides: Sequence[str] = ()) -> StudySpec:
    """Read a study file completely.

    Raises:
        SpecError: Something is wrong: ``file:line:column: what was found; what is allowed``.
    """
    return load_study_file(path, overrides, CHECKS)


def read_stored_study(data: Mapping[str, Any], overrides: Sequence[str] = ()) -> StudySpec:
    """Read the study that a ledger holds, with overrides."""
    return study_spec_from_dict(data, overrides, CHECKS)

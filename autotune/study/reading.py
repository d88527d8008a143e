"""A study of a ledger as a view: all that reports, figures and the commands that only look are made of."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from autotune.analysis.model_facts import MODEL_FACTS
from autotune.analysis.study_view import StudyView
from autotune.core import ranking
from autotune.core.assessment import Assessment, ModelQuality
from autotune.core.decision import PREDICTIONS, Predictions, restored
from autotune.core.dependencies import what_is_missing
from autotune.core.input_file import read_raw
from autotune.core.objective import Objective
from autotune.core.trial import Trial, TrialState
from autotune.engine.base import Engine, assess, model_quality, predictions
from autotune.engine.registry import stored_engine
from autotune.errors import AutotuneError
from autotune.ledger import Ledger, StudyRow
from autotune.ledger.copies import copy_state
from autotune.ledger.lock import study_is_held
from autotune.spec.sections import EngineConfig
from autotune.spec.stored import StoredSpec
from autotune.spec.yaml_text import MAX_BYTES
from autotune.study.stored_spec import read_stored_spec

STARTED_WITH = "started_with"
"""Note of a study: the options of the command that ran it last, beside those that its file keeps."""

STUDY_FILE = "study_file"
"""Note of a study: path of the file that it last ran with, and a digest of what that said."""


def options_of(row: StudyRow) -> list[str]:
    """Return the options to go on with a study; none where an earlier version ran it, or nobody did."""
    found = row.notes.get(STARTED_WITH)
    return [str(word) for word in found] if isinstance(found, list) else []


def file_note(file: Path) -> dict[str, str]:
    """Return the note of a study file; empty where it cannot be read."""
    try:
        text = read_raw(file, MAX_BYTES)
    except (OSError, ValueError):  # a FIFO too: the ledger names a path at which anything may lie by now
        return {}
    return {"path": os.path.abspath(file), "digest": hashlib.blake2b(text, digest_size=16).hexdigest()}


def edited_file(row: StudyRow) -> str:
    """Return the path of a study's file where it says something else than when the study ran; else empty."""
    noted = row.notes.get(STUDY_FILE) or {}
    now = file_note(Path(noted["path"])) if noted else {}
    return str(noted["path"]) if now and now != noted else ""


def as_it_stands(ledger: Ledger, row: StudyRow) -> StudyRow:
    """Return a row that does not claim to run where no process holds the study: it was killed."""
    if row.state != "RUNNING" or ledger.path is None or study_is_held(ledger.path, row.name):
        return row
    row = ledger.study(row.name) or row  # what it wrote before it let go
    return replace(row, state="INTERRUPTED") if row.state == "RUNNING" else row


def read_view(ledger: Ledger, row: StudyRow, *, live: bool = False) -> StudyView:
    """Return a study of the ledger as it stands.

    Args:
        ledger: Ledger of the study.
        row: Study.
        live: Whether somebody is known to run it, whatever the ledger says.

    Raises:
        LedgerError: What the ledger holds of it is wrong.
    """
    row = replace(row, state="RUNNING") if live else as_it_stands(ledger, row)
    stored = read_stored_spec(ledger.path, row)
    trials = ledger.trials(row.name)
    if row.state == "INTERRUPTED":  # a kill left attempts that nobody works on: the next run repeats them
        left = TrialState.RUNNING
        trials = [replace(t, state=TrialState.WAITING) if t.state is left else t for t in trials]
    anchored = ranking.anchored(trials, stored.objective, stored.space)
    running = []
    for trial in trials:
        if trial.state is TrialState.RUNNING:
            last = ledger.attempts(row.name, trial.number)[-1]
            running.append((trial.number, last.attempt, last.started_ns))
    expected, no_model = None, ""
    try:
        expected = _predictions(row, trials, stored, anchored)
    except ImportError as error:  # what was measured is told without it
        no_model = what_is_missing(error)
        if not no_model:
            raise
    return StudyView(
        name=row.name,
        space=stored.space,
        objective=anchored,
        trials=tuple(trials),
        state=row.state.lower(),
        budget_trials=stored.trials,
        budget_seconds=stored.seconds,
        confirm=stored.confirm,
        predictions=expected,
        started_ns=row.created_ns,
        now_ns=time.time_ns(),
        running=tuple(running),
        ledger=str(ledger.path or ""),
        options=tuple(options_of(row)),
        tracking=stored.tracking_uri or "",
        stopped=str((row.notes.get("stopped") or {}).get("reason", "")),
        spec=stored,
        model_note=row.notes.get(MODEL_FACTS) or {},
        no_model=no_model,
        copies=copy_state(ledger, row.name),
    )


def model_account(
    row: StudyRow, view: StudyView
) -> tuple[Assessment | None, Mapping[str, ModelQuality] | None]:
    """Return what the study's engine says of what is left and of its model; ``None`` without a model.

    Raises:
        AutotuneError: The engine is a plug-in's and not installed here.
    """

    def computed() -> dict[str, object] | None:
        engine = _engine_of(view.spec)
        if engine is None:
            return None
        left = assess(engine, view.space, view.objective, view.trials, row.seed)
        quality = model_quality(engine, view.space, view.objective, view.trials)
        return {
            "left": None if left is None else left.to_dict(),
            "quality": None if quality is None else [found.to_dict() for found in quality.values()],
        }

    found = view.facts.recall(f"account {row.engine} {row.seed}", computed) or {"left": None, "quality": None}
    quality = None if found["quality"] is None else [ModelQuality(**each) for each in found["quality"]]
    return (
        None if found["left"] is None else Assessment(**found["left"]),
        None if quality is None else {each.metric: each for each in quality},
    )


def _engine_of(stored: StoredSpec) -> Engine | None:
    return stored_engine((stored.engine or EngineConfig()).section)


def _predictions(
    row: StudyRow, trials: Sequence[Trial], stored: StoredSpec, anchored: Objective
) -> Predictions | None:
    """Return what the ledger holds of a model's predictions, else what the study's engine says now."""
    if row.state == "RUNNING":  # nothing is decided yet
        return None
    try:
        return restored(row.notes.get(PREDICTIONS) or {}, trials, stored.objective)
    except LookupError:  # of an earlier version, or killed: the model is fitted again
        try:
            engine = _engine_of(stored)
        except AutotuneError:  # a plug-in that is not installed here: what was measured is told without it
            return None
        return None if engine is None else predictions(engine, stored.space, anchored, trials)

"""What deploys the winner of a study that has ended, kept for whoever has not its system."""

from __future__ import annotations

import logging
from pathlib import Path

from autotune.core.redact import redact, redacted
from autotune.errors import words_of
from autotune.ledger import Ledger, StudyRow
from autotune.study.exporting import deployed
from autotune.study.reading import read_view
from autotune.study.report import made_files
from autotune.study.result import deployment_of
from autotune.study.study import Study
from autotune.systems.base import System
from autotune.systems.deployment import Deployment
from autotune.tracking.items import DEPLOYMENT, VERIFIES

_log = logging.getLogger("autotune.study")


def keep_deployment(study: Study, system: System) -> None:
    """Keep in the ledger what deploys the winner: a mirror that is completed later needs no system for it."""
    row = study.ledger.study(study.name)
    view = None if row is None else read_view(study.ledger, row)
    if view is None or view.best is None:
        return
    number = view.best.trial.number
    try:
        made = deployed(system, view.best, view)
    except Exception as error:  # noqa: BLE001 - a system of somebody else's; all is measured
        _log.warning("no deployment of trial %s: %s", number, error)
        return
    _keep(study.ledger, study.name, number, made)


def complete_carried(path: Path, row: StudyRow) -> list[str]:
    """Keep what deploys the winner of a study that has ended, where an earlier version did not.

    Args:
        path: The ledger.
        row: The study.

    Returns:
        What a mirror cannot be given all the same, in words.
    """
    if row.state == "RUNNING" or row.notes.get(VERIFIES):
        return []
    missing = []
    if DEPLOYMENT not in row.notes:
        with Ledger.open(path) as ledger:
            view = read_view(ledger, row)
            try:
                found = deployment_of(view)
            except Exception as error:  # noqa: BLE001 - of a system that is not here, or of somebody else's
                missing.append(f"no deployment is known: {redact(words_of(error).splitlines()[0])}")
            else:
                if found is not None and view.best is not None:
                    _keep(ledger, row.name, view.best.trial.number, found)
    return missing if made_files(path, row.name) else [*missing, "there is no report yet"]


def _keep(ledger: Ledger, study: str, trial: int, found: Deployment) -> None:
    ledger.set_study_note(study, DEPLOYMENT, redacted({"trial": trial, **found.to_dict()}))

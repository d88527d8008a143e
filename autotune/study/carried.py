"""What people carry away from a study that has ended: what deploys the winner, its report and its plots."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from autotune.core.redact import redacted
from autotune.study.study import Study
from autotune.systems.base import System
from autotune.systems.deployment import deployment
from autotune.tracking.items import DEPLOYMENT

REPORTS = ("report.html", "report.md")
"""Names of a report in the folder of its study."""

PLOTS = "plots"
"""Folder of a study's figures beside its report, an HTML file each."""

_log = logging.getLogger("autotune.study")


def keep_deployment(study: Study, system: System) -> None:
    """Keep in the ledger what deploys the winner: a mirror that is completed later needs no system for it."""
    found = study.decide().recommended
    if found is None:
        return
    try:
        made = deployment(system, found.contender.config, study.space.derived)
    except Exception as error:  # noqa: BLE001 - a system of somebody else's; all is measured
        _log.warning("no deployment of trial %s: %s", found.contender.trial.number, error)
        return
    note = {"trial": found.contender.trial.number, **made.to_dict()}
    study.ledger.set_study_note(study.name, DEPLOYMENT, redacted(note))


def study_files(folder: Path) -> Mapping[str, Path]:
    """Return the report and the plots of a study as far as they are there, by the name of each artifact.

    Args:
        folder: Folder of the study, beside the ledger.
    """
    found = {name: folder / name for name in REPORTS if (folder / name).is_file()}
    plots = sorted((folder / PLOTS).glob("*.html")) if (folder / PLOTS).is_dir() else []
    return found | {f"{PLOTS}/{path.name}": path for path in plots}

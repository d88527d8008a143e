"""What deploys the winner of a study that has ended, kept for whoever has not its system."""

from __future__ import annotations

import logging

from autotune.core.redact import redacted
from autotune.study.study import Study
from autotune.systems.base import System
from autotune.systems.deployment import deployment
from autotune.tracking.items import DEPLOYMENT

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

"""What deploys the configuration that a study recommends."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from autotune.core.environment import inherited
from autotune.core.redact import redacted

if TYPE_CHECKING:
    from autotune.analysis.study_view import StudyView
    from autotune.ledger import StudyRow
    from autotune.systems.deployment import Deployment


def deployment_of(row: StudyRow, view: StudyView) -> Deployment | None:
    """Return what deploys the best configuration; ``None`` without a system or a best one."""
    if not row.spec.get("system") or view.best is None:
        return None
    from autotune.systems.deployment import deployment
    from autotune.systems.registry import build_system
    from autotune.systems.served.negotiation import as_measured

    found = deployment(build_system(row.spec["system"]), view.best.config, view.space.derived)
    measured = view.best.trial.measurement
    facts = (measured.facts.get("system") or {}) if measured is not None else {}
    endpoint = None if found.endpoint is None else as_measured(found.endpoint, facts)
    env = {**inherited(), **found.env} if found.argv else {}
    shown = redacted({"argv": list(found.argv), "env": env})
    notes = found.notes
    if shown != {"argv": list(found.argv), "env": env}:
        notes = (*notes, "secrets are not shown: put them in the place of [redacted]")
    return replace(found, argv=tuple(shown["argv"]), env=shown["env"], endpoint=endpoint, notes=notes)

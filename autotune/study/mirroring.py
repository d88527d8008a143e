"""The mirror of a study, started beside it."""

from __future__ import annotations

from autotune.spec.sections import Tracking
from autotune.study.study import Study
from autotune.tracking.base import Mirror
from autotune.tracking.registry import Mirrors, build_mirrors

MIRROR_START_S = 20.0
"""Longest wait for the tracking library to finish loading, which would disturb the first measurement."""

MIRROR_FLUSH_S = 15.0
"""Longest wait for the mirror at the end; ``autotune sync`` does what is left."""

MIRROR_STOPPED_S = 3.0
"""The same after a signal: whoever sent it kills what has not ended in time, in 10 s under Docker."""


def start_mirror(tracking: Tracking, study: Study) -> Mirror | None:
    """Return the mirrors of a study that has a ledger file as one, started; ``None`` where it has none."""
    assert study.path is not None  # noqa: S101 - as called
    found = build_mirrors(tracking.mirrors, study.path, study.name)
    if tracking.mlflow is not None:
        from autotune.tracking.mlflow import MlflowMirror

        experiment = tracking.experiment or study.name
        found.append(
            MlflowMirror(
                study.path,
                study.name,
                tracking_uri=tracking.mlflow,
                experiment=experiment,
                copy_every_s=tracking.copy_every_s,
            )
        )
    if not found:
        return None
    mirror = found[0] if len(found) == 1 else Mirrors(found)
    mirror.start()
    return mirror

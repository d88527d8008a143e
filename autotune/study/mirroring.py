"""The mirror of a study, started beside it."""

from __future__ import annotations

from autotune.spec.sections import Tracking
from autotune.study.study import Study
from autotune.tracking.base import Mirror

MIRROR_START_S = 20.0
"""Longest wait for the tracking library to finish loading, which would disturb the first measurement."""

MIRROR_FLUSH_S = 15.0
"""Longest wait for the mirror at the end; ``autotune sync`` does what is left."""

MIRROR_STOPPED_S = 3.0
"""The same after a signal: whoever sent it kills what has not ended in time, in 10 s under Docker."""


def start_mirror(tracking: Tracking, study: Study) -> Mirror:
    """Return the mirror of a study that has a ledger file, started."""
    from autotune.tracking.mlflow import MlflowMirror

    assert study.path is not None and tracking.mlflow is not None  # noqa: S101, PT018 - as called
    mirror = MlflowMirror(
        study.path,
        study.name,
        tracking_uri=tracking.mlflow,
        experiment=tracking.experiment or study.name,
    )
    mirror.start()
    return mirror

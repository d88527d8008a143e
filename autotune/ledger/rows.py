"""What the ledger's rows mean as values."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from autotune.core.measurement import EXPIRED, LATE, Measurement
from autotune.core.redact import redact
from autotune.core.trial import Suggestion, Trial, TrialState
from autotune.ledger.schema import canonical

Row: TypeAlias = dict[str, Any]
"""Row of a table, by column."""

OWNER = "owner"
"""Note of a study that was submitted to a cluster: who submitted it."""


@dataclass(frozen=True)
class StudyRow:
    """Row of a study."""

    name: str
    uid: str
    spec: dict[str, Any]
    fingerprint: str
    seed: int
    engine: str
    state: str
    notes: dict[str, Any]
    created_ns: int

    @property
    def owner(self) -> str:
        """Who submitted the study; empty where nobody did."""
        return str(self.notes.get(OWNER) or "")

    @property
    def label(self) -> str:
        """Name of the study with that of its owner, where it has one."""
        return f"{self.owner}/{self.name}" if self.owner else self.name


@dataclass(frozen=True)
class AttemptRow:
    """Row of an attempt, one execution of a trial: RUNNING, DONE, LOST or LATE."""

    attempt: int
    state: str
    executor: str
    node: str
    scratch: str
    started_ns: int
    ended_ns: int | None
    measurement: Measurement | None


def attempt_row(
    study: str,
    trial: int,
    attempt: int,
    state: str,
    executor: str,
    scratch: str = "",
    measurement: Measurement | None = None,
) -> dict[str, Any]:
    """Return the row of a new attempt; one that is already measured brings its own times."""
    now = time.time_ns()
    return {
        "study": study,
        "trial": trial,
        "attempt": attempt,
        "state": state,
        "executor": executor,
        "node": "",
        "scratch": scratch,
        "started_ns": (measurement.started_ns or now) if measurement is not None else now,
        "ended_ns": (measurement.ended_ns or now) if measurement is not None else None,
        "measurement": measurement_text(measurement) if measurement is not None else None,
    }


def measurement_text(measurement: Measurement) -> str:
    """Return a measurement as the ledger keeps it: what a failure says has its secrets masked."""
    failure = measurement.failure
    if failure is not None:
        failure = replace(failure, message=redact(failure.message), log_tail=redact(failure.log_tail))
    return canonical(replace(measurement, failure=failure).to_dict())


def late_measurement(row: Row, late: Measurement) -> str | None:
    """Return the measurement of an expired attempt with the result that came after all among its facts.

    Returns:
        ``None`` for an attempt that did not expire, or a second word of its expiry.
    """
    kept = json.loads(row["measurement"])
    if not kept["facts"].get(EXPIRED) or late.facts.get(EXPIRED):
        return None
    kept["facts"][LATE] = json.loads(measurement_text(late))
    return canonical(kept)


def read_study(row: Row) -> StudyRow:
    """Build a study from its row; a spec that is no mapping has no parts, which whoever wants them says."""
    spec = json.loads(row["spec"])
    return StudyRow(
        name=row["name"],
        uid=row["uid"],
        spec=spec if isinstance(spec, dict) else {},
        fingerprint=row["fingerprint"],
        seed=row["seed"],
        engine=row["engine"],
        state=row["state"],
        notes=json.loads(row["notes"]),
        created_ns=row["created_ns"],
    )


def read_trial(row: Row, attempt: Row | None) -> Trial:
    """Build a trial from its row and the row of the attempt that decided it."""
    text = None if attempt is None else attempt["measurement"]
    return Trial(
        number=row["number"],
        suggestion=Suggestion.from_dict(json.loads(row["suggestion"])),
        state=TrialState(row["state"]),
        attempts=row["attempts"],
        measurement=None if text is None else Measurement.from_dict(json.loads(text)),
        node="" if attempt is None else attempt["node"],
    )


def read_attempt(row: Row) -> AttemptRow:
    """Build an attempt from its row."""
    text = row["measurement"]
    return AttemptRow(
        attempt=row["attempt"],
        state=row["state"],
        executor=row["executor"],
        node=row["node"],
        scratch=row["scratch"],
        started_ns=row["started_ns"],
        ended_ns=row["ended_ns"],
        measurement=None if text is None else Measurement.from_dict(json.loads(text)),
    )

"""The ledger: what happened, in one SQLite file, committed before anybody is told."""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from autotune.core.commands import free_name
from autotune.core.measurement import Measurement
from autotune.core.trial import Suggestion, Trial, TrialState
from autotune.errors import EmptyLedgerError, LedgerError, StudyError
from autotune.ledger.connection import damaged
from autotune.ledger.file import LedgerFile
from autotune.ledger.lock import study_lock
from autotune.ledger.rows import (
    AttemptRow,
    StudyRow,
    attempt_row,
    late_measurement,
    measurement_text,
    read_attempt,
    read_study,
    read_trial,
)
from autotune.ledger.schema import CONTENT, KEYS, canonical, intact, named


class Ledger(LedgerFile):
    """The ledger: what happened. Threads take turns at an instance; several instances may share the file."""

    # -- studies -----------------------------------------------------------------------------------

    def create_study(
        self, name: str, *, spec: Mapping[str, object], fingerprint: str, seed: int, engine: str
    ) -> StudyRow:
        """Commit a new study.

        Raises:
            StudyError: The name is taken.
        """
        with self._transaction() as revision:
            if self._get("study", name) is not None:
                raise StudyError(f"the ledger already has a study {name!r}")
            row = {
                "name": name,
                "uid": uuid.uuid4().hex,
                "spec": canonical(spec),
                "fingerprint": fingerprint,
                "seed": seed,
                "engine": engine,
                "state": "CREATED",
                "notes": "{}",
                "created_ns": time.time_ns(),
                "revision": revision,
            }
            self._put("study", row)
        return read_study(row)

    def study(self, name: str) -> StudyRow | None:
        """Return the study called ``name``, or ``None``."""
        row = self._get("study", name)
        return None if row is None else read_study(row)

    def studies(self) -> list[StudyRow]:
        """Return every study, oldest first."""
        with self._reading():
            names = self._db.execute("SELECT name FROM study ORDER BY created_ns, name").fetchall()
        damaged = "\n".join(self.damaged)
        rows = (self.study(name) for (name,) in names if f"study(name={name!r})" not in damaged)
        return [row for row in rows if row is not None]

    def unused_name(self, name: str) -> str:
        """Return ``name``, or the first of ``name-2``, ``name-3`` ... that is free."""
        return free_name(name, {row.name for row in self.studies()})

    def _study(self, name: str) -> dict[str, Any]:
        row = self._get("study", name)
        if row is None:
            raise StudyError(f"the ledger has no study {name!r}")
        return row

    def _change_study(self, name: str, **changes: object) -> None:
        with self._transaction() as revision:
            row = self._study(name)
            self._put("study", {**row, **changes, "revision": revision})

    def set_study_state(self, name: str, state: str) -> None:
        """Commit the state of a study: RUNNING, COMPLETED or INTERRUPTED."""
        self._change_study(name, state=state)

    def set_study_spec(self, name: str, spec: Mapping[str, object]) -> None:
        """Commit a changed study file (another budget or objective over the same space)."""
        self._change_study(name, spec=canonical(spec))

    def widen_study(
        self,
        name: str,
        spec: Mapping[str, object],
        fingerprint: str,
        adopted: Mapping[int, Suggestion],
        changes: Sequence[str],
    ) -> None:
        """Commit another search space for a study, with its trials as configurations of it.

        Args:
            name: Name of the study.
            spec: Its study file with the new space.
            fingerprint: Fingerprint of the new space.
            adopted: Suggestions by trial that gained values for new parameters.
            changes: Changes, kept as a note with the trial from which they hold.
        """
        with self._transaction() as revision:
            row = self._study(name)
            (count,) = self._db.execute("SELECT count(*) FROM trial WHERE study = ?", (name,)).fetchone()
            notes = json.loads(row["notes"])
            notes["widened"] = [*notes.get("widened", []), {"from_trial": count, "changes": list(changes)}]
            changed = {"spec": canonical(spec), "fingerprint": fingerprint, "notes": canonical(notes)}
            self._put("study", {**row, **changed, "revision": revision})
            for number, suggestion in adopted.items():
                trial = self._trial_row(name, number)
                text = canonical(suggestion.to_dict())
                self._put("trial", {**trial, "suggestion": text, "revision": revision})

    def set_study_note(self, name: str, key: str, value: object) -> None:
        """Commit one note (plain JSON data) beside the study."""
        notes = self.study_notes(name)
        notes[key] = value
        self._change_study(name, notes=canonical(notes))

    def study_notes(self, name: str) -> dict[str, Any]:
        """Return the notes of a study."""
        row = self.study(name)
        return {} if row is None else dict(row.notes)

    def lock_study(self, name: str) -> AbstractContextManager[None]:
        """Hold the study for this process until the context ends.

        Raises:
            StudyError: Another process holds it; it is named.
        """
        return nullcontext() if self.path is None else study_lock(self.path, name)

    # -- trials ------------------------------------------------------------------------------------

    def add_trial(self, study: str, number: int, suggestion: Suggestion) -> None:
        """Commit a waiting trial.

        Raises:
            StudyError: ``number`` is not the next one.
        """
        with self._transaction() as revision:
            self._add_trial(study, number, suggestion, TrialState.WAITING, revision)

    def _add_trial(
        self, study: str, number: int, suggestion: Suggestion, state: TrialState, revision: int
    ) -> None:
        query = "SELECT coalesce(max(number), -1) + 1 FROM trial WHERE study = ?"
        (following,) = self._db.execute(query, (study,)).fetchone()
        if number != following:
            raise StudyError(f"trial {number} cannot be added to {study!r}: the next number is {following}")
        row = {
            "study": study,
            "number": number,
            "suggestion": canonical(suggestion.to_dict()),
            "state": state.value,
            "attempts": 0,
            "decided_by": None,
            "revision": revision,
        }
        self._put("trial", row)

    def _trial_row(self, study: str, number: int) -> dict[str, Any]:
        row = self._get("trial", study, number)
        if row is None:
            raise StudyError(f"study {study!r} has no trial {number}")
        return row

    def start_attempt(self, study: str, number: int, executor: str, scratch: str = "") -> int:
        """Commit that an attempt starts and return its number, counted from 1."""
        with self._transaction() as revision:
            trial = self._trial_row(study, number)
            if TrialState(trial["state"]).finished:
                raise StudyError(f"trial {number} of {study!r} is already {trial['state']}")
            attempt = int(trial["attempts"]) + 1
            row = attempt_row(study, number, attempt, "RUNNING", executor, scratch)
            self._put("trial", {**trial, "state": "RUNNING", "attempts": attempt, "revision": revision})
            self._put("attempt", row)
        return attempt

    def finish_attempt(
        self,
        study: str,
        number: int,
        attempt: int,
        measurement: Measurement,
        *,
        state: TrialState,
        node: str = "",
    ) -> bool:
        """Commit the result of an attempt.

        Args:
            study: Name of the study.
            number: Number of the trial.
            attempt: Number of the attempt, counted from 1.
            measurement: Outcome of it.
            state: State that the trial takes; WAITING puts it back to the queue for another attempt.
            node: Node on which it ran.

        Returns:
            Whether it decided the trial now. A second result of the same attempt changes nothing; the
            result of an attempt that was given up is kept as LATE and not told: in place of none, or as the
            fact ``late`` beside the failure that it expired with.
        """
        with self._transaction() as revision:
            trial = self._trial_row(study, number)
            row = self._get("attempt", study, number, attempt)
            if row is None:
                raise StudyError(f"trial {number} of {study!r} has no attempt {attempt}")
            if row["state"] in ("DONE", "LATE"):
                if row["state"] == "DONE" and (late := late_measurement(row, measurement)) is not None:
                    self._put("attempt", {**row, "state": "LATE", "measurement": late})
                return False
            current = trial["attempts"] == attempt and trial["state"] == "RUNNING"
            row |= {
                "state": "DONE" if current else "LATE",
                "node": node,
                "ended_ns": time.time_ns(),
                "measurement": measurement_text(measurement),
            }
            self._put("attempt", row)
            if current:
                decided = attempt if state.finished else None
                trial |= {"state": state.value, "decided_by": decided, "revision": revision}
                self._put("trial", trial)
            return bool(current)

    def add_measured(
        self, study: str, number: int, suggestion: Suggestion, measurement: Measurement, state: TrialState
    ) -> None:
        """Commit a trial together with its measurement."""
        with self._transaction() as revision:
            self._add_trial(study, number, suggestion, state, revision)
            row = attempt_row(study, number, 1, "DONE", "added", measurement=measurement)
            self._put("attempt", row)
            trial = self._trial_row(study, number)
            self._put("trial", {**trial, "attempts": 1, "decided_by": 1, "revision": revision})

    def requeue(self, study: str, number: int) -> None:
        """Put a trial whose attempt was lost back to WAITING; the attempt is closed as LOST."""
        self._close_attempt(study, number, TrialState.WAITING)

    def reopen(self, study: str, number: int) -> None:
        """Put a finished trial back to WAITING: its failure said nothing of it. Its attempts are kept."""
        with self._transaction() as revision:
            trial = self._trial_row(study, number)
            changes = {"state": TrialState.WAITING.value, "decided_by": None, "revision": revision}
            self._put("trial", {**trial, **changes})

    def abandon(self, study: str, number: int) -> None:
        """Give an unfinished trial up for good."""
        self._close_attempt(study, number, TrialState.ABANDONED)

    def _close_attempt(self, study: str, number: int, state: TrialState) -> None:
        with self._transaction() as revision:
            trial = self._trial_row(study, number)
            if TrialState(trial["state"]).finished:
                raise StudyError(f"trial {number} of {study!r} is already {trial['state']}")
            row = self._get("attempt", study, number, trial["attempts"]) if trial["attempts"] else None
            if row is not None and row["state"] == "RUNNING":
                self._put("attempt", {**row, "state": "LOST", "ended_ns": time.time_ns()})
            self._put("trial", {**trial, "state": state.value, "revision": revision})

    def trial(self, study: str, number: int) -> Trial:
        """Return one trial.

        Raises:
            StudyError: There is none of that number.
        """
        row = self._trial_row(study, number)
        decided = row["decided_by"]
        return read_trial(row, None if decided is None else self._get("attempt", study, number, decided))

    def trials(self, study: str) -> list[Trial]:
        """Return every trial in number order; damaged ones are left out after ``salvage``."""
        with self._snapshot():
            query = "SELECT * FROM attempt WHERE study = ?"
            attempts = {(r["trial"], r["attempt"]): dict(r) for r in self._db.execute(query, (study,))}
            rows = self._db.execute(
                "SELECT * FROM trial WHERE study = ? ORDER BY number", (study,)
            ).fetchall()
        result = []
        for found in rows:
            row = dict(found)
            attempt = attempts.get((row["number"], row["decided_by"]))
            if intact("trial", row) and (attempt is None or intact("attempt", attempt)):
                result.append(read_trial(row, attempt))
            elif not self.damaged:
                raise LedgerError(f"the ledger {self.path} is damaged: trial {row['number']} of {study!r}")
        return result

    def attempts(self, study: str, number: int) -> list[AttemptRow]:
        """Return every attempt of a trial in order."""
        with self._reading():
            query = "SELECT * FROM attempt WHERE study = ? AND trial = ? ORDER BY attempt"
            return [read_attempt(dict(row)) for row in self._db.execute(query, (study, number))]

    # -- for mirrors -------------------------------------------------------------------------------

    def content_digest(self, study: str) -> str:
        """Return a digest of a study, its trials and attempts; what mirrors have of it does not count."""
        whole = hashlib.blake2b(digest_size=12)
        with self._snapshot():
            for table, key in (("study", "name"), ("trial", "study"), ("attempt", "study")):
                query = f"SELECT checksum FROM {table} WHERE {key} = ?"  # noqa: S608 - our own names
                for (row,) in self._db.execute(query, (study,)):  # in the order of their keys
                    whole.update(row.encode())
        return whole.hexdigest()

    def ended_since(self, study: str, moment_ns: int) -> int:
        """Return how many attempts of a study ended after a moment of the wall clock."""
        with self._reading():
            query = "SELECT count(*) FROM attempt WHERE study = ? AND ended_ns > ?"
            (count,) = self._db.execute(query, (study, moment_ns)).fetchone()
        return int(count)

    def rows_of(self, study: str) -> dict[str, list[dict[str, Any]]]:
        """Return the rows of a study by table, all of one moment.

        Raises:
            LedgerError: A row is damaged.
        """
        with self._snapshot():
            found = {
                table: [
                    dict(row)
                    for row in self._db.execute(
                        f"SELECT * FROM {table} WHERE {KEYS[table][0]} = ?",  # noqa: S608 - our own names
                        (study,),
                    )
                ]
                for table in CONTENT
            }
        bad = [named(table, row) for table, rows in found.items() for row in rows if not intact(table, row)]
        if bad:
            raise damaged(self.path, bad)
        return found

    def changed_since(self, study: str, revision: int) -> list[int]:
        """Return the numbers of the trials that changed after ``revision``."""
        with self._reading():
            query = "SELECT number FROM trial WHERE study = ? AND revision > ? ORDER BY number"
            return [number for (number,) in self._db.execute(query, (study, revision))]

    def mirror_state(self, study: str, mirror: str) -> dict[str, str]:
        """Return what a mirror has: the digest of each item it wrote."""
        with self._reading():
            query = "SELECT item, digest FROM mirrored WHERE study = ? AND mirror = ?"
            return dict(self._db.execute(query, (study, mirror)).fetchall())

    def set_mirror_state(self, study: str, mirror: str, items: Mapping[str, str]) -> None:
        """Commit that a mirror wrote these items."""
        with self._transaction():
            for item, digest in items.items():
                self._put("mirrored", {"study": study, "mirror": mirror, "item": item, "digest": digest})


@contextmanager
def made_ledger(path: Path) -> Iterator[Ledger | None]:
    """Open a ledger to read; ``None`` where there is none, or another process is just making it."""
    with ExitStack() as stack:
        ledger = None
        with suppress(EmptyLedgerError):
            if path.exists():
                ledger = stack.enter_context(Ledger.open(path, create=False, read_only=True))
        yield ledger

"""The copy of a study's ledger among the artifacts of its run: two by turns, one of them always whole.

A copy is uploaded under the name of the older one; the tag of that name, with generation and checksum, is set
when it is there. A crash, a cut connection or a full disk in between leaves the other one as it was.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from autotune.core.failpoint import failpoint
from autotune.errors import EnvironmentProblem
from autotune.ledger import Ledger
from autotune.ledger.copies import COPIED, COPIES, GENERATION, PROBLEM, CopyTag, last_copy
from autotune.ledger.copy import StudyCopier
from autotune.tracking.base import StoppedError
from autotune.tracking.mlflow_items import one_line
from autotune.tracking.mlflow_session import Session, artifact_place

FOLDER = "ledger"
"""Folder of the copies among the artifacts of a study's run."""

TAGS = ("autotune.ledger.0", "autotune.ledger.1")
"""Tags of a study's run: what lies under each of the two names."""

NAMES = ("copy-0.sqlite.gz", "copy-1.sqlite.gz")
"""The two, in that folder."""

_SHARE = 0.05  # of a processor, at most, that making copies takes: a large ledger is copied less often


def copy_digest(data: bytes) -> str:
    """Return the digest of a copy that its tag has."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


class LedgerCopies:
    """The copies of one study, made as often as is worth it.

    Args:
        study: Name of the study.
        every_s: Shortest time between two, in seconds.

    Attributes:
        problem: Reason why the last try failed; empty where it did not.
    """

    def __init__(self, study: str, every_s: float) -> None:
        self._study, self._every_s = study, every_s
        self._copier = StudyCopier(study)
        self._due = 0.0
        self._behind = True
        self.problem = ""

    def wait_s(self) -> float | None:
        """Return the seconds until the next copy may be made; ``None`` where there is nothing to copy."""
        return max(0.0, self._due - time.monotonic()) if self._behind else None

    def missing(self, ledger: Ledger) -> str:
        """Return why the newest copy does not have all of the ledger; empty where it has."""
        state = ledger.mirror_state(self._study, COPIES)
        last = last_copy(state)
        if last is not None and last.content == ledger.content_digest(self._study):
            return ""
        why = f": {state[PROBLEM]}" if state.get(PROBLEM) else ""
        return f"the copy of the ledger is not up to date{why}"

    def update(self, session: Session, *, now: bool = False) -> None:
        """Make a copy where the last one is old enough and something has happened since.

        What the store says against it is noted in the ledger, for ``status``, and does not raise: the next
        one is made all the same.

        Args:
            session: Connection to the store, which has the turn and the study's run.
            now: Whether to make it at once, as at the end.

        Raises:
            StoppedError: Time was up.
        """
        if not now and time.monotonic() < self._due:
            self._behind = True  # it is looked at when it is time
            return
        ledger = session.ledger
        content = ledger.content_digest(self._study)
        state = ledger.mirror_state(self._study, COPIES)
        last = last_copy(state)
        self._behind = last is None or last.content != content or bool(state.get(PROBLEM))
        if not self._behind:
            return
        began_s = time.thread_time()  # waiting for the store takes nothing from anybody
        try:
            self._write(session, content, int(state.get(GENERATION, "0")))
            self.problem, self._behind = "", False
        except StoppedError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever the store does, the study must not feel it
            self.problem = one_line(error)
        spent_s = time.thread_time() - began_s
        self._due = time.monotonic() + max(self._every_s, spent_s / _SHARE)
        if self.problem != state.get(PROBLEM, ""):
            ledger.set_mirror_state(self._study, COPIES, {PROBLEM: self.problem})

    def _write(self, session: Session, content: str, known: int) -> None:
        if session.stop():
            raise StoppedError
        ledger, run_id = session.ledger, session.runs["study"]
        there = tags_of(session.client.get_run(run_id).data.tags)
        newest = max(there, key=lambda slot: there[slot].generation, default=1)
        last = there[newest].generation if there else 0
        if last > known:
            raise EnvironmentProblem(
                f"MLflow has a newer copy of study {self._study!r} (number {last}, ours is {known})",
                hint="it was restored and goes on elsewhere; `autotune restore` brings that state here",
            )
        slot, generation = 1 - newest, known + 1
        # before the copy: whoever restores it must know its number
        ledger.set_mirror_state(self._study, COPIES, {GENERATION: str(generation)})
        copied_ns = time.time_ns()
        data = self._copier.copy(ledger)
        tag = CopyTag(generation, copy_digest(data), len(data), content, copied_ns)
        failpoint("mirror.copy")
        self._upload(session, run_id, NAMES[slot], data)
        failpoint("mirror.copied")
        session.client.set_tag(run_id, TAGS[slot], tag.text())
        ledger.set_mirror_state(self._study, COPIES, {COPIED: tag.text()})
        session.moved()

    def _upload(self, session: Session, run_id: str, name: str, data: bytes) -> None:
        """Give the store a file.

        Raises:
            EnvironmentProblem: It did not keep it whole.
        """
        place = artifact_place(session.client, session.uri, run_id)
        with tempfile.TemporaryDirectory(prefix="autotune-") as folder:
            file = Path(folder) / name
            file.write_bytes(data)
            place.log_artifact(str(file), FOLDER)
        session.moved()
        sizes = {Path(one.path).name: one.file_size for one in place.list_artifacts(FOLDER)}
        if sizes.get(name) != len(data):
            raise EnvironmentProblem(
                f"the store kept {sizes.get(name, 0)} of the {len(data)} bytes of {FOLDER}/{name}"
            )


def tags_of(tags: Mapping[str, str]) -> dict[int, CopyTag]:
    """Return the copies that a run's tags tell of, by slot."""
    found = {slot: CopyTag.read(tags.get(name, "")) for slot, name in enumerate(TAGS)}
    return {slot: tag for slot, tag in found.items() if tag is not None}

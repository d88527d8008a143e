"""The copy of a study's ledger among the artifacts of its run: two by turns, one of them always whole.

A copy is uploaded under the name of the older one; the tag of that name, with generation and checksum, is set
when it is there. A crash, a cut connection or a full disk in between leaves the other one as it was.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotune.core.failpoint import failpoint
from autotune.core.redact import redact
from autotune.errors import AutotuneError, EnvironmentProblem, StudyError, did_you_mean
from autotune.ledger import Ledger, StudyRow
from autotune.ledger.copies import COPIED, COPIES, GENERATION, PROBLEM, CopyTag, last_copy
from autotune.ledger.copy import Restored, StudyCopier, restore
from autotune.tracking.base import StoppedError
from autotune.tracking.mlflow_items import one_line
from autotune.tracking.mlflow_session import Session, load_quietly, name_artifact_place

FOLDER = "ledger"
"""Folder of the copies among the artifacts of a study's run."""

TAGS = ("autotune.ledger.0", "autotune.ledger.1")
"""Tags of a study's run: what lies under each of the two names."""

_NAMES = ("copy-0.sqlite.gz", "copy-1.sqlite.gz")
_SHARE = (
    0.05  # of the time, at most, that making and sending copies takes; a large ledger is copied less often
)


def _digest(data: bytes) -> str:
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
        began = time.monotonic()
        try:
            self._write(session, content, int(state.get(GENERATION, "0")))
            self.problem, self._behind = "", False
        except StoppedError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever the store does, the study must not feel it
            self.problem = one_line(error)
        self._due = time.monotonic() + max(self._every_s, (time.monotonic() - began) / _SHARE)
        if self.problem != state.get(PROBLEM, ""):
            ledger.set_mirror_state(self._study, COPIES, {PROBLEM: self.problem})

    def _write(self, session: Session, content: str, known: int) -> None:
        if session.stop():
            raise StoppedError
        ledger, run_id = session.ledger, session.runs["study"]
        there = _tags_of(session.client.get_run(run_id).data.tags)
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
        tag = CopyTag(generation, _digest(data), len(data), content, copied_ns)
        failpoint("mirror.copy")
        self._upload(session, run_id, _NAMES[slot], data)
        failpoint("mirror.copied")
        session.client.set_tag(run_id, TAGS[slot], tag.text())
        ledger.set_mirror_state(self._study, COPIES, {COPIED: tag.text()})
        session.moved()

    def _upload(self, session: Session, run_id: str, name: str, data: bytes) -> None:
        """Give the store a file.

        Raises:
            EnvironmentProblem: It did not keep it whole.
        """
        name_artifact_place(session.client, session.uri, run_id)
        with tempfile.TemporaryDirectory(prefix="autotune-") as folder:
            file = Path(folder) / name
            file.write_bytes(data)
            session.client.log_artifact(run_id, str(file), FOLDER)
        session.moved()
        sizes = {Path(one.path).name: one.file_size for one in session.client.list_artifacts(run_id, FOLDER)}
        if sizes.get(name) != len(data):
            raise EnvironmentProblem(
                f"the store kept {sizes.get(name, 0)} of the {len(data)} bytes of {FOLDER}/{name}"
            )


def _tags_of(tags: Mapping[str, str]) -> dict[int, CopyTag]:
    """Return the copies that a run's tags tell of, by slot."""
    found = {slot: CopyTag.read(tags.get(name, "")) for slot, name in enumerate(TAGS)}
    return {slot: tag for slot, tag in found.items() if tag is not None}


# -- back from the store ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """A study whose ledger has a copy in a store.

    Args:
        study: Its name.
        uid: Its identity.
        experiment: Name of its experiment.
        run_id: Its run.
        copies: Its copies by slot.
    """

    study: str
    uid: str
    experiment: str
    run_id: str
    copies: Mapping[int, CopyTag]


def copies_in(tracking_uri: str, study: str | None, experiment: str | None = None) -> list[Found]:
    """Return the studies of a store that have copies, oldest first.

    Args:
        tracking_uri: Address of the store.
        study: Name or identity of one; all of them when not given.
        experiment: Name of its experiment; all are searched when not given.

    Raises:
        EnvironmentProblem: The store cannot be asked.
    """
    found = []
    with _asking(tracking_uri) as client:
        for place in _experiments(client, experiment):
            token = None
            while True:
                page = client.search_runs(
                    [place.experiment_id],
                    filter_string=f"tags.`{TAGS[0]}` LIKE '{{%'",  # the first copy has the first name
                    max_results=1000,
                    order_by=["attributes.start_time ASC"],
                    page_token=token,
                )
                for run in page:
                    tags, run_id = run.data.tags, run.info.run_id
                    name, uid = tags.get("autotune.study", ""), tags.get("autotune.study_uid", "")
                    if study in (None, name, uid) and (copies := _tags_of(tags)):
                        found.append(Found(name, uid, place.name, run_id, copies))
                token = page.token
                if not token:
                    break
    return found


def choose_copy(tracking_uri: str, study: str | None, experiment: str | None = None) -> Found:
    """Return the study of a store that is meant; arguments as of :func:`copies_in`.

    Raises:
        EnvironmentProblem: The store cannot be asked.
        StudyError: None is, or several.
    """
    found = copies_in(tracking_uri, study, experiment)
    if len(found) == 1:
        return found[0]
    where = f"MLflow at {redact(tracking_uri)}" + (f", experiment {experiment!r}," if experiment else "")
    which = "" if study is None else f" {study!r}"
    if found:
        named = "; ".join(f"{one.study} ({one.uid}, experiment {one.experiment})" for one in found)
        raise StudyError(
            f"{where} has copies of several studies{which}: {named}", hint="name one by its identity"
        )
    others = [] if study is None else sorted({one.study for one in copies_in(tracking_uri, None, experiment)})
    raise StudyError(
        f"{where} has no copy of a study{which}" + (f"; it has: {', '.join(others)}" if others else ""),
        hint=did_you_mean(study or "", others)
        or "copies are made where `tracking: {ledger_copy: ...}` says so",
    )


def restore_copy(tracking_uri: str, found: Found, ledger: Path) -> tuple[Restored, CopyTag, list[str]]:
    """Bring the newest whole copy of a study back into a ledger.

    Args:
        tracking_uri: Address of the store.
        found: The study.
        ledger: File of the ledger, made if it is not there.

    Returns:
        What came back, from which copy, and what was wrong with newer ones.

    Raises:
        EnvironmentProblem: No copy is whole, or the store cannot be asked.
        StudyError: The ledger has another study of that name, or more of this one.
    """
    wrong: list[str] = []
    for slot, tag in sorted(found.copies.items(), key=lambda pair: -pair[1].generation):
        with _asking(tracking_uri) as client:
            data = _download(client, tracking_uri, found.run_id, f"{FOLDER}/{_NAMES[slot]}")
        if data is None or _digest(data) != tag.digest:
            said = "is not there" if data is None else "is not whole"
            wrong.append(f"copy {tag.generation} {said}")
            continue
        return restore(data, ledger, lambda row: _expect(row, found)), tag, wrong
    raise EnvironmentProblem(
        f"no copy of study {found.study!r} in MLflow at {redact(tracking_uri)} is whole: {'; '.join(wrong)}"
    )


def _expect(row: StudyRow, found: Found) -> None:
    if row.uid != found.uid:
        raise StudyError(f"the copy is of study {row.name!r}, identity {row.uid[:8]}, not {found.uid[:8]}")


def _download(client: Any, uri: str, run_id: str, name: str) -> bytes | None:
    """Return an artifact; ``None`` where there is none."""
    name_artifact_place(client, uri, run_id)
    if name not in {one.path for one in client.list_artifacts(run_id, FOLDER)}:
        return None
    with tempfile.TemporaryDirectory(prefix="autotune-") as target:
        return Path(client.download_artifacts(run_id, name, target)).read_bytes()


@contextmanager
def _asking(uri: str) -> Iterator[Any]:
    """Give a client of a store; whatever it raises inside is said in one line.

    Raises:
        EnvironmentProblem: The store cannot be asked.
    """
    load_quietly(uri)
    from mlflow.tracking import MlflowClient

    try:
        yield MlflowClient(tracking_uri=uri)
    except AutotuneError:
        raise
    except Exception as error:  # whatever the store or the library raises
        raise EnvironmentProblem(
            f"MLflow at {redact(uri)}: {one_line(error)}", hint="--mlflow is its address"
        ) from error


def _experiments(client: Any, name: str | None) -> list[Any]:
    """Return the experiment of a name, or all of a store."""
    if name is not None:
        found = client.get_experiment_by_name(name)
        return [] if found is None else [found]
    result: list[Any] = []
    token = None
    while True:
        page = client.search_experiments(max_results=1000, page_token=token)
        result += page
        token = page.token
        if not token:
            return result

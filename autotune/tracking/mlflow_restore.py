"""The copies of ledgers that an MLflow store has, and how the newest whole one of a study comes back."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from autotune.core.redact import redact
from autotune.errors import AutotuneError, DamagedCopyError, EnvironmentProblem, StudyError, did_you_mean
from autotune.ledger import StudyRow
from autotune.ledger.copies import CopyTag
from autotune.ledger.copy import Restored, restore
from autotune.tracking.mlflow_addresses import opened_address
from autotune.tracking.mlflow_copy import FOLDER, NAMES, TAGS, copy_digest, tags_of
from autotune.tracking.mlflow_items import one_line
from autotune.tracking.mlflow_session import artifact_place, load_quietly

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


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
        for number, place in _experiments(client, experiment):
            token = None
            while True:
                page = client.search_runs(
                    [number],
                    filter_string=f"tags.`{TAGS[0]}` LIKE '{{%'",  # the first copy has the first name
                    max_results=1000,
                    order_by=["attributes.start_time ASC"],
                    page_token=token,
                )
                for run in page:
                    tags, run_id = run.data.tags, run.info.run_id
                    name, uid = tags.get("autotune.study", ""), tags.get("autotune.study_uid", "")
                    if study in (None, name, uid) and (copies := tags_of(tags)):
                        found.append(Found(name, uid, place, run_id, copies))
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
            data = _download(client, tracking_uri, found.run_id, f"{FOLDER}/{NAMES[slot]}", tag.size)
        if data is None or copy_digest(data) != tag.digest:
            said = "is not there" if data is None else "is not whole"
            wrong.append(f"copy {tag.generation} {said}")
            continue
        try:
            return restore(data, ledger, lambda row: _expect(row, found)), tag, wrong
        except DamagedCopyError as error:
            artifact = f"{FOLDER}/{NAMES[slot]} of run {found.run_id}"
            wrong.append(f"copy {tag.generation}, {artifact}, is not whole: {error.message}")
    raise EnvironmentProblem(
        f"no copy of study {found.study!r} in MLflow at {redact(tracking_uri)} is whole: {'; '.join(wrong)}"
    )


def _expect(row: StudyRow, found: Found) -> None:
    if (row.name, row.uid) != (found.study, found.uid):
        raise StudyError(
            f"the copy is of study {row.name!r}, identity {row.uid[:8]}, not of {found.study!r}, "
            f"{found.uid[:8]}, as run {found.run_id} says"
        )


def _download(client: MlflowClient, uri: str, run_id: str, name: str, size: int) -> bytes | None:
    """Return an artifact, empty if it has another size; ``None`` where there is none."""
    place = artifact_place(client, uri, run_id)
    if name not in {one.path for one in place.list_artifacts(FOLDER)}:
        return None
    with tempfile.TemporaryDirectory(prefix="autotune-") as target:
        file = Path(place.download_artifacts(name, target))
        return file.read_bytes() if file.stat().st_size == size else b""


@contextmanager
def _asking(uri: str) -> Iterator[MlflowClient]:
    """Give a client of a store; whatever it raises inside is said in one line.

    Raises:
        EnvironmentProblem: The store cannot be asked.
    """
    load_quietly(uri)
    from mlflow.tracking import MlflowClient

    try:
        yield MlflowClient(tracking_uri=opened_address(uri))
    except AutotuneError:
        raise
    except Exception as error:  # whatever the store or the library raises
        raise EnvironmentProblem(
            f"MLflow at {redact(uri)}: {one_line(error)}", hint="--mlflow is its address"
        ) from error


def _experiments(client: MlflowClient, name: str | None) -> Iterator[tuple[str, str]]:
    """Yield number and name of the experiment of a name, or of all of a store."""
    if name is not None:
        found = client.get_experiment_by_name(name)
        if found is not None:
            yield found.experiment_id, found.name
        return
    token = None
    while True:
        page = client.search_experiments(max_results=1000, page_token=token)
        yield from ((each.experiment_id, each.name) for each in page)
        token = page.token
        if not token:
            return

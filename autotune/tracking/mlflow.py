"""The MLflow mirror: an experiment per study, a parent run, a nested run per trial.

Everything is written from a thread of its own and can be written again: what the store already has is found
by its tags, and the ledger remembers the digest of each item that was written. A store that is away costs the
study nothing; :func:`sync` completes it.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from autotune.core.failpoint import failpoint
from autotune.core.redact import redact
from autotune.errors import AutotuneError, EnvironmentProblem
from autotune.ledger import Ledger
from autotune.tracking.base import MirrorReport
from autotune.tracking.items import EXPERIMENT_TAGS, Item
from autotune.tracking.mlflow_items import (
    SETTINGS,
    artifact_location,
    artifact_text,
    best_steps,
    database_folder,
    items_of,
    mirror_name,
    one_line,
    outdated,
    read_objective,
    study_row,
)

_BATCH = 100  # MLflow takes at most 100 params and 100 tags at once
_METRICS = 1000  # and as many metrics
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0  # between tries while the store is away
_LARGEST_FILE = 8 * 2**20  # a larger log stays where it is; the run says where

_SYNC_S = 600.0  # a thousand trials take about a minute in a database on this machine

_log = logging.getLogger("autotune.tracking")


class _StoppedError(Exception):
    """Say that time was up between two items."""


class MlflowMirror:
    """Mirror one study of a ledger to MLflow; see :class:`autotune.tracking.base.Mirror`.

    Args:
        ledger_path: The ledger; read and marked through a connection of the mirror's own.
        study: Name of the study.
        tracking_uri: Address of the store.
        experiment: Name of the MLflow experiment.
    """

    def __init__(self, ledger_path: Path, study: str, *, tracking_uri: str, experiment: str) -> None:
        self.ready = threading.Event()
        self._ledger_path = ledger_path
        self._study = study
        self._uri = tracking_uri
        self._experiment = experiment
        self._changed = threading.Event()
        self._closing = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mlflow mirror", daemon=True)
        self._error = ""

    def start(self) -> None:
        """Begin to copy; the library is loaded in the mirror's thread."""
        self._changed.set()
        self._thread.start()

    def notify(self) -> None:
        """Say that the ledger has changed."""
        self._changed.set()

    def close(self, timeout: float) -> MirrorReport:
        """Copy what is left for at most ``timeout`` seconds, then end."""
        self._closing.set()
        self._changed.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        self._over.set()  # a pass that is under way ends after the item in hand
        try:
            with Ledger.open(self._ledger_path, read_only=True) as ledger:
                pending = len(outdated(ledger, self._study, mirror_name(self._uri)))
        except Exception as error:  # noqa: BLE001 - a study that ended well must not fail at its mirror
            return MirrorReport(0, (one_line(error),))
        return MirrorReport(pending, (self._error,) if self._error else ())

    def _run(self) -> None:
        pause = _FIRST_PAUSE_S
        session: _Session | None = None
        try:
            with Ledger.open(self._ledger_path) as ledger:
                while True:
                    self._changed.wait()
                    self._changed.clear()
                    last = self._closing.is_set()
                    try:
                        session = session or self._connect(ledger)
                        session.write_changes()
                        self._report(session.refusals())
                        pause = _FIRST_PAUSE_S
                    except _StoppedError:
                        return
                    except Exception as error:  # noqa: BLE001 - whatever the store does, the study must not feel it
                        session = None  # what it knew of the store may be wrong now
                        self._report(f"{one_line(error)}; trying again in the background")
                        self._changed.set()
                        self.ready.set()
                        if not last:
                            self._closing.wait(pause)
                        pause = min(2 * pause, _LONGEST_PAUSE_S)
                    if last:
                        return
        except AutotuneError as error:  # the ledger cannot be opened a second time
            self._report(one_line(error))
        finally:
            self.ready.set()

    def _connect(self, ledger: Ledger) -> _Session:
        stop, ready = self._over.is_set, self.ready
        return _Session(ledger, self._study, self._uri, self._experiment, stop=stop, ready=ready)

    def _report(self, text: str) -> None:
        if text and not self._error:  # say it once; the study's end says what is missing
            _log.warning("MLflow at %s: %s", redact(self._uri), text)
        self._error = text


def sync(
    ledger_path: Path, study: str, *, tracking_uri: str, experiment: str, timeout: float = _SYNC_S
) -> int:
    """Complete MLflow from the ledger; return how many items were written.

    Args:
        ledger_path: The ledger.
        study: Name of the study.
        tracking_uri: Address of the store.
        experiment: Name of the MLflow experiment.
        timeout: Seconds after which no further item is begun; what was written stays.

    Raises:
        EnvironmentProblem: The store cannot be reached, refuses an item, or takes too long.
        StudyError: The ledger has no such study.
    """
    limit = time.monotonic() + timeout
    where = f"MLflow at {redact(tracking_uri)}"
    with Ledger.open(ledger_path) as ledger:
        try:
            session = _Session(ledger, study, tracking_uri, experiment, stop=lambda: time.monotonic() > limit)
            count = session.write_changes()
        except AutotuneError:
            raise
        except _StoppedError:
            raise EnvironmentProblem(
                f"{where}: not complete after {timeout:g} s", hint="run it again: it goes on from there"
            ) from None
        except Exception as error:  # whatever the store or the library raises is said in one line
            raise EnvironmentProblem(f"{where}: {one_line(error)}") from error
    if session.refused:
        raise EnvironmentProblem(f"{where}: {session.refusals()}")
    return count


def ui_command(tracking_uri: str, port: int) -> list[str]:
    """Return the command that serves the MLflow UI on a store.

    Raises:
        EnvironmentProblem: The store is a server, which has a UI of its own.
    """
    if urlsplit(tracking_uri).scheme in ("http", "https"):
        raise EnvironmentProblem(
            f"{redact(tracking_uri)} is an MLflow server", hint="open that address in a browser"
        )
    return [
        sys.executable, "-m", "mlflow", "server", "--backend-store-uri", tracking_uri,
        "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
    ]  # fmt: skip


class _Session:
    """Hold a connection to the store and what is known to be there.

    Attributes:
        runs: Ids of the study's runs by item.
        params: What those runs have, by item: MLflow never changes a param.
        refused: What the store said of the items that it does not take, by item and digest.
    """

    def __init__(
        self,
        ledger: Ledger,
        study: str,
        uri: str,
        experiment: str,
        *,
        stop: Callable[[], bool],
        ready: threading.Event | None = None,
    ) -> None:
        for key, value in SETTINGS.items():
            os.environ.setdefault(key, value)
        logging.getLogger("alembic").setLevel(logging.ERROR)
        from mlflow.tracking import MlflowClient

        remote = urlsplit(uri).scheme in ("http", "https")
        if ready is not None and remote:  # opening a database is work for this machine, a server may be away
            ready.set()
        self.ledger = ledger
        self.study = study
        self.stop = stop
        self.mirror = mirror_name(uri)
        self.row = study_row(ledger, study)
        folder = database_folder(uri)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        self.client: Any = MlflowClient(tracking_uri=uri)
        if ready is not None:
            ready.set()
        self.runs: dict[str, str] = {}
        self.params: dict[str, dict[str, str]] = {}
        self.refused: dict[tuple[str, str], str] = {}
        self.experiment = self._find_experiment(experiment, uri)
        self._find_runs()
        self.revision: int | None = None

    def refusals(self) -> str:
        """Return what the store said of the first item it refused; empty when it took all."""
        if not self.refused:
            return ""
        (key, _), said = next(iter(self.refused.items()))
        more = len(self.refused) - 1
        return f"{key} is refused: {said}" + (f" (and {more} more)" if more else "")

    def _find_experiment(self, name: str, uri: str) -> str:
        from mlflow.exceptions import MlflowException

        found = self.client.get_experiment_by_name(name)
        if found is not None and found.lifecycle_stage != "active":
            self.client.restore_experiment(found.experiment_id)
        if found is None:
            try:
                location = artifact_location(uri, name)
                return str(self.client.create_experiment(name, location, tags=EXPERIMENT_TAGS))
            except MlflowException:  # another study made it at the same moment
                found = self.client.get_experiment_by_name(name)
                if found is None:
                    raise
        return str(found.experiment_id)

    def _find_runs(self) -> None:
        """Look up the study's runs, whoever wrote them; of two with the same tags the older one counts."""
        token = None
        while True:
            page = self.client.search_runs(
                [self.experiment],
                filter_string=f"tags.`autotune.study_uid` = '{self.row.uid}'",
                max_results=1000,
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
            for run in page:
                number = run.data.tags.get("autotune.trial")
                key = "study" if number is None else f"trial/{number}"
                if key not in self.runs:
                    self.runs[key] = run.info.run_id
                    self.params[key] = dict(run.data.params)
            token = page.token
            if not token:
                return

    def write_changes(self) -> int:
        """Write what the store does not have; return the count of items.

        Raises:
            _StoppedError: Time was up before everything was written.
        """
        revision = self.ledger.revision()
        self.row = study_row(self.ledger, self.study)
        numbers = None if self.revision is None else self.ledger.changed_since(self.study, self.revision)
        items = items_of(self.ledger, self.row, numbers)
        parent = items[-1]
        if parent.key not in self.runs:  # trials hang below it
            self._create(parent)
        state = self.ledger.mirror_state(self.study, self.mirror)
        changed = [i for i in items if i.key not in self.runs or state.get(i.key) != i.digest]
        written = 0
        for item in changed:
            if self.stop():
                raise _StoppedError
            if (item.key, item.digest) in self.refused:
                continue
            with self._refusal(item):
                if item is parent:  # with the study, whose item changes whenever a trial ends
                    self._write_best(numbers)
                self._write(item)
                failpoint("mirror.write")
                self.ledger.set_mirror_state(self.study, self.mirror, {item.key: item.digest})
                written += 1
        self.revision = revision
        return written

    @contextmanager
    def _refusal(self, item: Item) -> Iterator[None]:
        """Note that the store does not take an item, and go on: the others must not wait for it."""
        from mlflow.exceptions import MlflowException

        for known in [known for known in self.refused if known[0] == item.key]:
            del self.refused[known]
        try:
            yield
        except MlflowException as error:
            if error.error_code != "INVALID_PARAMETER_VALUE":
                raise
            self.refused[item.key, item.digest] = one_line(error)

    def _create(self, item: Item) -> str:
        tags = {
            "mlflow.source.name": "autotune",
            "mlflow.user": os.environ.get("USER", "autotune"),
            **item.tags,
        }
        start_ms = item.start_ms
        kind, _, number = item.key.partition("/")
        if kind == "trial":
            tags["mlflow.parentRunId"] = self.runs["study"]
            attempts = self.ledger.attempts(self.study, int(number))
            if item.status == "RUNNING" and attempts:  # MLflow never changes when a run started
                start_ms = attempts[-1].started_ns // 1_000_000
        run = self.client.create_run(self.experiment, start_time=start_ms, tags=tags, run_name=item.name)
        self.runs[item.key] = run.info.run_id
        self.params[item.key] = {}
        return self.runs[item.key]

    def _write(self, item: Item) -> None:
        from mlflow.entities import Metric, Param, RunTag

        run_id = self.runs.get(item.key) or self._create(item)
        moment = item.end_ms or item.start_ms
        there = self.params[item.key]
        differing = {k: v for k, v in item.params.items() if there.get(k, v) != v}
        metrics = [Metric(key, value, moment, 0) for key, value in item.metrics.items()]
        params = [Param(key, value) for key, value in item.params.items() if key not in there]
        tags = [RunTag(key, value) for key, value in item.tags.items()]
        tags += [RunTag(f"autotune.now.{key}", value) for key, value in differing.items()]
        for start in range(0, max(len(metrics), len(params), len(tags)), _BATCH):
            part = slice(start, start + _BATCH)
            self.client.log_batch(run_id, metrics=metrics[part], params=params[part], tags=tags[part])
        there |= {param.key: param.value for param in params}
        for name, text in item.texts.items():
            self.client.log_text(run_id, text, name)
        for name, path in item.files.items():
            self._upload(run_id, name, Path(path))
        if item.status == "RUNNING":
            self.client.update_run(run_id, status="RUNNING")
        else:
            self.client.set_terminated(run_id, status=item.status, end_time=item.end_ms)

    def _upload(self, run_id: str, name: str, path: Path) -> None:
        """Write one artifact; the file may lie on another node, or be gone."""
        try:
            if path.stat().st_size > _LARGEST_FILE:
                self.client.set_tag(run_id, f"autotune.file.{name}", f"too large to copy: {path}")
                return
            content = path.read_bytes()
        except OSError:
            self.client.set_tag(run_id, f"autotune.file.{name}", f"not on this machine: {path}")
            return
        text, readable = artifact_text(content)
        if readable:
            self.client.log_text(run_id, text, name)
            return
        target, parent = PurePosixPath(name), str(PurePosixPath(name).parent)
        with tempfile.TemporaryDirectory(prefix="autotune-") as folder:
            copy = Path(folder) / target.name
            copy.write_bytes(text.encode("latin-1", errors="replace"))
            self.client.log_artifact(run_id, str(copy), None if parent == "." else parent)

    def _write_best(self, numbers: Sequence[int] | None) -> None:
        """Write the best so far as a stepped metric of the parent run; MLflow drops exact repetitions."""
        from mlflow.entities import Metric

        trials = self.ledger.trials(self.study)
        start = 0 if numbers is None else min(numbers, default=sys.maxsize)
        steps = best_steps(trials, read_objective(self.row, trials), start)
        metrics = [Metric(step.name, step.value, step.moment_ms, step.step) for step in steps]
        for start in range(0, len(metrics), _METRICS):
            self.client.log_batch(self.runs["study"], metrics=metrics[start : start + _METRICS])

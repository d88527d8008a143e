"""The MLflow mirror: an experiment per study, a parent run, a nested run per trial.

Everything is written from a thread of its own and can be written again: what the store already has is found
by its tags, and the ledger remembers the digest of each item that was written. A store that is away costs the
study nothing; :func:`sync` completes it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from autotune.core import ranking
from autotune.core.failpoint import failpoint
from autotune.core.objective import Objective
from autotune.core.redact import redact
from autotune.core.trial import Trial, TrialState
from autotune.core.version import VERSION
from autotune.errors import AutotuneError, EnvironmentProblem, StudyError
from autotune.ledger import Ledger, StudyRow
from autotune.tracking.base import MirrorReport
from autotune.tracking.items import Item, study_item, trial_item

_BATCH = 100  # MLflow takes at most 100 params and 100 tags at once; metrics are never more than that
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0  # between tries while the store is away
_LARGEST_FILE = 8 * 2**20  # a larger log stays where it is; the run says where

_SETTINGS = {
    # a store that is away must fail in seconds: one blocked call took 246 s with the defaults
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "ERROR",  # it reports each step of making a database
}

_log = logging.getLogger("autotune.tracking")


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
        try:
            with Ledger.open(self._ledger_path, read_only=True) as ledger:
                pending = len(_outdated(ledger, self._study, mirror_name(self._uri)))
        except AutotuneError as error:
            return MirrorReport(0, (str(error),))
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
                        session = session or _Session(
                            ledger, self._study, self._uri, self._experiment, self.ready
                        )
                        session.write_changes()
                        self._error, pause = "", _FIRST_PAUSE_S
                    except Exception as error:  # noqa: BLE001 - whatever the store does, the study must not feel it
                        session = None  # what it knew of the store may be wrong now
                        self._report(error)
                        self._changed.set()
                        self.ready.set()
                        if not last:
                            self._closing.wait(pause)
                        pause = min(2 * pause, _LONGEST_PAUSE_S)
                    if last:
                        return
        except AutotuneError as error:  # the ledger cannot be opened a second time
            self._report(error)
        finally:
            self.ready.set()

    def _report(self, error: Exception) -> None:
        text = redact(f"{type(error).__name__}: {error}".splitlines()[0])
        if not self._error:  # say it once; the study's end says what is missing
            _log.warning("MLflow at %s: %s; trying again in the background", redact(self._uri), text)
        self._error = text


def sync(ledger_path: Path, study: str, *, tracking_uri: str, experiment: str) -> int:
    """Complete MLflow from the ledger; return how many items were written.

    Raises:
        EnvironmentProblem: The store cannot be reached or refuses.
        StudyError: The ledger has no such study.
    """
    with Ledger.open(ledger_path) as ledger:
        try:
            return _Session(ledger, study, tracking_uri, experiment).write_changes()
        except AutotuneError:
            raise
        except Exception as error:
            text = redact(f"{type(error).__name__}: {error}".splitlines()[0])
            raise EnvironmentProblem(f"MLflow at {redact(tracking_uri)}: {text}") from error


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


def mirror_name(tracking_uri: str) -> str:
    """Return the name under which the ledger remembers what a store has; it holds no secret."""
    return f"mlflow/{hashlib.blake2b(tracking_uri.encode(), digest_size=8).hexdigest()}"


def artifact_root(tracking_uri: str) -> str | None:
    """Return where artifacts of a store on this machine lie: beside its file; ``None`` for a server."""
    parts = urlsplit(tracking_uri)
    if not parts.scheme.startswith("sqlite"):
        return None
    file = Path(parts.path.removeprefix("/") if not parts.path.startswith("//") else parts.path[1:])
    return (file.absolute().parent / "mlartifacts").as_uri()


def _row(ledger: Ledger, study: str) -> StudyRow:
    row = ledger.study(study)
    if row is None:
        raise StudyError(f"the ledger has no study {study!r}")
    return row


def _items(ledger: Ledger, row: StudyRow, numbers: Sequence[int] | None = None) -> list[Item]:
    """Return the items of trials (all by default) and of the study itself, which comes last."""
    objective = Objective.from_dict(row.spec["objective"])
    trials = ledger.trials(row.name)
    wanted = None if numbers is None else set(numbers)
    result = [
        trial_item(trial, row, objective)
        for trial in trials
        if (trial.attempts or trial.state.finished) and (wanted is None or trial.number in wanted)
    ]
    finished = sum(trial.state.finished for trial in trials)
    best = ranking.best_trial(trials, objective)
    return [*result, study_item(row, finished, best, objective, VERSION)]


def _outdated(ledger: Ledger, study: str, mirror: str) -> list[Item]:
    written = ledger.mirror_state(study, mirror)
    return [item for item in _items(ledger, _row(ledger, study)) if written.get(item.key) != item.digest]


class _Session:
    """Hold a connection to the store and what is known to be there."""

    def __init__(
        self, ledger: Ledger, study: str, uri: str, experiment: str, ready: threading.Event | None = None
    ) -> None:
        for key, value in _SETTINGS.items():
            os.environ.setdefault(key, value)
        logging.getLogger("alembic").setLevel(logging.ERROR)
        from mlflow.tracking import MlflowClient

        if ready is not None:
            ready.set()
        self.ledger = ledger
        self.study = study
        self.mirror = mirror_name(uri)
        self.row = _row(ledger, study)
        if uri.startswith("sqlite:"):
            root = artifact_root(uri)
            folder = Path(urlsplit(str(root)).path).parent
            folder.mkdir(parents=True, exist_ok=True)
        self.client: Any = MlflowClient(tracking_uri=uri)
        self.experiment = self._find_experiment(experiment, uri)
        self.runs = self._find_runs()
        self.revision: int | None = None
        self.best: dict[str, float] = {}

    def _find_experiment(self, name: str, uri: str) -> str:
        from mlflow.exceptions import MlflowException

        found = self.client.get_experiment_by_name(name)
        if found is not None and found.lifecycle_stage != "active":
            self.client.restore_experiment(found.experiment_id)
        if found is None:
            try:
                return str(
                    self.client.create_experiment(name, artifact_location=_under(artifact_root(uri), name))
                )
            except MlflowException:  # another study made it at the same moment
                found = self.client.get_experiment_by_name(name)
                if found is None:
                    raise
        return str(found.experiment_id)

    def _find_runs(self) -> dict[str, str]:
        """Return the ids of the study's runs by item, whoever wrote them."""
        runs: dict[str, str] = {}
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
                runs.setdefault("study" if number is None else f"trial/{number}", run.info.run_id)
            token = page.token
            if not token:
                return runs

    def write_changes(self) -> int:
        """Write what the store does not have; return the count of items."""
        revision = self.ledger.revision()
        self.row = _row(self.ledger, self.study)
        numbers = None if self.revision is None else self.ledger.changed_since(self.study, self.revision)
        items = _items(self.ledger, self.row, numbers)
        parent = items[-1]
        if parent.key not in self.runs:  # trials hang below it
            self._create(parent)
        state = self.ledger.mirror_state(self.study, self.mirror)
        outdated = [i for i in items if i.key not in self.runs or state.get(i.key) != i.digest]
        for item in outdated:
            self._write(item)
            failpoint("mirror.write")
            self.ledger.set_mirror_state(self.study, self.mirror, {item.key: item.digest})
        self._write_best(numbers)
        self.revision = revision
        return len(outdated)

    def _create(self, item: Item) -> str:
        tags = {
            "mlflow.source.name": "autotune",
            "mlflow.user": os.environ.get("USER", "autotune"),
            **item.tags,
        }
        if item.key != "study":
            tags["mlflow.parentRunId"] = self.runs["study"]
        run = self.client.create_run(self.experiment, start_time=item.start_ms, tags=tags, run_name=item.name)
        self.runs[item.key] = run.info.run_id
        return self.runs[item.key]

    def _write(self, item: Item) -> None:
        from mlflow.entities import Metric, Param, RunTag

        run_id = self.runs.get(item.key) or self._create(item)
        moment = item.end_ms or item.start_ms
        metrics = [Metric(key, value, moment, 0) for key, value in item.metrics.items()]
        params = [Param(key, value) for key, value in item.params.items()]
        tags = [RunTag(key, value) for key, value in item.tags.items()]
        for start in range(0, max(len(metrics), len(params), len(tags)), _BATCH):
            part = slice(start, start + _BATCH)
            self.client.log_batch(run_id, metrics=metrics[part], params=params[part], tags=tags[part])
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
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            self.client.set_tag(run_id, f"autotune.file.{name}", f"not on this machine: {path}")
            return
        self.client.log_text(run_id, redact(text), name)

    def _write_best(self, numbers: Sequence[int] | None) -> None:
        """Write the best so far as a stepped metric of the parent run; MLflow drops exact repetitions."""
        from mlflow.entities import Metric

        objective = Objective.from_dict(self.row.spec["objective"])
        wanted = None if numbers is None else set(numbers)
        metrics = []
        for trial in self.ledger.trials(self.study):
            if (wanted is None or trial.number in wanted) and _improves(trial, objective, self.best):
                moment = (trial.measurement.ended_ns if trial.measurement else 0) // 1_000_000
                metrics += [
                    Metric(f"best.{goal.metric}", goal.sign * self.best[goal.metric], moment, trial.number)
                    for goal in objective.goals
                ]
        for start in range(0, len(metrics), _BATCH):
            self.client.log_batch(self.runs["study"], metrics=metrics[start : start + _BATCH])


def _improves(trial: Trial, objective: Objective, best: dict[str, float]) -> bool:
    """Return whether a trial is better than ``best`` in a goal, which it then updates."""
    if trial.state is not TrialState.COMPLETED:
        return False
    outcome = objective.score(trial.metrics)
    if not outcome.feasible:
        return False
    better = False
    for goal, value in zip(objective.goals, outcome.values, strict=True):
        if value is not None and value > best.get(goal.metric, -float("inf")):
            best[goal.metric] = value
            better = True
    return better


def _under(root: str | None, experiment: str) -> str | None:
    if root is None:
        return None
    safe = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in experiment)
    return f"{root}/{safe}"

"""A connection to an MLflow store: finds what is there, writes what is not.

Written so that any part may be repeated: runs are found by their tags, of two that stand for one item the
older is kept and the other deleted, and one writer at a time has the turn.
"""

from __future__ import annotations

import inspect
import logging
import math
import os
import sys
import tempfile
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from autotune.core.failpoint import failpoint
from autotune.core.objective import Objective
from autotune.core.redact import redact, redact_certain
from autotune.core.trial import Trial
from autotune.ledger import Ledger
from autotune.ledger.copies import COPIES, RESTORED
from autotune.tracking.base import StoppedError
from autotune.tracking.items import BEST, DEPLOYMENT, LIVE, NOTE, VERIFIES, Item, launch_of, run_name
from autotune.tracking.mlflow_addresses import artifact_location, database_file, opened_address
from autotune.tracking.mlflow_database import make_relative, prepare_database
from autotune.tracking.mlflow_items import (
    FILE_SETTINGS,
    FOLDER_SETTINGS,
    SETTINGS,
    Finding,
    artifact_text,
    best_steps,
    files_digest,
    find,
    items_of,
    mirror_name,
    one_line,
    read_objective,
    study_row,
)
from autotune.tracking.mlflow_registry import register, winner_digest, withdraw
from autotune.tracking.mlflow_view import KIND, KIND_TAG, LINK, experiment_tags
from autotune.tracking.names import allowed_name
from autotune.tracking.plot_pages import PLOTS, plot_pages
from autotune.tracking.run_addresses import is_server
from autotune.tracking.turn import Turn

_BATCH = 100  # MLflow takes at most 100 params and 100 tags at once
_METRICS = 1000  # and as many metrics
_LARGEST_FILE = 8 * 2**20  # a larger log stays where it is; the run says where
_FAILURES = 3  # items in a row that the store answers with an error: it is not the items
_PARENT = "mlflow.parentRunId"
_DIGEST = "autotune.digest"
"""Tag of a run: digest of the item, once it was written whole; what keeps nothing does not have it."""

_UNFINISHED = "unfinished"
_FILES, _REGISTERED = "autotune.files", "autotune.registered"
"""Tags of a study's run: digests of the files and of the registered winner that the store has."""

_MARKS = ("autotune.best", "autotune.pareto")
_BEST_SO_FAR = "best."
_NO_MARKS = dict.fromkeys(_MARKS, "false")
_log = logging.getLogger("autotune.tracking")
_REFUSES_US = ("UNAUTHENTICATED", "PERMISSION_DENIED")


def load_quietly(uri: str) -> None:
    """Give the library its settings for a store, before it is loaded."""
    of_files = {} if database_file(uri) is None else FILE_SETTINGS
    if urlsplit(uri).scheme in ("", "file"):
        of_files = FOLDER_SETTINGS
    for key, value in {**SETTINGS, **of_files}.items():
        os.environ.setdefault(key, value)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    # the migrations of MLflow 3.0 set that level anew; filters stay
    logging.getLogger("alembic.runtime.migration").addFilter(_is_error)


def _is_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR


def mlflow_version() -> str:
    """Return the version of the library."""
    from mlflow.version import VERSION

    return str(VERSION)


class KeepsNothingError(Exception):
    """An answer that accepts what it is sent and does not keep it: it is no MLflow."""

    def __str__(self) -> str:
        return "what answers there does not keep what it is sent: is it MLflow?"


def _load_for_requests() -> None:
    """Load what MLflow loads with its first request: with MLflow 3.0, seconds of IPython."""
    with suppress(Exception):  # its own affair: without this the first request takes as long
        from mlflow.tracking.request_header.registry import resolve_request_headers

        resolve_request_headers()


def _forget_artifact_places() -> None:
    """Forget where runs keep their artifacts: MLflow asks once a process, and believes a failing server."""
    with suppress(ImportError, AttributeError):  # a private name: without it a new process asks anew
        from mlflow.tracking._tracking_service.utils import _artifact_repos_cache

        _artifact_repos_cache.clear()


def artifact_place(client: Any, uri: str, run_id: str) -> Any:
    """Return the repository of a run's artifacts; by itself, 3.0 asks the process's own store for it.

    Raises:
        KeepsNothingError: The store names none: MLflow would take the working folder for it.
    """
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    place = _given(client.get_run(run_id).info.artifact_uri)
    if "tracking_uri" in inspect.signature(get_artifact_repository).parameters:
        return get_artifact_repository(place, tracking_uri=opened_address(uri))
    if is_server(uri) and urlsplit(place).scheme == "mlflow-artifacts":
        from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository

        place = MlflowArtifactsRepository.resolve_uri(place, uri)
    return get_artifact_repository(place)


def _name_artifact_place(client: Any, uri: str, run_id: str) -> None:
    """Tell MLflow where a run's artifacts are, which it believes whatever a server answers."""
    if not is_server(uri):
        return
    try:
        from mlflow.tracking._tracking_service.utils import _artifact_repos_cache as known
    except ImportError:  # a private name: without it the place is asked for once more
        known = OrderedDict()
    if run_id not in known:
        known[run_id] = artifact_place(client, uri, run_id)


class Session:
    """A connection to the store, and what is known to be there.

    Args:
        ledger: Ledger that is read, and told what was written.
        study: Name of the study.
        uri: Address of the store.
        experiment: Name of the experiment.
        stop: Callable, asked between two items.
        moved: Callable, called after each step that the store took.
        ready: Event, set once the library is loaded.
        files: Files of the study by artifact, given to its run once it has ended.
        written: Callable, called after each run with the session, and with whether that was the last one.

    Attributes:
        runs: Ids of the study's runs by item.
        params: Params of those runs, by item: MLflow never changes a param.
        digests: Digests of the contents of those runs, by item; not of runs that an earlier version wrote.
        names: Names of those runs, by item.
        marks: Tags that say whether a trial is the best or on the Pareto front, by item.
        refused: Answers of the store about the items that it does not take, by item and digest.
    """

    def __init__(
        self,
        ledger: Ledger,
        study: str,
        uri: str,
        experiment: str,
        *,
        stop: Callable[[], bool],
        moved: Callable[[], None] = lambda: None,
        ready: threading.Event | None = None,
        files: Callable[[], Mapping[str, Path]] = dict,
        written: Callable[[Session, bool], None] = lambda *_: None,
    ) -> None:
        # both know their place in a study file, and a store of files writes YAML, which takes plain text only
        study, experiment = str(study), str(experiment)
        load_quietly(uri)
        from mlflow.tracking import MlflowClient

        remote = urlsplit(uri).scheme in ("http", "https")
        if ready is not None and remote:  # opening a database is work for this machine, a server may be away
            _load_for_requests()
            ready.set()
        self.ledger = ledger
        self.study = study
        self.uri = uri
        self.stop = stop
        self.mirror = mirror_name(uri)
        self.row = study_row(ledger, study)
        prepare_database(uri, stop, _log.warning)
        self.client: Any = MlflowClient(tracking_uri=opened_address(uri))
        _forget_artifact_places()
        if ready is not None:
            ready.set()
        self.runs: dict[str, str] = {}
        self.params: dict[str, dict[str, str]] = {}
        self.digests: dict[str, str] = {}
        self.names: dict[str, str] = {}
        self.marks: dict[str, dict[str, str]] = {}
        self.carried: dict[str, str] = {}
        self.named: set[str] = set()  # trials whose name is final, but for whether they are the best
        self.kept: dict[tuple[str, str], str] = {}  # artifacts that this session wrote
        self.found = False  # whether the study's run may have artifacts that others wrote
        self.best: dict[str, float] = {}  # metrics of the study's run that say the best so far
        self.objective: Objective | None = None  # of the last pass
        self.live: dict[str, str] = {}  # statuses
        self.refused: dict[tuple[str, str], str] = {}
        self.files = files
        self.moved = moved
        self.written = written
        self.ours: Mapping[str, str] = {}  # digests of what this ledger has written, by item
        self.restored = False  # from a copy: runs of trials may be there that it has lost
        self.tags: dict[str, str] = {}
        self.experiment = self._find_experiment(experiment, uri)
        self.moved()
        assert ledger.path is not None  # noqa: S101 - a ledger in memory has no mirror
        self.turn = Turn(ledger.path, study, self.mirror, uuid.uuid4().hex)
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
                tags = {KIND_TAG: KIND}
                made = _given(self.client.create_experiment(name, location, tags=tags))
                make_relative(uri, made, location or "")
                self.tags = tags
                return made
            except MlflowException:  # another study made it at the same moment
                found = self.client.get_experiment_by_name(name)
                if found is None:
                    raise
        self.tags = dict(found.tags or {})
        return _given(found.experiment_id)

    def _write_view(self, trials: Sequence[Trial], objective: Objective) -> None:
        """Give the experiment the view with which it opens on the study's runs; its owner's texts stay."""
        found = {KIND_TAG: KIND} | experiment_tags(
            self.row, trials, objective, self.experiment, mlflow_version()
        )
        for name, value in found.items():
            there = self.tags.get(name, "")
            theirs = there and (name == KIND_TAG or (name == NOTE and not there.startswith(LINK)))
            if there != value and not theirs:
                self.client.set_experiment_tag(self.experiment, name, value)
                self.tags[name] = value
                self.moved()

    def _find_runs(self) -> None:
        """Look up the study's runs, whoever wrote them; of two with the same tags the older one counts.

        The other was made twice, by a request whose answer came too late or by a writer elsewhere.
        """
        self.runs, self.params, self.digests = {}, {}, {}
        self.names, self.marks, self.kept, self.live, self.named = {}, {}, {}, {}, set()
        self.carried, self.best, self.found = {}, {}, False
        parents: dict[str, str] = {}
        twice: list[str] = []
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
                if key in self.runs:
                    twice.append(run.info.run_id)
                    continue
                self.runs[key] = run.info.run_id
                self.params[key] = dict(run.data.params)
                self.names[key] = run.info.run_name or ""
                self.marks[key] = {mark: run.data.tags.get(mark, "") for mark in _MARKS}
                if key == "study":
                    self.found = True
                    self.carried = {tag: run.data.tags.get(tag, "") for tag in (_FILES, _REGISTERED)}
                    self.best = {k: v for k, v in run.data.metrics.items() if k.startswith(_BEST_SO_FAR)}
                if _DIGEST in run.data.tags:
                    self.digests[key] = run.data.tags[_DIGEST]
                parents[key] = run.data.tags.get(_PARENT, "")
            token = page.token
            if not token:
                break
        for run_id in twice:
            self.client.delete_run(run_id)
        for key, parent in parents.items():
            if key != "study" and parent != self.runs.get("study", parent):
                self.client.set_tag(self.runs[key], _PARENT, self.runs["study"])

    def write_changes(self) -> int:
        """Write what the store does not have; return the count of items.

        Raises:
            StoppedError: Time was up before everything was written.
        """
        with self.turn.taken(self.stop) as mine:
            if mine is None:
                raise StoppedError
            if not mine:  # others may have made runs
                self._find_runs()
                self.moved()
            return self._write_changes()

    def _write_changes(self) -> int:
        revision = self.ledger.revision()
        self.row = study_row(self.ledger, self.study)
        new = numbers = (
            None if self.revision is None else self.ledger.changed_since(self.study, self.revision)
        )
        trials = self.ledger.trials(self.study)
        objective = read_objective(self.row, trials)
        finding = find(self.row, trials, objective)
        moved = objective != self.objective  # a bound that the default gives changes what others are
        judged = self.objective is not None and objective.awaited == self.objective.awaited
        if moved:
            numbers, self.named = None, set()
        items = items_of(self.row, trials, objective, numbers, finding)
        parent = items[-1]
        verifies = bool(self.row.notes.get(VERIFIES))  # it has no search, no winner and no page of its own
        if parent.key not in self.runs:  # trials hang below it
            self._create(parent)
        state = self.ours = self.ledger.mirror_state(self.study, self.mirror)
        self.restored = RESTORED in self.ledger.mirror_state(self.study, COPIES)
        changed = [
            item
            for item in items
            if item.key not in self.runs
            or not (state.get(item.key) == item.digest == self.digests.get(item.key, item.digest))
        ]
        written = 0
        failures: list[Exception] = []
        in_a_row = 0
        for item in changed:
            if self.stop():
                raise StoppedError
            if (item.key, item.digest) in self.refused:
                continue
            try:
                with self._refusal(item):
                    if (
                        item is parent and not verifies
                    ):  # with the study, whose item changes whenever a trial ends
                        self._write_best(trials, objective, new if judged else None)
                    failpoint("mirror.item")
                    self._write(item)
                    failpoint("mirror.write")
                    self.ledger.set_mirror_state(self.study, self.mirror, {item.key: item.digest})
                    failpoint("mirror.marked")
                    written += 1
                in_a_row = 0
            except Exception as error:  # whatever the library raises: told apart below, or raised again
                failures.append(error)
                in_a_row += 1
                if in_a_row == _FAILURES or not _is_answer(error):
                    raise
            self.moved()
            self.written(self, False)
        self.written(self, True)
        if failures:  # the next pass tries them again
            raise failures[0]
        if not verifies:
            self._write_rest(trials, objective, finding, changed=bool(changed))
        self.revision, self.objective = revision, objective
        return written

    def _write_rest(
        self, trials: Sequence[Trial], objective: Objective, finding: Finding, *, changed: bool
    ) -> None:
        """Write what the trials say together: marks, the view, and at the end the files and the winner."""
        self._write_marks(trials, objective, finding)
        finished = sum(trial.state.finished for trial in trials)
        steady = self.revision is not None and self.row.state == "RUNNING"
        if not steady or (changed and finished & (finished - 1) == 0):  # after 1, 2, 4, 8 ... trials
            self._write_view(trials, objective)
        if self.row.state != "RUNNING":
            if self.restored:
                self._delete_lost(len(trials))
            self._write_files()
            self._register(finding)

    def _delete_lost(self, count: int) -> None:
        """Delete runs of trials that the study does not have: lost with a machine, and not proposed again."""
        for key in [key for key in self.runs if key != "study" and int(key.partition("/")[2]) >= count]:
            self.client.delete_run(self.runs.pop(key))
            self.moved()

    def _write_marks(self, trials: Sequence[Trial], objective: Objective, finding: Finding) -> None:
        """Say in tags and names which trial is the best, and which are on the Pareto front."""
        from mlflow.entities import RunTag

        refused = {key for key, _ in self.refused}
        best = -1 if finding.best is None else finding.best.trial.number
        role, mark = ("best", "true") if finding.recommended else ("nearest", "nearest")
        for trial in trials:
            key = f"trial/{trial.number}"
            if key not in self.runs or key in refused:
                continue
            wanted = {
                "autotune.best": mark if trial.number == best else "false",
                "autotune.pareto": "true" if trial.number in finding.front else "false",
            }
            changed = self.marks.get(key) != wanted
            if changed:
                tags = [RunTag(name, value) for name, value in wanted.items()]
                self.client.log_batch(self.runs[key], tags=tags)
                self.marks[key] = wanted
            if changed or key not in self.named:
                name = run_name(
                    trial, objective, role=role if trial.number == best else launch_of(trial, self.row)
                )
                if self.names.get(key) != name:
                    self.client.update_run(self.runs[key], name=name)
                    self.names[key] = name
                if trial.state.finished:
                    self.named.add(key)

    def _write_files(self) -> None:
        """Upload the files of the study where they differ from those that the store has."""
        files = {name: path for name, path in self.files().items() if path.is_file()}
        digest = files_digest(files)
        if not files or self.carried.get(_FILES) == digest:
            return
        run_id = self.runs["study"]
        _name_artifact_place(self.client, self.uri, run_id)
        for name, path in files.items():
            self._upload(run_id, name, path, redact_certain)
            self.moved()
            for plot, text in plot_pages(path):
                self.client.log_text(run_id, text, f"{PLOTS}/{plot}.html")
                self.moved()
        self.client.set_tag(self.runs["study"], _FILES, digest)
        self.carried[_FILES] = digest

    def _register(self, finding: Finding) -> None:
        """Enter the winner into the model registry, once it can be deployed and where there is one.

        One that was entered is not called the recommended one any more where nothing is recommended.
        """
        if (finding.best is None or not finding.recommended) and self.carried.get(_REGISTERED):
            if withdraw(self.client, self.row):
                self.client.set_tag(self.runs["study"], _REGISTERED, "")
            self.carried[_REGISTERED] = ""
        digest = winner_digest(self.row, finding.best) if finding.recommended else ""
        if finding.best is None or not digest or self.carried.get(_REGISTERED) == digest:
            return
        run_id = self.runs["study"]
        if register(self.client, self.row, finding.best, run_id):
            self.client.set_tag(run_id, _REGISTERED, digest)
        self.carried[_REGISTERED] = digest

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
            _DIGEST: _UNFINISHED,
            **item.tags,
        }
        start_ms = item.start_ms
        kind, _, number = item.key.partition("/")
        if kind == "trial":
            tags[_PARENT] = self.runs["study"]
            attempts = self.ledger.attempts(self.study, int(number))
            if item.status in LIVE and attempts:  # MLflow never changes when a run started
                start_ms = attempts[-1].started_ns // 1_000_000
            tags |= _NO_MARKS
        run = self.client.create_run(self.experiment, start_time=start_ms, tags=tags, run_name=item.name)
        self.runs[item.key] = _given(run.info.run_id)
        self.params[item.key] = {}
        self.names[item.key] = item.name
        self.marks[item.key] = dict(_NO_MARKS)
        self.digests[item.key] = _UNFINISHED
        return self.runs[item.key]

    def _write(self, item: Item) -> None:
        from mlflow.entities import Metric, Param, RunTag

        run_id = self.runs.get(item.key) or self._create(item)
        moment = item.end_ms or item.start_ms
        there = self.params[item.key]
        differing = {k: v for k, v in item.params.items() if there.get(k, v) != v}
        if differing and self.restored and item.key != "study" and item.key not in self.ours:
            # of a trial that was lost with its machine, whose number was given out again
            self.client.delete_run(run_id)
            run_id = self._create(item)
            there, differing = self.params[item.key], {}
        metrics = [Metric(key, value, moment, 0) for key, value in item.metrics.items()]
        params = [Param(key, value) for key, value in item.params.items() if key not in there]
        tags = [RunTag(key, value) for key, value in item.tags.items()]
        tags += [RunTag(f"autotune.now.{key}", value) for key, value in differing.items()]
        for start in range(0, max(len(metrics), len(params), len(tags)), _BATCH):
            part = slice(start, start + _BATCH)
            self.client.log_batch(run_id, metrics=metrics[part], params=params[part], tags=tags[part])
        there |= {param.key: param.value for param in params}
        if item.texts or item.files:
            _name_artifact_place(self.client, self.uri, run_id)
        for name, text in item.texts.items():
            if self.kept.get((item.key, name)) != text:
                self.client.log_text(run_id, text, name)
                self.kept[item.key, name] = text
        for name, path in item.files.items():
            self._upload(run_id, name, Path(path))
        if item.key == "study":
            self._withdraw_files(run_id, item)
        if item.status not in LIVE:
            self.client.set_terminated(run_id, status=item.status, end_time=item.end_ms)
        elif self.live.get(item.key) != item.status:
            self.client.update_run(run_id, status=item.status)
        self.live[item.key] = item.status
        self.client.set_tag(run_id, _DIGEST, item.digest)
        if self.client.get_run(run_id).data.tags.get(_DIGEST) != item.digest:
            raise KeepsNothingError
        self.digests[item.key] = item.digest

    def _withdraw_files(self, run_id: str, item: Item) -> None:
        """Delete what an earlier best left in the study's run: its file, and what deploys it."""
        there = {name for key, name in self.kept if key == item.key}
        if self.found:
            place = artifact_place(self.client, self.uri, run_id)
            there |= {one.path for folder in (None, DEPLOYMENT) for one in place.list_artifacts(folder)}
            self.found = False
        for name in sorted(there - item.texts.keys()):
            if name == BEST or name.startswith(f"{DEPLOYMENT}/"):
                # said first: not every store deletes
                text = '{"withdrawn": true}' if name.endswith(".json") else "# withdrawn: not recommended\n"
                self.client.log_text(run_id, text, name)
                try:
                    artifact_place(self.client, self.uri, run_id).delete_artifacts(name)
                except Exception as error:  # noqa: BLE001 - whatever a store raises that does not delete
                    _log.info("%s stays in the store: %s", name, one_line(error))
                self.kept.pop((item.key, name), None)

    def _upload(self, run_id: str, name: str, path: Path, mask: Callable[[str], str] = redact) -> None:
        """Write one artifact; the file may lie on another node, or be gone."""
        try:
            if path.stat().st_size > _LARGEST_FILE:
                self.client.set_tag(
                    run_id, f"autotune.file.{allowed_name(name)}", f"too large to copy: {path}"
                )
                return
            content = path.read_bytes()
        except OSError:
            self.client.set_tag(run_id, f"autotune.file.{allowed_name(name)}", f"not on this machine: {path}")
            return
        text, readable = artifact_text(content, mask)
        if readable:
            self.client.log_text(run_id, text, name)
            return
        target, parent = PurePosixPath(name), str(PurePosixPath(name).parent)
        with tempfile.TemporaryDirectory(prefix="autotune-") as folder:
            copy = Path(folder) / target.name
            copy.write_bytes(text.encode("latin-1", errors="replace"))
            self.client.log_artifact(run_id, str(copy), None if parent == "." else parent)

    def _write_best(
        self, trials: Sequence[Trial], objective: Objective, numbers: Sequence[int] | None
    ) -> None:
        """Write the best so far as a stepped metric of the parent run; MLflow drops exact repetitions."""
        from mlflow.entities import Metric

        start = 0 if numbers is None else min(numbers, default=sys.maxsize)
        steps = best_steps(trials, objective, start)
        metrics = [Metric(step.name, step.value, step.moment_ms, step.step) for step in steps]
        now, last = time.time_ns() // 1_000_000, max((trial.number for trial in trials), default=0)
        known = {metric.key: metric.value for metric in metrics if metric.key.startswith(_BEST_SO_FAR)}
        if objective.awaited:  # no metric can be deleted
            known = {key: math.nan for key, value in self.best.items() if not math.isnan(value)}
            metrics += [Metric(key, value, now, last) for key, value in known.items()]
        else:
            again = [key for key in known if math.isnan(self.best.get(key, 0.0))]
            metrics += [Metric(key, known[key], now, last) for key in again]
        for start in range(0, len(metrics), _METRICS):
            self.client.log_batch(self.runs["study"], metrics=metrics[start : start + _METRICS])
        self.best |= known


def _given(value: Any) -> str:
    """Return an id or a place that the store gave.

    Raises:
        KeepsNothingError: It gave none, as anything may that answers every request with success.
    """
    if not value:
        raise KeepsNothingError
    return str(value)


def _is_answer(error: Exception) -> bool:
    """Return whether the store was there and answered that this item fails: the next one may not."""
    from mlflow.exceptions import MlflowException, RestException

    if getattr(error, "error_code", "") in _REFUSES_US:
        return False
    if isinstance(error, MlflowException):  # without an answer it carries the connection's own words
        return isinstance(error, RestException) or "failed with error code" in str(error)
    return getattr(error, "response", None) is not None  # of an artifact, which has no such answer

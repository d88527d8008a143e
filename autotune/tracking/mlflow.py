"""The MLflow mirror: an experiment per study, a parent run, a nested run per trial.

Everything is written from a thread of its own and can be written again: what the store already has is found
by its tags, and the ledger remembers the digest of each item that was written. A store that is away costs the
study nothing; :func:`sync` completes it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from autotune.core.dependencies import missing_dependency, what_is_missing
from autotune.core.endpoint import Refused
from autotune.core.environment import SAFE_PATH, own_module
from autotune.core.redact import redact
from autotune.errors import AutotuneError, EnvironmentProblem
from autotune.ledger import Ledger
from autotune.tracking.base import MirrorReport, StoppedError
from autotune.tracking.mlflow_addresses import database_file, opened_address
from autotune.tracking.mlflow_copy import LedgerCopies
from autotune.tracking.mlflow_database import prepare_database
from autotune.tracking.mlflow_items import abandoned, mirror_name, one_line, outdated
from autotune.tracking.mlflow_session import Session, load_quietly, mlflow_version
from autotune.tracking.mlflow_view import run_link
from autotune.tracking.run_addresses import ask_server, is_server

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0  # between tries while the store is away
_STALLED_S = 5.0  # without a step of the store that long, the study's end does not wait for it
_STALLED_AGAIN_S = 1.0  # nor that long, where it had failed before

_POLL_S = 0.05
_STUCK_S = 120.0  # without a step of the store that long, `sync` gives up; making a database takes 10 to 40 s
_ROOM = "see that the file and its folder can be written and the disk has room"
_MOST_SAID = 3  # times that a store goes away; a server that comes and goes must not fill the terminal
_VERSION_S = 5.0  # for a server to say its version
_LONGEST_VERSION = 100  # bytes
_SYNC_S = 600.0  # a thousand trials take about a minute in a database on this machine

_log = logging.getLogger("autotune.tracking")


class MlflowMirror:
    """Mirror of one study of a ledger in MLflow.

    Args:
        ledger_path: The ledger; read and marked through a connection of the mirror's own.
        study: Name of the study.
        tracking_uri: Address of the store.
        experiment: Name of the MLflow experiment.
        copy_every_s: Shortest time between two copies of the ledger; ``None`` for none.
    """

    def __init__(
        self,
        ledger_path: Path,
        study: str,
        *,
        tracking_uri: str,
        experiment: str,
        copy_every_s: float | None = None,
    ) -> None:
        self.ready = threading.Event()
        self._ledger_path = ledger_path
        self._study = study
        self._uri = tracking_uri
        self._experiment = experiment
        self._changed = threading.Event()
        self._closing = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mlflow mirror", daemon=True)
        self._files: Mapping[str, Path] = {}
        self._copies = None if copy_every_s is None else LedgerCopies(study, copy_every_s)
        self._error = ""
        self._said = 0
        self._moved_at = time.monotonic()

    def start(self) -> None:
        """Begin to copy; the library is loaded in the mirror's thread."""
        self._changed.set()
        self._thread.start()

    def notify(self) -> None:
        """Say that the ledger has changed."""
        self._changed.set()

    def artifacts(self, files: Mapping[str, Path]) -> None:
        """Give the study's run files, such as its report, once the study has ended."""
        self._files = dict(files)
        self._changed.set()

    def close(self, timeout: float) -> MirrorReport:
        """Copy what is left for at most ``timeout`` seconds, then end.

        A store that stalls is not waited for.
        """
        self._closing.set()
        self._changed.set()
        if self._thread.ident is not None:
            self._flush(time.monotonic() + timeout)
        self._over.set()  # a pass that is under way ends after the item in hand
        try:
            with Ledger.open(self._ledger_path, read_only=True) as ledger:
                pending = len(outdated(ledger, self._study, mirror_name(self._uri)))
                copy = "" if self._copies is None else self._copies.missing(ledger)
        except Exception as error:  # noqa: BLE001 - a study that ended well must not fail at its mirror
            return MirrorReport(0, (one_line(error),))
        return MirrorReport(pending, tuple(filter(None, (self._error, copy))))

    def _flush(self, deadline: float) -> None:
        stalled = _STALLED_AGAIN_S if self._error else _STALLED_S
        self._moved()
        while self._thread.is_alive() and time.monotonic() < min(deadline, self._moved_at + stalled):
            self._thread.join(_POLL_S)
            if not self.ready.is_set():  # the library is loading still
                self._moved()

    def _moved(self) -> None:
        self._moved_at = time.monotonic()

    def _run(self) -> None:
        pause = _FIRST_PAUSE_S
        session: Session | None = None
        closed_others = False
        try:
            with Ledger.open(self._ledger_path) as ledger:
                while True:
                    self._changed.wait(None if self._copies is None else self._copies.wait_s())
                    self._changed.clear()
                    last = self._closing.is_set()
                    try:
                        session = session or self._connect(ledger)
                        session.write_changes()
                        self._report(session.refusals())
                        pause = _FIRST_PAUSE_S
                        if not closed_others:
                            self._close_others(ledger)
                            closed_others = True
                    except StoppedError:
                        return
                    except Exception as error:  # noqa: BLE001 - whatever the store does, the study must not feel it
                        session = None  # what it knew of the store may be wrong now
                        self._report(f"{_in_full(error, self._uri)}; trying again in the background")
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

    def _connect(self, ledger: Ledger) -> Session:
        return Session(
            ledger, self._study, self._uri, self._experiment,
            stop=self._over.is_set, moved=self._moved, ready=self.ready, files=lambda: self._files,
            written=self._copy,
        )  # fmt: skip

    def _copy(self, session: Session, all_written: bool) -> None:
        if self._copies is not None:
            self._copies.update(session, now=all_written and self._closing.is_set())

    def _close_others(self, ledger: Ledger) -> None:
        """Close the runs of studies whose process was killed: nobody else would, until they are resumed."""
        for row, experiment in abandoned(ledger, self._study, self._uri):
            Session(ledger, row.name, self._uri, experiment, stop=self._over.is_set).write_changes()

    def _report(self, text: str) -> None:
        if text and not self._error and self._said < _MOST_SAID:  # the study's end says what is missing
            self._said += 1
            _log.warning("MLflow at %s: %s", redact(self._uri), text)
        self._error = text


def sync(
    ledger_path: Path,
    study: str,
    *,
    tracking_uri: str,
    experiment: str,
    timeout: float = _SYNC_S,
    files: Mapping[str, Path] | None = None,
    copy: bool = False,
) -> int:
    """Complete MLflow from the ledger; return how many items were written.

    Args:
        ledger_path: The ledger.
        study: Name of the study.
        tracking_uri: Address of the store.
        experiment: Name of the MLflow experiment.
        timeout: Seconds after which no further item is begun; what was written stays.
        files: Files of the study by artifact, such as its report.
        copy: Whether the ledger's copy is completed too.

    Raises:
        EnvironmentProblem: The store cannot be reached, refuses an item, or takes too long.
        StudyError: The ledger has no such study.
    """
    done: list[int] = []
    failed: list[Exception] = []
    moved = [time.monotonic()]

    def work() -> None:
        try:
            done.append(
                _complete(
                    ledger_path,
                    study,
                    tracking_uri,
                    experiment,
                    timeout,
                    lambda: moved.append(time.monotonic()),
                    files or {},
                    LedgerCopies(study, 0.0) if copy else None,
                )
            )
        except Exception as error:  # noqa: BLE001 - raised again below, in the caller's thread
            failed.append(error)

    # A store that sends a byte now and then holds its thread for ever: no timeout of a request sees it.
    thread = threading.Thread(target=work, name="mlflow sync", daemon=True)
    thread.start()
    while thread.is_alive() and time.monotonic() < moved[-1] + _STUCK_S:
        thread.join(_POLL_S)
    if failed:
        raise failed[0]
    if not done:
        raise EnvironmentProblem(
            f"MLflow at {redact(tracking_uri)}: no step in {_STUCK_S:g} s", hint=_advice(tracking_uri)
        )
    return done[0]


def _complete(
    ledger_path: Path,
    study: str,
    uri: str,
    experiment: str,
    timeout: float,
    moved: Callable[[], None],
    files: Mapping[str, Path],
    copies: LedgerCopies | None,
) -> int:
    """Do the one pass of :func:`sync`, in its thread."""
    limit = time.monotonic() + timeout
    where = f"MLflow at {redact(uri)}"
    with Ledger.open(ledger_path) as ledger:
        try:
            session = Session(
                ledger,
                study,
                uri,
                experiment,
                stop=lambda: time.monotonic() > limit,
                moved=moved,
                files=lambda: files,
                written=lambda session, last: copies.update(session) if last and copies is not None else None,
            )
            count = session.write_changes()
        except EnvironmentProblem as error:
            raise EnvironmentProblem(f"{where}: {error.message}", hint=error.hint) from error
        except AutotuneError:
            raise
        except StoppedError:
            raise EnvironmentProblem(
                f"{where}: not complete after {timeout:g} s", hint="run it again: it goes on from there"
            ) from None
        except Exception as error:  # whatever the store or the library raises is said in one line
            missing = missing_dependency(error)
            if missing is not None:
                raise missing from error
            raise EnvironmentProblem(f"{where}: {one_line(error)}", hint=_advice(uri)) from error
    if session.refused:
        raise EnvironmentProblem(f"{where}: {session.refusals()}", hint="the other items are complete")
    if copies is not None and copies.problem:
        raise EnvironmentProblem(
            f"{where}: no copy of the ledger: {copies.problem}", hint="all else is complete"
        )
    return count


def _in_full(error: Exception, uri: str) -> str:
    """Return what an error says and, of a file of this machine, what to do."""
    if missing := what_is_missing(error):
        return missing
    said = one_line(error)
    known = isinstance(error, AutotuneError) or database_file(uri) is None
    return said if known else f"{said}; {_ROOM}"


def _advice(uri: str) -> str:
    if database_file(uri) is not None:
        return f"{_ROOM}, then repeat"
    return "start the tracking server, or see what it says, then repeat"


def prepare_store(tracking_uri: str) -> None:
    """Make the database of a store where there is none yet, as a study would.

    Raises:
        EnvironmentProblem: It cannot be opened or made; with what to do.
    """
    load_quietly(tracking_uri)
    prepare_database(tracking_uri, lambda: False, _log.warning)


def study_link(tracking_uri: str, base: str, experiment: str, uid: str) -> str:
    """Return the address of a study's runs; that of the UI where the store does not have the study.

    Args:
        tracking_uri: Address of the store.
        base: Address of the UI.
        experiment: Name of the experiment.
        uid: Identity of the study.

    Raises:
        EnvironmentProblem: The store cannot be asked.
    """
    load_quietly(tracking_uri)
    from mlflow.tracking import MlflowClient

    try:
        found = MlflowClient(tracking_uri=opened_address(tracking_uri)).get_experiment_by_name(experiment)
    except Exception as error:  # whatever the store or the library raises is said in one line
        raise EnvironmentProblem(
            f"MLflow at {redact(tracking_uri)}: {one_line(error)}", hint=_advice(tracking_uri)
        ) from error
    if found is None:
        _log.warning("MLflow has no experiment %r yet: `autotune sync` writes it", experiment)
        return base
    return run_link(
        base, found.experiment_id, uid, _version_of(base) if is_server(tracking_uri) else mlflow_version()
    )


def _version_of(server: str) -> str:
    """Return the version of a server; that of the library where it does not say."""
    try:
        said = ask_server(
            f"{server.rstrip('/')}/version",
            deadline=time.monotonic() + _VERSION_S,
            most_bytes=_LONGEST_VERSION,
        )
        return said.decode("ascii")
    except (Refused, ValueError):
        return mlflow_version()


def ui_command(tracking_uri: str, port: int) -> list[str]:
    """Return the command that serves the MLflow UI on a store, without a module of the folder it starts in.

    Raises:
        EnvironmentProblem: The store is a server, which has a UI of its own.
    """
    if is_server(tracking_uri):
        raise EnvironmentProblem(
            f"{redact(tracking_uri)} is an MLflow server", hint="open that address in a browser"
        )
    return [
        "env", *(f"{name}={value}" for name, value in SAFE_PATH.items()),  # its own processes too
        *own_module("mlflow", "server"), "--backend-store-uri", tracking_uri,
        "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
    ]  # fmt: skip

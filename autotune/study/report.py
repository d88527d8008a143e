"""The report of a study at the end of its run: beside the ledger, best effort, in bounded time."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from autotune.analysis.model_facts import MODEL_FACTS
from autotune.analysis.study_view import StudyView
from autotune.core.commands import stored_command
from autotune.core.redact import redact
from autotune.errors import AutotuneError, LedgerError, words_of
from autotune.ledger import Ledger, StudyRow
from autotune.spec.stored import StoredSpec
from autotune.study.reading import model_account, read_view
from autotune.study.result import deployment_of
from autotune.study.study import Study, find_study
from autotune.tracking.base import Mirror
from autotune.tracking.mlflow_items import mirror_name
from autotune.tracking.run_addresses import is_server, run_addresses

REPORT_ARTIFACT = "report.html"
"""Name of the report among the artifacts of a mirror."""

REPORT_VARIABLE = "AUTOTUNE_REPORT"
"""Environment variable; where it is 0 no run ends with a report."""

REPORT_S = (8.0, 30.0)
"""Bounds of the time after which the report at the end of a run begins no further figure.

Between them it is a twentieth of the time spent measuring; `autotune report` makes all.
"""

REPORT_STOPPED_S = 0.5
"""The same after a signal: whoever sent it kills what has not ended in time."""

_ASK_S = 2.0  # for an MLflow server to name the runs of a study

_log = logging.getLogger("autotune.study")


def report_path(ledger: Path, study: str, suffix: str = "html") -> Path:
    """Return the path of a study's report, beside its ledger."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", study).strip(".-")[:64] or "study"
    if name != study:  # two studies have two reports
        name += f"-{hashlib.sha256(study.encode(errors='surrogateescape')).hexdigest()[:8]}"
    return ledger.parent / f"{name}-report.{suffix}"


def made_files(ledger: Path, study: str) -> dict[str, Path]:
    """Return the report that a study has by now, by the name of its artifact."""
    path = report_path(ledger, study)
    return {REPORT_ARTIFACT: path} if path.is_file() else {}


def report_view(ledger: Ledger, row: StudyRow, seconds: float = _ASK_S) -> StudyView:
    """Return a study as reports show it: with its winner's deployment and the addresses of its runs.

    Args:
        ledger: The ledger.
        row: The study.
        seconds: Longest time for an MLflow server to name the runs.
    """
    view = replace(read_view(ledger, row), run_urls=_run_urls(ledger, row, seconds))
    try:
        found = deployment_of(view)
    except AutotuneError as error:  # its system is not installed here: all else can be told
        return replace(view, deploy=(f"not known here: {error.message}",))
    return view if found is None else replace(view, deploy=tuple(found.lines()))


def _run_urls(ledger: Ledger, row: StudyRow, seconds: float) -> dict[int, str]:
    """Return the addresses of the runs of an MLflow server; a local store has none until it is served."""
    stored = StoredSpec(row.spec)
    uri = stored.tracking_uri or ""
    if not is_server(uri) or not ledger.mirror_state(row.name, mirror_name(uri)):
        return {}
    return run_addresses(uri, stored.experiment or row.name, row.uid, timeout=seconds)


def write_at_end(study: Study, mirror: Mirror | None = None, seconds: float | None = None) -> Path | None:
    """Write the report of a study whose run ends beside its ledger, and give it to the mirror.

    Nothing that goes wrong here touches the study: all of it is in the ledger.

    Args:
        study: The study, its state final.
        mirror: Mirror of the study; ``None`` without one.
        seconds: Time after which no further figure is begun; by default as :data:`REPORT_S` says.

    Returns:
        The path; ``None`` for a study in memory, where the report could not be written, and where
        :data:`REPORT_VARIABLE` says that none is wanted.
    """
    if study.path is None or os.environ.get(REPORT_VARIABLE) == "0":
        return None
    again = stored_command("report", study.name, study.path)
    try:
        from autotune.report.html import write_report

        study.keep_predictions()
        row = find_study(study.ledger, study.name)
        view = report_view(study.ledger, row, _ASK_S if seconds is None else min(_ASK_S, seconds))
        if seconds is None:
            spent = sum(trial.measurement.seconds for trial in view.trials if trial.measurement is not None)
            seconds = min(max(spent / 20, REPORT_S[0]), REPORT_S[1])
        deadline = time.monotonic() + seconds
        path = write_report(view, report_path(study.path, study.name), seconds=seconds)
        if mirror is not None:
            mirror.artifacts({REPORT_ARTIFACT: path})
        _keep_facts(study, row, view, seconds > REPORT_STOPPED_S and time.monotonic() < deadline)
        return path
    except KeyboardInterrupt:  # whoever does not want to wait for it has the study all the same
        _log.warning("the report was given up, as asked; `%s` makes it", again)
        return None
    except Exception as error:  # noqa: BLE001 - best effort: the study is measured and kept
        said = redact(words_of(error).splitlines()[0])
        _log.warning("the report could not be written: %s; `%s` tries again", said, again)
        return None


def _keep_facts(study: Study, row: StudyRow, view: StudyView, account: bool) -> None:
    """Keep what the model said in the ledger: whoever looks next needs no model.

    Args:
        study: The study.
        row: Its row of the ledger.
        view: View that the report was made of.
        account: Whether there is time to ask the engine what is left to gain.
    """
    try:
        if account:
            model_account(row, view)
    except Exception as error:  # noqa: BLE001 - `autotune status` asks a plug-in's engine again, and says it
        _log.info("the account of the model: %s", words_of(error))
    with suppress(LedgerError):  # without them it is fitted again
        study.ledger.set_study_note(study.name, MODEL_FACTS, view.facts.note())

"""The report of a study at the end of its run: beside the ledger, best effort, in bounded time."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from pathlib import Path

from autotune.analysis.study_view import StudyView
from autotune.core.redact import redact
from autotune.errors import AutotuneError, words_of
from autotune.ledger import Ledger, StudyRow
from autotune.study.deployed import deployment_of
from autotune.study.reading import read_view

REPORT_S = 4.0
"""Time after which the report at the end of a run begins no further figure; `autotune report` makes all."""

REPORT_STOPPED_S = 0.5
"""The same after a signal: whoever sent it kills what has not ended in time."""

_log = logging.getLogger("autotune.study")


def report_path(ledger: Path, study: str, suffix: str = "html") -> Path:
    """Return the path of a study's report, beside its ledger."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", study).strip(".-")[:64] or "study"
    return ledger.parent / f"{name}-report.{suffix}"


def report_view(ledger: Ledger, row: StudyRow) -> StudyView:
    """Return a study as reports show it: with what deploys the configuration that it recommends."""
    view = read_view(ledger, row)
    try:
        found = deployment_of(row, view)
    except AutotuneError as error:  # its system is not installed here: all else can be told
        return replace(view, deploy=(f"not known here: {error.message}",))
    return view if found is None else replace(view, deploy=tuple(found.lines()))


def write_at_end(ledger: Ledger, study: str, seconds: float = REPORT_S) -> Path | None:
    """Write the report of a study whose run ends; return its path, or ``None`` where that failed.

    Nothing that goes wrong here touches the study: it is in the ledger.
    """
    row = ledger.study(study)
    if row is None or ledger.path is None:
        return None
    try:
        from autotune.report.html import write_report

        return write_report(report_view(ledger, row), report_path(ledger.path, study), seconds=seconds)
    except KeyboardInterrupt:  # whoever does not want to wait for it has the study all the same
        return None
    except Exception as error:  # noqa: BLE001 - best effort: the study is measured and kept
        said = redact(words_of(error).splitlines()[0])
        _log.warning("the report could not be written: %s; `autotune report` tries again", said)
        return None

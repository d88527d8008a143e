"""Tables of reports, with secrets masked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autotune.analysis.study_view import StudyView
from autotune.analysis.trial_frame import trial_frame
from autotune.core.measured_table import safe_cell
from autotune.core.redact import redact, visible

if TYPE_CHECKING:
    import pandas as pd


def frame_of(view: StudyView, *, typed: bool = False) -> pd.DataFrame:
    """Return the trials as a table to give away.

    Args:
        view: The study.
        typed: Whether each column has one type: values of a parameter with numbers and words become text.
    """
    frame = trial_frame(view.trials, view.objective, view.space.names)
    for name in frame.columns:
        column = frame[name]
        if not _has_texts(column):
            continue
        kinds = {type(value) for value in column.dropna()}
        mixed = typed and len(kinds) > 1 and not kinds <= {int, float}
        told = column.notna()
        frame[name] = [
            redact(str(value)) if there and (mixed or isinstance(value, str)) else value
            for value, there in zip(column, told, strict=True)
        ]
    return frame


def _has_texts(column: pd.Series[str]) -> bool:
    """Return whether there may be texts in a column; one of texts alone has a type of its own."""
    return column.dtype.kind == "O"


def _cell(value: object) -> object:
    return safe_cell(visible(value)) if isinstance(value, str) else value


def csv_text(view: StudyView) -> str:
    """Return the trials as CSV that a spreadsheet may open.

    What it would take for a formula has an apostrophe before it; what nobody would see is left out.
    """
    frame = frame_of(view)
    for name in frame.columns:
        if _has_texts(frame[name]):
            frame[name] = frame[name].map(_cell)
    return frame.to_csv(index=False)

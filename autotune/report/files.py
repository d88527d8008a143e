"""Tables of reports, with secrets masked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autotune.analysis.study_view import StudyView
from autotune.analysis.trial_frame import trial_frame
from autotune.core.redact import redact

if TYPE_CHECKING:
    import pandas as pd


def frame_of(view: StudyView, *, typed: bool = False) -> pd.DataFrame:
    """Return the trials as a table to give away.

    Args:
        view: The study.
        typed: Whether each column has one type: values of a parameter with numbers and words become text.
    """
    frame = trial_frame(view)
    for name in frame.columns:
        column = frame[name]
        if column.dtype != object:
            continue
        kinds = {type(value) for value in column.dropna()}
        mixed = typed and len(kinds) > 1 and not kinds <= {int, float}
        told = column.notna()
        frame[name] = [
            redact(str(value)) if there and (mixed or isinstance(value, str)) else value
            for value, there in zip(column, told, strict=True)
        ]
    return frame

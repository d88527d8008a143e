"""Reports as files: written whole, tables with secrets masked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from autotune.analysis.study_view import StudyView
from autotune.analysis.trial_frame import trial_frame
from autotune.core.redact import redact

if TYPE_CHECKING:
    import pandas as pd


def write_whole(target: Path, data: bytes) -> None:
    """Write a file so that whoever reads it sees all of it or what was there before.

    Args:
        target: Path of the file; its folder is made.
        data: Its bytes.

    Raises:
        OSError: It cannot be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        draft.write_bytes(data)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


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

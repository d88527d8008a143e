"""The files of an attempt's folder: written whole, their ends read back."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autotune.core.failpoint import failpoint, tear
from autotune.core.redact import redact_file

LOG_NAME = "server.log"
_TEXTS = (".json", ".jsonl", ".log", ".txt")
_TAIL_LINES = 40  # kept with a failure
_TAIL_BYTES = 256 * 1024


def last_lines(text: str, lines: int = _TAIL_LINES) -> str:
    """Return the last lines of a text."""
    return "\n".join(text.splitlines()[-lines:])


def log_tail(path: Path, lines: int = _TAIL_LINES) -> str:
    """Return the last lines of a log, or an empty string when there is none."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            text = file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    return last_lines(text, lines)


def artifacts_of(scratch: Path) -> dict[str, str]:
    """Return the files of an attempt that stay, by name."""
    names = ("command.txt", "requests.jsonl", LOG_NAME)
    return {name: str(scratch / name) for name in names if (scratch / name).exists()}


def mask_files(folder: Path) -> None:
    """Mask the secrets in the files of an attempt that stay."""
    for path in folder.glob("*.*") if folder.is_dir() else ():
        if path.suffix in _TEXTS and path.is_file():
            redact_file(path)


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write a file so that whoever reads it sees all of it or none."""
    draft = path.with_suffix(".part")
    with draft.open("w", encoding="utf-8") as file:
        json.dump(data, file)
        file.flush()
        if failpoint(f"write.{path.stem}"):
            tear(draft, 0)
        os.fsync(file.fileno())
    draft.replace(path)

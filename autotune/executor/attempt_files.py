"""The files of an attempt's folder: written whole, their ends read back."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Collection, Mapping
from pathlib import Path

from autotune.core.failpoint import failpoint, tear
from autotune.core.file_names import COMMAND_NAME, LOG_NAME, REQUESTS_NAME, WORKER_LOG
from autotune.core.redact_files import DEADLINE_S, redact_folder

_TAIL_LINES = 40  # kept with a failure
_TAIL_BYTES = 256 * 1024

_log = logging.getLogger("autotune.executor")


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
    names = (COMMAND_NAME, REQUESTS_NAME, LOG_NAME)
    return {name: str(scratch / name) for name in names if (scratch / name).exists()}


def mask_files(folder: Path, live: Collection[str] = ()) -> None:
    """Mask the secrets in the files of an attempt that stay.

    Args:
        folder: Folder of the attempt.
        live: Names of files that are still written to.
    """
    left = redact_folder(folder, live)
    if left:
        _log.warning("not looked through for secrets: %s in %s", ", ".join(left[:5]), folder)


class _Masker:
    """A masker of folders, one after the other, in a thread that ends when there are none."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._folders: list[Path] = []
        self._thread: threading.Thread | None = None

    def add(self, folder: Path) -> None:
        with self._lock:
            self._folders.append(folder)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="masking")
                self._thread.start()

    def join(self, timeout: float) -> None:
        thread = self._thread
        if thread is not None:
            thread.join(timeout)

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._folders:
                    self._thread = None
                    return
                folder = self._folders.pop(0)
            mask_files(folder, (LOG_NAME, WORKER_LOG))  # whatever the worker launched may be ending still


_MASKER = _Masker()


def mask_later(folder: Path) -> None:
    """Mask the files of an attempt in a thread: whoever calls has signals and deadlines to look at.

    The process does not end before that is done, or its deadline has passed.
    """
    _MASKER.add(folder)


def wait_for_masks(timeout: float = DEADLINE_S) -> None:
    """Wait until what was given to :func:`mask_later` is masked."""
    _MASKER.join(timeout)


def write_json(path: Path, data: Mapping[str, object]) -> None:
    """Write a file so that whoever reads it sees all of it or none."""
    draft = path.with_suffix(".part")
    with draft.open("w", encoding="utf-8") as file:
        json.dump(data, file)
        file.flush()
        if failpoint(f"write.{path.stem}"):
            tear(draft, 0)
        os.fsync(file.fileno())
    draft.replace(path)

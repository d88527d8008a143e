"""A witness beside the ledger: the last revision that was committed.

A write-ahead log that lost its end, or was left behind when the file was moved, is a good ledger of an
earlier time to SQLite. The witness is written after each commit and never before: a ledger that is behind it
has lost commits that were acknowledged.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
from pathlib import Path

from autotune.core.input_file import read_bytes
from autotune.core.own_files import open_own, refuse_foreign

_LENGTH = (
    32 + 1 + 20 + 1 + 16 + 1
)  # ledger, revision, checksum: one length, so that a write replaces the last

_OURS = re.compile(rb"[0-9a-f \n\0]{1,%d}\Z" % _LENGTH)

_log = logging.getLogger("autotune.ledger")


def head_path(ledger: Path) -> Path:
    """Return the witness's file."""
    return ledger.with_name(f"{ledger.name}.head")


class Head:
    """The writer of the witness of one ledger file. Readers use :func:`read_head`."""

    def __init__(self, ledger: Path) -> None:
        self._path = head_path(ledger)
        self._file = -1
        self._failed = False

    def write(self, ledger: str, revision: int) -> None:
        """Note a commit. It is durable already: a witness that cannot be written costs a warning only."""
        try:
            if self._file < 0:
                self._file = self._open()
            os.pwrite(self._file, _line(ledger, revision), 0)
        except OSError as error:
            if not self._failed:
                _log.warning("lost commits would not be noticed: %s: %s", self._path, error.strerror)
            self._failed = True

    def _open(self) -> int:
        number = open_own(self._path, os.O_RDWR | os.O_CREAT)
        try:
            refuse_foreign(self._path, number, _OURS)
        except OSError:
            os.close(number)
            raise
        return number

    def close(self) -> None:
        """Close the file. Idempotent."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def read_head(path: Path, ledger: str) -> int:
    """Return the last revision that the witness of this ledger saw; 0 without one, or with one of another.

    Args:
        path: The ledger's file.
        ledger: Its identity.
    """
    text = b""
    with contextlib.suppress(OSError, ValueError):  # no witness, no complaint
        text = read_bytes(head_path(path), 4096)
    fields = text.split()
    if len(fields) != 3 or fields[0].decode("ascii", "replace") != ledger or not fields[1].isdigit():
        return 0
    revision = int(fields[1])
    return revision if text[:_LENGTH] == _line(ledger, revision) else 0


def _line(ledger: str, revision: int) -> bytes:
    content = f"{ledger} {revision:020d}"
    proof = hashlib.blake2b(content.encode(), digest_size=8).hexdigest()
    return f"{content} {proof}\n".encode()

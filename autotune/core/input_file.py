"""Files from strangers: read in bounded time and memory, whatever lies at their path."""

from __future__ import annotations

import gzip
import io
import os
import sqlite3
import stat
from pathlib import Path

_NAME, _PATH = 255, 4096  # bytes of a name, and of a path with the byte that ends it, of Linux


class NotRegular(ValueError):
    """A folder, a FIFO, a device: reading it might never end."""


class NotText(ValueError):
    """Bytes that are not UTF-8.

    Args:
        line: Line of the first such byte, from 1.
        byte: Byte that is no text.
    """

    def __init__(self, line: int, byte: int) -> None:
        super().__init__(f"line {line} is not UTF-8: byte {byte:#04x}")
        self.line, self.byte = line, byte


class TooLarge(ValueError):
    """A file of more bytes than are read."""


def read_raw(path: Path, most: int) -> bytes:
    """Return the bytes of a regular file as they are.

    A FIFO, a device or a folder is not opened for reading.

    Args:
        path: Path of the file; links are followed.
        most: Bytes that it may have.

    Raises:
        OSError: It is not there or cannot be read; ``strerror`` says why.
        NotRegular: It is no regular file.
        TooLarge: It has more bytes.
    """
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(number)
        if not stat.S_ISREG(found.st_mode):
            raise NotRegular("it is no regular file")
        if found.st_size > most:  # a sparse file of gigabytes takes no room on the disk
            raise TooLarge(f"more than {most >> 20} MiB")
        with os.fdopen(number, "rb", closefd=False) as file:
            data = file.read(most + 1)
    finally:
        os.close(number)
    if len(data) > most:
        raise TooLarge(f"more than {most >> 20} MiB")
    return data


def read_bytes(path: Path, most: int) -> bytes:
    """Return the bytes of a regular file, unpacked where it is gzip.

    Args:
        path: Path of the file; links are followed.
        most: Bytes that it may have, packed and unpacked.

    Raises:
        OSError: It is not there or cannot be read; ``strerror`` says why.
        ValueError: It is no regular file, too large, or no gzip though it begins so.
    """
    data = read_raw(path.expanduser(), most)
    if data[:2] == b"\x1f\x8b":
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
                data = packed.read(most + 1)
        except (OSError, EOFError, ValueError) as error:
            raise ValueError(f"it cannot be unpacked: {error}") from None
    if len(data) > most:
        raise TooLarge(f"more than {most >> 20} MiB")
    return data


def read_text(path: Path, most: int) -> str:
    """Return the text of a regular file; see :func:`read_bytes`.

    Raises:
        OSError: As for :func:`read_bytes`.
        ValueError: As for :func:`read_bytes`, or it is not UTF-8; line and byte are named.
    """
    return decoded(read_bytes(path, most))


def decoded(data: bytes) -> str:
    """Return bytes as text.

    Raises:
        NotText: They are not UTF-8.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise NotText(data[: error.start].count(b"\n") + 1, data[error.start]) from None


def active_part(connection: sqlite3.Connection) -> str:
    """Return the first part of a database that runs when it is read or written; empty where all is data.

    A view may have endless rows, and a trigger changes what others write.
    """
    query = (
        "SELECT type, name FROM sqlite_master WHERE type NOT IN ('table', 'index')"
        " OR sql LIKE 'CREATE VIRTUAL%' LIMIT 1"
    )
    found = connection.execute(query).fetchone()
    return "" if found is None else f"the {found[0].replace('table', 'virtual table')} {found[1]!r}"


def why(error: OSError | ValueError) -> str:
    """Return what kept a file from being read, without its path."""
    said = getattr(error, "strerror", None) or str(error)
    return "a number has too many digits" if "integer string conversion" in said else said


def names_a_path(text: str) -> bool:
    """Return whether a text can name a file: no NUL, no half of a pair of UTF-16, no home of nobody.

    Nor one that is too long.
    """
    try:
        path = os.fsencode(Path(text).expanduser())
        return b"\0" not in path and len(path) < _PATH and max(map(len, path.split(b"/"))) <= _NAME
    except (UnicodeEncodeError, RuntimeError):
        return False


def resolved(path: Path) -> Path:
    """Return a path without links; as it is where there is none, for whoever opens it to say so."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):  # ValueError: it has a byte that none has
        return path.absolute()

"""Files from strangers: read in bounded time and memory, whatever lies at their path."""

from __future__ import annotations

import gzip
import io
import os
import stat
from pathlib import Path


def read_bytes(path: Path, most: int) -> bytes:
    """Return the bytes of a regular file, unpacked where it is gzip.

    A FIFO, a device or a folder is not opened for reading: it might never end.

    Args:
        path: Path of the file; links are followed.
        most: Bytes that it may have, packed and unpacked.

    Raises:
        OSError: It is not there or cannot be read; ``strerror`` says why.
        ValueError: It is no regular file, too large, or no gzip though it begins so.
    """
    number = os.open(path.expanduser(), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(number, "rb") as file:
        found = os.fstat(number)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("it is no regular file")
        if found.st_size > most:  # a sparse file of gigabytes takes no room on the disk
            raise ValueError(f"more than {most >> 20} MiB")
        data = file.read(most + 1)
    if data[:2] == b"\x1f\x8b" and len(data) <= most:
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
                data = packed.read(most + 1)
        except (OSError, EOFError, ValueError) as error:
            raise ValueError(f"it cannot be unpacked: {error}") from None
    if len(data) > most:
        raise ValueError(f"more than {most >> 20} MiB")
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
        ValueError: They are not UTF-8; line and byte are named.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ValueError(f"line {line} is not UTF-8: byte {data[error.start]:#04x}") from None


def why(error: OSError | ValueError) -> str:
    """Return what kept a file from being read, without its path."""
    said = getattr(error, "strerror", None) or str(error)
    return "a number has too many digits" if "integer string conversion" in said else said


def resolved(path: Path) -> Path:
    """Return a path without links; as it is where they form a circle, for whoever opens it to say so."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return path.absolute()

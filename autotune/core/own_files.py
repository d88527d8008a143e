"""Files that we make beside others': never through a link, never in what is no file."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path

SOMEBODY_ELSES = "a file of somebody else's"

_LONGEST_OWN = 4096  # bytes of what is written to a file of one line

_KINDS = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISCHR, "a device"),
)


def kind_of(path: Path, *, follow: bool = False) -> str:
    """Return what has a name, for people; empty for a regular file and for nothing.

    Args:
        path: The name.
        follow: Whether a symbolic link counts as what it leads to.
    """
    try:
        mode = os.stat(path, follow_symlinks=follow).st_mode
    except OSError as error:
        return "a circle of symbolic links" if error.errno == errno.ELOOP else ""
    return next((kind for is_kind, kind in _KINDS if is_kind(mode)), "")


def open_own(path: Path, flags: int) -> int:
    """Open a file of ours to write; return its descriptor.

    Args:
        path: Path of the file.
        flags: ``os.O_RDWR | os.O_CREAT`` for instance.

    Raises:
        OSError: It cannot be opened, or something else has its name: a link, a folder, a FIFO. ``strerror``
            says which, and what to do.
    """
    try:
        number = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    except FileExistsError:  # only where it must not be there
        raise
    except OSError as error:
        if kind := kind_of(path):
            raise _taken(path, kind) from None
        raise error
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise _taken(path, kind_of(path) or "no regular file")
    return number


def taken_names(names: Iterable[Path]) -> str:
    """Return a complaint of the first of some names of ours that something else has; empty for none."""
    return next((complaint(path, kind) for path in names if (kind := kind_of(path))), "")


def refuse_foreign(path: Path, number: int, pattern: re.Pattern[bytes]) -> None:
    """Refuse to write to a file that has a name of ours and holds what we never write.

    Args:
        path: Path of the file.
        number: Its descriptor.
        pattern: Pattern of all that we write there; what is empty, or was left as NULs by a crash, is ours.

    Raises:
        OSError: It is somebody else's; ``strerror`` says what to do.
    """
    if not is_ours(os.pread(number, _LONGEST_OWN, 0), pattern):
        raise _taken(path, SOMEBODY_ELSES)


def is_ours(found: bytes, pattern: re.Pattern[bytes]) -> bool:
    """Return whether we may have written what a file begins with."""
    return not found.strip(b"\0") or pattern.match(found) is not None


def complaint(path: Path, kind: str) -> str:
    """Return what is said of a name of ours that something else has."""
    return f"{path.name} is {kind}, where a file of ours belongs; move it away"


def _taken(path: Path, kind: str) -> OSError:
    return OSError(errno.EINVAL, complaint(path, kind), str(path))

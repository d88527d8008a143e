"""Files that a person names to be written: whole or not at all, and never in place of what is no file."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

from autotune.core.input_file import resolved
from autotune.core.own_files import kind_of
from autotune.errors import SpecError


def output_file(path: Path, option: str = "-o") -> Path:
    """Return the file that a name leads to, there or not; links are followed.

    Args:
        path: Name that the person wrote.
        option: Option that took it, for the message.

    Raises:
        SpecError: A folder, a device, a FIFO or a socket has the name.
    """
    if kind := kind_of(path, follow=True):
        raise SpecError(f"{option} wants a file, found {kind}: {path}")
    return resolved(path)


def check_writable(target: Path) -> None:
    """Find out whether a file can be written where its folder is there.

    Args:
        target: Path of the file; what it holds stays.

    Raises:
        OSError: It cannot.
    """
    draft = _draft_of(target)
    os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    draft.unlink()


def _draft_of(target: Path) -> Path:
    return target.with_name(f".{target.name}.{os.getpid()}.part")


def write_whole(target: Path, data: bytes) -> None:
    """Write a file so that whoever reads it sees all of it or what was there before.

    A link of that name is replaced: where a person gave the name, :func:`output_file` says what it leads to.

    Args:
        target: Path of the file; its folder is made.
        data: Its bytes.

    Raises:
        OSError: It cannot be written, or what has the name is no file.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    kind = kind_of(target)
    if kind and not target.is_symlink():
        raise OSError(errno.EINVAL, f"it is {kind}", str(target))
    draft = _draft_of(target)
    try:
        draft.write_bytes(data)
        with suppress(OSError):  # nothing is there, or a link that leads nowhere
            before = target.stat()
            # what was for its owner's eyes stays so; a device is for everybody's
            if stat.S_ISREG(before.st_mode):
                draft.chmod(stat.S_IMODE(before.st_mode))
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)

"""Files that options name to be written: checked before the work, written whole."""

from __future__ import annotations

from pathlib import Path

from autotune.core.output_file import check_writable, output_file, write_whole
from autotune.errors import SpecError


def check_output(path: Path, option: str = "-o") -> None:
    """Refuse what cannot become a file, before there is something to write.

    Args:
        path: Name that the person wrote.
        option: Option that took it, for messages.

    Raises:
        SpecError: Its folder is not there or takes no file, or a folder, a device, a FIFO or a socket has
            the name.
    """
    target = output_file(path, option)
    if not path.parent.is_dir():
        raise SpecError(f"{option}: no such folder: {path.parent}")
    if not target.parent.is_dir():
        raise SpecError(f"{option}: no such folder: {target.parent}, where the link {path} leads")
    try:
        check_writable(target)
    except OSError as error:
        raise _unwritable(path, option, error) from None


def write_output(path: Path, text: str | bytes, option: str = "-o") -> None:
    """Write a text, or bytes, whole or not at all, in place of an earlier one; links are followed.

    Args:
        path: Name that the person wrote.
        text: Content of the file.
        option: Option that took the name, for messages.

    Raises:
        SpecError: What has the name is no file, or it cannot be written.
    """
    data = text if isinstance(text, bytes) else text.encode("utf-8", "backslashreplace")
    try:
        write_whole(output_file(path, option), data)
    except OSError as error:
        raise _unwritable(path, option, error) from None


def _unwritable(path: Path, option: str, error: OSError) -> SpecError:
    return SpecError(f"{option}: {path} cannot be written: {error.strerror or error}")

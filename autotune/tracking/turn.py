"""One writer at a time per study and store: two that look, find nothing and write would write all twice."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO

from autotune.core.own_files import open_own, refuse_foreign
from autotune.errors import LedgerError

_POLL_S = 0.1
_OURS = re.compile(rb"\w{1,32}\Z")  # a token


@contextmanager
def locked(path: Path, give_up: Callable[[], bool], mark: str = "") -> Iterator[TextIO | None]:
    """Wait for the lock of a file, made if it is not there, and hold it; it dies with its holder.

    Args:
        path: The file; a holder may remove it.
        give_up: Callable, asked while waiting.
        mark: Text of a file that is made here; one that was there already is not written to.

    Yields:
        The file, or ``None`` after giving up.

    Raises:
        OSError: It cannot be made or opened, or what has its name is no file of ours.
    """
    while True:
        with _open(path, mark) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not give_up():
                    time.sleep(_POLL_S)
                    continue
                yield None
                return
            if not _is_at(file, path):  # its last holder removed it
                continue
            try:
                yield file
            finally:
                fcntl.flock(file, fcntl.LOCK_UN)
            return


def _open(path: Path, mark: str) -> TextIO:
    while True:
        try:
            descriptor = open_own(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND)
        except FileExistsError:
            try:
                return os.fdopen(open_own(path, os.O_RDWR | os.O_APPEND), "a+", encoding="utf-8")
            except FileNotFoundError:  # its last holder removed it
                continue
        try:
            os.write(descriptor, mark.encode())
        except OSError:  # a full disk: without its mark nobody would know it for ours
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise
        return os.fdopen(descriptor, "a+", encoding="utf-8")


def _is_at(file: TextIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def turn_file(ledger: Path, study: str, mirror: str) -> Path:
    """Return the file that is there once a writer had a turn; it names the last one."""
    names = f"{study}.{mirror}"
    mark = hashlib.blake2b(names.encode(), digest_size=4).hexdigest()
    return ledger.with_name(f"{ledger.name}.{re.sub(r'[^A-Za-z0-9._-]', '_', names)}-{mark}.turn")


class Turn:
    """A turn among the writers to the same store, in this process and in others.

    Args:
        ledger: File of the ledger; the lock lies beside it and dies with its holder.
        study: Name of the study.
        mirror: Name of the store.
        token: Token of this writer; tells it from others.
    """

    def __init__(self, ledger: Path, study: str, mirror: str, token: str) -> None:
        self.path = turn_file(ledger, study, mirror)
        self.token = token

    @contextmanager
    def taken(self, give_up: Callable[[], bool]) -> Iterator[bool | None]:
        """Wait for the turn and hold it.

        Args:
            give_up: Callable, asked while waiting.

        Yields:
            Whether the last turn was this writer's too, so that what it knows of the store still holds;
            ``None`` when it gave up and does not have the turn.

        Raises:
            LedgerError: The file cannot be written, or is none of ours.
        """
        with ExitStack() as stack:
            try:
                file = stack.enter_context(locked(self.path, give_up))
                if file is not None:
                    refuse_foreign(self.path, file.fileno(), _OURS)
            except OSError as error:
                raise LedgerError(f"no turn to write to the store: {self.path}: {error.strerror}") from None
            if file is None:
                yield None
                return
            file.seek(0)
            mine = file.read() == self.token
            if not mine:
                file.truncate(0)
                file.write(self.token)
                file.flush()
            yield mine

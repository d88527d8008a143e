"""Mask the secrets in files: never through a link, never outside a folder, in bounded time and memory."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from autotune.core.redact import MASK, redact_json, secrets_of
from autotune.core.secret_spans import (
    ALL_FORMS,
    KnownValues,
    Pattern,
    Span,
    known_values,
    masked,
    spans_of,
)

DEADLINE_S = 60.0
"""For all files of a folder: at 50 MB/s that is 3 GB. What was not looked through by then is left out."""

_BLOCK = 1 << 20  # read at once: some 20 ms of work between two looks at the clock and at signals
_KEPT = 1 << 16  # bytes that are looked at again with the next block: a secret may lie across
_CONTEXT = 64  # bytes before those, which decide whether a secret begins
_DEEPEST = 40  # folders in folders
_DRAFT = re.compile(r"\..{0,60}\.\d+-\d+\.masking", re.DOTALL)  # its name; its maker holds its lock
_TEXTS = (".log", ".txt", ".json", ".jsonl", ".out", ".err")  # whatever bytes a program put into one
_WHOLE_JSON = 1 << 25  # bytes up to which JSON is read as such
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class _TooLate(Exception):
    """A deadline that has passed."""


def redact_folder(folder: Path, live: Collection[str] = (), deadline_s: float = DEADLINE_S) -> list[str]:
    """Mask the secrets in every regular file below a folder.

    Links are not followed, neither symbolic ones nor, as files are written anew and renamed, hard ones: the
    file that they lead to stays as it was. Logs and what else is text by its name are so whatever bytes they
    hold; in another file with NUL bytes the known values alone are masked, with as many bytes as they had.

    Args:
        folder: Folder of an attempt; it need not be there.
        live: Names of files in it that somebody has open to append: they are rewritten in place.
        deadline_s: Longest time for all of them together. The rest of a text is left out then, and says so.

    Returns:
        The files that could not be looked through, below ``folder``.
    """
    try:
        root = os.open(folder, _FOLDER)
    except OSError:
        return []
    limit = time.monotonic() + deadline_s
    left = []
    try:
        for names, directory, name in _files(root):
            try:
                if not (_DRAFT.fullmatch(name) and _is_live_or_gone(directory, name)):
                    _redact_at(directory, name, limit, in_place=not names and name in live)
            except (OSError, _TooLate):  # unreadable, gone, or too much of it
                left.append("/".join([*names, name]))
    finally:
        os.close(root)
    return left


def redact_file(path: Path, *, in_place: bool = False) -> bool:
    """Mask the secrets in a file; return whether there were any. A link is left alone.

    JSON stays JSON, also line by line.

    Args:
        path: Path of the file.
        in_place: Whether whoever has it open to append goes on behind the new end.
    """
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return _redact_at(directory, path.name, time.monotonic() + DEADLINE_S, in_place=in_place)
    finally:
        os.close(directory)


def _files(root: int) -> Iterator[tuple[tuple[str, ...], int, str]]:
    """Give the regular files below a folder: names of the folders, the descriptor of the last, the name."""
    device = os.fstat(root).st_dev
    waiting: list[tuple[str, ...]] = [()]
    while waiting:
        names = waiting.pop()
        with contextlib.ExitStack() as opened, contextlib.suppress(OSError):  # it may go while we look
            directory = root
            for name in names:
                directory = os.open(name, _FOLDER, dir_fd=directory)
                opened.callback(os.close, directory)
            found = {
                name: os.stat(name, dir_fd=directory, follow_symlinks=False) for name in os.listdir(directory)
            }
            for name, status in sorted(found.items()):
                if stat.S_ISDIR(status.st_mode) and status.st_dev == device and len(names) < _DEEPEST:
                    waiting.append((*names, name))
                elif stat.S_ISREG(status.st_mode):
                    yield names, directory, name


def _redact_at(directory: int, name: str, limit: float, *, in_place: bool) -> bool:
    try:
        file = os.open(name, _FILE | (os.O_RDWR if in_place else os.O_RDONLY), dir_fd=directory)
    except OSError:
        if stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            return False
        raise
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            return False
        known = known_values(tuple(secrets_of(os.environ)))
        is_text = name.endswith(_TEXTS) or b"\0" not in os.pread(file, 8192, 0)
        if name.endswith((".json", ".jsonl")) and is_text and status.st_size <= _WHOLE_JSON:
            parts = _json_parts(file, known, limit)
        else:
            parts = _parts(file, known, limit, is_text=is_text)
        if not any(changed for _, changed in parts()):
            return False
        draft, held = _write_draft(directory, name, parts)
        try:
            if in_place and status.st_nlink == 1:
                _overwrite(file, directory, draft)
            else:
                os.chmod(draft, stat.S_IMODE(status.st_mode), dir_fd=directory)
                os.utime(draft, ns=(status.st_atime_ns, status.st_mtime_ns), dir_fd=directory)
                os.replace(draft, name, src_dir_fd=directory, dst_dir_fd=directory)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(draft, dir_fd=directory)
            os.close(held)
    finally:
        os.close(file)
    return True


def _is_live_or_gone(directory: int, name: str) -> bool:
    """Return whether a draft is being written; one whose maker was killed is removed.

    What cannot be told is no draft: it is masked like any file.
    """
    try:
        file = os.open(name, _FILE | os.O_RDONLY, dir_fd=directory)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(name, dir_fd=directory)
    except BlockingIOError:
        pass
    except OSError:
        return False
    finally:
        os.close(file)
    return True


_Parts = Callable[[], Iterator[tuple[bytes, bool]]]
"""Gives what a file becomes, piece by piece, each with whether it is other than it was."""


def _write_draft(directory: int, name: str, parts: _Parts) -> tuple[str, int]:
    """Return the name of a file with what another one becomes, and the descriptor that holds its lock."""
    # of this thread alone: a supervisor may mask what a driver does
    draft = f".{name[:60]}.{os.getpid()}-{threading.get_ident()}.masking"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(draft, dir_fd=directory)
    target = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FILE, 0o600, dir_fd=directory)
    try:
        with contextlib.suppress(OSError):  # a filesystem without locks
            fcntl.flock(target, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with open(target, "wb", closefd=False) as out:
            out.writelines(data for data, _ in parts())
    except BaseException:
        os.unlink(draft, dir_fd=directory)
        os.close(target)
        raise
    return draft, target


def _overwrite(file: int, directory: int, draft: str) -> None:
    """Write the draft over a file that stays open elsewhere."""
    with open(os.open(draft, os.O_RDONLY | _FILE, dir_fd=directory), "rb") as source:
        at = 0
        while block := source.read(_BLOCK):
            at += os.pwrite(file, block, at)
    os.ftruncate(file, at)


def _json_parts(file: int, known: KnownValues, limit: float) -> _Parts:
    data = os.pread(file, os.fstat(file).st_size, 0)

    def parts() -> Iterator[tuple[bytes, bool]]:
        if not spans_of(data, known):
            return
        for line in data.decode("utf-8", "surrogateescape").splitlines(keepends=True):
            if time.monotonic() > limit:
                return
            found = redact_json(line)
            yield found.encode("utf-8", "surrogateescape"), found != line

    return parts


def _parts(file: int, known: KnownValues, limit: float, *, is_text: bool) -> _Parts:
    forms = ALL_FORMS if is_text else ()

    def parts() -> Iterator[tuple[bytes, bool]]:
        at = done = 0  # read so far; bytes at the start of the window that were given already
        window = b""
        tail: Pattern | None = None
        while True:
            block = os.pread(file, _BLOCK, at)
            at += len(block)
            if time.monotonic() > limit:
                if not is_text:
                    raise _TooLate
                rest = max(0, os.fstat(file).st_size - at + len(block) + len(window) - done)
                yield (
                    f"\n[{rest:,} bytes more were not searched for secrets in time: left out]\n".encode(),
                    True,
                )
                return
            if tail is not None:  # of a secret that went on to the end of the window
                found = tail.match(block)
                run = found.end() if found else 0
                window = (window + block[:run])[-_CONTEXT:]
                done, rest_of_block = len(window), block[run:]
                if run and not rest_of_block:
                    continue
                block, tail = rest_of_block, None
            window += block
            spans = [span for span in spans_of(window, known, forms) if span.end > done]
            cut = len(window) if not block else max(done, len(window) - _KEPT)
            for span in spans:
                if span.start < cut < span.end or (block and span.end == len(window) and span.start <= cut):
                    tail = span.tail if span.end == len(window) else None
                    cut = span.end if tail else max(done, span.start)
            spans = [span for span in spans if span.start < cut]
            yield _given(window, spans, done, cut, is_text=is_text), bool(spans)
            if not block:
                return
            start = max(0, cut - _CONTEXT)
            window, done = window[start:], cut - start

    return parts


def _given(window: bytes, spans: Sequence[Span], done: int, cut: int, *, is_text: bool) -> bytes:
    """Return the window from ``done`` to ``cut`` with its secrets masked; no text keeps its length."""
    moved = [Span(max(done, span.start) - done, min(cut, span.end) - done) for span in spans]
    if is_text:
        return masked(window[done:cut], moved, MASK.encode())
    given = bytearray(window[done:cut])
    for span in moved:
        length = span.end - span.start
        given[span.start : span.end] = MASK.encode().ljust(length, b"*")[:length]
    return bytes(given)

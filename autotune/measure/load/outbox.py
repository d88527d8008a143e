"""Bytes for a pipe whose reader may be busy: writing never blocks, what does not fit waits."""

from __future__ import annotations

import asyncio
import os


class Outbox:
    """A writer of frames that are collected first.

    Args:
        descriptor: Descriptor of the pipe.
        loop: Event loop that tells when the pipe takes more.
    """

    def __init__(self, descriptor: int, loop: asyncio.AbstractEventLoop) -> None:
        self._fd, self._loop = descriptor, loop
        self._waiting = bytearray()
        self._blocked = False
        os.set_blocking(descriptor, False)

    def put(self, data: bytes) -> None:
        """Add what is written with the next flush."""
        self._waiting += data

    def flush(self) -> None:
        """Write what the pipe takes now; the rest follows when it can."""
        while self._waiting:
            try:
                written = os.write(self._fd, self._waiting)
            except BlockingIOError:
                if not self._blocked:
                    self._loop.add_writer(self._fd, self._unblocked)
                    self._blocked = True
                return
            del self._waiting[:written]

    def _unblocked(self) -> None:
        self._loop.remove_writer(self._fd)
        self._blocked = False
        self.flush()

    def finish(self) -> None:
        """Write all that is left, waiting for the reader."""
        os.set_blocking(self._fd, True)
        while self._waiting:
            written = os.write(self._fd, self._waiting)
            del self._waiting[:written]

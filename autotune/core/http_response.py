"""One HTTP/1.1 response, read as it comes in.

Reference: RFC 9112, 6 (message body) and 7.1 (chunked transfer coding).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_MOST_HEAD = 64 << 10  # bytes of all heads (interim ones too) and trailers of one response
_MOST_LINE = 4 << 10
_SIZE = re.compile(rb"[0-9a-fA-F]{1,12}")
_LENGTH = re.compile(r"[0-9]{1,15}")
_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-9]\d\d)(?: [^\r\n]*)?")

_HEAD, _SIZED, _CHUNK_SIZE, _CHUNK, _CHUNK_END, _TRAILER, _TO_THE_END, _DONE = range(8)


class BadResponse(Exception):
    """Bytes that are no HTTP response, for this reason."""


def packed_as(headers: Mapping[str, str]) -> str:
    """Return what is wrong with a body that is compressed though nobody asked for it; empty if it is not.

    Args:
        headers: Names in lower case.
    """
    coded = headers.get("transfer-encoding", "").lower().removesuffix("chunked").strip(" ,\t")
    for packed in (headers.get("content-encoding", "").lower(), coded):
        if packed not in ("", "identity"):
            return f"an answer came packed as {packed[:20]}, which was not asked for"
    return ""


class ResponseReader:
    """A parser of one response: bytes go in, those of the body come out.

    Attributes:
        status: 0 until the head is there.
        headers: Names in lower case.
        started: Whether a byte has come.
        complete: Whether the body has ended.
        keep_alive: Whether the connection may be used again once it has.
    """

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.started = False
        self.complete = False
        self.keep_alive = False
        self._rest = b""
        self._state = _HEAD
        self._left = 0
        self._head_bytes = 0

    @property
    def has_head(self) -> bool:
        """Whether the head is there, so that ``status`` is the response's and no interim one."""
        return self._state != _HEAD

    def feed(self, data: bytes) -> list[bytes]:
        """Return the pieces of the body in ``data``.

        Raises:
            BadResponse: It is no HTTP, or more than was announced.
        """
        self.started = True
        text = self._rest + data if self._rest else data
        place, pieces = 0, []
        while True:
            if self._state in (_SIZED, _CHUNK):
                piece = text[place : place + self._left]
                if piece:
                    pieces.append(piece)
                    place += len(piece)
                    self._left -= len(piece)
                if self._left:
                    break
                self._state = _CHUNK_END if self._state == _CHUNK else _DONE
            elif self._state == _TO_THE_END:
                if text[place:]:
                    pieces.append(text[place:])
                place = len(text)
                break
            elif self._state == _DONE:
                self.complete = True
                if place < len(text):
                    self.keep_alive = False  # what comes unasked is no answer to the next request
                place = len(text)
                break
            else:
                end = self._line(text, place)
                if end < 0:
                    break
                place = end
        self._rest = text[place:]
        return pieces

    def end(self) -> None:
        """Take note that the connection has ended.

        Raises:
            BadResponse: The response had not.
        """
        if self._state == _TO_THE_END:
            self._state, self.complete = _DONE, True
        if not self.complete:
            raise BadResponse("truncated: the connection ended before the response")

    def _line(self, text: bytes, place: int) -> int:
        """Take one line, or the head; return where what follows begins, -1 until it is there."""
        mark, most = (b"\r\n\r\n", _MOST_HEAD) if self._state == _HEAD else (b"\r\n", _MOST_LINE)
        end = text.find(mark, place)
        if end < 0:
            if len(text) - place > most:
                raise BadResponse(f"no HTTP: no end of a line in {most} bytes")
            return -1
        if self._state == _CHUNK_END:
            if end > place:
                raise BadResponse("no HTTP: a chunk is longer than it says")
            self._state = _CHUNK_SIZE
            return end + 2
        line = text[place:end]
        if self._state == _CHUNK_SIZE:
            # what has letters and digits only has no sign, no space and no extension
            size = line if line.isalnum() else line.partition(b";")[0].strip()
            if not _SIZE.fullmatch(size):
                raise BadResponse(f"no HTTP: a chunk's size is {size[:20]!r}")
            self._left = int(size, 16)
            self._state = _CHUNK if self._left else _TRAILER
            return end + 2
        self._head_bytes += len(line) + len(mark)
        if self._head_bytes > _MOST_HEAD:
            raise BadResponse(f"no HTTP: heads and trailers of more than {_MOST_HEAD >> 10} KiB")
        if self._state == _HEAD:
            self._head(line)
        elif not line:  # the empty line after the trailers
            self._state = _DONE
        return end + len(mark)

    def _head(self, text: bytes) -> None:
        first, *lines = text.split(b"\r\n")
        found = _STATUS.fullmatch(first)
        if found is None:
            raise BadResponse(f"no HTTP: {first[:60]!r}")
        self.status = int(found[2])
        if 100 <= self.status < 200:  # another head follows
            return
        for line in lines:
            name, colon, value = line.partition(b":")
            if not colon:
                raise BadResponse(f"no HTTP: {line[:60]!r}")
            key, said = name.strip().lower().decode("latin-1"), value.strip().decode("latin-1")
            if key == "content-length" and self.headers.get(key, said) != said:
                raise BadResponse("no HTTP: two content-lengths that differ")
            self.headers[key] = said
        connection = self.headers.get("connection", "").lower()
        self.keep_alive = connection != "close" and (found[1] == b"1" or connection == "keep-alive")
        length = self.headers.get("content-length", "")
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            self._state = _CHUNK_SIZE
        elif length:
            if not _LENGTH.fullmatch(length):
                raise BadResponse(f"no HTTP: content-length is {length[:20]!r}")
            self._left, self._state = int(length), _SIZED
        elif self.status in (204, 304):
            self._state = _DONE
        else:
            self.keep_alive, self._state = False, _TO_THE_END

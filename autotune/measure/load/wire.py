"""What the generator's process tells its parent: frames of a length, a letter and what goes with it."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator

from autotune.core.request import RequestRecord

BEGUN, STATUS, OLDEST, TEXT, RECORD, ENDED, FAILED = b"B", b"S", b"O", b"T", b"R", b"E", b"F"
PRECEDENCE = b"P"
"""The schedule runs (its start); how many were sent; when the oldest under way began; the texts of the chunks
of the next request, whose tokens are to be counted; one request; all has ended; an error (its text); how the
process is scheduled (in words)."""

_FRAME = struct.Struct("<Ic")
_RECORD = struct.Struct("<qqqqqqIIIIII")


def frame(letter: bytes, data: bytes = b"") -> bytes:
    """Return one frame."""
    return _FRAME.pack(len(data), letter) + data


def number_frame(letter: bytes, number: int) -> bytes:
    """Return a frame that holds one whole number."""
    return frame(letter, struct.pack("<q", number))


def number_of(data: bytes) -> int:
    """Return the whole number of a frame."""
    return int(struct.unpack("<q", data)[0])


def record_frame(record: RequestRecord) -> bytes:
    """Return the frame of a record; arrays rather than text, since a run has millions of arrivals."""
    texts = [_bytes_of(text) for text in (record.error or "", record.counted_by, record.doubted)]
    head = _RECORD.pack(
        record.id, record.prompt_tokens, record.send_ns, record.end_ns, record.slip_ns, record.hidden,
        len(record.arrivals), *map(len, texts), record.wanted, record.waits,
    )  # fmt: skip
    times = array("q", [time_ns for time_ns, _ in record.arrivals])
    counts = array("q", [tokens for _, tokens in record.arrivals])
    return frame(RECORD, b"".join((head, *texts, times.tobytes(), counts.tobytes())))


def _bytes_of(text: str) -> bytes:
    """Return a text's bytes; what a server says may hold halves of characters, which no file takes."""
    return text.encode("utf-8", errors="replace")


def record_of(data: bytes) -> RequestRecord:
    """Return the record of a frame."""
    number, prompt_tokens, send_ns, end_ns, slip_ns, hidden, arrivals, *lengths, wanted, waits = (
        _RECORD.unpack_from(data)
    )
    place, texts = _RECORD.size, []
    for length in lengths:
        texts.append(data[place : place + length].decode())
        place += length
    error, counted_by, doubted = texts
    times, counts = array("q"), array("q")
    times.frombytes(data[place : place + 8 * arrivals])
    counts.frombytes(data[place + 8 * arrivals :])
    return RequestRecord(
        id=number,
        prompt_tokens=prompt_tokens,
        send_ns=send_ns,
        arrivals=tuple(zip(times, counts, strict=True)),
        end_ns=end_ns,
        error=error or None,
        slip_ns=slip_ns,
        counted_by=counted_by,
        wanted=wanted,
        waits=waits,
        hidden=hidden,
        doubted=doubted,
    )


class FrameReader:
    """A parser of frames: bytes go in, complete frames come out."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield letter and data of each frame that is complete now."""
        text = self._rest + data
        place = 0
        while len(text) - place >= _FRAME.size:
            length, letter = _FRAME.unpack_from(text, place)
            end = place + _FRAME.size + length
            if len(text) < end:
                break
            yield letter, text[place + _FRAME.size : end]
            place = end
        self._rest = text[place:]

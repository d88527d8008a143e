"""Server-sent events, read as they come in.

Lines end with LF, CR LF or CR; an event ends with an empty line; the lines ``data:`` of an event are joined;
comments (``:``) and other fields are skipped, but for an event named ``error``.

Reference: WHATWG HTML, "Server-sent events", 9.2.6 Interpreting an event stream.
"""

from __future__ import annotations

MOST_BYTES = 4 << 20
"""An event may be this long: a chunk of a completion is some hundred bytes."""

_BOM = b"\xef\xbb\xbf"


class HostileStream(Exception):
    """A stream that is not read any further, for this reason."""


class ErrorEvent(bytes):
    """The data of an event that is named ``error``."""


class EventReader:
    """A parser of events: bytes go in, the data of complete events come out."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []  # of the event that is not complete, line ends being LF
        self._size = 0
        self._held = b""  # a CR whose LF may be on the way, or the beginning of a byte order mark
        self._fresh = True

    def feed(self, piece: bytes) -> list[bytes]:
        """Return the data of the events that are complete now, in time that grows with the piece alone.

        Raises:
            HostileStream: An event grows without end.
        """
        text, self._held = self._held + piece, b""
        if self._fresh:
            if len(text) < len(_BOM) and _BOM.startswith(text):
                self._held = text
                return []
            text, self._fresh = text.removeprefix(_BOM), False
        if b"\r" in text:
            if text.endswith(b"\r"):
                text, self._held = text[:-1], b"\r"
            text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        events: list[bytes] = []
        ends_here = text.startswith(b"\n") and bool(self._parts) and self._parts[-1].endswith(b"\n")
        if ends_here or b"\n\n" in text:
            *events, text = b"".join((*self._parts, text)).split(b"\n\n")
            self._parts, self._size = [], 0
        if text:
            self._parts.append(text)
            self._size += len(text)
        if self._size > MOST_BYTES:
            raise HostileStream(f"an event of more than {MOST_BYTES >> 20} MiB")
        return [data for event in events if (data := _data(event)) is not None]

    def end(self) -> list[bytes]:
        """Return the data of what is left once the stream has ended: servers forget the last empty line."""
        rest = b"".join((*self._parts, self._held.replace(b"\r", b"\n")))
        self._parts, self._size, self._held = [], 0, b""
        data = _data(rest)
        return [] if data is None else [data]


def _data(event: bytes) -> bytes | None:
    """Return the data of one event, ``None`` where it has none."""
    if event.startswith(b"data: ") and b"\n" not in event:  # nearly all are like this
        return event[6:]
    lines, kind = [], b""
    for line in event.split(b"\n"):
        name, _, value = line.partition(b":")
        if name == b"data":
            lines.append(value.removeprefix(b" "))
        elif name == b"event":
            kind = value.strip()
    if not lines:
        return None
    data = b"\n".join(lines)
    return ErrorEvent(data) if kind == b"error" else data


def looks_like_events(text: bytes) -> bool | None:
    """Return whether a body begins like a stream of events, ``None`` while too little of it is there."""
    begin = text.removeprefix(_BOM).lstrip()
    fields = (b"data:", b"event:", b"id:", b"retry:", b":")
    if any(begin.startswith(name) for name in fields):
        return True
    return None if any(name.startswith(begin) for name in fields) else False

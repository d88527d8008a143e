"""Bytes without what no reader sees: colour codes, other control characters, marks without width.

Each kind starts with a literal, and is taken out at the speed of memory; where the rest came from is worked
out only when it is asked.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable
from functools import cached_property

_CONTROLS = bytes({*range(32), 127} - {9, 10, 13})
_COLOUR_ENDS = rb"[0-?]*[ -/]*[@-~]"
_STRING_ENDS = rb"(?:[^\x07\x1b\xc2\n]|\xc2(?!\x9c))*(?:\x07|\x1b\\|\xc2\x9c)?"
_UNSEEN: tuple[tuple[tuple[bytes, ...], re.Pattern[bytes]], ...] = (
    # colours and movements; strings: titles, links; and other escapes
    ((b"\x1b", b"\x1b["), re.compile(rb"\x1b\[" + _COLOUR_ENDS)),
    ((b"\x1b",), re.compile(rb"\x1b(?:[\]PX^_]" + _STRING_ENDS + rb"|[ -/]*[0-~]?)")),
    ((b"\xc2",), re.compile(
        rb"\xc2(?:\x9b" + _COLOUR_ENDS + rb"|[\x90\x98\x9d-\x9f]" + _STRING_ENDS + rb"|[\x80-\xa0\xad])")),
    # colours as they are written down: by JSON, Python, C and shells; by cat; in a URL
    ((b"\\", b"\\u001", b"\\x1", b"\\033", b"\\e["), re.compile(
        rb"\\(?:\\{0,3}(?:u001[bB]|x1[bB]|033|e))(?:\[|%5[bB])" + _COLOUR_ENDS)),
    ((b"^", b"^[["), re.compile(rb"\^\[\[" + _COLOUR_ENDS)),
    ((b"%", b"%1b", b"%1B"), re.compile(rb"%1[bB](?:\[|%5[bB])" + _COLOUR_ENDS)),
    # spaces, ends of a line or a paragraph, marks without width or of the direction of writing
    ((b"\xe2", b"\xe2\x80", b"\xe2\x81", b"\xe2\xa0\x80"), re.compile(
        rb"\xe2(?:\x80[\x80-\x8f\xa8-\xaf]|\x81[\x9f-\xaf]|\xa0\x80)")),
    ((b"\xef", b"\xef\xb8", b"\xef\xbb\xbf", b"\xef\xbe\xa0", b"\xef\xbf"), re.compile(
        rb"\xef(?:\xb8[\x80-\x8f]|\xbb\xbf|\xbe\xa0|\xbf[\xb0-\xbb])")),
    ((b"\xe1", b"\xe1\x85", b"\xe1\x9a\x80", b"\xe1\x9e", b"\xe1\xa0"), re.compile(
        rb"\xe1(?:\x85[\x9f\xa0]|\x9a\x80|\x9e[\xb4\xb5]|\xa0[\x8b-\x8f])")),
    ((b"\xe3", b"\xe3\x80\x80", b"\xe3\x85\xa4"), re.compile(rb"\xe3(?:\x80\x80|\x85\xa4)")),
    ((b"\xcd", b"\xcd\x8f"), re.compile(rb"\xcd\x8f")),
    ((b"\xd8", b"\xd8\x9c"), re.compile(rb"\xd8\x9c")),
    ((b"\xf0", b"\xf0\x9d\x85"), re.compile(rb"\xf0\x9d\x85[\xb3-\xba]")),
    ((b"\xf3",), re.compile(rb"\xf3\xa0[\x80-\x87][\x80-\xbf]")),
    # all of them as JSON, Python and C write them down
    ((b"\\", b"\\u"), re.compile(
        rb"\\\\{0,3}u(?i:00(?:[01][0-8bcef]|7f|[89][0-9a-f]|a0|ad)|034f|061c|115f|1160|1680|17b[45]|180[b-f]"
        rb"|20(?:0[0-9a-f]|2[89a-f]|5f|6[0-9a-f])|2800|3000|3164|fe0[0-9a-f]|feff|ffa0|fff[0-9ab]"
        rb"|d834\\{1,4}udd7[3-9a]|db40\\{1,4}udc[0-9a-f]{2}|db40\\{1,4}udd[0-9a-f]{2})")),
    ((b"\\", b"\\U000"), re.compile(rb"\\\\{0,3}U000(?i:e0[01][0-9a-f]{2}|1d17[3-9a])")),
    ((b"\\", b"\\x"), re.compile(
        rb"\\\\{0,3}x(?i:[01][0-8bcef]|7f|[89][0-9a-f]|a0|ad)")),
)  # fmt: skip
"""What no reader sees: a byte and then texts without any of which there is none, and its pattern."""

_CONTROL = re.compile(b"[%b]+" % re.escape(_CONTROLS))


def without_unseen(data: bytes) -> tuple[bytes, Callable[[int], int]]:
    """Return what a reader sees of some bytes, and what gives the place in them of each byte of that."""
    copies: list[_Places] = []
    copy = data
    for (first, *needles), pattern in _UNSEEN:
        if first in copy and (not needles or any(needle in copy for needle in needles)):
            copies.append(_Places(copy, pattern))
            copy = pattern.sub(b"", copy)
    seen = copy.translate(None, _CONTROLS)
    if len(seen) < len(copy):
        copies.append(_Places(copy, _CONTROL))

    def place(at: int) -> int:
        for places in reversed(copies):
            at = places(at)
        return at

    return seen, place


class _Places:
    """The places of a copy's bytes in the data that it was made of, worked out when first asked."""

    def __init__(self, data: bytes, left_out: re.Pattern[bytes]) -> None:
        self._data, self._left_out = data, left_out

    @cached_property
    def _pieces(self) -> tuple[list[int], list[int]]:
        starts, places = [], []  # of each piece that is in the copy: there and in the data
        done = length = 0
        for match in self._left_out.finditer(self._data):
            if match.start() > done:
                starts.append(length)
                places.append(done)
                length += match.start() - done
            done = match.end()
        return [*starts, length], [*places, done]

    def __call__(self, at: int) -> int:
        """Return the place of a byte of the copy."""
        starts, places = self._pieces
        piece = bisect_right(starts, at) - 1
        return places[piece] + at - starts[piece]

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
        rb"\xc2(?:\x9b" + _COLOUR_ENDS + rb"|[\x90\x98\x9d-\x9f]" + _STRING_ENDS + rb"|[\x80-\x9f\xad])")),
    # colours as they are written down: by JSON, Python, C and shells; by cat; in a URL
    ((b"\\", b"\\u001", b"\\x1", b"\\033", b"\\e["), re.compile(
        rb"\\(?:\\{0,3}(?:u001[bB]|x1[bB]|033|e))(?:\[|%5[bB])" + _COLOUR_ENDS)),
    ((b"^", b"^[["), re.compile(rb"\^\[\[" + _COLOUR_ENDS)),
    ((b"%", b"%1b", b"%1B"), re.compile(rb"%1[bB](?:\[|%5[bB])" + _COLOUR_ENDS)),
    # marks without width, or of the direction of writing
    ((b"\xe2",), re.compile(rb"\xe2(?:\x80[\x8b-\x8f\xaa-\xae]|\x81[\xa0-\xaf])")),
    ((b"\xef", b"\xef\xbb\xbf"), re.compile(rb"\xef\xbb\xbf")),
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
    """Where the bytes of a copy lie in the data that it was made of, worked out when it is first asked."""

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

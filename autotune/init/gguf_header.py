"""Read the header of a GGUF file [GGUF]_: its metadata and the sizes of its tensors, never its weights.

A file is a stranger's: every count and length is held against what is left of the file before anything of
that size is read, arrays are stepped over, and only a bounded beginning of the file is looked at.

.. [GGUF] https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import os
import stat
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from autotune.errors import EnvironmentProblem, SpecError

Scalar = bool | int | float | str

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_MOST_HEADER = 256 << 20  # a vocabulary of 260,000 words takes 10 MiB
_MOST_KEYS = 1 << 16
_MOST_TENSORS = 1 << 20
_MOST_TEXT = 1 << 20  # a chat template has some 10 KiB
_KEPT_TEXT = 1000  # characters of a value that are of use here
_MOST_DIMENSIONS = 4  # GGML_MAX_DIMS
_FIXED = dict(zip((*range(8), 10, 11, 12), map("<{}".format, "BbHhIif?Qqd"), strict=True))
_STRING, _ARRAY = 8, 9


@dataclass(frozen=True)
class GGUFHeader:
    """Header of a GGUF file.

    Args:
        version: Version of the format.
        values: Metadata but for arrays; long texts are cut.
        lengths: Number of items of each array.
        parameters: Number of weights in all tensors.
        size: Bytes of the file.
    """

    version: int
    values: dict[str, Scalar]
    lengths: dict[str, int]
    parameters: int
    size: int

    def text(self, key: str) -> str:
        """Return a text; empty where there is none."""
        found = self.values.get(key)
        return found if isinstance(found, str) else ""

    def number(self, key: str) -> int | None:
        """Return a whole number; ``None`` where there is none."""
        found = self.values.get(key)
        return found if isinstance(found, int) and not isinstance(found, bool) else None


def read_header(path: Path) -> GGUFHeader:
    """Read the header of a GGUF file.

    Raises:
        SpecError: It is no GGUF file, is cut off, or claims what cannot be true; says at which byte.
        EnvironmentProblem: It cannot be opened.
    """
    try:
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise EnvironmentProblem(
            f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from None
    with os.fdopen(number, "rb", buffering=1 << 16) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise SpecError(f"{path}: is no regular file")
        return _Reader(file, path, found.st_size).read()


def begins_as_gguf(file: Path) -> bool:
    """Return whether a file begins as GGUF does."""
    with file.open("rb") as opened:
        return opened.read(len(_MAGIC)) == _MAGIC


class _Reader:
    """Reader of one header."""

    def __init__(self, file: BinaryIO, path: Path, size: int) -> None:
        self.file, self.path, self.size = file, path, size
        self.at = 0

    def read(self) -> GGUFHeader:
        magic = self.file.read(len(_MAGIC))
        self.at = len(magic)
        if magic != _MAGIC:
            raise SpecError(f"{self.path}: is no GGUF file: it begins with {magic!r}, not {_MAGIC!r}")
        version = self.whole("<I", "the version")
        if version not in _VERSIONS:
            swapped = " (its bytes are swapped: a file for other machines)" if version & 0xFFFF == 0 else ""
            raise self.refuse(f"version {version} of GGUF is not known{swapped}; allowed: 2, 3")
        tensors = self.count("tensors", _MOST_TENSORS, least_bytes=24)
        keys = self.count("keys", _MOST_KEYS, least_bytes=13)
        values: dict[str, Scalar] = {}
        lengths: dict[str, int] = {}
        for _ in range(keys):
            name = self.text("a key")
            kind = self.whole("<I", f"the type of {name!r}")
            if kind == _ARRAY:
                lengths[name] = self.skip_array(name)
            else:
                values[name] = self.scalar(kind, name)
        parameters = sum(self.tensor() for _ in range(tensors))
        return GGUFHeader(version, values, lengths, parameters, self.size)

    def refuse(self, text: str) -> SpecError:
        return SpecError(f"{self.path}: byte {self.at:,}: {text}", hint="download or convert the file again")

    def take(self, count: int, what: str) -> bytes:
        if count > self.size - self.at:
            left = max(0, self.size - self.at)
            raise self.refuse(f"the file is cut off: {what} needs {count:,} bytes, {left:,} are left")
        if self.at + count > _MOST_HEADER:
            raise self.refuse(f"the header is longer than {_MOST_HEADER >> 20} MiB")
        data = self.file.read(count)
        if len(data) != count:
            raise self.refuse(f"the file is cut off in {what}")
        self.at += count
        return data

    def skip(self, count: int, what: str) -> None:
        if count > self.size - self.at or self.at + count > _MOST_HEADER:
            self.take(count, what)  # says why
        self.file.seek(count, os.SEEK_CUR)
        self.at += count

    def whole(self, form: str, what: str) -> int:
        return int(struct.unpack(form, self.take(struct.calcsize(form), what))[0])

    def count(self, what: str, most: int, *, least_bytes: int) -> int:
        """Return a number of things, each of which takes some bytes at least."""
        count = self.whole("<Q", f"the number of {what}")
        if count > most or count * least_bytes > self.size - self.at:
            raise self.refuse(f"it claims {count:,} {what}, which a file of {self.size:,} bytes cannot hold")
        return count

    def text(self, what: str) -> str:
        length = self.whole("<Q", f"the length of {what}")
        if length > _MOST_TEXT:
            raise self.refuse(f"{what} claims {length:,} bytes; allowed: at most {_MOST_TEXT:,}")
        return self.take(length, what).decode("utf-8", errors="replace")[:_KEPT_TEXT]

    def scalar(self, kind: int, name: str) -> Scalar:
        if kind == _STRING:
            return self.text(repr(name))
        form = _FIXED.get(kind)
        if form is None:
            raise self.refuse(f"{name!r} has the unknown type {kind}")
        found: Scalar = struct.unpack(form, self.take(struct.calcsize(form), repr(name)))[0]
        return found

    def skip_array(self, name: str) -> int:
        """Step over an array and return how many items it has."""
        kind = self.whole("<I", f"the type of {name!r}")
        count = self.whole("<Q", f"the length of {name!r}")
        if kind == _ARRAY:
            raise self.refuse(f"{name!r} is an array of arrays, which no model needs")
        if kind != _STRING and kind not in _FIXED:
            raise self.refuse(f"{name!r} has items of the unknown type {kind}")
        each = 8 if kind == _STRING else struct.calcsize(_FIXED[kind])
        if count * each > self.size - self.at:
            left = self.size - self.at
            raise self.refuse(f"{name!r} claims {count:,} items of {each} bytes or more, {left:,} are left")
        if kind != _STRING:
            self.skip(count * each, repr(name))
            return count
        for _ in range(count):
            length = self.whole("<Q", f"an item of {name!r}")
            self.skip(length, f"an item of {name!r}")
        return count

    def tensor(self) -> int:
        """Return the number of weights of one tensor."""
        name = self.text("a tensor's name")
        dimensions = self.whole("<I", f"the dimensions of {name!r}")
        if dimensions > _MOST_DIMENSIONS:
            raise self.refuse(
                f"tensor {name!r} claims {dimensions:,} dimensions; allowed: {_MOST_DIMENSIONS}"
            )
        weights = 1
        for _ in range(dimensions):
            weights *= self.whole("<Q", f"a dimension of {name!r}")
        self.skip(12, f"the type of {name!r}")  # its type and where it lies
        if weights > self.size * 16:  # less than half a bit each: no format packs them so
            raise self.refuse(f"tensor {name!r} claims {weights:,} weights, more than the file can hold")
        return weights

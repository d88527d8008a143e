"""Lengths of prompts and answers in tokens: fixed, normal, log-normal, a mixture of these, or as observed.

Every kind gives the length at a quantile, so that a request's length depends on its own random number alone,
and a longest one, so that a system can reserve for it.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from statistics import NormalDist
from typing import Any, Protocol

from autotune.core.input_file import read_text, resolved, why
from autotune.core.kinds import FILE, Choice, Kind, Number, Whole
from autotune.errors import SpecError, refuse_unknown_keys, under

SHAPES = ("normal", "lognormal")
_REACH = 4.0  # lengths end this many spreads above the mean, so that a system can reserve for the longest
_NORMAL = NormalDist()
_MOST_BYTES = 64 << 20
_KINDS = ("mean", "mixture", "values", "file")


class Lengths(Protocol):
    """A distribution of lengths in tokens."""

    @property
    def longest(self) -> int:
        """No length is above this."""

    def at(self, u: float) -> int:
        """Return the length at the quantile ``u`` in [0, 1)."""

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON data; :func:`read_lengths` reads it back."""


@dataclass(frozen=True, slots=True)
class Length:
    """A length in tokens from a normal distribution cut to [1, mean + 4 spread] and rounded.

    Args:
        mean: Mean of the uncut distribution, at least 1.
        spread: Its standard deviation; 0 means always ``mean``.
    """

    mean: float
    spread: float = 0.0

    @property
    def longest(self) -> int:
        """No length is above this."""
        return max(1, math.floor(self.mean + _REACH * self.spread + 0.5))

    def at(self, u: float) -> int:
        """Return the length at the quantile ``u`` in [0, 1) of the cut distribution."""
        if self.spread == 0:
            return max(1, math.floor(self.mean + 0.5))
        bottom = _NORMAL.cdf((1 - self.mean) / self.spread)
        length = math.floor(self.mean + self.spread * _inverse(u, bottom) + 0.5)
        return min(max(length, 1), self.longest)

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON data; :func:`read_lengths` reads it back."""
        return {"mean": self.mean, "spread": self.spread}


@dataclass(frozen=True, slots=True)
class LogNormalLength:
    """A length whose logarithm is normal: most are short, a few are very long.

    Formula: the logarithm has the variance ``ln(1 + (spread / mean)^2)``, and is cut 4 standard deviations
    above its mean.

    Args:
        mean: Mean of the length itself, at least 1.
        spread: Standard deviation of the length itself, above 0.
    """

    mean: float
    spread: float

    @property
    def _logarithm(self) -> tuple[float, float]:
        variance = math.log1p((self.spread / self.mean) ** 2)
        return math.log(self.mean) - variance / 2, math.sqrt(variance)

    @property
    def longest(self) -> int:
        """No length is above this."""
        mean, deviation = self._logarithm
        return max(1, math.floor(math.exp(mean + _REACH * deviation) + 0.5))

    def at(self, u: float) -> int:
        """Return the length at the quantile ``u`` in [0, 1) of the cut distribution."""
        mean, deviation = self._logarithm
        length = math.floor(math.exp(mean + deviation * _inverse(u, 0.0)) + 0.5)
        return min(max(length, 1), self.longest)

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON data; :func:`read_lengths` reads it back."""
        return {"shape": "lognormal", "mean": self.mean, "spread": self.spread}


@dataclass(frozen=True, slots=True)
class MixedLength:
    """A length from one of several distributions, such as short questions and long documents.

    Args:
        parts: The distributions.
        shares: Shares of each, positive; they need not sum to 1.
    """

    parts: tuple[Lengths, ...]
    shares: tuple[float, ...]

    @property
    def longest(self) -> int:
        """No length is above this."""
        return max(part.longest for part in self.parts)

    def at(self, u: float) -> int:
        """Return the length at the quantile ``u`` of the part that ``u`` falls on."""
        place, rest = _chosen(self.shares, u)
        return self.parts[place].at(rest)

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON data; :func:`read_lengths` reads it back."""
        pairs = zip(self.parts, self.shares, strict=True)
        return {"mixture": [{**part.to_dict(), "share": share} for part, share in pairs]}


@dataclass(frozen=True, slots=True)
class ObservedLength:
    """A length out of those that were observed.

    Args:
        values: Different ones in rising order, each at least 1.
        shares: Frequency of each, positive; they need not sum to 1.
    """

    values: tuple[int, ...]
    shares: tuple[float, ...]

    @property
    def longest(self) -> int:
        """No length is above this."""
        return self.values[-1]

    def at(self, u: float) -> int:
        """Return the length at the quantile ``u`` of those observed."""
        return self.values[_chosen(self.shares, u)[0]]

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON data; :func:`read_lengths` reads it back."""
        return {"values": list(self.values), "shares": list(self.shares)}


def _inverse(u: float, bottom: float) -> float:
    """Return the normal quantile at ``u`` of what lies between ``bottom`` and the reach."""
    p = bottom + u * (_NORMAL.cdf(_REACH) - bottom)
    return _NORMAL.inv_cdf(min(max(p, 1e-12), 1 - 1e-12))


def _chosen(shares: Sequence[float], u: float) -> tuple[int, float]:
    """Return which of the shares ``u`` falls on, and how far into it in [0, 1)."""
    edges = [0.0, *accumulate(shares)]
    aim = u * edges[-1]
    place = min(bisect_right(edges, aim) - 1, len(shares) - 1)
    return place, min(max((aim - edges[place]) / shares[place], 0.0), math.nextafter(1.0, 0.0))


def located_lengths(data: object, folder: Path) -> object:
    """Return lengths as written, with the files in them as absolute paths that start at a folder."""
    if not isinstance(data, Mapping):
        return data
    found = dict(data)
    if isinstance(found.get("file"), str):
        found["file"] = str(resolved((folder / found["file"]).expanduser()))
    if isinstance(found.get("mixture"), list):
        found["mixture"] = [located_lengths(part, folder) for part in found["mixture"]]
    return found


def read_lengths(data: object, key: str) -> Lengths:
    """Read the lengths found under ``key``.

    Args:
        data: ``128``, ``{mean: 128, spread: 32}``, the same with ``shape: lognormal``, ``{mixture: [...]}``
            of these with a ``share`` each, ``{values: [16, 16, 512]}``, or ``{file: lengths.txt}`` with one
            number a line.
        key: Key for errors.

    Raises:
        SpecError: It is none of these; ``path`` is relative to the value.
    """
    if not isinstance(data, Mapping):
        return Length(float(Whole(1).read(data, key) or 0))
    kind = next((kind for kind in _KINDS if kind in data), "mean")
    if kind == "mean":
        return _moments(data, key)
    refuse_unknown_keys(data, (kind, "shares") if kind == "values" else (kind,), key)
    if kind == "values":
        return _observed(data)
    with under(kind):
        return _mixture(data[kind], key) if kind == "mixture" else _counted(_file_lengths(data[kind]), None)


def _item(data: Mapping[str, object], name: str, kind: Kind, default: float = 0.0) -> Any:
    with under(name):
        return kind.read(data.get(name, default), name)


def _moments(data: Mapping[str, object], key: str) -> Lengths:
    allowed = ("mean", "spread", "shape", *_KINDS[1:])
    refuse_unknown_keys(data, allowed, key)
    if "mean" not in data:
        raise SpecError(f"{key} needs 'mean'; allowed: {', '.join(allowed)}")
    with under("shape"):
        shape = Choice(SHAPES).read(data.get("shape", SHAPES[0]), "shape")
    mean = _item(data, "mean", Number(least=1.0))
    if shape == SHAPES[0]:
        return Length(mean, _item(data, "spread", Number()))
    return LogNormalLength(mean, _item(data, "spread", Number(above=0.0, example="256")))


def _mixture(parts: object, key: str) -> Lengths:
    if not isinstance(parts, list) or len(parts) < 2 or not all(isinstance(part, Mapping) for part in parts):
        raise SpecError(
            f"a mixture is a list of at least two distributions, found {parts!r}",
            hint="for example [{mean: 64, spread: 16, share: 80 %}, {mean: 2048, spread: 512, share: 20 %}]",
        )
    found, shares = [], []
    for place, part in enumerate(parts):
        with under(place):
            shares.append(_item(part, "share", Number(above=0.0, example="80 %"), 1.0))
            found.append(read_lengths({name: value for name, value in part.items() if name != "share"}, key))
    return MixedLength(tuple(found), tuple(shares))


def _observed(data: Mapping[str, object]) -> Lengths:
    values = data["values"]
    if not isinstance(values, list) or not values:
        raise SpecError(f"values must be a list of lengths, found {values!r}", path=("values",))
    found = _each("values", values, Whole(1))
    if "shares" not in data:
        return _counted(found, None)
    shares = data["shares"]
    if not isinstance(shares, list) or len(shares) != len(values):
        raise SpecError(f"shares must be a list of {len(values)} numbers, one per value, found {shares!r}",
                        path=("shares",))  # fmt: skip
    return _counted(found, _each("shares", shares, Number(above=0.0, example="1")))


def _each(name: str, values: list[object], kind: Kind) -> list[Any]:
    found = []
    for i, value in enumerate(values):
        with under(name, i):
            found.append(kind.read(value, name))
    return found


def _counted(values: Sequence[int], shares: Sequence[float] | None) -> ObservedLength:
    total: dict[int, float] = {}
    for value, share in zip(values, shares or [1.0] * len(values), strict=True):
        total[value] = total.get(value, 0.0) + share
    pairs = sorted(total.items())
    return ObservedLength(tuple(value for value, _ in pairs), tuple(share for _, share in pairs))


def _file_lengths(raw: object) -> list[int]:
    """Return the lengths of a file, one on each line; a first line that is no number is a title."""
    file = FILE.read(raw, "file")
    try:
        lines = read_text(Path(file), _MOST_BYTES).splitlines()
    except (OSError, ValueError) as error:
        raise SpecError(f"cannot read the lengths {file!r}: {why(error)}") from None
    found = []
    for line, text in enumerate(lines, 1):
        word = text.strip().strip('"')
        if not word or (line == 1 and not word[0].isdigit()):
            continue
        if not word.isascii() or not word.isdigit() or int(word) < 1:
            said = f"{file}:{line}: a length must be a whole number of at least 1, found {word[:40]!r}"
            raise SpecError(said)
        found.append(int(word))
    if not found:
        raise SpecError(f"{file} has no lengths")
    return found

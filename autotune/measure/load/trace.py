"""Recorded arrivals: times, lengths and, where a trace has them, the prefixes that prompts share.

CSV with a header, or JSONL, either compressed with gzip. One row per request; columns by any of these names:

* time: ``arrival_s``, ``arrived_at`` (seconds), ``timestamp`` (milliseconds, as in Mooncake's traces), or
  ``TIMESTAMP`` (a date and time, as in Azure's); the first row is time 0;
* prompt: ``input_tokens``, ``input_length``, ``prompt_tokens``, ``ContextTokens``, ``num_prefill_tokens``;
* answer: ``output_tokens``, ``output_length``, ``GeneratedTokens``, ``num_decode_tokens``;
* prefixes: ``hash_ids``, a list of numbers (in CSV separated by spaces), one per block of 512 prompt tokens:
  equal numbers are equal text. A count of blocks alone (``n_hash_blocks``) says nothing of what is shared.

Traces: Azure/AzurePublicDataset ``AzureLLMInferenceTrace``; Mooncake (Qin et al. 2024), ``FAST25-release``.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from autotune.errors import SpecError

BLOCK_TOKENS = 512

_SECONDS = ("arrival_s", "arrived_at")
_MILLISECONDS = ("timestamp",)
_DATES = ("TIMESTAMP",)
_PROMPT = ("input_tokens", "input_length", "prompt_tokens", "ContextTokens", "num_prefill_tokens")
_OUTPUT = ("output_tokens", "output_length", "GeneratedTokens", "num_decode_tokens")
_MOST_BYTES = 1 << 30
_MOST_TOKENS = 10_000_000


@dataclass(frozen=True, slots=True)
class Entry:
    """Hold one request of a trace.

    Args:
        at_s: Seconds after the first.
        prompt_tokens: At least 1.
        output_tokens: At least 1.
        blocks: Numbers of its blocks of :data:`BLOCK_TOKENS` tokens; empty where the trace has none.
    """

    at_s: float
    prompt_tokens: int
    output_tokens: int
    blocks: tuple[int, ...] = ()


@dataclass(frozen=True)
class Trace:
    """Hold a trace, in the order of its times.

    Args:
        entries: At least one.
        fingerprint: 12 hex digits of the file's contents.
    """

    entries: tuple[Entry, ...]
    fingerprint: str

    @property
    def rate(self) -> float:
        """Mean rate in requests per second."""
        span = self.entries[-1].at_s - self.entries[0].at_s
        return (len(self.entries) - 1) / span if span > 0 else float(len(self.entries))


def read_trace(path: str | Path) -> Trace:
    """Read a trace.

    Raises:
        SpecError: The file is not there or a row is wrong; the message names file and line.
    """
    text, fingerprint = read_lines_of(Path(path), "trace")
    rows = _json_rows(text, path) if _is_json(text) else _csv_rows(text)
    raw: list[tuple[float, Entry]] = []
    for line, row in rows:
        try:
            at = _time(row)
            blocks = row.get("hash_ids") or ()
            numbers = blocks.split() if isinstance(blocks, str) else blocks
            entry = Entry(0.0, _count(row, _PROMPT), _count(row, _OUTPUT), tuple(int(n) for n in numbers))
        except (ValueError, TypeError) as error:
            raise SpecError(f"{path}:{line}: {error}", path=("trace",)) from None
        raw.append((at, entry))
    if not raw:
        raise SpecError(f"{path} has no rows", path=("trace",))
    raw.sort(key=lambda pair: pair[0])
    first = raw[0][0]
    entries = tuple(Entry(at - first, e.prompt_tokens, e.output_tokens, e.blocks) for at, e in raw)
    return Trace(entries, fingerprint)


def read_lines_of(path: Path, key: str) -> tuple[str, str]:
    """Return the text of a file, unpacked where it is gzip, and 12 hex digits of its contents.

    Args:
        path: Of the file.
        key: Of the workload that named it, for errors.

    Raises:
        SpecError: It is not there, too large or no text.
    """
    try:
        with path.expanduser().open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if data[:2] == b"\x1f\x8b":
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
                data = packed.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise ValueError(f"more than {_MOST_BYTES >> 20} MiB")
        return data.decode("utf-8-sig"), hashlib.sha256(data).hexdigest()[:12]
    except (OSError, EOFError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SpecError(f"cannot read the {key} {str(path)!r}: {reason}", path=(key,)) from None


def _is_json(text: str) -> bool:
    return text.lstrip()[:1] == "{"


def _json_rows(text: str, path: str | Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, Mapping):
            raise SpecError(f"{path}:{number}: a line must be a JSON object", path=("trace",))
        yield number, row


def _csv_rows(text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text))
    for row in reader:
        yield reader.line_num, row


def _field(row: Mapping[str, Any], names: Sequence[str]) -> Any:
    for name in names:
        if name in row and row[name] not in (None, ""):
            return row[name]
    return None


def _time(row: Mapping[str, Any]) -> float:
    for names, unit in ((_SECONDS, 1.0), (_MILLISECONDS, 1e-3)):
        value = _field(row, names)
        if value is not None:
            seconds = float(value) * unit
            if not math.isfinite(seconds):
                raise ValueError(f"the time {value!r} is not finite")
            return seconds
    date = _field(row, _DATES)
    if date is None:
        every = ", ".join((*_SECONDS, *_MILLISECONDS, *_DATES))
        raise ValueError(
            f"a row needs a time, one of: {every}; found {', '.join(map(str, row)) or 'nothing'}"
        )
    return _date_seconds(str(date))


def _date_seconds(text: str) -> float:
    """Return the seconds of a date and time with any number of digits after the second."""
    whole, _, fraction = text.partition(".")
    digits = fraction.rstrip("Z").partition("+")[0]
    return datetime.fromisoformat(whole).timestamp() + (float(f"0.{digits}") if digits else 0.0)


def _count(row: Mapping[str, Any], names: Sequence[str]) -> int:
    value = _field(row, names)
    if value is None:
        raise ValueError(f"a row needs a length, one of: {', '.join(names)}")
    number = float(value)
    if not 0 <= number <= _MOST_TOKENS or number != int(number):
        raise ValueError(f"a length must be a whole number of tokens, found {value!r}")
    return max(1, int(number))

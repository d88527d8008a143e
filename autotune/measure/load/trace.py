"""Recorded arrivals: times, lengths and, where a trace has them, the prefixes that prompts share.

CSV with a header, JSONL, or one JSON list, each also compressed with gzip. One row per request; columns by
any of these names:

* time: ``arrival_s``, ``arrived_at``, ``Timestamp`` (seconds), ``timestamp`` (milliseconds), ``TIMESTAMP`` (a
  date and time, which the others may be too); the first row is time 0. A date without a time zone is UTC: all
  rows are on one clock, whatever the zone of this machine and whether it has a summer time;
* prompt: ``input_tokens``, ``input_length``, ``prompt_tokens``, ``ContextTokens``, ``num_prefill_tokens``,
  ``Request tokens``; or ``text_input``, the prompt itself;
* answer: ``output_tokens``, ``output_length``, ``GeneratedTokens``, ``num_decode_tokens``,
  ``Response tokens``; without one, the workload's ``output_tokens``;
* prefixes: ``hash_ids``, a list of numbers (in CSV separated by spaces), one per block of 512 prompt tokens:
  equal numbers are equal text. A count of blocks alone (``n_hash_blocks``) says nothing of what is shared;
* ``delay`` and a ``session_id`` that several rows share (aiperf) are refused: such a turn is sent some time
  after the answer to the one before it, and a trace here is replayed at its own times.

Traces: Azure/AzurePublicDataset ``AzureLLMInferenceTrace`` of 2023 and 2024; Mooncake (Qin et al. 2024),
``FAST25-release``; aiperf's of the same form; BurstGPT (Wang et al. 2024), whose rows without an answer are
requests that failed there, and are left out.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from autotune.core.endpoint import foreign_json
from autotune.core.input_file import decoded, read_bytes, why
from autotune.errors import SpecError

BLOCK_TOKENS = 512

_SECONDS = ("arrival_s", "arrived_at", "Timestamp")
_MILLISECONDS = ("timestamp",)
_DATES = ("TIMESTAMP",)
_PROMPT = ("input_tokens", "input_length", "prompt_tokens", "ContextTokens", "num_prefill_tokens",
           "Request tokens")  # fmt: skip
_OUTPUT = ("output_tokens", "output_length", "GeneratedTokens", "num_decode_tokens", "Response tokens")
_TEXT = ("text_input",)
_DELAY, _SESSION = "delay", "session_id"
_WAITS = "a turn that waits for the answer to the one before it has no time of its own to be replayed at"
_WAITS_HINT = "give every row a timestamp and no session, or `prompts: FILE` with conversations"
_FAILED = "Response tokens"  # 0 in BurstGPT for a request that failed
_DATE = re.compile(r"\s*\d{4}-\d{2}-\d{2}")
_MOST_BYTES = 1 << 30
_MOST_TOKENS = 10_000_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One request of a trace.

    Args:
        at_s: Seconds after the first.
        prompt_tokens: At least 1; 0 where the trace has the text itself.
        output_tokens: At least 1; 0 where the trace does not say.
        blocks: Numbers of its blocks of :data:`BLOCK_TOKENS` tokens; empty where the trace has none.
        text: The prompt, where the trace has it.
    """

    at_s: float
    prompt_tokens: int
    output_tokens: int
    blocks: tuple[int, ...] = ()
    text: str = ""


@dataclass(frozen=True)
class Trace:
    """A trace, in the order of its times.

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
    rows = json_rows(text, path, "trace") if is_json(text) else _csv_rows(text, path)
    raw: list[tuple[float, Entry]] = []
    lines: dict[str, int] = {}  # by session
    for line, row in rows:
        try:
            if _field(row, (_FAILED,)) in (0, "0"):
                continue
            if waits := _waits(row, line, lines):
                raise SpecError(f"{path}:{line}: {waits}", path=("trace",), hint=_WAITS_HINT)
            at, entry = _time(row), _entry(row)
        except (ValueError, TypeError, OverflowError) as error:
            raise SpecError(f"{path}:{line}: {error}", path=("trace",)) from None
        raw.append((at, entry))
    if not raw:
        raise SpecError(f"{path} has no rows", path=("trace",))
    if not any(entry.output_tokens for _, entry in raw):
        line = next(iter(json_rows(text, path, "trace") if is_json(text) else _csv_rows(text, path)))[0]
        raise SpecError(f"{path}:{line}: a row needs a length, one of: {', '.join(_OUTPUT)}", path=("trace",))
    raw.sort(key=lambda pair: pair[0])
    first = raw[0][0]
    entries = tuple(replace(entry, at_s=at - first) for at, entry in raw)
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
        data = read_bytes(path, _MOST_BYTES)
        return decoded(data), hashlib.sha256(data).hexdigest()[:12]
    except (OSError, ValueError) as error:
        raise SpecError(f"cannot read the {key} {str(path)!r}: {why(error)}", path=(key,)) from None


def is_json(text: str) -> bool:
    """Return whether a file holds JSON rather than CSV."""
    return text.lstrip()[:1] in ("{", "[")


def json_rows(text: str, path: str | Path, key: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield line and object of JSONL, or number and object of one JSON list.

    Args:
        text: Of the file.
        path: Of the file, for errors.
        key: Of the workload that named it, for errors.

    Raises:
        SpecError: Something in it is no object.
    """
    if text.lstrip()[:1] == "[" and not text.lstrip().partition("\n")[0].rstrip().endswith("]"):
        yield from _listed(text, path, key)
        return
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = foreign_json(line)
        except ValueError as error:
            text = f"{path}:{number}: a line must be a JSON object: {why(error)}"
            raise SpecError(text, path=(key,)) from None
        if number == 1 and isinstance(row, list):
            yield from _listed(text, path, key)
            return
        if not isinstance(row, Mapping):
            raise SpecError(f"{path}:{number}: a line must be a JSON object", path=(key,))
        yield number, row


def _listed(text: str, path: str | Path, key: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        rows = foreign_json(text)
    except ValueError as error:
        raise SpecError(f"{path}: no JSON list: {why(error)}", path=(key,)) from None
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Mapping):
            raise SpecError(f"{path}: entry {number} must be a JSON object", path=(key,))
        yield number, row


def _csv_rows(text: str, path: str | Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text))
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise SpecError(f"{path}:{reader.line_num + 1}: no CSV: {error}", path=("trace",)) from None


def _field(row: Mapping[str, Any], names: Sequence[str]) -> Any:
    for name in names:
        if name in row and row[name] not in (None, ""):
            return row[name]
    return None


def _waits(row: Mapping[str, Any], line: int, lines: dict[str, int]) -> str:
    """Return why a row cannot be replayed at a time of its own; empty if it can.

    Args:
        row: Of the trace.
        line: Of the row.
        lines: Line by session, of the rows before it; this one is added.
    """
    session = _field(row, (_SESSION,))
    first = line if session is None else lines.setdefault(str(session), line)
    if first != line:
        return f"{_SESSION} {session!r} is that of line {first} too; {_WAITS}"
    return f"{_DELAY}: {_WAITS}" if _field(row, (_DELAY,)) not in (None, 0, "0") else ""


def _time(row: Mapping[str, Any]) -> float:
    for names, unit in ((_SECONDS, 1.0), (_MILLISECONDS, 1e-3), (_DATES, 1.0)):
        value = _field(row, names)
        if value is None:
            continue
        if isinstance(value, str) and (names is _DATES or _DATE.match(value)):
            return _date_seconds(value)
        seconds = float(value) * unit
        if not math.isfinite(seconds):
            raise ValueError(f"the time {value!r} is not finite")
        return seconds
    every = ", ".join((*_SECONDS, *_MILLISECONDS, *_DATES))
    raise ValueError(f"a row needs a time, one of: {every}; found {', '.join(map(str, row)) or 'nothing'}")


def _date_seconds(text: str) -> float:
    """Return the seconds since 1970 of a date and time; without a time zone it is UTC."""
    found = datetime.fromisoformat(text.strip())
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _entry(row: Mapping[str, Any]) -> Entry:
    """Return the entry of a row, its time left at 0."""
    blocks = row.get("hash_ids") or ()
    numbers = blocks.split() if isinstance(blocks, str) else blocks
    text = _field(row, _TEXT)
    if text is not None and not isinstance(text, str):
        raise ValueError(f"{_TEXT[0]} must be text, found {text!r}")
    prompt = 0 if text else _count(row, _PROMPT)
    output = 0 if _field(row, _OUTPUT) is None else _count(row, _OUTPUT)
    return Entry(0.0, prompt, output, tuple(int(n) for n in numbers), text or "")


def _count(row: Mapping[str, Any], names: Sequence[str]) -> int:
    value = _field(row, names)
    if value is None:
        raise ValueError(f"a row needs a length, one of: {', '.join(names)}")
    number = float(value)
    if not 0 <= number <= _MOST_TOKENS or number != int(number):
        raise ValueError(f"a length must be a whole number of tokens, found {value!r}")
    return max(1, int(number))

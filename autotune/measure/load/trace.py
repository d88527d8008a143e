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

Rows may be in any order, lines end as on any system, spaces around names and cells do not count, and an empty
cell is one that is not there; a length of 0 is 1. Errors with their line are: a cell too few or too many, a
duplicate column, a quote that is not closed, times of two kinds, a number that is not finite, a
negative length. ``hash_ids`` beyond the prompt are not used; what none covers is a text of its own.

Traces: Azure/AzurePublicDataset ``AzureLLMInferenceTrace`` of 2023 and 2024; Mooncake (Qin et al. 2024),
``FAST25-release``; aiperf's of the same form; BurstGPT (Wang et al. 2024), whose rows without an answer are
requests that failed there, and are left out.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from autotune.core.endpoint import foreign_json
from autotune.core.input_file import decoded, read_bytes, why
from autotune.core.json_object import JsonObject
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
_PROMPTS_HINT = "`prompts: FILE` takes files of prompts"
_OF_PROMPTS = ("prompt", "messages", "body", "conversations")
_A_DATE = "a date and time such as 2024-05-10 00:00:00.009930+00:00"
_UTC = re.compile(r"\s*(UTC|GMT)$")
_SEPARATORS = re.compile(r"[\s,]+")
_LONGEST_S = 1e11  # of a time: 3,000 years
_MOST_SHOWN = 10**60
_DATE = re.compile(r"\s*\d{4}-\d{2}-\d{2}")
_MOST_BYTES = 1 << 30
MOST_TOKENS = 10_000_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One request of a trace.

    Args:
        at_s: Seconds after the first.
        prompt_tokens: Number of tokens, 1 or more; 0 where the trace has the text itself.
        output_tokens: Number of tokens, 1 or more; 0 where the trace does not say.
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
        entries: Entries, one or more.
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
    rows = _rows(text, path)
    raw: list[tuple[float, Entry]] = []
    seen: dict[str, str] = {}  # the line of each session
    failed = 0
    clock: tuple[str, str] | None = None  # what the first time is, and where
    for label, row in rows:
        try:
            if _FAILED in row and _number(row[_FAILED]) == 0:
                failed += 1
                continue
            if waits := _waits(row, label, seen):
                raise SpecError(f"{located(path, label)}: {waits}", path=("trace",), hint=_WAITS_HINT)
            kind, at = _time(row)
            clock = clock or (kind, label)
            if kind != clock[0]:
                raise ValueError(f"the time is {kind}, that of {clock[1]} {clock[0]}")
            entry = _entry(row)
        except (ValueError, TypeError, OverflowError) as error:
            hint = _PROMPTS_HINT if any(name in row for name in _OF_PROMPTS) else ""
            raise SpecError(f"{located(path, label)}: {error}", path=("trace",), hint=hint) from None
        raw.append((at, entry))
    if not raw:
        but = f" but {failed} of requests that failed there ({_FAILED} 0)" if failed else ""
        raise SpecError(f"{path} has no rows{but}", path=("trace",))
    if not any(entry.output_tokens for _, entry in raw):
        place = located(path, next(iter(_rows(text, path)))[0])
        raise SpecError(f"{place}: a row needs a length, one of: {', '.join(_OUTPUT)}", path=("trace",))
    raw.sort(key=lambda pair: pair[0])
    first = raw[0][0]
    entries = tuple(replace(entry, at_s=at - first) for at, entry in raw)
    return Trace(entries, fingerprint)


def read_lines_of(path: Path, key: str) -> tuple[str, str]:
    """Return the text of a file, unpacked where it is gzip, and 12 hex digits of its contents.

    Args:
        path: Path of the file.
        key: Key of the workload that named it, for errors.

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


def located(path: str | Path, label: str) -> str:
    """Return the place of a row: ``t.csv:3`` of ``line 3``, ``t.json: entry 3`` of ``entry 3``."""
    kind, _, number = label.partition(" ")
    return f"{path}:{number}" if kind == "line" else f"{path}: {label}"


def _rows(text: str, path: str | Path) -> Iterator[tuple[str, JsonObject]]:
    return json_rows(text, path, "trace") if is_json(text) else _csv_rows(text, path)


def json_rows(text: str, path: str | Path, key: str) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Yield ``line N`` and object of JSONL, or ``entry N`` and object of one JSON list.

    Args:
        text: Text of the file.
        path: Path of the file, for errors.
        key: Key of the workload that named it, for errors.

    Raises:
        SpecError: Something in it is no object, or has a key twice.
    """
    if text.lstrip()[:1] == "[" and not text.lstrip().partition("\n")[0].rstrip().endswith("]"):
        yield from _listed(text, path, key)
        return
    lines = text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
    for number, line in enumerate(lines.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = foreign_json(line, once=True)
        except json.JSONDecodeError as error:
            said = f"{path}:{number}: a line must be a JSON object: {error.msg} (column {error.colno})"
            raise SpecError(said, path=(key,)) from None
        except ValueError as error:
            said = f"{path}:{number}: a line must be a JSON object: {why(error)}"
            raise SpecError(said, path=(key,)) from None
        if number == 1 and isinstance(row, list):
            yield from _listed(text, path, key)
            return
        if not isinstance(row, Mapping):
            raise SpecError(f"{path}:{number}: a line must be a JSON object", path=(key,))
        yield f"line {number}", row


def _listed(text: str, path: str | Path, key: str) -> Iterator[tuple[str, JsonObject]]:
    try:
        rows = foreign_json(text, once=True)
    except ValueError as error:
        raise SpecError(f"{path}: no JSON list: {why(error)}", path=(key,)) from None
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Mapping):
            raise SpecError(f"{path}: entry {number} must be a JSON object", path=(key,))
        yield f"entry {number}", row


def _csv_rows(text: str, path: str | Path) -> Iterator[tuple[str, Mapping[str, object]]]:
    reader = csv.reader(io.StringIO(text, newline=None), strict=True, skipinitialspace=True)
    header: list[str] = []
    last = 0
    try:
        for cells in reader:
            last = reader.line_num
            if not cells:
                continue
            if not header:
                header = [cell.strip() for cell in cells]
                twice = next((name for name in header if name and header.count(name) > 1), "")
                if twice:
                    raise SpecError(f"{path}:{last}: duplicate column {twice!r}", path=("trace",))
                continue
            if len(cells) != len(header):
                said = f"{path}:{last}: a row has {len(cells)} cells, the header {len(header)}"
                raise SpecError(said, path=("trace",))
            yield f"line {last}", dict(zip(header, map(str.strip, cells), strict=True))
    except csv.Error as error:
        what = "a quote is not closed" if "end of data" in str(error) else str(error)
        raise SpecError(f"{path}:{last + 1}: no CSV: {what}", path=("trace",)) from None


def _field(row: Mapping[str, object], names: Sequence[str]) -> object:
    for name in names:
        if name in row and row[name] not in (None, ""):
            return row[name]
    return None


def _check_filled(row: Mapping[str, object], names: Sequence[str], what: str) -> None:
    """Check that none of the columns for what a row needs is there and empty.

    Raises:
        ValueError: One is.
    """
    empty = next((name for name in names if name in row), "")
    if empty:
        raise ValueError(f"a row needs a {what}, and its {empty} is empty")


def _waits(row: Mapping[str, object], label: str, seen: dict[str, str]) -> str:
    """Return why a row cannot be replayed at a time of its own; empty if it can.

    Args:
        row: Row of the trace.
        label: Label of the row.
        seen: Label by session, of the rows before it; this one is added.
    """
    if _SESSION not in row and _DELAY not in row:
        return ""
    session = _field(row, (_SESSION,))
    first = label if session is None else seen.setdefault(str(session), label)
    if first != label:
        return f"{_SESSION} {session!r} is that of {first} too; {_WAITS}"
    delay = _field(row, (_DELAY,))
    return "" if delay is None or _number(delay) == 0 else f"{_DELAY}: {_WAITS}"


def _number(value: Any) -> float | None:
    """Return a finite number, ``None`` for anything else; ``1_000`` and truth values are none."""
    if isinstance(value, bool) or (isinstance(value, str) and "_" in value):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _time(row: Mapping[str, object]) -> tuple[str, float]:
    """Return what kind of time a row has, and its seconds."""
    for names, unit in ((_SECONDS, 1.0), (_MILLISECONDS, 1e-3), (_DATES, 1.0)):
        name = next((name for name in names if row.get(name) not in (None, "")), "")
        if not name:
            continue
        value = row[name]
        if isinstance(value, str) and (names is _DATES or _DATE.match(value)):
            return "a date", _date_seconds(value)
        number = _number(value)
        if number is None:
            raise ValueError(f"a time must be a number or {_A_DATE}, found {_short(value)}")
        if abs(number * unit) > _LONGEST_S:
            seconds = "ms" if names is _MILLISECONDS else "s"
            raise ValueError(f"{name} is in {seconds}, and {_short(value)} is thousands of years")
        return f"a number in {name}", number * unit
    _check_filled(row, (*_SECONDS, *_MILLISECONDS, *_DATES), "time")
    every = ", ".join((*_SECONDS, *_MILLISECONDS, *_DATES))
    raise ValueError(f"a row needs a time, one of: {every}; found {', '.join(map(str, row)) or 'nothing'}")


def _date_seconds(text: str) -> float:
    """Return the seconds since 1970 of a date and time; without a time zone it is UTC."""
    try:
        found = datetime.fromisoformat(_UTC.sub("+00:00", text.strip()))
    except ValueError:
        raise ValueError(f"a time must be {_A_DATE}, found {_short(text)}") from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _entry(row: Mapping[str, object]) -> Entry:
    """Return the entry of a row, its time left at 0."""
    text = _field(row, _TEXT)
    if text is not None and not isinstance(text, str):
        raise ValueError(f"{_TEXT[0]} must be text, found {_short(text)}")
    prompt = 0 if text else _count(row, _PROMPT)
    output = 0 if _field(row, _OUTPUT) is None else _count(row, _OUTPUT)
    return Entry(0.0, prompt, output, _blocks(row.get("hash_ids")), text or "")


def _blocks(given: object) -> tuple[int, ...]:
    """Return the numbers of a row's blocks: a list, or text with spaces or commas between them."""
    if given is None or given == "":
        return ()
    numbers = _SEPARATORS.split(given.strip("[] \t")) if isinstance(given, str) else given
    if numbers == [""]:
        return ()
    if isinstance(numbers, list):
        found = [number if type(number) is int else _number(number) for number in numbers]
        whole = [int(number) for number in found if number is not None and float(number).is_integer()]
        if len(whole) == len(numbers):
            return tuple(whole)
    raise ValueError(f"hash_ids must be a list of whole numbers, found {_short(given)}")


def _short(value: object) -> str:
    text = (
        repr(value) if not isinstance(value, int) or abs(value) < _MOST_SHOWN else "a number of many digits"
    )
    return text if len(text) <= 60 else f"{text[:57]}..."


def _count(row: Mapping[str, object], names: Sequence[str]) -> int:
    value = _field(row, names)
    if value is None:
        _check_filled(row, names, "length")
        raise ValueError(f"a row needs a length, one of: {', '.join(names)}")
    number = _number(value)
    if number is None or not 0 <= number <= MOST_TOKENS or number != int(number):
        most = f" of at most {MOST_TOKENS:,}" if number is not None and number > MOST_TOKENS else ""
        raise ValueError(f"a length must be a whole number of tokens{most}, found {_short(value)}")
    return max(1, int(number))

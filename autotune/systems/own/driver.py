"""Wait for a program that measures itself and read what it measured."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autotune.core.endpoint import foreign_json
from autotune.core.file_names import LOG_NAME, METRICS, OUTCOME, STARTED, STDOUT
from autotune.core.json_object import JsonObject
from autotune.core.measurement import Cause, Estimate, Failure, as_estimates, finite_metrics
from autotune.core.mistake import NOT_FINITE
from autotune.core.units import show_unit
from autotune.errors import SpecError, UnitError
from autotune.systems.base import MOST_WRITTEN, AttemptFailed, NotReady
from autotune.systems.own.last_object import last_object

_POLL_S = 0.02
_LOOK_S = 1.0  # between looks at how much the program has written
_MOST_DOCUMENT = 64 << 20  # bytes of a file of metrics: lists of millions of samples fit
_MOST_SEARCHED = 4 << 20  # bytes that are searched for an object: seconds at worst
_SHOWN = 200  # characters of an output that are quoted in a message


def connect(folder: Path, from_file: bool, units: Mapping[str, str]) -> OwnMetricsDriver:
    """Return the driver of the program that was launched in ``folder``.

    Raises:
        NotReady: It has not been launched yet.
    """
    try:
        started = json.loads((folder / STARTED).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotReady from None
    return OwnMetricsDriver(folder, int(started["pid"]), from_file, units)


class OwnMetricsDriver:
    """Metrics of a program: the last JSON object of its output, or a file that it writes.

    Args:
        folder: Folder of the attempt.
        pid: Process id of what watches the program.
        from_file: Whether the program writes a metrics file.
        units: Unit by metric, where the program gives none.
    """

    def __init__(self, folder: Path, pid: int, from_file: bool, units: Mapping[str, str]) -> None:
        self.folder = folder
        self.pid = pid
        self.from_file = from_file
        self.units = units
        self._facts: dict[str, Any] = {"processes": [pid]}

    def facts(self) -> JsonObject:
        """Return what really runs."""
        return self._facts

    def measure(self, deadline: float) -> Mapping[str, Estimate]:
        """Wait for the program to end and return its metrics; see :class:`autotune.systems.base.OwnDriver`.

        Raises:
            AttemptFailed: It failed, printed no metrics or missed the deadline.
        """
        outcome = self._wait(deadline)
        if outcome["exit"]:
            # The watching process ends with the same code: the worker then asks the system what it means.
            raise AttemptFailed(Failure(Cause.CRASHED_UNDER_LOAD, f"ended with {outcome['exit']}"))
        found = [self._read(run) for run in range(1, len(outcome["runs"]) + 1)]
        return pooled(found)

    def metrics(self, deadline: float) -> Mapping[str, Estimate]:
        """Return nothing more: :meth:`measure` has everything."""
        return {}

    def close(self) -> None:
        """Do nothing: the supervisor ends the process."""

    def _wait(self, deadline: float) -> dict[str, Any]:
        path, look = self.folder / OUTCOME, 0.0
        while True:
            gone = not _alive(self.pid)  # looked at before the file: what it wrote last is there then
            if path.exists():
                outcome: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
                return outcome
            if gone:
                raise AttemptFailed(Failure(Cause.CRASHED_UNDER_LOAD, "ended without a word"))
            if time.monotonic() >= deadline:
                raise AttemptFailed(Failure(Cause.TIME_LIMIT, "the program did not end in time"))
            if time.monotonic() >= look:
                self._check_sizes()
                look = time.monotonic() + _LOOK_S
            time.sleep(_POLL_S)

    def _check_sizes(self) -> None:
        """Raise where the program fills the disk with what it prints."""
        for pattern in (STDOUT, METRICS, LOG_NAME):
            for path in self.folder.glob(pattern.format(run="*")):
                if path.stat().st_size > MOST_WRITTEN:
                    raise _wrong(f"the program wrote more than {MOST_WRITTEN >> 30} GiB to {path.name}")

    def _read(self, run: int) -> dict[str, Estimate]:
        name = (METRICS if self.from_file else STDOUT).format(run=run)
        path = self.folder / name
        if self.from_file and not path.exists():
            raise _wrong(f"the program ended well but wrote no {name}")
        where = name if self.from_file else "its standard output"
        try:
            found = _document(path) if self.from_file else None
            text, whole = ("", True) if found else end_of(path, _MOST_SEARCHED)
        except OSError as error:
            raise _wrong(f"{where} cannot be read: {error}") from None
        if found is None:
            found = last_object(text)
        if found is None:
            end = "" if whole else f" in its last {_MOST_SEARCHED >> 20} MiB"
            shown = text[-_SHOWN:].strip()
            raise _wrong(f"{where} holds no JSON object of metrics{end}; it ends with {shown!r}")
        finite, odd = finite_metrics(found)
        if odd:
            self._facts[NOT_FINITE] = {**self._facts.get(NOT_FINITE, {}), **odd}
        if odd and not finite:
            return {}
        return read_metrics(finite, self.units)


def _document(path: Path) -> dict[str, object] | None:
    """Return the object that a file of metrics is, ``None`` where it is more or less than one."""
    text, whole = end_of(path, _MOST_DOCUMENT)
    try:
        found = foreign_json(text) if whole else None
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def end_of(path: Path, most: int) -> tuple[str, bool]:
    """Return the end of a text, from the beginning of a line, and whether it is all of it.

    Args:
        path: Path of the file; what is no plain file is read as an empty one.
        most: Bytes of it.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe that nobody writes to is not waited for
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return "", True
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - most))
        data = file.read(most)
    if size > most:
        data = data.partition(b"\n")[2]
    return data.decode("utf-8", errors="replace"), size <= most


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _wrong(message: str) -> AttemptFailed:
    return AttemptFailed(Failure(Cause.WRONG_OUTPUT, message))


def read_metrics(found: JsonObject, units: Mapping[str, str]) -> dict[str, Estimate]:
    """Return the metrics that a program gave as estimates.

    Args:
        found: Values by name: numbers, lists of samples or ``{value, sem, n, unit}``.
        units: Unit by metric that the program does not name.

    Raises:
        AttemptFailed: ``wrong_output``: there are none, or one is no finite number. ``owner_mistake``: a unit
            is unknown or of another dimension than its metric's.
    """
    if not found:
        raise _wrong("the object of metrics is empty")
    try:
        return as_estimates(found, units)
    except UnitError as error:
        raise AttemptFailed(Failure(Cause.OWNER_MISTAKE, error.line)) from None
    except SpecError as error:
        raise _wrong(error.message) from None
    except (TypeError, ValueError) as error:
        raise _wrong(f"the metrics cannot be read: {error}") from None


def pooled(runs: Sequence[Mapping[str, Estimate]]) -> dict[str, Estimate]:
    """Return the means over runs; the standard error is between runs where there are two or more.

    Formula: mean of the runs' values; sem = standard deviation of the runs' values / sqrt(runs).

    Raises:
        AttemptFailed: ``wrong_output``: the runs gave different metrics. ``owner_mistake``: they gave one in
            units that cannot be compared.
    """
    if len(runs) == 1:
        return dict(runs[0])
    names = list(runs[0])
    for number, run in enumerate(runs[1:], 2):
        if set(run) != set(names):
            odd = ", ".join(sorted(set(run) ^ set(names)))
            raise _wrong(f"run {number} and run 1 do not give the same metrics: {odd}")
    result = {}
    for name in names:
        found = list(dict.fromkeys(run[name].unit for run in runs))
        if len(found) > 1:
            shown = " and ".join(show_unit(unit) for unit in found)
            text = f"metric {name!r} is {shown} in runs of one configuration: they cannot be compared"
            raise AttemptFailed(Failure(Cause.OWNER_MISTAKE, text))
        result[name] = Estimate.mean_of([run[name].value for run in runs], runs[0][name].unit)
    return result

"""What every converter gives: a study file as plain data, and a line for each thing without an equivalent."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from autotune.convert.entries import NONE, Entry, listed, ranged, snapped, study_text
from autotune.convert.names import is_parameter_name, metric_name, printable, shown, study_name
from autotune.core.expression import Expression
from autotune.core.json_object import JsonObject
from autotune.core.parameter.base import read_number
from autotune.core.parameter.numeric import MAX_LEVELS
from autotune.core.space import Space
from autotune.errors import SpecError, did_you_mean
from autotune.spec.sections import read_name, read_objective
from autotune.spec.yaml_text import Document, Path_

_SPREADS = 3.0  # standard deviations on either side that a normal distribution is cut to
_SPARSE_LEVELS = 10_000  # of a range with more values than a search can list


@dataclass
class Conversion:
    """A study file in the making, while a foreign one is read.

    Args:
        source: The foreign document, for the places of notes.
        study: The study file so far.
        notes: A line for each thing that has no equivalent: where, what, and what was done instead.
        names: Name of each parameter here by its name in the source.
    """

    source: Document
    study: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)

    def note(self, path: Path_, text: str) -> None:
        """Add a line about what stands at ``path``, or about the whole file."""
        place = self.source.mark(path, at_key=True) if path else self.source.source
        self.notes.append(printable(f"{place}: {text}"))

    def note_rest(self, data: Mapping[str, object], known: Iterable[str], path: Path_ = ()) -> None:
        """Note each key of a section that nothing reads."""
        for key in data:
            if key not in known:
                self.note((*path, key), f"'{key}' has no equivalent")

    def set_name(self, given: object, path: Path_ = ("name",)) -> None:
        """Name the study as the source is named; what no study's name may have is rewritten, with a note.

        A name that is cut, or of which nothing is left, gets a digest of the whole, so that two stay two.
        """
        if given is None or isinstance(given, Mapping | list) or not str(given).strip():
            found = "nothing" if given is None or given == "" else repr(given)
            self.note(path, f"a study cannot be named {found[:60]}; the file's name is taken")
            return
        written = str(given)
        name = study_name(written)
        if name != written:
            self.note(path, f"the study is called {name!r} here; {shown(written)} is no name of one")
        self.study["name"] = read_name(name)

    def trials(self, data: Mapping[str, object], path: Path_) -> int:
        """Return the number of trials under the last key of ``path``.

        Raises:
            SpecError: It is no whole number above 0; located.
        """
        count = number_at(self, data, path)
        if count < 1 or not float(count).is_integer():
            text = f"{path[-1]} must be a whole number of at least 1, found {count!r}"
            raise self.source.locate(SpecError(text, path=path))
        return int(count)

    def set_goals(self, given: Iterable[tuple[Path_, str, object]], unmeasured: str = "") -> None:
        """State the goals of the source; a metric whose name none here can have is renamed, with a note.

        Args:
            given: Place, direction (``maximize`` or ``minimize``) and metric of each.
            unmeasured: Words where there is none.
        """
        goals: dict[str, list[str]] = {}
        taken: set[str] = set()
        for path, direction, written in given:
            if isinstance(written, Mapping | list) or written is None or not str(written).strip():
                self.note(path, f"a goal needs a metric, found {written!r}: name it under `objective`")
                continue
            if direction not in ("maximize", "minimize"):
                near = did_you_mean(direction, ("maximize", "minimize"))
                text = f"{direction!r} is no direction; allowed: maximize, minimize"
                raise self.source.locate(SpecError(text, path=path, hint=near))
            name, unit = metric_name(written)
            while name in taken:
                name += "_"
            taken.add(name)
            if name != written:
                self.note(path, f"metric {shown(written)} is called {name!r} here: report it by that name")
            if unit:
                self.note(path, f"its unit is {unit}: say so with `units: {{{name}: {unit}}}` under `system`")
            goals.setdefault(direction, []).append(name)
        if goals:
            self.study["objective"] = {k: v[0] if len(v) == 1 else v for k, v in goals.items()}
        elif unmeasured:
            self.note((), unmeasured)

    @contextmanager
    def at(self, path: Path_) -> Iterator[None]:
        """Locate errors that say only what is wrong with what stands at ``path``."""
        try:
            yield
        except SpecError as error:
            if error.message.startswith(self.source.source):
                raise
            raise self.source.locate(SpecError(error.message, path=path, hint=error.hint)) from None
        except OverflowError:
            raise self.source.locate(SpecError("the numbers are too large", path=path)) from None

    def ranged(
        self,
        path: Path_,
        low: float,
        high: float,
        *,
        whole: bool,
        step: float | None = None,
        log: bool = False,
    ) -> Entry:
        """Return the parameter of a range, thinned where it has too many values; see :func:`ranged`.

        Raises:
            SpecError: It is no range; located.
        """
        with self.at(path):
            if log and low <= 0:
                self.note(
                    path, f"{path[-1]!r} starts at {low:g}, which has no logarithm: the scale is linear"
                )
            if not whole and step and (high - low) / step > MAX_LEVELS:
                self.note(
                    path, f"in steps of {step:g} {path[-1]!r} has too many values: any number is allowed"
                )
                step = None
            if whole and log and low > 0 and high - low > MAX_LEVELS:
                powers = sorted({round(low), *(2**n for n in range(1, 64) if low < 2**n < high), round(high)})
                self.note(path, f"{path[-1]!r} has too many values: powers of 2 are searched")
                return {"type": "ordinal", "values": powers, "default": powers[len(powers) // 2]}
            if whole and high - low > MAX_LEVELS * (step or 1):
                wide = math.ceil((high - low) / _SPARSE_LEVELS / (step or 1)) * (step or 1)
                self.note(path, f"{path[-1]!r} has too many values: every {wide:.0f}th is searched")
                step = wide
            return ranged(low, high, whole=whole, step=step, log=log)

    def normal(
        self,
        path: Path_,
        mean: float,
        spread: float,
        *,
        step: float | None = None,
        log: bool = False,
        whole: bool = False,
    ) -> Entry:
        """Return the parameter of a normal distribution, cut where it has no bounds, which is noted.

        Args:
            path: Place of the entry.
            mean: Mean of the values; with ``log``, of their logarithms.
            spread: One standard deviation, above 0.
            step: Distance between values that are drawn.
            log: Whether the logarithms of the values are normal.
            whole: Whether values are whole numbers where the step is one.

        Raises:
            SpecError: It is no distribution; located.
        """
        low, high = mean - _SPREADS * spread, mean + _SPREADS * spread
        with self.at(path):
            if spread <= 0:
                raise SpecError(f"a standard deviation must be above 0, found {spread!r}")
            if log:
                low, high = math.exp(low), math.exp(high)
            if step is not None:
                low, high = snapped(low, high, step)
                low = max(low, step) if log else low
            whole = whole and step is not None and float(step).is_integer()
            rest = "" if log else ", the rest is its prior"
            self.note(path, f"{path[-1]!r} has no bounds; cut to {low:g} .. {high:g}{rest}")
            entry = self.ranged(path, low, high, whole=whole, step=step, log=log)
        return entry if log else {**entry, "prior": {"around": float(mean), "spread": float(spread)}}

    def listed(self, path: Path_, values: list[object], *, default: object = None) -> Entry:
        """Return the parameter of listed values, with notes on those that change; see :func:`listed`."""
        name = next((key for key in reversed(path) if key not in ("value", "values")), "")
        if None in values:
            self.note(path, f"the value null of {name!r} has no equivalent; it is called {NONE!r}")
        if any(isinstance(value, list | tuple | Mapping) for value in values):
            self.note(path, f"structures among the values of {name!r} are JSON texts here")
        return listed(values, default=default)

    def add(self, path: Path_, name: str, entry: Entry) -> str:
        """Add a parameter and return its name, rewritten where expressions could not mention it."""
        plain = re.sub(r"\W", "_", name.strip().lstrip("-"), flags=re.ASCII)[:62] or "_"
        plain = f"_{plain}" if plain[0].isdigit() else plain
        taken = self.study.setdefault("parameters", {})
        while plain in taken or not is_parameter_name(plain):
            plain += "_"
        if plain != name:
            self.note(path, f"parameter {name!r} is called {plain!r} here")
        taken[plain] = entry
        self.names[name] = plain
        return plain

    def finish(self) -> Conversion:
        """Check that the study file is one of ours.

        Raises:
            SpecError: Nothing in the file could be converted, or what came out is no valid study.
        """
        if not self.study.get("parameters"):
            lines = "\n  ".join(self.notes)
            raise SpecError(f"{self.source.source}: no parameter could be converted\n  {lines}".rstrip())
        self._keep_readable_constraints()
        inner = ("parameters", "constraints", "configurations")
        space = Space.from_dict({key: self.study[key] for key in inner if key in self.study})
        self._start_where_allowed(space)
        if "objective" in self.study:
            read_objective(self.study["objective"])
        order = ("name", "description", "parameters", "constraints", "configurations", "system", "workload",
                 "objective", "budget", "engine")  # fmt: skip
        self.study = {key: self.study[key] for key in order if key in self.study}
        return self

    def _keep_readable_constraints(self) -> None:
        """Leave out, with a note, what is no constraint over the parameters that were converted."""
        kept: list[str] = []
        parameters = self.study["parameters"]
        kinds = Space.from_dict(parameters).kinds
        for text in self.study.pop("constraints", []):
            try:
                if Expression.parse(text).check_types(kinds) != "bool":
                    raise SpecError("it is neither true nor false")
                if (
                    not Space.from_dict({"parameters": parameters, "constraints": [*kept, text]})
                    .count()
                    .value
                ):
                    raise SpecError("no configuration would be allowed")
                kept.append(text)
            except SpecError as error:
                self.note(("constraints",), f"constraint {text!r} is left out: {error.message}")
        if kept:
            self.study["constraints"] = kept

    def _start_where_allowed(self, space: Space) -> None:
        """Leave defaults that break a constraint unstated: the nearest allowed configuration is the first."""
        try:
            _ = space.default_config
        except SpecError:
            for entry in self.study["parameters"].values():
                entry.pop("default", None)
            self.note((), "the defaults together break a constraint: the first configuration is near them")

    def to_yaml(self) -> str:
        """Return the text of the study file, the notes as comments at its head."""
        head = "".join(f"# {printable(line)}\n" for note in self.notes for line in note.splitlines())
        return head + study_text(self.study)


def number_at(conversion: Conversion, data: Mapping[str, object], path: Path_) -> float:
    """Return the number under the last key of ``path``.

    Raises:
        SpecError: It is not there or no number; located.
    """
    found = read_number(data.get(str(path[-1])))
    if found is None:
        error = SpecError(f"{path[-1]} must be a number, found {data.get(str(path[-1]))!r}", path=path)
        raise conversion.source.locate(error)
    return found


def mapping_at(conversion: Conversion, data: object, path: Path_) -> JsonObject:
    """Return ``data`` if it is a mapping.

    Raises:
        SpecError: It is not; located.
    """
    if not isinstance(data, Mapping):
        where = path[-1] if path else "the file"
        raise conversion.source.locate(SpecError(f"{where} must be a mapping, found {data!r}", path=path))
    return data

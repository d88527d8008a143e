"""What every converter gives: a study file as plain data, and a line for each thing without an equivalent."""

from __future__ import annotations

import hashlib
import json
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import yaml

from autotune.core.expression import Expression
from autotune.core.parameter import parameter_from_dict
from autotune.core.parameter.base import check_name, read_number
from autotune.core.parameter.numeric import MAX_LEVELS
from autotune.core.scalar import PlainText, typed_scalar
from autotune.core.space import Space
from autotune.core.units import SCALED, known_base
from autotune.errors import SpecError, did_you_mean
from autotune.spec.sections import read_name, read_objective
from autotune.spec.yaml_text import Document, Path_

_LONGEST_NAME = 64
_LONGEST_METRIC = 120
_SPREADS = 3.0  # standard deviations on either side that a normal distribution is cut to
_WORDS = {"min", "h", "d", "%"}  # `loss_min` is a minimum
_SPARSE_LEVELS = 10_000  # of a range with more values than a search can list
_BRACKETED = re.compile(
    r"(?P<name>.*?\S)\s*(?:[(\[](?:in )?(?P<bracketed>[^()\[\]]+)[)\]]|,\s*(?P<after>[^,]+))", re.DOTALL
)

Entry = dict[str, Any]
"""A parameter as a study file has it."""


@dataclass
class Conversion:
    """Collect a study file while a foreign one is read.

    Args:
        source: The foreign document, for the places of notes.
        study: The study file so far.
        notes: A line for each thing that has no equivalent: where, what, and what was done instead.
    """

    source: Document
    study: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def note(self, path: Path_, text: str) -> None:
        """Add a line about what stands at ``path``, or about the whole file."""
        place = self.source.mark(path, at_key=True) if path else self.source.source
        shown = "".join(c if c.isprintable() else " " if c.isspace() else repr(c)[1:-1] for c in text)
        self.notes.append(f"{place}: {shown}")

    def ignore(self, data: Mapping[str, Any], keys: Iterable[str], why: str = "has no equivalent") -> None:
        """Note each of ``keys`` that the top of the file has."""
        for key in keys:
            if key in data:
                self.note((key,), f"'{key}' {why}")

    def note_rest(self, data: Mapping[str, Any], known: Iterable[str], path: Path_ = ()) -> None:
        """Note each key of a section that nothing reads."""
        for key in data:
            if key not in known:
                self.note((*path, key), f"'{key}' has no equivalent")

    def set_name(self, given: Any, path: Path_ = ("name",)) -> None:
        """Name the study as the source is named; what no study's name may have is rewritten, with a note.

        A name that is cut, or of which nothing is left, gets a digest of the whole, so that two stay two.
        """
        if given is None or isinstance(given, Mapping | list) or not str(given).strip():
            found = "nothing" if given is None or given == "" else repr(given)
            self.note(path, f"a study cannot be named {found[:60]}; the file's name is taken")
            return
        written = str(given)
        letters = unicodedata.normalize("NFKD", written).encode("ascii", "ignore").decode()
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", letters).strip("-._")
        lost = any(c.isalnum() and not unicodedata.normalize("NFKD", c)[0].isascii() for c in written)
        if lost or not name or len(name) > _LONGEST_NAME:
            digest = hashlib.sha256(written.encode("utf-8", "surrogatepass")).hexdigest()[:8]
            name = f"{name[: _LONGEST_NAME - 9].rstrip('-._') or 'study'}-{digest}"
        if name != written:
            self.note(path, f"the study is called {name!r} here; {_shown(written)} is no name of one")
        self.study["name"] = read_name(name)

    def trials(self, data: Mapping[str, Any], path: Path_) -> int:
        """Return the number of trials under the last key of ``path``.

        Raises:
            SpecError: It is no whole number above 0; located.
        """
        count = number_at(self, data, path)
        if count < 1 or not float(count).is_integer():
            text = f"{path[-1]} must be a whole number of at least 1, found {count!r}"
            raise self.source.locate(SpecError(text, path=path))
        return int(count)

    def set_goals(self, given: Iterable[tuple[Path_, str, Any]], unmeasured: str = "") -> None:
        """State the goals of the source; a metric whose name none here can have is renamed, with a note.

        Args:
            given: Place, direction (``maximize`` or ``minimize``) and metric of each.
            unmeasured: What to say where there is none.
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
                self.note(path, f"metric {_shown(written)} is called {name!r} here: report it by that name")
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
            path: Where it stands.
            mean: Of the values; with ``log``, of their logarithms.
            spread: One standard deviation, above 0.
            step: Between values that are drawn.
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

    def listed(self, path: Path_, values: list[Any], *, default: Any = None) -> Entry:
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
        while plain in taken or not _is_name(plain):
            plain += "_"
        if plain != name:
            self.note(path, f"parameter {name!r} is called {plain!r} here")
        taken[plain] = entry
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
        head = "".join(f"# {line}\n" for note in self.notes for line in note.splitlines())
        body = yaml.dump(
            self.study, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100,
            default_flow_style=None,
        )  # fmt: skip
        return head + body


class _Dumper(yaml.SafeDumper):
    """Write text so that it is read as text, by the rules of our own reader."""

    def ignore_aliases(self, data: Any) -> bool:
        """Return that nothing is written as an alias, which our reader refuses."""
        return True


def _text_node(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    quoted = not isinstance(typed_scalar(text), str)
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="'" if quoted else None)


_Dumper.add_representer(str, _text_node)


def metric_name(written: Any) -> tuple[str, str]:
    """Return the name and the unit of a metric that another tool calls ``written``.

    ``Latency (ms)`` is ``Latency`` in ms: a unit in brackets at the end, after a comma or after the last
    underscore is one where this package knows it. The unit after an underscore stays in the name.
    """
    text = str(written).strip()
    unit = ""
    match = _BRACKETED.fullmatch(text)
    if match is not None and known_base(found := match["bracketed"] or match["after"]):
        text, unit = match["name"], found
    elif (last := text.rpartition("_")[2]) in SCALED - _WORDS:
        unit = last
    name = re.sub(r"[^\w./:@#%+-]+", "_", text)[:_LONGEST_METRIC]
    name = name if name == text else name.strip("_")
    if not name or not (name[0].isalpha() or name[0] == "_"):
        name = f"metric_{name}".rstrip("_")
    try:
        read_objective({"maximize": name})
    except SpecError:  # a name of ours for something else, or nearly one
        name = f"reported_{re.sub(r'[^A-Za-z0-9]', '_', name)}"
    return name, unit


def _shown(text: Any) -> str:
    shown = repr(text)
    return shown if len(shown) <= 80 else f"{shown[:60]}... ({len(str(text))} characters)"


def _is_name(name: str) -> bool:
    try:
        check_name(name, "parameter")
    except SpecError:
        return False
    return True


def listed(values: list[Any], *, default: Any = None) -> Entry:
    """Return the parameter that takes the values of a list: numbers in order, truth values, or labels.

    Args:
        values: With the types of their file; a structure becomes the JSON text that a flag takes.
        default: One of them, where the file says which; else the middle one of numbers, the first of labels.
    """
    found = [plain_value(value) for value in values]
    found = [value for i, value in enumerate(found) if _place(value, found) == i]
    start = found[0] if default is None else plain_value(default)
    if all(isinstance(value, bool) for value in found) and len(found) == 2:
        return {"type": "bool", **({"default": start} if start else {})}
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in found):
        ordered = sorted(found)
        middle = ordered[(len(ordered) - 1) // 2] if default is None else start
        return {"type": "ordinal", "values": ordered, **({"default": middle} if len(ordered) > 1 else {})}
    return {"type": "categorical", "values": found, **({"default": start} if start != found[0] else {})}


def _place(value: Any, among: list[Any]) -> int:
    return next(
        i for i, v in enumerate(among) if v == value and isinstance(v, bool) == isinstance(value, bool)
    )


def plain_value(value: Any) -> Any:
    """Return a value as a parameter has it: structures as JSON text, the missing one as :data:`NONE`."""
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value, separators=(",", ":"))
    return NONE if value is None else value


NONE = "none"
"""What the missing value of another tool is called here."""


def ranged(low: float, high: float, *, whole: bool, step: float | None = None, log: bool = False) -> Entry:
    """Return the parameter that takes the numbers of a range, the middle of it as its default.

    ``high`` need not be a whole number of steps above ``low``.
    """
    kind: type = int if whole else float
    entry: Entry = {"type": "int" if whole else "float", "low": kind(low), "high": kind(high)}
    if log and low > 0:
        entry["scale"] = "log2" if whole else "log10"
    if step is not None and not (whole and step == 1):
        entry["step"] = kind(step)
    levels = parameter_from_dict("x", entry)
    wished = math.sqrt(low * high) if "scale" in entry else (low + high) / 2
    if low < high:
        entry["default"] = _rounded(min(levels.levels, key=lambda value: abs(float(value) - wished)))
    return entry


def snapped(low: float, high: float, step: float) -> tuple[float, float]:
    """Return the ends of a range of which only multiples of a step are drawn, by rounding."""
    first, last = (round(round(bound / step) * step, 12) for bound in (low, high))
    return first, last


def with_default(entry: Entry, wanted: Any) -> Entry:
    """Return a parameter whose default is the allowed value nearest to a wanted one, where that is one."""
    if wanted is None or "default" not in entry or isinstance(wanted, bool) != (entry["type"] == "bool"):
        return entry
    parameter = parameter_from_dict("x", entry)
    number = read_number(wanted)
    if parameter.kind == "number" and number is not None:
        near = min(parameter.levels, key=lambda value: abs(float(value) - number))
        return {**entry, "default": _rounded(near)}
    return {**entry, "default": wanted} if wanted in parameter.levels else entry


def _rounded(value: Any) -> Any:
    return float(f"{value:.12g}") if isinstance(value, float) else value


_OLD_BOOLS = {**dict.fromkeys(("yes", "on"), True), **dict.fromkeys(("no", "off"), False)}

_OLD_INTS = re.compile(r"[-+]?(0b[01_]{1,64}|0[0-7_]{1,64}|[1-9][0-9_]{0,64}(:[0-5]?[0-9]){0,4})")


def typed_as_yaml11(value: Any) -> Any:
    """Return data of a foreign YAML file as PyYAML, which these tools read it with, types it.

    That is YAML 1.1: ``yes`` and ``off`` are truth values too, ``017`` is 15 and ``1_000`` is 1000.
    """
    if isinstance(value, PlainText):
        if _OLD_INTS.fullmatch(value):
            return yaml.constructor.SafeConstructor().construct_yaml_int(yaml.ScalarNode("", value))
        return _OLD_BOOLS.get(value.lower(), typed_scalar(value))
    if isinstance(value, Mapping):
        return {str(key): typed_as_yaml11(item) for key, item in value.items()}
    return [typed_as_yaml11(item) for item in value] if isinstance(value, list) else value


def number_at(conversion: Conversion, data: Mapping[str, Any], path: Path_) -> float:
    """Return the number under the last key of ``path``.

    Raises:
        SpecError: It is not there or no number; located.
    """
    found = read_number(data.get(str(path[-1])))
    if found is None:
        error = SpecError(f"{path[-1]} must be a number, found {data.get(str(path[-1]))!r}", path=path)
        raise conversion.source.locate(error)
    return found


def mapping_at(conversion: Conversion, data: Any, path: Path_) -> Mapping[str, Any]:
    """Return ``data`` if it is a mapping.

    Raises:
        SpecError: It is not; located.
    """
    if not isinstance(data, Mapping):
        where = path[-1] if path else "the file"
        raise conversion.source.locate(SpecError(f"{where} must be a mapping, found {data!r}", path=path))
    return data

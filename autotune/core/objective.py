"""The objective: goals to optimize and limits to keep, applied to measurements after the fact."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from numbers import Real
from pathlib import Path
from typing import Any

from autotune.core.arguments import check_arguments, read_entries
from autotune.core.front_doors import READERS
from autotune.core.html import html_table, short
from autotune.core.kinds import quantity
from autotune.core.measurement import Estimate, in_unit_of, read_estimate
from autotune.core.metric import base_unit
from autotune.core.units import (
    SCALED,
    format_in,
    format_quantity,
    known_base,
    parse_quantity,
    to_base,
    units_of,
)
from autotune.errors import SpecError, UnitError, refuse_unknown_keys, under

_METRIC = r"[^\W\d][\w./:@#%+-]*"  # names are compared, never read as expressions: `val/loss` is one
_LIMIT = re.compile(rf"\s*({_METRIC})\s*(<=|>=)\s*(\S.*?)\s*")
_RELATIVE = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(?:x\s+|(%)\s*of\s+)(?:the\s+)?default")

_BOUND = re.compile(r"([+-]?[\d.]+(?:[eE][+-]?\d+)?)\s*(.*)")

_BY_PROGRAM = re.compile(r"\.0$|\.\d{10,}$|e[+-]\d\d$")
"""Number in a base unit as Python prints it and no author does: earlier ledgers have those."""

_SAME = 1e-9  # part by which a value and a bound differ that are equal but for arithmetic

CONFIDENCE = 0.95
"""Probability with which limits must hold, where an objective does not say."""


@dataclass(frozen=True)
class Goal:
    """One metric and the direction in which it is better.

    Args:
        metric: Name with its statistic as suffix: ``ttft.p99``.
        maximize: Whether more is better.
    """

    metric: str
    maximize: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.metric, str) or not re.fullmatch(_METRIC, self.metric):
            raise SpecError(f"{self.metric!r} is not a metric's name, such as output_throughput or ttft.p99")

    @property
    def sign(self) -> float:
        """+1 or -1: ``sign * value`` is to be maximized."""
        return 1.0 if self.maximize else -1.0

    def __str__(self) -> str:
        return f"{'maximize' if self.maximize else 'minimize'} {self.metric}"


@dataclass(frozen=True)
class Limit:
    """A bound on a measured metric.

    Args:
        metric: Name with its statistic as suffix.
        upper: Whether ``bound`` is the largest allowed value rather than the smallest.
        bound: Bound in ``unit``; for a relative limit a multiple of what the default configuration measured
            (:meth:`Objective.anchored` says of which where that is negative).
        unit: Base unit of the bound.
        relative: Whether the bound is a multiple of the default's value. It bounds nothing until
            :meth:`Objective.anchored` has put that value in.
        written: The text that it was read from, for messages to who wrote it; empty where there was none.
        symbol: Unit that its author wrote and wants to read, such as ``GB``; empty where the unit that reads
            best is as good.
        stated: Bound as its author wrote it, number and unit: ``0.2 s``; empty where nobody did, or where the
            number is one that a program wrote.
    """

    metric: str
    upper: bool
    bound: float
    unit: str = "1"
    relative: bool = False
    written: str = field(default="", compare=False, repr=False)
    symbol: str = field(default="", compare=False, repr=False)
    stated: str = field(default="", compare=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.metric, str) or not re.fullmatch(_METRIC, self.metric):
            raise SpecError(f"metric must be a metric's name, such as ttft.p99, found {self.metric!r}")
        if not isinstance(self.upper, bool):
            raise SpecError(
                f"upper must be True or False, found {self.upper!r}", hint="Limit.parse reads a text"
            )
        if not isinstance(self.bound, Real) or isinstance(self.bound, bool) or math.isnan(self.bound):
            raise SpecError(f"bound must be a number, found {self.bound!r}")

    @classmethod
    def parse(cls, text: str) -> Limit:
        """Read ``ttft.p99 <= 500 ms`` or ``quality.perplexity <= 1.02 x default``.

        Raises:
            SpecError: It has another form or an unknown unit.
        """
        match = _LIMIT.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise SpecError(
                f"cannot read the limit {text!r}; allowed: metric <= bound or metric >= bound",
                hint="for example: ttft.p99 <= 500 ms, or quality.perplexity <= 1.02 x default",
            )
        relative = _RELATIVE.fullmatch(match[3])
        if relative is not None:
            factor = float(relative[1]) / (100.0 if relative[2] else 1.0)
            return cls(
                match[1], match[2].startswith("<"), factor, relative=True, written=text.strip(),
                stated=" ".join(match[3].split()),
            )  # fmt: skip
        quantity = parse_quantity(match[3])
        found = _BOUND.fullmatch(match[3])
        number, unit = ("", "") if found is None else found.groups()
        best = format_quantity(quantity.value, quantity.unit).partition(" ")[2]
        by_program = unit in ("", quantity.unit) and _BY_PROGRAM.search(number) is not None
        return cls(
            match[1], match[2].startswith("<"), quantity.value, quantity.unit, written=text.strip(),
            symbol="" if by_program or unit == best else unit,
            stated="" if by_program else f"{number} {unit}".strip(),
        )  # fmt: skip

    def violation(self, value: float) -> float:
        """Return by how much ``value`` breaks the limit; at most 0 when it is kept.

        Formula: ``log(value / bound)`` for upper limits of positive numbers (its negative for lower ones), so
        that 10 % too much weighs the same for every metric; the plain difference where a logarithm fails.
        """
        sign = 1.0 if self.upper else -1.0
        if math.isclose(value, self.bound, rel_tol=_SAME):  # 3 * 0.05 is 0.15
            return 0.0
        if value > 0 and self.bound > 0:
            ratio = value / self.bound
            if 0 < ratio < math.inf:
                return sign * math.log(ratio)
            return sign * (math.log(value) - math.log(self.bound))
        return sign * (value - self.bound)

    def __str__(self) -> str:
        return f"{self.metric} {'<=' if self.upper else '>='} {self.shown_bound}"

    @property
    def shown_bound(self) -> str:
        """The bound for people: as its author wrote it, else in the unit that reads best."""
        if self.stated:
            return self.stated
        if self.relative:
            return f"{self.bound:g} x default"
        return format_in(self.bound, self.symbol) if self.symbol else format_quantity(self.bound, self.unit)

    @property
    def shown_unit(self) -> str:
        """Unit of :attr:`shown_bound`; empty of a plain number."""
        return self.symbol or self.shown_bound.partition(" ")[2]

    @property
    def as_written(self) -> str:
        """The limit as its author wrote it, with the number and the unit that they know."""
        return self.written or str(self)

    def to_text(self) -> str:
        """Return the text that :meth:`parse` reads back exactly, as its author wrote it."""
        return str(self) if self.stated else self.in_base_unit

    @property
    def in_base_unit(self) -> str:
        """The text that :meth:`parse` reads back exactly but for the unit of its author."""
        unit = " x default" if self.relative else "" if self.unit == "1" else f" {self.unit}"
        return f"{self.metric} {'<=' if self.upper else '>='} {self.bound!r}{unit}"


@dataclass(frozen=True)
class Outcome:
    """An objective applied to a measurement.

    Args:
        values: Goal values with the sign such that more is better, one per goal; ``None`` where unmeasured.
        violations: Amount by which each broken limit is broken, by its text.
        missing: Metrics the objective needs and the measurement lacks, or has in a unit of another
            dimension than their limit's.
    """

    values: tuple[float | None, ...]
    violations: Mapping[str, float]
    missing: tuple[str, ...] = ()

    @property
    def feasible(self) -> bool:
        """Whether every goal was measured and every limit is kept."""
        return not self.violations and not self.missing


@dataclass(frozen=True, init=False, repr=False)
class Objective:
    """An optimization objective: goals to optimize, limits to satisfy.

    Goals to maximize come first, because a file has them under two keys; the first one is the goal that runs
    are judged by. Several ask for a Pareto front.

    Args:
        goals: Goals in place of ``maximize`` and ``minimize``.
        limits: Bounds on measured metrics, such as ``ttft.p99 <= 500 ms``.
        description: One line for people.
        confidence: Probability with which a recommended configuration has to keep every limit, above 0.5 and
            below 1; ``"99 %"`` too.
        maximize: Metric of which more is better, or several.
        minimize: Metric of which less is better, or several.

    Attributes:
        awaited: Limits that :meth:`anchored` left out, since the default measured nothing that they could be
            multiples of. While there are some, nothing is known to keep every limit.

    Raises:
        SpecError: There is no goal, one twice, or an argument is wrong.
    """

    goals: tuple[Goal, ...]
    limits: tuple[Limit, ...] = ()
    description: str = ""
    confidence: float = CONFIDENCE
    awaited: tuple[Limit, ...] = field(default=(), init=False, compare=False)

    @check_arguments(...)
    def __init__(
        self,
        goals: Iterable[Goal] = (),
        limits: Iterable[Limit | str] = (),
        description: str = "",
        confidence: float | str = CONFIDENCE,
        *,
        maximize: str | Iterable[str] = (),
        minimize: str | Iterable[str] = (),
    ) -> None:
        found = [*_listed(goals, "goals", Goal, "Goal"), *_goals(maximize, "maximize", True)]
        found += _goals(minimize, "minimize", False)
        if not found:
            raise SpecError("an objective needs a goal: maximize or minimize a metric")
        names = [goal.metric for goal in found]
        if len(set(names)) < len(names):
            raise SpecError(f"duplicate goal: {', '.join(names)}")
        if not isinstance(description, str):
            raise SpecError(f"description must be text, found {description!r}", path=("description",))
        sure = _confidence(confidence)
        if not 0.5 < sure < 1.0:
            raise SpecError(
                f"confidence must lie between 0.5 and 1, both excluded, found {confidence!r}",
                path=("confidence",),
            )
        object.__setattr__(self, "goals", tuple(sorted(found, key=lambda goal: not goal.maximize)))
        object.__setattr__(self, "limits", _limits(limits))
        object.__setattr__(self, "description", description)
        object.__setattr__(self, "confidence", sure)

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """Metrics the objective needs, goals first, each once."""
        return tuple(dict.fromkeys([g.metric for g in self.goals] + [limit.metric for limit in self.limits]))

    @cached_property
    def units(self) -> dict[str, str]:
        """Base unit by metric, where one is known: that of the metric, or of a limit on it."""
        of_limits = {limit.metric: limit.unit for limit in self.limits if limit.unit != "1"}
        return of_limits | {name: unit for name in self.metrics if (unit := base_unit(name))}

    @cached_property
    def _without_unit(self) -> frozenset[str]:
        """Metrics of the user's own whose limits are plain numbers."""
        return frozenset(limit.metric for limit in self.limits if not limit.relative) - self.units.keys()

    def check_units(self) -> None:
        """Refuse limits in a unit that their metric does not have.

        Raises:
            UnitError: One is of another dimension than its metric or than another limit on it.
        """
        for i, limit in enumerate(self.limits):
            wanted = self.units.get(limit.metric, limit.unit)
            plain = limit.unit == "1" and base_unit(limit.metric)  # in the base unit of the metric
            if limit.unit != wanted and not limit.relative and not plain:
                text = f"{limit.metric} is compared in {wanted}, found {limit.as_written}"
                raise UnitError(text, path=("limits", i))

    @check_arguments()
    def symbol_of(self, metric: str) -> str:
        """Return the unit that a metric's limit was written in; empty for the one that reads best."""
        return next((limit.symbol for limit in self.limits if limit.metric == metric and limit.symbol), "")

    @check_arguments()
    def shown_unit(self, metric: str) -> str:
        """Return the unit that the limit on a metric is shown in; empty without such a limit."""
        shown = (one.shown_unit for one in self.limits if one.metric == metric and not one.relative)
        return self.symbol_of(metric) or next(shown, "")

    @check_arguments()
    def value_of(self, metric: str, estimate: Estimate) -> float | None:
        """Return a measured value in the unit that this objective compares ``metric`` in.

        Returns:
            ``None`` for a value of another dimension: it cannot be compared. A number without a unit is in
            the base unit of its metric; a unit of the user's own is compared with plain limits only.
        """
        unit, wanted = estimate.unit, self.units.get(metric)
        if unit in (wanted, "1", ""):
            return estimate.value
        base = known_base(unit)
        if wanted is not None:
            comparable = base == wanted
        else:
            comparable = base is None or base == "1" or metric not in self._without_unit
        if not comparable:
            return None
        return to_base(estimate.value, unit) if unit in SCALED else estimate.value

    @check_arguments()
    def in_units(self, metrics: Mapping[str, Estimate]) -> dict[str, Estimate]:
        """Return measured metrics in base units; a plain number is in the unit of the limits on it.

        Raises:
            UnitError: A value has another dimension than its metric or the limits on it.
        """
        result = {}
        for name, estimate in metrics.items():
            result[name] = found = in_unit_of(name, estimate, self.units.get(name, ""))
            if self.value_of(name, found) is None:
                limit = next(limit for limit in self.limits if limit.metric == name).as_written
                raise UnitError(
                    f"metric {name!r} is measured in {found.unit}, and its limit {limit} has no unit",
                    hint=f"write the unit that its bound is in: {units_of(found.unit)}",
                )
        return result

    @check_arguments()
    def score(self, metrics: Mapping[str, Estimate | float]) -> Outcome:
        """Apply the objective to measured metrics; numbers of different dimensions are never compared."""
        values: dict[str, float] = {}
        units = self.units
        for name in self.metrics:
            found = metrics.get(name)
            if found is None:
                continue
            if not isinstance(found, Estimate):
                values[name] = read_estimate(found).value
            elif found.unit == units.get(name):  # as nearly all are: every ask scores every trial
                values[name] = found.value
            elif (value := self.value_of(name, found)) is not None:
                values[name] = value
        goals = tuple(g.sign * values[g.metric] if g.metric in values else None for g in self.goals)
        violations = {}
        for limit in self.limits:
            if limit.relative:
                continue
            if limit.metric in values and (excess := limit.violation(values[limit.metric])) > 0:
                violations[str(limit)] = excess
        missing = tuple(name for name in self.metrics if name not in values)
        return Outcome(goals, violations, missing)

    @check_arguments()
    def surely_broken(self, metrics: Mapping[str, Estimate]) -> bool:
        """Return whether a metric without an error breaks a limit: another launch would say the same."""
        broken = self.score(metrics).violations
        return any(metrics[x.metric].sem == 0.0 for x in self.limits if str(x) in broken)

    @check_arguments()
    def anchored(self, default: Mapping[str, Estimate]) -> Objective:
        """Return the objective with limits relative to the default made absolute.

        Args:
            default: Metrics of the default configuration; empty while it has not been measured.

        Returns:
            Limits whose metric the default did not measure are left out: nothing says what they bound. They
            are :attr:`awaited`. A factor counts from the default by its size, also below 0: ``1.05 x`` is 5 %
            of the size above it and ``0.95 x`` 5 % below, so that the default keeps what allows a loss.
        """
        if not any(limit.relative for limit in self.limits):
            return self
        limits, awaited, told = [], list(self.awaited), []
        for limit in self.limits:
            base = default.get(limit.metric)
            if not limit.relative:
                limits.append(limit)
                told.append(limit)
            elif base is not None and self.value_of(limit.metric, base) is not None:
                base = base.in_base_unit()
                unit = self.units.get(limit.metric, base.unit or "1")
                limits.append(
                    replace(
                        limit,
                        bound=base.value * (limit.bound if base.value > 0 else 2.0 - limit.bound),
                        unit=unit,
                        relative=False,
                        written="",
                        stated="",
                    )
                )
                told.append(limits[-1])
            else:
                awaited.append(limit)
                told.append(limit)
        found = replace(self, limits=tuple(limits))
        object.__setattr__(found, "awaited", tuple(awaited))
        if awaited:
            object.__setattr__(found, "stated", replace(self, limits=tuple(told)))
        return found

    @cached_property
    def stated(self) -> Objective:
        """The objective as people are told it: with its :attr:`awaited` limits, each in its place."""
        return self

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the meaning; the description does not count."""
        data = self.to_dict()
        data.pop("description", None)
        if self.limits:  # whatever unit they were written in
            data["limits"] = [limit.in_base_unit for limit in self.limits]
        return hashlib.blake2b(json.dumps(data, sort_keys=True).encode(), digest_size=12).hexdigest()

    def __repr__(self) -> str:
        return short(f"<Objective: {self}") + ">"

    def _repr_html_(self) -> str:
        rows = [("maximize" if goal.maximize else "minimize", goal.metric) for goal in self.goals]
        rows += [("limit", str(limit)) for limit in self.limits]
        confidence = f"limits hold with {100 * self.confidence:g} % confidence" if self.limits else ""
        return html_table(self.description or "Objective", (), rows, confidence)

    def __str__(self) -> str:
        text = " and ".join(str(goal) for goal in self.goals)
        return text + (" with " + ", ".join(str(limit) for limit in self.limits) if self.limits else "")

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON data; :meth:`from_dict` reads it back exactly."""
        result: dict[str, object] = {}
        if self.description:
            result["description"] = self.description
        for key, wanted in (("maximize", True), ("minimize", False)):
            names = [g.metric for g in self.goals if g.maximize is wanted]
            if names:
                result[key] = names[0] if len(names) == 1 else names
        if self.limits:
            result["limits"] = [limit.to_text() for limit in self.limits]
        if self.confidence != CONFIDENCE:  # fingerprints of what was written before it was there stay
            result["confidence"] = self.confidence
        return result

    @classmethod
    @check_arguments()
    def from_dict(cls, data: Mapping[str, object]) -> Objective:
        """Build from ``{"maximize": metric or list, "minimize": ..., "limits": [text, ...]}``.

        Raises:
            SpecError: Something is wrong; ``path`` leads to it.
        """
        allowed = ("maximize", "minimize", "limits", "description", "confidence")
        refuse_unknown_keys(data, allowed, "an objective")
        given: dict[str, Any] = {**data}
        return cls(**{**given, "description": str(given.get("description", ""))})

    @classmethod
    @check_arguments("path")
    def from_yaml(cls, path: str | Path) -> Objective:
        """Read an objective file, or the objective of a study file.

        Raises:
            SpecError: The file is wrong; the message names file, line and column.
        """
        found: Objective = READERS["Objective"](path)
        return found


def _listed(found: object, key: str, kind: type, what: str) -> list[Any]:
    """Return the parts that an argument lists, each of a kind."""
    parts = read_entries(found)
    if parts is None:
        raise SpecError(f"{key} must be a list, found {found!r}", path=(key,))
    for part in parts:
        if not isinstance(part, kind):
            hint = "maximize, minimize and limits take names and texts"
            raise SpecError(f"{key} must be a list of {what}, found {part!r} in it", path=(key,), hint=hint)
    return parts


def _goals(found: object, key: str, maximize: bool) -> list[Goal]:
    """Return the goals of one direction."""
    names = [found] if isinstance(found, str) else read_entries(found)
    if names is None:
        raise SpecError(f"{key} must be a metric or a list of metrics, found {found!r}", path=(key,))
    with under(key):
        return [Goal(name, maximize) for name in names]


def _limits(found: object) -> tuple[Limit, ...]:
    """Return limits, those that are written as text read."""
    limits = []
    for i, part in enumerate(_listed(found, "limits", object, "")):
        with under("limits", i):
            limits.append(part if isinstance(part, Limit) else Limit.parse(part))
    return tuple(limits)


def _confidence(found: Any) -> float:
    with under("confidence"):
        return round(quantity(found, "confidence"), 9)  # 95 % is 0.95

"""What was measured for one attempt: estimates with their errors, or a failure with its cause."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType

from autotune.core.arguments import check_arguments, check_class
from autotune.core.html import short
from autotune.core.json_object import JsonObject
from autotune.core.metric import UNITS
from autotune.core.nesting import TOO_DEEP, nests_too_deep
from autotune.core.quantiles import NORMAL, student_quantile
from autotune.core.scalar import plain_scalar
from autotune.core.units import SCALED, format_quantity, known_base, misspelt_unit, to_base, units_of
from autotune.errors import SpecError, UnitError, did_you_mean, refuse_unknown_keys, shortened

LARGEST = 1e150
"""Bound on the size of what is reported: squares and sums of many such numbers are numbers still."""

AT_LEAST, AT_MOST, ABOUT = "at least", "at most", "about"
"""Which side of a value the truth is on where only that is known; :data:`ABOUT` for bounds of both sides."""

_SHOWN = 200  # characters of a value that is no number
_MOST_EXPONENT = 700.0  # exp of more is no float
_STUDENT_WITHIN = 5  # pieces of a measurement from which its standard errors hold Student's factor


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measured number with its uncertainty.

    Args:
        value: The estimate, in ``unit``. Must be finite.
        sem: Standard error of ``value``, same unit; ``None`` when it was not estimated. Where few
            observations within a run are behind it, Student's factor is in it already: ``value +- 1.96
            * sem`` holds the truth in 95 % (:mod:`autotune.measure.statistics.estimate`).
        n: Count of the independent observations behind it.
        unit: Unit of ``value`` and ``sem``. Any is accepted; a :class:`Measurement` holds base units (``s``,
            ``tokens/s``, ``requests/s``, ``B`` ...) and units of the user's own. ``1`` where none was
            given: the number is then in its metric's base unit.
        projected: Whether it is where a growing queue would be, not what was measured: to an engine a bound.
        bound: Side on which the truth lies where only that is known, such as :data:`AT_MOST`; empty where
            ``value`` is the number itself.

    Raises:
        SpecError: A number is not finite, ``sem`` is negative or ``n`` is below 1.
    """

    value: float
    sem: float | None = None
    n: int = 1
    unit: str = "1"
    projected: bool = False
    bound: str = ""

    def __post_init__(self) -> None:
        value, sem = self.value, self.sem
        # what a ledger holds by the hundred thousand: finite floats need no second look
        certain = (
            type(self.n) is int
            and type(self.unit) is str
            and (sem is None or (type(sem) is float and 0.0 <= sem < math.inf))
        )
        if certain and type(value) is float and math.isfinite(value) and self.n >= 1:
            return
        for name in ("value", "sem", "n"):
            object.__setattr__(self, name, plain_scalar(getattr(self, name)))
        for name in ("unit", "bound"):
            if not isinstance(getattr(self, name), str):
                raise SpecError(f"an estimate's {name} must be text, found {_shown(getattr(self, name))}")
        for name, number in (("value", self.value), ("sem", self.sem)):
            if number is None and name == "sem":
                continue
            if isinstance(number, bool) or not isinstance(number, int | float):
                raise SpecError(f"an estimate's {name} must be a number, found {_shown(number)}")
            if odd := _odd_number(number):
                raise SpecError(f"an estimate's {name} must be finite, found {odd}")
        if self.sem is not None and self.sem < 0:
            raise SpecError(f"an estimate's sem must not be negative, found {self.sem!r}")
        is_number = isinstance(self.n, int | float) and not isinstance(self.n, bool)
        odd = _odd_number(self.n) if is_number else repr(self.n)
        if odd or self.n < 1:
            raise SpecError(f"an estimate's n must be at least 1, found {odd or repr(self.n)}")
        object.__setattr__(self, "value", float(self.value))
        if self.sem is not None:
            object.__setattr__(self, "sem", float(self.sem))

    @classmethod
    @check_arguments()
    def mean_of(cls, samples: Sequence[float], unit: str = "1") -> Estimate:
        """Return the mean of independent samples; without an error for a single one.

        Formula: sem = standard deviation / sqrt(samples).

        Args:
            samples: Values, one or more, within :data:`LARGEST`.
            unit: Unit of the samples.
        """
        n = len(samples)
        if not n:
            raise SpecError("samples must be at least one number, found none")
        mean = math.fsum(samples) / n
        if n < 2:
            return cls(mean, None, 1, unit)
        variance = math.fsum((sample - mean) ** 2 for sample in samples) / (n - 1)
        return cls(mean, math.sqrt(variance / n), n, unit)

    def exp(self) -> Estimate:
        """Return the exponential of an estimate without unit; the error by the delta method."""
        value = math.exp(min(self.value, _MOST_EXPONENT))
        return replace(self, value=value, sem=None if self.sem is None else value * self.sem)

    @check_arguments()
    def interval(self, z: float = NORMAL) -> tuple[float, float]:
        """Return the normal interval ``value +- z * sem`` (95 % by default)."""
        half = z * (self.sem or 0.0)
        return self.value - half, self.value + half

    @property
    def half_width(self) -> float | None:
        """Half-width of the 95 % interval, for people; ``None`` where no error is known.

        Two to four observations are runs of a program or launches, whose plain standard error says little by
        itself: Student's quantile for that few is applied (12.7 for two, 3.2 for four).
        """
        if self.sem is None:
            return None
        return self.sem * (student_quantile(self.n - 1) if 2 <= self.n < _STUDENT_WITHIN else NORMAL)

    def in_base_unit(self) -> Estimate:
        """Return the same in the base unit of its dimension; a unit of the user's own stays.

        Raises:
            SpecError: A number is not finite there.
        """
        unit = self.unit
        if unit not in SCALED:
            return self
        sem = None if self.sem is None else to_base(self.sem, unit)
        return replace(self, value=to_base(self.value, unit), sem=sem, unit=known_base(unit) or unit)

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON data; :meth:`from_dict` reads it back."""
        plain: dict[str, object] = {"value": self.value, "sem": self.sem, "n": self.n, "unit": self.unit}
        plain |= {"projected": True} if self.projected else {}
        return plain | ({"bound": self.bound} if self.bound else {})

    @classmethod
    @check_arguments()
    def from_dict(cls, data: JsonObject) -> Estimate:
        """Read what :meth:`to_dict` wrote."""
        projected, bound = bool(data.get("projected", False)), str(data.get("bound") or "")
        if "value" not in data:
            raise SpecError(f"an estimate needs a value, found {dict(data)!r}")
        return cls(data["value"], data.get("sem"), data.get("n", 1), data.get("unit", "1"), projected, bound)


def read_estimate(raw: object, unit: str = "1") -> Estimate:
    """Return the estimate that a number, a list of samples or a mapping stands for.

    Args:
        raw: A number (of numpy or torch too), a list of samples (mean, standard error, count) or
            ``{value, sem, n, unit}``.
        unit: Unit of a number or of samples.

    Raises:
        SpecError: It is none of these, or a number is not finite or a sample beyond :data:`LARGEST`.
    """
    if isinstance(raw, Estimate):
        return raw
    if isinstance(raw, Mapping):
        refuse_unknown_keys(raw, ("value", "sem", "n", "unit", "projected"), "an estimate")
        if "value" not in raw:
            raise SpecError(f"an estimate needs a value, found {dict(raw)!r}")
        if not isinstance(raw.get("unit", unit), str):
            raise SpecError(f"an estimate's unit must be text such as 'ms', found {raw['unit']!r}")
        return Estimate.from_dict({"unit": unit, **raw})
    if isinstance(raw, tuple):
        raise SpecError(
            f"a tuple is not two samples and not an estimate, found {raw!r}",
            hint='Estimate(value, sem) or {"value": ..., "sem": ...} gives an error, a list gives samples',
        )
    if isinstance(raw, list):
        samples = [Estimate(number).value for number in raw]
        if not samples:
            raise SpecError("an empty list of samples has no mean")
        if beyond := next(filter(_beyond, samples), None):
            raise _too_large(beyond)
        return Estimate.mean_of(samples, unit)
    return Estimate(plain_scalar(raw), None, 1, unit)


def _beyond(number: float) -> bool:
    return abs(number) > LARGEST


def _too_large(number: float) -> SpecError:
    return SpecError(f"a metric must be within {LARGEST:g}, found {number:g}")


def finite_metrics(metrics: Mapping[str, object]) -> tuple[dict[str, object], dict[str, str]]:
    """Split metrics into those that may be read and those that are NaN, infinite or beyond :data:`LARGEST`.

    Args:
        metrics: Metrics as whoever measured them gave them.

    Returns:
        The metrics without those that may not be read, and the text of each of these by name.
    """
    odd = {name: shown for name, value in metrics.items() if (shown := _not_finite(value))}
    return {name: value for name, value in metrics.items() if name not in odd}, odd


def _not_finite(raw: object) -> str:
    """Return ``nan``, ``inf`` or a number too large where a metric is or holds it; empty otherwise."""
    values = [raw.get("value"), raw.get("sem")] if isinstance(raw, Mapping) else raw
    values = [raw.value, raw.sem] if isinstance(raw, Estimate) else values
    for value in values if isinstance(values, list) else [values]:
        number = value.item() if getattr(value, "size", None) == 1 and hasattr(value, "item") else value
        if isinstance(number, int | float) and not isinstance(number, bool):
            if odd := _odd_number(number):
                return odd
            if _beyond(number):
                return f"{float(number):g}, beyond {LARGEST:g}"
    return ""


def _shown(value: object) -> str:
    """Return the beginning of how a value reads; of what is nested deep its type."""
    try:
        if not nests_too_deep(value):
            return repr(value)[:_SHOWN]
    except RecursionError:  # of whoever calls, near the end of the stack
        pass
    return f"a {type(value).__name__} that is {TOO_DEEP}"


def _odd_number(number: float) -> str:
    """Return how a number reads that is not finite, or an integer that no float holds; empty for others."""
    try:
        return "" if math.isfinite(number) else str(number)
    except OverflowError:
        sign = "-" if number < 0 else ""
        return f"{sign}1e{math.floor(math.log10(abs(number)))}, which is too large"


def as_estimates(
    metrics: Mapping[str, object], units: Mapping[str, str] | None = None
) -> dict[str, Estimate]:
    """Return ``metrics``, as :func:`read_estimate` reads them, in the base unit of each.

    Args:
        metrics: Values by name.
        units: Unit by metric of numbers that come without one.

    Raises:
        UnitError: A unit is unknown or of another dimension than its metric's.
        SpecError: A name is not text, or a number is not finite or beyond :data:`LARGEST`.
    """
    result: dict[str, Estimate] = {}
    for name, value in metrics.items():
        if not isinstance(name, str) or not name:
            raise SpecError(f"a metric's name must be text, found {name!r}")
        try:
            found = read_estimate(value)
        except SpecError as error:
            raise SpecError(f"metric {name!r}: {error.message}", hint=error.hint) from None
        result[name] = held = in_unit_of(name, found, (units or {}).get(name, ""))
        if beyond := next(filter(_beyond, (held.value, held.sem or 0.0)), None):
            raise SpecError(f"metric {name!r}: {_too_large(beyond).message}")
    return result


def in_unit_of(metric: str, estimate: Estimate, declared: str = "") -> Estimate:
    """Return ``estimate`` in the base unit of ``metric``.

    Args:
        metric: A metric of this package has a unit of its own; any other has the dimension of ``declared``.
        estimate: Estimate to convert; without a unit (``1``) it is in ``declared``, or else in the metric's
            base unit.
        declared: Unit that the user says the metric has; empty where nothing is said.

    Raises:
        UnitError: The unit is unknown or of another dimension.
    """
    given = estimate.unit
    if given in ("1", ""):
        given = declared or UNITS.get(metric, "1")
        if given == estimate.unit:
            return estimate
        estimate = replace(estimate, unit=given)
    base, meant = known_base(given), misspelt_unit(given)
    wanted = UNITS.get(metric) or known_base(declared) or declared or base or known_base(meant) or given
    if meant or (base or given) != wanted:
        allowed = units_of(wanted)
        if base is None:
            text = f"metric {metric!r} is given in the unknown unit {given!r}; allowed: {allowed}"
        else:
            kind = "a plain number" if wanted == "1" else f"in {wanted}"
            text = f"metric {metric!r} is {kind}, found {estimate.value:g} {given}; allowed: {allowed}"
        near = f"did you mean {meant!r}?" if meant else did_you_mean(given, allowed.split(", "))
        raise UnitError(text, hint=near)
    try:
        return estimate.in_base_unit()
    except SpecError as error:
        raise UnitError(f"metric {metric!r}: {error.message}") from None


class Cause(StrEnum):
    """The cause for which an attempt gave no usable measurement.

    The first family, configuration faults, makes the trial INFEASIBLE and teaches the feasibility model.
    The second, environment faults: the attempt FAILED and is tried again elsewhere.
    The third is a mistake that the study's owner must mend (``owner_mistake``): it ends the study.
    The attempt FAILED, is not tried again and teaches nothing.

    ``crashed_under_load`` is any unexplained crash: also that of a process that died before it was ready.
    """

    OUT_OF_MEMORY = "out_of_memory"
    REJECTED_FLAGS = "rejected_flags"
    STARTUP_TIMEOUT = "startup_timeout"
    WRONG_OUTPUT = "wrong_output"
    CRASHED_UNDER_LOAD = "crashed_under_load"
    TIME_LIMIT = "time_limit"

    WORKER_LOST = "worker_lost"
    NODE_LOST = "node_lost"
    PORT_TAKEN = "port_taken"
    DISK_FULL = "disk_full"
    LOAD_GENERATOR_BEHIND = "load_generator_behind"
    THROTTLED = "throttled"
    INVALID_MEASUREMENT = "invalid_measurement"

    OWNER_MISTAKE = "owner_mistake"

    @property
    def configuration_at_fault(self) -> bool:
        """Whether measuring the same configuration elsewhere would fail the same way."""
        return self in _CONFIGURATION_CAUSES


_CONFIGURATION_CAUSES = frozenset(
    {
        Cause.OUT_OF_MEMORY,
        Cause.REJECTED_FLAGS,
        Cause.STARTUP_TIMEOUT,
        Cause.WRONG_OUTPUT,
        Cause.CRASHED_UNDER_LOAD,
        Cause.TIME_LIMIT,
    }
)


@check_class()
@dataclass(frozen=True, slots=True, repr=False)
class Failure:
    """Reason that an attempt gave no measurement.

    Args:
        cause: One of :class:`Cause`.
        message: One line for a person.
        log_tail: Last lines of the system's log, redacted.
        shortfall: Memory needed over memory there where the system said so, above 1.

    Raises:
        SpecError: The shortfall is not a finite number above 1.
    """

    cause: Cause
    message: str = ""
    log_tail: str = ""
    shortfall: float | None = None

    def __post_init__(self) -> None:
        if self.shortfall is not None and not 1.0 < self.shortfall < math.inf:
            raise SpecError(f"a shortfall must be a finite number above 1, found {self.shortfall!r}")
        object.__setattr__(self, "message", shortened(self.message))

    def __repr__(self) -> str:
        said = f": {self.message}" if self.message else ""
        return short(f"<Failure {self.cause.value}{said}") + ">"

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON data; :meth:`from_dict` reads it back."""
        plain: dict[str, object] = {
            "cause": self.cause.value,
            "message": self.message,
            "log_tail": self.log_tail,
        }
        return plain if self.shortfall is None else {**plain, "shortfall": self.shortfall}

    @classmethod
    @check_arguments()
    def from_dict(cls, data: JsonObject) -> Failure:
        """Read what :meth:`to_dict` wrote."""
        if data.get("cause") not in list(Cause):
            raise SpecError(f"unknown cause {data.get('cause')!r}; allowed: {', '.join(Cause)}")
        return cls(
            Cause(data["cause"]), data.get("message", ""), data.get("log_tail", ""), data.get("shortfall")
        )


INFEASIBLE = "autotune: infeasible:"
"""Begins a line of the log with the cause and the message of a function that raised :class:`Infeasible`."""


class Infeasible(Exception):
    """An answer, not a mistake: a tuned function raises it where a configuration cannot work.

    Args:
        message: Reason, for a person.
        cause: A cause that is the configuration's fault, such as ``rejected_flags``.

    Raises:
        SpecError: The cause is no such cause.
    """

    @check_arguments("cause")
    def __init__(self, message: str = "", cause: Cause | str = Cause.REJECTED_FLAGS) -> None:
        super().__init__(message)
        allowed = [known.value for known in Cause if known.configuration_at_fault]
        if not isinstance(cause, str) or cause not in allowed:
            raise SpecError(f"unknown cause {cause!r} of Infeasible; allowed: {', '.join(allowed)}")
        self.message = message
        self.cause: Cause = Cause(cause)

    def __reduce__(self) -> tuple[object, ...]:  # crosses processes with its cause
        return Infeasible, (self.message, self.cause.value)

    @property
    def failure(self) -> Failure:
        """The failure that a trial of the configuration ends with; its log says who said so."""
        return Failure(self.cause, self.message, self.line)

    @property
    def line(self) -> str:
        """The line of a log that says so."""
        return f"{INFEASIBLE} {self.cause.value}: {' '.join(self.message.split())}"


def _held(metric: str, estimate: Estimate) -> Estimate:
    """Return an estimate in its metric's base unit, as it is where it has none of that dimension.

    Ledgers of earlier versions hold values in the units that they came with.
    """
    unit = estimate.unit
    if unit == UNITS.get(metric, unit) and unit not in SCALED:
        return estimate
    try:
        return in_unit_of(metric, estimate)
    except UnitError:
        return estimate


EXPIRED, LATE = "expired", "late"
"""Facts of an attempt that was given up without a result, and of the result that came after all."""

DOUBT, SHORTFALL = "doubt", "shortfall"
"""Facts of a valid measurement, one short reason each: why it is measured again and no limit is judged on it
alone; and what it lacks of what was asked for, precision or a steady state, be it little or much."""


@check_class()
@dataclass(frozen=True, repr=False)
class Measurement:
    """All numbers of one attempt, before any objective is applied.

    Args:
        metrics: Estimates by metric name with its statistic as suffix (``ttft.p99``), each held in the base
            unit of its metric. One that has another dimension than its metric stays as it is.
        failure: Reason why there are no usable metrics; ``None`` for a valid measurement.
        facts: Versions, hardware, the exact command, counts: plain JSON data.
        started_ns: Wall clock at the start, integer nanoseconds since the epoch.
        ended_ns: The same at the end.
        artifacts: Paths of the files this attempt left (log, per-request table), by name.
    """

    metrics: Mapping[str, Estimate] = field(default_factory=dict)
    failure: Failure | None = None
    facts: JsonObject = field(default_factory=dict)
    started_ns: int = 0
    ended_ns: int = 0
    artifacts: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "metrics", {name: _held(name, e) for name, e in self.metrics.items()})
        for name in ("metrics", "facts", "artifacts"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    def __repr__(self) -> str:
        shown = [f"{name}={format_quantity(e.value, e.unit)}" for name, e in self.metrics.items()]
        what = ", ".join(shown) if self.failure is None else repr(self.failure)
        return short(f"<Measurement: {what}") + ">"

    def __reduce__(self) -> tuple[object, ...]:  # mapping proxies do not pickle, and Ray pickles results
        return Measurement.from_dict, (self.to_dict(),)

    @property
    def seconds(self) -> float:
        """Wall-clock duration of the attempt in seconds."""
        return (self.ended_ns - self.started_ns) / 1e9

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON data; :meth:`from_dict` reads it back."""
        return {
            "metrics": {name: estimate.to_dict() for name, estimate in self.metrics.items()},
            "failure": None if self.failure is None else self.failure.to_dict(),
            "facts": dict(self.facts),
            "started_ns": self.started_ns,
            "ended_ns": self.ended_ns,
            "artifacts": dict(self.artifacts),
        }

    @classmethod
    @check_arguments()
    def from_dict(cls, data: JsonObject) -> Measurement:
        """Read what :meth:`to_dict` wrote."""
        failure = data.get("failure")
        return cls(
            metrics={k: Estimate.from_dict(v) for k, v in data.get("metrics", {}).items()},
            failure=None if failure is None else Failure.from_dict(failure),
            facts=data.get("facts", {}),
            started_ns=data.get("started_ns", 0),
            ended_ns=data.get("ended_ns", 0),
            artifacts=data.get("artifacts", {}),
        )

"""What the system is asked to do: how requests arrive, how long they are, and when measuring ends."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from statistics import NormalDist
from typing import Any, TypeVar

from autotune.core.request import Request
from autotune.core.units import parse_quantity
from autotune.errors import SpecError, did_you_mean, refuse_unknown_keys
from autotune.measure.corpus import passage, words

_OPEN_LOOP = ("constant", "poisson", "gamma", "trace")
_OPEN_LOOP_KEYS = ("rate", "search", "burstiness", "trace")
_REACH = 4.0  # lengths end this many spreads above the mean, so that a system can reserve for the longest
_CHARACTERS_PER_TOKEN = 6  # English prose has 4 to 5 with large vocabularies; the system cuts what is over
_NORMAL = NormalDist()

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Length:
    """Describe a length in tokens: a normal distribution cut to [1, mean + 4 spread] and rounded.

    Args:
        mean: Of the uncut distribution, at least 1.
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
        top = _NORMAL.cdf(_REACH)
        p = min(max(bottom + u * (top - bottom), 1e-12), 1 - 1e-12)
        length = math.floor(self.mean + self.spread * _NORMAL.inv_cdf(p) + 0.5)
        return min(max(length, 1), self.longest)

    def to_dict(self) -> dict[str, float]:
        """Return plain JSON data; :meth:`from_dict` reads it back."""
        return {"mean": self.mean, "spread": self.spread}

    @classmethod
    def from_dict(cls, data: Any, key: str) -> Length:
        """Read ``128`` or ``{mean: 128, spread: 32}`` found under ``key``."""
        if not isinstance(data, Mapping):
            return cls(float(_whole(data, (key,), 1)))
        refuse_unknown_keys(data, ("mean", "spread"), path=(key,))
        if "mean" not in data:
            raise SpecError(f"{key} needs 'mean'; allowed: mean, spread", path=(key,))
        mean = _number(data["mean"], (key, "mean"), 1.0)
        return cls(mean, _number(data.get("spread", 0.0), (key, "spread"), 0.0))


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Say how fast a single request must be to count for the goodput; ``None`` leaves one out.

    Args:
        ttft: Longest time to its first token in seconds.
        tpot: Longest time per output token in seconds.
        e2e: Longest time to its end in seconds.
    """

    ttft: float | None = 1.0
    tpot: float | None = 0.1
    e2e: float | None = None

    def to_dict(self) -> dict[str, str]:
        """Return plain JSON data; :meth:`from_dict` reads it back."""
        pairs = ((item.name, getattr(self, item.name)) for item in fields(self))
        return {name: f"{bound!r} s" for name, bound in pairs if bound is not None}

    @classmethod
    def from_dict(cls, data: Any) -> RequestLimits:
        """Read ``{ttft: 500 ms, tpot: 50 ms}``; what is not named is not looked at."""
        names = [item.name for item in fields(cls)]
        if not isinstance(data, Mapping) or not data:
            raise SpecError(
                f"goodput must be a mapping of {', '.join(names)} to times, found {data!r}", path=("goodput",)
            )
        refuse_unknown_keys(data, names, "goodput", ("goodput",))
        bounds = {name: _number(data[name], ("goodput", name), 0.0, "s") for name in names if name in data}
        return cls(**{name: bounds.get(name) for name in names})


@dataclass(frozen=True, slots=True)
class Workload:
    """Describe the load and the end of a measurement.

    Args:
        arrival: ``concurrency``: closed loop, the next batch is sent when the last one is complete.
        prompt_tokens: Lengths of the prompts.
        output_tokens: Lengths of the answers; the system is told to ignore end-of-sequence.
        requests: Stop once this many requests were measured and ``min_batches`` are done; ``None``: no cap.
        precision: Stop when the half-width of the goal's 95 % interval is below this share of its value.
        min_batches: Fewest measured batches; fewer are no valid measurement.
        time: Stop when this many seconds of measuring have passed and ``min_batches`` are done.
        warmup: Batches before measuring; ``None``: until the system is steady (:mod:`.steady_state`).
        seed: Of the requests' lengths and texts: equal for every configuration of a study.
        goodput: What a request must keep to count for the goodput.
    """

    arrival: str = "concurrency"
    prompt_tokens: Length = Length(128.0, 32.0)
    output_tokens: Length = Length(64.0, 16.0)
    requests: int | None = None
    precision: float = 0.05
    # Student's factor is 1.42 with 5 batches and 2.2 with 3: fewer give an interval too wide to be of use.
    min_batches: int = 5
    time: float = 60.0
    warmup: int | None = None
    seed: int = 0
    goodput: RequestLimits = RequestLimits()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Workload:
        """Read the ``workload`` section of a study file; numbers may be text with units.

        Raises:
            SpecError: A key or a value is wrong; ``path`` is relative to the section.
        """
        if not isinstance(data, Mapping):
            raise SpecError(f"a workload is a mapping of keys to values, found {data!r}")
        names = tuple(field.name for field in fields(cls))
        arrival = str(data.get("arrival", "concurrency"))
        if arrival != "concurrency":
            raise _arrival_error(arrival)
        for key in _OPEN_LOOP_KEYS:
            if key in data:
                raise SpecError(
                    f"'{key}' belongs to open-loop arrivals, not supported by in-process systems",
                    path=(key,),
                    at_key=True,
                    hint="leave it out: the next batch is sent when the last one is complete",
                )
        refuse_unknown_keys(data, names)

        readers: dict[str, Callable[[Any], Any]] = {
            "arrival": str,
            "prompt_tokens": lambda value: Length.from_dict(value, "prompt_tokens"),
            "output_tokens": lambda value: Length.from_dict(value, "output_tokens"),
            "requests": lambda value: None if _is(value, "none") else _whole(value, ("requests",), 1),
            "precision": _precision,
            "min_batches": lambda value: _whole(value, ("min_batches",), 2),
            "time": _time,
            "warmup": lambda value: None if _is(value, "auto") else _warmup(value),
            "seed": lambda value: _whole(value, ("seed",), 0),
            "goodput": RequestLimits.from_dict,
        }
        return cls(**{name: readers[name](data[name]) for name in names if name in data})

    def to_dict(self) -> dict[str, Any]:
        """Return the section that :meth:`from_dict` reads back, as plain JSON data."""
        return {
            "arrival": self.arrival,
            "prompt_tokens": self.prompt_tokens.to_dict(),
            "output_tokens": self.output_tokens.to_dict(),
            "requests": self.requests,
            "precision": self.precision,
            "min_batches": self.min_batches,
            "time": self.time,
            "warmup": "auto" if self.warmup is None else self.warmup,
            "seed": self.seed,
            "goodput": self.goodput.to_dict(),
        }

    def request(self, index: int, *, warmup: bool = False) -> Request:
        """Return request ``index``, which depends on ``seed`` and ``index`` alone.

        Two configurations with different batch sizes therefore get the same requests in the same order.
        Each prompt begins with a number of its own, so that a prefix cache finds nothing to reuse.

        Args:
            index: Counted from 0.
            warmup: Whether to draw from the separate stream that warm-up uses; its ids are negative.
        """
        stream = "warmup" if warmup else "measured"
        # Seeding from text and .random() give the same numbers in every version of Python.
        rng = random.Random(f"autotune/{self.seed}/{stream}/{index}")  # noqa: S311 - not for secrets
        prompt_tokens = self.prompt_tokens.at(rng.random())
        max_tokens = self.output_tokens.at(rng.random())
        start = int(rng.random() * len(words()))
        number = 2 * index + (1 if warmup else 0)
        text = f"{number}. {passage(start, prompt_tokens * _CHARACTERS_PER_TOKEN)}"
        return Request(-1 - index if warmup else index, text, max_tokens, prompt_tokens)

    def batch(self, number: int, size: int, *, warmup: bool = False) -> tuple[Request, ...]:
        """Return batch ``number`` (from 0) of ``size`` requests."""
        return tuple(self.request(number * size + i, warmup=warmup) for i in range(size))


def _arrival_error(arrival: str) -> SpecError:
    if arrival in _OPEN_LOOP:
        return SpecError(
            f"arrival {arrival!r} is open-loop, not supported by in-process systems; allowed: concurrency",
            path=("arrival",),
            hint="leave it out: the next batch is sent when the last one is complete",
        )
    return SpecError(
        f"unknown arrival {arrival!r}; allowed: concurrency",
        path=("arrival",),
        hint=did_you_mean(arrival, ("concurrency", *_OPEN_LOOP)),
    )


def _is(value: Any, word: str) -> bool:
    return value is None or (isinstance(value, str) and value.strip().lower() == word)


def _number(value: Any, path: tuple[str, ...], low: float, unit: str | None = None) -> float:
    name = path[-1]
    try:
        number = parse_quantity(value, default_unit=unit, dimension=unit or "number").value
    except SpecError as error:
        raise SpecError(f"{name}: {error.message}", path=path, hint=error.hint) from None
    if number < low:
        raise SpecError(f"{name} must be at least {low:g}, found {value!r}", path=path)
    return number


def _whole(value: Any, path: tuple[str, ...], low: int) -> int:
    number = _number(value, path, float(low))
    if number != int(number):
        raise SpecError(f"{path[-1]} must be a whole number, found {value!r}", path=path)
    return int(number)


def _precision(value: Any) -> float:
    number = _number(value, ("precision",), 0.0)
    if not 0 < number < 1:
        raise SpecError(
            f"precision must be above 0 % and below 100 %, found {value!r}",
            path=("precision",),
            hint="for example '5 %'",
        )
    return number


def _time(value: Any) -> float:
    number = _number(value, ("time",), 0.0, "s")
    if number == 0:
        raise SpecError(f"time must be above 0 s, found {value!r}", path=("time",), hint="for example '60 s'")
    return number


def _warmup(value: Any) -> int:
    try:
        return _whole(value, ("warmup",), 0)
    except SpecError:
        raise SpecError(
            f"warmup must be 'auto' or a count of batches, found {value!r}", path=("warmup",)
        ) from None

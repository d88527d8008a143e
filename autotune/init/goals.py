"""What a study of a use wants and spends: goal, limits that can be kept at all, trials and time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from autotune.core.json_object import JsonObject
from autotune.core.metric import METRIC_PLUGINS, known_metrics, metric_info
from autotune.core.objective import Limit
from autotune.core.scalar import typed
from autotune.core.units import format_quantity, parse_quantity
from autotune.errors import SpecError, did_you_mean
from autotune.init.fit import Fit, rounded_up
from autotune.init.proposal import Proposal
from autotune.report.text import show_seconds
from autotune.spec import catalogue
from autotune.spec.sections import read_objective
from autotune.spec.yaml_text import parse_text, read_text

GOALS = ("throughput", "latency", "latency_throughput", "goodput", "cost", "energy")
"""Objectives of the catalogue that any server can be measured by; the others need a scorer or a text."""

_QUALITY = "quality.token_agreement"
_LEAST_AGREEMENT = 0.8
_CHANGES_ANSWERS = (
    "quantization_bits",
    "model_quantization",
    "weight_format",
    "kv_cache_dtype",
    "cache_type_k",
    "kv_cache_type",
    "kv_cache_precision",
    "dynamic_quantization_group_size",
)
_MARGIN = 4.0  # a limit is at least this many times what one request alone takes
_WARM_UP = 0.45  # of the timed part, as measured; see docs/architecture.md
_STOP_S = 3.0
_CONFIRM = 2
_WATCH_EVERY = 10  # trials between looks at the default
_FEWEST, _MOST = 12, 40  # trials: from few to many parameters
_LEAST_TRIALS = 3
_SLACK = 1.5  # of the time that the trials should take


@dataclass(frozen=True)
class Stated:
    """A line of a study file with the reason for it.

    Args:
        value: Value as the file has it.
        reason: Reason, in a few words.
    """

    value: Any
    reason: str


@dataclass(frozen=True)
class Aim:
    """Goal and limits.

    Args:
        goals: Goals by direction, as an objective has them.
        limits: Limits.
        quality: Whether answers are compared with those of the default.
    """

    goals: JsonObject
    limits: tuple[Stated, ...]
    quality: bool


def aim(plan: Proposal) -> Aim:
    """Return the goal and the limits; the highest rate can be searched for where there is an endpoint.

    Raises:
        SpecError: A limit is none.
    """
    request, load, fit = plan.request, plan.fit.load, plan.fit
    own = _read_limits(request.limits)
    file = catalogue.find("objectives", request.goal)
    data = typed(parse_text(read_text(file), file.name).data)
    goals = {key: data[key] for key in ("maximize", "minimize") if key in data}
    if plan.planned:
        goals = {"maximize": "request_throughput"}
    elif request.goal == "goodput" and plan.served:
        goals = {"maximize": "max_rate"}
    usual = [(text, f"objectives/{file.name}") for text in data.get("limits", ())]
    if request.goal == "goodput":
        usual.append(("tpot.p95 <= 100 ms", "reading speed"))
    if load.ttft:
        limit = f"ttft.p95 <= {format_quantity(load.ttft, 's')}"
        usual.insert(0, (limit, load.ttft_source))
    taken = {_family(limit.metric) for limit in own} | _listed_goals(goals)
    limits = [Stated(limit.as_written, "yours") for limit in own]
    for text, source in usual:
        if _family(Limit.parse(text).metric) not in taken:
            limits.append(_possible(fit, plan, text, source))
            taken.add(_family(Limit.parse(text).metric))
    changing = [row.name for row in plan.rows if row.name in _CHANGES_ANSWERS]
    quality = bool(changing) and not any(limit.metric.startswith("quality") for limit in own)
    if quality:
        why = f"{', '.join(changing)} can change answers: share of tokens as the default gives them"
        limits.append(Stated(f"{_QUALITY} >= {_LEAST_AGREEMENT}", why))
    return Aim(goals, tuple(limits), bool(changing) or any(x.metric.startswith("quality") for x in own))


def _read_limits(texts: Sequence[str]) -> list[Limit]:
    """Return the user's limits.

    Raises:
        SpecError: One is none, is on what nothing here measures, cannot be kept, or is said twice.
    """
    found: dict[tuple[str, bool, bool], str] = {}
    limits = []
    for text in texts:
        try:
            read_objective({"maximize": "output_throughput", "limits": [text]})
            limit = Limit.parse(text)
            _check_limit(limit)
        except SpecError as error:
            raise SpecError(f"--limit {text!r}: {error.message}", hint=error.hint) from None
        key = (limit.metric, limit.upper, limit.relative)
        if key in found:
            side = "upper" if limit.upper else "lower"
            raise SpecError(f"--limit: two {side} limits on {limit.metric}: {found[key]!r} and {text!r}")
        found[key] = text
        limits.append(limit)
    return limits


def _check_limit(limit: Limit) -> None:
    """Refuse a limit on a metric that no system here has, and one that no measurement can keep."""
    info = metric_info(limit.metric)
    if info is None:
        names = [*known_metrics(), *METRIC_PLUGINS.names()]
        near = get_close_matches(limit.metric, names, n=1, cutoff=0.0)[0]
        hint = did_you_mean(limit.metric, names) or f"the nearest name is {near!r}"
        raise SpecError(f"unknown metric {limit.metric!r}: nothing would measure it", hint=hint)
    if limit.bound < 0 and (info.unit != "1" or limit.relative):
        raise SpecError(f"{limit.metric} is never negative")
    if limit.bound == 0 and limit.upper and (info.unit != "1" or limit.relative):
        raise SpecError(f"{limit.metric} is always above 0")


def _family(metric: str) -> str:
    return metric.partition(".")[0]


def _listed_goals(goals: JsonObject) -> set[str]:
    named = [name for value in goals.values() for name in (value if isinstance(value, list) else [value])]
    return {_family(str(name)) for name in named}


def _possible(fit: Fit, plan: Proposal, text: str, source: str) -> Stated:
    """Return a usual limit, or a looser one where a single request alone would hardly keep it here."""
    limit = Limit.parse(text)
    alone = {"ttft": fit.prefill_s(plan.split), "tpot": fit.token_s(plan.bits, plan.split)}.get(
        _family(limit.metric)
    )
    if alone is None or limit.relative or limit.bound >= _MARGIN * alone:
        return Stated(text, source)
    bound = _significant(_MARGIN * alone)
    shown = f"{limit.metric} <= {bound:g} s" if bound >= 1 else f"{limit.metric} <= {bound * 1000:g} ms"
    return Stated(
        shown,
        f"{source}: {limit.as_written}; one request alone takes about {format_quantity(alone, 's')} here",
    )


def _significant(number: float) -> float:
    """Return a number rounded up to one digit."""
    power = 10.0 ** math.floor(math.log10(number))
    return math.ceil(number / power) * power


@dataclass(frozen=True)
class Spending:
    """The budget of a study, and how a trial's time is made up.

    Args:
        trials: Trials to search with.
        time: Bound on the whole, as a file has it.
        timed: Seconds of a trial that are measured.
        reason: Parts that they are made of.
    """

    trials: int
    time: str
    timed: int
    reason: str


def spending(plan: Proposal, wanted: str = "") -> Spending:
    """Return trials and times.

    Args:
        plan: The proposal.
        wanted: Bound of the user's: a number of trials (``30``) or a time (``2 h``); empty for ours.

    Raises:
        SpecError: It is neither, or too little for any answer.
    """
    alone = plan.fit.request_s(plan.bits, plan.split)
    timed = min(600, max(30 if plan.fit.on_gpu else 20, rounded_up(8 * alone, 10)))
    if plan.request.goal == "goodput":
        timed = min(600, 2 * timed)
    trial = plan.start_s + _WARM_UP * timed + timed + _STOP_S
    more = 2 * _CONFIRM
    trials = min(max(_FEWEST, 8 + 2 * len(plan.rows)), _MOST, int(min(plan.space.count().value, _MOST)))
    count = wanted.strip().removesuffix("trials").strip()
    bound = ""
    if count.isdecimal():
        trials = int(count)
        if trials < 1:
            raise SpecError(f"--budget must be at least 1 trial, found {wanted!r}")
    elif wanted:
        bound = wanted.strip()
        trials = min(_MOST, int(_duration(bound) / trial) - more)
        if trials < _LEAST_TRIALS:
            least = show_seconds(trial * (_LEAST_TRIALS + more))
            raise SpecError(
                f"--budget {wanted} is too little: a trial takes about {show_seconds(trial)}",
                hint=f"{_LEAST_TRIALS} trials and {more} confirmations take {least}",
            )
    whole = trial * (trials + trials // _WATCH_EVERY + more)
    reason = (
        f"about {show_seconds(trial)} a trial (start {show_seconds(plan.start_s)}, warm-up "
        f"{show_seconds(_WARM_UP * timed)}, timed {timed} s); with {more} confirmations some "
        f"{show_seconds(whole)}"
    )
    return Spending(trials, bound or _time(_SLACK * whole), timed, reason)


def _duration(text: str) -> float:
    try:
        return parse_quantity(text, dimension="time").value
    except SpecError as error:
        raise SpecError(
            f"--budget must be a time such as 2 h or a number of trials, found {text!r}", hint=error.hint
        ) from None


def _time(seconds: float) -> str:
    """Return a time as a file has it, rounded up: ``40 min``, ``3 h``."""
    if seconds <= 90 * 60:
        return f"{rounded_up(seconds / 60, 5)} min"
    return f"{math.ceil(seconds / 3600)} h"

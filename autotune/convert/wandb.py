"""Weights & Biases sweep files.

Format: https://docs.wandb.ai/guides/sweeps/sweep-config-keys (parameters, distributions, metric).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from autotune.convert.base import NONE, Conversion, Entry, listed, mapping_at, number_at, ranged
from autotune.core.objective import Objective
from autotune.core.parameter.base import read_number, show
from autotune.errors import SpecError
from autotune.spec.yaml_text import Document, Path_

NAME = "wandb"
_ENGINES = {"bayes": "gp", "random": "random"}
_SPREADS = 3.0  # standard deviations on either side that a normal distribution is cut to
_READ = ("name", "description", "parameters", "metric", "run_cap", "method", "program", "command")


def recognizes(document: Document) -> bool:
    """Return whether a document looks like a sweep."""
    data = document.data
    return isinstance(data.get("parameters"), Mapping) and ("method" in data or "program" in data)


def convert(document: Document) -> Conversion:
    """Return the study of a sweep file."""
    out = Conversion(document)
    data = document.data
    for key in ("name", "description"):
        if isinstance(data.get(key), str):
            out.study[key] = data[key]
    _parameters(out, mapping_at(out, data["parameters"], ("parameters",)), ("parameters",))
    _objective(out, data)
    if "run_cap" in data:
        out.study["budget"] = {"trials": int(number_at(out, data, ("run_cap",)))}
    method = str(data.get("method", "bayes"))
    if method in _ENGINES:
        out.study["engine"] = _ENGINES[method]
    else:
        out.note(("method",), f"'method: {method}' has no equivalent; the default engine searches")
    out.ignore(data, ("program", "command"), "has no equivalent: name what to launch under `system`")
    if "program" not in data and "command" not in data:
        out.note((), "no program is in this file: name what to launch under `system`")
    out.note_rest(data, _READ)
    return out.finish()


def _parameters(out: Conversion, entries: Mapping[str, Any], path: Path_, outer: str = "") -> None:
    """Add the parameters of a section; those of one that nests get its name in front."""
    for name, entry in entries.items():
        at = (*path, name)
        data = mapping_at(out, entry, at)
        if isinstance(data.get("parameters"), Mapping):
            out.note(at, f"{name!r} nests parameters: they have its name in front here")
            _parameters(out, data["parameters"], (*at, "parameters"), f"{outer}{name}_")
            continue
        found = _parameter(out, data, at)
        if found is not None:
            out.add(at, f"{outer}{name}", found)


def _objective(out: Conversion, data: Mapping[str, Any]) -> None:
    if "metric" not in data:
        return
    metric = mapping_at(out, data["metric"], ("metric",))
    goal = str(metric.get("goal", "minimize"))
    name = str(metric.get("name", ""))
    try:
        out.study["objective"] = Objective.from_dict({goal: name}).to_dict()
    except SpecError as error:
        out.note(("metric",), f"'{goal} {name}' cannot be a goal: {error.message}")
    out_keys = [key for key in metric if key not in ("name", "goal")]
    for key in out_keys:
        out.note(("metric", key), f"'{key}' has no equivalent; a limit may say it")


def _parameter(out: Conversion, data: Mapping[str, Any], path: Path_) -> Entry | None:
    if "value" in data:
        if data["value"] is None:
            out.note(path, f"the value null of {path[-1]!r} has no equivalent; it is called {NONE!r}")
        return listed([data["value"]])
    if "values" in data:
        return _values(out, data, path)
    kind = data.get("distribution")
    if kind is None:
        whole = all(type(data.get(key)) is int for key in ("min", "max"))
        kind = "int_uniform" if whole else "uniform"
    reader = _DISTRIBUTIONS.get(str(kind))
    if reader is None:
        out.note(
            (*path, "distribution"), f"distribution {kind!r} has no equivalent; {path[-1]!r} is left out"
        )
        return None
    return reader(out, data, path)


def _values(out: Conversion, data: Mapping[str, Any], path: Path_) -> Entry | None:
    values = data["values"]
    if not isinstance(values, list) or not values:
        out.note((*path, "values"), f"values of {path[-1]!r} are no list; it is left out")
        return None
    if None in values:
        out.note(
            (*path, "values"), f"the value null of {path[-1]!r} has no equivalent; it is called {NONE!r}"
        )
    if any(isinstance(value, list | Mapping) for value in values):
        out.note((*path, "values"), f"structures among the values of {path[-1]!r} are JSON texts here")
    weights = data.get("probabilities")
    if not isinstance(weights, list) or len(weights) != len(values):
        return listed(values)
    read = [read_number(weight) or 0 for weight in weights]
    if min(read) <= 0:
        out.note((*path, "probabilities"), "probabilities that are no numbers above 0 are left out")
        return listed(values)
    entry = listed(values, default=values[read.index(max(read))])
    return {**entry, "prior": {"weights": dict(zip(map(show_value, values), read, strict=True))}}


def show_value(value: Any) -> str:
    """Return a listed value as the key of its weight."""
    return NONE if value is None else show(value) if isinstance(value, bool) else str(value)


def _uniform(
    whole: bool = False, log: bool = False, exponent: bool = False, quantized: bool = False
) -> _Reader:
    def read(out: Conversion, data: Mapping[str, Any], path: Path_) -> Entry:
        low, high = (number_at(out, data, (*path, key)) for key in ("min", "max"))
        if exponent:
            low, high = math.exp(low), math.exp(high)
        step = None
        if quantized:  # the tool rounds what it draws to a multiple of q
            step = float(read_number(data.get("q", 1)) or 1)
            low, high = (round(round(bound / step) * step, 12) for bound in (low, high))
        integral = all(float(v).is_integer() for v in (low, high, step or 1))
        if log and low <= 0:
            out.note(path, f"{path[-1]!r} starts at 0, which no logarithm has: searched on a linear scale")
        return ranged(low, high, whole=whole or (quantized and integral), step=step, log=log)

    return read


def _inverse(out: Conversion, data: Mapping[str, Any], path: Path_) -> Entry:
    out.note((*path, "distribution"), "an inverse logarithm is searched on a logarithmic scale")
    return _uniform(log=True)(out, data, path)


def _beta(out: Conversion, data: Mapping[str, Any], path: Path_) -> Entry:
    out.note(
        (*path, "distribution"), f"a beta distribution has no equivalent; {path[-1]!r} is even in 0 .. 1"
    )
    return ranged(0.0, 1.0, whole=False, step=read_number(data.get("q")))


def _normal(log: bool = False, quantized: bool = False) -> _Reader:
    def read(out: Conversion, data: Mapping[str, Any], path: Path_) -> Entry:
        mu, sigma = (read_number(data.get(key, default)) for key, default in (("mu", 0), ("sigma", 1)))
        if mu is None or sigma is None or sigma <= 0:
            out.note(path, f"mu and sigma of {path[-1]!r} are no numbers; taken as 0 and 1")
            mu, sigma = 0.0, 1.0
        low, high = mu - _SPREADS * sigma, mu + _SPREADS * sigma
        step = float(read_number(data.get("q", 1)) or 1) if quantized else None
        if step is not None and not log:
            low, high = (round(round(bound / step) * step, 12) for bound in (low, high))
        said = "exp of " if log else ""
        out.note(path, f"{path[-1]!r} has no bounds; cut to {said}{low:g} .. {high:g}, the rest is its prior")
        if log:
            if step is not None:
                out.note(
                    path, f"steps of {step:g} on a logarithmic scale have no equivalent: any value is allowed"
                )
            return ranged(math.exp(low), math.exp(high), whole=False, log=True)
        entry = ranged(low, high, whole=False, step=step)
        return {**entry, "prior": {"around": float(mu), "spread": float(sigma)}}

    return read


_Reader = Callable[[Conversion, Mapping[str, Any], Path_], Entry]
_DISTRIBUTIONS: dict[str, _Reader] = {
    "uniform": _uniform(),
    "int_uniform": _uniform(whole=True),
    "q_uniform": _uniform(quantized=True),
    "log_uniform": _uniform(log=True, exponent=True),
    "log_uniform_values": _uniform(log=True),
    "q_log_uniform": _uniform(log=True, exponent=True, quantized=True),
    "q_log_uniform_values": _uniform(log=True, quantized=True),
    "inv_log_uniform_values": _inverse,
    "normal": _normal(),
    "q_normal": _normal(quantized=True),
    "log_normal": _normal(log=True),
    "q_log_normal": _normal(log=True, quantized=True),
    "beta": _beta,
    "q_beta": _beta,
}

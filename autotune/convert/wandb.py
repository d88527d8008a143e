"""Weights & Biases sweep files.

Format: https://docs.wandb.ai/guides/sweeps/sweep-config-keys (parameters, distributions, metric).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from autotune.convert.base import Conversion, Entry, listed, mapping_at, number_at, plain_value, ranged
from autotune.core.parameter.base import read_number
from autotune.spec.yaml_text import Document, Path_

NAME = "wandb"
_ENGINES = {"bayes": "gp", "random": "random"}
_SPREADS = 3.0  # standard deviations on either side that a normal distribution is cut to
_IGNORED = ("early_terminate", "controller", "project", "entity")


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
    for name, entry in mapping_at(out, data["parameters"], ("parameters",)).items():
        path = ("parameters", name)
        found = _parameter(out, mapping_at(out, entry, path), path)
        if found is not None:
            out.add(path, name, found)
    _objective(out, data)
    if "run_cap" in data:
        out.study["budget"] = {"trials": int(number_at(out, data, ("run_cap",)))}
    method = str(data.get("method", "bayes"))
    if method in _ENGINES:
        out.study["engine"] = _ENGINES[method]
    else:
        out.note(("method",), f"'method: {method}' has no equivalent; the default engine searches")
    out.ignore(data, ("program", "command"), "has no equivalent: name what to launch under `system`")
    out.ignore(data, _IGNORED)
    return out.finish()


def _objective(out: Conversion, data: Mapping[str, Any]) -> None:
    if "metric" not in data:
        return
    metric = mapping_at(out, data["metric"], ("metric",))
    goal = str(metric.get("goal", "minimize"))
    name = str(metric.get("name", ""))
    if goal in ("minimize", "maximize") and name.replace("_", "").replace(".", "").isalnum():
        out.study["objective"] = {goal: name}
    else:
        out.note(("metric",), f"'{goal} {name}' cannot be a goal: letters, digits, '_' and '.' only")
    out_keys = [key for key in metric if key not in ("name", "goal")]
    for key in out_keys:
        out.note(("metric", key), f"'{key}' has no equivalent; a limit may say it")


def _parameter(out: Conversion, data: Mapping[str, Any], path: Path_) -> Entry | None:
    if "parameters" in data:
        out.note(path, f"{path[-1]!r} nests parameters, which has no equivalent: give each a name of its own")
        return None
    if "value" in data:
        return listed([data["value"]])
    if "values" in data:
        return _values(out, data, path)
    kind = data.get("distribution")
    if kind is None:
        whole = all(isinstance(plain_value(data.get(key)), int) for key in ("min", "max"))
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
    if not isinstance(values, list) or not values or any(isinstance(v, list | Mapping) for v in values):
        out.note((*path, "values"), f"values of {path[-1]!r} are no plain list; it is left out")
        return None
    entry = listed(values)
    if isinstance(data.get("probabilities"), list):
        pairs = zip(values, data["probabilities"], strict=False)
        weights = {str(value): read_number(weight) for value, weight in pairs}
        if any(weight is None or weight <= 0 for weight in weights.values()):
            out.note((*path, "probabilities"), "probabilities that are no numbers above 0 are left out")
        else:
            entry["prior"] = {"weights": weights}
    return entry


def _uniform(
    whole: bool = False, log: bool = False, exponent: bool = False, quantized: bool = False
) -> _Reader:
    def read(out: Conversion, data: Mapping[str, Any], path: Path_) -> Entry:
        low, high = (number_at(out, data, (*path, key)) for key in ("min", "max"))
        if exponent:
            low, high = math.exp(low), math.exp(high)
        step = None
        if quantized:
            step = read_number(data.get("q", 1)) or 1
            low, high = math.ceil(low / step) * step, math.floor(high / step) * step
        integral = all(float(v).is_integer() for v in (low, high, step or 1))
        return ranged(low, high, whole=whole or (quantized and integral), step=step, log=log and step is None)

    return read


def _inverse(out: Conversion, data: Mapping[str, Any], path: Path_) -> Entry:
    out.note(
        (*path, "distribution"), "an inverse logarithm has no equivalent; searched on a logarithmic scale"
    )
    return _uniform(log=True)(out, data, path)


def _normal(log: bool = False, quantized: bool = False) -> _Reader:
    def read(out: Conversion, data: Mapping[str, Any], path: Path_) -> Entry:
        mu, sigma = (read_number(data.get(key, default)) for key, default in (("mu", 0), ("sigma", 1)))
        if mu is None or sigma is None or sigma <= 0:
            out.note(path, f"mu and sigma of {path[-1]!r} are no numbers; taken as 0 and 1")
            mu, sigma = 0.0, 1.0
        low, high = mu - _SPREADS * sigma, mu + _SPREADS * sigma
        step = float(read_number(data.get("q", 1)) or 1) if quantized else None
        said = "exp of " if log else ""
        out.note(path, f"{path[-1]!r} has no bounds; cut to {said}{low:g} .. {high:g}, the rest is its prior")
        if log:
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
    "q_log_normal": _normal(log=True),
}

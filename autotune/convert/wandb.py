"""Weights & Biases sweep files.

Format: https://docs.wandb.ai/guides/sweeps/sweep-config-keys (parameters, distributions, metric).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping

from autotune.convert.base import Conversion, mapping_at, number_at
from autotune.convert.entries import Entry, plain_value, snapped
from autotune.convert.names import metric_name
from autotune.core.json_object import JsonObject
from autotune.core.objective import Limit
from autotune.core.parameter.base import read_number, show
from autotune.errors import SpecError
from autotune.spec.sections import read_objective
from autotune.spec.yaml_text import Document, Path_

NAME = "wandb"
_ENGINES = {"bayes": "gp", "random": "random"}
_READ = ("name", "description", "parameters", "metric", "metrics", "metric_constraints", "run_cap", "method",
         "program", "command", "job", "image_uri")  # fmt: skip
_LAUNCHED = ("program", "command", "job", "image_uri")


def recognizes(document: Document) -> bool:
    """Return whether a document looks like a sweep."""
    data = document.data
    signs = ("method", "metric", "metrics", "run_cap", "early_terminate", *_LAUNCHED)
    return isinstance(data.get("parameters"), Mapping) and any(sign in data for sign in signs)


def convert(document: Document) -> Conversion:
    """Return the study of a sweep file."""
    out = Conversion(document)
    data = document.data
    if "name" in data:
        out.set_name(data["name"])
    if isinstance(data.get("description"), str):
        out.study["description"] = data["description"]
    _parameters(out, mapping_at(out, data.get("parameters"), ("parameters",)), ("parameters",))
    _objective(out, data)
    if data.get("run_cap") is not None:
        out.study["budget"] = {"trials": out.trials(data, ("run_cap",))}
    method = str(data.get("method", "bayes"))
    if method in _ENGINES:
        out.study["engine"] = _ENGINES[method]
    else:
        out.note(("method",), f"'method: {method}' has no equivalent; the default engine searches")
    for key in (key for key in _LAUNCHED if key in data):
        out.note((key,), f"'{key}' has no equivalent: name what to launch under `system`")
    if not any(key in data for key in _LAUNCHED):
        out.note((), "no program is in this file: name what to launch under `system`")
    out.note_rest(data, _READ)
    return out.finish()


def _parameters(out: Conversion, entries: Mapping[str, object], path: Path_, outer: str = "") -> None:
    """Add the parameters of a section; those of one that nests get its name in front."""
    for name, entry in entries.items():
        at = (*path, name)
        data = mapping_at(out, entry, at)
        if isinstance(data.get("parameters"), Mapping):
            out.note(at, f"{name!r} nests parameters: they have its name in front here")
            _parameters(out, data["parameters"], (*at, "parameters"), f"{outer}{name}_")
            continue
        with out.at(at):
            found = _parameter(out, data, at)
            if found is not None:
                out.add(at, f"{outer}{name}", found)


def _objective(out: Conversion, data: Mapping[str, object]) -> None:
    """Add the goals: one metric, or the list of several that Ax optimizes, with its bounds as limits."""
    listed_metrics = data.get("metrics")
    found: list[tuple[Path_, object]] = [(("metric",), data["metric"])] if "metric" in data else []
    if isinstance(listed_metrics, list):
        found += [(("metrics", i), entry) for i, entry in enumerate(listed_metrics)]
    goals = []
    for path, entry in found:
        metric = mapping_at(out, entry, path)
        goals.append((path, str(metric.get("goal", "minimize")), metric.get("name")))
        for key in metric:
            if key not in ("name", "goal"):
                out.note((*path, key), f"'{key}' has no equivalent; a limit may say it")
    out.set_goals(goals, "no metric is in this file: name the goal under `objective`")
    bounds = data.get("metric_constraints")
    for i, text in enumerate(bounds if isinstance(bounds, list) else []):
        path = ("metric_constraints", i)
        match = re.fullmatch(r"\s*(.+?)\s*([<>]=.*)", text) if isinstance(text, str) else None
        try:
            limit = Limit.parse(f"{metric_name(match[1])[0]} {match[2]}" if match else text)
            read_objective({"maximize": "x", "limits": [limit.to_text()]})
        except SpecError as error:
            out.note(path, f"the limit {text!r} is left out: {error.message}")
            continue
        out.study.setdefault("objective", {}).setdefault("limits", []).append(limit.to_text())
        if match and limit.metric != match[1]:
            out.note(path, f"metric {match[1]!r} is called {limit.metric!r} here: report it by that name")


def _parameter(out: Conversion, data: Mapping[str, object], path: Path_) -> Entry | None:
    if "value" in data:
        return out.listed((*path, "value"), [data["value"]])
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


def _values(out: Conversion, data: Mapping[str, object], path: Path_) -> Entry | None:
    values = data["values"]
    if not isinstance(values, list) or not values:
        out.note((*path, "values"), f"values of {path[-1]!r} are no list; it is left out")
        return None
    weights = data.get("probabilities")
    if weights is None:
        return out.listed((*path, "values"), values)
    if not isinstance(weights, list) or len(weights) != len(values):
        out.note(
            (*path, "probabilities"), f"probabilities that are not one per value are left out: {weights!r}"
        )
        return out.listed((*path, "values"), values)
    read = [read_number(weight) or 0 for weight in weights]
    if min(read) <= 0:
        out.note((*path, "probabilities"), "probabilities that are no numbers above 0 are left out")
        return out.listed((*path, "values"), values)
    entry = out.listed((*path, "values"), values, default=values[read.index(max(read))])
    return {**entry, "prior": {"weights": dict(zip(map(show_value, values), read, strict=True))}}


def show_value(value: object) -> str:
    """Return a listed value as the key of its weight."""
    found = plain_value(value)
    return show(found) if isinstance(found, bool) else str(found)


def _step(out: Conversion, data: Mapping[str, object], path: Path_) -> float:
    """Return the step of a quantized distribution; 1 where the file has none."""
    step = number_at(out, {"q": 1, **data}, (*path, "q"))
    if step <= 0:
        raise out.source.locate(SpecError(f"q must be above 0, found {step!r}", path=(*path, "q")))
    return float(step)


def _uniform(
    whole: bool = False, log: bool = False, exponent: bool = False, quantized: bool = False
) -> _Reader:
    def read(out: Conversion, data: Mapping[str, object], path: Path_) -> Entry:
        low, high = (number_at(out, data, (*path, key)) for key in ("min", "max"))
        if exponent:
            low, high = math.exp(low), math.exp(high)
        step = None
        if quantized:  # the tool rounds what it draws to a multiple of q
            step = _step(out, data, path)
            low, high = snapped(low, high, step)
        integral = all(float(v).is_integer() for v in (low, high, step or 1))
        return out.ranged(path, low, high, whole=whole or (quantized and integral), step=step, log=log)

    return read


def _inverse(values: bool) -> _Reader:
    """Return the reader of an inverse logarithm: of ``min`` and ``max`` of the values, or of -log of them."""

    def read(out: Conversion, data: Mapping[str, object], path: Path_) -> Entry:
        out.note((*path, "distribution"), "an inverse logarithm is searched on a logarithmic scale")
        low, high = (number_at(out, data, (*path, key)) for key in ("min", "max"))
        if not values:
            low, high = math.exp(-high), math.exp(-low)
        return out.ranged(path, low, high, whole=False, log=True)

    return read


def _beta(quantized: bool = False) -> _Reader:
    def read(out: Conversion, data: Mapping[str, object], path: Path_) -> Entry:
        text = f"a beta distribution has no equivalent; {path[-1]!r} is even in 0 .. 1"
        out.note((*path, "distribution"), text)
        step = _step(out, data, path) if quantized else None
        low, high = (0.0, 1.0) if step is None else snapped(0.0, 1.0, step)
        whole = step is not None and step.is_integer()
        return out.ranged(path, low, high, whole=whole, step=step)

    return read


def _normal(log: bool = False, quantized: bool = False) -> _Reader:
    def read(out: Conversion, data: Mapping[str, object], path: Path_) -> Entry:
        mu, sigma = (read_number(data.get(key, default)) for key, default in (("mu", 0), ("sigma", 1)))
        if mu is None or sigma is None or sigma <= 0:
            out.note(path, f"mu and sigma of {path[-1]!r} are no numbers; taken as 0 and 1")
            mu, sigma = 0.0, 1.0
        step = _step(out, data, path) if quantized else None
        return out.normal(path, mu, sigma, step=step, log=log, whole=True)

    return read


_Reader = Callable[[Conversion, JsonObject, Path_], Entry]
_DISTRIBUTIONS: dict[str, _Reader] = {
    "uniform": _uniform(),
    "int_uniform": _uniform(whole=True),
    "q_uniform": _uniform(quantized=True),
    "log_uniform": _uniform(log=True, exponent=True),
    "log_uniform_values": _uniform(log=True),
    "q_log_uniform": _uniform(log=True, exponent=True, quantized=True),
    "q_log_uniform_values": _uniform(log=True, quantized=True),
    "inv_log_uniform": _inverse(values=False),
    "inv_log_uniform_values": _inverse(values=True),
    "normal": _normal(),
    "q_normal": _normal(quantized=True),
    "log_normal": _normal(log=True),
    "q_log_normal": _normal(log=True, quantized=True),
    "beta": _beta(),
    "q_beta": _beta(quantized=True),
}

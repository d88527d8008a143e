"""Study files of auto-tune-vllm (openshift-psap/auto-tuning-vllm, docs/configuration.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotune.convert.base import Conversion, Entry, listed, mapping_at, number_at, plain_value, ranged
from autotune.core.parameter.base import read_number
from autotune.errors import SpecError
from autotune.spec.catalogue import find
from autotune.spec.load import load_space
from autotune.spec.yaml_text import Document, Path_

NAME = "auto-tune-vllm"
_METRICS = {
    "output_tokens_per_second": ("output_throughput", False),
    "requests_per_second": ("request_throughput", False),
    "request_latency": ("e2e", True),
    "time_to_first_token_ms": ("ttft", True),
    "inter_token_latency_ms": ("itl", True),
}
"""Our name, and whether it has statistics."""

_OLD_FORM = {
    "maximize": {"metric": "output_tokens_per_second", "direction": "maximize"},
    "minimize": {"metric": "request_latency", "direction": "minimize"},
}
"""What a direction alone means."""

_PRESETS = {
    "high_throughput": {"maximize": "output_throughput"},
    "low_latency": {"minimize": "e2e.p95"},
    "balanced": {"maximize": "output_throughput", "minimize": "e2e.p50"},
}
_STATISTICS = {"median": "p50", "p50": "p50", "p95": "p95", "p99": "p99"}
_WORKLOAD = (
    "model",
    "max_seconds",
    "prompt_tokens",
    "output_tokens",
    "prompt_tokens_stdev",
    "output_tokens_stdev",
)


def recognizes(document: Document) -> bool:
    """Return whether a document has the sections of such a study."""
    return {"optimization", "parameters"} <= document.data.keys() and (
        "benchmark" in document.data or "study" in document.data
    )


def convert(document: Document) -> Conversion:
    """Return the study of such a file."""
    out = Conversion(document)
    data = document.data
    study = data.get("study")
    if isinstance(study, Mapping):
        if isinstance(study.get("name"), str):
            out.study["name"] = study["name"]
        for key in study:
            if key != "name":
                out.note(("study", key), f"'{key}' has no equivalent; the ledger is a file of its own")
    for name, entry in mapping_at(out, data["parameters"], ("parameters",)).items():
        path = ("parameters", name)
        found = _parameter(out, mapping_at(out, entry or {}, path), path)
        if found is not None:
            out.add(path, name, found)
    _system_and_workload(out, data)
    _optimization(out, mapping_at(out, data["optimization"], ("optimization",)))
    out.ignore(data, ("baseline",), "is always measured: the default configuration is the first trial")
    out.ignore(data, ("logging", "static_environment_variables"))
    return out.finish()


def _parameter(out: Conversion, data: Mapping[str, Any], path: Path_) -> Entry | None:
    name = str(path[-1])
    if plain_value(data.get("enabled", True)) is False:
        return None
    if isinstance(data.get("options"), list):
        return listed(data["options"])
    if "min" in data and "max" in data:
        low, high = (number_at(out, data, (*path, key)) for key in ("min", "max"))
        step = read_number(data.get("step"))
        whole = all(isinstance(plain_value(data[key]), int) for key in ("min", "max")) and (
            step is None or float(step).is_integer()
        )
        return ranged(low, high, whole=whole, step=step)
    ours = load_space(find("search_spaces", "vllm"))
    if name in ours.names:
        out.note(path, f"the range of {name!r} is that tool's own default; ours is taken")
        return ours[name].to_dict()
    out.note(path, f"the range of {name!r} is that tool's own default and not in the file; it is left out")
    return None


def _system_and_workload(out: Conversion, data: Mapping[str, Any]) -> None:
    bench = mapping_at(out, data.get("benchmark", {}), ("benchmark",))
    system: dict[str, Any] = {"use": "vllm"}
    if isinstance(bench.get("model"), str):
        system["model"] = bench["model"]
    fixed = data.get("static_parameters")
    if isinstance(fixed, Mapping) and fixed:
        system["flags"] = {str(name): plain_value(value) for name, value in fixed.items()}
    out.study["system"] = system
    workload: dict[str, Any] = {}
    for key in ("prompt_tokens", "output_tokens"):
        if key in bench:
            spread = read_number(bench.get(f"{key}_stdev"))
            mean = number_at(out, bench, ("benchmark", key))
            workload[key] = {"mean": mean, "spread": spread} if spread else int(mean)
    if "max_seconds" in bench:
        workload["time"] = f"{number_at(out, bench, ('benchmark', 'max_seconds')):g} s"
    if workload:
        out.study["workload"] = workload
    for key in bench:
        if key not in _WORKLOAD and bench[key] not in ("null", "", None):
            out.note(("benchmark", key), f"'{key}' has no equivalent")


def _optimization(out: Conversion, data: Mapping[str, Any]) -> None:
    if "n_trials" in data:
        out.study["budget"] = {"trials": int(number_at(out, data, ("optimization", "n_trials")))}
    preset = data.get("preset")
    if preset in _PRESETS:
        out.study["objective"] = dict(_PRESETS[str(preset)])
    else:
        _goals(out, data)
    for key in data:
        if key in ("sampler", "n_startup_trials"):
            out.note(("optimization", key), f"'{key}' has no equivalent; `engine: gp` searches")


def _goals(out: Conversion, data: Mapping[str, Any]) -> None:
    several, single = data.get("objectives"), data.get("objective")
    found: list[tuple[Path_, Any]] = [(("optimization", "objective"), single)]
    if isinstance(several, list):
        found = [(("optimization", "objectives", i), entry) for i, entry in enumerate(several)]
    goals: dict[str, list[str]] = {}
    for path, given in found:
        entry = _OLD_FORM.get(given, given) if isinstance(given, str) else given
        if not isinstance(entry, Mapping) or str(entry.get("metric")) not in _METRICS:
            raise out.source.locate(
                SpecError(f"unknown metric in {entry!r}; allowed: {', '.join(_METRICS)}", path=path)
            )
        name, has_statistics = _METRICS[str(entry["metric"])]
        if has_statistics:
            asked = str(entry.get("percentile", "median"))
            if asked not in _STATISTICS:
                out.note(path, f"percentile {asked!r} is not measured here; p95 is taken")
            name = f"{name}.{_STATISTICS.get(asked, 'p95')}"
        goals.setdefault(str(entry.get("direction", "maximize")), []).append(name)
    out.study["objective"] = {key: names[0] if len(names) == 1 else names for key, names in goals.items()}

"""Study files of auto-tune-vllm (openshift-psap/auto-tuning-vllm, docs/configuration.md)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from autotune.convert.base import Conversion, mapping_at, number_at
from autotune.convert.entries import Entry, listed, typed_as_yaml11, with_default
from autotune.convert.vllm_flags import canonical, turned, unset, why_not
from autotune.core.parameter.base import read_number
from autotune.core.scalar import PlainText
from autotune.errors import SpecError
from autotune.measure.workload import Workload
from autotune.spec.catalogue import find
from autotune.spec.load import load_space
from autotune.spec.yaml_text import Document, Path_
from autotune.systems.registry import build_system, value_kind
from autotune.systems.served.flags import Flag, table

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
_STATISTICS = {"mean": "mean", "median": "p50", "p50": "p50", "p95": "p95", "p99": "p99"}
_WORKLOAD = (
    "benchmark_type", "model", "max_seconds", "prompt_tokens", "output_tokens", "prompt_tokens_stdev",
    "output_tokens_stdev", "rate", "dataset", "use_synthetic_data",
)  # fmt: skip
_SECTIONS = (
    "study", "optimization", "benchmark", "parameters", "static_parameters", "static_environment_variables",
    "constraints", "baseline",
)  # fmt: skip
_OPTIMIZATION = (
    "approach", "objective", "objectives", "preset", "n_trials", "sampler", "n_startup_trials",
)  # fmt: skip
_VARIABLES = {"VLLM_ATTENTION_BACKEND": "attention_backend"}
"""Variables that vLLM has a flag for."""

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-(.*?))?\}")


def recognizes(document: Document) -> bool:
    """Return whether a document has the sections of such a study."""
    return {"optimization", "parameters"} <= document.data.keys() and (
        "benchmark" in document.data or "study" in document.data
    )


def convert(document: Document) -> Conversion:
    """Return the study of such a file."""
    out = Conversion(document)
    data = _expanded(out, document.data, ())
    study = data.get("study")
    if isinstance(study, Mapping):
        if "name" in study:
            out.set_name(study["name"], ("study", "name"))
        for key in study:
            if key != "name":
                out.note(("study", key), f"'{key}' has no equivalent; the ledger is a file of its own")
    elif study is not None:
        out.note(("study",), f"a study that is no mapping is left out, found {study!r}")
    for name, entry in mapping_at(out, data.get("parameters"), ("parameters",)).items():
        path = ("parameters", name)
        own = _own_name(name)[0]
        with out.at(path):
            found = _parameter(out, mapping_at(out, {} if entry is None else entry, path), path)
            if found is None:
                continue
            if own in out.study.get("parameters", {}):
                out.note(path, f"{name!r} is the parameter {own!r} a second time; it is left out")
            else:
                out.add(path, own, found)
    _system_and_workload(out, data)
    _constraints(out, data.get("constraints"))
    _optimization(out, mapping_at(out, data.get("optimization"), ("optimization",)))
    _baseline(out, data.get("baseline"))
    out.note_rest(data, _SECTIONS)
    return out.finish()


def _expanded(out: Conversion, value: object, path: Path_) -> Any:
    """Return data with ``${NAME:-default}`` as the default; the environment is not read."""
    if isinstance(value, Mapping):
        return {key: _expanded(out, item, (*path, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [_expanded(out, item, (*path, i)) for i, item in enumerate(value)]
    if not isinstance(value, str) or not (found := list(_VARIABLE.finditer(value))):
        return value
    for match in found:
        said = f"taken as {match[2]!r}" if match[2] else "left as it is: write its value"
        out.note(path, f"the variable {match[1]} of the environment is {said}")
    text = _VARIABLE.sub(lambda match: match[2] or match[0], value)
    return typed_as_yaml11(PlainText(text)) if found[0][0] == value else text


def _own_name(name: str) -> tuple[str, bool]:
    """Return what a parameter is called here, and whether a true value switches it on."""
    return (_VARIABLES[name], True) if name in _VARIABLES else canonical(name)


def _parameter(out: Conversion, data: Mapping[str, object], path: Path_) -> Entry | None:
    name = str(path[-1])
    if data.get("enabled", True) is False:
        return None
    own, positive = _own_name(name)
    flag = table("vllm").flags.get(own)
    if name in _VARIABLES:
        out.note(path, f"the variable {name} is the flag {own} here")
    elif data.get("type") == "environment":
        out.note(path, f"the variable {name!r} cannot be searched; fix it under `system: {{env: ...}}`")
        return None
    if flag is None or why_not(own):
        out.note(path, f"{name!r} {why_not(own)}; it is left out")
        return None
    if not positive:
        out.note(path, f"{name!r} is the switch {own!r} turned round")
    entry = _values(out, data, path, flag, positive)
    ours = load_space(find("search_spaces", "vllm"), value_kind)
    if entry is None:
        if own not in ours.names:
            out.note(
                path, f"the range of {name!r} is that tool's own default, not in the file; it is left out"
            )
            return None
        out.note(path, f"the range of {name!r} is that tool's own default; ours is taken")
        return ours[own].to_dict()
    usual = flag.default if flag.default is not None or own not in ours.names else ours[own].fallback
    if usual is not None:
        return with_default(entry, usual)  # what the tool's baseline runs with
    out.note(path, f"vLLM decides on {name!r} where nothing is set; the default here is a middle value")
    return entry


def _values(
    out: Conversion, data: Mapping[str, object], path: Path_, flag: Flag, positive: bool
) -> Entry | None:
    options = data.get("options")
    if isinstance(options, list) and options:
        kept = []
        for i, option in enumerate(options):
            value = unset(flag) if option is None else turned(flag, option, positive)
            why = "is a list" if isinstance(value, list) and flag.kind != "json" else flag.refuses(value)
            if why:
                out.note((*path, "options", i), f"the option {option!r} is left out: {flag.name} {why}")
            else:
                kept.append(value)
            if option is None:
                out.note((*path, "options", i), "the option null leaves the flag out: vLLM decides")
        return listed(kept) if kept else None
    if "options" in data:
        out.note((*path, "options"), f"options must be a list of values, found {options!r}")
    if not {"min", "max"} <= data.keys():
        return None
    low, high = (number_at(out, data, (*path, key)) for key in ("min", "max"))
    step = None if data.get("step") is None else number_at(out, data, (*path, "step"))
    whole = all(type(data[key]) is int for key in ("min", "max")) and (
        step is None or float(step).is_integer()
    )
    return out.ranged(path, low, high, whole=whole, step=step)


def _system_and_workload(out: Conversion, data: Mapping[str, object]) -> None:
    bench = mapping_at(out, data.get("benchmark", {}), ("benchmark",))
    system: dict[str, object] = {"use": "vllm", "model": "MODEL"}
    if isinstance(bench.get("model"), str):
        system["model"] = bench["model"]
    else:
        out.note(("benchmark",), "the model is not in this file: write its name in the place of MODEL")
    flags = _kept(out, _static_flags(out, data), "static_parameters", lambda n, v: {"flags": {n: v}})
    variables = _kept(out, data, "static_environment_variables", lambda name, value: {"env": {name: value}})
    out.study["system"] = {
        **system,
        **({"flags": flags} if flags else {}),
        **({"env": {name: _text(value) for name, value in variables.items()}} if variables else {}),
    }
    workload: dict[str, object] = {}
    if bench.get("rate") is not None:  # the tool runs `guidellm --rate-type concurrent --rate N`
        count = int(number_at(out, bench, ("benchmark", "rate")))
        workload |= {"arrival": "concurrency", "concurrency": count}
    for key in ("prompt_tokens", "output_tokens"):
        if key in bench:
            spread = read_number(bench.get(f"{key}_stdev"))
            mean = int(number_at(out, bench, ("benchmark", key)))
            workload[key] = {"mean": mean, "spread": spread} if spread else mean
    if "max_seconds" in bench:
        workload["time"] = f"{number_at(out, bench, ('benchmark', 'max_seconds')):g} s"
    if workload:
        with out.at(("benchmark",)):
            Workload.from_dict(workload)
        out.study["workload"] = workload
    if bench.get("benchmark_type", "guidellm") != "guidellm":
        out.note(
            ("benchmark", "benchmark_type"),
            f"'{bench['benchmark_type']}' has no equivalent; our load is put on",
        )
    if bench.get("dataset"):
        out.note(
            ("benchmark", "dataset"),
            "'dataset' has no equivalent: prompts are made; see `workload: {prompts: FILE}`",
        )
    out.note_rest({k: v for k, v in bench.items() if v is not None}, _WORKLOAD, ("benchmark",))


def _static_flags(out: Conversion, data: Mapping[str, object]) -> dict[str, object]:
    """Return the section of static parameters under our names, as the flags take them."""
    flags: dict[str, object] = {}
    section = "static_parameters"
    for name, value in mapping_at(out, data.get(section) or {}, (section,)).items():
        own, positive = canonical(name)
        flag = table("vllm").flags.get(own)
        if own in out.study.get("parameters", {}):
            out.note((section, name), f"{name!r} is searched; it is left out here")
        elif flag is None or why_not(own):
            out.note((section, name), f"{name!r} is left out: it {why_not(own)}")
        elif value is None:
            out.note((section, name), f"{name!r} is null; it is left out: vLLM decides")
        else:
            if not positive:
                out.note((section, name), f"{name!r} is the switch {own!r} turned round")
            flags[own] = turned(flag, value, positive)
    return {section: flags}


def _kept(
    out: Conversion,
    data: Mapping[str, object],
    section: str,
    form: Callable[[str, object], dict[str, object]],
) -> dict[str, object]:
    """Return what of a section our vLLM system takes; the rest is noted with its reason."""
    kept = {}
    for name, value in mapping_at(out, data.get(section) or {}, (section,)).items():
        try:
            build_system(
                {"use": "vllm", "model": "m", **form(name, _text(value) if "env" in section else value)}
            )
            kept[name] = value
        except SpecError as error:
            out.note((section, name), f"'{name}' is left out: {error.message}")
    return kept


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _constraints(out: Conversion, listed_constraints: object) -> None:
    """Add the constraints: of an expression without a comparison, 0 and less is allowed there."""
    if listed_constraints is None:
        return
    if not isinstance(listed_constraints, list):
        out.note(("constraints",), "constraints that are no list are left out")
        return
    for i, given in enumerate(listed_constraints):
        text = given.get("expression", given.get("constraint")) if isinstance(given, Mapping) else given
        if not isinstance(text, str):
            out.note(("constraints", i), f"{given!r} is no expression; it is left out")
            continue
        compared = any(sign in text for sign in ("<", ">", "=="))
        out.study.setdefault("constraints", []).append(text if compared else f"{text} <= 0")


def _baseline(out: Conversion, data: object) -> None:
    if data is None:
        return
    out.note(("baseline",), "'baseline' is always measured: the default configuration is the first trial")
    levels = data.get("concurrency_levels") if isinstance(data, Mapping) else None
    if isinstance(levels, list) and levels != [out.study.get("workload", {}).get("concurrency")]:
        text = f"the baseline is measured under the load of the study, not at {', '.join(map(str, levels))}"
        out.note(("baseline", "concurrency_levels"), text)


def _optimization(out: Conversion, data: Mapping[str, object]) -> None:
    if "n_trials" in data:
        out.study["budget"] = {"trials": out.trials(data, ("optimization", "n_trials"))}
    preset = data.get("preset")
    if isinstance(preset, str) and preset in _PRESETS:
        out.study["objective"] = dict(_PRESETS[preset])
    else:
        _goals(out, data)
    for key in data:
        if key in ("sampler", "n_startup_trials"):
            out.note(("optimization", key), f"'{key}' has no equivalent; `engine: gp` searches")
    out.note_rest(data, _OPTIMIZATION, ("optimization",))


def _goals(out: Conversion, data: Mapping[str, object]) -> None:
    several, single = data.get("objectives"), data.get("objective")
    found: list[tuple[Path_, object]] = [(("optimization", "objective"), single)]
    if isinstance(several, list):
        found = [(("optimization", "objectives", i), entry) for i, entry in enumerate(several)]
    elif isinstance(single, list):  # the tool reads no more of it than that there are several
        found = [(("optimization", "objective"), key) for key in _OLD_FORM]
    elif single is None:
        found = [(("optimization",), "maximize")]
    goals = []
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
        elif str(entry.get("percentile", "mean")) != "mean":
            out.note(path, f"{name} is one number here, over the whole load; it has no {entry['percentile']}")
        goals.append((path, str(entry.get("direction", "maximize")), name))
    out.set_goals(goals)

"""Parameter files of ``vllm bench sweep serve --serve-params``: a JSON list of configurations.

Either a list of mappings or a mapping of benchmark names to mappings
(https://docs.vllm.ai/en/v0.32.0/benchmarking/sweeps/). What the tool makes of a value is in
``vllm/benchmarks/sweep/param_sweep.py``: a truth value is a switch, a mapping JSON, all else a word.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from autotune.convert.base import Conversion
from autotune.convert.entries import listed
from autotune.convert.json_text import LIST
from autotune.convert.vllm_flags import canonical, turned, unset, why_not
from autotune.core.trial import config_key
from autotune.errors import SpecError
from autotune.spec.yaml_text import Document, Path_
from autotune.systems.served.flags import table

NAME = "vllm-sweep"

_BENCH = (
    "num_prompts", "request_rate", "max_concurrency", "random_input_len", "random_output_len", "burstiness",
    "dataset_name", "dataset_path", "num_warmups", "input_len", "output_len",
)  # fmt: skip
_OF_SCRIPT = ("num_seqs_list", "num_batched_tokens_list")  # of vLLM's benchmarks/auto_tune
_LABEL = "_benchmark_name"
_MODEL = "model"

_SCRIPT_HINT = (
    "write a study for each: `space: vllm`, its lists as max_num_seqs and max_num_batched_tokens, "
    "`rate: {search: max}` and its latency as a limit of e2e.p99"
)

Config = dict[str, Any]


def recognizes(document: Document) -> bool:
    """Return whether a document is a list of configurations, or one by name.

    One whose entries are partly wrong is of the format too: what is wrong with it is said then.
    """
    entries = _entries(document)
    if LIST in document.data:
        return True
    if {"parameters", "system"} & document.data.keys():  # a study file of ours
        return False
    mappings = [entry for entry in entries.values() if isinstance(entry, Mapping)]
    if any(canonical(str(key))[0] in table("vllm").flags for entry in mappings for key in entry):
        return True
    return bool(mappings) and len(mappings) == len(entries) and all(
        entry and not any(isinstance(v, list) for v in entry.values()) for entry in mappings
    )  # fmt: skip


def _entries(document: Document) -> dict[str | int, Any]:
    listed_entries = document.data.get(LIST)
    if isinstance(listed_entries, list) and len(document.data) == 1:
        return dict(enumerate(listed_entries))
    return dict(document.data.items())


def convert(document: Document) -> Conversion:
    """Return the space of the configurations of a sweep; its first entry is the default.

    Raises:
        SpecError: An entry is no mapping, or nothing could be converted.
    """
    out = Conversion(document)
    root: Path_ = (LIST,) if LIST in document.data else ()
    configs = _read_entries(out, _entries(document), root)
    model = _common_model(out, configs, root)
    fixed = _lists_apart(out, configs, root)
    known = table("vllm").flags
    for name in dict.fromkeys(name for config in configs.values() for name in config):
        without = [key for key, config in configs.items() if name not in config]
        if without:
            at = next(key for key, config in configs.items() if name in config)
            out.note((*root, at), f"{name!r} is not in every entry; where it is not, the engine decides")
            for key in without:
                configs[key][name] = unset(known[name])
        values = [config[name] for config in configs.values()]
        out.add((*root, next(iter(configs))), name, listed(values, default=values[0]))
    _as_list(out, list(configs.values()))
    out.study["system"] = {"use": "vllm", "model": model or "MODEL", **({"flags": fixed} if fixed else {})}
    if not model:
        out.note((), "the model is not in this file: write its name in the place of MODEL")
    out.note((), "the benchmark's parameters are not in this file: add a `workload`")
    return out.finish()


def _read_entries(out: Conversion, entries: Mapping[str | int, Any], root: Path_) -> dict[str | int, Config]:
    """Return the entries that vLLM's parser would take; each other one is noted with its reason."""
    for key, entry in entries.items():
        for name in entry if isinstance(entry, Mapping) else ():
            if name in _OF_SCRIPT:
                text = f"entry {key!r} with {name!r} is a run of vLLM's auto_tune script, not a configuration"
                error = SpecError(text, path=(*root, key, name), at_key=True, hint=_SCRIPT_HINT)
                raise out.source.locate(error)
        if not isinstance(entry, Mapping):
            found = "null" if entry is None else repr(entry)
            text = f"entry {key!r} must be a mapping of flags to values, found {found[:60]}"
            raise out.source.locate(SpecError(text, path=(*root, key)))
    if not entries:
        raise SpecError(f"{out.source.source}: it has no entries; allowed: a list of mappings of flags")
    configs = {}
    for key, entry in entries.items():
        config: Config = {}
        problem = ""
        if not entry:
            out.note((*root, key), f"entry {key!r} is empty: the engine decides on everything")
        for written, value in entry.items():
            problem = problem or _read_flag(out, config, str(written), value, (*root, key, written))
        if problem:
            out.note((*root, key), f"entry {key!r} is left out, vLLM refuses it: {problem}")
        else:
            configs[key] = {name: _plain(value) for name, value in config.items()}
    return configs


def _read_flag(out: Conversion, config: Config, written: str, value: object, path: Path_) -> str:
    """Add one setting of an entry to its configuration; return why vLLM refuses it, empty if it does not."""
    outer, *inner = written.split(".")
    name, positive = canonical(outer)
    if written == _LABEL:
        return ""
    flag = table("vllm").flags.get(name)
    where = f"entry {path[-2]!r}: {written!r}"
    if flag is not None and name.startswith(outer.lstrip("-").replace("-", "_")) and len(outer) < len(name):
        out.note(path, f"{where} is short for {name!r}")
    why = "belongs to the benchmark: see `workload`" if name in _BENCH else why_not(name)
    if flag is None or why:
        out.note(path, f"{where} {why}; it is left out")
        return ""
    if name in config and not (inner and isinstance(config[name], dict)):
        out.note(path, f"{where}: duplicate {name!r}; the last one counts")
    if value is None:
        out.note(path, f"{where} is null: the engine decides")
        config[name] = unset(flag)
        return ""
    if not positive:
        out.note(path, f"{where} is the switch {name!r} turned round")
    value = turned(flag, value, positive)
    if inner:
        value, problem = _merged(config.get(name), inner, value)
    else:
        problem = flag.refuses(value)
        problem = f"{name} {problem}" if problem else ""
    config[name] = value
    return problem


def _merged(structure: object, keys: list[str], value: object) -> tuple[object, str]:
    """Return a structure with one more part, and what stands where the part is to be, if anything does."""
    top = place = json.loads(json.dumps(structure)) if isinstance(structure, Mapping) else {}
    if structure is not None and not isinstance(structure, Mapping):
        return structure, f"it has a part {'.'.join(keys)!r} and is {structure!r} too"
    for key in keys[:-1]:
        place = place.setdefault(key, {})
        if not isinstance(place, dict):
            return structure, f"its part {key!r} has parts and is {place!r} too"
    place[keys[-1]] = value
    return top, ""


def _plain(value: object) -> object:
    """Return a structure as the JSON that the flag takes; other values and lists stay."""
    return json.dumps(value, separators=(",", ":")) if isinstance(value, Mapping) else value


def _common_model(out: Conversion, configs: dict[str | int, Config], root: Path_) -> str:
    """Take the model out of the configurations; those of another model than the first are left out."""
    first = next((config[_MODEL] for config in configs.values() if _MODEL in config), "")
    for key in list(configs):
        model = configs[key].pop(_MODEL, first)
        if model != first:
            out.note((*root, key), f"entry {key!r} is left out: it serves {model!r}, the others {first!r}; "
                                   "a study tunes one model")  # fmt: skip
            del configs[key]
    return str(first)


def _lists_apart(out: Conversion, configs: dict[str | int, Config], root: Path_) -> Config:
    """Take lists that are several words of a command out of the configurations; return those fixed to one."""
    fixed: Config = {}
    known = table("vllm").flags
    for name in dict.fromkeys(name for config in configs.values() for name in config):
        found = [config.get(name) for config in configs.values()]
        if not any(isinstance(value, list) for value in found):
            continue
        if known[name].kind == "json":
            for config in configs.values():
                if isinstance(config.get(name), list):
                    config[name] = json.dumps(config[name], separators=(",", ":"))
        else:
            at = next(key for key, config in configs.items() if isinstance(config.get(name), list))
            if all(value == found[0] for value in found):
                fixed[name] = found[0]
            else:
                out.note((*root, at), f"{name!r} takes several words, and no parameter has lists as values; "
                                      "it is left out")  # fmt: skip
            for config in configs.values():
                config.pop(name, None)
    return fixed


def _as_list(out: Conversion, configs: list[Config]) -> None:
    """Keep the list itself where it is not all combinations of its values."""
    rows = {config_key(config): config for config in configs}
    names = list(configs[0]) if configs else []
    columns = [{json.dumps(config[name]) for config in configs} for name in names]
    if names and len(rows) < math.prod(len(column) for column in columns):
        out.study["configurations"] = [{name: config[name] for name in names} for config in rows.values()]
        out.note((), "not every combination is listed: only the listed ones are allowed; "
                     "delete `configurations` to search all of them")  # fmt: skip

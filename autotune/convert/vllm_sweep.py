"""Parameter files of ``vllm bench sweep serve --serve-params``: a JSON list of configurations.

Either a list of mappings or a mapping of benchmark names to mappings
(https://docs.vllm.ai/en/v0.32.0/benchmarking/sweeps/).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from autotune.convert.base import Conversion, listed
from autotune.core.trial import config_key
from autotune.spec.yaml_text import Document
from autotune.systems.served.flags import AUTO, table

NAME = "vllm-sweep"
LIST = "entries"
"""Key under which a document holds a file whose top is a list."""

_BENCH = (
    "num_prompts", "request_rate", "max_concurrency", "random_input_len", "random_output_len", "burstiness",
    "dataset_name", "dataset_path", "num_warmups",
)  # fmt: skip


def recognizes(document: Document) -> bool:
    """Return whether a document is a list of configurations, or one by name."""
    entries = _entries(document)
    return bool(entries) and all(
        isinstance(entry, Mapping) and entry and not any(isinstance(v, list) for v in entry.values())
        for entry in entries.values()
    )


def _entries(document: Document) -> dict[Any, Any]:
    listed_entries = document.data.get(LIST)
    if isinstance(listed_entries, list) and len(document.data) == 1:
        return dict(enumerate(listed_entries))
    return dict(document.data)


def convert(document: Document) -> Conversion:
    """Return the space of the configurations of a sweep; its first entry is the default."""
    out = Conversion(document)
    entries = _entries(document)
    root = (LIST,) if LIST in document.data else ()
    configs = [_flags(entry) for entry in entries.values()]
    known = table("vllm").flags
    names = list(dict.fromkeys(name for config in configs for name in config))
    for name in list(names):
        at = next(key for key, config in zip(entries, configs, strict=True) if name in config)
        if name not in known:
            why = "belongs to the benchmark: see `workload`" if name in _BENCH else "is no flag of vLLM"
            out.note((*root, at), f"entry {at}: '{name}' {why}; it is left out")
            names.remove(name)
        elif any(name not in config for config in configs):
            out.note((*root, at), f"'{name}' is not in every entry; where it is not, the engine decides")
    for name in names:
        values = [config.get(name, AUTO) for config in configs]
        out.add((*root, next(iter(entries))), name, listed(values, default=values[0]))
    _as_list(out, configs, names)
    out.study["system"] = {"use": "vllm", "model": "MODEL"}
    out.note(root, "the model is not in this file: write its name in the place of MODEL")
    out.note(root, "the benchmark's parameters are not in this file: add a `workload`")
    return out.finish()


def _flags(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry as values of flags: ``no_x`` is ``x: false``, ``x.y`` a part of the structure ``x``."""
    known = table("vllm").flags
    result: dict[str, Any] = {}
    for key, given in entry.items():
        name, *inner = str(key).lstrip("-").split(".")
        name = name.replace("-", "_")
        if name.startswith("_"):
            continue
        value, positive = given, name.removeprefix("no_")
        if positive != name and isinstance(value, bool) and positive in known:
            name, value = positive, not value
        if not inner:
            result[name] = value
            continue
        place = result[name] = dict(result[name]) if isinstance(result.get(name), Mapping) else {}
        for part in inner[:-1]:
            place = place.setdefault(part, {})
        place[inner[-1]] = value
    return {
        n: json.dumps(v, separators=(",", ":")) if isinstance(v, Mapping) else v for n, v in result.items()
    }


def _as_list(out: Conversion, configs: list[dict[str, Any]], names: list[str]) -> None:
    """Keep the list itself where it is not all combinations of its values."""
    rows = {config_key({name: config.get(name, AUTO) for name in names}): config for config in configs}
    columns = [{json.dumps(config.get(name, AUTO)) for config in configs} for name in names]
    if names and len(rows) < math.prod(len(column) for column in columns):
        chosen = [{name: config.get(name, AUTO) for name in names} for config in rows.values()]
        out.study["configurations"] = chosen
        out.note((), "not every combination is listed: only the listed ones are allowed; "
                     "delete `configurations` to search all of them")  # fmt: skip

"""Parameter files of ``vllm bench sweep serve --serve-params``: a JSON list of configurations.

Either a list of mappings or a mapping of benchmark names to mappings
(https://docs.vllm.ai/en/v0.32.0/benchmarking/sweeps/).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

from autotune.convert.base import Conversion, listed, plain_value
from autotune.spec.yaml_text import Document
from autotune.systems.served.flags import table

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
        isinstance(entry, Mapping)
        and entry
        and not any(isinstance(v, Mapping | list) for v in entry.values())
        for entry in entries.values()
    )


def _entries(document: Document) -> dict[Any, Any]:
    listed_entries = document.data.get(LIST)
    if isinstance(listed_entries, list) and len(document.data) == 1:
        return dict(enumerate(listed_entries))
    return dict(document.data)


def convert(document: Document) -> Conversion:
    """Return the space of the configurations of a sweep."""
    out = Conversion(document)
    entries = _entries(document)
    root = (LIST,) if LIST in document.data else ()
    configs = [{str(key).lstrip("-").replace("-", "_"): plain_value(v) for key, v in e.items()
                if not str(key).startswith("_")} for e in entries.values()]  # fmt: skip
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
        values = [config[name] for config in configs if name in config]
        entry = listed(list(dict.fromkeys(values)))
        missing = len(values) < len(configs)
        if missing:
            entry = {"type": "categorical", "values": ["auto", *[str(v) for v in dict.fromkeys(values)]]}
        out.add((*root, next(iter(entries))), name, entry)
    _as_list(out, configs, names)
    out.study["system"] = {"use": "vllm"}
    out.note(root, "the model is not in this file: add `system: {model: ...}`")
    return out.finish()


def _as_list(out: Conversion, configs: list[dict[str, Any]], names: list[str]) -> None:
    """Keep the list itself where it is not all combinations of its values."""
    rows = {tuple(config.get(name, "auto") for name in names) for config in configs}
    columns = [list(dict.fromkeys(row[i] for row in sorted(rows, key=str))) for i in range(len(names))]
    if names and len(rows) < len(list(product(*columns))):
        plain = [dict(zip(names, row, strict=True)) for row in sorted(rows, key=str)]
        out.study["configurations"] = plain
        out.note((), "not every combination is listed: only the listed ones are allowed; "
                     "delete `configurations` to search all of them")  # fmt: skip

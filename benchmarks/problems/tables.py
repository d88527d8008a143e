"""Problems from tables of measurements: asking for a configuration gives its row.

A folder of tables holds ``specs.json`` and one ``NAME.csv.gz`` per table. The specification names, per table,
the parameters with their kind (``ordinal`` or ``categorical``), the objective and its direction, the column
of the task (one problem each) and the column whose value is ``ok`` where a row was measured.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

from autotune.core.measurement import Cause
from autotune.core.objective import Objective
from autotune.core.parameter import Categorical, Ordinal, Parameter
from autotune.core.space import Space
from autotune.core.trial import Config
from benchmarks.problems.base import Problem, Truth

LEAST = 24
"""Smaller tasks tell methods apart by luck only."""

CAUSES = {"oom": Cause.OUT_OF_MEMORY, "kv_capacity_exceeded": Cause.OUT_OF_MEMORY}
"""Causes of a row's status; any other failure is a crash."""

LIMITS: dict[str, tuple[str, list[str]]] = {
    "aic_qwen3_32b_h200": ("tokens_s_gpu", ["ttft_ms <= 1000", "tpot_ms <= 20"]),
    "argonne_llm_inference_bench": ("throughput_tok_s_per_device", ["latency_s <= 20"]),
    "llmpilot_gpu_profiles": ("throughput_tok_per_usd", ["median_itl_ms <= 50", "median_ttft_ms <= 1000"]),
}
"""Goal and limits of tables whose specification folds them into one number or leaves them open."""

NOISE = {"kt": 0.01, "aic": 0.02, "argonne": 0.02, "llmpilot": 0.12, "dynatree": 0.05, "llamacpp": 0.02}
"""Relative noise to replay, by the beginning of a table's name."""


def table_problems(folder: Path) -> dict[str, Callable[[], Problem]]:
    """Return the builder of every problem of a folder of tables, by ``TABLE/TASK``, in the order of names.

    Raises:
        FileNotFoundError: The folder has no ``specs.json``.
    """
    specs = json.loads((folder / "specs.json").read_text())
    known: dict[str, Callable[[], Problem]] = {}
    for name in sorted(specs):
        spec = specs[name]
        sizes = Counter(row[spec["task"]] for row in _rows(folder / f"{name}.csv.gz"))
        for task in spec["tasks"]:
            if sizes[task] >= LEAST:
                known[f"{name}/{task}"] = partial(_build, folder, name, task, spec)
    return known


@cache
def _rows(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", newline="") as file:
        return list(csv.DictReader(file))


def _build(folder: Path, name: str, task: str, spec: Mapping[str, Any]) -> Problem:
    rows = [row for row in _rows(folder / f"{name}.csv.gz") if row[spec["task"]] == task]
    return _problem(name, task, spec, rows)


def _problem(name: str, task: str, spec: Mapping[str, Any], rows: list[dict[str, str]]) -> Problem:
    parameters = [_parameter(key, kind, [row[key] for row in rows]) for key, kind in spec["params"].items()]
    goal, limits = LIMITS.get(name, (spec["objective"], []))
    direction = "maximize" if spec["direction"] == "max" else "minimize"
    objective = Objective.from_dict({direction: goal, "limits": limits})
    metrics = [goal, *(limit.metric for limit in objective.limits)]
    truths: dict[tuple[Any, ...], Truth] = {}
    listed: list[Config] = []
    for row in rows:
        config = {p.name: _value(row[p.name], p) for p in parameters}
        ok = row[spec["status"]] == "ok"
        found: Truth = CAUSES.get(row[spec["status"]], Cause.CRASHED_UNDER_LOAD)
        truths[tuple(config.values())] = {m: float(row[m]) for m in metrics} if ok else found
        listed.append(config)
    total = 1
    for parameter in parameters:
        total *= len(parameter.levels)
    space = Space(tuple(parameters), configurations=None if len(truths) == total else tuple(listed))
    noise = next((value for start, value in NOISE.items() if name.startswith(start)), 0.02)
    names = space.names
    return Problem(f"{name}/{task}", space, objective, lambda c: truths[tuple(c[n] for n in names)], noise)


def _parameter(name: str, kind: str, found: list[str]) -> Parameter:
    if kind == "categorical":
        return Categorical(name, tuple(sorted(set(found))))
    return Ordinal(name, tuple(sorted({_number(text) for text in found})))


def _number(text: str) -> int | float:
    value = float(text)
    return int(value) if value.is_integer() else value


def _value(text: str, parameter: Parameter) -> Any:
    return text if isinstance(parameter, Categorical) else _number(text)

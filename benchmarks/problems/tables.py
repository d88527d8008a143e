"""Problems from tables of measurements: asking for a configuration gives its row.

A folder of tables holds ``specs.json`` and one ``NAME.csv.gz`` per table, as
:mod:`autotune.core.measured_table` describes them. Each task of a table is a problem.
"""

from __future__ import annotations

import csv
import gzip
import math
import statistics
from collections import Counter
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

from autotune.core.measured_table import SPECS, MeasuredTable, read_tables, table_specs
from autotune.core.measurement import Cause
from autotune.core.objective import Objective
from autotune.core.trial import config_key
from benchmarks.problems.base import Problem, Truth

OWN = Path(__file__).parents[1] / "tables"
"""Tables measured with ``autotune sweep``; in the form that ``autotune/core/measured_table.py`` describes."""

LEAST = 24
"""Smaller tasks tell methods apart by luck only."""

LIMITS: dict[str, tuple[str, list[str]]] = {
    "aic_qwen3_32b_h200": ("tokens_s_gpu", ["ttft_ms <= 1000", "tpot_ms <= 20"]),
    "argonne_llm_inference_bench": ("throughput_tok_s_per_device", ["latency_s <= 20"]),
    "llmpilot_gpu_profiles": ("throughput_tok_per_usd", ["median_itl_ms <= 50", "median_ttft_ms <= 1000"]),
}
"""Goal and limits of tables whose specification folds them into one number or leaves them open."""

NOISE = {"kt": 0.01, "aic": 0.02, "argonne": 0.02, "llmpilot": 0.12, "dynatree": 0.05, "llamacpp": 0.02}
"""Relative noise to replay, by the beginning of a table's name."""


_NOISE = 0.02  # of servers, where nothing better is known


def table_problems(folder: Path) -> dict[str, Callable[[], Problem]]:
    """Return the builder of every problem of a folder of tables, by ``TABLE/TASK``, in the order of names.

    Raises:
        FileNotFoundError: The folder has no ``specs.json``.
    """
    if not (folder / SPECS).exists():
        raise FileNotFoundError(f"{folder} has no {SPECS}")
    known: dict[str, Callable[[], Problem]] = {}
    for name, spec in sorted(table_specs(folder).items()):
        sizes = _sizes(folder / f"{name}.csv.gz", spec["task"])
        for task in spec["tasks"]:
            if sizes[task] >= LEAST:
                known[f"{name}/{task}"] = partial(_build, folder, name, task)
    return known


@cache
def _sizes(path: Path, column: str) -> Counter[str]:
    with gzip.open(path, "rt", newline="") as file:
        return Counter(row[column] for row in csv.DictReader(file))


@cache
def _tables(path: Path) -> dict[str, MeasuredTable]:
    return read_tables(path)


def _build(folder: Path, name: str, task: str) -> Problem:
    table = _tables(folder / f"{name}.csv.gz")[task]
    goal, limits = LIMITS.get(name, (None, []))
    objective = dict(table.objective)
    if goal is not None:
        direction = next(key for key in ("maximize", "minimize") if key in objective)
        objective = {direction: goal, "limits": limits}
    read = Objective.from_dict(objective)
    metrics = [read.goals[0].metric, *(limit.metric for limit in read.limits)]
    truths: dict[str, Truth] = {}
    for key, rows in table.by_config.items():
        found = table.truth(rows[0].config)
        truths[key] = found if isinstance(found, Cause) else {m: found[m].value for m in metrics}
    noise = next((value for start, value in NOISE.items() if name.startswith(start)), None)
    return Problem(
        f"{name}/{task}",
        table.space,
        read,
        lambda config: truths[config_key(config)],
        measured_noise(table, metrics[0]) if noise is None else noise,
    )


def measured_noise(table: MeasuredTable, metric: str) -> float:
    """Return the relative standard deviation of a metric between replicates, pooled over configurations.

    Formula: sqrt(mean over configurations of the variance of the logarithm); 0.02 without replicates.
    """
    variances = []
    for rows in table.by_config.values():
        values = [row.metrics[metric].value for row in rows if row.cause is None and metric in row.metrics]
        if len(values) > 1 and min(values) > 0:
            variances.append(statistics.variance(map(math.log, values)))
    return math.sqrt(statistics.fmean(variances)) if variances else _NOISE

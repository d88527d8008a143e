"""Tables of measurements: one row per measurement, a CSV file that a specification describes.

``NAME.csv.gz`` (or ``NAME.csv``) lies beside ``specs.json``, a mapping of names to specifications:

* ``task``: the column that tells one optimization problem from another; ``tasks``: its values;
* ``params``: columns of the parameters with their kind, ``ordinal`` (numbers in order) or ``categorical``;
* ``objective`` and ``direction`` (``max`` or ``min``); ``limits``: those of the objective, as text;
* ``status``: the column that is ``ok`` for a measurement and the cause for a failure.

Tables measured here say more, and what is read then loses nothing: ``space`` (as in a study file: ranges,
scales, conditions, constraints), ``metrics`` (unit by column, which what is read is converted from;
``NAME.sem`` and ``NAME.n`` are its standard error and count), ``replicate`` (the column that counts
measurements of one configuration from 1), ``facts`` (columns that say where and when) and ``about`` (system,
workload, hardware of all rows). An inactive parameter's cell is empty.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from autotune.core.endpoint import foreign_json
from autotune.core.input_file import read_text, why
from autotune.core.json_object import JsonObject
from autotune.core.measurement import LARGEST, Cause, Estimate, in_unit_of
from autotune.core.parameter import Categorical, Ordinal, Parameter
from autotune.core.space import Space
from autotune.core.trial import Config, config_key
from autotune.errors import SpecError, UnitError, did_you_mean

SPECS = "specs.json"
OK = "ok"
_CAUSES = {"oom": Cause.OUT_OF_MEMORY, "kv_capacity_exceeded": Cause.OUT_OF_MEMORY}
_KNOWN = {cause.value: cause for cause in Cause}
_KINDS = {str: "text", list: "list", dict: "mapping"}
_MOST_BYTES, _MOST_SPECS = 1 << 28, 1 << 24  # of a table and of what is said of all tables of a folder
_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")

Row = dict[str, str]
"""Cells by column."""


@dataclass(frozen=True)
class MeasuredRow:
    """One measurement of a table.

    Args:
        config: Values of the active parameters.
        metrics: Estimates by name; empty for a failure.
        cause: Reason why there are none; ``None`` for a measurement.
        replicate: Number within the configuration, counted from 1.
        facts: Other columns, as text.
    """

    config: Config
    metrics: Mapping[str, Estimate]
    cause: Cause | None = None
    replicate: int = 1
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class MeasuredTable:
    """Measurements of one problem.

    Args:
        name: Name of the table.
        task: Name of one of its problems.
        space: Search space that was measured.
        objective: Objective as in a study file: direction to metric, and limits.
        rows: Rows in the order of the file.
        about: Facts that hold for all rows: plain JSON data.
    """

    name: str
    task: str
    space: Space
    objective: JsonObject
    rows: tuple[MeasuredRow, ...]
    about: JsonObject = field(default_factory=dict)

    @cached_property
    def by_config(self) -> dict[str, list[MeasuredRow]]:
        """Rows of each configuration by its key, those lost to environment faults left out."""
        found: dict[str, list[MeasuredRow]] = {}
        for row in self.rows:
            if row.cause is None or row.cause.configuration_at_fault:
                found.setdefault(config_key(row.config), []).append(row)
        return found

    def find(self, config: Config) -> list[MeasuredRow]:
        """Return the measurements of a configuration; empty if there are none."""
        known = {name: value for name, value in config.items() if name in self.space.names}
        found = self.by_config.get(config_key(known))
        if found is not None:
            return found
        try:  # of another space, whose values may have other types: 32 for the cell '32'
            return self.by_config.get(config_key(self.space.validate(known)), [])
        except SpecError:
            return []

    def truth(self, config: Config) -> dict[str, Estimate] | Cause:
        """Return a configuration's metrics, replicates averaged, or why it fails.

        It fails if at least half of its replicates did, for the cause that comes first.

        Raises:
            KeyError: It is not in the table.
        """
        rows = self.find(config)
        if not rows:
            raise KeyError(config_key(config))
        causes = [row.cause for row in rows if row.cause is not None]
        if 2 * len(causes) >= len(rows):
            return causes[0]
        measured = [row.metrics for row in rows if row.cause is None]
        names = [name for name in measured[0] if all(name in metrics for metrics in measured)]
        return {name: _average([metrics[name] for metrics in measured]) for name in names}


def _average(estimates: Sequence[Estimate]) -> Estimate:
    if len(estimates) == 1:
        return estimates[0]
    return Estimate.mean_of([estimate.value for estimate in estimates], estimates[0].unit)


def table_specs(folder: Path) -> dict[str, Any]:
    """Return the specifications of a folder of tables by name; empty where it has none.

    Raises:
        SpecError: They cannot be read.
    """
    file = folder / SPECS
    if not file.exists():
        return {}
    try:
        found = foreign_json(read_text(file, _MOST_SPECS))
        if not isinstance(found, dict):
            raise ValueError(
                f"it must be a mapping of tables to what is said of them, found {str(found)[:40]}"
            )
    except (OSError, ValueError) as error:
        raise SpecError(f"cannot read {file}: {why(error)}") from None
    return found


def table_name(path: Path) -> str:
    """Return the name of a table's file without its endings."""
    return path.name.removesuffix(".gz").removesuffix(".csv")


def read_tables(path: str | Path) -> dict[str, MeasuredTable]:
    """Read every problem of a table by its task.

    Raises:
        SpecError: There is no such table, its folder does not describe it, or a cell is wrong.
    """
    file = Path(path)
    if not file.is_file():
        raise SpecError(f"no such table: {file}" if not file.exists() else f"no regular file: {file}")
    name = table_name(file)
    specs = table_specs(file.parent)
    if name not in specs:
        raise SpecError(
            f"{file.parent / SPECS} says nothing of a table {name!r}", hint=did_you_mean(name, specs)
        )
    spec = _checked(specs[name], f"{file.parent / SPECS}: table {name!r}")
    try:
        text = read_text(file, _MOST_BYTES)
    except (OSError, ValueError) as error:
        raise SpecError(f"cannot read the table {file}: {why(error)}") from None
    groups: dict[str, list[Row]] = {task: [] for task in spec["tasks"]}
    for row in _rows(file, text, spec):
        if row[spec["task"]] in groups:
            groups[row[spec["task"]]].append(row)
    try:
        return {task: _table(name, task, spec, rows) for task, rows in groups.items()}
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise SpecError(f"{file}: what {SPECS} says of it does not fit its cells: {error}") from None


def _checked(spec: Any, where: str) -> JsonObject:
    """Return a specification that has what every table needs.

    Raises:
        SpecError: Something is missing or of a wrong type.
    """
    kinds = {"task": str, "tasks": list, "params": dict, "objective": str, "direction": str, "status": str}
    for key, kind in kinds.items():
        found = spec.get(key) if isinstance(spec, dict) else spec
        if not isinstance(found, kind):
            raise SpecError(f"{where}: {key} must be a {_KINDS[kind]}, found {str(found)[:40]!r}")
    if not all(isinstance(task, str) for task in spec["tasks"]):
        raise SpecError(f"{where}: tasks must be texts, found {str(spec['tasks'])[:40]}")
    return dict(spec)


def _rows(file: Path, text: str, spec: JsonObject) -> Iterator[Row]:
    """Yield the rows of a table; every one has all columns.

    Raises:
        SpecError: It is no CSV, or a column or cell is missing; the line is named.
    """
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        columns = list(reader.fieldnames or ())
        for name in (spec["task"], spec["status"], *spec["params"]):
            if name not in columns:
                raise SpecError(
                    f"{file}:1: no column {name!r}; found {', '.join(map(repr, columns))[:200] or 'nothing'}",
                    hint=did_you_mean(name, columns),
                )
        for row in reader:
            if None in row or None in row.values():
                raise SpecError(f"{file}:{reader.line_num}: a row has {len(columns)} cells")
            yield {name: plain_cell(cell) for name, cell in row.items()}
    except csv.Error as error:
        raise SpecError(f"{file}:{reader.line_num + 1}: no CSV: {error}") from None


def read_table(path: str | Path, task: str = "") -> MeasuredTable:
    """Read one problem of a table.

    Args:
        path: Path of the file.
        task: Name of the problem; may be left out where the table has one only.

    Raises:
        SpecError: As for :func:`read_tables`, or there is no such problem.
    """
    tables = read_tables(path)
    if not task and len(tables) == 1:
        return next(iter(tables.values()))
    if task not in tables:
        found = f"found {task!r}" if task else "found none"
        raise SpecError(
            f"name a task of {Path(path).name}; allowed: {', '.join(tables)}; {found}",
            path=("task",),
            hint=did_you_mean(task, tables),
        )
    return tables[task]


def _table(name: str, task: str, spec: JsonObject, rows: Sequence[Mapping[str, str]]) -> MeasuredTable:
    if not rows:
        raise SpecError(f"table {name} has no row of task {task!r}")
    parameters = list(spec["params"])
    listed = None
    if "space" in spec:
        whole = Space.from_dict(spec["space"])
    else:
        whole = Space(tuple(_parameter(key, kind, [row[key] for row in rows])
                            for key, kind in spec["params"].items()))  # fmt: skip
    configs = [_config(whole, {key: row[key] for key in parameters if row[key] != ""}) for row in rows]
    if whole.configurations is None:
        keys = {config_key(config) for config in configs}
        count = whole.count()
        if not count.exact or count.value != len(keys):
            listed = tuple(configs)
    space = Space(whole.parameters, whole.constraints, listed or whole.configurations, whole.derived)
    metrics = spec.get("metrics") or dict.fromkeys(_numbers(spec, rows), "1")
    if not isinstance(metrics, Mapping) or not all(isinstance(unit, str) for unit in metrics.values()):
        raise SpecError(f"table {name}: metrics must be a mapping of columns to units, found {metrics!r}")
    direction = "maximize" if spec["direction"] == "max" else "minimize"
    try:
        read = tuple(_row(spec, metrics, config, row) for config, row in zip(configs, rows, strict=True))
    except UnitError as error:
        raise UnitError(f"table {name}: {error.message}", hint=error.hint) from None
    objective = {direction: spec["objective"], "limits": list(spec.get("limits", []))}
    return MeasuredTable(name, task, space, objective, read, spec.get("about", {}))


def _config(space: Space, cells: Mapping[str, str]) -> Config:
    return space.validate(cells)


def _numbers(spec: JsonObject, rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the columns that are numbers in every row that was measured."""
    known = {spec["task"], spec["status"], *spec["params"]}
    measured = [row for row in rows if row[spec["status"]] == OK]
    return [
        name
        for name in (measured[0] if measured else {})
        if name not in known and all(_is_number(row[name]) for row in measured)
    ]


def _is_number(text: str) -> bool:
    try:
        return abs(float(text)) < float("inf")
    except ValueError:
        return False


def _row(spec: JsonObject, metrics: Mapping[str, str], config: Config, row: Mapping[str, str]) -> MeasuredRow:
    status = row[spec["status"]]
    replicate = int(row[spec["replicate"]]) if "replicate" in spec else 1
    facts = {name: row[name] for name in spec.get("facts", ()) if name in row}
    if status != OK:
        cause = _KNOWN.get(status, _CAUSES.get(status, Cause.CRASHED_UNDER_LOAD))
        return MeasuredRow(config, {}, cause, replicate, facts)
    found = {}
    for name, unit in metrics.items():
        if row.get(name):
            sem, n = row.get(f"{name}.sem", ""), row.get(f"{name}.n", "")
            estimate = Estimate(float(row[name]), float(sem) if sem else None, int(n or 1), unit)
            if max(abs(estimate.value), estimate.sem or 0.0) > LARGEST:
                raise SpecError(f"column {name!r} has {row[name]}, which is too large")
            found[name] = in_unit_of(name, estimate, unit)
    return MeasuredRow(config, found, None, replicate, facts)


def _parameter(name: str, kind: str, found: Sequence[str]) -> Parameter:
    if kind == "categorical":
        return Categorical(name, tuple(sorted(set(found))))
    numbers = {float(text) for text in found}
    return Ordinal(name, tuple(sorted(int(n) if n.is_integer() else n for n in numbers)))


def write_table(path: str | Path, table: MeasuredTable) -> None:
    """Write a table and its specification, so that whoever reads it sees all of it or none.

    The same table gives the same bytes; the specifications of other tables of the folder stay.

    Raises:
        UnitError: A metric has units of different dimensions in different rows.
    """
    file = Path(path)
    names = list(table.space.names)
    metrics = _units(table)
    facts = list(dict.fromkeys(name for row in table.rows for name in row.facts))
    errors = [f"{name}.{part}" for name in metrics for part in ("sem", "n")]
    columns = ["task", *names, "replicate", "status", *metrics, *errors, *facts]
    out = io.StringIO(newline="")
    found: list[dict[str, object]] = []
    for row in table.rows:
        cells: dict[str, object] = {"task": table.task, "replicate": row.replicate}
        cells |= {name: _cell(row.config[name]) for name in names if name in row.config}
        cells["status"] = OK if row.cause is None else row.cause.value
        for name, given in row.metrics.items():
            estimate = given.in_base_unit()
            cells |= {name: repr(estimate.value), f"{name}.n": estimate.n}
            cells |= {} if estimate.sem is None else {f"{name}.sem": repr(estimate.sem)}
        found.append({key: safe_cell(cell) for key, cell in (cells | dict(row.facts)).items()})
    # a carriage return would end a row that is not quoted
    torn = any("\r" in cell for cells in found for cell in cells.values() if isinstance(cell, str))
    writer = csv.DictWriter(
        out, columns, restval="", lineterminator="\n", quoting=csv.QUOTE_ALL if torn else csv.QUOTE_MINIMAL
    )
    writer.writeheader()
    writer.writerows(found)
    text = out.getvalue().encode()
    _replace(file, gzip.compress(text, mtime=0) if file.suffix == ".gz" else text)
    direction, goal = next((k, v) for k, v in table.objective.items() if k in ("maximize", "minimize"))
    spec = {
        "task": "task",
        "tasks": [table.task],
        "params": {p.name: "ordinal" if p.ordered else "categorical" for p in table.space},
        "objective": goal,
        "direction": direction[:3],
        "limits": list(table.objective.get("limits", [])),
        "status": "status",
        "replicate": "replicate",
        "metrics": metrics,
        "facts": facts,
        "space": table.space.to_dict(),
        "about": dict(table.about),
    }
    specs = {**table_specs(file.parent), table_name(file): spec}
    ordered = {name: specs[name] for name in sorted(specs)}  # parameters stay in their own order
    _replace(file.parent / SPECS, (json.dumps(ordered, indent=1) + "\n").encode())


def _units(table: MeasuredTable) -> dict[str, str]:
    """Return the base unit of each column of metrics."""
    units: dict[str, str] = {}
    for row in table.rows:
        for name, estimate in row.metrics.items():
            unit = estimate.in_base_unit().unit
            if units.setdefault(name, unit) != unit:
                raise UnitError(
                    f"column {name!r} of a table has one unit, found {units[name]!r} and {unit!r}"
                )
    return units


def safe_cell(cell: object) -> object:
    """Return a cell as it is written: a spreadsheet must not take a text such as ``=cmd|...`` for a formula.

    An apostrophe before it says that it is text; :func:`plain_cell` takes it away. Numbers stay.
    """
    return f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) and not _is_number(cell) else cell


def plain_cell(cell: str) -> str:
    """Return the text that a cell stands for."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def _cell(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _replace(path: Path, data: bytes) -> None:
    draft = path.with_name(path.name + ".part")
    with draft.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)

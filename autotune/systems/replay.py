"""A measured table: asking for a configuration gives what was measured of it, and nothing is launched."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np

from autotune.core.file_names import CONFIG_NAME
from autotune.core.input_file import resolved
from autotune.core.json_object import JsonObject
from autotune.core.kinds import By, Key, Needs, Text
from autotune.core.measured_table import MeasuredRow, MeasuredTable, read_table
from autotune.core.measurement import Cause, Estimate, Failure
from autotune.core.section import Section
from autotune.core.trial import Config, config_key
from autotune.core.units import parse_quantity
from autotune.errors import EnvironmentProblem, SpecError
from autotune.systems.base import AttemptFailed, Driver
from autotune.systems.deployment import Deployment

_MEASURED, _NONE = "measured", "none"


def _share(noise: str) -> float | None:
    if noise in (_MEASURED, _NONE):
        return None if noise == _MEASURED else 0.0
    try:
        share = parse_quantity(noise, dimension="number").value
    except SpecError:
        share = math.nan
    if not 0 <= share < 1:
        raise SpecError(f"noise must be {_MEASURED}, {_NONE} or a share such as 2 %, found {noise!r}")
    return share


def _noise(raw: object, name: str) -> str:
    _share(str(raw))
    return str(raw)


@dataclass(frozen=True)
class ReplaySystem(Section):
    """A table in which configurations are looked up.

    Args:
        path: Path of the table; a relative one is taken from the study file's folder.
        task: Name of one of its problems, where it has several.
        noise: ``measured``: one of the replicates, or the row's value with its own error; ``none``: the mean
            of the replicates; or a relative standard deviation such as ``2 %`` around that mean.
    """

    name: ClassVar[str] = "replay"

    title: ClassVar[str] = "a replay system"

    path: Annotated[str, Text(), Key("table"), Needs("a table: the path of a .csv.gz file")]
    task: Annotated[str, Text()] = ""
    noise: Annotated[str, By(_noise, what="`measured`, `none` or a share")] = _MEASURED

    @classmethod
    def located(cls, data: Mapping[str, object], folder: Path) -> dict[str, Any]:
        """Return the section with its path made absolute, starting from the study file's folder."""
        table = data.get("table")
        if not isinstance(table, str) or not table:
            return dict(data)  # what is wrong with it is said by whoever reads it
        return {**data, "table": str(resolved((folder / table).expanduser()))}

    @property
    def share(self) -> float | None:
        """The relative noise that is added, ``None`` for that of the measurements."""
        return _share(self.noise)

    @property
    def measured_table(self) -> MeasuredTable:
        """The table, read once per process."""
        return _read(self.path, self.task)

    @property
    def units(self) -> dict[str, str]:
        """Base unit by column of the table, where it says one; empty while the table cannot be read."""
        try:
            rows = self.measured_table.rows
        except (SpecError, OSError):
            return {}
        return {name: e.unit for row in rows for name, e in row.metrics.items() if e.unit != "1"}

    def prepare(self, log: Callable[[str], None]) -> None:
        """Read the table; see :meth:`check_machine`."""
        self.check_machine()

    def check_machine(self) -> None:
        """Read the table.

        Raises:
            EnvironmentProblem: It cannot be read.
        """
        try:
            _ = self.measured_table
        except SpecError as error:
            raise EnvironmentProblem(error.message, hint=error.hint) from None

    def prepare_node(self) -> None:
        """Do nothing."""

    def parameters(self) -> None:
        """Return ``None``: :meth:`check` knows the table."""
        return

    def check(self, config: Config) -> Failure | None:
        """Return why a configuration cannot be looked up: the table does not have it."""
        table = self.measured_table
        if table.find(config):
            return None
        for name, value in config.items():
            if name in table.space.names:
                seen = {str(row.config[name]): None for row in table.rows if name in row.config}
                if str(value) not in seen:
                    text = f"{name}={value} is not in the table {table.name}; it has {', '.join(seen)}"
                    return Failure(Cause.REJECTED_FLAGS, text)
        absent = [name for name in table.space.names if name not in config and name in table.rows[0].config]
        hint = f"; parameters of the table: {', '.join(table.space.names)}" if absent else ""
        text = f"the table {table.name} has no measurement of {config_key(config)}{hint}"
        return Failure(Cause.REJECTED_FLAGS, text)

    def batch_size(self, config: Config) -> int:
        """Return 1: nothing is sent."""
        return 1

    def resources(self, config: Config) -> dict[str, float]:
        """Return one processor, for the look."""
        return {"cpus": 1.0}

    def command(self, config: Config, scratch: Path) -> None:
        """Return ``None``: nothing is launched."""
        return

    def connect(self, scratch: Path, deadline: float) -> Driver:
        """Return the driver that gives what was measured."""
        job = json.loads((scratch / CONFIG_NAME).read_text(encoding="utf-8"))
        return ReplayDriver(self, job["config"], int(job["trial"]), int(job["attempt"]))

    def diagnose(self, exit_code: int | None, log: str) -> Failure:
        """Return an environment fault: there is no process that could have died."""
        return Failure(Cause.WORKER_LOST, "nothing was launched", log)

    def deploy(self, config: Config) -> Deployment:
        """Return that there is nothing to start: the measurements of a table were made elsewhere."""
        table = os.path.abspath(self.path)
        return Deployment(notes=(f"nothing to start: the measurements are those of the table {table}",))


@cache
def _read(path: str, task: str) -> MeasuredTable:
    return read_table(path, task)


class ReplayDriver:
    """The entries of a table for one configuration.

    Args:
        system: System with the table.
        config: Configuration that is looked up.
        trial, attempt: Seed of the noise: equal trials give equal numbers.
    """

    def __init__(self, system: ReplaySystem, config: Config, trial: int, attempt: int) -> None:
        self.system = system
        self.config = config
        seed = hashlib.blake2b(f"{config_key(config)}/{trial}/{attempt}".encode(), digest_size=8).digest()
        self._rng = np.random.default_rng(int.from_bytes(seed))

    def facts(self) -> JsonObject:
        """Return where the numbers come from."""
        table = self.system.measured_table
        return {
            "replayed": table.name,
            "task": table.task,
            "noise": self.system.noise,
            "replicates": len(table.find(self.config)),
            "about": dict(table.about),
        }

    def measure(self, deadline: float) -> Mapping[str, Estimate]:
        """Return what was measured; see :class:`autotune.systems.base.OwnDriver`.

        Raises:
            AttemptFailed: The measurement was a failure, for its cause.
        """
        if self.system.share is None:
            rows = self.system.measured_table.find(self.config)
            row = rows[int(self._rng.integers(len(rows)))]
            return self._drawn(row, alone=len(rows) == 1)
        found = self.system.measured_table.truth(self.config)
        if isinstance(found, Cause):
            raise AttemptFailed(Failure(found, "as measured in the table"))
        share = self.system.share
        return {
            name: Estimate(
                estimate.value * math.exp(share * self._rng.standard_normal()) if share else estimate.value,
                abs(estimate.value) * share if share else estimate.sem,
                estimate.n,
                estimate.unit,
            )
            for name, estimate in found.items()
        }

    def _drawn(self, row: MeasuredRow, *, alone: bool) -> dict[str, Estimate]:
        """Return one replicate; a single one is drawn again within its own error."""
        if row.cause is not None:
            raise AttemptFailed(Failure(row.cause, "as measured in the table"))
        if not alone:
            return dict(row.metrics)
        return {
            name: Estimate(e.value + (e.sem or 0.0) * self._rng.standard_normal(), e.sem, e.n, e.unit)
            for name, e in row.metrics.items()
        }

    def metrics(self, deadline: float) -> Mapping[str, Estimate]:
        """Return nothing more."""
        return {}

    def close(self) -> None:
        """Do nothing."""

"""What programs and functions that measure themselves share as systems."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from autotune.core.environment import import_path
from autotune.core.input_file import resolved
from autotune.core.measurement import Cause, Estimate, Failure, in_unit_of
from autotune.core.trial import Config
from autotune.core.units import parse_quantity
from autotune.errors import EnvironmentProblem, SpecError, UnitError
from autotune.systems.base import Command
from autotune.systems.own.diagnosis import diagnose, read_failures

SHARED_KEYS = ("folder", "repeats", "failures", "units")


class OwnSystem:
    """Launch a program that measures itself.

    Args:
        folder: Working folder of the program; a relative one is taken from the study file's.
        repeats: Runs per attempt; the standard error is then between runs.
        failures: Causes by exit code or by text of the log.
        units: Unit by metric, where the program gives none; what is measured is converted from it.
    """

    def __init__(
        self, folder: str, repeats: int, failures: Mapping[str, Cause], units: Mapping[str, str]
    ) -> None:
        self.folder = folder
        self.repeats = repeats
        self.failures = dict(failures)
        self.units = dict(units)

    @classmethod
    def located(cls, data: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        """Return the section with its folder made absolute, starting from that of the study file."""
        return {**data, "folder": str(resolved((folder / str(data.get("folder", "."))).expanduser()))}

    def shared_dict(self) -> dict[str, Any]:
        """Return the keys that :func:`read_shared` reads back."""
        result: dict[str, Any] = {"folder": self.folder, "repeats": self.repeats}
        if self.failures:
            result["failures"] = {key: cause.value for key, cause in self.failures.items()}
        return result | ({"units": self.units} if self.units else {})

    def prepare(self, log: Callable[[str], None]) -> None:
        """Check that what is launched is there; see :meth:`check_machine`."""
        self.check_machine()

    def check_machine(self) -> None:
        """Check that the folder is there.

        Raises:
            EnvironmentProblem: It is not.
        """
        if not Path(self.folder).is_dir():
            raise EnvironmentProblem(f"no such folder: {self.folder}")

    def prepare_node(self) -> None:
        """Do nothing: the program brings what it needs."""

    def batch_size(self, config: Config) -> int:
        """Return 1: the program sends its own requests."""
        return 1

    def resources(self, config: Config) -> dict[str, float]:
        """Return one processor; the study file's ``resources`` says more."""
        return {"cpus": 1.0}

    def launched(self, words: list[str], env: Mapping[str, str]) -> Command:
        """Return the process that runs a program and watches it."""
        argv = (sys.executable, "-m", "autotune.systems.own.launch", "--repeats", str(self.repeats), "--")
        own = {**import_path(), "PYTHONUNBUFFERED": "1", "AUTOTUNE_FOLDER": self.folder}
        return Command((*argv, *words), {**own, **env})

    def diagnose(self, exit_code: int | None, log: str) -> Failure:
        """Return why the program failed."""
        return diagnose(exit_code, log, self.failures)


def read_shared(data: Mapping[str, Any]) -> tuple[str, int, dict[str, Cause], dict[str, str]]:
    """Read the keys that both kinds have: folder, repeats, failures and units.

    Raises:
        SpecError: One is wrong; ``path`` leads to it.
    """
    folder = data.get("folder", ".")
    if not isinstance(folder, str) or not folder:
        raise SpecError(f"folder must be a path, found {folder!r}", path=("folder",))
    try:
        repeats = parse_quantity(data.get("repeats", 1), dimension="number").value
    except SpecError as error:
        raise SpecError(f"repeats: {error.message}", path=("repeats",), hint=error.hint) from None
    if repeats < 1 or not repeats.is_integer():
        text = f"repeats must be a whole number of at least 1, found {data['repeats']!r}"
        raise SpecError(text, path=("repeats",))
    try:
        failures = read_failures(data.get("failures", {}))
    except SpecError as error:
        raise SpecError(error.message, path=("failures", *error.path), hint=error.hint) from None
    units = data.get("units", {})
    if not isinstance(units, Mapping) or not all(isinstance(unit, str) for unit in units.values()):
        raise SpecError(f"units must be a mapping of metrics to units, found {units!r}", path=("units",))
    for metric, unit in units.items():
        try:
            in_unit_of(metric, Estimate(1.0, unit=unit or "1"))
        except UnitError as error:
            raise UnitError(
                error.message.replace("found 1 ", "found the unit "), path=("units", metric), hint=error.hint
            ) from None
    return folder, int(repeats), failures, dict(units)

"""What programs and functions that measure themselves share as systems."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from autotune.core.environment import import_path, own_module
from autotune.core.input_file import resolved
from autotune.core.kinds import By, Text, Texts, Whole
from autotune.core.measurement import Cause, Estimate, Failure, in_unit_of
from autotune.core.section import Section
from autotune.core.trial import Config
from autotune.errors import EnvironmentProblem, UnitError
from autotune.systems.base import Command
from autotune.systems.own.diagnosis import diagnose, read_failures


def _units(raw: object, name: str) -> dict[str, str]:
    units = Texts("a mapping of metrics to units").read(raw, name)
    for metric, unit in units.items():
        try:
            in_unit_of(metric, Estimate(1.0, unit=unit or "1"))
        except UnitError as error:
            text = error.message.replace("found 1 ", "found the unit ")
            raise UnitError(text, path=(metric,), hint=error.hint) from None
    return units


def _causes(failures: Mapping[str, Cause]) -> dict[str, str]:
    return {key: cause.value for key, cause in failures.items()}


@dataclass(frozen=True, kw_only=True)
class OwnSystem(Section):
    """A program that measures itself.

    Args:
        folder: Working folder of the program; a relative one is taken from the study file's.
        repeats: Runs per attempt; the standard error is then between runs.
        failures: Causes by exit code or by text of the log.
        units: Unit by metric, where the program gives none; what is measured is converted from it.
    """

    folder: Annotated[str, Text("a path", needed=True)] = "."
    repeats: Annotated[int, Whole(1)] = 1
    failures: Annotated[Mapping[str, Cause], By(read_failures, _causes, "causes by exit code or text")] = (
        field(default_factory=dict)
    )
    units: Annotated[Mapping[str, str], By(_units, dict, "units by metric")] = field(default_factory=dict)

    @classmethod
    def located(cls, data: Mapping[str, object], folder: Path) -> dict[str, Any]:
        """Return the section with its folder made absolute, starting from that of the study file."""
        own = data.get("folder", ".")
        if not isinstance(own, str) or not own:
            return dict(data)  # what is wrong with it is said by whoever reads it
        return {**data, "folder": str(resolved((folder / own).expanduser()))}

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
        argv = own_module("autotune.systems.own.launch", "--repeats", str(self.repeats), "--")
        own = {**import_path(), "PYTHONUNBUFFERED": "1", "AUTOTUNE_FOLDER": self.folder}
        return Command((*argv, *words), {**own, **env})

    def diagnose(self, exit_code: int | None, log: str) -> Failure:
        """Return why the program failed."""
        return diagnose(exit_code, log, self.failures)

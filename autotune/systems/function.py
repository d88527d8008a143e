"""A Python function, called in a process of its own for each attempt."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from autotune.core.environment import import_path, own_module
from autotune.core.kinds import Needs, Text
from autotune.core.measurement import Failure
from autotune.core.named_code import CALL, refuse_absent
from autotune.core.trial import Config
from autotune.errors import under
from autotune.systems.base import Command, Driver
from autotune.systems.deployment import Deployment
from autotune.systems.own.driver import connect
from autotune.systems.own.protocol import FILE
from autotune.systems.own.system import OwnSystem

_CALL = "call, module:function or file.py:function"
_KINDS = {"call": "function", "trainable": "trainable"}


@dataclass(frozen=True)
class FunctionSystem(OwnSystem):
    """A function that is called with a configuration and returns metrics.

    Args:
        call: ``module:function`` or ``file.py:function``. The study file's folder is first on the module
            path.
    """

    name: ClassVar[str] = "function"

    title: ClassVar[str] = "a function system"

    key: ClassVar[str] = "call"

    call: Annotated[str, Text("module:function or file.py:function", pattern=CALL), Needs(_CALL)]

    def check_machine(self) -> None:
        """Check that the folder, the file or module and its function are there, without running any of it.

        Raises:
            EnvironmentProblem: The folder is not.
            SpecError: The file or the module is not, or has no such function.
        """
        super().check_machine()
        self.refuse_absent(here=True)

    def refuse_absent(self, *, here: bool) -> None:
        """Refuse a function that is not there.

        Args:
            here: Whether it runs on this machine.

        Raises:
            SpecError: It is not.
        """
        with under(self.key):
            refuse_absent(
                self.call, Path(self.folder), what=_KINDS[self.key], here=here, called=self.key == "call"
            )

    def parameters(self) -> None:
        """Return ``None``: a function takes any."""
        return

    def check(self, config: Config) -> Failure | None:
        """Return ``None``: only the function itself could tell."""
        return None

    def command(self, config: Config, scratch: Path) -> Command:
        """Return the process that calls the function."""
        return self.launched(self._words(FILE), _variables(config))

    def _words(self, file: str) -> list[str]:
        """Return the words that call the function and write its metrics to a file."""
        return own_module("autotune.systems.own.call", self.call, file)

    def connect(self, scratch: Path, deadline: float) -> Driver:
        """Return what waits for the function's metrics."""
        return connect(scratch, True, self.units)

    def deploy(self, config: Config) -> Deployment:
        """Return the call of the function with this configuration; its metrics are printed."""
        env = {**import_path(), **_variables(config)}
        return Deployment(tuple(self._words("/dev/stdout")), env, os.path.abspath(self.folder))


def _variables(config: Config) -> dict[str, str]:
    return {"AUTOTUNE_CONFIG": json.dumps(config)}

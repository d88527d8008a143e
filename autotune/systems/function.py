"""A Python function, called in a process of its own for each attempt."""

from __future__ import annotations

import ast
import json
import os
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, ClassVar

from autotune.core.environment import import_path
from autotune.core.kinds import Needs, Text
from autotune.core.measurement import Failure
from autotune.core.trial import Config
from autotune.errors import EnvironmentProblem, SpecError, did_you_mean
from autotune.systems.base import Command, Driver
from autotune.systems.deployment import Deployment
from autotune.systems.own.driver import connect
from autotune.systems.own.protocol import FILE
from autotune.systems.own.system import OwnSystem

_TARGET = r"[^:\n]+:[A-Za-z_][A-Za-z0-9_.]*"
_CALL = "call, module:function or file.py:function"
_KINDS = {"call": "function", "trainable": "trainable"}


def check_defines(file: Path, name: str, key: str = "call") -> None:
    """Refuse a Python file that gives no value to a name; what it imports or computes may give any.

    Args:
        file: The file.
        name: The name.
        key: Key of the section that names it.

    Raises:
        SpecError: The file is no Python, or nothing in it is called so.
    """
    try:
        tree = ast.parse(file.read_bytes(), str(file))
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        said = getattr(error, "msg", str(error))
        raise SpecError(f"{file}:{line}: no valid Python: {said}", path=(key,)) from None
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    if name not in names and not names & {"*", "__getattr__"}:
        raise SpecError(f"{file} has no {_KINDS[key]} {name!r}", path=(key,), hint=did_you_mean(name, names))


@dataclass(frozen=True)
class FunctionSystem(OwnSystem):
    """Call a function with a configuration; it returns metrics.

    Args:
        call: ``module:function`` or ``file.py:function``. The study file's folder is on the module path.
    """

    name: ClassVar[str] = "function"

    title: ClassVar[str] = "a function system"

    key: ClassVar[str] = "call"

    call: Annotated[str, Text("module:function or file.py:function", pattern=_TARGET), Needs(_CALL)]

    def check_machine(self) -> None:
        """Check that the folder, the file or module and its function are there, without running any of it.

        Raises:
            EnvironmentProblem: The folder, the file or the module is not.
            SpecError: The file is no Python, or has no such function.
        """
        super().check_machine()
        where, _, name = self.call.rpartition(":")
        if where.endswith(".py"):
            there = (Path(self.folder) / where).is_file()
        else:
            top = where.partition(".")[0]
            beside = Path(self.folder) / top
            there = beside.is_dir() or beside.with_suffix(".py").is_file() or find_spec(top) is not None
        if not there:
            raise EnvironmentProblem(f"cannot find {where!r} of {self.key} {self.call!r} in {self.folder}")
        file = Path(self.folder) / (where if where.endswith(".py") else f"{where.replace('.', '/')}.py")
        if file.is_file():
            check_defines(file, name.partition(".")[0], self.key)

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
        return [sys.executable, "-m", "autotune.systems.own.call", self.call, file]

    def connect(self, scratch: Path, deadline: float) -> Driver:
        """Return what waits for the function's metrics."""
        return connect(scratch, True, self.units)

    def deploy(self, config: Config) -> Deployment:
        """Return the call of the function with this configuration; its metrics are printed."""
        env = {**import_path(), **_variables(config)}
        return Deployment(tuple(self._words("/dev/stdout")), env, os.path.abspath(self.folder))


def _variables(config: Config) -> dict[str, str]:
    return {"AUTOTUNE_CONFIG": json.dumps(config)}

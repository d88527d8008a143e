"""Any program that prints its metrics as JSON."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

from autotune.core.kinds import By, Choice, Needs, Texts
from autotune.core.measurement import Cause, Failure
from autotune.core.trial import Config
from autotune.errors import EnvironmentProblem, SpecError, under
from autotune.systems.base import Command, Driver
from autotune.systems.deployment import Deployment, absolute_program
from autotune.systems.interpreters import check_script
from autotune.systems.own.driver import connect
from autotune.systems.own.protocol import FILE, RUN
from autotune.systems.own.system import OwnSystem
from autotune.systems.own.words import REST, command_words, fill, placeholders, text_of

_SOURCES = ("stdout", "file")
_PROGRAM = "a list of program and arguments"
BUILTIN = {"metrics_file": FILE, "run": RUN, "python": sys.executable}
"""Words in braces that are no parameters."""


def _argv(raw: object, name: str) -> list[str]:
    if not isinstance(raw, list) or not all(isinstance(word, str) for word in raw):
        raise SpecError(f"{name} must be {_PROGRAM}, found {raw!r}", hint="it is never given to a shell")
    for place, word in enumerate(raw):
        with under(place):
            placeholders(word)
    return list(raw)


def _env(raw: object, name: str) -> dict[str, str]:
    env = Texts("a mapping of variables to texts").read(raw, name)
    for variable, text in env.items():
        with under(variable):
            placeholders(text)
    return env


@dataclass(frozen=True)
class CommandSystem(OwnSystem):
    """A program that takes a configuration in its arguments or its environment.

    Args:
        argv: Program and arguments. ``{batch_size}`` stands for a parameter's value, ``{parameters}`` for
            ``--name value`` of every parameter that no word names; without any of them that is the end.
            ``{metrics_file}``, ``{run}`` (counted from 1) and ``{python}`` are filled in too.
        env: Environment variables, with the same placeholders.
        metrics: ``stdout``: the last JSON object printed; ``file``: what it writes to ``{metrics_file}``,
            which is appended as ``--metrics-file`` where nothing names it.
    """

    name: ClassVar[str] = "command"
    parameter_hint: ClassVar[str] = "name it in argv or env, as {name}, or add {parameters} for all"

    title: ClassVar[str] = "a command system"

    argv: Annotated[list[str], By(_argv, what="a list of words"), Needs(f"argv, {_PROGRAM}")]
    env: Annotated[Mapping[str, str], By(_env, dict, "values by variable")] = field(default_factory=dict)
    metrics: Annotated[str, Choice(_SOURCES)] = "stdout"

    @property
    def words(self) -> list[str]:
        """The arguments, with the words that may be left out in the file."""
        words = list(self.argv)
        if not self._named() and REST not in words:
            words.append(REST)
        if self.metrics == "file" and not any("{metrics_file}" in w for w in (*words, *self.env.values())):
            words += ["--metrics-file", "{metrics_file}"]
        return words

    def _named(self) -> set[str]:
        texts = [word for word in (*self.argv, *self.env.values()) if word != REST]
        return {name for text in texts for name in placeholders(text)} - set(BUILTIN)

    def check_machine(self) -> None:
        """Check that the folder, the program and the script that it is to run are there.

        Raises:
            EnvironmentProblem: One is not.
        """
        super().check_machine()
        check_script(self.argv, Path(self.folder))
        program = self.argv[0]
        if placeholders(program):
            return
        there = (Path(self.folder) / program).exists() if "/" in program else shutil.which(program)
        if not there:
            where = f" in {self.folder}" if "/" in program else ""
            raise EnvironmentProblem(f"no program {program!r}{where}")

    def parameters(self) -> set[str] | None:
        """Return the parameters that argv or env names, ``None`` where all are passed on."""
        return None if REST in self.words else self._named()

    def value_kind(self, name: str) -> str:
        """Return ``text``: a command is given listed values as they are written."""
        return "text"

    def check(self, config: Config) -> Failure | None:
        """Return why this configuration cannot be launched: a value that is not passed on."""
        try:
            for name, value in config.items():
                text_of(name, value)
        except SpecError as error:
            return Failure(Cause.REJECTED_FLAGS, error.message)
        return None

    def command(self, config: Config, scratch: Path) -> Command:
        """Return the process that runs the program and watches it."""
        return self.launched(command_words(self.words, config, BUILTIN), self._environment(config))

    def _environment(self, config: Config) -> dict[str, str]:
        values = BUILTIN | {name: text_of(name, value) for name, value in config.items()}
        filled = {name: fill(text, values) for name, text in self.env.items()}
        return {name: text for name, text in filled.items() if text is not None}

    def effect(self, config: Config) -> str:
        """Return all that a configuration changes outside; see :mod:`autotune.systems.effect`."""
        return json.dumps([command_words(self.words, config, BUILTIN), self._environment(config)])

    def connect(self, scratch: Path, deadline: float) -> Driver:
        """Return what waits for the program's metrics."""
        return connect(scratch, self.metrics == "file", self.units)

    def deploy(self, config: Config) -> Deployment:
        """Return the program with this configuration, run once; metrics of a file are printed."""
        filled = {FILE: "/dev/stdout", RUN: "1"}  # as the launcher fills them in

        def once(word: str) -> str:
            for name, text in filled.items():
                word = word.replace(name, text)
            return word

        program, *rest = map(once, command_words(self.words, config, BUILTIN))
        env = {name: once(text) for name, text in self._environment(config).items()}
        return Deployment((absolute_program(program, self.folder), *rest), env, os.path.abspath(self.folder))

"""Any program that prints its metrics as JSON."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from autotune.core.measurement import Cause, Failure
from autotune.core.trial import Config
from autotune.errors import EnvironmentProblem, SpecError, did_you_mean, refuse_unknown_keys
from autotune.systems.base import Command, Driver
from autotune.systems.deployment import Deployment, absolute_program
from autotune.systems.interpreters import check_script
from autotune.systems.own.driver import connect
from autotune.systems.own.protocol import FILE, RUN
from autotune.systems.own.system import SHARED_KEYS, OwnSystem, read_shared
from autotune.systems.own.words import REST, command_words, fill, placeholders, text_of

_SOURCES = ("stdout", "file")
BUILTIN = {"metrics_file": FILE, "run": RUN, "python": sys.executable}
"""Words in braces that are no parameters."""


class CommandSystem(OwnSystem):
    """A program that takes a configuration in its arguments or its environment.

    Args:
        argv: Program and arguments. ``{batch_size}`` stands for a parameter's value, ``{parameters}`` for
            ``--name value`` of every parameter that no word names; without any of them that is the end.
            ``{metrics_file}``, ``{run}`` (counted from 1) and ``{python}`` are filled in too.
        env: Environment variables, with the same placeholders.
        metrics: ``stdout``: the last JSON object printed; ``file``: what it writes to ``{metrics_file}``,
            which is appended as ``--metrics-file`` where nothing names it.
        shared: What :func:`autotune.systems.own.system.read_shared` read.
    """

    name: ClassVar[str] = "command"
    parameter_hint: ClassVar[str] = "name it in argv or env, as {name}, or add {parameters} for all"

    def __init__(
        self, argv: Sequence[str], env: Mapping[str, str], metrics: str, shared: tuple[Any, ...]
    ) -> None:
        super().__init__(*shared)
        self.argv = list(argv)
        self.env = dict(env)
        self.metrics = metrics

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> CommandSystem:
        """Build from the ``system`` section (without ``use``).

        Raises:
            SpecError: A key is unknown or a value is wrong; its ``path`` is relative to the section.
        """
        refuse_unknown_keys(data, ("argv", "env", "metrics", *SHARED_KEYS), "a command system")
        argv = data.get("argv")
        if not isinstance(argv, list) or not argv or not all(isinstance(word, str) for word in argv):
            text = f"a command system needs argv, a list of program and arguments, found {argv!r}"
            raise SpecError(text, path=("argv",), hint="it is never given to a shell")
        env = data.get("env", {})
        if not isinstance(env, Mapping) or not all(isinstance(text, str) for text in env.values()):
            raise SpecError(f"env must be a mapping of variables to texts, found {env!r}", path=("env",))
        metrics = data.get("metrics", "stdout")
        if metrics not in _SOURCES:
            raise SpecError(
                f"unknown metrics {metrics!r}; allowed: {', '.join(_SOURCES)}",
                path=("metrics",),
                hint=did_you_mean(str(metrics), _SOURCES),
            )
        for key, words in (("argv", dict(enumerate(argv))), ("env", dict(env))):
            for place, word in words.items():
                try:
                    placeholders(word)
                except SpecError as error:
                    raise SpecError(error.message, path=(key, place), hint=error.hint) from None
        return cls(argv, env, metrics, read_shared(data))

    def to_dict(self) -> dict[str, Any]:
        """Return the section that :meth:`from_dict` reads back."""
        env = {"env": self.env} if self.env else {}
        return {"argv": self.argv, **env, "metrics": self.metrics, **self.shared_dict()}

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

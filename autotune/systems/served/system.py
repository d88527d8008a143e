"""Launch a server: what is run, where it will listen, when it is ready, why it died.

A server overrides little: which words say host and port (:attr:`ServedSystem.port_words`), which path is
ready (:attr:`ServedSystem.asked`), the fields that make a request ask for exactly its tokens, and what it
tells about itself (:meth:`ServedSystem.server_facts`).
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as own_version
from pathlib import Path
from typing import Any, ClassVar, Self

from autotune.core.endpoint import Endpoint, Refused
from autotune.core.environment import NO_FOLDER
from autotune.core.json_object import JsonObject
from autotune.core.measurement import Failure
from autotune.core.trial import Config
from autotune.errors import EnvironmentProblem
from autotune.systems.base import Command, Driver
from autotune.systems.container import EVERYWHERE, Container, Image, listening_everywhere, paths_in
from autotune.systems.deployment import HOST, PORT, Deployment, absolute_program
from autotune.systems.diagnosis import diagnose
from autotune.systems.programs import run_program
from autotune.systems.served.client import ask
from autotune.systems.served.driver import EndpointDriver, reconnected
from autotune.systems.served.effective import asked_config, replaced
from autotune.systems.served.flagged import FlaggedSystem
from autotune.systems.served.launch import Launch, free_port, root_process
from autotune.systems.served.negotiation import PATHS, hint_of, mistake
from autotune.systems.served.ready import asking_of, wait_ready
from autotune.systems.served.section import absolute
from autotune.systems.served.tiny import TINY, ensure_tiny, tiny_files

_TOLD_S = 5.0
_MOST_TOLD = 1 << 20  # bytes of what a server tells about itself
_MOST_NUMBER = 1 << 63
_MOST_TEXT = 4096
_VERSION_S = 60.0  # an interpreter on a busy machine


class ServedSystem(FlaggedSystem):
    """One server, launched with the words that its half :class:`FlaggedSystem` makes of a configuration."""

    package: ClassVar[str] = ""  # distribution whose version is the server's
    port_words: ClassVar[tuple[str, ...]] = ("--host", "{host}", "--port", "{port}")
    asked: ClassVar[Launch] = Launch("")  # all but where, and what its requests carry
    exact: ClassVar[JsonObject] = {"ignore_eos": True}  # makes a request produce all its tokens
    not_launched: ClassVar[str] = ""  # why a server is planned only
    image: ClassVar[Image | None] = None  # official image of its own program

    def prepare(self, log: Callable[[str], None]) -> None:
        """Check that the server and its model are there, and make the model ``tiny``.

        Raises:
            EnvironmentProblem: The server cannot be launched here, or a file is missing.
        """
        if self.not_launched:
            raise EnvironmentProblem(
                f"{self.name} cannot be measured: {self.not_launched}",
                hint="`autotune check FILE` checks its configurations and prints their commands",
            )
        self.check_machine()
        if TINY in (self.model, self.draft_model):
            ensure_tiny(log)

    def check_machine(self) -> None:
        """Check that the server and its model are there; a server that is planned only needs neither.

        Raises:
            EnvironmentProblem: One is not.
        """
        if self.not_launched:
            return
        program = (self.program or self.own_program)[0]
        if shutil.which(os.path.expanduser(program)) is None:
            raise EnvironmentProblem(
                f"{self.name} needs {program!r}, which is not on this machine",
                hint="say where it is, `system: {program: /path/to/it}`: the program"
                + (f", or the Python that has {self.package}" if self.package else ""),
            )
        if self.package and self.runs_python and not self.version():
            raise EnvironmentProblem(
                f"{program} has no {self.package}", hint=f"{program} -m pip install {self.package}"
            )
        for path in (self.model, self.draft_model):
            local = path.startswith(("/", "./", "../", "~")) and "{" not in path
            if local and not Path(path).expanduser().exists():
                raise EnvironmentProblem(f"no such file or folder: {path}")

    def prepare_node(self) -> None:
        """Make ``tiny`` on a node that does not have it."""
        if TINY in (self.model, self.draft_model):
            ensure_tiny(lambda _: None)

    def tiny(self, *, draft: bool = False) -> str:
        """Return the model ``tiny`` in the form that the server loads: a folder of safetensors."""
        pair = tiny_files().pair
        return str(pair.draft if draft else pair.target)

    def resolved(self) -> Self:
        """Return the system with its models and its program as paths that can be opened from any folder."""
        changes: dict[str, Any] = {}
        for key, draft in (("model", False), ("draft_model", True)):
            path = getattr(self, key)
            if path == TINY:
                changes[key] = self.tiny(draft=draft)
            elif path.startswith("~") or (path and Path(path).exists()):
                changes[key] = absolute(path, Path())
        program, *rest = self.program or self.own_program
        return replace(self, **changes, program=(absolute_program(program), *rest))

    def command(self, config: Config, scratch: Path) -> Command:
        """Return the process that serves a configuration, on a port that is free now."""
        here = self.resolved()
        port = free_port()
        if scratch.is_dir():  # a plan shows the command and launches nothing
            for name, text in here.files(config).items():
                (scratch / name).write_text(text, encoding="utf-8")
            here.launch(config, port).write(scratch)
        found = here.process(config, port)
        return replace(found, env={"PYTHONUNBUFFERED": "1", **found.env})  # its log is read while it runs

    def process(self, config: Config, port: int) -> Command:
        """Return the process that serves a configuration on a port, measured or deployed."""
        argv = self.launch_words(config, port)
        if self.memory_limit:
            argv = ["prlimit", f"--data={self.memory_limit}", "--", *argv]
        return Command(tuple(argv), self.launch_environment(config, port))

    def deploy(self, config: Config) -> Deployment:
        """Return the process that was measured, on a port that is known, and what its clients send."""
        here = self.resolved()
        found, launch = here.process(config, PORT), here.launch(config, PORT)
        # what makes an answer exactly as long as the load asks for is the measurement's, not the client's
        model, body = launch.model or here.served_name(config), here.request_fields(config)
        endpoint = Endpoint(launch.url, model, launch.path or PATHS[0], body)
        return Deployment(
            found.argv,
            found.env,
            endpoint=None if self.not_launched else endpoint,
            files=here.files(config),
            container=None if self.not_launched else here.container(config),
        )

    def container(self, config: Config) -> Container:
        """Return the process in a container: in the official image where the measured program is its own."""
        image = self.official_image
        program = self.program or self.own_program
        inside = (Path(program[0]).name, *program[1:]) if image is None else image.program
        here = replace(self, program=inside, memory_limit=0)
        found = here.process(config, PORT)
        env = {name: text.replace(f"{HOST}:", f"{EVERYWHERE}:", 1) for name, text in found.env.items()}
        words = listening_everywhere(found.argv, HOST)
        lost = (f"memory_limit of {self.memory_limit} bytes per process",) if self.memory_limit else ()
        return Container(
            words,
            env,
            ready=here.launch(config, PORT).ready,
            image=image,
            mounts=paths_in(words, (self.model, self.draft_model)),
            cache="/" in self.model and not self.model.startswith("/"),
            lost=lost,
        )

    @property
    def official_image(self) -> Image | None:
        """The image that serves as the measured program does."""
        return self.image

    def served_name(self, config: Config) -> str:
        """Return the name under which the server offers its model."""
        return str(self.settings(config).get("served_model_name", self.model))

    def config_file(self, config: Config) -> dict[str, object]:
        """Return the flags of the command by name, as the server's own configuration file has them.

        What is no flag with one value is written as the command line writes it: ``no-x: true``.
        """
        found: dict[str, object] = {}
        for name, value in self.settings(config).items():
            flag, *values = self.flag(name).words(value, separator=self.lists) or [""]
            if flag:
                one = value if isinstance(value, int | float) and values else "".join(values[:1])
                found[flag.removeprefix("--")] = values if len(values) > 1 else one if values else True
        return found

    def launch_words(self, config: Config, port: int) -> list[str]:
        """Return the words of the command, with where to listen."""
        words = [*self.start_words(), *self.flag_words(self.settings(config))]
        return words + [word.format(host=HOST, port=port) for word in self.port_words]

    def launch_environment(self, config: Config, port: int) -> dict[str, str]:
        """Return the variables on top of the worker's allow-list."""
        return self.environment(config)

    def launch(self, config: Config, port: int) -> Launch:
        """Return how the server on a port is asked."""
        own = self.request_fields(config)
        return replace(self.asked, url=f"http://{HOST}:{port}", body={**self.exact, **own}, varied=tuple(own))

    def request_fields(self, config: Config) -> dict[str, object]:
        """Return the parameters that are no flags but fields of every request."""
        return {}

    def connect(self, scratch: Path, deadline: float) -> Driver:
        """Wait until the server answers a first request and return its driver.

        Raises:
            NotReady: It does not answer yet.
            AttemptFailed: It cannot answer.
        """
        endpoint, found = wait_ready(scratch, deadline)
        facts = {"engine": self.name, "version": self.version(), "served_model": endpoint.model, **found}
        facts |= self.server_facts(endpoint.url, scratch)
        notes = replaced(self.settings(asked_config(scratch)), facts.get("effective", {}))
        if notes:
            facts["warnings"] = notes
        return EndpointDriver(endpoint, facts, root_process(scratch), asking_of(Launch.read(scratch)))

    def launch_key(self, config: Config) -> str:
        """Return the command without its port, the variables and the files."""
        here = self.resolved()
        return json.dumps(
            [here.launch_words(config, 0), here.launch_environment(config, 0), here.files(config)]
        )

    def effect(self, config: Config) -> str:
        """Return all that a configuration changes outside; see :mod:`autotune.systems.effect`."""
        here = self.resolved()
        words = here.launch_words(config, 0)
        variables = here.launch_environment(config, 0)
        return json.dumps([words, variables, here.files(config), dict(here.launch(config, 0).body)])

    def reconnect(self, config: Config, driver: Driver, deadline: float) -> Driver:
        """Return the driver with the fields that requests of another configuration carry; ask one."""
        launch = self.launch(config, 0)
        return reconnected(driver, launch.body, deadline, launch.varied)

    def server_facts(self, url: str, scratch: Path) -> dict[str, Any]:
        """Return what the server itself tells: its build, and the settings that hold.

        Those under ``effective`` have the names of flags: they are compared with what was asked for.
        """
        return {}

    def version(self) -> str:
        """Return the version of the server's package in the interpreter given; empty if it is not known."""
        if not self.package:
            return ""
        if not self.runs_python:
            try:
                return own_version(self.package)
            except PackageNotFoundError:
                return ""
        code = f"{NO_FOLDER}; from importlib.metadata import version; print(version(sys.argv[1]))"
        try:
            _, printed, _ = run_program(
                [os.path.expanduser(self.program[0]), "-c", code, self.package], _VERSION_S
            )
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return printed.strip()[-_MOST_TEXT:]

    def diagnose(self, exit_code: int | None, log: str) -> Failure:
        """Return why the server died, from its exit code and its log."""
        return diagnose(exit_code, log)


def told(url: str, path: str) -> object:
    """Return what a server answers to a GET, ``None`` where it has no such path.

    Numbers and texts without end are no settings: they are left out of an object.

    Raises:
        AttemptFailed: It is redirected, which the study's owner has to mend.
    """
    try:
        found = ask(url, path, timeout=_TOLD_S, most_bytes=_MOST_TOLD)
    except Refused as refusal:
        if refusal.redirected:
            raise mistake(f"{url}{path}: {refusal}{hint_of(url, path, refusal)}") from None
        return None
    if not isinstance(found, Mapping):
        return found
    return {name: value for name, value in found.items() if not _endless(value)}


def _endless(value: object) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, int):
        return abs(value) >= _MOST_NUMBER
    return isinstance(value, str) and len(value) > _MOST_TEXT

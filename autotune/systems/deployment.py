"""What deploys a configuration: the command to start, and what its clients must send.

Every system makes it from the code that launched the configuration to measure it. A deployed server listens
on :data:`PORT` of this machine alone, so that nothing is open to others before its owner says so.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from autotune.core.endpoint import Endpoint
from autotune.core.trial import Config
from autotune.systems.base import System, launched_config
from autotune.systems.container import Container
from autotune.systems.served.negotiation import request_body

HOST = "127.0.0.1"
PORT = 8000

PROMPT = "The quick brown fox"
"""The question that the printed example asks."""

_TOKENS = 32  # of the example's answer


@dataclass(frozen=True)
class Deployment:
    """A configuration as a command that somebody runs.

    Args:
        argv: Program and arguments, usable from any folder; empty where nothing is started.
        env: Variables on top of those of the shell.
        folder: Working folder; empty for any.
        endpoint: Endpoint of the started server, with the fields that every request of this configuration
            carries as its ``body``; ``None`` for what is no server.
        key_variable: Environment variable with the key that requests carry; empty without one.
        stdin: Line that the command reads; empty for none.
        files: Texts by name of a configuration file, to be added to the server's own.
        notes: Facts that somebody must know besides, a line each.
        container: The same server in a container; ``None`` for what is no server, or not ours to start.
    """

    argv: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    folder: str = ""
    endpoint: Endpoint | None = None
    key_variable: str = ""
    stdin: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    container: Container | None = None

    @property
    def words(self) -> list[str]:
        """The command as a list of words, begun by ``env`` where it needs variables or a folder."""
        folder = [f"--chdir={self.folder}"] if self.folder else []
        variables = [f"{name}={value}" for name, value in self.env.items()]
        prefix = ["env", *folder, *variables] if self.argv and (folder or variables) else []
        return [*prefix, *self.argv]

    @property
    def line(self) -> str:
        """The command as one line of a shell; empty where nothing is started."""
        command = shlex.join(self.words)
        return f"echo {shlex.quote(self.stdin)} | {command}" if self.stdin else command

    @property
    def request(self) -> dict[str, object]:
        """Fields that every request must carry for it to be this configuration."""
        body = {} if self.endpoint is None else self.endpoint.body
        return {name: value for name, value in body.items() if value != "{max_tokens}"}

    @property
    def ask(self) -> str:
        """A line of a shell that asks the server one question; empty for what is no server."""
        if self.endpoint is None:
            return ""
        body = request_body(self.endpoint, PROMPT, _TOKENS)
        if not self.endpoint.model:  # a server of one model need not be told
            del body["model"]
        where = self.endpoint.url + self.endpoint.path
        words = ["curl", "-sS", where, "-H", "Content-Type: application/json"]
        # the shell fills the key in, so it stands in double quotes and in no text of ours
        key = f' -H "Authorization: Bearer ${self.key_variable}"' if self.key_variable else ""
        return f"{shlex.join(words)}{key} -d {shlex.quote(json.dumps(body))}"

    def to_dict(self) -> dict[str, object]:
        """Return it as plain JSON data."""
        return {
            "line": self.line,
            "argv": list(self.argv),
            "env": dict(self.env),
            "folder": self.folder,
            "url": "" if self.endpoint is None else self.endpoint.url,
            "request": self.request,
            "ask": self.ask,
            "files": dict(self.files),
            "notes": list(self.notes),
        }

    def lines(self) -> list[str]:
        """Return it as lines for people; commands are not broken, so that they can be copied."""
        found = ["deploy:", f"  {self.line}"] if self.argv else []
        for name, text in self.files.items():
            found += [f"in {name}:", *(f"  {line}" for line in text.splitlines())]
        if self.request:
            found += ["every request carries:", f"  {json.dumps(self.request)}"]
        if self.endpoint is not None:
            found += ["ask:", f"  {self.ask}"]
        return [*found, *self.notes]


def deployment(system: System, config: Config, derived: Collection[str]) -> Deployment:
    """Return what deploys a configuration of a trial, given to the system as when it was measured.

    Args:
        system: System of the study.
        config: Config of a trial.
        derived: Names of computed values; one that the system does not know was for constraints only.
    """
    found = system.deploy(launched_config(system, config, derived))
    return found if isinstance(found, Deployment) else Deployment(tuple(found))


def absolute_program(name: str, folder: str = "") -> str:
    """Return the absolute path of a program; its name where it is not on this machine.

    Links are kept: the Python of a virtual environment is a link to one that is not.

    Args:
        name: Path, or name that is looked for on the PATH.
        folder: Folder where a relative path starts; empty for the working folder.
    """
    if "/" in name:
        return os.path.abspath(Path(folder, name).expanduser())
    found = shutil.which(name)
    return name if found is None else os.path.abspath(found)

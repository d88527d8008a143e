"""Any server with an OpenAI-compatible endpoint: one that a command starts, or one that already runs.

With ``command:`` a list of words. ``{port}`` and ``{host}`` in a word say where it must listen, ``{model}``
is the section's model, ``{python}`` the interpreter that runs this, and a word that is ``{NAME}`` is a
parameter's value; where the parameter is inactive, the word is left out together with the option before it.
Those parameters need a new start. With ``url:`` nothing is started, and every parameter is a field of the
requests; ``request:`` names such fields beside a command::

    system:
      use: openai_server
      command: [my-server, --listen, "{host}:{port}", --threads, "{threads}"]
      request: [temperature]
      ready: /health
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self
from urllib.parse import urlsplit

from autotune.core.endpoint import Endpoint
from autotune.core.json_object import JsonObject
from autotune.core.kinds import By, Key, Text
from autotune.core.measurement import Cause, Failure
from autotune.core.scalar import typed
from autotune.core.section import Section
from autotune.core.trial import Config
from autotune.errors import EnvironmentProblem, SpecError, did_you_mean
from autotune.systems.base import Command, Driver
from autotune.systems.container import Container, listening_everywhere, paths_in
from autotune.systems.deployment import HOST, PORT, Deployment, absolute_program
from autotune.systems.diagnosis import diagnose
from autotune.systems.interpreters import check_script
from autotune.systems.served.driver import EndpointDriver, reconnected
from autotune.systems.served.flags import AUTO, plain
from autotune.systems.served.launch import Launch, free_port, root_process
from autotune.systems.served.negotiation import PATHS
from autotune.systems.served.ready import asking_of, wait_ready
from autotune.systems.served.section import PROGRAM, locate, read_env

_HOLE = re.compile(r"\{([A-Za-z_]\w*)\}")
_OURS = ("host", "port", "model", "python")
_PLAIN = re.compile(r"-?[\d.]+(?:e[+-]?\d+)?|[A-Za-z0-9_./:=@%+,][A-Za-z0-9_./:=@%+, -]*")
_EXACT = {"ignore_eos": True}
"""Field that vLLM, SGLang, llama.cpp and TensorRT-LLM know; others pass over it, or are spared it."""
_LENGTH = (*_EXACT, "min_tokens")
"""Fields that say nothing but how long an answer must be."""


def _url(raw: object, name: str) -> str:
    url = Text().read(raw, name)
    if url and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname):
        raise SpecError(f"url must be like http://127.0.0.1:8000, found {url!r}")
    return url


def _body(raw: object, name: str) -> Mapping[str, object] | None:
    if not isinstance(raw or {}, Mapping):
        raise SpecError(f"body must be a mapping of fields, found {raw!r}")
    return None if raw is None else typed(raw)


def _variables(raw: object, name: str) -> dict[str, str]:
    return read_env(raw, "openai_server", ("*",))


@dataclass(frozen=True)
class OpenAIServerSystem(Section):
    """A server that is measured by its endpoint.

    Args:
        command: Words that start it; empty with ``url``.
        url: Url of an endpoint that runs already; empty with ``command``.
        model: Name that requests give; empty to take what the server lists first.
        path: Path of the interface: ``/v1/completions`` or ``/v1/chat/completions``; else the first
            answers of the server say which of the two it has.
        ready: Path that answers 200 once it takes requests; without it the list of models.
        request: Parameters that are fields of the requests.
        body: Fields that all requests have; without it they ask to go on after the end of the text, where the
            server takes that.
        env: Variables of the server's environment.
        tokenize: Path that turns text into tokens, where there is one.
        prometheus: Path of its counters, where there are any.
        key_variable: Environment variable that holds the key which requests carry.
        tokenizer: The model's own ``tokenizer.json``, or its folder: counts the tokens of a server that does
            not tell them.
    """

    name: ClassVar[str] = "openai_server"
    served: ClassVar[bool] = True  # load comes over a network: workloads may be open loops

    title: ClassVar[str] = "an openai_server system"

    command_words: Annotated[tuple[str, ...], PROGRAM, Key("command")] = ()
    url: Annotated[str, By(_url, what="a URL")] = ""
    model: Annotated[str, Text()] = ""
    path: Annotated[str, Text()] = ""
    ready: Annotated[str, Text()] = ""
    request: Annotated[tuple[str, ...], PROGRAM] = ()
    body: Annotated[JsonObject | None, By(_body, what="values by field")] = None
    env: Annotated[Mapping[str, str], By(_variables, dict, "values by variable")] = field(
        default_factory=dict
    )
    tokenize: Annotated[str, Text()] = ""
    prometheus: Annotated[str, Text()] = ""
    key_variable: Annotated[str, Text("the name of a variable", pattern=r"(?:[A-Za-z_]\w*)?")] = ""
    tokenizer: Annotated[str, Text()] = ""

    @classmethod
    def from_dict(cls, data: object) -> Self:
        """Build from the ``system`` section (without ``use``).

        Raises:
            SpecError: A key is unknown or wrong, or there is not exactly one of ``command`` and ``url``.
        """
        server = super().from_dict(data)
        words = server.command_words
        if bool(words) == bool(server.url):
            raise SpecError("an openai_server system needs either a command or a url", path=("command",))
        if words and not any("{port}" in word for word in words):
            raise SpecError("the command must say where to listen: {port} in a word", path=("command",))
        odd = [w for w in words if set(_HOLE.findall(w)) - set(_OURS) and not _HOLE.fullmatch(w)]
        if odd:
            text = f"a parameter must be a word of its own, found {odd[0]!r}"
            raise SpecError(text, path=("command", words.index(odd[0])))
        return server

    @staticmethod
    def located(section: Mapping[str, object], folder: Path) -> dict[str, Any]:
        """Return a study file's section with paths that start at the file's folder made absolute."""
        words = section.get("command", ())
        opened = isinstance(words, list) and any("{model}" in str(word) for word in words)
        named = not opened and not str(section.get("model", "")).startswith((".", "~"))
        found = locate(section, folder, ("tokenizer",) if named else ("model", "tokenizer"))
        words = found.get("command")
        if isinstance(words, list):  # the server starts in the attempt's folder
            found["command"] = [_beside(word, folder) for word in words]
        return found

    @property
    def holes(self) -> tuple[str, ...]:
        """The parameters that the command mentions."""
        found = [name for word in self.command_words for name in _HOLE.findall(word)]
        return tuple(dict.fromkeys(name for name in found if name not in _OURS))

    def prepare(self, log: Callable[[str], None]) -> None:
        """Check what is launched; see :meth:`check_machine`."""
        self.check_machine()

    def check_machine(self) -> None:
        """Check that the program, or the key, is there.

        Raises:
            EnvironmentProblem: It is not.
        """
        program = self.command_words[0].replace("{python}", sys.executable) if self.command_words else ""
        if program and shutil.which(os.path.expanduser(program)) is None:
            raise EnvironmentProblem(f"there is no program {program!r} on this machine")
        if program:
            check_script(self.command_words, None)
        if self.key_variable and not os.environ.get(self.key_variable):
            raise EnvironmentProblem(f"requests need the key in {self.key_variable}, which is not set")

    def prepare_node(self) -> None:
        """Do nothing: the command finds its model itself."""

    def parameters(self) -> tuple[str, ...] | None:
        """Return the parameters that configurations may have; any, where nothing is started."""
        return None if self.url else (*self.holes, *self.request)

    def value_kind(self, name: str) -> str:
        """Return ``text`` for a parameter of the command; fields of requests have the types of YAML."""
        return "text" if name in self.holes else ""

    def check(self, config: Config) -> Failure | None:
        """Return why a configuration cannot be launched."""
        known = self.parameters()
        for name, value in config.items():
            if known is not None and name not in known:
                text = f"neither the command nor request mentions {name!r}; they have {', '.join(known)}"
                near = did_you_mean(name, known)
                return Failure(Cause.REJECTED_FLAGS, f"{text}; {near}" if near else text)
            if name in self.holes and not _PLAIN.fullmatch(plain(value)):
                return Failure(Cause.REJECTED_FLAGS, f"{name} is no plain word: {value!r}")
        return None

    def batch_size(self, config: Config) -> int:
        """Return how many requests may be under way at once; a server queues them itself."""
        return 1

    def resources(self, config: Config) -> dict[str, float]:
        """Return one core: what the command needs more stands in the study's ``resources``."""
        return {"cpus": 1.0}

    def words(self, config: Config, port: str) -> list[str]:
        """Return the command's words with the values filled in."""
        given = {"host": HOST, "port": port, "model": self.model, "python": sys.executable}
        result: list[str] = []
        for word in self.command_words:
            whole = _HOLE.fullmatch(word)
            if whole is None or whole.group(1) in _OURS:
                result.append(_HOLE.sub(lambda match: given[match.group(1)], word))
            elif config.get(whole.group(1), AUTO) != AUTO:
                result.append(plain(config[whole.group(1)]))
            elif result and result[-1].startswith("-"):
                result.pop()
        return result

    def command(self, config: Config, scratch: Path) -> Command | None:
        """Return the process to launch on a port that is free now; ``None`` for one that runs already."""
        port = free_port()
        if scratch.is_dir():  # a plan shows the command and launches nothing
            self._launch(config, port).write(scratch)
        if self.url:
            return None
        env = {"PYTHONUNBUFFERED": "1", **self.env}
        return Command(tuple(self.words(config, str(port))), env)

    def _launch(self, config: Config, port: int) -> Launch:
        """Return how the server is asked: the one that runs, or ours on a port."""
        return Launch(
            url=self.url.rstrip("/") or f"http://{HOST}:{port}",
            model=self.model,
            ready=self.ready,
            path=self.path,
            body=self._body(config),
            tokenize=self.tokenize,
            prometheus=self.prometheus,
            ours=not self.url,
            optional=() if self.body is not None else tuple(_EXACT),
            varied=self._varied(config),
            tokenizer=self.tokenizer,
        )

    def connect(self, scratch: Path, deadline: float) -> Driver:
        """Wait until the server answers a first request and return its driver.

        Raises:
            NotReady: It does not answer yet.
            AttemptFailed: It cannot answer.
        """
        key = os.environ.get(self.key_variable, "") if self.key_variable else ""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        endpoint, found = wait_ready(scratch, deadline, headers)
        facts = {"engine": self.name, "served_model": endpoint.model, **found}
        return EndpointDriver(endpoint, facts, root_process(scratch), asking_of(Launch.read(scratch)))

    def _varied(self, config: Config) -> tuple[str, ...]:
        """Return the parameters that are fields of the requests: those not in the command, nor ``auto``."""
        return tuple(name for name, value in config.items() if name not in self.holes and value != AUTO)

    def _body(self, config: Config) -> dict[str, object]:
        """Return the fields of every request: those of the file, and the parameters not in the command."""
        fixed = _EXACT if self.body is None else self.body
        return {**fixed, **{name: config[name] for name in self._varied(config)}}

    def launch_key(self, config: Config) -> str:
        """Return the command without its port."""
        return json.dumps(self.words(config, "0"))

    def effect(self, config: Config) -> str:
        """Return all that a configuration changes outside; see :mod:`autotune.systems.effect`."""
        return json.dumps([self.words(config, "0"), self._body(config)])

    def reconnect(self, config: Config, driver: Driver, deadline: float) -> Driver:
        """Return the driver with the fields that requests of another configuration carry; ask one."""
        return reconnected(driver, self._body(config), deadline, self._varied(config))

    def diagnose(self, exit_code: int | None, log: str) -> Failure:
        """Return why the server died, from its exit code and its log."""
        return diagnose(exit_code, log)

    def deploy(self, config: Config) -> Deployment:
        """Return the command that serves a configuration, and the fields that its requests have."""
        launch = self._launch(config, PORT)
        # what makes an answer exactly as long as the load asks for is the measurement's, not the client's
        body = {name: value for name, value in launch.body.items() if name not in _LENGTH}
        endpoint = Endpoint(launch.url, launch.model, launch.path or PATHS[0], body)
        if self.url:
            return Deployment(
                endpoint=endpoint,
                key_variable=self.key_variable,
                notes=(f"nothing to start: {self.url} runs already, and each request says what is wanted",),
            )
        program, *rest = self.words(config, str(PORT))
        words = listening_everywhere((Path(program).name, *rest), HOST)
        inside = Container(words, self.env, launch.ready or "/v1/models", mounts=paths_in(words))
        return Deployment(
            (absolute_program(program), *rest),
            self.env,
            endpoint=endpoint,
            key_variable=self.key_variable,
            container=inside,
        )


def _beside(word: object, folder: Path) -> object:
    """Return a word of a command as an absolute path where it is a file in the study's folder."""
    if not isinstance(word, str) or not word or word.startswith(("-", "/", "{")):
        return word
    return str((folder / word).resolve()) if (folder / word).is_file() else word

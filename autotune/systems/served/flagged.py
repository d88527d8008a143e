"""What all served servers share: a configuration becomes a command line by way of the server's flag table.

How the command is launched, found ready and diagnosed is in :mod:`autotune.systems.served.system`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from autotune.core.json_object import JsonObject
from autotune.core.kinds import SIZE, By, Needs, Text
from autotune.core.measurement import Cause, Failure
from autotune.core.parameter.base import read_number
from autotune.core.section import Section
from autotune.core.space import Space
from autotune.core.trial import Config
from autotune.errors import SpecError, did_you_mean, under
from autotune.systems.served.flags import AUTO, Flag, FlagTable, plain, table
from autotune.systems.served.section import PROGRAM, locate, read_env

Settings = dict[str, Any]
"""Values by name of a flag, after the parameters of ours were translated."""


NUMBERS = ("draft_length", "quantization_bits", "prompt_lookup_min", "prompt_lookup_max")
"""Parameters of ours that are whole numbers."""


def _flags(raw: object, name: str) -> Mapping[str, object]:
    if not isinstance(raw, Mapping):
        raise SpecError(f"flags must be a mapping of names to values, found {raw!r}")
    return raw


def _as_written(raw: object, name: str) -> object:
    return raw  # which variables are allowed depends on the system


@dataclass(frozen=True)
class FlaggedSystem(Section):
    """Command line of one server from a configuration.

    A parameter is a flag of the server by its own name (``max_num_seqs`` for ``--max-num-seqs``), or one of
    the names that mean the same for every server (``tensor_parallel``, ``draft_length`` ...), which
    ``aliases`` and :meth:`translate` map to flags. The value ``auto`` leaves a flag out where the server
    decides by itself.

    Args:
        model: Folder, file or hub name, as the server takes it.
        draft_model: The same for the model that drafts.
        flags: Flags that every configuration has, by name.
        program: Program to run instead of the server's own: another path to it, or the Python that has
            the server. With its first arguments where it needs any.
        env: Variables of the server's environment, of those in ``env_names``.
        memory_limit: Most bytes of data memory per process, 0 without a limit.
    """

    name: ClassVar[str]
    served: ClassVar[bool] = True  # load comes over a network: workloads may be open loops
    own_program: ClassVar[tuple[str, ...]]
    model_words: ClassVar[tuple[str, ...]] = ("{model}",)
    aliases: ClassVar[Mapping[str, str]] = {}
    translated: ClassVar[tuple[str, ...]] = ()  # parameters of ours that translate() understands
    gpus: ClassVar[tuple[str, ...]] = ()  # parameters whose product is the number of GPUs
    variables: ClassVar[Mapping[str, str]] = {}  # parameters that are variables of the environment
    env_names: ClassVar[tuple[str, ...]] = ()  # variables that a study may set; one may end in *
    lists: ClassVar[str] = ","  # between the values of a list; a space makes each a word of its own

    model: Annotated[str, Text(), Needs("a model")]
    draft_model: Annotated[str, Text()] = ""
    flags: Annotated[JsonObject, By(_flags, dict, "values by flag")] = field(default_factory=dict)
    program: Annotated[tuple[str, ...], PROGRAM] = ()
    env: Annotated[Mapping[str, str], By(_as_written, dict, "values by variable")] = field(
        default_factory=dict
    )
    memory_limit: Annotated[int, SIZE] = 0

    def __init_subclass__(cls, **more: object) -> None:
        super().__init_subclass__(**more)
        cls.title = f"a {getattr(cls, 'name', '')} system"

    @classmethod
    def from_dict(cls, data: JsonObject) -> Self:
        """Build from the ``system`` section (without ``use``).

        Raises:
            SpecError: A key is unknown, the model is missing or a fixed flag is not one of the server.
        """
        system = super().from_dict(data)
        with under("env"):
            env = read_env(system.env, cls.name, cls.env_names)
        flags = {name: system.read_fixed(name, value) for name, value in system.flags.items()}
        return replace(system, env=env, flags=flags)

    @staticmethod
    def located(section: Mapping[str, object], folder: Path) -> dict[str, Any]:
        """Return a study file's section with paths that start at the file's folder made absolute."""
        return locate(section, folder)

    @property
    def runs_python(self) -> bool:
        """Whether the program given is a Python interpreter that has the server."""
        return bool(self.program) and Path(self.program[0]).name.startswith("python")

    @property
    def table(self) -> FlagTable:
        """The server's flags."""
        return table(self.name)

    def read_fixed(self, name: str, value: object) -> object:
        """Return the value of a flag that is the same in every configuration, read as its kind says."""
        flag = self.table.flags.get(name)
        if flag is None:
            text, hint = self._unknown(name)
            raise SpecError(text, path=("flags", name), at_key=True, hint=hint)
        read = flag.typed(value)
        problem = flag.refuses(read)
        if problem:
            raise SpecError(f"{name} {problem}", path=("flags", name))
        return read

    def value_kind(self, name: str) -> str:
        """Return how a parameter's listed values are read: ``text`` as written, or empty for YAML's types."""
        flag = self.table.flags.get(self.aliases.get(name, name))
        as_written = name in self.variables or (flag is not None and flag.kind == "text")
        return "text" if as_written and not (flag is not None and flag.takes_sizes) else ""

    def parameters(self) -> tuple[str, ...]:
        """Return the parameters that configurations may have."""
        return (*self.translated, *self.aliases, *self.variables, *self.table.flags)

    def _unknown(self, name: str) -> tuple[str, str]:
        known = self.parameters()
        text = f"{name!r} is no flag of {self.name} {self.table.version}"
        hint = did_you_mean(name, known) or f"`autotune flags {self.name}` lists them"
        return text, hint

    def translate(self, settings: Settings) -> Settings:
        """Return the settings with the parameters of :attr:`translated` as flags of the server."""
        return settings

    def rules(self, config: Config) -> str:
        """Return why the server would refuse this combination of valid values; empty if it would not."""
        return ""

    def settings(self, config: Mapping[str, object]) -> Settings:
        """Return the server's settings of a configuration, fixed flags included."""
        settings: Settings = dict(self.flags)
        for name, value in config.items():
            own = self.aliases.get(name, name)
            flag = self.table.flags.get(own)
            if flag is not None:
                settings[own] = flag.typed(value)
            elif name not in self.variables and not (name in self.translated and value == AUTO):
                settings[own] = value
        return self.translate(settings)

    def _read(self, config: JsonObject) -> Config:
        """Return the parameters that are set, with the types of their flags."""
        flags = {name: self.table.flags.get(self.aliases.get(name, name)) for name in config}
        read = {n: value if (flag := flags[n]) is None else flag.typed(value) for n, value in config.items()}
        return {name: value for name, value in read.items() if not (isinstance(value, str) and value == AUTO)}

    def whole(self, config: Mapping[str, object], name: str, default: int) -> int:
        """Return a whole number that a configuration or a fixed flag sets, ``default`` where neither does."""
        found = self._read({**self.flags, **config})
        value = found.get(name, found.get(self.aliases.get(name, name), default))
        number = read_number(value, whole=True)
        return default if number is None else int(number)

    def check(self, config: Config) -> Failure | None:
        """Return why a configuration cannot be launched (``rejected_flags``), or ``None``."""
        for name in config:
            if name not in self.parameters():
                text, hint = self._unknown(name)
                return Failure(Cause.REJECTED_FLAGS, f"{text}; {hint}")
        for name in NUMBERS:
            if isinstance(config.get(name), str) and config[name] != AUTO and name in self.translated:
                text = f"{name} takes a whole number, found {config[name]!r}"
                return Failure(Cause.REJECTED_FLAGS, text)
        for name, value in self.settings(config).items():
            flag = self.table.flags.get(name)
            problem = "is no flag" if flag is None else flag.refuses(value)
            if problem:
                return Failure(Cause.REJECTED_FLAGS, f"{name} {problem}")
        rule = self.rules(self._read(config))
        return Failure(Cause.REJECTED_FLAGS, rule) if rule else None

    def why_without_effect(self, name: str, space: Space) -> str:
        """Return why a parameter changes nothing here; empty where it is not known."""
        own = self.aliases.get(name, name)
        twins = [other for other in space.names if other != name and self.aliases.get(other, other) == own]
        if twins:
            return f"{twins[0]} sets the same flag"
        drafts = name in ("draft_method", "spec_type") or name.startswith(("prompt_lookup_", "spec_"))
        return "drafting is off, as draft_length is 0 or not there" if drafts else ""

    def start_words(self) -> list[str]:
        """Return the words before any flag: the program and the model."""
        return [*(self.program or self.own_program), *(w.format(model=self.model) for w in self.model_words)]

    def environment(self, config: Config) -> dict[str, str]:
        """Return the variables that a configuration sets, the fixed ones included."""
        set_here = {name: plain(config[name]) for name in self.variables if name in config}
        return {**self.env, **{self.variables[name]: value for name, value in set_here.items()}}

    def flag_words(self, settings: Settings) -> list[str]:
        """Return the words of the settings, in the order of the configuration."""
        pairs = settings.items()
        return [word for name, value in pairs for word in self.flag(name).words(value, separator=self.lists)]

    def flag(self, name: str) -> Flag:
        """Return one of the server's flags.

        Raises:
            SpecError: It has none of that name, such as one that a study of another version measured.
        """
        if name not in self.table.flags:
            text, hint = self._unknown(name)
            raise SpecError(text, hint=hint)
        return self.table.flags[name]

    def files(self, config: Config) -> dict[str, str]:
        """Return configuration files that the command reads, by name; most servers need none."""
        return {}

    def batch_size(self, config: Config) -> int:
        """Return how many requests may be under way at once; a server queues them itself."""
        return 1

    def resources(self, config: Config) -> dict[str, float]:
        """Return what a configuration occupies: the GPUs of its parallel degrees."""
        count = 1
        for name in self.gpus:
            count *= self.whole(config, name, 1)
        return {"cpus": 1.0, "gpus": float(count)} if self.gpus else {"cpus": 1.0}

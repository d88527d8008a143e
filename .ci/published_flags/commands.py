"""Flags that are options of click or typer commands: ``trtllm-serve`` and ``transformers serve``."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from published_flags.python_source import (
    SCALARS,
    UNKNOWN,
    Argument,
    Source,
    SourceFlag,
    base_name,
    method,
    spellings,
)


def transformers_serve(root: Path) -> dict[str, SourceFlag]:
    """Return the flags of ``transformers serve`` from an unpacked package: a signature's annotations."""
    source = Source(root)
    source.read([root / "transformers" / "cli" / "serve.py"])
    arguments = method(source.classes["Serve"].body, "__init__").args
    defaults = [None] * (len(arguments.args) - len(arguments.defaults)) + [*arguments.defaults]
    flags = {}
    for one, default in zip(arguments.args, defaults, strict=True):
        annotation = one.annotation
        if not (isinstance(annotation, ast.Subscript) and isinstance(annotation.slice, ast.Tuple)):
            continue
        kind, option = annotation.slice.elts
        if not (isinstance(option, ast.Call) and base_name(option.func) == "Option"):
            continue
        named = {key.arg: source.value(key.value) for key in option.keywords}
        if named.get("hidden"):
            continue
        base = next((b for b in map(base_name, source.hints(kind)) if b != "None"), "str")
        value = source.value(default)
        choices: Any = None
        if base in source.classes:  # an enumeration
            members = [n for n in source.classes[base].body if isinstance(n, ast.Assign)]
            choices = [source.value(member.value) for member in members]
            value = UNKNOWN
        text = named.get("help")
        found = Argument(SCALARS.get(base, "text"), value, choices, text if isinstance(text, str) else "")
        flags[one.arg] = found.flag("--" + one.arg.replace("_", "-"))
    return flags


def tensorrt_llm(root: Path) -> dict[str, SourceFlag]:
    """Return the flags of ``trtllm-serve`` from a checkout: the decorators of its command."""
    source = Source(root)
    source.read([root / "tensorrt_llm" / "commands" / "serve.py"])
    flags = {}
    for option in source.functions["serve"].decorator_list:
        if not (isinstance(option, ast.Call) and base_name(option.func) == "option"):
            continue
        spelling = next((one for one in spellings(option) if one.startswith("--")), None)
        if spelling is None:
            continue
        named = {key.arg: key.value for key in option.keywords}
        found = Argument("text", source.value(named.get("default")) if "default" in named else None)
        reader = named.get("type")
        if isinstance(reader, ast.Call):
            found.choices = source.value(next(iter(reader.args), None)) if reader.args else UNKNOWN
        elif reader is not None:
            found.kind = SCALARS.get(base_name(reader), "text")
        if source.value(named.get("is_flag")) is True:
            found.kind, found.default = "switch", found.default or False
        stored = found.flag(spelling)
        flags[stored.flag.name] = stored
    return flags

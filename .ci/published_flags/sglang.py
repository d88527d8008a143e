"""The flags of ``sglang.launch_server``: annotated fields, and calls of ``add_argument``."""

from __future__ import annotations

import ast
from pathlib import Path

from published_flags.python_source import (
    SCALARS,
    Argument,
    Source,
    SourceFlag,
    apply_keywords,
    base_name,
    method,
    reader_kind,
    spellings,
)


def sglang(root: Path) -> dict[str, SourceFlag]:
    """Return the flags of ``sglang.launch_server`` from an unpacked package."""
    folder = root / "sglang" / "srt"
    main = folder / "server_args.py"
    files = [main, *sorted(folder.glob("arg_groups/*.py")), *sorted(folder.glob("arg_groups/fields/*.py"))]
    source = Source(root)
    source.read(files)
    flags: dict[str, SourceFlag] = {}
    for owner in tuple(source.classes):
        for name, node in source.fields(owner).items():
            if (argument := _annotated(source, name, node)) is not None:
                flags[argument.flag.name] = argument
    for node in ast.walk(method(source.classes["ServerArgs"].body, "add_cli_args")):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_argument":
            spelling = next(one for one in spellings(node) if one.startswith("--"))
            found = Argument()
            apply_keywords(source, found, node)
            stored = found.flag(spelling)
            flags[stored.flag.name] = stored
    return flags


def _annotated(source: Source, name: str, node: ast.AnnAssign) -> SourceFlag | None:
    """Return the flag of a field ``name: A[type, "help" or Arg(...)] = default``; ``None`` if it is none."""
    annotation = node.annotation
    if not (isinstance(annotation, ast.Subscript) and base_name(annotation) in ("A", "Annotated")):
        return None
    assert isinstance(annotation.slice, ast.Tuple)
    kind_of, *rest = annotation.slice.elts
    arg = next((one for one in rest if isinstance(one, ast.Call) and base_name(one.func) == "Arg"), None)
    text = next((source.value(one) for one in rest if isinstance(source.value(one), str)), None)
    if arg is None and text is None:
        return None
    named = {one.arg: one.value for one in arg.keywords} if arg is not None else {}
    if source.value(named.get("no_cli")) is True:
        return None
    hints = [hint for hint in source.hints(kind_of) if base_name(hint) != "None"]
    options = source.options(hints)
    base = base_name(hints[0]).lower() if len(hints) == 1 else ""
    found = Argument("text", source.value(node.value), options or None, text or "")
    if isinstance(help_text := source.value(named.get("help")), str):
        found.help = help_text
    if "choices" in named:
        found.choices = source.value(named["choices"])
    if "type_parser" in named:
        found.kind = reader_kind(named["type_parser"])
    elif "action" in named:
        action = ast.Call(ast.Name("add_argument"), [], [ast.keyword("action", named["action"])])
        default = found.default
        apply_keywords(source, found, action)
        found.default = default
    elif base == "bool":
        found.kind = "switch"
    elif base == "list" and isinstance(hints[0], ast.Subscript):
        found.kind = SCALARS.get(base_name(hints[0].slice), "text")
    elif options:
        found.kind = SCALARS.get(type(options[0]).__name__, "text")
    else:
        found.kind = SCALARS.get(base, "text")
    if node.value is None:
        found.default = None
    spelling = source.value(named.get("cli_name"))
    return found.flag(spelling if isinstance(spelling, str) else "--" + name.replace("_", "-"))

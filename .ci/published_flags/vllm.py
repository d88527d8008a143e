"""The flags of ``vllm serve``: fields of configuration classes, added to a parser by statements."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path
from typing import Any

from published_flags.python_source import (
    SCALARS,
    SUPPRESSED,
    UNKNOWN,
    Argument,
    Source,
    SourceFlag,
    apply_keywords,
    base_name,
    method,
    reader_kind,
    spellings,
)

SIZE_HELP = "Parse human-readable integers like '1k', '2M', etc"  # of the parser's own flags that do


def vllm(root: Path) -> dict[str, SourceFlag]:
    """Return the flags of ``vllm serve`` from an unpacked package."""
    package = root / "vllm"
    makers = sorted(package.glob("entrypoints/**/cli_args.py"))
    maker = next(path for path in makers if "class FrontendArgs" in path.read_text(encoding="utf-8"))
    arguments = package / "engine" / "arg_utils.py"
    source = Source(root)
    source.read([arguments, maker, *sorted(package.glob("config/*.py"))])
    parser = _VllmParser(source)
    for owner in ("EngineArgs", "AsyncEngineArgs"):
        parser.run(method(source.classes[owner].body, "add_cli_args"))
    parser.add_fields("FrontendArgs", ast.unparse(source.classes["FrontendArgs"]))
    parser.run(source.functions["make_arg_parser"])
    return parser.flags


class _VllmParser:
    """What the statements do that add arguments of configuration classes to a parser."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.flags: dict[str, SourceFlag] = {}
        self.names: dict[str, Any] = {}  # arguments of a class by field, or one of them, by variable
        sizes = source.functions.get("_compute_kwargs") or source.functions["get_kwargs"]
        found = (n for n in ast.walk(sizes) if isinstance(n, ast.Assign) and isinstance(n.value, ast.Set))
        self.sizes = source.value(next(found).value)  # fields that are read as 8k too

    def run(self, function: ast.FunctionDef) -> None:
        """Follow the statements of a function, those inside conditions too."""
        for node in ast.walk(function):  # breadth first: in order at each depth
            match node:
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    self.names[name] = self._arguments(value)
                case ast.Assign(targets=[ast.Subscript(value=target, slice=ast.Constant(value=key))]):
                    self._set(self._arguments(target), str(key), node.value)
                case ast.Call(
                    func=ast.Attribute(value=ast.Subscript() as target, attr="remove"), args=[gone]
                ):
                    argument = self._arguments(target.value)
                    if isinstance(argument, Argument) and isinstance(argument.choices, list):
                        value = self.source.value(gone)
                        argument.choices = [one for one in argument.choices if one != value]
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_argument":
                self._add(node)

    def add_fields(self, owner: str, text: str) -> None:
        """Add every field of a class; those that its code treats in a way of their own are unknown."""
        for name, argument in self._of_class(owner).items():
            if f"['{name}']" in text:
                argument.kind = UNKNOWN
            self._store("--" + name.replace("_", "-"), argument)

    def _arguments(self, node: ast.expr) -> Any:
        """Return what a variable, ``get_kwargs(CLASS)`` or a subscript of these stands for."""
        match node:
            case ast.Name(id=name):
                return self.names.get(name)
            case ast.Call(func=ast.Name(id="get_kwargs"), args=[ast.Name(id=owner)]):
                return self._of_class(owner)
            case ast.Subscript(value=inner, slice=ast.Constant(value=key)):
                found = self._arguments(inner)
                return found.get(key) if isinstance(found, dict) else None
        return None

    def _of_class(self, owner: str) -> dict[str, Argument]:
        docs = self.source.docs(owner)
        return {
            name: self._argument(name, node, docs.get(name, ""))
            for name, node in self.source.fields(owner).items()
            if base_name(node.annotation) not in ("ClassVar", "InitVar")
        }

    def _argument(self, name: str, node: ast.AnnAssign, doc: str) -> Argument:
        hints = self.source.hints(node.annotation)
        bases = {base_name(hint) for hint in hints}
        options = self.source.options(hints)
        text = SIZE_HELP if name in self.sizes else doc
        found = Argument("text", self.source.value(node.value), None, text)
        if any(base in self.source.classes and base not in ("LogitsProcessor",) for base in bases):
            owned = [self.source.classes[base] for base in bases if base in self.source.classes]
            found.kind = "json" if any(one.decorator_list for one in owned) else "text"
        elif bases == {"bool", "str", "None"}:
            found.kind = "text"
        elif "bool" in bases:
            found.kind = "toggle"
        elif options:
            found.kind = SCALARS.get(type(options[0]).__name__, "text")
            found.choices = None if "str" in bases else sorted(options)
        elif inner := next((h for h in hints if base_name(h) in ("tuple", "list", "set")), None):
            members = self.source.hints(inner.slice) if isinstance(inner, ast.Subscript) else []
            if len(members) == 1 and isinstance(members[0], ast.Tuple):
                members = [hint for one in members[0].elts for hint in self.source.hints(one)]
            found.choices = self.source.options(members) or None
            kinds = {
                SCALARS.get(base_name(one), "text")
                for one in members
                if base_name(one) not in ("", "Ellipsis")
            }
            found.kind = kinds.pop() if len(kinds) == 1 else "text"
        elif "int" in bases:
            found.kind = "text" if name == "max_model_len" else "int"
        elif "float" in bases:
            found.kind = "float"
        elif "dict" in bases:
            found.kind = "json"
        return found

    def _set(self, argument: Any, key: str, value: ast.expr) -> None:
        """Change one keyword of an argument."""
        if not isinstance(argument, Argument):
            return
        if key == "type":
            argument.kind = reader_kind(value)
        elif key in ("default", "choices"):
            setattr(argument, key, self.source.value(value))

    def _add(self, call: ast.Call) -> None:
        """Store the flag of one call of ``add_argument``."""
        spelling = next((s for s in spellings(call) if s.startswith("--")), None)
        if spelling is None:
            return
        found = Argument()
        for keyword in call.keywords:
            if keyword.arg is None:
                found = self._merged(keyword.value) or Argument(UNKNOWN, UNKNOWN, UNKNOWN)
        apply_keywords(self.source, found, call)
        self._store(spelling, found)

    def _merged(self, node: ast.expr) -> Argument | None:
        """Return the arguments behind two stars: a variable, or ``{**variable, "default": ...}``."""
        known = self._arguments(node)
        found = replace(known) if isinstance(known, Argument) else None
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if key is None:
                    found = self._merged(value)
                elif found is not None and isinstance(key, ast.Constant):
                    self._set(found, str(key.value), value)
        return found

    def _store(self, spelling: str, argument: Argument) -> None:
        if argument.default is not SUPPRESSED:
            found = argument.flag(spelling)
            self.flags[found.flag.name] = found

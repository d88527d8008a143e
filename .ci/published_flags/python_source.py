"""Arguments of a parser from the text of Python modules, of which nothing is imported."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from autotune.systems.served.flags import Flag

UNKNOWN = object()
SUPPRESSED = object()  # default of flags that the probe leaves out as well
SCALARS = {"int": "int", "float": "float", "str": "text", "bool": "toggle"}


@dataclass(frozen=True)
class SourceFlag:
    """A flag as the source text has it.

    Args:
        flag: The flag; what is unknown of it is ``None`` there.
        unknown: Fields of it that the text leaves open: ``kind``, ``default``, ``choices``.
    """

    flag: Flag
    unknown: frozenset[str] = frozenset()


@dataclass
class Argument:
    """Keyword arguments of one ``add_argument``, as far as they are known."""

    kind: Any = "text"
    default: Any = None
    choices: Any = None
    help: str = ""

    def flag(self, spelling: str) -> SourceFlag:
        """Return the flag by its spelling."""
        name = spelling.removeprefix("--").replace("-", "_")
        parts = {"kind": self.kind, "default": self.default, "choices": self.choices}
        unknown = frozenset(key for key, value in parts.items() if value is UNKNOWN)
        kind, default, choices = (None if value is UNKNOWN else value for value in parts.values())
        if not isinstance(default, bool | int | float | str | None):
            default = None  # a structure, as in the tables
        listed = tuple(str(one) for one in choices if one is not None) if choices else None
        text = " ".join(self.help.split()).split(". ")[0][:160]
        return SourceFlag(Flag(name, spelling, kind or "text", default, listed, text), unknown)


@dataclass
class Source:
    """Classes and constants by name of some modules, of which only the text is read.

    Args:
        root: Folder that the package lies in.
        functions, classes, constants: What the modules define by name; of two definitions the first.
        imports: Where a name comes from that a module imports, by name.
    """

    root: Path
    functions: dict[str, ast.FunctionDef] = field(default_factory=dict)
    classes: dict[str, ast.ClassDef] = field(default_factory=dict)
    constants: dict[str, ast.expr] = field(default_factory=dict)
    imports: dict[str, str] = field(default_factory=dict)

    def read(self, files: Iterable[Path]) -> None:
        """Read files of Python."""
        for path in files:
            for node in _statements(ast.parse(path.read_text(encoding="utf-8")).body):
                match node:
                    case ast.FunctionDef():
                        self.functions.setdefault(node.name, node)
                    case ast.ClassDef():
                        self.classes.setdefault(node.name, node)
                    case ast.Assign(targets=[ast.Name(id=name)], value=value):
                        self.constants.setdefault(name, value)
                    case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                        self.constants.setdefault(name, value)
                    case ast.ImportFrom():
                        module = node.module or ""
                        if node.level:  # relative to the package that the file lies in
                            package = path.relative_to(self.root).parts[: -node.level]
                            module = ".".join((*package, *module.split(".")))
                        if node.names[0].name == "*":
                            self.read(self._files(module))
                        self.imports |= {one.asname or one.name: module for one in node.names}

    def _files(self, module: str) -> list[Path]:
        path = self.root.joinpath(*module.split("."))
        return [file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()]

    def constant(self, name: str) -> ast.expr | None:
        """Return what a name stands for, of a module that is imported too."""
        while name not in self.constants and name not in self.classes and name in self.imports:
            self.read(self._files(self.imports.pop(name)))  # which may import it itself
        return self.constants.get(name)

    def fields(self, name: str) -> dict[str, ast.AnnAssign]:
        """Return the annotated fields of a class, those of its bases first."""
        found: dict[str, ast.AnnAssign] = {}
        for base in self.classes[name].bases:
            if isinstance(base, ast.Name) and base.id in self.classes:
                found |= self.fields(base.id)
        for node in self.classes[name].body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found[node.target.id] = node
        return found

    def docs(self, name: str) -> dict[str, str]:
        """Return the text below each field of a class."""
        found = {}
        for node, after in pairwise(self.classes[name].body):
            match node, after:
                case ast.AnnAssign(target=ast.Name(id=field)), ast.Expr(
                    value=ast.Constant(value=str() as text)
                ):
                    found[field] = text
        return found

    def value(self, node: ast.expr | None) -> Any:
        """Return what an expression of literals and constants comes to, else :data:`UNKNOWN`."""
        match node:
            case None:
                return UNKNOWN
            case ast.Constant():
                return node.value
            case ast.List() | ast.Tuple() | ast.Set():
                items = [self.value(item) for item in node.elts]
                return UNKNOWN if UNKNOWN in items else items
            case ast.UnaryOp(op=ast.USub()):
                number = self.value(node.operand)
                return UNKNOWN if number is UNKNOWN else -number
            case ast.BinOp(op=ast.Add()):
                left, right = self.value(node.left), self.value(node.right)
                return left + right if type(left) is type(right) and left is not UNKNOWN else UNKNOWN
            case ast.JoinedStr():
                return "".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))
            case ast.Name(id=name):
                return self.value(self.constant(name))
            case ast.Attribute(attr="SUPPRESS"):
                return SUPPRESSED
            case ast.Attribute(value=ast.Name(id=owner), attr=name) if owner in self.classes:
                return self.value(declared.value) if (declared := self.fields(owner).get(name)) else UNKNOWN
            case ast.Call(func=ast.Name(id="list" | "set" | "sorted" | "tuple"), args=[inner]):
                return self.value(inner)
            case ast.Call(func=ast.Name(id="get_args"), args=[inner]):
                return self.options(self.hints(inner)) or UNKNOWN
            case ast.Call(func=ast.Name(id="Field" | "field"), keywords=keywords):
                named = {one.arg: one.value for one in keywords}
                if "default_factory" in named:
                    return []  # a structure
                return self.value(named.get("default") or next(iter(node.args), None))
        return UNKNOWN

    def hints(self, node: ast.expr | None) -> list[ast.expr]:
        """Return the members of a type: of unions, optional types, annotated ones and names for these."""
        match node:
            case ast.BinOp(op=ast.BitOr()):
                return [*self.hints(node.left), *self.hints(node.right)]
            case ast.Constant(value=str() as text):
                return self.hints(ast.parse(text, mode="eval").body)
            case ast.Subscript(value=ast.Name(id="Annotated" | "A"), slice=ast.Tuple(elts=[first, *_])):
                return self.hints(first)
            case ast.Subscript(value=ast.Name(id="Optional"), slice=inner):
                return [*self.hints(inner), ast.Constant(None)]
            case ast.Subscript(value=ast.Name(id="Union"), slice=ast.Tuple(elts=members)):
                return [hint for member in members for hint in self.hints(member)]
            case ast.Name(id=name) if name not in SCALARS and (meant := self.constant(name)) is not None:
                return self.hints(meant)
        return [] if node is None else [node]

    def options(self, hints: Iterable[ast.expr]) -> list[Any]:
        """Return the options of the literal types among some."""
        found: list[Any] = []
        for hint in hints:
            if isinstance(hint, ast.Subscript) and base_name(hint) == "Literal":
                for item in hint.slice.elts if isinstance(hint.slice, ast.Tuple) else [hint.slice]:
                    nested = [] if isinstance(item, ast.Constant) else self.options(self.hints(item))
                    found += [item.value] if isinstance(item, ast.Constant) else nested
        return found


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield statements; of ``if TYPE_CHECKING`` those that run, and both sides of another one."""
    for node in body:
        if isinstance(node, ast.If):
            typing_only = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
            yield from _statements(node.orelse if typing_only else [*node.body, *node.orelse])
        else:
            yield node


def base_name(hint: ast.expr) -> str:
    """Return the name of a type without its parameters."""
    if isinstance(hint, ast.Constant):
        return str(hint.value)
    named = hint.value if isinstance(hint, ast.Subscript) else hint
    return (named.attr if isinstance(named, ast.Attribute) else getattr(named, "id", "")).removesuffix("Type")


def method(body: Iterable[ast.stmt], name: str) -> ast.FunctionDef:
    """Return the function by a name among the statements of a class."""
    return next(node for node in body if isinstance(node, ast.FunctionDef) and node.name == name)


def spellings(call: ast.Call) -> list[str]:
    """Return the texts that a call is given by position: the spellings of a flag."""
    return [one.value for one in call.args if isinstance(one, ast.Constant) and isinstance(one.value, str)]


def reader_kind(reader: ast.expr) -> Any:
    """Return the kind of values that a reader of ``type=`` gives."""
    text = ast.unparse(reader)
    if "json.loads" in text:
        return "json"
    known = re.fullmatch(r"(?:optional_type\(|parse_type\()?(int|float|str|bool|human_readable_int)\)?", text)
    if known is not None:
        return {"int": "int", "human_readable_int": "int", "float": "float"}.get(known.group(1), "text")
    return "text" if isinstance(reader, ast.Lambda) or text.startswith(("parse_", "json_")) else UNKNOWN


def apply_keywords(source: Source, found: Argument, call: ast.Call) -> None:
    """Apply the keywords that a call of ``add_argument`` says itself."""
    named = {one.arg: one.value for one in call.keywords if one.arg is not None}
    for key, value in named.items():
        if key == "type":
            found.kind = reader_kind(value)
        elif key in ("default", "choices"):
            setattr(found, key, source.value(value))
        elif key == "help":
            text = source.value(value)
            found.help = text if isinstance(text, str) else ""
    action = named.get("action")
    if action is None:
        return
    text = ast.unparse(action)
    if "BooleanOptionalAction" in text:
        found.kind = "toggle"
    elif re.search("store_?(true|false|const)", text, re.IGNORECASE) and "nargs" not in named:
        found.kind = "switch"
        if "default" not in named:
            found.default = UNKNOWN if "Deprecated" in text else "false" in text.lower()

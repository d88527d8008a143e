"""Where in a Python file a search space of Ray Tune is, and which lines change it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from autotune.convert.python_scope import Scope
from autotune.convert.python_source import Source
from autotune.convert.ray_distributions import ARGUMENTS
from autotune.errors import SpecError, did_you_mean

_SPACES = ("param_space", "config")  # keywords under which a space is given to `Tuner` and `run`
_CHANGING = ("update", "setdefault", "pop", "popitem", "clear")


@dataclass(frozen=True)
class Found:
    """A mapping that may be the space.

    Args:
        node: Node of it.
        variable: Name that later lines may change it by; empty where it has none.
        scope: Scope of that name.
        others: Others that stand in branches, which are not read.
    """

    node: ast.expr
    variable: str
    scope: Scope
    others: tuple[ast.expr, ...] = field(default=(), compare=False)


def find_space(source: Source, name: str) -> Found:
    """Return the space of a file.

    Args:
        source: The file.
        name: Name of the mapping, or of a function that has it; empty where the file has one only.

    Raises:
        SpecError: There is none, or more than one.
    """
    given, every = list(_given(source)), list(_candidates(source))
    if name:
        found = list(_of_name(source, name, [*given, *every]))
        if not found:
            names = sorted({label for of in every for label in (of.variable, of.scope.name) if label})
            said = f"nothing is assigned to {name!r}; spaces in it: {', '.join(names) or 'none'}"
            raise SpecError(f"{source.path}: {said}", hint=did_you_mean(name, names))
    else:
        found = given or every
        if not found:
            raise SpecError(f"{source.path}: no search space: nothing in it uses tune.uniform, tune.choice "
                            "or another of them in a mapping")  # fmt: skip
    found = list({of.node: of for of in found}.values())
    straight = [of for of in found if of.node not in source.scopes.branched] or found
    if len(straight) > 1:
        variables = [of.variable for of in straight]
        labels = [of.variable if of.variable and variables.count(of.variable) == 1 else
                  of.scope.name or of.variable or "one" for of in straight]  # fmt: skip
        places = (f"{label} in line {of.node.lineno}" for label, of in zip(labels, straight, strict=True))
        hint = f"name its variable or its function: {source.path}:NAME"
        raise SpecError(f"{source.path}: which space? it has: {', '.join(places)}", hint=hint)
    return replace(straight[0], others=tuple(of.node for of in found if of is not straight[0]))


def find_changes(source: Source) -> dict[tuple[Scope, str], list[ast.stmt | ast.Call]]:
    """Return the statements and calls that change what a name holds, by the name and its scope."""
    found: dict[tuple[Scope, str], list[ast.stmt | ast.Call]] = {}
    for node in source.walk():
        changed: list[ast.expr] = []
        if isinstance(node, ast.Assign | ast.Delete):
            every = [item for target in node.targets for item in getattr(target, "elts", [target])]
            changed = [
                item for item in every if isinstance(node, ast.Delete) or isinstance(item, ast.Subscript)
            ]
        elif isinstance(node, ast.AugAssign) or (
            isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Subscript) and node.value
        ):
            changed = [node.target]
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in _CHANGING
        ):
            changed = [node.func.value]
        else:
            continue
        for item in changed:
            base = item
            while isinstance(base, ast.Subscript):
                base = base.value
            if isinstance(base, ast.Name) and (owner := source.scopes.of(base).owner(base.id)) is not None:
                of_name = found.setdefault((owner, base.id), [])
                if node not in of_name[-1:]:
                    of_name.append(node)
    return found


def _of_name(source: Source, name: str, every: list[Found]) -> list[Found]:
    """Return the spaces that a name of a variable or of a function may mean, the nearest kind only."""
    module = source.scopes.module
    if found := [Found(node, name, module) for node in module.values.get(name, [])]:
        return found
    if found := [of for scope in source.scopes.functions(name) for of in _returned(source, scope)]:
        return found
    if found := [of for of in every if of.scope.name == name]:
        return found
    return [Found(node, name, of) for of in source.scopes.every for node in of.values.get(name, [])]


def _candidates(source: Source) -> Iterator[Found]:
    """Return the mappings with distributions that are assigned to names."""
    for node in source.walk():
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        if names and is_mapping(node.value) and _has_distribution(source, node.value):
            yield Found(node.value, names[0], source.scopes.of(node))


def _given(source: Source) -> Iterator[Found]:
    """Return the spaces that are given to `Tuner` or `run`; each is of the function that gives it."""
    for node in source.walk():
        if not isinstance(node, ast.Call):
            continue
        for keyword in node.keywords:
            if keyword.arg not in _SPACES or (keyword.arg == "config" and source.known_call(node) is None):
                continue
            for found in _meant(source, keyword.value):
                if _has_distribution(source, found.node):
                    yield found


def _returned(source: Source, scope: Scope) -> Iterator[Found]:
    """Return the mappings that a function returns."""
    for node in ast.walk(scope.node):
        if isinstance(node, ast.Return) and node.value is not None and source.scopes.of(node) is scope:
            yield from (found for found in _meant(source, node.value) if is_mapping(found.node))


def _meant(source: Source, node: ast.expr) -> Iterator[Found]:
    """Return an expression, or the mappings that are assigned to it if it is a name."""
    scope = source.scopes.of(node)
    if not isinstance(node, ast.Name):
        yield Found(node, "", scope)
        return
    owner = scope.owner(node.id)
    for value in source.assigned(node):
        if owner is not None and is_mapping(value):
            yield Found(value, node.id, owner)


def is_mapping(node: ast.expr) -> bool:
    """Return whether a node is a mapping that is written down, or two that are joined."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return is_mapping(node.left) or is_mapping(node.right)
    return isinstance(node, ast.Dict) or is_dict_call(node)


def is_dict_call(node: ast.AST) -> bool:
    """Return whether a node is ``dict(...)``."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict"


def _has_distribution(source: Source, node: ast.expr) -> bool:
    for inner in ast.walk(node):
        call = source.known_call(inner)
        if call is not None and call.name in (*ARGUMENTS, "sample_from"):
            return True
        if isinstance(inner, ast.Dict) and grid_of(inner) is not None:
            return True
    return False


def grid_of(node: ast.Dict) -> ast.expr | None:
    """Return the values of ``{"grid_search": [...]}``, which is what `tune.grid_search` returns."""
    if len(node.keys) == 1 and isinstance(node.keys[0], ast.Constant) and node.keys[0].value == "grid_search":
        return node.values[0]
    return None

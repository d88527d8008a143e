"""Ray Tune: a search space in a Python file.

The file is read as text (:mod:`autotune.convert.python_source`) and never run. Distributions: https://docs.ray.io/en/latest/tune/api/search_space.html.
"""

from __future__ import annotations

import ast
import math
from typing import Any

from autotune.convert.base import Conversion
from autotune.convert.entries import Entry
from autotune.convert.python_scope import Scope
from autotune.convert.python_source import Call, Source, Unreadable
from autotune.convert.ray_distributions import ARGUMENTS, NoEquivalent, read_distribution
from autotune.convert.ray_space import find_changes, find_space, grid_of, is_dict_call, is_mapping
from autotune.errors import SpecError
from autotune.spec.yaml_text import MAX_DEPTH, Document, Path_

_PACKAGE = "ray.tune"
_MODES = {"min": "minimize", "max": "maximize"}
_UNREAD = ("scheduler", "search_alg", "stop", "max_concurrent_trials", "time_budget_s")
_MOST_PARAMETERS = 1000


def split_source(source: str) -> tuple[str, str] | None:
    """Return file and name of ``train.py:space``, no name of ``train.py``; ``None`` for other files."""
    file, colon, name = source.rpartition(":")
    if colon and file.endswith(".py") and name.isidentifier():
        return file, name
    return (source, "") if source.endswith(".py") else None


def convert_python(path: str, name: str) -> Conversion:
    """Return the study of the search space that a Python file writes down.

    Args:
        path: Path of the file.
        name: Name of the mapping, or of a function that returns it; empty where the file has one only.

    Raises:
        SpecError: The file is no Python, or has no such space.
    """
    source = Source.read(path, _PACKAGE)
    out = Conversion(Document({}, path))
    reader = _SpaceReader(out, source)
    found = find_space(source, name)
    reader.named(found.node, (), found.variable, found.scope)
    for node in found.others:
        reader.lost(node, (), f"{source.text_of(node)} stands in a branch and is not read")
    _read_run(out, source, reader)
    out.note((), "the file was read and not run: what code changes in the space is not seen")
    out.note((), "name what to launch under `system`")
    return out.finish()


class _SpaceReader:
    """Reader of the entries of a space into a study's parameters."""

    def __init__(self, out: Conversion, source: Source) -> None:
        self.out, self.source = out, source
        self.grids: dict[Path_, int] = {}  # number of values of each `grid_search`
        self.sampled = False  # whether anything is drawn
        self.open: list[ast.expr] = []  # mappings that are being read
        self.names: dict[Path_, str] = {}  # of the parameters, by place
        self.changes = find_changes(source)

    def mapping(self, node: ast.expr, path: Path_) -> None:
        """Read a mapping, ``dict(...)``, two that are joined, or the name of one."""
        if node in self.open or len(self.open) > MAX_DEPTH:
            what = "is in itself" if node in self.open else "is nested too deep"
            self.out.note(
                path, f"{(path[-1] if path else self.source.text_of(node))!r} {what}; it is left out"
            )
            return
        self.source.left -= 10
        if self.source.left < 0:
            raise SpecError(f"{self.source.mark(node)}: the space is too large")
        self.open.append(node)
        self.parts(node, path)
        self.open.pop()

    def parts(self, node: ast.expr, path: Path_) -> None:
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            self.mapping(node.left, path)
            self.mapping(node.right, path)
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                self.keyed(key, value, path)
        elif is_dict_call(node) and isinstance(node, ast.Call):
            for item in node.args:
                self.mapping(item, path)
            for keyword in node.keywords:
                self.keyed(ast.Constant(keyword.arg) if keyword.arg else None, keyword.value, path)
        elif isinstance(node, ast.Name) and (known := self.source.only(node)) is not None:
            owner = self.source.scopes.of(node).owner(node.id)
            self.named(known, path, node.id, owner, node)
        else:
            self.lost(node, path, f"{self.source.text_of(node)} is computed when the file runs")

    def keyed(self, key: ast.expr | None, value: ast.expr, path: Path_) -> None:
        """Read one entry of a mapping; one without a key joins another mapping."""
        if key is None:
            self.mapping(value, path)
            return
        if not isinstance(key, ast.Constant) or not isinstance(key.value, str | int):
            self.lost(value, path, f"the key {self.source.text_of(key)} is computed when the file runs")
            return
        inner = (*path, str(key.value))
        again = self.removed(inner)
        place = key if hasattr(key, "lineno") else value
        self.out.source.keys[inner] = self.source.mark(place)
        self.out.source.values[inner] = self.source.mark(value)
        if len(self.out.source.keys) > _MOST_PARAMETERS:
            raise SpecError(f"{self.source.mark(place)}: more than {_MOST_PARAMETERS} parameters")
        if again:
            self.out.note(inner, f"{inner[-1]!r} is set again; the last one counts")
        self.entry(value, inner)

    def removed(self, path: Path_) -> bool:
        """Remove what was read at a place and below it; return whether there was a parameter."""
        found = [place for place in self.names if place[: len(path)] == path]
        for place in found:
            self.out.study["parameters"].pop(self.names.pop(place))
            self.grids.pop(place, None)
        for place in [place for place in self.out.source.keys if place[: len(path)] == path]:
            del self.out.source.keys[place]
        return bool(found)

    def named(
        self, node: ast.expr, path: Path_, name: str, scope: Scope | None, use: ast.expr | None = None
    ) -> None:
        """Read a mapping that is assigned to a name, and the lines that change it.

        Args:
            node: Node of the mapping.
            path: Place of its entries.
            name: Name of it; empty where it has none.
            scope: Scope of the name.
            use: Node after which changes may come too late; ``None`` if none do.
        """
        self.mapping(node, path)
        if scope is None or node in self.open:
            return
        self.open.append(node)
        scopes = self.source.scopes
        for change in self.changes.get((scope, name), []):
            self.source.left -= 1
            where = ""
            if scopes.of(change) is not scope:
                where = "stands in another function"
            elif change.lineno <= node.lineno:
                continue
            elif change in scopes.branched:
                where = "stands in a branch or a loop"
            elif use is not None and scopes.of(use) is scope and change.lineno >= use.lineno:
                where = "comes after the mapping is used"
            if where:
                self.lost(change, (), f"{self.source.text_of(change)} {where} and is not read")
            elif not self.change(change, path):
                self.lost(change, (), f"{self.source.text_of(change)} changes the space and is not read")
        self.open.pop()

    def change(self, node: ast.stmt | ast.Call, path: Path_) -> bool:
        """Apply a line that changes a mapping; return ``False`` where it is not plain."""
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            place = self.place(node.func.value, path)
            return place is not None and self.call(node, node.func.attr, place)
        if isinstance(node, ast.AugAssign):
            place = self.place(node.target, path)
            if place is None or not isinstance(node.op, ast.BitOr):
                return False
            self.mapping(node.value, place)
            return True
        if isinstance(node, ast.Delete):
            places = [
                place for target in node.targets if (place := self.place(target, path)) not in (None, path)
            ]
            for place in places:
                self.removed(place or ())
            return len(places) == len(node.targets)
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            (target, *more) = node.targets if isinstance(node, ast.Assign) else [node.target]
            place = self.place(target.value, path) if isinstance(target, ast.Subscript) else None
            if not isinstance(target, ast.Subscript) or place is None or more:
                return False
            self.keyed(target.slice, node.value, place)
            return True
        return False

    def call(self, node: ast.Call, method: str, place: Path_) -> bool:
        """Apply a call that changes the mapping at a place; return ``False`` where it is not plain."""
        if method == "update" and len(node.args) <= 1:
            for item in node.args:
                self.mapping(item, place)
            for keyword in node.keywords:
                self.keyed(ast.Constant(keyword.arg) if keyword.arg else None, keyword.value, place)
            return True
        key = node.args[0] if node.args and not node.keywords else None
        if not isinstance(key, ast.Constant) or not isinstance(key.value, str | int):
            return False
        inner = (*place, str(key.value))
        if method == "pop":
            self.removed(inner)
        elif method == "setdefault" and len(node.args) == 2 and inner not in self.out.source.keys:
            self.keyed(key, node.args[1], place)
        return method in ("pop", "setdefault")

    def place(self, node: ast.AST | None, path: Path_) -> Path_ | None:
        """Return the place that ``space["a"]["b"]`` names; ``None`` where a key is computed."""
        keys: list[str] = []
        while isinstance(node, ast.Subscript):
            if not isinstance(node.slice, ast.Constant):
                return None
            keys.append(str(node.slice.value))
            node = node.value
        return (*path, *reversed(keys))

    def entry(self, node: ast.expr, path: Path_) -> None:
        """Read what stands under a key: a distribution, a mapping of more, or a constant."""
        written, node = node, self.source.only(node) or node
        call = self.source.known_call(node)
        if isinstance(node, ast.Dict) and (grid := grid_of(node)) is not None:
            call = Call("grid_search", ast.Call(ast.Name("grid_search"), [grid], []))
        if call is None and is_mapping(node):
            self.out.note(path, f"{path[-1]!r} nests parameters: they have its name in front here")
            self.mapping(written, path)
            return
        try:
            with self.out.at(path):
                found = self.constant(node, path) if call is None else self.distribution(call, path)
                self.add(path, found)
        except Unreadable as unread:
            self.lost(unread.node, path, unread.why)

    def add(self, path: Path_, entry: Entry) -> None:
        """Add a parameter."""
        self.names[path] = self.out.add(path, "_".join(str(part) for part in path), entry)

    def lost(self, node: ast.AST, path: Path_, why: str) -> None:
        """Note what is left out, at its own place."""
        what = f"{path[-1]!r} is left out: " if path else "left out: "
        place = self.source.mark(node if hasattr(node, "lineno") else self.source.tree)
        self.out.notes.append(f"{place}: {what}{why}")

    def constant(self, node: ast.expr, path: Path_) -> Entry:
        value = self.source.value(node)
        return self.out.listed(path, [_finite(node, value)])

    def distribution(self, call: Call, path: Path_) -> Entry:
        """Return the parameter of a distribution."""
        if call.name == "sample_from":
            function = self.source.text_of(call.node.args[0]) if call.node.args else ""
            raise Unreadable(
                call.node, f"tune.sample_from({function}) is a function, which has no equivalent"
            )
        names = ARGUMENTS.get(call.name, ())
        given: dict[str, Any] = {}
        written = [*zip(names, call.node.args, strict=False), *((k.arg, k.value) for k in call.node.keywords)]
        for name, node in written:
            if name in names and name != "base":
                given[str(name)] = _finite(node, self.source.value(node))
        self.grids.pop(path, None)
        try:
            found = read_distribution(self.out, call.name, given, path)
        except NoEquivalent as error:
            raise Unreadable(call.node, str(error)) from None
        if call.name == "grid_search":
            self.grids[path] = len(given["values"])
        else:
            self.sampled = True
        return found


def _finite(node: ast.AST, value: object) -> object:
    """Return a value without infinite numbers and NaN in it."""
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, float) and not math.isfinite(item):
            raise Unreadable(node, f"{item!r} is no finite number")
    return value


def _read_run(out: Conversion, source: Source, reader: _SpaceReader) -> None:
    """Add goals, budget and name from the calls of `TuneConfig`, `Tuner`, `run` and `RunConfig`."""
    found: dict[str, ast.expr] = {}
    fallback: dict[str, ast.expr] = {}  # what a searcher is given
    for node in source.walk():
        if not isinstance(node, ast.Call):
            continue
        call = source.known_call(node)
        wanted: tuple[str, ...] = ()
        if call is not None and call.name in ("TuneConfig", "run", "Tuner"):
            wanted = ("metric", "mode", "num_samples", *_UNREAD)
        if (call is not None and call.name == "run") or source.text_of(node.func).endswith("RunConfig"):
            wanted = (*wanted, "name")
        if call is not None and call.name.endswith("Search"):
            fallback |= {k.arg: k.value for k in node.keywords if k.arg in ("metric", "mode")}
        for keyword in node.keywords:
            if keyword.arg not in wanted:
                continue
            if keyword.arg in _UNREAD:
                reader.lost(keyword.value, (), f"'{keyword.arg}' has no equivalent")
            elif keyword.arg in found:
                reader.lost(keyword.value, (), f"duplicate argument '{keyword.arg}'; the first one counts")
            else:
                found[keyword.arg] = keyword.value
    if "metric" not in found:
        found |= fallback
    values: dict[str, object] = {}
    for key, node in found.items():
        out.source.keys[(key,)] = out.source.values[(key,)] = source.mark(node)
        try:
            values[key] = source.value(node)
        except Unreadable as unread:
            reader.lost(unread.node, (key,), unread.why)
    if values.get("name") is not None:
        out.set_name(values["name"])
    _goals(out, values)
    samples = values.get("num_samples", None if reader.sampled else 1)
    if isinstance(samples, int) and samples > 0:
        out.study["budget"] = {"trials": samples * math.prod(reader.grids.values())}
    elif samples is not None:
        out.note(("num_samples",), f"num_samples {samples!r} is no number of trials; see `budget`")


def _goals(out: Conversion, values: dict[str, object]) -> None:
    metrics, modes = (values.get(key) for key in ("metric", "mode"))
    metrics = metrics if isinstance(metrics, list) else [] if metrics is None else [metrics]
    if not isinstance(modes, list):
        modes = [modes] * len(metrics)
    goals = []
    for metric, mode in zip(metrics, modes, strict=False):
        if not isinstance(mode, str) or mode not in _MODES:
            out.note(("metric",), f"no mode says whether {metric!r} is to be high or low: see `objective`")
        else:
            goals.append((("metric",), _MODES[mode], metric))
    out.set_goals(goals, "no metric with a mode is in this file: name the goal under `objective`")

"""Ray Tune: a search space in a Python file.

The file is read as text (:mod:`autotune.convert.python_source`) and never run. Distributions: https://docs.ray.io/en/latest/tune/api/search_space.html.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterator
from typing import Any

from autotune.convert.base import Conversion
from autotune.convert.entries import Entry
from autotune.convert.python_source import Call, Source, Unreadable
from autotune.core.parameter.base import read_number
from autotune.errors import SpecError, did_you_mean
from autotune.spec.yaml_text import MAX_DEPTH, Document, Path_

_PACKAGE = "ray.tune"
_SPACES = ("param_space", "config")  # keywords under which a space is given to `Tuner` and `run`
_MODES = {"min": "minimize", "max": "maximize"}
_UNREAD = ("scheduler", "search_alg", "stop", "max_concurrent_trials", "time_budget_s")
_MOST_PARAMETERS = 1000

_ARGUMENTS = {
    "uniform": ("lower", "upper"),
    "quniform": ("lower", "upper", "q"),
    "loguniform": ("lower", "upper", "base"),
    "qloguniform": ("lower", "upper", "q", "base"),
    "randint": ("lower", "upper"),
    "qrandint": ("lower", "upper", "q"),
    "lograndint": ("lower", "upper", "base"),
    "qlograndint": ("lower", "upper", "q", "base"),
    "randn": ("mean", "sd"),
    "qrandn": ("mean", "sd", "q"),
    "choice": ("categories",),
    "grid_search": ("values",),
}
_DEFAULTS: dict[str, dict[str, Any]] = {"qrandint": {"q": 1}, "randn": {"mean": 0.0, "sd": 1.0}}
_LISTS = ("choice", "grid_search")


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
    for node, assigned in _find_space(source, name):
        reader.mapping(node, ())
        if assigned:
            reader.later(assigned)
    _read_run(out, source, reader)
    out.note((), "the file was read and not run: what code changes in the space is not seen")
    out.note((), "name what to launch under `system`")
    return out.finish()


def _find_space(source: Source, name: str) -> list[tuple[ast.expr, str]]:
    """Return the node of the space, and the name that later lines may change it by."""
    if name:
        found = [(node, name) for node in (*source.assigned(name), *_returned(source, name))]
        found = found or [(node, label) for node, label, function in _given(source) if function == name]
        if not found:
            names = list(dict.fromkeys(label for label, _ in _candidates(source)))
            text = (
                f"{source.path}: nothing is assigned to {name!r}; spaces in it: {', '.join(names) or 'none'}"
            )
            raise SpecError(text, hint=did_you_mean(name, names))
    else:
        given = list(_given(source))
        if len(given) > 1:
            raise _which(source, [(node, function) for node, _, function in given])
        found = [(node, label) for node, label, _ in given] or [
            (node, label) for label, node in _candidates(source)
        ]
        if not found:
            raise SpecError(f"{source.path}: no search space: nothing in it uses tune.uniform, tune.choice "
                            "or another of them in a mapping")  # fmt: skip
    if len(found) > 1:
        raise _which(source, found)
    return found


def _which(source: Source, found: list[tuple[ast.expr, str]]) -> SpecError:
    places = ", ".join(f"{label or 'one'} in line {node.lineno}" for node, label in found)
    hint = f"name its variable or its function: {source.path}:NAME"
    return SpecError(f"{source.path}: which space? it has: {places}", hint=hint)


def _candidates(source: Source) -> Iterator[tuple[str, ast.expr]]:
    """Return the mappings with distributions that are assigned to names."""
    for node in source.walk():
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        if names and _is_mapping(node.value) and _has_distribution(source, node.value):
            yield names[0], node.value


def _given(source: Source) -> Iterator[tuple[ast.expr, str, str]]:
    """Return the spaces that are given to `Tuner` or `run`: node, its variable, the function around it."""
    seen: set[int] = set()
    functions = [node for node in source.walk() if isinstance(node, ast.FunctionDef)]
    for node in source.walk():
        if not isinstance(node, ast.Call):
            continue
        around = [f for f in functions if f.lineno <= node.lineno <= (f.end_lineno or f.lineno)]
        for keyword in node.keywords:
            if keyword.arg not in _SPACES or (keyword.arg == "config" and source.known_call(node) is None):
                continue
            found: list[tuple[ast.expr, str]] = [(keyword.value, "")]
            if isinstance(keyword.value, ast.Name):
                name = keyword.value.id
                found = [(value, name) for value in source.assigned(name) if _is_mapping(value)]
            for value, name in found:
                if _has_distribution(source, value) and id(value) not in seen:
                    seen.add(id(value))
                    yield value, name, around[-1].name if around else ""


def _returned(source: Source, name: str) -> list[ast.expr]:
    """Return what the function of a name returns, where it is a mapping or a name of one."""
    found: list[ast.expr] = []
    for function in source.walk():
        if isinstance(function, ast.FunctionDef) and function.name == name:
            for node in ast.walk(function):
                if isinstance(node, ast.Return) and node.value is not None:
                    value = node.value
                    known = source.assigned(value.id) if isinstance(value, ast.Name) else [value]
                    found += [item for item in known if _is_mapping(item)]
    return found


def _is_mapping(node: ast.expr) -> bool:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _is_mapping(node.left) or _is_mapping(node.right)
    return isinstance(node, ast.Dict) or _is_dict_call(node)


def _is_dict_call(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict"


def _has_distribution(source: Source, node: ast.expr) -> bool:
    for inner in ast.walk(node):
        call = source.known_call(inner)
        if call is not None and call.name in (*_ARGUMENTS, "sample_from"):
            return True
        if isinstance(inner, ast.Dict) and _grid_of(inner) is not None:
            return True
    return False


def _grid_of(node: ast.Dict) -> ast.expr | None:
    """Return the values of ``{"grid_search": [...]}``, which is what `tune.grid_search` returns."""
    if len(node.keys) == 1 and isinstance(node.keys[0], ast.Constant) and node.keys[0].value == "grid_search":
        return node.values[0]
    return None


class _SpaceReader:
    """Reader of the entries of a space into a study's parameters."""

    def __init__(self, out: Conversion, source: Source) -> None:
        self.out, self.source = out, source
        self.grids = 1  # combinations of all `grid_search`
        self.sampled = False  # whether anything is drawn
        self.open: list[ast.expr] = []  # mappings that are being read
        self.names: dict[Path_, str] = {}  # of the parameters, by place

    def mapping(self, node: ast.expr, path: Path_) -> None:
        """Read a mapping, ``dict(...)``, two that are joined, or the name of one."""
        if node in self.open or len(self.open) > MAX_DEPTH:
            what = "is in itself" if node in self.open else "is nested too deep"
            self.out.note(
                path, f"{(path[-1] if path else self.source.text_of(node))!r} {what}; it is left out"
            )
            return
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
        elif _is_dict_call(node) and isinstance(node, ast.Call):
            for item in node.args:
                self.mapping(item, path)
            for keyword in node.keywords:
                self.keyed(ast.Constant(keyword.arg) if keyword.arg else None, keyword.value, path)
        elif (known := self.source.only(node)) is not None:
            self.mapping(known, path)
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
        place = key if hasattr(key, "lineno") else value
        self.out.source.keys[inner] = self.source.mark(place)
        self.out.source.values[inner] = self.source.mark(value)
        if len(self.out.source.keys) > _MOST_PARAMETERS:
            raise SpecError(f"{self.source.mark(place)}: more than {_MOST_PARAMETERS} parameters")
        self.entry(value, inner)

    def later(self, name: str) -> None:
        """Read lines that change the space: ``space["x"] = ...`` and ``space.update(...)``."""
        for node in self.source.walk():
            if isinstance(node, ast.Assign) and isinstance(target := node.targets[0], ast.Subscript):
                if isinstance(target.value, ast.Name) and target.value.id == name:
                    self.keyed(target.slice, node.value, ())
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                of = node.func.value
                if isinstance(of, ast.Name) and of.id == name and node.func.attr in ("update", "pop"):
                    if node.func.attr == "update" and len(node.args) == 1 and not node.keywords:
                        self.mapping(node.args[0], ())
                    else:
                        self.lost(node, (), f"{self.source.text_of(node)} changes the space")

    def entry(self, node: ast.expr, path: Path_) -> None:
        """Read what stands under a key: a distribution, a mapping of more, or a constant."""
        node = self.source.only(node) or node
        call = self.source.known_call(node)
        if isinstance(node, ast.Dict) and (grid := _grid_of(node)) is not None:
            call = Call("grid_search", ast.Call(ast.Name("grid_search"), [grid], []))
        if call is None and _is_mapping(node):
            self.out.note(path, f"{path[-1]!r} nests parameters: they have its name in front here")
            self.mapping(node, path)
            return
        try:
            with self.out.at(path):
                found = self.constant(node, path) if call is None else self.distribution(call, path)
                self.add(path, found)
        except Unreadable as unread:
            self.lost(unread.node, path, unread.why)

    def add(self, path: Path_, entry: Entry) -> None:
        """Add a parameter; one that is set again replaces the first."""
        if path in self.names:
            self.out.study["parameters"].pop(self.names[path])
            self.out.note(path, f"{path[-1]!r} is set again; the last one counts")
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
        names = _ARGUMENTS.get(call.name)
        if names is None:
            raise Unreadable(call.node, f"tune.{call.name} has no equivalent")
        given: dict[str, Any] = dict(_DEFAULTS.get(call.name, {}))
        written = [*zip(names, call.node.args, strict=False), *((k.arg, k.value) for k in call.node.keywords)]
        for name, node in written:
            if name in names and name != "base":
                given[str(name)] = _finite(node, self.source.value(node))
        missing = [name for name in names if name not in given and name != "base"]
        if missing:
            raise Unreadable(call.node, f"tune.{call.name} needs {', '.join(missing)}")
        if call.name in _LISTS:
            return self.choices(call, given, path)
        self.sampled = True
        for name, value in given.items():
            if read_number(value) is None or isinstance(value, str):
                raise Unreadable(call.node, f"{name} of tune.{call.name} must be a number, found {value!r}")
        if "sd" in given:
            return self.out.normal(path, given["mean"], given["sd"], step=given.get("q"))
        return self.range(call, given, path)

    def choices(self, call: Call, given: dict[str, object], path: Path_) -> Entry:
        (values,) = given.values()
        if not isinstance(values, list) or not values:
            raise Unreadable(call.node, f"tune.{call.name} needs a list of values, found {values!r}")
        if call.name == "grid_search":
            self.grids *= len(values)
        else:
            self.sampled = True
        return self.out.listed(path, values)

    def range(self, call: Call, given: dict[str, Any], path: Path_) -> Entry:
        low, high, step = given["lower"], given["upper"], given.get("q")
        whole = "randint" in call.name
        if step is not None and step <= 0:
            raise Unreadable(call.node, f"q of tune.{call.name} must be above 0, found {step!r}")
        if whole and step in (None, 1):
            high -= 1  # never drawn; only with a step that is not 1 it is
        if whole and not all(float(v).is_integer() for v in (low, high, step or 1)):
            raise Unreadable(call.node, f"tune.{call.name} needs whole numbers, found {given!r}")
        if step is not None:
            low, high = _inwards(low, high, step)
        if low > high:
            raise Unreadable(call.node, f"tune.{call.name} from {low!r} to {high!r} has no values")
        return self.out.ranged(path, low, high, whole=whole, step=step, log="log" in call.name)


def _inwards(low: float, high: float, step: float) -> tuple[float, float]:
    """Return the first and the last multiple of a step between two bounds, as Tune draws them."""

    def index(bound: float, outwards: Callable[[float], int]) -> int:
        near = round(bound / step)
        return near if math.isclose(bound / step, near) else outwards(bound / step)

    first, last = (round(i * step, 12) for i in (index(low, math.ceil), index(high, math.floor)))
    return first, last


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
                reader.lost(keyword.value, (), f"'{keyword.arg}' is given twice; the first one counts")
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
        out.study["budget"] = {"trials": samples * reader.grids}
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

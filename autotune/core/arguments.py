"""Public doors: a wrong argument is one error that names it, says what was found and what is allowed.

A door is checked where it is called from outside the package: inside, values have their types.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, wraps
from inspect import Parameter, Signature, signature, unwrap
from numbers import Integral, Real
from pathlib import Path
from types import EllipsisType, NoneType, SimpleNamespace, UnionType
from typing import Any, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from autotune.errors import SpecError, did_you_mean

P = ParamSpec("P")
T = TypeVar("T")
C = TypeVar("C")

_NUMBERS: dict[object, type] = {int: Integral, float: Real, bool: object}
_WORDS: dict[object, str] = {
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    str: "text",
    Path: "a path",
    NoneType: "None",
    Mapping: "a mapping",
    Sequence: "a list",
    Iterable: "a list",
    Callable: "a function",
    "numpy.random._generator.Generator": "a numpy Generator such as numpy.random.default_rng(0)",
}
_INSIDE = ("autotune.", "dataclasses")  # dataclasses.replace changes a value that is one
_LARGEST = 1 << 63
_MOST = 1000  # entries of a list that are looked at


def check_arguments(*own: str | EllipsisType) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Check the arguments of a public function or method by its annotations.

    Args:
        own: Names of arguments that it checks itself, with better words; ``...`` for all of them.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @wraps(function)
        def door(*args: P.args, **kwargs: P.kwargs) -> T:
            if str(sys._getframe(1).f_globals.get("__name__")).startswith(_INSIDE):
                return function(*args, **kwargs)
            _check(function, function.__qualname__, args, kwargs, own)
            try:
                return function(*args, **kwargs)
            except SpecError as error:
                _name_place(error)
                raise

        return door

    return decorate


def check_class(*own: str | EllipsisType) -> Callable[[type[C]], type[C]]:
    """Check the arguments of a class as :func:`check_arguments` does those of a function."""

    def decorate(kind: type[C]) -> type[C]:
        made: Any = kind.__init__
        made.__qualname__ = kind.__name__
        type.__setattr__(kind, "__init__", check_arguments(*own)(made))
        return kind

    return decorate


def _check(
    function: Callable[..., object],
    title: str,
    args: tuple[object, ...],
    kwargs: Mapping[str, object],
    own: Sequence[str | EllipsisType],
) -> None:
    """Raise for the first argument that is unknown, missing or of another type than its annotation."""
    known = _signature(function)
    names = [name for name in known.parameters if name not in ("self", "cls")]
    try:
        bound = known.bind(*args, **kwargs)
    except TypeError as error:
        unknown = next((name for name in kwargs if name not in known.parameters), None)
        if unknown is None:
            raise SpecError(f"{title}: {error}; arguments: {', '.join(names)}") from None
        raise SpecError(
            f"{title} has no argument {unknown!r}; allowed: {', '.join(names)}",
            hint=did_you_mean(unknown, names),
        ) from None
    if ... in own:
        return
    for name, value in bound.arguments.items():
        hint = _hint(function, name)
        if name in own or hint is object or known.parameters[name].kind is Parameter.VAR_KEYWORD:
            continue
        entries = value if known.parameters[name].kind is Parameter.VAR_POSITIONAL else (value,)
        if not all(_fits(entry, hint) for entry in entries):
            raise SpecError(f"{name} must be {_words(hint)}, found {value!r}", path=(name,))


def read_count(value: object, name: str, least: int = 0, most: int = _LARGEST - 1) -> int:
    """Return the whole number that an argument gives.

    Raises:
        SpecError: It is no whole number, or out of bounds.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
        raise SpecError(f"{name} must be a whole number of at least {least}, found {value!r}")
    if int(value) > most:
        raise SpecError(f"{name} must be a whole number of at most {most:,}, found a larger one")
    return int(value)


def wanted_instead(function: Callable[..., object], name: str, value: object) -> str:
    """Return in words what an argument of a stranger's function must be; empty where its value may do.

    Only numbers, text, truth values and ``None`` are judged.
    """
    hint = _hint(unwrap(function), name)
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    judged = all(kind in _NUMBERS or kind in (str, NoneType) for kind in kinds)
    return _words(hint) if judged and not _fits(value, hint) else ""


def read_entries(value: object) -> list[Any] | None:
    """Return what an argument lists; ``None`` for text, a mapping and what lists nothing."""
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        return None
    try:
        return list(value)
    except TypeError:  # an array without dimensions
        return None


@cache
def _signature(function: Callable[..., object]) -> Signature:
    """Return the arguments of a door."""
    return signature(function)


@cache
def _hint(function: Callable[..., object], name: str) -> object:
    """Return the type of an argument; ``object`` where it is not known when the program runs."""
    text = function.__annotations__.get(name, object)
    holder = SimpleNamespace(__annotations__={name: text})
    try:
        return get_type_hints(holder, globalns=getattr(function, "__globals__", {}))[name]
    except (NameError, AttributeError, TypeError, SyntaxError):  # a stranger's may be anything
        return object


def _fits(value: object, hint: object) -> bool:
    """Return whether a value is of a type, as far as that can be seen without using it up."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, each) for each in inner)
    if hint in _NUMBERS:
        fits = isinstance(value, _NUMBERS[hint]) and not _too_large(value)
        return fits and _is_flag(value) is (hint is bool)
    if origin is not None and issubclass(origin, Mapping):
        return isinstance(value, Mapping) and all(
            _fits(key, inner[0]) and _fits(held, inner[1]) for key, held in value.items()
        )
    if origin is not None and issubclass(origin, Iterable):
        if isinstance(value, str | bytes | Mapping) or not isinstance(value, origin):
            return False
        entry = inner[0] if inner else object
        return not isinstance(value, Sequence) or all(_fits(each, entry) for each in value[:_MOST])
    if origin is not None:
        return bool(isinstance(value, origin))
    return not isinstance(hint, type) or _is_a(value, hint)


def _is_flag(value: object) -> bool:
    """Return whether a value is true or false, numpy's too, which is not loaded for that."""
    kind = type(value)
    return kind is bool or (kind.__module__ == "numpy" and kind.__name__ in ("bool", "bool_"))


def _too_large(value: object) -> bool:
    """Return whether a whole number has more than 64 bits, which no ledger holds."""
    return isinstance(value, Integral) and abs(int(value)) >= _LARGEST


def _is_a(value: object, kind: type) -> bool:
    """Return whether a value is of a class; of a protocol that cannot tell, whether it has its methods."""
    try:
        return isinstance(value, kind)
    except TypeError:
        return all(hasattr(value, name) for name in vars(kind) if not name.startswith("_"))


def _words(hint: object) -> str:
    """Return the types of an argument in words."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        *most, last = dict.fromkeys(_words(each) for each in inner)
        return f"{', '.join(most)} or {last}" if most else last
    if origin is not None:
        what = _WORDS.get(origin, getattr(origin, "__name__", str(origin)))
        named = [_words(each) for each in inner if isinstance(each, type) and each is not object]
        return f"{what} of {' to '.join(named)}" if named and origin is not Callable else what
    known = _WORDS.get(hint) or _WORDS.get(
        f"{getattr(hint, '__module__', '')}.{getattr(hint, '__name__', '')}"
    )
    if known:
        return known
    name = getattr(hint, "__name__", str(hint))
    return f"{'an' if name[:1] in 'AEIOU' else 'a'} {name}"


def _name_place(error: SpecError) -> None:
    """Put the way to what is wrong in front of a message that does not name it."""
    way = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.path).lstrip(".")
    if way and not all(str(part) in error.message for part in error.path):
        error.message = f"{way}: {error.message}"
        error.args = (error.message,)

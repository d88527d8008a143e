"""The command that begins a part of one's own: a file that works, its study and its contract test."""

from __future__ import annotations

import builtins
import keyword
import re
import symtable
import sys
import unicodedata
from importlib.machinery import PathFinder
from pathlib import Path

import click

from autotune.cli.options import json_option
from autotune.cli.output import echo, echo_json
from autotune.cli.written import write_output
from autotune.errors import SpecError, did_you_mean

EXAMPLE = "autotune_example"
"""Package of the example, whose parts are what is written, by another name."""

PARTS = {"system": "hasher", "engine": "shuffled", "metric": "stall"}
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_LONGEST = 64  # letters of a name, of which files and a package are made
_TAKEN = re.compile(r"test|test_.*|.*_test|conftest|sitecustomize|usercustomize")  # by Python or pytest
_PROJECT = """\
[build-system]
requires = ["setuptools>=70.1"]
build-backend = "setuptools.build_meta"

[project]
name = "autotune-{package}"
version = "0.1.0"
description = "The {kind} {name} for autotune"
requires-python = ">=3.11"
dependencies = ["autotune-inference"]

{entry}
[tool.setuptools]
py-modules = ["{name}"]
"""


@click.command()
@click.argument("part", metavar="system|engine|metric")
@click.argument("name")
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Folder to write to; made where it is not there.",
)
@json_option
def new(part: str, name: str, folder: Path, as_json: bool) -> None:
    """Begin a system, an engine or a metric of your own.

    Writes NAME.py, which works as it is, NAME.yaml, a study that uses it, test_NAME.py, its contract test,
    and the pyproject.toml that makes it known to autotune. Files that are there stay as they are.
    """
    kind = part
    if kind not in PARTS:
        raise SpecError(f"unknown kind {kind!r}; allowed: {', '.join(PARTS)}", hint=did_you_mean(kind, PARTS))
    _check_name(kind, name)
    texts = _texts(kind, name)
    there = [str(folder / file) for file in texts if (folder / file).exists()]
    if there:
        raise SpecError(
            f"{', '.join(there)}: there already, and nothing was written", hint="take another name"
        )
    entry = f'[project.entry-points."autotune.{kind}s"]\n{name} = "{name}:{_symbol(kind, name)}"\n'
    project = folder / "pyproject.toml"
    missing = "" if not project.exists() else entry
    if not missing:
        package = name.replace("_", "-")
        texts["pyproject.toml"] = _PROJECT.format(package=package, kind=kind, name=name, entry=entry)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpecError(f"--dir: {folder}: {error.strerror}") from None
    for file, text in texts.items():
        write_output(folder / file, text, "--dir")
    if as_json:
        echo_json({"files": [str(folder / file) for file in texts], "add_to_pyproject": missing})
        return
    echo(f"wrote {', '.join(str(folder / file) for file in texts)}")
    if missing:
        echo(f"add to {project}, with {name} among its modules:\n{missing.rstrip()}")
    echo(f"next, in {folder}: `pytest test_{name}.py`; `pip install -e .`; `autotune check {name}.yaml`")


def _check_name(kind: str, name: str) -> None:
    """Refuse a name that cannot be a module's, or that means something already.

    Raises:
        SpecError: It cannot be, or does; the hint has a name that may be taken.
    """
    if fault := _fault(kind, name):
        raise SpecError(fault, hint=_near(kind, name) if len(name) <= _LONGEST else "")


def _near(kind: str, name: str) -> str:
    """Return a question for the nearest name that is not refused; empty where that is none of a few."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    near = re.sub(r"\W+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", plain)).strip("_").lower()
    own = f"my_{near}".rstrip("_")
    for one in (near, own, own.removesuffix("_test"), f"{own}_{kind}", f"my_{kind}", f"my_own_{kind}"):
        if not _fault(kind, one):
            return f"did you mean {one!r}?"
    return ""


def _fault(kind: str, name: str) -> str:
    """Return why a name cannot be a module's, or what it means already; empty where it may be taken."""
    from autotune.cli.plugins import registry_of

    if not _NAME.fullmatch(name) or keyword.iskeyword(name) or name in sys.stdlib_module_names:
        allowed = "lower-case ASCII letters, digits and _, none of Python's own"
        return f"{name!r} cannot be the name of a module: {allowed}"
    if len(name) > _LONGEST:
        return f"a name has at most {_LONGEST} letters, found {len(name)}"
    if _TAKEN.fullmatch(name):
        return f"{name!r} is a module of Python's or pytest's, which one of yours would hide or be taken for"
    if name == "autotune" or _is_installed(name):
        return f"{name!r} is an installed package, which a module of that name would hide"
    symbol, part = _symbol(kind, name), PARTS[kind]
    words = {*dir(builtins), *keyword.kwlist}
    for source in _sources(part):
        if source.suffix == ".py":
            words |= {*symtable.symtable(source.read_text(encoding="utf-8"), "", "exec").get_identifiers()}
    if symbol in words - {_symbol(kind, part)}:
        return f"{name!r} would be {symbol} in Python, which what is written needs for something else"
    # a system and an engine of one name are one module
    for each in (kind,) if kind == "metric" else dict.fromkeys((kind, "system", "engine")):
        registry = registry_of(f"{each}s")
        if registry is not None and name in registry.names():
            article = "an" if each[0] in "aeiou" else "a"
            return (
                f"there is {article} {each} {name!r} already; `autotune list {each}s` shows those there are"
            )
    return ""


def _is_installed(name: str) -> bool:
    """Return whether a module of that name lies where packages are installed.

    To read what all of them hold takes seconds.
    """
    return any(
        PathFinder.find_spec(name, [place]) is not None and any(Path(place).glob("*-info"))
        for place in sys.path
    )


def _symbol(kind: str, name: str) -> str:
    """Return the name of what the module has: a class, or a value."""
    return name.upper() if kind == "metric" else _class_name(name)


def _class_name(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _texts(kind: str, name: str) -> dict[str, str]:
    """Return the example's files of a kind as those of a part of another name, by file."""
    part = PARTS[kind]
    words = {f"{EXAMPLE}.": "", part: name, _class_name(part): _class_name(name), part.upper(): name.upper()}
    pattern = re.compile(rf"{EXAMPLE}\.|(?<![a-z]){part}(?![a-z])|{_class_name(part)}|{part.upper()}")
    return {
        file: pattern.sub(lambda match: words[match[0]], source.read_text(encoding="utf-8"))
        for file, source in zip(
            (f"{name}.py", f"{name}.yaml", f"test_{name}.py"), _sources(part), strict=True
        )
    }


def _sources(part: str) -> tuple[Path, Path, Path]:
    """Return the example's files of a part: its module, its study file and its test."""
    from autotune.spec.catalogue import folder

    example = folder("examples/plugin")
    return example / EXAMPLE / f"{part}.py", example / f"{part}.yaml", example / "tests" / f"test_{part}.py"

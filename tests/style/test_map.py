"""The map of the package is the package: rooms, what they own, and what they may import."""

import ast
import re
import tomllib
from fnmatch import fnmatch
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "autotune"
PLACES = sorted(path.parent for path in PACKAGE.glob("*/__init__.py"))
BELOW_ALL = {"errors"}
CONTRACTS = {
    contract["name"]: contract
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
}


def imported_by(folder):
    """Return the names of the packages beside ``folder`` that its modules import."""
    found = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("autotune."):
                found.add(node.module.split(".")[1])
    return found - {folder.name} - BELOW_ALL


def said_by(folder):
    """Return the names of the packages that the docstring of ``folder`` allows."""
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
    assert re.search(r"^Owns ", text, re.MULTILINE), "the second paragraph says what it owns"
    allowed = re.search(r"May\simport\s(.*?)(?:;|\.$)", text, re.DOTALL)
    assert allowed, "and what it may import"
    return set(re.findall(r"``(\w+)``", allowed[1]))


@pytest.mark.parametrize("folder", PLACES, ids=lambda folder: folder.name)
def test_a_package_says_what_it_owns_and_imports_just_what_it_says(folder):
    assert imported_by(folder) == said_by(folder)


def rooms():
    """Return the lines of the map: each package and room with the first line of its docstring."""
    lines = []
    for init in sorted(PACKAGE.rglob("__init__.py")):
        room = init.parent.relative_to(PACKAGE)
        text = ast.get_docstring(ast.parse(init.read_text(encoding="utf-8")))
        name = "  " * len(room.parts) + f"{init.parent.name}/"
        lines.append(f"{name:<21} {text.splitlines()[0].rstrip('.')}")
    return lines


def test_the_map_in_contributing_is_the_tree():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    shown = re.search(r"```\n(autotune/ .*?)\n```", text, re.DOTALL)[1].splitlines()
    assert shown == rooms(), "\n".join(rooms())


def test_every_path_of_the_architecture_is_there():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(autotune/[\w/]+(?:\.py)?)`", text))
    assert len(named) > 20
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_the_picture_of_the_architecture_shows_packages_and_the_page_names_all_others():
    drawn = ET.parse(ROOT / "docs" / "images" / "architecture.svg").getroot()
    shapes = [shape for shape in drawn if shape.get("class") in ("part", "process", "outside", "name")]
    parts = {
        name.text
        for box, name in pairwise(shapes)
        if box.get("class") == "part" and name.get("class") == "name"
    }
    names = {place.name for place in PLACES}
    assert parts <= names
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert "(images/architecture.svg)" in text
    assert names - parts == names & set(re.findall(r"`(\w+)`", text.partition("Imports point")[0])) - {
        "study",
        "cli",
    }


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_the_order_of_imports_that_a_page_tells_is_that_of_the_linter(page):
    layers = CONTRACTS["layers point down; siblings do not import each other"]["layers"]
    order = " > ".join(", ".join(re.findall(r"autotune\.([a-z]+)", layer)) for layer in layers)
    told = re.search(r"Imports point one way\D*?`(.*?)`", (ROOT / page).read_text(), re.DOTALL)[1]
    assert told.split() == order.split()
    packages = {path.name for path in PLACES} | BELOW_ALL
    assert sorted(re.findall(r"\w+", order)) == sorted(packages)


def test_the_fences_in_contributing_are_those_of_the_linter():
    fences = CONTRACTS["torch, ray and mlflow stay behind their fences"]["ignore_imports"]
    modules = {line.split(" -> ")[0].removeprefix("autotune.").replace(".", "/") + ".py" for line in fences}
    text = (ROOT / "CONTRIBUTING.md").read_text()
    told = re.findall(r"`(.*?)`", re.search(r"behind their fences \((.*?)\)", text, re.DOTALL)[1])
    covered = {
        fence: {m for m in modules if fnmatch(m, fence) or m.startswith(f"{fence}/")} for fence in told
    }
    assert set().union(*covered.values()) == modules
    assert all(covered.values()), covered

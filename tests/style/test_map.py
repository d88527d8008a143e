"""The map of the package is the package: rooms, what they own, and what they may import."""

import ast
import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "autotune"
PLACES = sorted(path.parent for path in PACKAGE.glob("*/__init__.py"))
BELOW_ALL = {"errors"}


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

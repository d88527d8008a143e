"""What the package imports is declared, and what it declares is imported."""

import ast
import re
import sys
import tomllib
from functools import cache
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[2]
ELSEWHERE = {"openvino_genai"}
"""Modules of servers, which run in environments of their own."""

INDIRECT = {
    "accelerate": "transformers places a model on several devices by it",
    "safetensors": "transformers reads weights by it",
}
"""Distributions that no module of ours imports, and why they are needed."""


def declared(group=None):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = project["dependencies"] if group is None else project["optional-dependencies"][group]
    return {re.match(r"[A-Za-z0-9_.-]+", line)[0].lower().replace("_", "-") for line in lines}


@cache
def imported():
    """Return by imported module the distributions that may have brought it."""
    owners = metadata.packages_distributions()
    found = {}
    for path in (ROOT / "autotune").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            for name in names:
                top = name.partition(".")[0]
                if top not in sys.stdlib_module_names and top not in ELSEWHERE | {"autotune"}:
                    several = [owner.lower().replace("_", "-") for owner in owners.get(top, [top])]
                    found.setdefault(top, set()).update(several)
    return found


def test_what_is_imported_is_declared():
    known = declared() | declared("transformers") | declared("testing")
    assert {module: owners for module, owners in imported().items() if not owners & known} == {}


def test_what_is_declared_is_imported():
    used = set().union(*imported().values()) | set(INDIRECT)
    assert (declared() | declared("transformers") | declared("testing")) - used == set()

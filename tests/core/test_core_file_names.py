"""One module owns the names of files that two modules must agree on."""

import ast
from pathlib import Path

import autotune
from autotune.core import file_names

ROOT = Path(autotune.__file__).parent
NAMES = {value for name, value in vars(file_names).items() if name.isupper()}
ELSEWHERE = {"config.json": {"systems/gguf.py", "init/find_model.py"}}  # that of a model's folder


def literals(path):
    nodes = ast.walk(ast.parse(path.read_text()))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def test_no_other_module_writes_such_a_name():
    written = {str(path.relative_to(ROOT)): literals(path) for path in ROOT.rglob("*.py")}
    found = {
        name: places - ELSEWHERE.get(name, set())
        for name in NAMES
        if (places := {place for place, words in written.items() if name in words})
    }
    assert {name: places for name, places in found.items() if places != {"core/file_names.py"}} == {}


def test_each_name_is_one_files():
    assert len(NAMES) == len([name for name in vars(file_names) if name.isupper()])

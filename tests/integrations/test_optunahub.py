"""The package for OptunaHub has the registry's format, and loads as the hub loads it."""

import importlib.util
from pathlib import Path

import optuna
import pytest
import yaml

ROOT = Path(__file__).parents[2] / "examples" / "optunahub" / "package"
PACKAGE = ROOT / "samplers" / "autotune"


def check(module):
    study = optuna.create_study(sampler=module.AutotuneSampler(seed=0))
    assert 0 <= study.ask({"x": optuna.distributions.IntDistribution(0, 3)}).params["x"] <= 3
    assert set(module.__all__) == {"AutotuneSampler", "suggest"}


def test_the_folder_is_a_package_of_the_registry():
    text = (PACKAGE / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    head = yaml.safe_load(front)
    assert head.keys() == {"author", "title", "description", "tags", "optuna_versions", "license"}
    assert head["tags"][0] == "sampler"  # what package/samplers must have
    assert all(
        isinstance(word, str) for word in [*head["tags"], head["author"], head["title"], head["license"]]
    )
    for section in ("## Abstract", "## APIs", "## Installation", "## Example"):
        assert section in body
    assert {path.name for path in PACKAGE.iterdir() if path.is_file()} == {
        "README.md", "LICENSE", "__init__.py", "example.py", "requirements.txt"
    }  # fmt: skip
    spec = importlib.util.spec_from_file_location("optunahub_package", PACKAGE / "__init__.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    check(module)


def test_optunahub_loads_the_sampler():
    optunahub = pytest.importorskip("optunahub", reason="optunahub is not installed")
    check(optunahub.load_local_module("samplers/autotune", registry_root=str(ROOT)))

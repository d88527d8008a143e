"""Shipped search spaces for the tests of several modules."""

from autotune import load_space
from autotune.spec.catalogue import find
from autotune.spec.yaml_text import parse_text
from autotune.systems.registry import build_system


def read_space(name):
    """Return a shipped space, and its system or ``None``."""
    file = find("search_spaces", name)
    section = parse_text(file.read_text(), str(file)).data.get("system")
    model = {} if section and section["use"] == "transformers" else {"model": "MODEL"}
    return load_space(file), build_system({**model, **section}) if section else None

"""The container file: it copies what is there, has the versions of the project, and a user without rights."""

import json
import re
import shlex
import tomllib
from pathlib import Path

from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "Containerfile").read_text()


def instructions():
    """Return the instructions as pairs of name and argument, lines that go on joined."""
    lines = [line for line in TEXT.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [tuple(line.split(" ", 1)) for line in joined.splitlines() if line.strip()]


FOUND = instructions()


def arguments(name):
    return [argument for found, argument in FOUND if found == name]


def test_what_is_copied_from_the_repository_is_there_and_enough_for_the_wheel():
    copied = []
    for argument in arguments("COPY"):
        words = shlex.split(argument)
        if not words[0].startswith("--from="):
            copied += words[:-1]
    for source in copied:
        assert (ROOT / source).exists(), source
    stages = {m[1] for base in arguments("FROM") if (m := re.search(r" AS (\S+)$", base))}
    assert {s[7:].split()[0] for s in arguments("COPY") if s.startswith("--from=")} <= stages
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = [*wheel["packages"], *wheel["force-include"], project["project"]["readme"], "pyproject.toml"]
    needed += project["project"]["license-files"]
    for path in needed:
        assert any(path == source or path.startswith(f"{source}/") for source in copied), path


def test_versions_are_those_of_the_project():
    base = next(a for a in arguments("ARG") if a.startswith("BASE="))
    python = re.fullmatch(r"BASE=docker\.io/library/python:(\d+\.\d+\.\d+)-slim-[a-z]+", base)[1]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert python in SpecifierSet(project["requires-python"])
    assert f"Programming Language :: Python :: {python.rpartition('.')[0]}" in project["classifiers"]
    (stated,) = re.findall(r"\(Python (\d+\.\d+), Linux\)", (ROOT / "constraints.txt").read_text())
    assert python.startswith(f"{stated}.")  # the pins are of what passed with that one
    assert all(base.startswith("${BASE}") for base in arguments("FROM"))
    assert any("--constraint /opt/autotune/constraints.txt" in run for run in arguments("RUN"))
    pinned = (ROOT / ".ci" / "release.txt").read_text()
    assert re.search(r"^hatchling==", pinned, re.MULTILINE)
    extras = {
        e
        for run in arguments("RUN")
        for names in re.findall(r"whl\)\[([a-z,]+)\]", run)
        for e in names.split(",")
    }
    assert extras == {"transformers"} <= set(project["optional-dependencies"])


def test_it_runs_the_quickstart_as_a_user_without_rights_and_keeps_no_cache():
    assert json.loads(arguments("ENTRYPOINT")[-1]) == ["autotune"]
    command = json.loads(arguments("CMD")[-1])
    assert command[0] == "run"
    copied = [shlex.split(a) for a in arguments("COPY")]
    assert any(
        f"{words[-1]}{Path(source).name}" == command[1] for words in copied for source in words[:-1]
    ), command
    last = len(FOUND) - 1 - [name for name, _ in FOUND][::-1].index("USER")
    assert FOUND[last][1] not in ("root", "0")
    assert not [name for name, _ in FOUND[last:] if name in ("RUN", "COPY", "ADD")]
    for run in arguments("RUN"):
        assert run.count("pip install") + run.count("pip wheel") == run.count("--no-cache-dir"), run
        assert ("apt-get install" in run) == ("rm -rf /var/lib/apt/lists/*" in run), run

"""The one place that says what a launched process finds in its environment."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import autotune
from autotune.core import environment
from autotune.core.environment import import_path, inherited, own_environment, server_environment
from autotune.core.redact import secrets_of

ROOT = Path(autotune.__file__).parent


def test_a_process_of_ours_finds_this_package_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{tmp_path}")
    code = "import autotune, sys; print(autotune.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=own_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(found.stdout.strip()).parent == ROOT
    assert own_environment()["PYTHONPATH"].split(os.pathsep) == [str(ROOT.parent), str(tmp_path)]


def test_an_installed_package_needs_no_path(monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setattr(environment.sysconfig, "get_path", lambda _: str(ROOT.parent))
    assert import_path() == {}


def test_what_is_given_comes_last(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    assert own_environment({"RANK": "1"})["RANK"] == "1"
    assert server_environment({"PATH": "/other"}, {"PATH": "/bin", "SECRET": "x"}) == {"PATH": "/other"}


@pytest.mark.parametrize("pattern", [r"\*\*os\.environ", r'"PYTHONPATH"'])
def test_no_other_module_puts_an_environment_together(pattern):
    found = {
        str(path.relative_to(ROOT)) for path in ROOT.rglob("*.py") if re.search(pattern, path.read_text())
    }
    # the exported script has nothing of ours to import
    assert found <= {"core/environment.py", "export/python.py"}


@pytest.mark.parametrize(
    "read",
    [
        own_environment,
        lambda: server_environment({}, os.environ),
        lambda: inherited(os.environ),
        lambda: secrets_of(os.environ),
    ],
)
def test_environment_is_read_while_another_thread_takes_variables_away(read, monkeypatch):
    # an environment in which a variable is listed and then gone, as Ray's is while it starts
    class Going(dict):
        def __iter__(self):
            yield from [*super().__iter__(), "A_TOKEN_THAT_WENT"]

        def keys(self):
            return list(self)

        def items(self):
            return [(name, self[name]) for name in self]

    real = Going(os.environ)
    monkeypatch.setattr(os, "environ", real)
    with pytest.raises(KeyError):
        dict(os.environ.items())
    assert "A_TOKEN_THAT_WENT" not in read()

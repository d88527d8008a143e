"""Dependency audit: what is not pinned, has changed or is known to be vulnerable is said; offline too."""

import base64
import hashlib
import importlib.util
import os
import stat
import sys
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def audit():
    spec = importlib.util.spec_from_file_location("audit", ROOT / ".ci" / "audit.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(
    os.environ.get("CONSTRAINTS", "constraints.txt") != "constraints.txt",
    reason="an environment of other versions than the pinned ones",
)
def test_everything_needed_is_pinned_and_installed_as_pinned(audit, record):
    pins = audit.read_pins(ROOT / "constraints.txt")
    installed = dict(audit.required(audit.PROJECT, audit.EXTRAS))
    assert len(installed) > 50
    assert list(audit.unpinned(installed, pins)) == []
    name = next(iter(sorted(set(installed) - set(audit.SEEDED))))
    assert list(audit.unpinned(installed, {**pins, name: "0.0.1"})) == [
        f"{name} is {installed[name].version}, pinned is 0.0.1"
    ]
    without = {key: value for key, value in pins.items() if key != name}
    assert list(audit.unpinned(installed, without)) == [f"{name} {installed[name].version} is not pinned"]
    record("the dependencies installed", "P10: each is pinned, at the version that is installed",
           f"{len(installed)} of {len(installed)}")  # fmt: skip


def test_a_changed_and_a_missing_file_are_named(audit, tmp_path):
    (tmp_path / "good.py").write_text("x = 1\n")
    (tmp_path / "bad.py").write_text("import os\n")
    info = tmp_path / "thing-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: thing\nVersion: 1.0\n")
    code = base64.urlsafe_b64encode(hashlib.sha256(b"x = 1\n").digest()).rstrip(b"=").decode()
    names = ("good.py", "bad.py", "gone.py")
    (info / "RECORD").write_text("".join(f"{name},sha256={code},6\n" for name in names))
    found = list(audit.changed({"thing": PathDistribution(info)}))
    assert found == ["thing: bad.py has changed", "thing: gone.py is missing"]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (None, "pip-audit is not installed"),
        ("sys.exit('requests.exceptions.ConnectionError: no route')", "pip-audit could not ask: requests"),
        ("print(json.dumps({'dependencies': [{'name': 'a', 'version': '1', 'vulns': []}]}))", []),
        (
            "bug = {'name': 'a', 'version': '1', 'vulns': [{'id': 'CVE-1'}]}\n"
            "print(json.dumps({'dependencies': [bug]}))\nsys.exit(1)",
            ["a 1: CVE-1"],
        ),
    ],
    ids=["absent", "offline", "well", "vulnerable"],
)
def test_vulnerabilities_are_told_or_why_not(audit, tmp_path, monkeypatch, script, expected):
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin" if script else str(tmp_path))
    if script:
        program = tmp_path / "pip-audit"
        program.write_text(f"#!{sys.executable}\nimport json, sys\n{script}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    found = audit.vulnerabilities(ROOT / "constraints.txt")
    if isinstance(expected, str):
        assert found.startswith(expected), "an audit that could not ask does not fail, and says so"
    else:
        assert found == expected


def test_copies_inside_other_packages_do_not_count(audit, tmp_path, monkeypatch):
    before = [name for name, _ in audit.required(audit.PROJECT, audit.EXTRAS)]
    for name in (
        "tomli",
        "colorama",
    ):  # wanted on other platforms, brought along by a package that is imported
        folder = tmp_path / f"{name}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert [name for name, _ in audit.required(audit.PROJECT, audit.EXTRAS)] == before


def test_the_exit_code_tells(audit, tmp_path, monkeypatch, capsys):
    pins = tmp_path / "pins.txt"
    found = audit.required(audit.PROJECT, audit.EXTRAS)
    pins.write_text("".join(f"{name}=={part.version}\n" for name, part in found))
    monkeypatch.setattr(sys, "argv", ["audit.py", str(pins)])
    monkeypatch.setattr(audit, "changed", lambda installed: [])  # reads gigabytes
    monkeypatch.setattr(audit, "vulnerabilities", lambda constraints: "offline")
    assert audit.main() == 0
    assert "not asked for vulnerabilities: offline" in capsys.readouterr().out
    monkeypatch.setattr(audit, "vulnerabilities", lambda constraints: ["a 1: CVE-1"])
    assert audit.main() == 1
    monkeypatch.setattr(audit, "vulnerabilities", lambda constraints: [])
    assert audit.main() == 0
    pins.write_text("")
    assert audit.main() == 1

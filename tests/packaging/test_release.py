"""A release: refused where something does not agree, and built twice with equal bytes."""

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_SPEC = importlib.util.spec_from_file_location("release", ROOT / ".ci" / "release.py")
release = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(release)

WHO = {
    f"GIT_{who}_{what}": text
    for who in ("AUTHOR", "COMMITTER")
    for what, text in (("NAME", "maintainers"), ("EMAIL", "maintainers@localhost"))
}


def git(folder, *args):
    argv = ["git", *args]
    subprocess.run(argv, cwd=folder, check=True, capture_output=True, env={**os.environ, **WHO})


def commit(folder, *tags):
    git(folder, "add", "--all")
    git(folder, "commit", "-q", "--allow-empty", "-m", "A release")
    for tag in tags:
        git(folder, "tag", "--force", tag)


@pytest.fixture
def checkout(tmp_path):
    """A small checkout of which a release of 1.2.0 can be made."""
    folder = tmp_path / "checkout"
    (folder / "autotune" / "core").mkdir(parents=True)
    (folder / "autotune" / "core" / "version.py").write_text('"""The version."""\n\nVERSION = "1.2.0"\n')
    (folder / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "1.2.0"\n')
    (folder / "CHANGELOG.md").write_text("# Changelog\n\n## 1.2.0 (2026-11-29)\n\n- One thing.\n\n## 1.1.0\n")
    git(tmp_path, "init", "-q", str(folder))
    commit(folder, "v1.2.0")
    return folder


def test_what_agrees_is_released(checkout):
    assert list(release.disagreements(checkout, None)) == []
    assert list(release.disagreements(checkout, "v1.2.0")) == []


def test_a_tag_that_is_not_of_this_commit_and_version_is_refused(checkout):
    assert list(release.disagreements(checkout, "v1.3.0")) == [
        "the tag is v1.3.0, and pyproject.toml has version 1.2.0: expected v1.2.0"
    ]
    commit(checkout)
    assert list(release.disagreements(checkout, None)) == [
        "the commit has no tag, and pyproject.toml has version 1.2.0: expected v1.2.0"
    ]
    (message,) = release.disagreements(checkout, "v1.2.0")
    assert message.startswith("the tag v1.2.0 is not of this commit, ")


def test_the_tag_of_the_version_is_found_among_others(checkout):
    subprocess.run(["git", "tag", "latest"], cwd=checkout, check=True)
    assert list(release.disagreements(checkout, None)) == []


def test_the_files_of_the_commit_do_not_follow_the_configuration_of_git(checkout):
    def archive():
        return subprocess.run(release.GIT_ARCHIVE, cwd=checkout, capture_output=True, check=True).stdout

    plain = archive()
    for name, value in (("core.autocrlf", "true"), ("tar.umask", "077")):
        subprocess.run(["git", "config", name, value], cwd=checkout, check=True)
    assert archive() == plain


def test_versions_that_differ_are_refused(checkout):
    (checkout / "autotune" / "core" / "version.py").write_text('VERSION = "1.1.0"\n')
    commit(checkout, "v1.2.0")
    assert list(release.disagreements(checkout, None)) == [
        "autotune/core/version.py has 1.1.0, and pyproject.toml 1.2.0"
    ]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ("## 1.2.1 (2026-11-29)", "has no section of 1.2.0"),
        ("## 1.2.0", "the section `## 1.2.0` has no date"),
        ("## 1.2.0 (2999-01-01)", "is of a day to come"),
        ("## 1.2.0 (2026-11-29)\n\n## 1.1.9 (2026-11-28)", "the section `## 1.2.0 (2026-11-29)` is empty"),
        ("## [Unreleased]\n\n### Added\n- A change\n\n## 1.2.0 (2026-11-29)", "stand under Unreleased"),
        ("## Unreleased  \n\n#12 is mended\n\n## 1.2.0 (2026-11-29)", "stand under Unreleased"),
        ("## 1.2.0 (2026-02-30)", "the section `## 1.2.0 (2026-02-30)` has no date"),
        (
            "## Unreleased\n\n- Another.\n\n## 1.2.0 (2026-11-29)",
            "changes stand under Unreleased, not under 1.2.0",
        ),
    ],
)
def test_a_changelog_without_a_dated_section_of_all_changes_is_refused(checkout, changed, expected):
    path = checkout / "CHANGELOG.md"
    path.write_text(path.read_text().replace("## 1.2.0 (2026-11-29)", changed))
    commit(checkout, "v1.2.0")
    (message,) = release.disagreements(checkout, None)
    assert expected in message


def test_a_tree_that_is_not_clean_is_refused(checkout):
    (checkout / "left.py").write_text("")
    (checkout / "CHANGELOG.md").write_text((checkout / "CHANGELOG.md").read_text() + "\n")
    (message,) = release.disagreements(checkout, None)
    assert message == "the tree is not clean: CHANGELOG.md, left.py"


def make(checkout, out, umask, **env):
    """Build the files of a release in a process of its own."""
    mask = ["sh", "-c", f'umask {umask}; exec "$@"', "sh"]
    done = subprocess.run(
        [*mask, str(checkout.parent / "tools" / "bin" / "python"), ".ci/release.py", "--out", str(out)],
        cwd=checkout, capture_output=True, text=True, check=False, env={**os.environ, **env},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return {path.name: path.read_bytes() for path in out.iterdir()}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_builds_are_equal_byte_for_byte(tmp_path):
    """Another folder, time, umask, locale and time zone; the tools are those that `make release` installs."""
    tools = tmp_path / "tools"
    subprocess.run([sys.executable, "-m", "venv", tools], check=True)
    pip = [tools / "bin" / "pip", "install", "--quiet", "--requirement", ROOT / ".ci" / "release.txt"]
    subprocess.run(pip, check=True, capture_output=True)
    first, second = tmp_path / "first", tmp_path / "second"
    names = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in filter(lambda name: (ROOT / name).is_file(), names.stdout.splitlines()):
        (first / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, first / name)
    version = tomllib.loads((first / "pyproject.toml").read_text())["project"]["version"]
    log = first / "CHANGELOG.md"
    rest = log.read_text().replace("## Unreleased", f"## {version} (2026-11-29)", 1)
    log.write_text(rest.replace(f"\n## {version}\n", "\n## 0.0.1\n"))
    git(tmp_path, "init", "-q", str(first))
    commit(first, f"v{version}")
    built = make(first, tmp_path / "one", "022", LC_ALL="C.UTF-8", TZ="UTC")
    git(tmp_path, "clone", "-q", str(first), str(second))
    for path in second.rglob("*"):
        os.utime(path, (0, time.time() + 86_400), follow_symlinks=False)
    again = make(second, tmp_path / "two", "077", LC_ALL="C", TZ="Asia/Tokyo")
    assert sorted(built) == sorted(again)
    assert [name for name in built if built[name] != again[name]] == []

    (wheel,) = (name for name in built if name.endswith(".whl"))
    (sdist,) = (name for name in built if name.endswith(".tar.gz"))
    (bom,) = (name for name in built if name.endswith(".cdx.json"))
    for line in built["SHA256SUMS"].decode().splitlines():
        digest, _, name = line.partition("  ")
        assert hashlib.sha256(built[name]).hexdigest() == digest
    assert built["SHA256SUMS"].count(b"\n") == 3
    with zipfile.ZipFile(tmp_path / "one" / wheel) as files:
        assert "autotune/__init__.py" in files.namelist()
    with tarfile.open(tmp_path / "one" / sdist) as files:
        assert {member.mode for member in files.getmembers()} <= {0o644, 0o755}
    listed = json.loads(built[bom])
    assert (listed["bomFormat"], listed["metadata"]["component"]["version"]) == ("CycloneDX", version)
    pins = {line for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    assert {f"{one['name']}=={one['version']}" for one in listed["components"]} == pins

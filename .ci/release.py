"""Make a release: refuse what does not agree, then build files that anybody can build again, byte for byte.

Builds with what ``.ci/release.txt`` pins, from the files of the commit alone and at its time: neither the
folder nor the clock, the umask or the locale has a part in it. `make release` runs it.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterator
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Print what was built, or what does not agree; return 1 then."""
    parser = argparse.ArgumentParser(description="Build the files of a release into an empty folder.")
    parser.add_argument("--tag", help="tag of the release; by default that of the commit")
    parser.add_argument("--out", type=Path, default=Path("dist"), help="folder of the files")
    given = parser.parse_args()
    wrong = list(disagreements(ROOT, given.tag))
    if given.out.is_dir() and any(given.out.iterdir()):
        wrong.append(f"{given.out} is not empty")
    for line in wrong:
        print(f"wrong: {line}", file=sys.stderr)
    if wrong:
        return 1
    for path in build(ROOT, given.out.resolve()):
        print(path)
    return 0


GIT_ARCHIVE = [
    "git", "-c", "core.autocrlf=false", "-c", "core.eol=lf", "-c", "tar.umask=0022", "archive", "HEAD",
]  # fmt: skip
"""The files of the commit alone, whatever git's configuration on this machine is."""


def disagreements(root: Path, tag: str | None) -> Iterator[str]:
    """Yield what keeps a checkout from being released.

    Args:
        root: The checkout.
        tag: Tag of the release; that of the commit where it is ``None``.
    """
    version = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    here = git(root, "rev-parse", "HEAD").strip()
    wanted = f"v{version}"
    here_are = git(root, "tag", "--points-at", "HEAD").split()
    tag = tag or (wanted if wanted in here_are else ", ".join(here_are))
    if tag != wanted:
        found = f"the tag is {tag}" if tag else "the commit has no tag"
        yield f"{found}, and pyproject.toml has version {version}: expected {wanted}"
    elif git(root, "rev-list", "-n1", tag, check=False).strip() != here:
        yield f"the tag {tag} is not of this commit, {here[:12]}"
    stated = re.search(r'^VERSION = "(.+)"$', (root / "autotune/core/version.py").read_text(), re.MULTILINE)
    if stated is None or stated[1] != version:
        yield f"autotune/core/version.py has {stated and stated[1]}, and pyproject.toml {version}"
    yield from changelog_mistakes((root / "CHANGELOG.md").read_text(encoding="utf-8"), version)
    dirty = git(root, "status", "--porcelain").splitlines()
    if dirty:
        yield f"the tree is not clean: {', '.join(line[3:] for line in dirty[:5])}"


def changelog_mistakes(text: str, version: str) -> Iterator[str]:
    """Yield what the changelog lacks of a dated section of a version that holds all changes."""
    parts = re.split(r"^## +(.+?) *$", text, flags=re.MULTILINE)[1:]
    sections = dict(zip(parts[::2], parts[1::2], strict=True))
    changes = {
        head: re.sub(r"^#+ .*$", "", body, flags=re.MULTILINE).strip() for head, body in sections.items()
    }
    today = date.today().isoformat()
    example = f"`## {version} ({today})`"
    own = next((head for head in changes if head.split()[0] == version), None)
    dated = re.fullmatch(r"\S+ \((\d{4}-\d{2}-\d{2})\)", own or "")
    if own is None:
        yield f"CHANGELOG.md has no section of {version}: expected {example}"
    elif dated is None or not is_date(dated[1]):
        yield f"CHANGELOG.md: the section `## {own}` has no date: expected {example}"
    elif dated[1] > today:
        yield f"CHANGELOG.md: the section `## {own}` is of a day to come: expected {example}"
    if own is not None and not changes[own]:
        yield f"CHANGELOG.md: the section `## {own}` is empty"
    if any(body for head, body in changes.items() if head.strip("[]").lower() == "unreleased"):
        yield f"CHANGELOG.md: changes stand under Unreleased, not under {version}"


def is_date(text: str) -> bool:
    """Return whether a text is a day of the calendar."""
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def build(root: Path, out: Path) -> list[Path]:
    """Build wheel, sdist, bill of materials and checksums of the commit; return their paths.

    Args:
        root: The checkout.
        out: Folder that they are written to.
    """
    out.mkdir(parents=True, exist_ok=True)
    env = {**os.environ, "SOURCE_DATE_EPOCH": git(root, "log", "-1", "--format=%ct").strip()}
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(GIT_ARCHIVE, cwd=root, capture_output=True, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(folder, filter="data")
        run("build", "--no-isolation", "--outdir", out, folder, env=env)
        (wheel,) = out.glob("*.whl")
        bom = out / f"{'-'.join(wheel.name.split('-')[:2])}.cdx.json"
        options = ("--mc-type", "application", "--output-reproducible", "--validate", "--output-file", bom)
        project, pins = Path(folder, "pyproject.toml"), Path(folder, "constraints.txt")
        run("cyclonedx_py", "requirements", "--pyproject", project, *options, pins, env=env)
    files = sorted(path for path in out.iterdir() if path.name != "SHA256SUMS")
    sums = out / "SHA256SUMS"
    sums.write_text("".join(f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.name}\n" for p in files))
    return [*files, sums]


def run(module: str, *args: object, env: dict[str, str]) -> None:
    """Run a module of this interpreter; what it prints is shown where it fails."""
    argv = [sys.executable, "-m", module, *map(str, args)]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{module} ended with {done.returncode}:\n{done.stdout}{done.stderr}")


def git(root: Path, *args: str, check: bool = True) -> str:
    """Return what git prints."""
    return subprocess.run(["git", *args], cwd=root, capture_output=True, text=True, check=check).stdout


if __name__ == "__main__":
    sys.exit(main())

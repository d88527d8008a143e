"""Audit what is installed: pinned, unchanged since it was installed, and without a known vulnerability.

The first two need no network. The last asks an advisory service through ``pip-audit``, which is not among the
dependencies: where it is missing or the service cannot be reached, that is said and the rest still counts.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROJECT = "autotune-inference"
EXTRAS = ("cluster", "transformers", "dev", "docs")
AUDIT_S = 600.0
SEEDED = ("pip", "setuptools", "wheel")  # come with a virtual environment, whatever is pinned
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def main() -> int:
    """Print what was found; return 1 where something is wrong."""
    constraints = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "constraints.txt"
    pins = read_pins(constraints)
    installed = dict(required(PROJECT, EXTRAS))
    wrong = [*unpinned(installed, pins), *changed(installed)]
    for line in wrong:
        print(f"wrong: {line}")
    print(f"{len(installed)} distributions are needed; {len(wrong)} things are wrong with pins and files")
    known = vulnerabilities(constraints)
    if isinstance(known, str):
        print(f"not asked for vulnerabilities: {known}")
    else:
        print("\n".join([f"vulnerable: {line}" for line in known] or ["no known vulnerability"]))
    return 1 if wrong or (known and not isinstance(known, str)) else 0


def canonical(name: str) -> str:
    """Return the one form of a distribution's name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_pins(path: Path) -> dict[str, str]:
    """Return the pinned versions by name."""
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    pairs = (line.partition("==") for line in lines if line)
    return {canonical(name): version.strip() for name, _, version in pairs}


def distribution(name: str) -> Distribution:
    """Return what is installed in this environment by that name.

    Packages that bring copies of others put them on the path once they are imported; those are not meant.

    Raises:
        PackageNotFoundError: There is none.
    """
    folders = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    found = next(iter(Distribution.discover(name=name, path=folders)), None)
    if found is None:
        raise PackageNotFoundError(name)
    return found


def required(name: str, extras: tuple[str, ...] = ()) -> Iterator[tuple[str, Distribution]]:
    """Yield every installed distribution that ``name`` needs, itself left out."""
    queue, seen = [(name, extras)], {canonical(name)}
    while queue:
        current, wanted = queue.pop()
        for text in distribution(current).requires or ():
            requirement, _, marker = text.partition(";")
            extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)", marker)
            if extra is not None and extra.group(1) not in wanted:
                continue
            match = _WORD.match(requirement)
            assert match is not None, text
            inner = re.search(r"\[([^\]]+)\]", requirement)
            needed = canonical(match.group())
            try:
                found = distribution(needed)
            except PackageNotFoundError:  # for another platform or Python
                continue
            if needed not in seen:
                seen.add(needed)
                queue.append((needed, tuple(inner.group(1).split(",")) if inner else ()))
                yield needed, found


def unpinned(installed: dict[str, Distribution], pins: dict[str, str]) -> Iterator[str]:
    """Yield what is installed in another version than the one that was tested, or is not pinned at all."""
    for name, found in sorted(installed.items()):
        version = found.version.partition("+")[0]  # torch names its build behind a plus
        if name not in pins and name not in SEEDED:
            yield f"{name} {version} is not pinned"
        elif version != pins.get(name, version).partition("+")[0]:
            yield f"{name} is {version}, pinned is {pins[name]}"


def changed(installed: dict[str, Distribution]) -> Iterator[str]:
    """Yield the files that are not as they were when they were installed."""
    for name, found in sorted(installed.items()):
        # what Python 3.12 and later give as its files has none that is missing
        for file, kept, *_ in csv.reader((found.read_text("RECORD") or "").splitlines()):
            mode, _, expected = kept.partition("=")
            if mode != "sha256":
                continue
            path = Path(str(found.locate_file(file)))
            if not path.exists():
                yield f"{name}: {file} is missing"
                continue
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").digest()
            if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != expected:
                yield f"{name}: {file} has changed"


def vulnerabilities(constraints: Path) -> list[str] | str:
    """Return what ``pip-audit`` knows, or why it was not to be had."""
    program = shutil.which("pip-audit")
    if program is None:
        return "pip-audit is not installed"
    argv = [program, "--requirement", str(constraints), "--no-deps", "--disable-pip", "--format", "json"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=AUDIT_S)
        found = json.loads(done.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        return f"pip-audit did not answer within {AUDIT_S:g} s"
    except (ValueError, KeyError):  # no report: it could not ask
        return f"pip-audit could not ask: {(done.stderr.strip().splitlines() or ['it said nothing'])[-1]}"
    return [f"{one['name']} {one['version']}: {bug['id']}" for one in found for bug in one.get("vulns", ())]


if __name__ == "__main__":
    sys.exit(main())

"""The oldest versions that pyproject.toml admits are the ones that `make test-oldest` installs."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
LINE = re.compile(r"([\w.-]+)==([\w.]+)(?:  # admitted: ([\w.]+)[;,] \w.*)?")


def floors():
    """Return the oldest version of each dependency of users: our own, those of extras but the developers'."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    found = {}
    for text in (*project["dependencies"], *extras["transformers"], *extras["testing"]):
        requirement = Requirement(text)
        (floor,) = [one.version for one in requirement.specifier if one.operator == ">="]
        found[canonicalize_name(requirement.name)] = Version(floor)
    return found


def pins(name):
    """Return version, and the version that is admitted where it is another one, by package."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    matches = {line: LINE.fullmatch(line) for line in lines if line and not line.startswith("#")}
    assert [line for line, match in matches.items() if match is None] == []
    found = [match.groups() for match in matches.values()]
    assert len({canonicalize_name(package) for package, _, _ in found}) == len(found)
    return {
        canonicalize_name(package): (Version(version), admitted and Version(admitted))
        for package, version, admitted in found
    }


def test_each_floor_is_what_is_installed_or_its_line_says_why_not():
    oldest = pins("constraints-oldest.txt")
    wrong = []
    for package, floor in floors().items():
        version, admitted = oldest.get(package, (None, None))
        if version != floor and not (admitted == floor and version > floor):
            wrong.append(f"{package}: >={floor} in pyproject.toml, =={version} in constraints-oldest.txt")
    assert wrong == []


def test_only_direct_dependencies_are_told_to_be_admitted():
    told = {package: one for package, (_, one) in pins("constraints-oldest.txt").items() if one is not None}
    assert told.items() <= floors().items()


def test_nothing_is_newer_than_what_the_ordinary_suite_has():
    newest = pins("constraints.txt")
    oldest = pins("constraints-oldest.txt")
    newer = [name for name in oldest.keys() & newest.keys() if oldest[name][0] > newest[name][0]]
    assert newer == []
    assert set(floors()) <= oldest.keys() & newest.keys()


def test_ray_is_admitted_up_to_the_minor_version_that_the_ordinary_suite_has():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    texts = [
        *project["dependencies"],
        *(text for texts in project["optional-dependencies"].values() for text in texts),
    ]
    bounds = {str(Requirement(text).specifier) for text in texts if Requirement(text).name == "ray"}
    tested, _ = pins("constraints.txt")["ray"]
    assert bounds == {f"<{tested.major}.{tested.minor + 1},>=2.50"}

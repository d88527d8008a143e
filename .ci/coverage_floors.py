"""Compare what the tests covered with a floor per package: ``pytest --cov --cov-report=`` first.

The floors are in ``pyproject.toml``, a few points under what was measured: a package that falls below has
grown by code that no test enters.
"""

from __future__ import annotations

import io
import sys
import tomllib
from pathlib import Path

from coverage import Coverage
from coverage.exceptions import CoverageException

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "autotune"


def main() -> int:
    """Print the share of covered lines of each package; return 1 where one is under its floor."""
    floors = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["autotune"]["coverage-floors"]
    measured = Coverage(data_file=str(ROOT / ".coverage"), config_file=str(ROOT / "pyproject.toml"))
    try:
        measured.load()
        found = {name: covered(measured, PACKAGE / name) for name in packages()}
    except CoverageException as error:
        print(f"no coverage to compare: {error}; `make coverage` measures it")
        return 1
    for name, share in found.items():
        print(f"{name:10} {share:5.1f} %  (floor {floors.get(name, 'missing')})")
    wrong = [f"{name} is under its floor" for name, share in found.items() if share < floors.get(name, 101)]
    wrong += [f"{name} is no package" for name in sorted(set(floors) - set(found))]
    for line in wrong:
        print(line)
    return 1 if wrong else 0


def packages() -> list[str]:
    """Return the names of the top-level packages."""
    return sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))


def covered(measured: Coverage, folder: Path) -> float:
    """Return the percentage of a folder's lines that ran."""
    return measured.report(include=[f"{folder}/*"], file=io.StringIO())


if __name__ == "__main__":
    sys.exit(main())

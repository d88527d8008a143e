"""Every Python block of the documentation passes mypy --strict, and pyright where it is there.

The blocks lie in a clean folder, as somebody's own files do, and see the package as it is installed.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"((?:^<!--(?:(?!-->).)*-->\n)*)^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MARK = re.compile(r"<!-- ?([a-z]+)(?::? ?)(.*?)\s*-->", re.DOTALL)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PLUGIN = "examples/plugin/"
PYRIGHT = shutil.which("pyright") or os.environ.get("AUTOTUNE_PYRIGHT")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("snippets")
    count = 0
    for page in PAGES:
        for marks, text in BLOCK.findall(page.read_text(encoding="utf-8")):
            known = dict(MARK.findall(marks))
            count += 1
            name = known.get("file") or f"{page.stem.lower().replace('-', '_')}_{count}.py"
            if known.get("shown", "").startswith(PLUGIN):  # a file of a package, which others import
                name = known["shown"].removeprefix(PLUGIN)
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(f"{known.get('with', '')}\n{text}", encoding="utf-8")
    assert count > 8
    return folder


@pytest.fixture(scope="module")
def said(written):
    """Return what one mypy says of the blocks, and of a file with a mistake on each line."""
    (written / "mypy.ini").write_text("[mypy]\n[mypy-torch.*,botorch.*,optuna.*]\nfollow_imports = skip\n")
    (written / "wrong.py").write_text("import autotune\n" + "".join(f"{line}\n" for line in WRONG))
    cache = ROOT / ".mypy_cache" / "snippets"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--explicit-package-bases",
            "--no-error-summary",
            "--cache-dir",
            str(cache),
            ".",
        ],
        cwd=written,
        capture_output=True,
        text=True,
        check=False,
    )
    (written / "wrong.py").unlink()
    assert done.stderr == ""
    return done.stdout.splitlines()


WRONG = {
    'autotune.Int("batch", "low", 8)': 'Argument 2 to "Int" has incompatible type "str"',
    "autotune.Space(3)": 'Argument 1 to "Space" has incompatible type "int"',
    'autotune.Study("vllm", 7)': 'Argument 2 to "Study" has incompatible type "int"',
    "autotune.no_such_name": 'Module has no attribute "no_such_name"',
    "autotune.plot.importance(1)": 'Argument 1 to "importance" has incompatible type "int"',
    "reveal_type(autotune.Study.ask)": "n: int) -> list[autotune.core.trial.Trial]",
}


@pytest.mark.slow
def test_the_blocks_pass_mypy_strict(said):
    assert [line for line in said if not line.startswith("wrong.py")] == []


def test_what_is_wrong_is_seen_by_mypy(said):
    found = [line for line in said if line.startswith("wrong.py")]
    assert len(found) == len(WRONG), found
    for line, wanted in zip(found, WRONG.values(), strict=True):
        assert wanted in line


@pytest.mark.skipif(not PYRIGHT, reason="no pyright on the PATH, and AUTOTUNE_PYRIGHT does not name one")
def test_the_blocks_pass_pyright(written):
    done = subprocess.run(
        [PYRIGHT, "--outputjson", "--pythonpath", sys.executable, "."],
        cwd=written,
        capture_output=True,
        text=True,
        check=False,
    )
    found = json.loads(done.stdout)["generalDiagnostics"]
    errors = [
        f"{Path(each['file']).name}: {each['message']}" for each in found if each["severity"] == "error"
    ]
    assert errors == []

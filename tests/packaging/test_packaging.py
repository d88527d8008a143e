"""The wheel, the sdist, an editable install and the checkout all find the shipped files."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(280)
ROOT = Path(__file__).resolve().parents[2]
SHOW = (
    "import autotune, json; from autotune.spec.catalogue import entries, folder\n"
    "print(json.dumps([autotune.__file__, str(folder('search_spaces')), sorted(entries('search_spaces')),"
    " sorted(entries('objectives'))]))\n"
    "assert autotune.load_space('transformers').names and autotune.load_objective('latency').goals"
)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, sdist


def look(path, cwd):
    """Run the catalogue from ``path`` alone, with this environment's dependencies."""
    import json

    done = subprocess.run(
        [sys.executable, "-c", SHOW], cwd=cwd, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    file, folder, spaces, objectives = json.loads(done.stdout)
    assert file.startswith(str(path))
    assert folder.startswith(str(path))
    assert "transformers" in spaces
    assert "latency" in objectives


def test_the_wheel_carries_the_catalogue_and_no_tests(built, tmp_path):
    with zipfile.ZipFile(built[0]) as wheel:
        names = wheel.namelist()
        wheel.extractall(tmp_path / "wheel")
    assert "autotune/_catalogue/search_spaces/transformers.yaml" in names
    assert {f"autotune/report/page/report.{end}" for end in ("html.j2", "css", "js")} <= set(names)
    assert not [name for name in names if name.startswith(("tests/", "search_spaces/", "objectives/"))]
    metadata = next(name for name in names if name.endswith("METADATA"))
    text = (tmp_path / "wheel" / metadata).read_text()
    assert "Name: autotune-inference" in text
    look(tmp_path / "wheel", tmp_path)


def test_the_sdist_finds_it_unpacked(built, tmp_path):
    with tarfile.open(built[1]) as sdist:
        sdist.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.glob("autotune_inference-*")
    look(folder, tmp_path)
    assert (folder / "LICENSE").exists()
    assert (folder / "examples" / "quickstart.yaml").exists()


def test_the_checkout_finds_it(tmp_path):
    look(ROOT, tmp_path)


def test_an_editable_install_finds_it(tmp_path):
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    done = subprocess.run(
        [*pip, "install", "--no-deps", "--target", str(tmp_path / "site"), "--editable", str(ROOT)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    pointers = list((tmp_path / "site").glob("*.pth"))
    assert pointers
    root = Path(pointers[0].read_text().strip())
    assert root == ROOT
    look(root, tmp_path)

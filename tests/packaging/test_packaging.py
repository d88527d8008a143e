"""The wheel, the sdist, an editable install and the checkout all find the shipped files."""

import os
import re
import shlex
import shutil
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


@pytest.mark.slow
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


STUDY = """
name: installed
parameters: {wide: {type: int, low: 1, high: 8, default: 1}}
system: {use: command, argv: ["{python}", program.py, "{wide}"]}
objective: {maximize: speed}
budget: {trials: 4, confirm: 0}
engine: {use: gp, initial: 2}
"""
PROGRAM = "import json, sys; print(json.dumps({'speed': int(sys.argv[1])}))"


@pytest.fixture(scope="module")
def installers(tmp_path_factory):
    """uv and pipx in an environment of their own, and the variables by which they take torch's CPU build."""
    argv = [sys.executable, "-m", "pip", "config", "list"]
    shown = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    links, index = (
        next(iter(re.findall(rf"[.]{name}='(.*)'$", shown, re.MULTILINE)), "")
        for name in ("find-links", "extra-index-url")
    )
    if not any(Path(folder).glob("torch-*cpu*.whl") for folder in links.split()) and "/cpu" not in index:
        pytest.skip("no CPU build of torch at hand: PIP_FIND_LINKS or PIP_EXTRA_INDEX_URL names one")
    folder = tmp_path_factory.mktemp("installers")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    pip = [folder / "venv" / "bin" / "pip", "install", "--quiet", "uv", "pipx"]
    subprocess.run(pip, check=True, capture_output=True)
    inherited = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")
    }
    env = {
        **inherited,
        "UV_CACHE_DIR": str(folder / "cache"), "UV_PYTHON_DOWNLOADS": "never", "UV_FIND_LINKS": links,
        "UV_TOOL_DIR": str(folder / "uv"), "UV_TOOL_BIN_DIR": str(folder / "bin-uv"),
        "PIPX_HOME": str(folder / "pipx"), "PIPX_BIN_DIR": str(folder / "bin-pipx"),
        **({"UV_INDEX": index, "UV_INDEX_STRATEGY": "unsafe-best-match"} if "/cpu" in index else {}),
    }  # fmt: skip
    yield folder, env
    shutil.rmtree(folder)  # gigabytes


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("tool", ["uv", "pipx"])
def test_the_wheel_alone_is_enough(built, installers, tool, tmp_path):
    """What ``make`` does with pip, these do from the wheel; then a real study runs from an empty folder."""
    folder, env = installers
    wheel, pins = built[0], ROOT / "constraints.txt"
    for file in (wheel, pins):
        shutil.copy(file, tmp_path)
    page = (ROOT / "docs/install.md").read_text().splitlines()
    (line,) = (line for line in page if line.startswith((f"{tool} install", f"{tool} tool install")))
    words = [sys.executable if word == "3.11" else word for word in shlex.split(line)]
    argv = [
        folder / "venv" / "bin" / words[0],
        *words[1:-1],
        re.sub(r"^autotune.*whl", wheel.name, words[-1]),
    ]
    done = subprocess.run(
        list(map(str, argv)), env=env, capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (tmp_path / "study.yaml").write_text(STUDY)
    (tmp_path / "program.py").write_text(PROGRAM)

    def autotune(*args):
        command = [str(folder / f"bin-{tool}" / "autotune"), *args]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert autotune("--version").startswith("autotune ")
    assert "transformers" in autotune("list", "spaces")
    assert "4 trials" in autotune("check", "study.yaml")
    autotune("run", "study.yaml", "--local", "--quiet")
    assert "study installed: completed, 4 trials, 4 measured" in autotune("status")
    environments = [folder / "uv" / "autotune-inference", folder / "pipx" / "venvs" / "autotune-inference"]
    python = environments[tool == "pipx"] / "bin" / "python"
    asked = [python, "-c", "from importlib.metadata import version; print(version('torch'))"]
    found = subprocess.run(asked, env=env, capture_output=True, text=True, check=True)
    assert f"torch=={found.stdout.strip().partition('+')[0]}" in pins.read_text().splitlines()

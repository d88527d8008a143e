"""The example of a third party's package, built, installed and used; and what `autotune new` writes."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from autotune.cli import main
from autotune.ledger import Ledger
from tests_exports import CASES, record_study
from tests_study_files import TOY_STUDY

pytestmark = pytest.mark.timeout(580)
ROOT = Path(__file__).resolve().parents[2]


def run(argv, folder, *paths, codes=(0,)):
    """Run a module of this interpreter in a folder, with more places to import from; its output."""
    path = os.pathsep.join([*map(str, paths), os.environ["PYTHONPATH"]])
    done = subprocess.run(
        [sys.executable, "-m", *map(str, argv)], cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": path, "COLUMNS": "200"},
    )  # fmt: skip
    assert done.returncode in codes, f"{argv}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder into which the wheel of the example is installed; nothing is fetched."""
    folder = tmp_path_factory.mktemp("example")
    shutil.copytree(ROOT / "examples" / "plugin", folder / "plugin")  # a build leaves files
    pip = ["pip", "--disable-pip-version-check", "--quiet"]
    run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, folder / "plugin"], folder
    )
    (wheel,) = folder.glob("autotune_example-1.0-*.whl")
    run([*pip, "install", "--no-deps", "--no-index", "--target", folder / "site", wheel], folder)
    shutil.rmtree(folder / "plugin" / "autotune_example")  # from here on, what is installed is what is used
    return folder / "site"


def test_what_is_installed_is_listed_with_its_package(site, tmp_path):
    listed = run(["autotune", "list", "plugins"], tmp_path, site).splitlines()
    found = {line.split("  ")[0]: line for line in listed if "autotune-example 1.0" in line}
    assert list(found) == ["system hasher", "engine shuffled", "metric stall", "export format nomad"]
    assert "autotune_example.hasher:Hasher" in found["system hasher"]
    systems = run(["autotune", "list", "systems"], tmp_path, site)
    about = "An engine, a system, a metric and an export format for autotune"
    assert f"plug-in autotune-example 1.0: {about}" in systems
    looked = json.loads(run(["autotune", "doctor", "--json"], tmp_path, site, codes=(0, 3)))
    checks = {check["name"]: check for check in looked["checks"]}
    for name in found:
        assert checks[name]["status"] == "ok"
        assert checks[name]["found"].startswith("plug-in autotune-example 1.0: ")


def test_its_system_and_its_engine_are_checked_run_and_reported(site, tmp_path):
    shutil.copy(ROOT / "examples" / "plugin" / "hasher.yaml", tmp_path)
    assert "hasher.py" in run(["autotune", "check", "hasher.yaml"], tmp_path, site)
    more = [
        "--local",
        "--set",
        "engine.use=shuffled",
        "--set",
        "budget.trials=3",
        "--set",
        "budget.confirm=0",
    ]
    shown = run(["autotune", "run", "hasher.yaml", *more], tmp_path, site)
    assert "verdict" in shown
    with Ledger.open(tmp_path / "autotune-runs" / "ledger.sqlite", read_only=True) as ledger:
        trials = ledger.trials("hasher")
    assert {trial.suggestion.engine for trial in trials[:3]} == {"shuffled/1"}
    for trial in trials:
        assert trial.measurement.failure is None
        assert trial.measurement.metrics["seconds"].unit == "s"
        assert trial.measurement.facts["plugins"] == {"autotune-example": "1.0"}
    report = run(["autotune", "report", "hasher", "--format", "md", "-o", "-"], tmp_path, site)
    assert "plug-in autotune-example" in report


@pytest.mark.slow
def test_its_metric_is_measured_where_the_study_names_it(site, tmp_path):
    for name, limit in (("with", "stall.p99 <= 1 s"), ("without", "tpot.p95 <= 1 s")):
        text = TOY_STUDY.replace("tpot.p95 <= 1 s", limit).replace("name: toy", f"name: {name}")
        (tmp_path / f"{name}.yaml").write_text(text)
        more = ["--local", "--set", "budget.trials=1", "--set", "budget.confirm=0"]
        run(["autotune", "run", f"{name}.yaml", *more], tmp_path, site)
    with Ledger.open(tmp_path / "autotune-runs" / "ledger.sqlite", read_only=True) as ledger:
        measured, other = (ledger.trials(name)[0].measurement for name in ("with", "without"))
    assert 0 < measured.metrics["stall.p50"].value <= measured.metrics["stall.p99"].value < 1
    assert measured.facts["plugins"] == {"toy-system": "1.0", "autotune-example": "1.0"}
    assert not any(metric.startswith("stall") for metric in other.metrics)


def test_its_format_writes_a_deployment(site, tmp_path):
    with record_study(tmp_path, *CASES["vllm"]):
        pass
    text = run(["autotune", "export", "--as", "nomad", "--store", tmp_path], tmp_path, site)
    assert 'image        = "vllm/vllm-openai:v0.11.0"' in text
    assert "# " in text.splitlines()[0]


def pytest_of(folder, *words):
    """Run pytest in a folder; the number of tests that passed."""
    said = run(["pytest", "-q", "-p", "no:cacheprovider", *words], folder).splitlines()[-1]
    return int(said.split()[0])


def test_the_tests_of_the_package_pass(site):
    folder = site.parent / "plugin"
    words = ["-k", "not Shuffled", "tests"]  # the engine's contract has a test below
    said = run(["pytest", "-q", "-p", "no:cacheprovider", *words], folder, site).splitlines()[-1]
    assert int(said.split()[0]) >= 25


KINDS = {"system": 12, "engine": 20, "metric": 7}


@pytest.fixture
def begun(kind, tmp_path, capsys):
    """The folder of a part that was begun."""
    folder = tmp_path / "mine"
    assert main(["new", kind, "my_part", "--dir", str(folder), "--json"]) == 0
    written = json.loads(capsys.readouterr().out)
    names = {"my_part.py", "my_part.yaml", "test_my_part.py", "pyproject.toml"}
    assert {Path(file).name for file in written["files"]} == names == {path.name for path in folder.iterdir()}
    return folder


@pytest.mark.parametrize(
    "kind",
    # the tests that the other kinds get are run above, under the names of the example
    [kind if kind == "engine" else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS],
)
def test_what_new_writes_passes_and_is_used_once_it_is_installed(kind, begun):
    """The long spaces of the engine's contract are for the slow test of the same."""
    folder = begun
    assert pytest_of(folder, "-k", "not (300 or 1030 or 3000)") >= KINDS[kind]
    install(folder)
    run(["autotune", "check", "my_part.yaml"], folder, folder)
    assert "plug-in autotune-my-part 0.1.0" in run(["autotune", "list", f"{kind}s"], folder, folder)


@pytest.mark.parametrize("kind", KINDS)
def test_new_writes_over_nothing_and_says_what_to_add_for_a_second_part(kind, begun, capsys):
    folder = begun
    assert main(["new", kind, "my_part", "--dir", str(folder)]) == 2
    assert "there already, and nothing was written" in capsys.readouterr().err
    assert main(["new", kind, "second", "--dir", str(folder), "--json"]) == 0
    second = json.loads(capsys.readouterr().out)
    assert f'[project.entry-points."autotune.{kind}s"]' in second["add_to_pyproject"]
    assert "second" not in (folder / "pyproject.toml").read_text()


def install(folder):
    """Write the metadata that an installation of a project would, beside its module."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = [
        f"[{group}]\n{name} = {target}\n"
        for group, entries in project["entry-points"].items()
        for name, target in entries.items()
    ]
    (info / "entry_points.txt").write_text("".join(lines))


@pytest.mark.slow
def test_an_engine_that_new_writes_keeps_all_of_the_contract_and_installs(tmp_path):
    run(["autotune", "new", "engine", "my_part"], tmp_path)
    assert pytest_of(tmp_path) >= 43
    pip = ["pip", "--disable-pip-version-check", "--quiet", "install", "--no-deps", "--no-build-isolation"]
    run([*pip, "--target", tmp_path / "site", tmp_path], tmp_path)
    run(["autotune", "check", "my_part.yaml"], tmp_path, tmp_path / "site")


OF_OTHERS = ("test", "test_mine", "conftest", "sitecustomize", "usercustomize")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["systm", "mine"],
            "unknown kind 'systm'; allowed: system, engine, metric\n  did you mean 'system'?",
        ),
        (["system", "MyServer"], "did you mean 'my_server'?"),
        (["system", "my-server"], "did you mean 'my_server'?"),
        (["engine", "2fast"], "did you mean 'my_2fast'?"),
        (["engine", "json"], "did you mean 'my_json'?"),
        (["engine", "Überholt"], "did you mean 'uberholt'?"),
        (["engine", "日本"], "did you mean 'my'?"),
        (["metric", "class"], "did you mean 'my_class'?"),
        (["system", "toy"], "there is a system 'toy' already"),
        (["metric", "ttft"], "there is a metric 'ttft' already"),
        (["engine", "gp"], "there is an engine 'gp' already"),
        (["engine", "vllm"], "there is a system 'vllm' already"),
        (["system", "vllm"], "there is a system 'vllm' already"),
        (["engine", "suggestion"], "'suggestion' would be Suggestion in Python, which what is written needs"),
        (["engine", "reason"], "did you mean 'my_reason'?"),
        (["engine", "engine_contract"], "did you mean 'my_engine_contract'?"),
        *(
            (["system", name], f"{name!r} would be")
            for name in ("seconds", "failure", "attempt_failed", "none")
        ),
        (["engine", "a" * 300], "a name has at most 64 letters, found 300"),
        *((["engine", name], f"{name!r} is a module of Python's or pytest's") for name in OF_OTHERS),
        (["engine", "numpy"], "'numpy' is an installed package, which a module of that name would hide"),
        (["engine", "yaml"], "'yaml' is an installed package, which a module of that name would hide"),
        (["engine", "toy_system"], "'toy_system' is an installed package"),  # without a list of its files
    ],
)
def test_a_name_that_cannot_be_is_refused_and_nothing_is_written(words, said, tmp_path, capsys):
    assert main(["new", *words, "--dir", str(tmp_path / "mine")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize(
    "words",
    [
        *((kind, name) for kind in ("system", "engine") for name in (*OF_OTHERS, "Test_", "GP", "None")),
        ("engine", "Suggestion"), ("engine", "my_test"), ("metric", "TTFT"), ("metric", "test"),
        ("engine", "Ab" * 32), ("system", "x_test"),
    ],
)  # fmt: skip
def test_a_name_that_is_proposed_is_not_refused(words, tmp_path, capsys):
    assert main(["new", *words, "--dir", str(tmp_path)]) == 2
    said = re.search(r"did you mean '(\w+)'\?", capsys.readouterr().err)
    assert said
    assert main(["new", words[0], said[1], "--dir", str(tmp_path)]) == 0


GROUPS = ("systems", "engines", "metrics", "mirrors", "exporters", "converters")


def test_a_plug_in_that_hangs_costs_nothing_where_nobody_asks_for_it(tmp_path):
    """One whose import does not end, with a part of every kind: no command imports it that needs none."""
    site = tmp_path / "site"
    info = site / "slowpack-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: slowpack\nVersion: 1.0\nSummary: slow\n")
    (info / "entry_points.txt").write_text(
        "".join(f"[autotune.{group}]\nslow_{group} = slowpart:Part\n" for group in GROUPS)
    )
    (site / "slowpart.py").write_text(
        f"import pathlib, time\npathlib.Path({str(tmp_path / 'imported')!r}).touch()\ntime.sleep(3600)\n"
    )
    (tmp_path / "mine.py").write_text("def measure(config):\n    return {'loss': float(config['x'])}\n")
    (tmp_path / "study.yaml").write_text(
        "name: f\nparameters: {x: {type: int, low: 0, high: 5}}\n"
        "system: {use: function, call: mine.py:measure}\n"
        "objective: {minimize: loss}\nengine: random\n"
        "budget: {trials: 2, confirm: 0}\ntracking: {mlflow: none}\n"
    )
    (tmp_path / "odd.txt").write_text("no study of anybody's\n")
    commands = [
        "--help", "list", *(f"list {group}" for group in GROUPS), "list spaces", "check study.yaml",
        "run study.yaml --local", "status", "best f", "export f --as yaml", "convert odd.txt",
    ]  # fmt: skip
    program = (
        "from autotune.cli import main\n"
        f"for line in {commands!r}:\n"
        "    print('##', line, main(line.split()), flush=True)\n"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{os.environ['PYTHONPATH']}"},
    )  # fmt: skip
    codes = [line.split()[-1] for line in shown.stdout.splitlines() if line.startswith("## ")]
    assert codes == ["0"] * (len(commands) - 1) + ["2"], shown.stdout + shown.stderr
    assert shown.stdout.count("slow_") >= len(GROUPS)  # each is listed, by its metadata
    assert not (tmp_path / "imported").exists()

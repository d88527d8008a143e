"""What only looks imports nothing of a stranger's: no module that a ledger names, none of a folder."""

import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

import autotune
from autotune.integrations.ray_tune import AutotuneSearch

SPACE = autotune.Space([autotune.Int("x", 0, 9)])
GOAL = {"maximize": "y"}
SAMPLER = """
from pathlib import Path
from optuna.samplers import RandomSampler
with Path(__file__).with_name("ran").open("a") as file:
    file.write("ran\\n")
class Theirs(RandomSampler):
    pass
"""
SHADOWED = ("warnings", "random", "queue", "typing", "json", "uuid", "mlflow_skinny", "uvicorn")


@pytest.fixture
def sampler(tmp_path, monkeypatch):
    """Return the file that a module of a stranger writes when it is run; the module can be found."""
    (tmp_path / "theirs_of_a_stranger.py").write_text(SAMPLER)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "ran"
    sys.modules.pop("theirs_of_a_stranger", None)


def forget(ran):
    """Let the module be as one that this process has never run."""
    del sys.modules["theirs_of_a_stranger"]
    ran.unlink()


ENGINE = {"use": "optuna:theirs_of_a_stranger:Theirs"}


def test_a_ledger_is_opened_without_the_module_that_it_names_and_goes_on_with_it(sampler, tmp_path):
    path = tmp_path / "l.sqlite"
    with autotune.Study(SPACE, GOAL, engine=ENGINE, seed=3, path=path) as study:
        for trial in study.ask(4):
            study.tell(trial, {"y": float(trial.config["x"])})
        expected = study.ask().config
    with autotune.Study(SPACE, GOAL, engine=ENGINE, seed=3, path=path) as study:
        assert study.trials[4].config == expected
    forget(sampler)
    with autotune.Study.open(path) as study:
        assert study.engine.name == ENGINE["use"]
        assert len(study.trials) == 5
        assert "best: trial" in str(study.result)
        assert autotune.plot.progress(study).data
        assert not sampler.exists(), "nothing of the module has run"
        assert study.ask().config not in [trial.config for trial in study.trials[:5]]
        assert sampler.read_text() == "ran\n", "whoever asks wants it"


def test_a_module_that_is_not_there_is_said_when_it_is_asked(sampler, tmp_path):
    path = tmp_path / "l.sqlite"
    autotune.Study(SPACE, GOAL, engine=ENGINE, path=path).close()
    forget(sampler)
    (tmp_path / "theirs_of_a_stranger.py").write_text("")
    missing = "theirs_of_a_stranger.py has no class 'Theirs'"
    with autotune.Study.open(path) as study, pytest.raises(autotune.AutotuneError, match=missing):
        study.ask()


def test_a_searcher_is_restored_without_the_module_that_its_state_names(sampler, tmp_path):
    searcher = AutotuneSearch(SPACE, "y", "max", engine=ENGINE)
    searcher.suggest("a")
    searcher.save(str(tmp_path / "state.json"))
    forget(sampler)
    again = AutotuneSearch()
    again.restore(str(tmp_path / "state.json"))
    assert len(again.study.trials) == 1
    assert not sampler.exists()
    assert again.get_state()["engine"] == ENGINE
    assert again.suggest("b") is not None
    assert sampler.exists()


@pytest.fixture
def download(tmp_path):
    """A folder whose files have the names of modules that ours and libraries import."""
    folder = tmp_path / "download"
    folder.mkdir()
    for name in SHADOWED:
        (folder / f"{name}.py").write_text("open('RAN', 'a').write(__name__)\n")
    return folder


def ran(folder):
    return (folder / "RAN").read_text() if (folder / "RAN").exists() else ""


@pytest.fixture
def command(download):
    """The command as it is installed: Python's ``-m`` would put the folder on the path by itself."""
    program = str(Path(sys.executable).with_name("autotune"))

    def start(*words):
        return subprocess.Popen([program, *words], cwd=download, stdout=subprocess.PIPE, text=True)

    return start


STUDY = """
name: shadows
parameters: {x: {type: int, low: 1, high: 3}}
system: {use: command, argv: [printf, '{{"y": %s}}', '{x}']}
objective: {maximize: y}
budget: {trials: 2, confirm: 0}
tracking: {mlflow: none}
"""


@pytest.mark.timeout(240)
@pytest.mark.parametrize("words", [("doctor",), ("run", "study.yaml", "--local")], ids=["doctor", "run"])
def test_a_command_imports_nothing_of_the_folder_that_it_is_called_in(download, command, words):
    (download / "study.yaml").write_text(STUDY)
    with command(*words) as process:
        said = process.communicate(timeout=200)[0]
    assert process.returncode == 0, said
    assert ran(download) == ""


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_page_of_trials_imports_nothing_of_the_folder_that_it_is_called_in(download, command):
    (download / "study.yaml").write_text(STUDY.replace("mlflow: none", "mlflow: 'sqlite:///m.db'"))
    with command("run", "study.yaml", "--local") as process:
        process.communicate(timeout=200)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with command("ui", "--no-open", "--port", str(port)) as process:
        try:
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
                        assert answer.status == 200
                        break
                except OSError:
                    time.sleep(0.2)
            else:
                raise AssertionError("the page did not come up")
        finally:
            process.terminate()
            process.communicate(timeout=60)
    assert ran(download) == ""

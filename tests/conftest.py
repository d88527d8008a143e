"""Shared by all tests: the toy system's entry point, Ray, and the command line in processes of its own."""

import contextlib
import fcntl
import gc
import io
import logging
import os
import shutil
import subprocess
import sys
import textwrap
import warnings
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent
TOY = Path(__file__).resolve().parent / "toy"

# Third-party systems are found through entry points: of this process and of every one that it starts.
sys.path.insert(0, str(TOY))
os.environ["PYTHONPATH"] = os.pathsep.join(
    dict.fromkeys([str(ROOT), str(TOY), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))])
)
# How fast an example is made says how busy the machine is.
settings.register_profile("behaviour", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("behaviour")
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
# A run's figures cost more than all else of a small study: tests that look at them ask for them.
os.environ["AUTOTUNE_REPORT"] = "0"
# Eight processes more for each server, for jobs that no study has.
os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
# Matrices are small and tests run side by side: several threads each are slower, far slower when busy.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Ray's workers are at nice 15 where nothing is said, and take minutes to start on a busy machine.
NICENESS = {"RAY_worker_niceness": "5"}
os.environ.update(NICENESS)
os.environ.pop("RAY_ADDRESS", None)
os.environ.pop("MLFLOW_TRACKING_URI", None)
os.environ.pop("PYTEST_ADDOPTS", None)  # they are this run's, not those of pytest in tests' processes

from tests_mlflow_server import Server  # noqa: E402 - found through the path above
from tests_study_files import TOY_STUDY  # noqa: E402 - found through the path above


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Look for no garbage among libraries and tests, which stay: it is a quarter of what collecting takes."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture
def toy_study(tmp_path):
    """Write the toy's study file, with keys of the caller's choice in place of its own."""

    def write(text=TOY_STUDY, **replaced):
        for line in text.strip().splitlines():
            key = line.split(":")[0]
            if key in replaced:
                text = text.replace(line, f"{key}: {replaced[key]}")
        path = tmp_path / "toy.yaml"
        path.write_text(textwrap.dedent(text))
        return path

    return write


@pytest.fixture
def autotune_command(tmp_path):
    """Run ``autotune`` in a process of its own, in an empty folder."""

    def run(*args, env=None, timeout=240, check=True):
        argv = [sys.executable, "-m", "autotune", *map(str, args)]
        done = subprocess.run(
            argv,
            check=False,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, **(env or {})},
        )
        if check and done.returncode:
            raise AssertionError(f"{args} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done

    return run


@pytest.fixture
def autotune_here(tmp_path, monkeypatch, environment_restored):
    """Run ``autotune`` in this process, which is a third of the work, as ``autotune_command`` does."""
    from autotune.cli import main

    monkeypatch.setattr(logging.getLogger("autotune"), "handlers", [])  # one that writes where it is read

    def run(*args, env=None, check=True):
        logging.getLogger("autotune").handlers.clear()
        out, err = io.StringIO(), io.StringIO()
        with monkeypatch.context() as here:
            here.chdir(tmp_path)
            for name, value in (env or {}).items():
                here.setenv(name, value)
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = main(list(map(str, args)))
        done = subprocess.CompletedProcess(args, code, out.getvalue(), err.getvalue())
        if check and code:
            raise AssertionError(f"{args} ended with {code}:\n{done.stdout}\n{done.stderr}")
        return done

    return run


@pytest.fixture
def ray_cluster():
    """A local Ray cluster, the same for tests that follow each other; gives the niceness of its workers."""
    import ray

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if not ray.is_initialized():
        with _handles_dropped():
            ray.init(
                address="local",
                num_cpus=2,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="ERROR",
            )
    return int(NICENESS["RAY_worker_niceness"])


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item, nextitem):
    """End the Ray cluster once no test needs it: its daemons take a thirtieth of a core meanwhile."""
    if "ray_cluster" in item.fixturenames and (
        nextitem is None or "ray_cluster" not in nextitem.fixturenames
    ):
        import ray

        with _handles_dropped():
            ray.shutdown()


@contextmanager
def _handles_dropped():
    """Let Ray drop handles of the processes that it starts and ends, as 2.50 does."""
    with warnings.catch_warnings():
        for text in (
            "unclosed file <_io.TextIOWrapper name='/dev/null'",
            "subprocess [0-9]+ is still running",
        ):
            warnings.filterwarnings("ignore", text, ResourceWarning)
        yield


@pytest.fixture
def with_report(monkeypatch):
    """Let runs end with their report, here and in processes that the test starts."""
    monkeypatch.delenv("AUTOTUNE_REPORT")


@pytest.fixture
def environment_restored():
    """The mirror sets variables for MLflow in this process."""
    before = dict(os.environ)
    yield
    for key in set(os.environ) - set(before):
        del os.environ[key]


@pytest.fixture(scope="session")
def empty_store(request, tmp_path_factory):
    """Path of an MLflow database without experiments, to be copied: making its tables takes seconds."""
    folder = tmp_path_factory.getbasetemp()
    if hasattr(request.config, "workerinput"):
        folder = folder.parent  # of all workers: one makes it
    path = folder / "empty-mlflow.db"
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            from mlflow import MlflowClient

            made = tmp_path_factory.mktemp("store") / "mlflow.db"
            MlflowClient(tracking_uri=f"sqlite:///{made}").search_experiments()
            shutil.copy(made, path.with_suffix(".new"))
            path.with_suffix(".new").rename(path)
    return path


@pytest.fixture
def rdb_storage():
    """Open storages of Optuna's in databases by their addresses; their connections end with the test."""
    from optuna.storages import RDBStorage

    with ExitStack() as stack:

        def opened(url):
            storage = RDBStorage(url)
            stack.callback(storage.engine.dispose)
            stack.callback(storage.remove_session)
            return storage

        yield opened


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory, empty_store):
    """A real MLflow server for the whole session: each test has an experiment of its own."""
    server = Server(tmp_path_factory.mktemp("mlflow"), empty_store)
    server.start()
    yield server
    server.kill()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Put tests of the session's Ray cluster side by side, and those of its MLflow server.

    With several workers, few have them all.
    """
    items.sort(key=lambda item: [name not in item.fixturenames for name in ("ray_cluster", "mlflow_server")])


def pytest_addoption(parser):
    parser.addoption("--write-golden", action="store_true", help="write golden files that are not there")


@pytest.fixture(scope="session", autouse=True)
def measured_supervisors():
    """Let a run that measures coverage reach what is started with an environment that is an allow-list."""
    if "COVERAGE_PROCESS_CONFIG" not in os.environ:
        return
    from autotune.core import environment

    for allowed in (environment._PASSED, environment._SESSION):
        allowed.add("COVERAGE_PROCESS_CONFIG")

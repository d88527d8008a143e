"""Fault injection: every test here carries the marker ``faults``, and records what it measured."""

import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent

# Modules beside the tests, also for the processes that tests start.
sys.path.insert(0, str(HERE))
os.environ["PYTHONPATH"] = os.pathsep.join(
    dict.fromkeys([*os.environ.get("PYTHONPATH", "").split(os.pathsep), str(HERE)])
)


import reliability  # noqa: E402 - found through the path above

RECORDED = "reliability"
_ROWS = []


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("faults")


@pytest.fixture
def server(mlflow_server):
    """The session's MLflow server, alive whatever the test before has done to it."""
    if mlflow_server.process.poll() is not None:
        mlflow_server.start()
    return mlflow_server


@pytest.fixture
def record(request):
    """Keep a row of the reliability table: ``record(injection, promise, figure)``."""
    group = reliability.heading(request.module.__doc__, request.module.__name__)

    def add(injection: str, promise: str, figure: str) -> None:
        # with the test's report it also leaves a worker of pytest-xdist
        request.node.user_properties.append((RECORDED, (group, injection, promise, figure)))

    return add


def pytest_runtest_logreport(report):
    if report.when == "teardown":
        rows = [reliability.Row(*value) for name, value in report.user_properties if name == RECORDED]
        _ROWS.extend((report.location[:2], row) for row in rows)


def pytest_sessionfinish(session, exitstatus):
    """Write the table where ``AUTOTUNE_RELIABILITY`` says; only a run without failures may."""
    target = os.environ.get("AUTOTUNE_RELIABILITY")
    if target and _ROWS and exitstatus == 0 and not hasattr(session.config, "workerinput"):
        rows = [row for _, row in sorted(_ROWS, key=lambda found: found[0])]
        reliability.write(rows, session.config.rootpath / target)

"""The function system: what a function may return, what its exceptions mean, where its prints go."""

import json
import os
import subprocess
import sys

import pytest

from autotune.core.measurement import Cause, Estimate
from autotune.errors import SpecError
from autotune.systems.function import FunctionSystem

pytestmark = pytest.mark.timeout(120)

CODE = """
import os
import numpy as np
from autotune import Estimate
from beside import FACTOR

def serve(config):
    print("a print", flush=True)
    os.write(1, b"and one of a library\\n")
    kind = config.get("kind", "number")
    if kind == "memory":
        raise MemoryError("no more")
    if kind == "torch":
        raise type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory. Tried to allocate 1 GiB")
    if kind == "crash":
        raise ValueError("odd head size")
    if kind == "exit":
        os._exit(3)
    if kind == "text":
        return {"speed": object()}
    if kind == "rich":
        return {"speed": np.float64(2), "gaps": np.array([1.0, 3.0]), "tail": Estimate(1.0, 0.1, 5, "s")}
    return FACTOR * config["batch_size"]
"""


@pytest.fixture
def function(tmp_path, attempt):
    (tmp_path / "mine.py").write_text(CODE)
    (tmp_path / "beside.py").write_text("FACTOR = 2\n")

    def run(call="mine.py:serve", **config):
        return attempt({"use": "function", "call": call, "folder": str(tmp_path)}, config)

    return run


@pytest.mark.parametrize("call", ["mine.py:serve", "mine:serve"])
def test_a_number_stands_for_the_goal_and_prints_go_to_the_log(function, call):
    measurement = function(call, batch_size=4)
    assert measurement.failure is None, measurement.failure
    assert measurement.metrics == {"speed": Estimate(8.0)}
    with open(measurement.artifacts["server.log"]) as file:
        assert file.read() == "a print\nand one of a library\n"


def test_estimates_arrays_and_scalars_are_metrics(function):
    metrics = function(kind="rich").metrics
    assert metrics["speed"] == Estimate(2.0)
    assert metrics["gaps"] == Estimate(2.0, 1.0, 2)
    assert metrics["tail"] == Estimate(1.0, 0.1, 5, "s")


@pytest.mark.parametrize(
    ("kind", "cause", "said"),
    [
        ("memory", Cause.OUT_OF_MEMORY, "MemoryError: no more"),
        ("torch", Cause.OUT_OF_MEMORY, "CUDA out of memory"),
        ("crash", Cause.CRASHED_UNDER_LOAD, "ValueError: odd head size"),
        ("exit", Cause.CRASHED_UNDER_LOAD, "ended with 3"),
        ("text", Cause.CRASHED_UNDER_LOAD, "a metric must be a number"),
    ],
)
def test_what_a_function_raises_becomes_a_failure_with_a_cause(function, kind, cause, said):
    failure = function(kind=kind).failure
    assert failure.cause is cause
    assert said in failure.message
    if kind == "crash":
        assert "in serve" in failure.log_tail


def test_what_is_not_there_is_said_before_anything_runs(tmp_path):
    for call in ("absent.py:serve", "absent_module:serve"):
        system = FunctionSystem.from_dict({"call": call, "folder": str(tmp_path)})
        with pytest.raises(SpecError, match=r"cannot find .*absent.py|no module 'absent_module'"):
            system.prepare(print)


@pytest.mark.parametrize("call", [None, "mine", "mine.py:", ":serve", "a:b()"])
def test_a_call_names_a_function(call):
    with pytest.raises(SpecError, match=r"needs call|call must be module:function"):
        FunctionSystem.from_dict({"call": call})


@pytest.fixture(scope="module")
def taken_names(tmp_path_factory):
    """A folder with a file for each name of a module that Python, this package or its libraries import."""
    folder = tmp_path_factory.mktemp("taken")
    for name in {*sys.stdlib_module_names, "autotune", "numpy", "click", "yaml"} - {"sitecustomize"}:
        (folder / f"{name}.py").write_text(f"raise SystemExit('{name} of the folder')\n")
    (folder / "mine.py").write_text(
        "from beside import TWICE\n"
        "def speed(config):\n"
        "    if config['x'] < 0:\n"
        "        raise ValueError('below zero')\n"
        "    return {'speed': TWICE * config['x']}\n"
    )
    (folder / "beside.py").write_text("TWICE = 2.0\n")
    return folder


@pytest.mark.parametrize("call", ["mine.py:speed", "mine:speed"])
def test_no_file_beside_the_users_takes_the_place_of_what_the_process_imports(taken_names, attempt, call):
    section = {"use": "function", "call": call, "folder": str(taken_names)}
    measurement = attempt(section, {"x": 1.5})
    assert measurement.failure is None, measurement.failure
    assert measurement.metrics == {"speed": Estimate(3.0)}
    failure = attempt(section, {"x": -1.0}, trial=1).failure
    assert "ValueError: below zero" in failure.message


@pytest.mark.parametrize("named", ["autotune.py", "json.py", "json", "sys", "__main__"])
def test_a_function_in_a_file_with_the_name_of_another_module_is_called(tmp_path, attempt, named):
    (tmp_path / f"{named.removesuffix('.py')}.py").write_text(
        "import pickle\n"
        "from dataclasses import dataclass\n"
        "from autotune import Estimate\n"
        "from beside import TWICE\n"
        "@dataclass\n"
        "class Found:\n"
        "    speed: 'float'\n"
        "def speed(config):\n"
        "    return Estimate(pickle.loads(pickle.dumps(Found(TWICE * config['x']))).speed)\n"
    )
    (tmp_path / "beside.py").write_text("TWICE = 2.0\n")
    section = {"use": "function", "call": f"{named}:speed", "folder": str(tmp_path)}
    system = FunctionSystem(call=section["call"], folder=section["folder"])
    system.check_machine()
    measurement = attempt(section, {"x": 1.5})
    assert measurement.failure is None, measurement.failure
    assert measurement.metrics == {"speed": Estimate(3.0)}


def test_a_function_in_a_package_with_the_name_of_another_is_called(tmp_path, attempt):
    package = tmp_path / "json"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "timed.py").write_text("from .beside import TWICE\ndef speed(config): return TWICE\n")
    (package / "beside.py").write_text("TWICE = 2.0\n")
    measurement = attempt({"use": "function", "call": "json.timed:speed", "folder": str(tmp_path)}, {})
    assert measurement.failure is None, measurement.failure
    assert measurement.metrics == {"speed": Estimate(2.0)}


def test_the_line_that_deploys_a_function_is_safe_from_files_beside_it_too(taken_names):
    deployed = FunctionSystem(call="mine.py:speed", folder=str(taken_names)).deploy({"x": 1.5})
    done = subprocess.run(
        deployed.argv,
        cwd=deployed.folder,
        env=os.environ | deployed.env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == {"speed": 3.0}

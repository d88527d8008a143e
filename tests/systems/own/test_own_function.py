"""The function system: what a function may return, what its exceptions mean, where its prints go."""

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

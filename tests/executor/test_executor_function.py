"""Calls of a Python function in the contract of an executor."""

import threading
from concurrent.futures import wait

import pytest

from autotune.executor.base import Job
from autotune.executor.function import FunctionExecutor
from autotune.testing.executor_contract import ExecutorContract


def job(trial, **config):
    return Job("s", trial, 1, config, {}, {}, "speed", "")


@pytest.fixture
def executor():
    executor = FunctionExecutor(lambda config: config["give"](), {"heat": "W"}, parallel=2)
    executor.start()
    yield executor
    executor.close()


class TestFunction(ExecutorContract):
    impossible = {}  # noqa: RUF012 - the contract declares the class variable
    worker = ""

    @pytest.fixture
    def executor(self):
        self.over = threading.Event()  # a thread that nobody can end
        executor = FunctionExecutor(lambda config: config["give"](), {}, parallel=1)
        executor.start()
        yield executor
        self.over.set()
        executor.close()

    def job(self, folder, what="works", trial=0):
        def give():
            (folder / "pid").touch()
            if what == "hangs":
                self.over.wait()
            if what == "fails":
                raise ValueError("no such head")
            return {"speed": 2.0}

        return job(trial, give=give)


def raising(error):
    def give():
        raise error

    return give


def test_results_come_back_with_their_units_and_the_functions_own_exception(executor):
    executor.submit(job(0, give=lambda: {"speed": 2.0, "heat": 3.0}))
    executor.submit(job(1, give=raising(ValueError("no such head"))))
    wait(executor._running)
    good, bad = executor.wait(10.0)
    assert good.error is None
    assert good.measurement.metrics["heat"].unit == "W"
    assert isinstance(bad.error, ValueError)


def test_what_was_measured_is_handed_over_before_an_interrupt_is_raised(executor):
    executor.submit(job(0, give=raising(KeyboardInterrupt())))
    executor.submit(job(1, give=lambda: 2.0))
    wait(executor._running)
    (found,) = executor.wait(10.0)
    assert found.measurement.metrics["speed"].value == 2.0
    with pytest.raises(KeyboardInterrupt):
        executor.wait(10.0)

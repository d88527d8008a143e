"""Calls of a Python function in the contract of an executor."""

from concurrent.futures import wait

import pytest

from autotune.core.measurement import Cause
from autotune.executor.base import Job
from autotune.executor.function import FunctionExecutor


def job(trial, **config):
    return Job("s", trial, 1, config, {}, {}, "speed", "")


@pytest.fixture
def executor():
    executor = FunctionExecutor(lambda config: config["give"](), {"heat": "W"}, parallel=2)
    executor.start()
    yield executor
    executor.close()


def raising(error):
    def give():
        raise error

    return give


def test_results_come_back_with_their_units_and_the_functions_own_exception(executor):
    executor.submit(job(0, give=lambda: {"speed": 2.0, "heat": 3.0}))
    executor.submit(job(1, give=raising(ValueError("no such head"))))
    assert not executor.has_room({})
    wait(executor._running)
    good, bad = executor.wait(10.0)
    assert (good.key, good.error) == (("s", 0, 1), None)
    assert good.measurement.metrics["heat"].unit == "W"
    assert bad.measurement.failure.cause is Cause.CRASHED_UNDER_LOAD
    assert isinstance(bad.error, ValueError)
    assert executor.has_room({}, [{}])
    assert not executor.has_room({}, [{}, {}])


def test_what_was_measured_is_handed_over_before_an_interrupt_is_raised(executor):
    executor.submit(job(0, give=raising(KeyboardInterrupt())))
    executor.submit(job(1, give=lambda: 2.0))
    wait(executor._running)
    (found,) = executor.wait(10.0)
    assert found.measurement.metrics["speed"].value == 2.0
    with pytest.raises(KeyboardInterrupt):
        executor.wait(10.0)


def test_a_call_that_is_given_up_tells_nothing_and_frees_its_place(executor):
    executor.submit(job(0, give=lambda: 1.0))
    executor.submit(job(1, give=lambda: 1.0))
    executor.drop(("s", 0, 1))
    assert executor.has_room({})
    wait(executor._running)
    assert [result.key for result in executor.wait(10.0)] == [("s", 1, 1)]
    executor.cancel()
    assert executor.wait(0.0) == []

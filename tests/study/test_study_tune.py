"""tune(): a Python function, sequential and parallel, durable, with failures."""

import functools
import threading
import time

import pytest

import autotune
from autotune.core.trial import TrialState

SPACE = autotune.Space(
    (autotune.Int("batch_size", 1, 64, scale="log2", powers_of=2), autotune.Int("draft_length", 0, 8))
)
GOAL = {"maximize": "throughput"}


def throughput(config):
    if config["batch_size"] > 32:
        raise MemoryError("needs 9 GiB, has 8")
    return {"throughput": config["batch_size"] ** 0.5 * (10 - (config["draft_length"] - 3) ** 2 / 4)}


def test_finds_the_optimum_of_a_small_space_and_learns_from_memory_errors():
    study = autotune.tune(SPACE, throughput, GOAL, trials=20, seed=1)
    assert study.best.config == {"batch_size": 32, "draft_length": 3}
    failed = [t for t in study.trials if t.state is TrialState.INFEASIBLE]
    assert all(t.config["batch_size"] == 64 for t in failed)
    assert all(t.failure.cause is autotune.Cause.OUT_OF_MEMORY for t in failed)


def test_parallel_calls_overlap_and_never_repeat():
    together = threading.Barrier(3, timeout=120)

    def function(config):
        together.wait()
        return throughput({**config, "batch_size": min(config["batch_size"], 32)})

    study = autotune.tune(SPACE, function, GOAL, trials=12, parallel=3, engine="sobol")
    assert len({tuple(t.config.items()) for t in study.trials}) == 12
    assert all(t.state is TrialState.COMPLETED for t in study.trials)


def test_an_exception_of_a_later_configuration_is_a_crash_with_its_traceback():
    def function(config):
        if config != SPACE.default_config:
            raise ValueError("unsupported head size")
        return {"throughput": 1.0}

    study = autotune.tune(SPACE, function, GOAL, trials=3, engine="random")
    failure = study.trials[1].failure
    assert failure.cause is autotune.Cause.CRASHED_UNDER_LOAD
    assert failure.message == "ValueError: unsupported head size"
    assert "in function" in failure.log_tail
    (group,) = study.failures
    assert group.trials == (1, 2)


@pytest.mark.parametrize("parallel", [1, 3])
def test_the_functions_own_exception_is_raised_after_the_first_trial_and_nothing_is_charged(
    tmp_path, parallel
):
    calls = []
    path = tmp_path / "new" / "ledger.sqlite"

    def function(config):
        calls.append(config)
        if config != SPACE.default_config:
            time.sleep(0.5)  # the first trial is the first to end
        return {"throughput": config["btach_size"]}

    with pytest.raises(KeyError, match="btach_size") as caught:
        autotune.tune(SPACE, function, GOAL, trials=12, parallel=parallel, path=path, engine="sobol")
    assert len(calls) <= parallel
    kept = caught.value.study.trials
    assert kept[0].failure.cause is autotune.Cause.OWNER_MISTAKE
    assert not any(trial.state is TrialState.INFEASIBLE for trial in kept)
    caught.value.study.close()
    study = autotune.tune(SPACE, throughput, GOAL, trials=4, path=path, engine="sobol")  # it was mended
    assert len(study.trials) == 4
    assert study.trials[0].config == SPACE.default_config
    assert study.trials[0].state is TrialState.COMPLETED
    assert study.trials[0].attempts == 2


def test_a_message_of_the_first_three_configurations_ends_the_search():
    def function(config):
        if config == SPACE.default_config:
            raise MemoryError("needs 9 GiB")
        raise RuntimeError("no such device")

    with pytest.raises(RuntimeError, match="no such device") as caught:
        autotune.tune(SPACE, function, GOAL, trials=12, engine="sobol")
    states = [trial.state for trial in caught.value.study.trials]
    waiting = TrialState.WAITING
    assert states == [TrialState.INFEASIBLE, waiting, waiting, TrialState.FAILED]


def test_whoever_runs_it_again_insists_that_the_configurations_are_to_blame(tmp_path):
    def function(config):
        if config == SPACE.default_config:
            raise MemoryError("needs 9 GiB")
        raise RuntimeError("no such device")

    path = tmp_path / "ledger.sqlite"
    with pytest.raises(RuntimeError, match="no such device"):
        autotune.tune(SPACE, function, GOAL, trials=6, path=path, engine="sobol")
    study = autotune.tune(SPACE, function, GOAL, trials=6, path=path, engine="sobol")
    assert [trial.state for trial in study.trials] == [TrialState.INFEASIBLE] * 6


def test_infeasible_is_an_answer_of_the_first_trial_too():
    def function(config):
        raise autotune.Infeasible("one is too few", "wrong_output")

    study = autotune.tune(SPACE, function, GOAL, trials=5, engine="sobol")
    assert [trial.state for trial in study.trials] == [TrialState.INFEASIBLE] * 5
    failure = study.trials[0].failure
    assert (failure.cause, failure.message) == (autotune.Cause.WRONG_OUTPUT, "one is too few")
    with pytest.raises(autotune.SpecError, match="unknown cause 'worker_lost'"):
        autotune.Infeasible("no", "worker_lost")


def test_a_librarys_own_memory_error_is_out_of_memory():
    class OutOfMemoryError(RuntimeError):
        pass

    def function(config):
        raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    study = autotune.tune(SPACE, function, GOAL, trials=4, engine="sobol")
    assert all(t.failure.cause is autotune.Cause.OUT_OF_MEMORY for t in study.trials)


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_keeps_what_was_measured(tmp_path, raised):
    path = tmp_path / "ledger.sqlite"
    calls = []

    def function(config):
        calls.append(config)
        if len(calls) == 3:
            raise raised
        return throughput(config)

    with pytest.raises(raised) as caught:
        autotune.tune(SPACE, function, GOAL, trials=6, path=path, engine="sobol")
    with caught.value.study as kept:
        assert [trial.state for trial in kept.trials] == [TrialState.COMPLETED] * 2 + [TrialState.WAITING]
        assert kept.best is not None
        assert kept.ledger.study("study").state == "INTERRUPTED"
    assert "the `study` of this exception has 2 measured trials" in caught.value.__notes__[0]
    study = autotune.tune(SPACE, function, GOAL, trials=6, path=path, engine="sobol")
    assert len(calls) == 3 + 4
    assert len(study.trials) == 6
    assert study.ledger.study("study").state == "COMPLETED"


async def coroutine(config):
    return 1.0


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (coroutine, "function is async"),
        (functools.partial(lambda inner, config: inner(config), coroutine), "function is async"),
        (lambda config: None, "must be a number, found None"),
        (lambda config: {"throughput": "fast"}, "must be a number, found 'fast'"),
        (lambda config: {"throughput": (1.0, 0.1)}, r"not two samples.*\n.*Estimate\(value, sem\)"),
        (lambda config: {"thruput": 1.0}, "lacks the goal 'throughput'.*did you mean 'thruput'"),
        ("throughput", "function must be callable"),
    ],
)
def test_a_result_that_is_no_metrics_is_one_error_after_the_first_trial(function, said):
    with pytest.raises(autotune.SpecError, match=said):
        autotune.tune(SPACE, function, GOAL, trials=5, engine="random")


def test_an_estimate_and_a_list_of_samples_are_metrics():
    for value, sem, n in (
        (autotune.Estimate(2.0, 0.5), 0.5, 1),
        ({"value": 2.0, "sem": 0.5}, 0.5, 1),
        ([1.0, 3.0], 1.0, 2),
    ):
        study = autotune.tune(SPACE, lambda c, v=value: {"throughput": v}, GOAL, trials=1, engine="random")
        found = study.trials[0].metrics["throughput"]
        assert (found.value, found.sem, found.n) == (2.0, sem, n)


def test_a_single_number_stands_for_the_goal():
    study = autotune.tune(SPACE, lambda config: float(config["batch_size"]), GOAL, trials=3, engine="random")
    assert study.best.metrics["throughput"].value == study.best.config["batch_size"]


def test_a_second_call_goes_on_with_the_same_ledger(tmp_path):
    path = tmp_path / "ledger.sqlite"
    autotune.tune(SPACE, throughput, GOAL, trials=3, path=path, seed=2).close()
    calls = []
    study = autotune.tune(
        SPACE, lambda c: calls.append(c) or throughput(c), GOAL, trials=5, path=path, seed=2
    )
    assert len(study.trials) == 5
    assert len(calls) == 2


def test_a_function_is_tuned_on_ray(ray_cluster):
    study = autotune.tune(SPACE, throughput, GOAL, trials=4, parallel=2, engine="sobol", ray=True)
    assert all(t.state in (TrialState.COMPLETED, TrialState.INFEASIBLE) for t in study.trials)
    assert len(study.trials) == 4


def broken(config):
    return {"throughput": config["btach_size"]}


def test_on_ray_the_functions_exception_comes_back_with_its_traceback(ray_cluster):
    with pytest.raises(KeyError, match="btach_size") as caught:
        autotune.tune(SPACE, broken, GOAL, trials=6, parallel=2, engine="sobol", ray=True)
    assert "in broken" in "".join(caught.value.__notes__)
    assert not any(trial.state is TrialState.INFEASIBLE for trial in caught.value.study.trials)


@pytest.mark.parametrize(
    "wide", [autotune.Float("y", 1e-300, 1e300, scale="log10"), autotune.Float("y", -1.7e308, 1.7e308)]
)
def test_a_range_wider_than_any_number_is_searched(wide):
    space = [wide, autotune.Float("z", 0, 1)]
    study = autotune.tune(space, lambda c: {"s": c["z"]}, {"maximize": "s"}, trials=10, progress=False)
    assert len({trial.config["y"] for trial in study.trials}) > 5

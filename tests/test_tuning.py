"""tune(): a Python function, sequential and parallel, durable, with failures."""

import threading

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
    together = threading.Barrier(3, timeout=30)

    def function(config):
        together.wait()
        return throughput({**config, "batch_size": min(config["batch_size"], 32)})

    study = autotune.tune(SPACE, function, GOAL, trials=12, parallel=3, engine="sobol")
    assert len({tuple(t.config.items()) for t in study.trials}) == 12
    assert all(t.state is TrialState.COMPLETED for t in study.trials)


def test_any_exception_is_a_crash_with_its_traceback():
    def function(config):
        raise ValueError("unsupported head size")

    study = autotune.tune(SPACE, function, GOAL, trials=2, engine="random")
    failure = study.trials[0].failure
    assert failure.cause is autotune.Cause.CRASHED_UNDER_LOAD
    assert failure.message == "ValueError: unsupported head size"
    assert "in function" in failure.log_tail
    assert study.best is None


def test_a_single_number_stands_for_the_goal_and_text_is_refused():
    study = autotune.tune(SPACE, lambda config: float(config["batch_size"]), GOAL, trials=3, engine="random")
    assert study.best.metrics["throughput"].value == study.best.config["batch_size"]
    with pytest.raises(autotune.SpecError, match="must be a number"):
        autotune.tune(SPACE, lambda config: {"throughput": "fast"}, GOAL, trials=1, engine="random")


def test_a_second_call_goes_on_with_the_same_ledger(tmp_path):
    path = tmp_path / "ledger.sqlite"
    autotune.tune(SPACE, throughput, GOAL, trials=3, path=path, seed=2).close()
    calls = []
    study = autotune.tune(
        SPACE, lambda c: calls.append(c) or throughput(c), GOAL, trials=5, path=path, seed=2
    )
    assert len(study.trials) == 5
    assert len(calls) == 2


def test_on_ray(ray_cluster):
    study = autotune.tune(SPACE, throughput, GOAL, trials=4, parallel=2, engine="sobol", ray=True)
    assert all(t.state in (TrialState.COMPLETED, TrialState.INFEASIBLE) for t in study.trials)
    assert len(study.trials) == 4

"""The searcher in real runs of Ray Tune, schedulers and a killed driver included."""

import logging
import math
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from ray import tune
from ray.tune.schedulers import ASHAScheduler, MedianStoppingRule
from ray.tune.search import ConcurrencyLimiter

import autotune
import tests_tune_trainables as trainables
from autotune.integrations.ray_tune import AutotuneSearch
from tests_shared import wait_until

pytestmark = [
    pytest.mark.timeout(400),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    # the oldest Ray leaves files and processes of its node to the garbage collector
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def fit(ray_cluster, tmp_path, monkeypatch):
    """Run a trainable to the end of a `Tuner.fit()` with quiet output."""
    monkeypatch.setenv("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    logging.getLogger("ray.tune").setLevel(logging.ERROR)

    def run(trainable, space, search, *, stop=None, reuse=True, **config):
        limited = ConcurrencyLimiter(search, max_concurrent=2)
        tuner = tune.Tuner(
            tune.with_resources(trainable, {"cpu": 0.5}),
            param_space=space,
            tune_config=tune.TuneConfig(search_alg=limited, reuse_actors=reuse, **config),
            run_config=tune.RunConfig(name="run", storage_path=str(tmp_path), verbose=0, stop=stop),
        )
        return tuner.fit()

    return run


def test_a_run_finds_the_best_and_keeps_every_trial_in_the_ledger(fit, tmp_path):
    search = AutotuneSearch(path=tmp_path / "study.sqlite", points_to_evaluate=[{"x": 4.0}])
    space = {"x": tune.uniform(0.0, 5.0), "model": {"width": tune.choice([8, 16])}, "constant": "kept"}
    results = fit(trainables.parabola, space, search, metric="loss", mode="min", num_samples=10)
    assert len(results) == 10
    assert not results.num_errors
    assert all(result.config["constant"] == "kept" for result in results)
    best = results.get_best_result()
    assert best.metrics["loss"] < 0.05
    search.study.close()
    study = autotune.Study.open(tmp_path / "study.sqlite")
    assert study.trials[0].config["x"] == 4.0
    told = sorted(trial.metrics["loss"].value for trial in study.trials)
    assert told == pytest.approx(sorted(result.metrics["loss"] for result in results))


@pytest.mark.slow
def test_values_that_are_no_numbers_and_crashes_end_no_run(fit):
    space = {"report": tune.uniform(0.0, 5.0), "list": [1, 2, 3]}
    results = fit(
        trainables.odd_numbers, space, AutotuneSearch(), metric="_metric", mode="max", num_samples=8
    )
    assert results.get_best_result().config["report"] <= 2.0
    search = AutotuneSearch(engine="sobol")
    space = {"x": tune.uniform(0.0, 5.0)}
    results = fit(trainables.crashes_on_the_right, space, search, metric="loss", mode="min", num_samples=6)
    crashed = [t for t in search.study.trials if t.failure is not None]
    assert len(crashed) == results.num_errors > 0
    assert all(trial.config["x"] > 2.5 for trial in crashed)


@pytest.mark.slow
@pytest.mark.parametrize(
    "scheduler",
    [
        ASHAScheduler(max_t=9, grace_period=1, reduction_factor=3),
        MedianStoppingRule(time_attr="training_iteration", grace_period=2),
    ],
    ids=["asha", "median"],
)
def test_what_a_scheduler_stopped_is_not_believed(fit, scheduler):
    search = AutotuneSearch(engine="sobol")
    space = {"x": tune.uniform(0.0, 100.0)}
    results = fit(
        trainables.curve, space, search, metric="loss", mode="min", num_samples=14, scheduler=scheduler
    )
    study = search.study
    stopped = [r for r in results if r.metrics["training_iteration"] < 9]
    assert stopped
    final = 10.0 / 9  # what every trial's loss comes to, above its x
    for trial in study.trials:
        if trial.metrics:
            # every curve falls alike: what is told is the end of it, never the value at which it was stopped
            assert trial.metrics["loss"].value == pytest.approx(trial.config["x"] + final, abs=1e-6)
    ended = [trial for trial in study.trials if trial.metrics and trial.metrics["loss"].sem is None]
    assert len(ended) == len(results) - len(stopped)
    assert study.best.config["x"] == min(trial.config["x"] for trial in ended)


@pytest.mark.slow
def test_a_class_is_stepped_to_the_stop_of_the_run(fit):
    search = AutotuneSearch(engine="random")
    space = {"optimizer": {"rate": tune.loguniform(0.01, 1.0)}, "label": "long"}
    stop = {"training_iteration": 3}
    fit(trainables.Steps, space, search, metric="score", mode="max", num_samples=4, stop=stop, reuse=False)
    for trial in search.study.trials:
        assert trial.metrics["score"].value == pytest.approx(2 * trial.config["optimizer_rate"])


_DRIVER = """
    import sys, time
    from pathlib import Path
    import ray
    from ray import tune
    from ray.tune.search import ConcurrencyLimiter
    from autotune.integrations.ray_tune import AutotuneSearch

    folder = Path(sys.argv[1])

    def slow(config):
        (folder / "tried").mkdir(exist_ok=True)
        with open(folder / "tried" / f"{config['x']!r}", "a") as file:
            file.write("+")
        time.sleep(0.3)
        tune.report({"loss": (config["x"] - 2.0) ** 2})

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    search = AutotuneSearch(**LEDGER)
    if tune.Tuner.can_restore(str(folder / "run")):
        tuner = tune.Tuner.restore(str(folder / "run"), slow)
    else:
        tuner = tune.Tuner(
            slow,
            param_space={"x": tune.uniform(0.0, 5.0)},
            tune_config=tune.TuneConfig(
                search_alg=ConcurrencyLimiter(search, 2), metric="loss", mode="min", num_samples=12
            ),
            run_config=tune.RunConfig(name="run", storage_path=str(folder), verbose=0),
        )
    results = tuner.fit()
    print("x:", *(repr(result.config["x"]) for result in results))
"""


@pytest.mark.slow
@pytest.mark.parametrize("ledger", [False, True], ids=["state", "ledger"])
def test_a_killed_driver_is_restored_and_proposes_nothing_twice(tmp_path, ledger):
    arguments = {"path": str(tmp_path / "study.sqlite")} if ledger else {}
    script = tmp_path / "driver.py"
    script.write_text(textwrap.dedent(_DRIVER).replace("**LEDGER", f"**{arguments!r}"))
    env = {
        **os.environ,
        "TUNE_GLOBAL_CHECKPOINT_S": "0",
        "RAY_worker_niceness": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    }
    argv = [sys.executable, str(script), str(tmp_path)]
    tried = tmp_path / "tried"
    first = subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: tried.is_dir() and len(list(tried.iterdir())) >= 5, 200)
    # Tune copies its state there when it has time; before, there is nothing to restore a searcher from
    wait_until(lambda: list((tmp_path / "run").glob("searcher-state-*")), 60)
    first.send_signal(signal.SIGKILL)
    first.wait()
    before = {path.name for path in tried.iterdir()}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("x:")]
    found = line.split()[1:]
    assert len(found) == len(set(found)) == 12
    assert before <= set(found) | {path.name for path in tried.iterdir()}
    if ledger:
        study = autotune.Study.open(arguments["path"])
        assert len({trial.config["x"] for trial in study.trials}) == len(study.trials) == 12
        assert all(math.isfinite(trial.metrics["loss"].value) for trial in study.trials)
        assert {repr(trial.config["x"]) for trial in study.trials} == set(found)
        assert before <= set(found)
    assert Path(tmp_path / "run").is_dir()

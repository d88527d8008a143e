"""tune(): start, callbacks, timeout, progress, mlflow, and their mistakes."""

import asyncio
import importlib
import io
import itertools
import threading
import time
from functools import partial, wraps
from types import SimpleNamespace

import pytest

import autotune
from autotune.core.trial import Reason, TrialState
from autotune.errors import SpecError, StudyError
from autotune.ledger import Ledger
from autotune.report.live import LiveView
from autotune.report.notebook import NotebookView, choose_progress, in_notebook
from autotune.report.plain import PlainView
from autotune.study import driver
from autotune.study.tune import tune
from autotune.tracking.base import MirrorReport

SPACE = autotune.Space(
    [autotune.Int("batch_size", 1, 64, scale="log2", powers_of=2), autotune.Int("draft_length", 0, 8)],
    constraints=["batch_size < 64 or draft_length == 0"],
)
GOAL = {"maximize": "throughput"}
FIRST = [{"batch_size": 32, "draft_length": 3}, {"batch_size": 8}, {"batch_size": 1}]


def throughput(config):
    return {"throughput": config["batch_size"] ** 0.5 * (10 - (config["draft_length"] - 3) ** 2 / 4)}


def run(**more):
    return tune(SPACE, throughput, GOAL, engine="sobol", **{"trials": 5, **more})


def test_what_was_asked_for_is_measured_first_after_the_default():
    study = run(start=FIRST)
    configs = [t.config for t in study.trials]
    default = SPACE.default_config
    assert configs[:3] == [default, FIRST[0], {"batch_size": 8, "draft_length": default["draft_length"]}]
    reasons = [t.suggestion.reason for t in study.trials]
    assert reasons[:3] == [Reason.DEFAULT, Reason.START, Reason.START]
    assert len(configs) == 5  # they count; what is the default is not measured twice
    assert reasons[3] not in (Reason.DEFAULT, Reason.START)


def test_a_study_that_goes_on_measures_only_what_is_new_of_its_start(tmp_path):
    path = tmp_path / "ledger.sqlite"
    run(path=path, trials=3, start=FIRST[:1]).close()
    study = run(path=path, trials=6, start=FIRST)
    assert [t.suggestion.reason for t in study.trials].count(Reason.START) == 2
    assert len({t.key for t in study.trials}) == 6


def test_callbacks_see_every_trial_once_after_it_was_committed(tmp_path):
    path, seen, told = tmp_path / "ledger.sqlite", [], []

    def look(study, trial):
        with Ledger.open(path, read_only=True) as ledger:
            told.append(ledger.trial("study", trial.number).state)
        seen.append((study.name, trial.number, trial.state))

    def function(config):
        if config["batch_size"] > 8:
            raise MemoryError
        return throughput(config)

    study = tune(SPACE, function, GOAL, engine="sobol", trials=6, path=path, callbacks=[look])
    assert seen == [("study", t.number, t.state) for t in study.trials]
    assert told == [t.state for t in study.trials]
    assert TrialState.INFEASIBLE in told
    assert [number for _, number, _ in seen] == list(range(6))
    study.close()
    run(path=path, trials=7, callbacks=[look])
    assert [number for _, number, _ in seen] == list(range(7))


@pytest.mark.parametrize("way", ["raise", "call"])
def test_a_callback_ends_the_search_and_the_same_call_goes_on(tmp_path, way):
    def enough(study, trial):
        if trial.number == 2:
            if way == "raise":
                raise autotune.StopStudy("good enough")
            study.stop("good enough")

    arguments = {"path": tmp_path / "ledger.sqlite", "trials": 8, "start": FIRST * 1 + [{"batch_size": 4}]}
    study = run(**arguments, callbacks=[enough])
    assert [t.state for t in study.trials].count(TrialState.COMPLETED) == 3
    assert study.stopped == "good enough"
    assert study.result.config is not None
    study.close()
    again = run(**arguments)
    assert [t.state for t in again.trials] == [TrialState.COMPLETED] * 8
    assert again.stopped == ""


def test_what_runs_when_a_callback_ends_the_search_is_measured_to_its_end():
    together = threading.Barrier(3, timeout=120)
    calls = itertools.count()

    def function(config):
        if next(calls) < 3:
            together.wait()
        return throughput(config)

    def stop(study, trial):
        study.stop()

    study = tune(SPACE, function, GOAL, engine="sobol", trials=9, parallel=3, callbacks=[stop])
    assert [t.state for t in study.trials] == [TrialState.COMPLETED] * 3


def test_an_exception_of_a_callback_loses_no_measurement(tmp_path):
    def broken(study, trial):
        if trial.number == 2:
            raise RuntimeError("my plot failed")

    path = tmp_path / "ledger.sqlite"
    with pytest.raises(RuntimeError, match="my plot failed") as caught:
        run(path=path, callbacks=[broken])
    study = caught.value.study
    assert [t.state for t in study.trials] == [TrialState.COMPLETED] * 3
    assert "3 measured trials" in caught.value.__notes__[0]
    study.close()
    assert len(run(path=path).trials) == 5


@pytest.mark.parametrize("ask", [lambda study: study.ask(), lambda study: study.ask(2)])
def test_a_callback_cannot_ask_for_trials_beyond_the_budget(ask):
    with pytest.raises(StudyError, match="a callback cannot ask for a trial") as caught:
        run(trials=3, callbacks=[lambda study, _trial: ask(study)])
    study = caught.value.study
    assert len(study.trials) == 1
    assert study.ask().number == 1  # once the search is over its caller may


def test_a_timeout_ends_the_search_though_a_call_runs(monkeypatch):
    held, late = threading.Event(), [0.0]
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + late[0], time_ns=time.time_ns)
    monkeypatch.setattr(driver, "time", clock)

    def function(config):
        if config != SPACE.default_config:
            late[0] = 7201.0
            held.wait(60)
        return throughput(config)

    try:
        study = tune(SPACE, function, GOAL, engine="sobol", trials=9, timeout="2 h")
        assert [t.state for t in study.trials] == [TrialState.COMPLETED, TrialState.ABANDONED]
        assert study.result.config == SPACE.default_config
        assert study.stopped == "its time of 2 h is over"
    finally:
        held.set()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"timeout": "two hours"}, "timeout: expected a time, found 'two hours'"),
        ({"timeout": 0}, "timeout must be above 0 s, found 0"),
        ({"timeout": -1}, "timeout must be above 0 s, found -1"),
        ({"path": "a\0b"}, "path must name a ledger file, found 'a\\x00b'"),
        ({"timeout": "5 tokens/s"}, "timeout: "),
        ({"timeout": True}, "timeout: "),
        ({"callbacks": print}, "callbacks must be a list of functions, found <built-in"),
        ({"callbacks": [lambda: None]}, "callbacks[0] must be a function of (study, trial), found <function"),
        ({"callbacks": [print, lambda one: one]}, "callbacks[1] must be a function of (study, trial), found"),
        ({"callbacks": [print, 3]}, "callbacks[1] must be a function of (study, trial), found 3"),
        ({"start": {"batch_size": 1}}, "start must be a list of configurations, found {'batch_size': 1}"),
        ({"start": [{"batch_size": 1}, 7]}, "start[1]: a configuration must be a mapping"),
        (
            {"start": [{"batch_sise": 1}]},
            "start[0]: unknown parameter 'batch_sise'; allowed: batch_size, draft",
        ),
        ({"start": [{"batch_size": 3}]}, "start[0]: batch_size cannot be 3; allowed"),
        ({"start": [{"batch_size": 64, "draft_length": 1}]}, "start[0]: the configuration breaks constraint"),
        (
            {"start": [*FIRST, {"batch_size": 4}], "trials": 3},
            "start: 4 configurations to start with and the",
        ),
        ({"progress": "yes"}, "progress must be True, False or None, found 'yes'"),
        ({"mlflow": 5}, "mlflow must be the address of a store, True or a mapping, found 5"),
        ({"mlflow": "sqlite:///m.db"}, "mlflow mirrors a ledger, and there is none without path"),
        ({"mlflow": {"experimnt": "x"}, "path": "l.sqlite"}, "mlflow: unknown key 'experimnt'"),
        ({"mlflow": "gopher://x", "path": "l.sqlite"}, "mlflow: unknown scheme 'gopher'"),
    ],
)
def test_a_wrong_argument_has_one_error_that_names_it(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(autotune.SpecError) as caught:
        run(**arguments)
    assert caught.value.message.startswith(message), caught.value.message
    assert not list(tmp_path.iterdir())  # nothing was begun


def test_a_callback_that_is_wrapped_or_takes_more_is_taken():
    def told(study, trial, more=()):
        seen.append(trial.number)

    @wraps(lambda one: one)
    def wrapped(*both):
        told(*both)

    seen = []
    run(trials=1, callbacks=[told, wrapped, partial(told, more=1), lambda *_: None])
    assert seen == [0, 0, 0]


def test_progress_is_quiet_but_for_somebody_who_sees_it(capsys):
    run()
    assert capsys.readouterr() == ("", "")
    study = run(progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert [f"trial {n} " in err for n in range(5)] == [True] * 5
    assert str(study.result) in err


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


def test_a_terminal_a_notebook_and_a_pipe_are_told_apart(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    assert choose_progress(io.StringIO()) is None
    assert isinstance(choose_progress(io.StringIO(), True), PlainView)
    assert isinstance(choose_progress(Terminal()), LiveView)
    assert choose_progress(Terminal(), False) is None


def test_a_notebook_shows_one_output_that_is_drawn_anew(monkeypatch):
    from IPython.core.displaypub import CapturingDisplayPublisher
    from IPython.core.interactiveshell import InteractiveShell

    assert not in_notebook()
    shell = InteractiveShell.instance()
    try:
        shell.kernel = object()  # what a kernel has
        shell.display_pub = CapturingDisplayPublisher(parent=shell)
        assert isinstance(choose_progress(io.StringIO()), NotebookView)
        study = run(name="<i>mine</i>")
        outputs = shell.display_pub.outputs
    finally:
        InteractiveShell.clear_instance()
    ids = {output["transient"]["display_id"] for output in outputs}
    assert len(ids) == 1
    assert [output.get("update", False) for output in outputs][:2] == [False, True]
    last = outputs[-1]["data"]["text/html"]
    assert "5/5 trials" in last
    assert "<i>" not in last
    assert f"best: trial {study.result.winner.trial.number}" in last


@pytest.mark.parametrize("how", ["tune", "tune_async"])
def test_the_mirror_is_told_of_every_trial_and_what_it_lacks_is_said(how, tmp_path, monkeypatch, caplog):
    class Recorder:
        def __init__(self, tracking, study):
            self.asked, self.told, self.ready = (tracking.mlflow, tracking.experiment, study.path), 0, ready

        def notify(self):
            self.told += 1

        def artifacts(self, files):
            assert all(path.is_file() for path in files.values())

        def close(self, timeout):
            return MirrorReport(2, ("the store is away",))

    ready, made = threading.Event(), []
    ready.set()
    module = importlib.import_module("autotune.study.tune")
    monkeypatch.setattr(module, "start_mirror", lambda *given: made.append(Recorder(*given)) or made[-1])
    path, store = tmp_path / f"{how}.sqlite", f"sqlite:///{tmp_path / 'mlflow.db'}"
    section = {"mlflow": store, "experiment": "mine"}
    if how == "tune":
        study = run(path=path, mlflow=section, trials=3)
    else:
        study = autotune.Study(SPACE, GOAL, path=path, engine="random")
        asyncio.run(study.tune_async(throughput, mlflow=section, trials=3))
    (mirror,) = made
    assert mirror.asked == (store, "mine", path)
    assert mirror.told >= 3
    assert study.view.tracking == store
    assert "2 items of study 'study' are not in MLflow yet (the store is away)" in caplog.text


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of what MLflow imports
def test_mlflow_has_every_trial_of_a_function(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    store = (tmp_path / "mlruns").as_uri()  # a database takes up to a minute to make
    run(path=tmp_path / "ledger.sqlite", mlflow={"mlflow": store, "experiment": "mine"}, trials=3).close()
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=store)
    experiment = client.get_experiment_by_name("mine")
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == 4  # the study and its trials


def test_a_study_is_not_run_inside_its_own_run(tmp_path):
    """By a callback, or by the function; another name, another path or none is a study of its own."""
    path, said = tmp_path / "ledger.sqlite", []

    def inner(study, trial):
        with pytest.raises(StudyError) as caught:
            run(path=path, trials=9)
        said.append(caught.value)
        if trial.number == 0:
            run(path=path, trials=2, name="other").close()
            run(path=tmp_path / "another.sqlite", trials=2).close()
            run(trials=2)

    study = run(path=path, trials=3, callbacks=[inner])
    assert len(study.trials) == len(said) == 3
    assert "'study' is already running: a callback or the function of its run calls this" in str(said[0])
    assert "another name, or another path" in str(said[0])
    assert [t.state for t in study.trials] == [TrialState.COMPLETED] * 3
    study.close()
    assert len(run(path=path, trials=4).trials) == 4


async def later(study, trial):
    """Wait for nothing."""


def yielding(study, trial):
    yield trial


async def both(study, trial):
    yield trial


class Later:
    async def __call__(self, study, trial):
        """Wait for nothing."""


def returning(inner):
    """Return a plain function that calls another one."""

    def callback(study, trial):
        return inner(study, trial)

    return callback


@pytest.mark.parametrize(
    "callback",
    [later, yielding, both, Later(), returning(later), returning(yielding), returning(both)],
)
def test_a_callback_that_nobody_would_run_is_refused(callback):
    with pytest.raises(SpecError, match="callback"):
        run(trials=2, callbacks=[callback])


@pytest.mark.parametrize("callback", [yielding, returning(both)])
def test_a_generator_is_no_callback_in_an_event_loop_either(callback):
    study = autotune.Study(SPACE, GOAL, engine="random")
    with pytest.raises(SpecError, match="callback"):
        asyncio.run(study.tune_async(lambda config: 1.0, trials=2, callbacks=[callback]))

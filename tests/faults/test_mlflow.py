"""MLflow: away, dying, slow, full or refusing, a real server behind a proxy; the study does not feel it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from stores import Simulated

from autotune.errors import EnvironmentProblem
from autotune.ledger import Ledger
from autotune.report.plain import QuietView
from autotune.study.run import run_study
from autotune.study.study_file import read_study
from autotune.tracking.mlflow import sync
from tests_proxy import Proxy
from tests_shared import wait_until

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.usefixtures("environment_restored"),
    # MLflow and what it loads warn about themselves
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

TRIALS = 6
HELD_UP_S = 30.0  # never waited for: half of what the slow store makes anybody wait who waits for it


@pytest.fixture
def proxy(server):
    proxy = Proxy(server.port)
    yield proxy
    proxy.close()


@pytest.fixture
def study(tmp_path, toy_study):
    """Run a study of simulated trials against a store; how long it took, and what the mirror lacks."""

    def run(uri, name="toy", each=lambda number: None):
        tracking = f"{{mlflow: '{uri}'}}" if uri else "{mlflow: none}"
        path = toy_study(name=name, tracking=tracking, budget=f"{{trials: {TRIALS}, confirm: 0}}")
        executor = Simulated(each)
        began = time.monotonic()
        summary = run_study(
            read_study(path), store=tmp_path / "store", view=QuietView(), make_executor=lambda *_: executor
        )
        assert summary.state == "completed"
        assert len(summary.view.trials) == TRIALS
        return executor.ended - executor.began, time.monotonic() - began, summary.mirror_pending

    return run


def complete(tmp_path, uri, name="toy"):
    return sync(tmp_path / "store" / "ledger.sqlite", name, tracking_uri=uri, experiment=name)


class Midway:
    """Do something at a trial's end, once the store has one whole; a busy mirror comes late."""

    def __init__(self, server, name, inject, number=1):
        self.server, self.name, self.inject, self.number = server, name, inject, number
        self.waited = 0.0

    def __call__(self, number):
        if number == self.number:
            began = time.monotonic()
            wait_until(lambda: "FINISHED" in _status(self.server, self.name), 90)
            self.inject()
            self.waited = time.monotonic() - began

    def less(self, found):
        """Return what a study took without the time that was waited here."""
        loop, whole, missing = found
        return loop - self.waited, whole - self.waited, missing


def held(record, injected, plain, found, finished):
    """Record a fault: the trials' time beside that without a store, and the wait at the end."""
    loop, whole, _ = found
    assert loop < plain[0] + HELD_UP_S
    assert whole < plain[1] + HELD_UP_S
    figure = (
        f"{TRIALS} trials {loop:.1f} s (without a store {plain[0]:.1f} s), {whole - loop:.1f} s around them"
    )
    record(injected, "P6: the study is not delayed; `sync` completes it, once", f"{figure}; {finished}")


def told(caplog):
    """Return what a person was told of the store while the study ran."""
    return [r.getMessage() for r in caplog.records if r.name == "autotune.tracking"]


def answers(status):
    body = json.dumps({"error_code": "INTERNAL_ERROR", "message": "injected"}).encode()
    return lambda request: (status, body)


def errors_of_artifacts(request):
    return (507, b"no space left") if b"mlflow-artifacts" in request.split(b"\r\n", 1)[0] else None


def slow(request):
    return 60.0


def raw(data):
    """Send bytes as they are to whatever is asked, then hang up."""
    return lambda request: lambda client: client.sendall(data)


def dripping(request):
    """Answer a byte at a time, without end: no timeout of a read sees it."""

    def drip(client):
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while True:
            client.sendall(b" ")
            time.sleep(0.2)

    return drip


def login(request):
    """Send everybody to a page where one signs in, as a proxy before a server does."""
    if b"/login" in request.split(b"\r\n", 1)[0]:
        return 200, b"<html>\x1b[31mSign in</html>"
    return raw(b"HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n")(request)


FAULTS = {
    "away": {},
    "dying": {"cut_after": 12},
    "slow, 60 s before each request": {"delay": slow},
    "slow, 60 s before each answer": {"late": slow},
    "full: 507 to all": {"answer": answers(507)},
    "full: 507 to artifacts": {"answer": errors_of_artifacts},
    "broken: 500 to all": {"answer": answers(500)},
    "refusing: 401": {"answer": answers(401)},
    "refusing: 403": {"answer": answers(403)},
    "answering a web page to all": {"answer": lambda request: (200, b"<html>welcome</html>")},
    "answering 200 and {} to all": {"answer": lambda request: (200, b"{}")},
    "answering JSON of other shapes": {"answer": lambda request: (200, b'{"experiment": 3, "run": []}')},
    "answering what is no HTTP": {"answer": raw(b"\x00\x1b[2J\xff\n" * 99)},
    "cutting every answer short": {"answer": raw(b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"a"')},
    "redirecting to a page to sign in": {"answer": login},
    "redirecting to itself": {"answer": raw(b"HTTP/1.1 302 F\r\nLocation: /a\r\nContent-Length: 0\r\n\r\n")},
    "dripping: answers without end": {"answer": dripping},
}


FAST = ("full: 507 to artifacts", "answering 200 and {} to all")


@pytest.mark.parametrize(
    "fault", [pytest.param(name, marks=[] if name in FAST else pytest.mark.slow) for name in FAULTS]
)
def test_a_store_in_trouble_does_not_delay_the_study(tmp_path, study, server, proxy, record, caplog, fault):
    plain = study("", "plain")
    for name, value in FAULTS[fault].items():
        setattr(proxy, name, value)
    if fault == "away":
        proxy.server.shutdown()
        proxy.server.server_close()
    found = study(proxy.uri, "toy")
    assert found[2] > 0, "the fault was felt"
    assert len(told(caplog)) <= 1, "said once; a store that only stalls is told at the end"
    assert not any("\n" in text or "\x1b" in text for text in told(caplog))
    with contextlib.ExitStack() as stack:
        if fault == "away":  # another address of the same store
            proxy = Proxy(server.port)
            stack.callback(proxy.close)
        name = f"{tmp_path.name}-{fault[:4]}"
        proxy.heal()
        ledger = tmp_path / "store" / "ledger.sqlite"
        experiment = {"tracking_uri": proxy.uri, "experiment": name}
        count = sync(ledger, "toy", **experiment)
        assert count >= found[2]
        assert sync(ledger, "toy", **experiment) == 0
        runs = server.runs(name)
    assert sorted(name for _, name in runs) == ["toy", *(f"trial-{n:04d}" for n in range(TRIALS))]
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    held(
        record,
        f"MLflow {fault}",
        plain,
        found,
        f"{found[2]} of {TRIALS + 1} runs missing, then 0, none twice",
    )


@pytest.mark.slow
def test_a_store_that_dies_midway_and_comes_back(tmp_path, study, server, record):
    plain = study("", "plain")
    found = study(server.uri, "dies", each=lambda number: server.kill() if number == TRIALS // 2 else None)
    assert found[2] > 0
    with pytest.raises(EnvironmentProblem, match="MLflow at"):
        complete(tmp_path, server.uri, "dies")
    server.start()
    assert complete(tmp_path, server.uri, "dies") > 0
    assert complete(tmp_path, server.uri, "dies") == 0
    runs = server.runs("dies")
    assert len(runs) == TRIALS + 1
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    figure = f"{found[2]} of {TRIALS + 1} runs missing, then 0, none twice"
    held(record, "MLflow server killed by SIGKILL midway, later started again", plain, found, figure)


@pytest.mark.slow
def test_a_server_that_dies_and_is_started_again_within_a_run(tmp_path, study, server, record, caplog):
    plain = study("", "plain")
    midway = Midway(server, "back", server.kill)
    back_s = [0.0]

    def each(number):
        midway(number)
        if number == TRIALS - 2:
            began = time.monotonic()
            server.start()
            back_s[0] = time.monotonic() - began

    loop, whole, missing = midway.less(study(server.uri, "back", each=each))
    assert len(told(caplog)) == 1
    complete(tmp_path, server.uri, "back")
    assert complete(tmp_path, server.uri, "back") == 0
    runs = server.runs("back")
    assert len(runs) == TRIALS + 1
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert loop - back_s[0] < plain[0] + HELD_UP_S
    figure = (
        f"{missing} of {TRIALS + 1} runs missing at the end, then 0, none twice; told once; "
        f"{whole - loop:.1f} s around the trials"
    )
    record("MLflow server killed by SIGKILL and started again within a run", "P6: the mirror goes on", figure)


@pytest.mark.slow
def test_a_server_that_hangs_and_goes_on(tmp_path, study, server, record, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")  # the user's own setting is kept
    plain = study("", "plain")
    midway = Midway(server, "hangs", lambda: os.killpg(server.process.pid, signal.SIGSTOP))
    try:
        found = midway.less(study(server.uri, "hangs", each=midway))
        assert found[2] > 0
        with pytest.raises(EnvironmentProblem, match="MLflow at"):
            complete(tmp_path, server.uri, "hangs")
    finally:
        os.killpg(server.process.pid, signal.SIGCONT)
    wait_until(server.answers, 60)
    assert complete(tmp_path, server.uri, "hangs") > 0
    assert complete(tmp_path, server.uri, "hangs") == 0
    runs = server.runs("hangs")
    assert len(runs) == TRIALS + 1
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    figure = f"{found[2]} of {TRIALS + 1} runs missing, then 0, none twice"
    held(record, "MLflow server stopped by SIGSTOP midway, later continued", plain, found, figure)


def test_what_was_lost_by_a_server_that_keeps_nothing_is_noticed(tmp_path, study, server, proxy, record):
    """Midway everything is answered with success and dropped; then the server is there again."""
    midway = Midway(server, "dropped", lambda: setattr(proxy, "answer", lambda request: (200, b"{}")))
    found = study(proxy.uri, "dropped", each=midway)
    proxy.heal()
    name = {"tracking_uri": proxy.uri, "experiment": "dropped"}
    ledger = tmp_path / "store" / "ledger.sqlite"
    assert found[2] >= TRIALS - 2, "what was dropped does not count as written"
    assert sync(ledger, "dropped", **name) >= found[2]
    assert sync(ledger, "dropped", **name) == 0
    runs = server.runs("dropped")
    assert len(runs) == TRIALS + 1
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    figure = f"{found[2]} of {TRIALS + 1} runs known to be missing, then 0, none twice"
    record("MLflow answers 200 and keeps nothing from trial 1 on", "P6: what is missing is known", figure)


class ForgetfulOfRuns:
    """Answer whoever asks for a run twice in turn with nothing: neither its tags nor its artifacts' place."""

    asked = False

    def __call__(self, request):
        before, self.asked = self.asked, b"/runs/get?" in request.split(b"\r\n", 1)[0]
        return (200, b"{}") if before and self.asked else None


def test_what_a_server_names_no_place_for_is_not_written_into_the_working_folder(
    tmp_path, study, server, proxy, monkeypatch
):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    proxy.answer = ForgetfulOfRuns()
    found = study(proxy.uri, "nowhere")
    assert not list(here.iterdir())
    proxy.heal()
    assert complete(tmp_path, proxy.uri, "nowhere") >= found[2]
    assert not list(here.iterdir())


def test_sync_with_a_server_that_drips_ends(tmp_path, study, server, proxy, record, monkeypatch):
    study("", "drips")
    monkeypatch.setattr("autotune.tracking.mlflow._STUCK_S", 2.0)
    proxy.answer = dripping
    with pytest.raises(EnvironmentProblem, match="no step in 2 s") as caught:
        complete(tmp_path, proxy.uri, "drips")
    assert "then repeat" in caught.value.hint
    record(
        "`sync` with a server that answers without end",
        "P9",
        "gives up 2 s after the last step (120 s in use)",
    )


@pytest.mark.slow
def test_a_store_that_is_well(tmp_path, study, server, record):
    plain = study("", "plain")
    found = study(server.uri, "well")
    assert found[2] == 0
    assert complete(tmp_path, server.uri, "well") == 0
    runs = server.runs("well")
    assert len(runs) == TRIALS + 1
    held(record, "nothing: MLflow is well", plain, found, f"{TRIALS + 1} of {TRIALS + 1} runs there")


def test_runs_whose_making_was_answered_too_late_are_not_there_twice(
    tmp_path, study, server, proxy, record, monkeypatch
):
    """The request is carried out, its answer does not come in time, and the mirror tries again."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")  # the user's own setting is kept
    made = []

    def late(request):
        if b"/runs/create" not in request.split(b"\r\n", 1)[0]:
            return 0.0
        made.append(request)
        return 3.0 if len(made) % 2 else 0.0

    proxy.late = late
    study(proxy.uri, "late")
    proxy.heal()
    complete(tmp_path, proxy.uri, "late")
    assert complete(tmp_path, proxy.uri, "late") == 0
    runs = server.runs("late")
    assert len(runs) == TRIALS + 1
    parent = runs["late", "late"].info.run_id
    trials = [run for (_, name), run in runs.items() if name != "late"]
    assert {run.data.tags["mlflow.parentRunId"] for run in trials} == {parent}
    figure = f"{len(made)} creations for {TRIALS + 1} runs; {len(runs)} runs, all below one parent"
    record("MLflow answers every second creation of a run too late", "P6: no run is there twice", figure)


@pytest.mark.slow
def test_several_writers_at_once(tmp_path, study, server, record):
    """Four studies of one experiment, two writers each."""
    names = [f"writer{i}" for i in range(4)]
    for name in names:
        study("", name)
    failures, counts = [], []

    def write(name):
        try:
            counts.append(
                sync(tmp_path / "store" / "ledger.sqlite", name, tracking_uri=server.uri, experiment="many")
            )
        except Exception as error:  # noqa: BLE001 - of a thread: told below
            failures.append(error)

    threads = [threading.Thread(target=write, args=(name,)) for name in names * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert failures == []
    assert sum(counts) == len(names) * (TRIALS + 1)
    runs = server.runs("many")
    assert len(runs) == len(names) * (TRIALS + 1)
    for name in names:
        below = {
            run.data.tags.get("mlflow.parentRunId") for (of, run_name), run in runs.items() if of == name
        }
        assert below == {None, runs[name, name].info.run_id}
    figure = f"{len(runs)} of {len(names) * (TRIALS + 1)} runs, none twice, none below another's study"
    record("4 studies of one experiment, 2 writers each, at once", "P6: each run is there once", figure)


def test_a_study_killed_by_sigkill_is_closed_as_killed_at_the_next_start(
    tmp_path, study, toy_study, server, record
):
    path = toy_study(name="victim", tracking=f"{{mlflow: '{server.uri}'}}", system="{use: toy, step: '0.3'}")
    argv = [sys.executable, "-m", "autotune", "run", str(path), "--local", "--store", str(tmp_path / "store")]
    with subprocess.Popen(argv, cwd=tmp_path, stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: _status(server, "victim").count("RUNNING") == 2, 90)
        finally:
            process.kill()
    assert _status(server, "victim") == ["RUNNING", "RUNNING"]  # nobody was left to close them
    assert study(server.uri, "next")[2] == 0
    with Ledger.open(tmp_path / "store" / "ledger.sqlite", read_only=True) as ledger:
        assert ledger.study("victim").state == "RUNNING"  # resuming it is still what goes on with it
        trials = ledger.trials("victim")
    measured = sum(trial.state.finished for trial in trials)
    open_runs = 1 + len(trials) - measured  # the study's own and those of its trials
    statuses = _status(server, "victim")
    # what was measured before the kill and not yet mirrored is completed as well
    assert sorted(statuses) == ["FINISHED"] * measured + ["KILLED"] * open_runs
    assert set(_status(server, "next")) == {"FINISHED"}
    injected = "SIGKILL of a study with MLflow there; another study is started"
    figure = f"{statuses.count('KILLED')} of {open_runs} runs KILLED"
    record(injected, "P6: its runs are closed as KILLED", figure)


def _status(server, experiment):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=server.uri)
    found = client.get_experiment_by_name(experiment)
    return [] if found is None else [run.info.status for run in client.search_runs([found.experiment_id])]

"""The MLflow mirror against real stores: a database, and a server over HTTP."""

import hashlib
import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from autotune.core.measurement import Cause, Estimate
from autotune.core.scalar import PlainText
from autotune.core.trial import Reason, TrialState
from autotune.errors import AutotuneError, EnvironmentProblem, StudyError
from autotune.ledger import Ledger
from autotune.testing.mirror_contract import MirrorContract
from autotune.tracking.mlflow import MlflowMirror, sync, ui_command
from autotune.tracking.mlflow_items import mirror_name
from autotune.tracking.mlflow_session import artifact_place
from tests_shared import wait_until

pytestmark = [
    pytest.mark.usefixtures("environment_restored"),
    # MLflow and what it loads warn about themselves
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def complete(ledger, make, uri, experiment="team"):
    return sync(ledger.path, make.name, tracking_uri=uri, experiment=experiment)


def read_back(uri, experiment="team"):
    """Return the client and the study's runs by name, without the words that follow it."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    found = client.get_experiment_by_name(experiment)
    runs = list(client.search_runs([found.experiment_id], max_results=1000))
    by_name = {run.info.run_name.partition(" ")[0]: run for run in runs}
    assert len(by_name) == len(runs), "two runs of one name"
    return client, by_name


def downloaded(uri, run, name, folder):
    """Return where an artifact is now."""
    from mlflow import MlflowClient

    folder.mkdir(exist_ok=True)
    place = artifact_place(MlflowClient(tracking_uri=uri), uri, run.info.run_id)
    return Path(place.download_artifacts(name, str(folder)))


def text_of(uri, run, name, folder):
    return downloaded(uri, run, name, folder).read_text(encoding="utf-8")


def outdated(ledger, make, uri, experiment="team"):
    mirror = MlflowMirror(ledger.path, make.name, tracking_uri=uri, experiment=experiment)
    return mirror.close(0.0).pending


# -- what is written ----------------------------------------------------------------------------------


def test_full_study_is_read_back(ledger, make, store_uri, tmp_path):
    make.fill(ledger, tmp_path)
    assert complete(ledger, make, store_uri) == 7  # the study and six trials; the seventh only waits
    _, runs = read_back(store_uri)
    assert sorted(runs) == ["chat", *(f"trial-{n:04d}" for n in range(6))]
    parent, first, second = runs["chat"], runs["trial-0000"], runs["trial-0001"]

    assert first.data.params == {"batch_size": "1", "half": "true"}
    assert first.data.metrics == {"throughput": 100.0, "latency.p99": 0.1, "trial_seconds": 30.0}
    measured = json.loads(text_of(store_uri, first, "measurement.json", tmp_path / "down"))
    assert measured["throughput"] == {"value": 100.0, "sem": 0.5, "n": 5, "unit": "tokens/s"}
    assert measured["latency.p99"] == {"value": 0.1, "sem": None, "n": 1, "unit": "s"}
    assert first.info.start_time == make.start_ns // 10**6
    assert first.info.end_time == make.start_ns // 10**6 + 30_000
    expected = {
        "autotune.trial": "0",
        "autotune.study": "chat",
        "autotune.study_uid": ledger.study(make.name).uid,
        "autotune.state": "COMPLETED",
        "autotune.attempt": "1",
        "autotune.node": "gpu-1",
        "autotune.reason": "default",
        "autotune.engine": "gp 1",
        "autotune.fingerprint": "f1",
        "autotune.feasible": "true",
        "autotune.version.torch": "2.9",
        "mlflow.parentRunId": parent.info.run_id,
    }
    assert expected.items() <= first.data.tags.items()
    assert second.data.tags["autotune.p_feasible"] == "0.75"
    assert second.data.tags["autotune.predicted.throughput"].startswith("140")
    status = {name: run.info.status for name, run in runs.items()}
    assert status == {
        "chat": "RUNNING",
        "trial-0000": "FINISHED",
        "trial-0001": "FINISHED",
        "trial-0002": "FAILED",
        "trial-0003": "FAILED",
        "trial-0004": "FAILED",  # breaks the limit: not to be deployed
        "trial-0005": "RUNNING",
    }
    tags = runs["trial-0002"].data.tags
    assert tags["autotune.failure"] == "out_of_memory"
    assert tags["autotune.failure_message"] == "token=[redacted] did not fit"
    assert runs["trial-0003"].data.tags["autotune.failure"] == "worker_lost"
    assert runs["trial-0004"].data.tags["autotune.feasible"] == "false"


def test_parent_run_and_artifacts(ledger, make, store_uri, tmp_path):
    make.fill(ledger, tmp_path)
    complete(ledger, make, store_uri)
    client, runs = read_back(store_uri)
    parent = runs["chat"]
    assert parent.data.params["objective"] == "maximize throughput with latency.p99 <= 500 ms"
    assert parent.data.params["parameters"] == "batch_size, half"
    expected = {"autotune.state": "RUNNING", "autotune.engine": "gp 1", "autotune.fingerprint": "f1"}
    assert expected.items() <= parent.data.tags.items()
    history = client.get_metric_history(parent.info.run_id, "best.throughput")
    assert [(m.step, m.value) for m in history] == [
        (0, 100.0),
        *((n, 150.0) for n in (1, 2, 3, 4)),
    ]  # 900 breaks the limit

    log = text_of(store_uri, runs["trial-0000"], "server.log", tmp_path / "down")
    assert log == "ready\nAuthorization: Bearer [redacted]\n"
    spec = text_of(store_uri, parent, "study.json", tmp_path / "down")
    assert json.loads(spec)["system"] == {"use": "command", "environment": "api_key=[redacted]"}
    best = json.loads(text_of(store_uri, parent, "best.json", tmp_path / "down"))
    assert best["config"] == {"batch_size": 2, "half": True}
    assert best["metrics"]["throughput"]["value"] == 150.0
    # beside the database, so that whoever has the one has the other; nothing with %20 in its name
    stored = Path(store_uri.removeprefix("sqlite:///")).parent
    assert list(stored.glob("mlartifacts/**/server.log"))
    assert sorted(p.name for p in stored.iterdir()) == ["mlartifacts", "mlflow.db"]
    assert not list(tmp_path.glob("*%20*"))


def test_second_sync_writes_nothing(ledger, make, store_uri, tmp_path):
    make.fill(ledger, tmp_path)
    complete(ledger, make, store_uri)
    assert complete(ledger, make, store_uri) == 0
    assert outdated(ledger, make, store_uri) == 0


def test_crash_before_the_ledger_knows_makes_no_duplicates(ledger, make, store_uri, tmp_path):
    make.fill(ledger, tmp_path)
    complete(ledger, make, store_uri)
    before = {name: run.info.run_id for name, run in read_back(store_uri)[1].items()}
    # what a crash between the two writes leaves: runs that the ledger knows nothing of
    forgotten = dict.fromkeys(ledger.mirror_state(make.name, mirror_name(store_uri)), "")
    ledger.set_mirror_state(make.name, mirror_name(store_uri), forgotten)
    assert complete(ledger, make, store_uri) == 7
    client, runs = read_back(store_uri)
    assert {name: run.info.run_id for name, run in runs.items()} == before
    history = client.get_metric_history(before["chat"], "best.throughput")
    assert [(m.step, m.value) for m in history] == [(0, 100.0), *((n, 150.0) for n in (1, 2, 3, 4))]


def test_running_trial_is_finalised_later(ledger, make, store_uri, tmp_path):
    before = time.time_ns() // 10**6
    make.fill(ledger, tmp_path)
    complete(ledger, make, store_uri)
    started = read_back(store_uri)[1]["trial-0005"].info.start_time
    assert before <= started <= time.time_ns() // 10**6  # when the attempt began, not the study's time
    ledger.finish_attempt(make.name, 5, 1, make.measured(200.0, 5), state=TrialState.COMPLETED, node="gpu-2")
    ledger.start_attempt(make.name, 6, "local")
    ledger.abandon(make.name, 6)
    assert complete(ledger, make, store_uri) == 3  # both, and the study with its new best
    client, runs = read_back(store_uri)
    assert runs["trial-0005"].info.status == "FINISHED"
    assert runs["trial-0005"].data.tags["autotune.node"] == "gpu-2"
    assert runs["trial-0005"].data.metrics["throughput"] == 200.0
    assert runs["trial-0006"].info.status == "KILLED"
    history = client.get_metric_history(runs["chat"].info.run_id, "best.throughput")
    assert [(m.step, m.value) for m in history][-2:] == [(5, 200.0), (6, 200.0)]


def test_interrupted_then_resumed_then_completed(ledger, make, store_uri):
    make.create(ledger)
    make.run_trial(ledger, 0, make.suggestion(), make.measured(1.0), TrialState.COMPLETED)
    seen = []
    for state in ("INTERRUPTED", "RUNNING", "COMPLETED"):
        ledger.set_study_state(make.name, state)
        complete(ledger, make, store_uri)
        run = read_back(store_uri)[1]["chat"]
        seen.append((run.info.status, run.data.tags["autotune.state"]))
    assert seen == [("KILLED", "INTERRUPTED"), ("RUNNING", "RUNNING"), ("FINISHED", "COMPLETED")]
    assert complete(ledger, make, store_uri) == 0


def test_changed_objective_does_not_stop_the_mirror(ledger, make, store_uri):
    """Params are written once in MLflow; a resumed study may have another objective over the same space."""
    make.create(ledger)
    make.run_trial(ledger, 0, make.suggestion(), make.measured(1.0), TrialState.COMPLETED)
    complete(ledger, make, store_uri)
    ledger.set_study_spec(make.name, {**make.spec, "objective": {"minimize": "latency.p99"}})
    assert complete(ledger, make, store_uri) >= 1
    _, runs = read_back(store_uri)
    assert "minimize latency.p99" in runs["chat"].data.tags["mlflow.note.content"]
    assert runs["chat"].data.metrics["best.latency.p99"] == 0.1
    assert complete(ledger, make, store_uri) == 0


def test_best_so_far_follows_the_ranking(ledger, make, store_uri):
    """A configuration that crashed once, or was not confirmed, is not the best: as the reports say."""
    make.create(ledger)
    done = TrialState.COMPLETED
    make.run_trial(ledger, 0, make.suggestion(1), make.measured(100.0, 0), done)
    make.run_trial(ledger, 1, make.suggestion(2), make.measured(150.0, 1), done)
    crash = make.failed(Cause.CRASHED_UNDER_LOAD, "crashed", 2)
    make.run_trial(ledger, 2, make.suggestion(2, reason=Reason.REPEAT), crash, TrialState.INFEASIBLE)
    complete(ledger, make, store_uri)
    client, runs = read_back(store_uri)
    history = client.get_metric_history(runs["chat"].info.run_id, "best.throughput")
    assert [(m.step, m.value) for m in history] == [(0, 100.0), (1, 150.0), (2, 100.0)]
    assert runs["chat"].data.metrics["best.throughput"] == 100.0


def test_late_trial_of_a_lower_number_does_not_rewrite_history(ledger, make, store_uri):
    """Trials end in any order; two passes must leave what one pass leaves."""
    make.create(ledger)
    for number in (0, 1):
        ledger.add_trial(make.name, number, make.suggestion(2**number))
        ledger.start_attempt(make.name, number, "local")
    ledger.finish_attempt(make.name, 1, 1, make.measured(100.0, 1), state=TrialState.COMPLETED)
    complete(ledger, make, store_uri)
    ledger.finish_attempt(make.name, 0, 1, make.measured(120.0, 2), state=TrialState.COMPLETED)
    complete(ledger, make, store_uri)
    _, runs = read_back(store_uri)
    assert runs["chat"].data.metrics["best.throughput"] == 120.0


def test_a_relative_store_lies_in_the_working_folder_of_each_study(
    ledger, make, tmp_path, empty_store, monkeypatch
):
    """A process that changes its folder between two studies, as notebooks do."""
    make.create(ledger)
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "mlflow.db").write_bytes(empty_store.read_bytes())
        monkeypatch.chdir(folder)
        assert complete(ledger, make, "sqlite:///mlflow.db") == 1
        _, runs = read_back(f"sqlite:///{folder}/mlflow.db")
        place = runs["chat"].info.artifact_uri
        assert place == f"mlartifacts/team/{runs['chat'].info.run_id}/artifacts"


def test_names_that_mlflow_refuses_are_replaced_and_counted(ledger, make, store_uri, tmp_path):
    make.create(ledger)
    odd = make.measured(1.0)
    values = {
        "gain%": 3.0,
        "größe": 4.0,
        "/absolute": 5.0,
        "gain_": 6.0,
        "gain$": 7.0,
        "..": 8.0,
        "x" * 300: 9.0,
    }
    metrics = {**odd.metrics, **{name: Estimate(value, 0.25) for name, value in values.items()}}
    what = replace(make.suggestion(), config={"a//b": 1, "a__b": 2, "p?": 3})
    make.run_trial(ledger, 0, what, replace(odd, metrics=metrics), TrialState.COMPLETED)
    assert complete(ledger, make, store_uri) == 2
    _, runs = read_back(store_uri)
    run = runs["trial-0000"]
    found = run.data.metrics
    assert found["gr__e"] == 4.0
    assert found["_absolute"] == 5.0
    assert found["gain_"] == 6.0, "a name that is allowed stays whose it is"
    marked = {name: value for name, value in found.items() if name.startswith("gain_-")}
    assert sorted(marked.values()) == [3.0, 7.0]
    assert sorted(value for value in found.values() if value >= 3.0 and value < 10.0) == sorted(
        values.values()
    )
    inactive = {"batch_size": "(inactive)", "half": "(inactive)"}
    assert run.data.params == {"a__b": "2", "a__b-" + _mark("a//b"): "1", "p_": "3"} | inactive
    assert run.data.tags["autotune.renamed_metrics"] == "6"
    assert run.data.tags["autotune.renamed_params"] == "2"
    names = json.loads(text_of(store_uri, run, "measurement.json", tmp_path / "down"))
    assert set(values) <= set(names), "the artifact has each by its own name"
    assert complete(ledger, make, store_uri) == 0


def _mark(name):
    return hashlib.blake2b(name.encode(), digest_size=4).hexdigest()


def test_more_values_than_one_batch_holds(ledger, make, store_uri, tmp_path):
    make.create(ledger)
    many = make.measured(1.0)
    metrics = {**many.metrics, **{f"m{i:03}": Estimate(float(i), 0.1) for i in range(700)}}
    wide = replace(make.suggestion(), config={f"p{i}": i for i in range(150)})
    make.run_trial(ledger, 0, wide, replace(many, metrics=metrics), TrialState.COMPLETED)
    complete(ledger, make, store_uri)
    _, runs = read_back(store_uri)
    run = runs["trial-0000"]
    assert run.data.params.items() >= {f"p{i}": str(i) for i in range(150)}.items()
    assert len(run.data.metrics) == 25, "few, the objective's first"
    assert {"throughput", "latency.p99", "m000", "trial_seconds"} <= set(run.data.metrics)
    measured = json.loads(text_of(store_uri, run, "measurement.json", tmp_path / "down"))
    assert measured["m699"] == {"value": 699.0, "sem": 0.1, "n": 1, "unit": "1"}


def test_one_run_that_the_store_refuses_does_not_hold_up_the_others(ledger, make, mlflow_server, start_proxy):
    make.create(ledger)
    make.run_trial(ledger, 0, make.suggestion(1), make.measured(1.0), TrialState.COMPLETED)
    make.run_trial(ledger, 1, make.suggestion(2), make.measured(2.0, 1), TrialState.COMPLETED)
    make.run_trial(ledger, 2, make.suggestion(4), make.measured(1.5, 2), TrialState.COMPLETED)
    proxy = start_proxy(mlflow_server.port)
    refused = b'{"error_code": "INVALID_PARAMETER_VALUE", "message": "no such batch"}'
    proxy.answer = lambda request: (400, refused) if b'"batch_size", "value": "2"' in request else None
    with pytest.raises(EnvironmentProblem, match="trial/1 is refused"):
        complete(ledger, make, proxy.uri, "refuses")
    runs = read_back(mlflow_server.uri, "refuses")[1]
    assert [runs[f"trial-000{n}"].info.status for n in range(3)] == ["FINISHED", "RUNNING", "FINISHED"]
    assert runs["chat"].data.metrics["best.throughput"] == 2.0
    assert outdated(ledger, make, proxy.uri, "refuses") == 1
    proxy.answer = lambda request: None
    assert complete(ledger, make, proxy.uri, "refuses") == 1
    assert len(read_back(mlflow_server.uri, "refuses")[1]) == 4


def test_binary_artifacts_arrive_unchanged(ledger, make, store_uri, tmp_path):
    make.create(ledger)
    content = bytes(range(256)) * 4
    (tmp_path / "raw").write_bytes(content)
    left = make.measured(1.0, artifacts={"trace.bin": str(tmp_path / "raw")})
    make.run_trial(ledger, 0, make.suggestion(), left, TrialState.COMPLETED)
    complete(ledger, make, store_uri)
    _, runs = read_back(store_uri)
    got = downloaded(store_uri, runs["trial-0000"], "trace.bin", tmp_path / "down")
    assert got.read_bytes() == content


def test_two_studies_share_an_experiment(ledger, make, store_uri):
    make.create(ledger)
    ledger.create_study("other", spec=make.spec, fingerprint="f1", seed=1, engine="sobol 1")
    complete(ledger, make, store_uri)
    assert sync(ledger.path, "other", tracking_uri=store_uri, experiment="team") == 1
    assert sorted(read_back(store_uri)[1]) == ["chat", "other"]


# -- who else writes ----------------------------------------------------------------------------------


def test_a_run_that_was_made_twice_is_deleted(ledger, make, store_uri, tmp_path):
    """A request whose answer came too late was carried out all the same."""
    make.fill(ledger, tmp_path)
    complete(ledger, make, store_uri)
    client, runs = read_back(store_uri)
    before = {name: run.info.run_id for name, run in runs.items()}
    experiment = runs["chat"].info.experiment_id
    uid = ledger.study(make.name).uid
    late = client.create_run(
        experiment, start_time=make.start_ns, tags={"autotune.study_uid": uid}, run_name="chat"
    )
    twin = client.create_run(
        experiment, start_time=time.time_ns(), run_name="trial-0003",
        tags={"autotune.study_uid": uid, "autotune.trial": "3", "mlflow.parentRunId": late.info.run_id},
    )  # fmt: skip
    client.set_tag(before["trial-0004"], "mlflow.parentRunId", late.info.run_id)
    # another writer had the turn: only then is anything looked up again
    next(ledger.path.parent.glob("*.turn")).write_text("another")
    ledger.finish_attempt(make.name, 5, 1, make.measured(200.0, 5), state=TrialState.COMPLETED)
    assert complete(ledger, make, store_uri) == 2
    client, runs = read_back(store_uri)
    assert {name: run.info.run_id for name, run in runs.items()} == before
    assert client.get_run(twin.info.run_id).info.lifecycle_stage == "deleted"
    assert runs["trial-0004"].data.tags["mlflow.parentRunId"] == before["chat"]


def test_a_killed_study_is_closed_at_the_next_start_of_any(tmp_path, make, store_uri):
    spec = {**make.spec, "tracking": {"mlflow": store_uri, "experiment": "team"}}
    with Ledger.open(tmp_path / "ledger.db") as ledger:
        with ledger.lock_study(make.name):
            make.fill(ledger, tmp_path)
            ledger.set_study_spec(make.name, spec)
            complete(ledger, make, store_uri)
            status = {name: run.info.status for name, run in read_back(store_uri)[1].items()}
            assert [status["chat"], status["trial-0005"]] == ["RUNNING", "RUNNING"]
        # SIGKILL leaves the lock's file as it was
        lock = next(tmp_path.glob("*.lock"))
        lock.write_text(json.dumps({"pid": 2**22 + 1, "host": socket.gethostname(), "since": "then"}))
        ledger.create_study("other", spec=spec, fingerprint="f1", seed=1, engine="sobol 1")
        ledger.set_study_state("other", "RUNNING")
        with ledger.lock_study("other"):
            mirror = MlflowMirror(ledger.path, "other", tracking_uri=store_uri, experiment="team")
            mirror.start()
            assert mirror.ready.wait(30)
            wait_until(lambda: read_back(store_uri)[1]["trial-0005"].info.status == "KILLED", 90)
            assert mirror.close(20.0).errors == ()
            status = {name: run.info.status for name, run in read_back(store_uri)[1].items()}
            assert [status["chat"], status["other"]] == ["KILLED", "RUNNING"]
            assert status["trial-0000"] == "FINISHED"
        assert (
            ledger.study(make.name).state == "RUNNING"
        )  # the mirror does not write what is the run's to say
        # once it goes on, its runs do
        with ledger.lock_study(make.name):
            assert complete(ledger, make, store_uri) == 2
            assert read_back(store_uri)[1]["trial-0005"].info.status == "RUNNING"
            ledger.requeue(make.name, 5)
            complete(ledger, make, store_uri)
            assert read_back(store_uri)[1]["trial-0005"].info.status == "SCHEDULED"
            ledger.set_study_state(make.name, "INTERRUPTED")
            complete(ledger, make, store_uri)
            assert read_back(store_uri)[1]["trial-0005"].info.status == "KILLED"


# -- the thread ---------------------------------------------------------------------------------------


class TestMlflow(MirrorContract):
    @pytest.fixture(autouse=True)
    def store(self, store_uri):
        self.uri = store_uri

    def make(self, ledger, study):
        return MlflowMirror(ledger, study, tracking_uri=self.uri, experiment="team")

    def copied(self, ledger, study):
        _, runs = read_back(self.uri)  # it refuses two runs of one name
        assert runs.pop(study).info.status in ("RUNNING", "FINISHED")
        return [int(name.removeprefix("trial-")) for name in runs]


def test_library_is_ready_only_when_the_database_is_open(ledger, make, tmp_path):
    """Making the tables takes seconds of processor time, which must not fall into a measurement."""
    make.create(ledger)
    uri = f"sqlite:///{tmp_path}/fresh/mlflow.db"
    mirror = MlflowMirror(ledger.path, make.name, tracking_uri=uri, experiment="team")
    mirror.start()
    assert mirror.ready.wait(60)
    with sqlite3.connect(tmp_path / "fresh" / "mlflow.db") as database:
        assert database.execute("SELECT version_num FROM alembic_version").fetchone()
    database.close()
    assert mirror.close(20.0).pending == 0


def test_sync_stops_between_items_and_goes_on(ledger, make, store_uri, tmp_path):
    make.fill(ledger, tmp_path)
    with pytest.raises(EnvironmentProblem, match="not complete after 0 s"):
        sync(ledger.path, make.name, tracking_uri=store_uri, experiment="team", timeout=0.0)
    assert complete(ledger, make, store_uri) == 7
    assert len(read_back(store_uri)[1]) == 7


def test_server_away_costs_nothing_and_is_completed_later(
    ledger, make, tmp_path, mlflow_server, start_proxy, caplog, capfd
):
    make.fill(ledger, tmp_path)
    port = make.free_port()
    uri = f"http://127.0.0.1:{port}"
    mirror = MlflowMirror(ledger.path, make.name, tracking_uri=uri, experiment="away")
    mirror.start()
    assert mirror.ready.wait(30)
    slowest = 0.0
    for _ in range(20):
        before = time.monotonic()
        mirror.notify()
        slowest = max(slowest, time.monotonic() - before)
    assert slowest < 0.05
    before = time.monotonic()
    report = mirror.close(1.0)
    assert time.monotonic() - before < 3.0
    assert report.pending == 7
    assert report.errors
    assert [record.name for record in caplog.records] == ["autotune.tracking"]  # said once, by us
    with pytest.raises(EnvironmentProblem, match=f"127.0.0.1:{port}") as caught:
        complete(ledger, make, uri, "away")
    assert "\n" not in caught.value.message

    start_proxy(mlflow_server.port, at=port)
    assert complete(ledger, make, uri, "away") == 7
    assert complete(ledger, make, uri, "away") == 0
    _, runs = read_back(uri, "away")
    assert len(runs) == 7
    assert '"sem": 0.5' in text_of(uri, runs["trial-0000"], "measurement.json", tmp_path / "down")
    assert runs["trial-0001"].data.tags["mlflow.parentRunId"] == runs["chat"].info.run_id
    log = text_of(uri, runs["trial-0000"], "server.log", tmp_path / "down")
    assert log == "ready\nAuthorization: Bearer [redacted]\n"

    # a mirror that starts while the server is there follows it too
    mirror = MlflowMirror(ledger.path, make.name, tracking_uri=uri, experiment="away")
    mirror.start()
    ledger.finish_attempt(make.name, 5, 1, make.measured(200.0, 5), state=TrialState.COMPLETED)
    mirror.notify()
    assert mirror.close(20.0).pending == 0
    assert read_back(uri, "away")[1]["chat"].data.metrics["best.throughput"] == 200.0
    assert capfd.readouterr().out == ""  # MLflow likes to print links


def test_server_that_never_answers_does_not_hold_close(ledger, make, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")  # the user's own setting is kept
    make.create(ledger)
    with socket.socket() as silent:  # takes connections and says nothing
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        mirror = MlflowMirror(ledger.path, make.name, tracking_uri=uri, experiment="team")
        mirror.start()
        assert mirror.ready.wait(15)
        before = time.monotonic()
        assert mirror.close(1.0).pending == 1
        assert time.monotonic() - before < 3.0
        before = time.monotonic()
        with pytest.raises(EnvironmentProblem):
            complete(ledger, make, uri)
        assert time.monotonic() - before < 4.0


# -- errors, the command, the library -----------------------------------------------------------------


def test_sync_of_an_unknown_study(ledger, store_uri):
    with pytest.raises(StudyError, match="no study 'nope'"):
        sync(ledger.path, "nope", tracking_uri=store_uri, experiment="team")


def test_sync_with_an_address_of_no_store(ledger, make):
    make.create(ledger)
    with pytest.raises(AutotuneError) as caught:
        complete(ledger, make, "nonsense://somewhere")
    assert "\n" not in caught.value.message


def test_password_in_the_address_is_not_shown(ledger, make):
    make.create(ledger)
    with pytest.raises(EnvironmentProblem) as caught:
        complete(ledger, make, "http://ann:hunter2hunter2@127.0.0.1:9")
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in mirror_name("http://ann:hunter2hunter2@127.0.0.1:9")


def test_ui_command_of_a_server(make):
    with pytest.raises(EnvironmentProblem, match="http://mlflow:5000") as caught:
        ui_command("http://mlflow:5000", 5000)
    assert "browser" in str(caught.value)


def test_ui_is_started_on_the_store_for_this_machine_alone(store_uri):
    argv = ui_command(store_uri, 5001)
    assert argv[:6] == ["env", "PYTHONSAFEPATH=1", sys.executable, "-P", "-m", "mlflow"]
    assert argv[argv.index("--backend-store-uri") + 1] == store_uri
    assert argv[argv.index("--host") + 1] == "127.0.0.1"
    assert argv[argv.index("--port") + 1] == "5001"


@pytest.mark.slow
def test_ui_serves_the_store_with_its_artifacts(ledger, make, store_uri, tmp_path, start_server):
    make.fill(ledger, tmp_path)
    complete(ledger, make, store_uri)
    run = read_back(store_uri)[1]["trial-0000"]
    port = make.free_port()
    argv = ui_command(store_uri, port)
    elsewhere = tmp_path / "elsewhere"  # the folder it is started in does not matter
    elsewhere.mkdir()
    server = start_server(argv, elsewhere, port).wait()
    address = f"{server.uri}/get-artifact?path=server.log&run_uuid={run.info.run_id}"
    with urllib.request.urlopen(address, timeout=10) as answer:
        assert answer.read() == b"ready\nAuthorization: Bearer [redacted]\n"
    assert not list(elsewhere.iterdir()), "the UI leaves nothing where it is started"


@pytest.mark.parametrize("store", ["there", pytest.param("made", marks=pytest.mark.slow)])
def test_mlflow_is_loaded_by_nobody_but_the_thread_and_is_quiet(store, make, tmp_path, empty_store):
    """In a fresh process: constructing loads nothing, and a database is written or made without a word."""
    code = """
import sys
from pathlib import Path
from autotune.tracking.mlflow import MlflowMirror, sync, ui_command
import autotune.tracking.base
ui_command("sqlite:///x.db", 1)
MlflowMirror(Path("ledger.db"), "chat", tracking_uri="sqlite:///new.db", experiment="e")
assert "mlflow" not in sys.modules
print(sync(Path("ledger.db"), "chat", tracking_uri="sqlite:///new.db", experiment="e"))
import mlflow
assert mlflow.active_run() is None
"""
    with Ledger.open(tmp_path / "ledger.db") as ledger:
        make.create(ledger)
    if store == "there":
        shutil.copy(empty_store, tmp_path / "new.db")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    # two of the migrations of MLflow 3.0 have loggers of their own
    said = [line for line in done.stderr.splitlines() if not re.match(r"INFO +\[\w+_py\]", line)]
    assert (done.returncode, done.stdout, said) == (0, "1\n", [])
    assert (tmp_path / "new.db").exists()


# -- a store of files ---------------------------------------------------------------------------------


def test_names_from_a_study_file_reach_a_store_of_files(ledger, make, tmp_path):
    make.fill(ledger, tmp_path)
    uri = (tmp_path / "mlruns").as_uri()
    sync(ledger.path, PlainText(make.name), tracking_uri=uri, experiment=PlainText("team"))
    _, runs = read_back(uri)
    assert sorted(runs) == ["chat", *(f"trial-{n:04d}" for n in range(6))]

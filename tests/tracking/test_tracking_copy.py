"""Copies of a ledger among MLflow's artifacts: when they are made, what they hold, how one comes back."""

import gzip
import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from autotune.cli.app import main
from autotune.core.trial import TrialState
from autotune.errors import EnvironmentProblem, LedgerError, StudyError
from autotune.ledger import Ledger
from autotune.ledger import copy as ledger_copy
from autotune.ledger.copies import CopyTag, copy_state
from autotune.ledger.copy import StudyCopier, restore
from autotune.spec.sections import Tracking
from autotune.tracking import mlflow_copy
from autotune.tracking.mlflow import MlflowMirror, sync
from autotune.tracking.mlflow_copy import TAGS
from autotune.tracking.mlflow_restore import choose_copy, restore_copy
from autotune.tracking.mlflow_session import artifact_place

pytestmark = [
    pytest.mark.usefixtures("environment_restored"),
    # MLflow and what it loads warn about themselves
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def copied(ledger, make, store_uri):
    """Fill the ledger, and return a function that copies it."""
    make.create(ledger)
    make.add_three(ledger)

    def copy():
        return sync(ledger.path, make.name, tracking_uri=store_uri, experiment="team", copy=True)

    copy()
    return copy


def rows(path, study="chat"):
    """Return what a study consists of; what mirrors have of it and the counts of commits are left out."""
    with Ledger.open(path, read_only=True) as ledger:
        found = ledger.rows_of(study)
    hidden = ("revision", "checksum")
    return {
        table: [{key: value for key, value in row.items() if key not in hidden} for row in found[table]]
        for table in ("study", "trial", "attempt")
    }


def run_of(uri, study="chat"):
    """Return a client and the study's run."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    place = client.get_experiment_by_name("team")
    query = f"tags.`autotune.study` = '{study}' and params.objective LIKE '%'"
    (run,) = client.search_runs([place.experiment_id], query)
    return client, run


def artifacts(uri):
    """Return the files of the copies in the store."""
    client, run = run_of(uri)
    return sorted(one.path for one in artifact_place(client, uri, run.info.run_id).list_artifacts("ledger"))


def generations(uri):
    """Return the numbers of the copies in the store, by their tags."""
    _, run = run_of(uri)
    return [json.loads(run.data.tags[tag])["generation"] for tag in TAGS if tag in run.data.tags]


def file_of(uri, slot):
    _, run = run_of(uri)
    folder = Path(run.info.artifact_uri.removeprefix("file://").replace("%20", " "))
    return folder / "ledger" / f"copy-{slot}.sqlite.gz"


# -- what is copied, and when -------------------------------------------------------------------------


def test_a_copy_is_a_ledger_of_this_study_alone(ledger, make, tmp_path):
    make.fill(ledger, tmp_path)
    ledger.create_study("theirs", spec=make.spec, fingerprint="f2", seed=1, engine="gp 1")
    path = tmp_path / "copy.sqlite"
    path.write_bytes(gzip.decompress(StudyCopier(make.name).copy(ledger)))
    with Ledger.open(path, read_only=True) as copy:
        assert [row.name for row in copy.studies()] == [make.name]
    original = rows(ledger.path)
    found = rows(path)
    assert found["trial"] == original["trial"]
    assert found["attempt"] == original["attempt"]


def test_a_copy_holds_no_secret_that_the_ledger_was_told(ledger, make, tmp_path, monkeypatch):
    monkeypatch.setenv("DEMO_API_KEY", "s3cr3t-of-the-house")
    make.create(ledger)  # its study has api_key=abcdef123456
    make.add_three(ledger)
    facts = {"measured": {"answer": ["the key is s3cr3t-of-the-house"]}}
    ledger.finish_attempt(
        make.name, 2, 1, make.measured(1.0, 2, facts=facts), state=TrialState.COMPLETED, node="n"
    )
    content = gzip.decompress(StudyCopier(make.name).copy(ledger))
    assert b"s3cr3t-of-the-house" in ledger.serialized()
    assert b"s3cr3t-of-the-house" not in content
    assert b"abcdef123456" not in content
    assert content.count(b"[redacted]") >= 2
    done = restore(StudyCopier(make.name).copy(ledger), tmp_path / "new" / "ledger.sqlite")
    assert done.masked


def test_a_value_under_a_name_that_sounds_like_a_secret_stays(ledger, make, tmp_path):
    make.create(ledger)
    what = make.suggestion()
    what = type(what)({**what.config, "stop_token": "<|endoftext|>"}, what.reason, engine=what.engine)
    make.run_trial(ledger, 0, what, make.measured(1.0), TrialState.COMPLETED)
    restore(StudyCopier(make.name).copy(ledger), tmp_path / "new.sqlite")
    with Ledger.open(tmp_path / "new.sqlite", read_only=True) as copy:
        assert copy.trial(make.name, 0).config["stop_token"] == "<|endoftext|>"


def test_copies_take_turns_and_there_are_never_more_than_two(ledger, make, store_uri, copied):
    assert artifacts(store_uri) == ["ledger/copy-0.sqlite.gz"]
    assert copied() == 0  # nothing has happened since
    assert generations(store_uri) == [1]
    for number in (3, 4, 5):
        make.run_trial(ledger, number, make.suggestion(3), make.measured(1.0, number), TrialState.COMPLETED)
        copied()
    assert generations(store_uri) == [3, 4]
    assert artifacts(store_uri) == ["ledger/copy-0.sqlite.gz", "ledger/copy-1.sqlite.gz"]


def test_the_mirror_copies_when_it_is_time_and_at_its_end(ledger, make, store_uri, tmp_path):
    make.create(ledger)
    mirror = MlflowMirror(
        ledger.path, make.name, tracking_uri=store_uri, experiment="team", copy_every_s=3600.0
    )
    mirror.start()
    assert mirror.ready.wait(60)
    make.add_three(ledger)
    mirror.notify()
    assert mirror.close(60.0).errors == ()
    numbers = generations(store_uri)
    assert max(numbers) <= 2, "one at the start, none within the hour, one at the end"
    done, _, wrong = restore_copy(store_uri, choose_copy(store_uri, make.name), tmp_path / "new.sqlite")
    assert (done.trials, done.measured, wrong) == (3, 2, [])
    assert rows(tmp_path / "new.sqlite")["attempt"] == rows(ledger.path)["attempt"]


@pytest.mark.parametrize(
    ("section", "every"),
    [
        ({"mlflow": "sqlite:///mlflow.db"}, None),
        ({"mlflow": "./mlruns"}, None),
        ({"mlflow": "none"}, None),
        ({"mlflow": "http://mlflow:5000"}, 30.0),
        ({"mlflow": "postgresql://host/db"}, 30.0),
        ({"mlflow": "http://mlflow:5000", "ledger_copy": "none"}, None),
        ({"mlflow": "http://mlflow:5000", "ledger_copy": "2 min"}, 120.0),
        ({"mlflow": "sqlite:///mlflow.db", "ledger_copy": "10 s"}, 10.0),
        ({"mlflow": "none", "ledger_copy": "10 s"}, None),
    ],
)
def test_servers_get_copies_and_files_of_this_machine_only_where_asked(section, every):
    tracking = Tracking.from_dict(section)
    assert tracking.copy_every_s == every
    assert Tracking.from_dict(tracking.to_dict()) == tracking


# -- what goes wrong ----------------------------------------------------------------------------------


def fail(monkeypatch, message="507 no room"):
    def refuse(*_):
        raise OSError(message)

    monkeypatch.setattr(mlflow_copy.LedgerCopies, "_upload", refuse)


def test_what_is_not_copied_is_said_and_costs_the_mirror_nothing(
    ledger, make, store_uri, copied, monkeypatch, capsys, tmp_path
):
    ledger.finish_attempt(make.name, 2, 1, make.measured(200.0, 2), state=TrialState.COMPLETED)
    with pytest.MonkeyPatch.context() as patch:
        fail(patch)
        with pytest.raises(EnvironmentProblem, match="no copy of the ledger: OSError: 507 no room"):
            copied()
        mirror = MlflowMirror(
            ledger.path, make.name, tracking_uri=store_uri, experiment="team", copy_every_s=1.0
        )
        mirror.start()
        report = mirror.close(60.0)
    assert report.pending == 0, "the runs are written"
    assert report.errors == ("the copy of the ledger is not up to date: OSError: 507 no room",)
    state = copy_state(ledger, make.name)
    assert (state.generation, state.since, state.problem) == (1, 1, "OSError: 507 no room")
    assert main(["status", make.name, "--store", str(ledger.path)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "; 1 result since on this machine only: OSError: 507 no room" in said
    copied()
    assert copy_state(ledger, make.name).problem == ""
    assert main(["status", make.name, "--store", str(ledger.path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["ledger_copy"]
    assert (found["since"], found["problem"]) == (0, "")


def test_a_store_that_cuts_what_it_is_sent_is_noticed(ledger, make, store_uri, copied, monkeypatch):
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    whole = LocalArtifactRepository.log_artifact

    def cut(self, path, *more):
        content = Path(path).read_bytes()
        Path(path).write_bytes(content[: len(content) // 2])
        return whole(self, path, *more)

    monkeypatch.setattr(LocalArtifactRepository, "log_artifact", cut)
    ledger.set_study_note(make.name, "a", 1)
    with pytest.raises(EnvironmentProblem, match=r"the store kept \d+ of the \d+ bytes of ledger/copy-1"):
        copied()
    assert generations(store_uri) == [1]


@pytest.mark.parametrize("point", ["mirror.copy", pytest.param("mirror.copied", marks=pytest.mark.slow)])
def test_a_copy_that_was_cut_short_leaves_the_one_before(
    ledger, make, store_uri, copied, tmp_path, monkeypatch, point
):
    before = rows(ledger.path)
    ledger.finish_attempt(make.name, 2, 1, make.measured(200.0, 2), state=TrialState.COMPLETED)
    monkeypatch.setenv("AUTOTUNE_FAILPOINT", f"{point}:raise")
    with pytest.raises(EnvironmentProblem, match="no copy"):
        copied()
    monkeypatch.delenv("AUTOTUNE_FAILPOINT")
    assert file_of(store_uri, 1).exists() == (point == "mirror.copied")
    done, tag, wrong = restore_copy(store_uri, choose_copy(store_uri, make.name), tmp_path / "new.sqlite")
    assert (tag.generation, wrong) == (1, [])
    assert done.again == (2,)
    assert rows(tmp_path / "new.sqlite")["attempt"] == before["attempt"]
    copied()  # the number that was given out is not given out again
    assert generations(store_uri) == [1, 3]


def test_a_spoiled_copy_is_passed_over_for_the_one_before_and_two_are_an_error(
    ledger, make, store_uri, copied, tmp_path, capsys
):
    ledger.set_study_note(make.name, "a", 1)
    copied()
    file_of(store_uri, 1).write_bytes(file_of(store_uri, 1).read_bytes()[:-10])
    new = tmp_path / "new"
    assert main(["restore", "--mlflow", store_uri, "--store", str(new)]) == 0
    found = capsys.readouterr()
    assert "warning: copy 2 is not whole; the one before it is used" in found.err
    assert "study chat: 3 trials, 2 results, from copy 1" in " ".join(found.out.split())
    assert "measured again: 2" in found.out
    file_of(store_uri, 0).unlink()
    other = tmp_path / "other"
    assert main(["restore", "--mlflow", store_uri, "--store", str(other)]) == 3
    assert "is whole: copy 2 is not whole; copy 1 is not there" in capsys.readouterr().err
    assert not other.exists()


def spoil(uri, slot, data):
    """Put another file in the place of a copy, with a tag that fits."""
    client, run = run_of(uri)
    file_of(uri, slot).write_bytes(data)
    tag = {
        **json.loads(run.data.tags[TAGS[slot]]),
        "digest": mlflow_copy.copy_digest(data),
        "size": len(data),
    }
    client.set_tag(run.info.run_id, TAGS[slot], json.dumps(tag))
    return run.info.run_id


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (gzip.compress(b"no database " * 100), "it: file is not a database"),
        pytest.param(gzip.compress(b"x" * 999)[:-9], "it is cut short", marks=pytest.mark.slow),
        pytest.param(b"no gzip", "incorrect header check", marks=pytest.mark.slow),
        (gzip.compress(bytes(70 << 20)), "bytes unpack to more than 64 MiB"),
    ],
    ids=["no database", "cut short", "no gzip", "too large"],  # compressed data has a time in it
)
def test_a_copy_with_a_right_digest_that_is_no_ledger_is_passed_over_and_named(
    ledger, make, store_uri, copied, tmp_path, data, said
):
    ledger.set_study_note(make.name, "a", 1)
    copied()
    run_id = spoil(store_uri, 1, data)
    found = choose_copy(store_uri, make.name)
    done, tag, (wrong,) = restore_copy(store_uri, found, tmp_path / "new.sqlite")
    assert (done.trials, tag.generation) == (3, 1)
    assert wrong.startswith(
        f"copy 2, ledger/copy-1.sqlite.gz of run {run_id}, is not whole: the copy is damaged"
    )
    assert said in wrong
    assert "/tmp" not in wrong
    spoil(store_uri, 0, data)
    with pytest.raises(EnvironmentProblem, match=f"copy 1, ledger/copy-0.sqlite.gz of run {run_id}"):
        restore_copy(store_uri, choose_copy(store_uri, make.name), tmp_path / "other.sqlite")
    assert not (tmp_path / "other.sqlite").exists()


def test_what_a_copy_may_unpack_to_is_bounded_whatever_its_size(monkeypatch, tmp_path):
    monkeypatch.setattr(ledger_copy, "LARGEST", 1 << 20)
    with pytest.raises(LedgerError, match="unpack to more than 1 MiB"):
        restore(gzip.compress(bytes(4 << 20)), tmp_path / "new.sqlite")


@pytest.mark.parametrize(
    "changed",
    [{"generation": float("inf")}, {"size": -1}, {"copied_ns": 10**400}, {"generation": float("nan")}],
)
def test_a_tag_with_impossible_numbers_is_none(changed):
    tag = CopyTag(1, "d", 2, "c", 3)
    assert CopyTag.read(tag.text()) == tag
    assert (
        CopyTag.read(json.dumps({**json.loads(tag.text()), **changed}).replace("Infinity", "1e400")) is None
    )
    assert CopyTag.read("[" * 4000) is None


def test_a_copy_of_another_study_of_that_identity_is_refused(ledger, make, store_uri, copied, tmp_path):
    found = replace(choose_copy(store_uri, make.name), study="other")
    with pytest.raises(StudyError, match=r"the copy is of study 'chat', identity .* not of 'other'"):
        restore_copy(store_uri, found, tmp_path / "new.sqlite")
    assert not (tmp_path / "new.sqlite").exists()


# -- and back -----------------------------------------------------------------------------------------


def test_a_store_that_has_more_or_another_study_of_the_name_is_refused(ledger, make, copied, tmp_path):
    data = StudyCopier(make.name).copy(ledger)
    new = tmp_path / "new.sqlite"
    assert not restore(data, new).there
    assert restore(data, new).there, "the same again changes nothing"
    with Ledger.open(new) as there:
        there.finish_attempt(make.name, 2, 1, make.measured(1.0, 2), state=TrialState.COMPLETED)
    before = new.read_bytes()
    with pytest.raises(StudyError, match="that the copy would overwrite: 3 trials, 3 results"):
        restore(data, new)
    assert new.read_bytes() == before
    other = tmp_path / "other.sqlite"
    with Ledger.open(other) as there:
        there.create_study(make.name, spec=make.spec, fingerprint="f1", seed=7, engine="gp 1")
    with pytest.raises(StudyError, match="would overwrite: 0 trials, 0 results, identity"):
        restore(data, other)


def test_an_older_state_and_other_studies_in_the_store_are_no_hindrance(ledger, make, copied, tmp_path):
    new = tmp_path / "new.sqlite"
    with Ledger.open(new) as there:
        there.create_study("theirs", spec=make.spec, fingerprint="f2", seed=1, engine="gp 1")
    restore(StudyCopier(make.name).copy(ledger), new)
    ledger.finish_attempt(make.name, 2, 1, make.measured(1.0, 2), state=TrialState.COMPLETED)
    assert not restore(StudyCopier(make.name).copy(ledger), new).there
    assert rows(new)["attempt"] == rows(ledger.path)["attempt"]
    with Ledger.open(new, read_only=True) as there:
        assert [row.name for row in there.studies()] == [make.name, "theirs"]


def test_a_study_that_is_being_run_is_not_overwritten(ledger, make, tmp_path):
    make.create(ledger)
    data = StudyCopier(make.name).copy(ledger)
    new = tmp_path / "new.sqlite"
    with Ledger.open(new) as there, there.lock_study(make.name), ThreadPoolExecutor() as elsewhere:
        with pytest.raises(StudyError, match="is already running"):
            elsewhere.submit(restore, data, new).result()
        assert there.studies() == []


def test_no_ledger_and_no_copy_of_a_newer_version(ledger, make, tmp_path):
    with pytest.raises(LedgerError, match="the copy is damaged"):
        restore(b"no ledger", tmp_path / "new.sqlite")
    make.create(ledger)
    content = tmp_path / "raw.sqlite"
    content.write_bytes(gzip.decompress(StudyCopier(make.name).copy(ledger)))
    with sqlite3.connect(content) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(LedgerError, match="schema 99 of a newer autotune"):
        restore(gzip.compress(content.read_bytes()), tmp_path / "new.sqlite")
    assert not (tmp_path / "new.sqlite").exists()


def test_which_study_is_meant(ledger, make, store_uri, copied, tmp_path):
    found = choose_copy(store_uri, None)
    uid = ledger.study(make.name).uid
    assert (found.study, found.uid, found.experiment) == (make.name, uid, "team")
    assert choose_copy(store_uri, uid) == choose_copy(store_uri, make.name, "team") == found
    with pytest.raises(StudyError, match="has no copy of a study 'chatt'; it has: chat") as error:
        choose_copy(store_uri, "chatt")
    assert "did you mean 'chat'" in error.value.hint
    with pytest.raises(StudyError, match="experiment 'mine', has no copy"):
        choose_copy(store_uri, None, "mine")
    with Ledger.open(tmp_path / "second.db") as second:
        second.create_study(make.name, spec=make.spec, fingerprint="f1", seed=7, engine="gp 1")
        sync(second.path, make.name, tracking_uri=store_uri, experiment="team", copy=True)
        with pytest.raises(StudyError, match="copies of several studies 'chat': chat"):
            choose_copy(store_uri, make.name)
        assert choose_copy(store_uri, uid) == found


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_server_keeps_copies_and_gives_them_back(ledger, make, tmp_path, start_server):
    make.create(ledger)
    make.add_three(ledger)
    port = make.free_port()
    argv = make.server_argv(f"sqlite:///{tmp_path}/server.db", port, tmp_path)
    uri = start_server(argv, tmp_path, port).wait(300).uri
    for note in (1, 2, 3):
        ledger.set_study_note(make.name, "a", note)
        sync(ledger.path, make.name, tracking_uri=uri, experiment="team", copy=True)
    assert generations(uri) == [3, 2]
    assert artifacts(uri) == ["ledger/copy-0.sqlite.gz", "ledger/copy-1.sqlite.gz"]
    done, tag, wrong = restore_copy(uri, choose_copy(uri, make.name), tmp_path / "new.sqlite")
    assert (done.trials, tag.generation, wrong) == (3, 3, [])
    assert rows(tmp_path / "new.sqlite")["attempt"] == rows(ledger.path)["attempt"]


def test_the_mirror_goes_on_in_the_same_runs_and_the_lost_machine_does_not(
    ledger, make, store_uri, copied, tmp_path
):
    """Trials 2 to 4 ended after the copy, and were mirrored; 3 is proposed again with another value."""
    ledger.finish_attempt(make.name, 2, 1, make.measured(200.0, 2), state=TrialState.COMPLETED)
    for number in (3, 4):
        make.run_trial(
            ledger, number, make.suggestion(number), make.measured(1.0, number), TrialState.COMPLETED
        )
    sync(ledger.path, make.name, tracking_uri=store_uri, experiment="team")  # runs alone: no copy
    client, parent = run_of(store_uri)
    new = tmp_path / "new" / "ledger.sqlite"
    restore_copy(store_uri, choose_copy(store_uri, make.name), new)
    with Ledger.open(new) as restored, restored.lock_study(make.name):
        assert restored.trial(make.name, 2).state is TrialState.RUNNING
        restored.requeue(make.name, 2)
        attempt = restored.start_attempt(make.name, 2, "local")
        restored.finish_attempt(make.name, 2, attempt, make.measured(201.0, 2), state=TrialState.COMPLETED)
        make.run_trial(restored, 3, make.suggestion(9), make.measured(2.0, 3), TrialState.COMPLETED)
        restored.set_study_state(make.name, "COMPLETED")
        sync(new, make.name, tracking_uri=store_uri, experiment="team", copy=True)
        assert sync(new, make.name, tracking_uri=store_uri, experiment="team", copy=True) == 0
    runs = client.search_runs([parent.info.experiment_id], max_results=1000)
    trials = {run.data.tags["autotune.trial"]: run for run in runs if "autotune.trial" in run.data.tags}
    assert len(runs) == len(trials) + 1 == 5, "none twice, none of trial 4"
    assert run_of(store_uri)[1].info.run_id == parent.info.run_id
    assert trials["2"].data.metrics["throughput"] == 201.0
    assert trials["3"].data.params["batch_size"] == "9"
    assert generations(store_uri) == [1, 2]
    ledger.set_study_note(make.name, "a", 1)
    with pytest.raises(EnvironmentProblem, match=r"a newer copy of study 'chat' \(number 2, ours is 1\)"):
        copied()
    assert generations(store_uri) == [1, 2], "the state that goes on is not overwritten"

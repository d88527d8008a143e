"""What the runs of a study say at a glance: marks, names, searches, the registered winner, its files."""

import base64
import json
import math
import re
import zlib
from collections import Counter
from pathlib import Path

import pytest

from autotune import Space
from autotune.core.file_names import LEDGER_NAME
from autotune.core.measurement import Cause, Estimate
from autotune.core.trial import Reason, TrialState
from autotune.ledger import Ledger
from autotune.study.study import Study
from autotune.tracking.items import DEPLOYMENT
from autotune.tracking.mlflow import run_link, sync
from autotune.tracking.mlflow_session import artifact_place, mlflow_version
from autotune.tracking.mlflow_view import FILTERS, LINK, VIEW_TAG, view_key

pytestmark = [
    pytest.mark.usefixtures("environment_restored"),
    pytest.mark.timeout(240),
    pytest.mark.filterwarnings("default"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
DONE = TrialState.COMPLETED
CALLS = (
    "create_run", "log_batch", "log_text", "set_tag", "get_run", "update_run", "set_terminated",
    "set_experiment_tag", "search_runs", "log_artifact",
)  # fmt: skip


def complete(ledger, make, uri, **more):
    return sync(ledger.path, make.name, tracking_uri=uri, experiment="team", **more)


def client_of(uri):
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    return client, client.get_experiment_by_name("team")


def search(uri, text=""):
    client, experiment = client_of(uri)
    runs = client.search_runs([experiment.experiment_id], text, max_results=1000)
    return {run.info.run_name: run for run in runs}


def parent_of(uri):
    return search(uri)["chat"]


def end(ledger, make, **note):
    """End a study whose trial 1 wins, and say how it is deployed."""
    ledger.set_study_note(make.name, DEPLOYMENT, {"trial": 1, "line": "serve --batch-size 2"} | note)
    ledger.set_study_state(make.name, "COMPLETED")


def test_names_marks_and_every_documented_search(ledger, make, store_uri, tmp_path):
    make.fill(ledger, tmp_path)
    confirmed = make.suggestion(2, reason=Reason.CONFIRM)
    make.run_trial(ledger, 7, confirmed, make.measured(148.0, 7), DONE)
    complete(ledger, make, store_uri)
    assert set(search(store_uri)) == {
        "chat", "trial-0000 default", "trial-0001 best", "trial-0002 out of memory default",
        "trial-0003 worker lost default", "trial-0004 over limit default", "trial-0005 default",
        "trial-0007 confirmation",
    }  # fmt: skip
    found = {text: {int(name[6:10]) for name in search(store_uri, query)} for text, query in FILTERS.items()}
    assert found == {
        "measured, keeps every limit": {0, 1, 7},
        "breaks a limit": {4},
        "failed": {2, 3},
        "failed by running out of memory": {2},
        "the best": {1},
        "the Pareto front": {1},
        "confirmations": {7},
    }
    client, experiment = client_of(store_uri)
    order = client.search_runs([experiment.experiment_id], order_by=["tags.`autotune.best` DESC"])
    assert order[0].info.run_name == "trial-0001 best"


def test_the_documentation_has_every_search():
    page = (Path(__file__).parents[2] / "docs" / "mlflow.md").read_text(encoding="utf-8")
    assert [query for query in FILTERS.values() if query not in page] == []


def test_the_mark_moves_with_the_best(ledger, make, store_uri):
    make.create(ledger)
    make.run_trial(ledger, 0, make.suggestion(), make.measured(100.0), DONE)
    complete(ledger, make, store_uri)
    assert set(search(store_uri, FILTERS["the best"])) == {"trial-0000 best"}
    make.run_trial(ledger, 1, make.suggestion(2, reason=Reason.EXPLOIT), make.measured(150.0, 1), DONE)
    complete(ledger, make, store_uri)
    assert set(search(store_uri, FILTERS["the best"])) == {"trial-0001 best"}
    assert "trial-0000 default" in search(store_uri)


def test_the_pareto_front_of_two_goals_is_marked(ledger, make, store_uri):
    make.create(ledger)
    goals = {"maximize": "throughput", "minimize": "latency.p99"}
    ledger.set_study_spec(make.name, {**make.spec, "objective": goals})
    for number, (speed, latency) in enumerate([(100.0, 0.1), (150.0, 0.2), (140.0, 0.3)]):
        reason = Reason.DEFAULT if number == 0 else Reason.EXPLORE
        result = make.measured(speed, number, latency=latency)
        make.run_trial(ledger, number, make.suggestion(2**number, reason=reason), result, DONE)
    complete(ledger, make, store_uri)
    numbers = {name[:10] for name in search(store_uri, FILTERS["the Pareto front"])}
    assert numbers == {"trial-0000", "trial-0001"}


def test_a_confirmation_is_no_jump_and_the_default_is_a_series_of_its_own(ledger, make, store_uri):
    make.create(ledger)
    make.run_trial(ledger, 0, make.suggestion(), make.measured(100.0), DONE)
    make.run_trial(ledger, 1, make.suggestion(2, reason=Reason.EXPLOIT), make.measured(150.0, 1), DONE)
    make.run_trial(ledger, 2, make.suggestion(reason=Reason.WATCH), make.measured(90.0, 2), DONE)
    make.run_trial(ledger, 3, make.suggestion(2, reason=Reason.CONFIRM), make.measured(120.0, 3), DONE)
    make.run_trial(ledger, 4, make.suggestion(reason=Reason.CONFIRM), make.measured(95.0, 4), DONE)
    complete(ledger, make, store_uri)
    client, _ = client_of(store_uri)
    run = parent_of(store_uri).info.run_id
    series = {
        name: [(m.step, m.value) for m in client.get_metric_history(run, f"{name}.throughput")]
        for name in ("best", "default")
    }
    assert series == {"best": [(0, 100.0), (1, 150.0)], "default": [(0, 100.0), (2, 90.0), (4, 95.0)]}


def test_the_view_has_the_goal_and_the_parameters_first_and_the_description_units(
    ledger, make, store_uri, tmp_path
):
    make.fill(ledger, tmp_path)
    complete(ledger, make, store_uri)
    client, experiment = client_of(store_uri)
    uid = ledger.study(make.name).uid
    packed = experiment.tags[VIEW_TAG + view_key(uid)]
    assert len(packed) < 5000
    view = json.loads(zlib.decompress(base64.b64decode(packed.removeprefix("deflate;"))))
    assert view["selectedColumns"][:4] == [
        "metrics.`throughput`", "metrics.`latency.p99`", "params.`batch_size`", "params.`half`",
    ]  # fmt: skip
    assert client.search_runs([experiment.experiment_id], view["searchFilter"])
    note = experiment.tags["mlflow.note.content"]
    address = run_link("", experiment.experiment_id, uid, "3.17.2")
    assert address == (
        f"/#/experiments/{experiment.experiment_id}/runs?workflowType=machine_learning"
        f"&compareRunsMode=CHART&viewStateShareKey=autotune-{uid}"
    )
    assert run_link("", "1", uid, "3.0.1").startswith("/#/experiments/1?")
    served = run_link("", experiment.experiment_id, uid, mlflow_version())  # the one whose UI opens the store
    assert note.startswith(f"{LINK}{served[1:]})\n\n```text\n")
    assert "  throughput (in tokens/s)\n  latency.p99 (in s)\n" in note

    client.set_experiment_tag(experiment.experiment_id, "mlflow.note.content", "my own words")
    client.set_experiment_tag(experiment.experiment_id, "mlflow.experimentKind", "genai_development")
    make.run_trial(ledger, 7, make.suggestion(128), make.measured(1.0, 7), DONE)
    complete(ledger, make, store_uri)
    tags = client_of(store_uri)[1].tags
    assert tags["mlflow.note.content"] == "my own words"
    assert tags["mlflow.experimentKind"] == "genai_development"


def test_the_winner_is_registered_once_and_with_what_deploys_it(ledger, make, store_uri, tmp_path):
    make.fill(ledger, tmp_path)
    complete(ledger, make, store_uri)
    client, _ = client_of(store_uri)
    assert not client.search_registered_models(), "nothing is decided while the study runs"
    end(ledger, make, request={"model": "m"}, files={"/etc/conf.yaml": "a: 1\n"})
    complete(ledger, make, store_uri)
    complete(ledger, make, store_uri)
    (version,) = client.search_model_versions("name = 'autotune-chat'")
    parent = parent_of(store_uri)
    assert version.run_id == parent.info.run_id
    assert version.source == f"{parent.info.artifact_uri}/deployment"
    assert "serve --batch-size 2" in version.description
    assert client.get_model_version_by_alias("autotune-chat", "recommended").version == version.version
    names = {
        file.path for file in artifact_place(client, store_uri, version.run_id).list_artifacts("deployment")
    }
    assert names == {f"deployment/{n}" for n in ("conf.yaml", "deploy.sh", "deployment.json", "request.json")}
    assert "Deploy:\n  serve --batch-size 2\n" in parent.data.tags["mlflow.note.content"]

    make.run_trial(ledger, 7, make.suggestion(3), make.measured(200.0, 7), DONE)
    end(ledger, make, trial=7, line="serve --batch-size 3")
    complete(ledger, make, store_uri)
    assert len(client.search_model_versions("name = 'autotune-chat'")) == 2
    assert client.get_model_version_by_alias("autotune-chat", "recommended").tags["autotune.trial"] == "7"


def test_studies_of_one_name_in_two_ledgers_have_an_alias_each(ledger, make, store_uri, tmp_path):
    make.fill(ledger, tmp_path)
    end(ledger, make)
    complete(ledger, make, store_uri)
    client, _ = client_of(store_uri)
    first = client.get_model_version_by_alias("autotune-chat", "recommended").version
    with Ledger.open(tmp_path / "other.db") as other, other.lock_study(make.name):
        make.fill(other, tmp_path)
        end(other, make)
        complete(other, make, store_uri)
        uid = other.study(make.name).uid
    assert client.get_model_version_by_alias("autotune-chat", "recommended").version == first
    own = client.get_model_version_by_alias("autotune-chat", f"recommended-{uid[:8]}")
    assert own.version != first
    assert own.tags["autotune.study_uid"] == uid


def test_a_store_that_refuses_the_registry_costs_the_entry_only(
    ledger, make, store_uri, tmp_path, monkeypatch
):
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    def refuse(*_args, **_more):
        raise MlflowException("no registry here")

    monkeypatch.setattr(MlflowClient, "get_registered_model", refuse)
    make.fill(ledger, tmp_path)
    end(ledger, make)
    assert complete(ledger, make, store_uri) == 7
    assert complete(ledger, make, store_uri) == 0


def test_files_are_uploaded_once_unharmed_and_again_when_they_change(ledger, make, store_uri, tmp_path):
    make.fill(ledger, tmp_path)
    report = tmp_path / "report.html"
    page = '<script>throw "font token: " + unknown_token</script> hf_abcdefghijklmnopqrstuvwx'
    report.write_text(page, encoding="utf-8")
    files = {"report.html": report, "plots/gone.html": tmp_path / "gone.html"}
    complete(ledger, make, store_uri, files=files)
    client, _ = client_of(store_uri)
    run_id = parent_of(store_uri).info.run_id

    def read():
        (tmp_path / "down").mkdir(exist_ok=True)
        place = artifact_place(client, store_uri, run_id)
        return Path(place.download_artifacts("report.html", str(tmp_path / "down"))).read_text()

    assert not [f for f in client.list_artifacts(run_id) if f.path == "report.html"], "the study is running"
    end(ledger, make)
    complete(ledger, make, store_uri, files=files)
    assert read() == page.replace("hf_abcdefghijklmnopqrstuvwx", "[redacted]")
    report.write_text("another", encoding="utf-8")
    complete(ledger, make, store_uri, files=files)
    assert read() == "another"


@pytest.mark.slow
def test_ui_of_a_study_on_a_server_is_the_link_alone(
    ledger, make, tmp_path, empty_store, start_server, capsys
):
    from autotune.cli import main

    (tmp_path / "server.db").write_bytes(empty_store.read_bytes())
    port = make.free_port()
    server = start_server(make.server_argv(f"sqlite:///{tmp_path}/server.db", port, tmp_path), tmp_path, port)
    folder = tmp_path / "runs"
    folder.mkdir()
    with Ledger.open(folder / LEDGER_NAME) as other:
        make.create(other)
        spec = {**make.spec, "tracking": {"mlflow": server.uri, "experiment": "team"}}
        other.set_study_spec(make.name, spec)
        uid = other.study(make.name).uid
    server.wait()
    sync(folder / LEDGER_NAME, make.name, tracking_uri=server.uri, experiment="team")
    assert main(["ui", make.name, "--store", str(folder), "--no-open"]) == 0
    assert re.fullmatch(
        rf"{server.uri}/#/experiments/\d+/runs\?\S+&viewStateShareKey=autotune-{uid}\n",
        capsys.readouterr().out,
    )


def test_calls_for_a_trial_do_not_grow_with_the_study(ledger, make, store_uri, monkeypatch):
    from mlflow import MlflowClient

    from autotune.tracking.mlflow_session import Session

    calls = Counter()

    def count(name, real):
        def counted(self, *args, **more):
            calls[name] += 1
            return real(self, *args, **more)

        monkeypatch.setattr(MlflowClient, name, counted)

    for name in CALLS:
        count(name, getattr(MlflowClient, name))
    make.create(ledger)
    session = Session(ledger, make.name, store_uri, "team", stop=lambda: False)
    used = []
    for number in range(7):
        reason = Reason.DEFAULT if number == 0 else Reason.EXPLORE
        result = make.measured(100.0 - number, number)
        make.run_trial(ledger, number, make.suggestion(number + 1, reason=reason), result, DONE)
        session.write_changes()
        used.append(calls.total())
        calls.clear()
    assert used[2] == used[4] == used[5] == used[6], "but for the passes that also write the view"
    assert used[6] <= 11


def test_what_is_the_nearest_only_is_neither_registered_nor_called_best(store_uri, tmp_path):
    space = Space.from_dict({"parameters": {"n": {"type": "int", "low": 1, "high": 9}}})
    objective = {"maximize": "throughput", "limits": ["latency <= 500 ms"]}
    path = tmp_path / "nearest.db"
    with Study(space, objective, engine="random", name="chat", path=path) as study:
        for n, latency in ((1, 0.62), (2, 0.48), (3, 0.7)):
            metrics = {
                "throughput": Estimate(100.0 * n, 1.0, 30),
                "latency": Estimate(latency, 0.01, 30, "s"),
            }
            study.add({"n": n}, metrics)
        study.keep_predictions()
        study.ledger.set_study_note("chat", DEPLOYMENT, {"trial": 1, "line": "serve --n 2"})
        study.ledger.set_study_state("chat", "COMPLETED")
    sync(path, "chat", tracking_uri=store_uri, experiment="team")
    client, _ = client_of(store_uri)
    assert "trial-0001 nearest" in search(store_uri)
    assert set(search(store_uri, "tags.`autotune.best` = 'nearest'")) == {"trial-0001 nearest"}
    assert not search(store_uri, "tags.`autotune.best` = 'true'")
    parent = parent_of(store_uri)
    assert parent.data.tags["autotune.recommended"] == "false"
    assert "Nearest: trial 1" in parent.data.tags["mlflow.note.content"]
    assert not client.search_registered_models()


RELATIVE = {"maximize": "throughput", "limits": ["latency.p99 <= 1.5 x default"]}


@pytest.mark.parametrize("database", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_best_is_taken_back_while_a_limit_cannot_be_judged(ledger, make, store_uri, tmp_path, database):
    uri = store_uri if database else (tmp_path / "mlruns").as_uri()
    free = {**make.spec, "objective": {"maximize": "throughput"}}
    make.create(ledger)
    ledger.set_study_spec(make.name, free)
    lost = make.failed(Cause.OUT_OF_MEMORY, "it did not fit")
    make.run_trial(ledger, 0, make.suggestion(), lost, TrialState.INFEASIBLE)
    for number in (1, 2):
        later = make.suggestion(4 - number, reason=Reason.EXPLORE)
        make.run_trial(ledger, number, later, make.measured(100.0 / number, number), DONE)
    end(ledger, make, files={"/etc/conf.yaml": "a: 1\n"})
    for objective, there in ((free["objective"], True), (RELATIVE, False), (free["objective"], True)):
        ledger.set_study_spec(make.name, {**make.spec, "objective": objective})
        complete(ledger, make, uri)
        client, _ = client_of(uri)
        parent = parent_of(uri)
        tags, note = parent.data.tags, parent.data.tags["mlflow.note.content"]
        assert tags["autotune.recommended"] == ("true" if there else "false")
        assert tags["autotune.best_trial"] == ("1" if there else "")
        assert bool(tags["autotune.best_config"]) == there
        assert math.isnan(parent.data.metrics["best.throughput"]) != there
        assert ("Deploy:" in note, "Best: trial 1" in note) == (there, there)
        assert ("with latency.p99 <= 1.5 x default" in note) != there
        place = artifact_place(client, uri, parent.info.run_id)
        files = {file.path for of in (None, DEPLOYMENT) for file in place.list_artifacts(of)}
        assert {"best.json" in files, "deployment/deploy.sh" in files, "deployment/conf.yaml" in files} == {
            there
        }
        assert bool(client.get_registered_model("autotune-chat").aliases) == there
        assert len(search(uri, "tags.`autotune.best` = 'true'")) == there
        assert ("trial-0001 best" in search(uri)) == there
        assert len(search(uri, "tags.`autotune.feasible` = 'unknown'")) == (0 if there else 2)
    assert complete(ledger, make, uri) == 0


def test_no_best_is_told_before_the_default_is_measured_and_all_is_right_after(ledger, make, store_uri):
    from autotune.tracking.mlflow_session import Session

    make.create(ledger)
    ledger.set_study_spec(make.name, {**make.spec, "objective": RELATIVE})
    ledger.add_trial(make.name, 0, make.suggestion())
    attempt = ledger.start_attempt(make.name, 0, "local")
    session = Session(ledger, make.name, store_uri, "team", stop=lambda: False)
    for number, latency in ((1, 0.1), (2, 0.9)):
        later = make.suggestion(number + 1, reason=Reason.EXPLORE)
        make.run_trial(ledger, number, later, make.measured(100.0 * number, number, latency), DONE)
        session.write_changes()
    parent = parent_of(store_uri)
    assert parent.data.params["objective"] == "maximize throughput with latency.p99 <= 1.5 x default"
    assert parent.data.tags["autotune.best_trial"] == ""
    assert "best.throughput" not in parent.data.metrics
    trials = search(store_uri, "tags.`autotune.feasible` = 'unknown'")
    assert set(trials) == {"trial-0001", "trial-0002"}
    assert "not judged: latency.p99" in trials["trial-0001"].data.tags["mlflow.note.content"]
    ledger.finish_attempt(make.name, 0, attempt, make.measured(50.0, 0, 0.1), state=DONE, node="gpu-1")
    session.write_changes()
    assert set(search(store_uri, "tags.`autotune.feasible` = 'true'")) == {
        "trial-0000 default", "trial-0001 best",
    }  # fmt: skip
    assert search(store_uri)["trial-0002 over limit"].info.status == "FAILED"
    parent = parent_of(store_uri)
    assert parent.data.tags["autotune.best_trial"] == "1"
    history = session.client.get_metric_history(parent.info.run_id, "best.throughput")
    assert [(m.step, m.value) for m in history] == [(0, 50.0), (1, 100.0), (2, 100.0)]
    assert session.write_changes() == 0

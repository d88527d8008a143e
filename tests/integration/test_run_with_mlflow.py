"""`autotune run` beside a real MLflow: there, away, and killed in the middle."""

import shutil
import subprocess
import sys
import time

import pytest

from autotune.ledger import Ledger
from tests_mlflow_server import Server

pytestmark = [pytest.mark.timeout(280), pytest.mark.filterwarnings("default")]


def runs_of(uri, name="toy"):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(name)
    return client.search_runs([experiment.experiment_id], max_results=1000)


@pytest.mark.slow
@pytest.mark.usefixtures("with_report")
def test_every_trial_is_a_nested_run_and_a_killed_study_doubles_none(
    tmp_path, toy_study, autotune_command, empty_store
):
    toy_study(tracking="{mlflow: 'sqlite:///mlflow.db'}", budget="{trials: 3, confirm: 1}")
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with subprocess.Popen(
        [sys.executable, "-m", "autotune", "run", "toy.yaml", "--local"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        for line in process.stdout:
            if line.startswith("trial 2 started"):
                break
        process.kill()
    autotune_command("run", "toy.yaml", "--local")
    runs = runs_of(uri)
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert len(parents) == 1
    assert parents[0].info.status == "FINISHED"
    assert len(runs) == 1 + 5
    with Ledger.open(tmp_path / "autotune-runs" / "ledger.sqlite", read_only=True) as ledger:
        for trial in ledger.trials("toy"):
            (run,) = [r for r in runs if r.data.tags.get("autotune.trial") == str(trial.number)]
            assert run.data.tags["mlflow.parentRunId"] == parents[0].info.run_id
            assert run.data.params == {name: str(value) for name, value in trial.config.items()}
            goal = trial.metrics["output_throughput"]
            assert run.data.metrics["output_throughput"] == pytest.approx(goal.value)
            assert "output_throughput.sem" not in run.data.metrics
            assert run.data.tags["autotune.reason"] == trial.suggestion.reason.value
    assert autotune_command("sync").stdout == "toy: complete\n"


@pytest.mark.slow
def test_mlflow_away_costs_the_study_nothing_and_sync_completes_it(
    tmp_path, toy_study, autotune_command, empty_store
):
    (folder := tmp_path / "remote").mkdir()
    server = Server(folder, empty_store)
    toy_study(tracking=f"{{mlflow: '{server.uri}'}}", budget="{trials: 3, confirm: 0}")
    began = time.monotonic()
    done = autotune_command("run", "toy.yaml", "--local")
    assert time.monotonic() - began < 200  # MLflow's own tries take 246 s of one call
    assert "`autotune sync toy` completes them" in done.stdout
    refused = autotune_command("sync", check=False)
    assert refused.returncode == 3
    assert server.uri.removeprefix("http://") in refused.stderr
    server.start()
    try:
        autotune_command("sync")
        assert len(server.runs("toy")) == 1 + 3
        assert autotune_command("sync").stdout == "toy: complete\n"
        assert len(server.runs("toy")) == 1 + 3
    finally:
        server.kill()


@pytest.mark.slow
def test_a_store_that_cannot_be_opened_is_told_once_with_what_to_do(tmp_path, toy_study, autotune_command):
    toy_study(tracking="{mlflow: 'sqlite:///mlflow.db'}", budget="{trials: 2, confirm: 0}")
    (tmp_path / "mlflow.db").write_text("no database, but long enough to be taken for one " * 50)
    done = autotune_command("run", "toy.yaml", "--local")
    assert done.stderr.count("\n") == 1
    assert "mlflow.db cannot be read: file is not a database; if it is damaged, move it away" in done.stderr
    assert "`autotune sync toy` completes them" in done.stdout
    for command in ("sync", "ui"):
        refused = autotune_command(command, check=False)
        assert refused.returncode == 3
        assert "move it away: `autotune sync` writes every study" in refused.stderr
        assert "Traceback" not in refused.stderr
    (tmp_path / "mlflow.db").rename(tmp_path / "moved.db")
    assert autotune_command("sync").stdout == "toy: 3 written\n"
    assert len(runs_of(f"sqlite:///{tmp_path}/mlflow.db")) == 1 + 2

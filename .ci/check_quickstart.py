"""Check what the quickstart left: trials in the ledger, runs in MLflow, a winner that beats the default."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

from mlflow.tracking import MlflowClient

from autotune.core.decision import PREDICTIONS, Decision, restored
from autotune.core.objective import Objective
from autotune.core.space import Space
from autotune.core.trial import Reason, TrialState, config_key
from autotune.core.verdict import verdict
from autotune.ledger import Ledger
from autotune.tracking.items import MEASUREMENT


def main(folder: Path) -> None:
    """Raise AssertionError for whatever is not as it should be."""
    with Ledger.open(folder / "autotune-runs" / "ledger.sqlite", read_only=True) as ledger:
        row = ledger.study("quickstart")
        assert row is not None, "the ledger has no study 'quickstart'"
        trials = ledger.trials("quickstart")
    assert row.state == "COMPLETED", row.state
    space, objective = Space.from_dict(row.spec["space"]), Objective.from_dict(row.spec["objective"])
    reasons = Counter(trial.suggestion.reason for trial in trials)
    searched = [t for t in trials if t.suggestion.reason.of_search]
    assert len(searched) == row.spec["budget"]["trials"], reasons
    assert reasons[Reason.WATCH] <= 1, reasons  # every tenth trial, if the default gave a measurement
    assert 4 <= reasons[Reason.CONFIRM] <= 8, reasons  # others follow where the first falls short
    own = (Reason.REMEASURE, Reason.CONFIRM)
    doubtful = [
        t
        for t in trials
        if t.doubt and t.suggestion.reason not in own and not objective.surely_broken(t.metrics)
    ]
    assert reasons[Reason.REMEASURE] == len(doubtful), reasons  # each once, on a machine that others use
    assert all(trial.state.finished for trial in trials)
    lost = [t.number for t in trials if t.state is TrialState.FAILED]
    assert len(lost) <= 2, f"a busy machine may spoil a measurement three times, but not of trials {lost}"
    assert len({config_key(t.config) for t in searched}) == len(searched), "a configuration was tried twice"
    assert any(t.suggestion.reason in (Reason.EXPLOIT, Reason.EXPLORE) for t in trials), reasons

    known = restored(row.notes[PREDICTIONS], trials, objective)
    default = config_key(space.default_config)
    decision = Decision(trials, objective, default, confirm=2, predictions=known)
    found = verdict(decision)
    assert found.kind == "better", found.text
    assert decision.winner is not None
    assert decision.winner.chance >= objective.confidence, decision.winner

    client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("quickstart")
    assert experiment is not None, "MLflow has no experiment 'quickstart'"
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert len(parents) == 1, [run.info.run_name for run in parents]
    nested = {run.data.tags["autotune.trial"]: run for run in runs if run not in parents}
    assert len(nested) == len(trials), sorted(nested)
    for trial in trials:
        run = nested[str(trial.number)]
        assert run.data.tags["mlflow.parentRunId"] == parents[0].info.run_id
        assert run.data.params == {name: str(value) for name, value in trial.config.items()}
        whole = json.loads(Path(client.download_artifacts(run.info.run_id, MEASUREMENT)).read_text())
        for name, estimate in trial.metrics.items():
            assert whole[name]["value"] == estimate.value, name
        shown = run.data.metrics
        assert set(objective.metrics) & set(trial.metrics) <= set(shown), sorted(shown)
        for name in set(shown) & set(trial.metrics):
            value = trial.metrics[name].value
            assert abs(shown[name] - value) <= 1e-9 * abs(value), name
    print(f"quickstart: {len(trials)} trials in the ledger and in MLflow; {found.text}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

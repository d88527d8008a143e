"""What a run of Ray Tune and its searcher keep on disk, as plain data: nothing in it is unpickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ray.tune.utils import flatten_dict

from autotune.core.measurement import Measurement
from autotune.core.trial import Suggestion, Trial, TrialState
from autotune.integrations.ray_tune_space import Tree
from autotune.study.study import Study

_STATES = "experiment_state-*.json"  # TuneController.CKPT_FILE_TMPL


@dataclass(frozen=True)
class TuneTrial:
    """A trial as Tune saved it.

    Args:
        id: Its id.
        config: Its configuration, nested.
        status: ``PENDING``, ``RUNNING``, ``PAUSED``, ``TERMINATED`` or ``ERROR``.
        result: Its last report, flat.
    """

    id: str
    config: dict[str, Tree]
    status: str
    result: dict[str, Tree]

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.has_failed or self.status == "TERMINATED"

    @property
    def has_failed(self) -> bool:
        """Whether it ended with an error."""
        return self.status == "ERROR"


def read_trials(folder: str) -> list[TuneTrial]:
    """Return the trials of the newest state of a run; none where its folder has no state that can be read."""
    newest = max(Path(folder).glob(_STATES), default=None)
    if newest is None:
        return []
    found = []
    try:
        for state, metadata in json.loads(newest.read_text(encoding="utf-8"))["trial_data"]:
            trial, result = json.loads(state), json.loads(metadata).get("last_result") or {}
            found.append(TuneTrial(trial["trial_id"], trial["config"], trial["status"], flatten_dict(result)))
    except (ValueError, KeyError, TypeError):  # of a version of Tune that writes it otherwise
        return []
    return found


def record(trial: Trial) -> dict[str, Tree]:
    """Return a trial as plain data; see :func:`replay`."""
    measurement = None if trial.measurement is None else trial.measurement.to_dict()
    return {"suggestion": trial.suggestion.to_dict(), "state": trial.state.value, "measurement": measurement}


def replay(study: Study, saved: Mapping[str, Tree]) -> None:
    """Enter a trial of a saved state."""
    number = study.suggest(Suggestion.from_dict(saved["suggestion"])).number
    state = TrialState(saved["state"])
    if saved["measurement"] is not None:
        attempt = study.start_attempt(number, executor="caller")
        study.finish_attempt(number, attempt, Measurement.from_dict(saved["measurement"]), state=state)
    elif state is TrialState.ABANDONED:
        study.abandon(number)

"""What a run of Ray Tune and its searcher keep on disk, as plain data: nothing in it is unpickled."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from ray.tune.result import TRAINING_ITERATION
from ray.tune.utils import flatten_dict

from autotune.core.arguments import read_count
from autotune.core.kinds import By, Flag, Key
from autotune.core.measurement import LARGEST, Measurement
from autotune.core.objective import Limit
from autotune.core.plain_data import copy_plain, place_of, read_part, read_typed
from autotune.core.registry import shown
from autotune.core.section import Section, mapping, sequence
from autotune.core.trial import Suggestion, Trial, TrialState, Value
from autotune.engine.registry import deferred, read_engine
from autotune.errors import SpecError, under
from autotune.integrations.ray_tune_space import TuneSpace
from autotune.integrations.ray_tune_space_data import Tree, check_numbers
from autotune.study.study import Study, given_path, read_study_name

DIRECTIONS = {"max": "maximize", "min": "minimize"}
OBSERVED = "obs"

_STATES = "experiment_state-*.json"  # TuneController.CKPT_FILE_TMPL
_MEASURED = (TrialState.COMPLETED, TrialState.INFEASIBLE, TrialState.FAILED)


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


def check_goals(metric: object, mode: object) -> None:
    """Refuse what are no metrics with a mode each.

    Raises:
        SpecError: They are none; it names which of the two.
    """
    modes = [mode] if isinstance(mode, str) else mode
    if modes is not None and (
        not isinstance(modes, Sequence) or not all(m in (*DIRECTIONS, OBSERVED) for m in modes)
    ):
        raise SpecError(f"mode must be 'max' or 'min', or a list of these, found {mode!r}")
    if metric is None:
        return
    listed = [metric] if isinstance(metric, str) else metric
    if not isinstance(listed, Sequence) or not listed or not all(isinstance(m, str) and m for m in listed):
        raise SpecError(f"metric must be a name or a list of names, found {metric!r}")
    if modes is not None and (len(listed) != len(modes) or isinstance(metric, str) != isinstance(mode, str)):
        raise SpecError(f"each metric needs a mode of its own, found metric={metric!r}, mode={mode!r}")
    if modes is not None and all(m == OBSERVED for m in modes):
        raise SpecError(f"one metric at least must be 'max' or 'min', found mode={mode!r}")


def read_limits(limits: object, name: str = "limits") -> list[str]:
    """Return limits that can be read, as they are written.

    Raises:
        SpecError: One of them cannot; ``path`` is relative to them.
    """
    for i, text in enumerate(found := sequence(limits, f"{name} must be a list")):
        with under(i):
            Limit.parse(text)
    return list(found)


def read_path(path: object, name: str = "path") -> str | None:
    """Return the path of a ledger from the root; ``None`` for one in memory."""
    return None if path is None else os.path.abspath(given_path(path, name))  # type: ignore[arg-type]


def read_budget(budget: object, name: str = "budget") -> int | None:
    """Return a number of trials; ``None`` where none is planned."""
    return None if budget is None else read_count(budget, name, 1)


def _engine(engine: Tree, name: str) -> Tree:
    try:
        read_engine(deferred(engine))  # a module that it names is not run before it is asked
    except SpecError as error:
        error.path = error.path[1:]  # begins with its name
        raise
    return engine


def _as_given(goals: Tree, name: str) -> Tree:
    return goals  # which are judged together


def _name(study: object, name: str) -> str:
    return read_study_name(study)


def _space(data: object, name: str) -> TuneSpace | None:
    return None if data is None else TuneSpace.from_dict(mapping(data, name))


def _trials(data: object, name: str) -> list[dict[str, Tree]]:
    trials = sequence(data, f"{name} must be a list")
    for i, trial in enumerate(trials):
        with under(i):
            _check_trial(read_typed(trial, _Record, "a trial"))
    return list(trials)


@dataclass(frozen=True)
class _Record:
    """The entries that :func:`record` writes."""

    suggestion: Suggestion
    state: TrialState
    measurement: Measurement | None


def _check_trial(trial: _Record) -> None:
    """Refuse a trial whose parts contradict each other."""
    with under("suggestion", "config"):
        read_typed(trial.suggestion.config, Mapping[str, Value], "config")
    measured, is_one = trial.measurement, f"a trial that is {trial.state.value} cannot have"
    if (measured is not None) != (trial.state in _MEASURED):
        has = "no measurement" if measured is None else "a measurement"
        raise SpecError(f"{is_one} {has}", path=("measurement",))
    if measured is not None:
        with under("measurement"):
            if (measured.failure is None) != (trial.state is TrialState.COMPLETED):
                has = "no failure" if measured.failure is None else "a failure"
                raise SpecError(f"{is_one} {has}", path=("failure",))
            with under("facts", "plugins"):
                mapping(measured.facts.get("plugins", {}), "plugins")


def _numbers(data: object, name: str) -> dict[str, int]:
    return {id_: read_part(id_, read_count, number) for id_, number in mapping(data, name).items()}


def _curves(data: object, name: str) -> dict[str, dict[str, dict[str, float]]]:
    return {id_: read_part(id_, _curve, curve) for id_, curve in mapping(data, name).items()}


def _curve(data: object, name: str) -> dict[str, dict[str, float]]:
    curve = mapping(data, name)
    for at in curve:
        try:
            if math.isfinite(float(at)):
                continue
        except ValueError:
            pass
        raise SpecError(f"{name} must be a mapping of iterations to metrics, found {at!r}")
    return {at: read_part(at, _floats, goals) for at, goals in curve.items()}


def _stopped(data: object, name: str) -> dict[str, dict[str, float]]:
    found = {id_: read_part(id_, _floats, partial) for id_, partial in mapping(data, name).items()}
    for id_, partial in found.items():
        if TRAINING_ITERATION not in partial:
            raise SpecError(f"{id_} needs {TRAINING_ITERATION!r}, found {shown(partial)}", path=(id_,))
    return found


def _floats(data: object, name: str) -> dict[str, float]:
    found: dict[str, float] = read_typed(data, Mapping[str, float], name)
    # earlier versions kept numbers that no study takes, and with which nothing can be calculated
    return {key: number for key, number in found.items() if abs(number) <= LARGEST}


def _ended(data: object, name: str) -> list[str]:
    return [read_part(i, lambda id_, key: read_typed(id_, str, key), id_)
            for i, id_ in enumerate(sequence(data, f"{name} must be a list"))]  # fmt: skip


@dataclass(frozen=True)
class State(Section):
    """The state of a :class:`~autotune.integrations.ray_tune.AutotuneSearch`, as ``get_state`` returns it.

    Args:
        metric: Metrics, ``mode`` and the like: see the arguments of the searcher.
        trials: Trials as :func:`record` writes them.
        numbers: Numbers of these by the ids of Tune's.
        curves: Reported values by id, iteration and metric.
        stopped: Partial results by id.
        ended: Ids of trials whose last result is a final one.
    """

    title: ClassVar[str] = "a saved state"

    metric: Annotated[str | list[str] | None, By(_as_given)]
    mode: Annotated[str | list[str] | None, By(_as_given)]
    limits: Annotated[list[str], By(read_limits)]
    engine: Annotated[Any, By(_engine)]
    seed: Annotated[int, By(read_count)]
    name: Annotated[str, By(_name)]
    budget: Annotated[int | None, By(read_budget)]
    early_stopping: Annotated[bool, Flag()]
    path: Annotated[str | None, By(read_path)]
    space: Annotated[TuneSpace | None, By(_space)]
    trials: Annotated[list[dict[str, Tree]], By(_trials)]
    numbers: Annotated[dict[str, int], By(_numbers), Key("_numbers")]
    curves: Annotated[dict[str, dict[str, dict[str, float]]], By(_curves), Key("_curves")]
    stopped: Annotated[dict[str, dict[str, float]], By(_stopped), Key("_stopped")]
    ended: Annotated[list[str], By(_ended), Key("_ended")]

    def __post_init__(self) -> None:
        check_goals(self.metric, self.mode)
        for key in ("metric", "mode"):
            if self.trials and getattr(self, key) is None:
                raise SpecError(f"{key} must be that of the trials, found None", path=(key,))
        for id_, number in self.numbers.items():
            if number >= len(self.trials):
                text = f"{id_} must be the number of one of {len(self.trials)} trials, found {number}"
                raise SpecError(text, path=("_numbers", id_))

    @classmethod
    def read(cls, state: object, arguments: Mapping[str, Tree], space: TuneSpace | None) -> Self:
        """Return a state, which shares nothing with what it is read from.

        Args:
            state: State as ``get_state`` of the searcher returned it.
            arguments: Arguments that stand for those that the state has not.
            space: Space that the searcher has already.

        Raises:
            SpecError: A part of it is wrong; the message names it.
        """
        try:
            copied = {key: _plain(key, part) for key, part in mapping(state, cls.title).items()}
            found = cls.from_dict({**arguments, **copied})
            if searched := space or found.space:
                check_numbers(searched.space, found.trials)
            return found
        except SpecError as error:
            raise SpecError(f"state: {place_of(error)}", hint=error.hint) from None


def _plain(key: str, part: Tree) -> Tree:
    """Return a copy of a part of a state, which is plain data; an engine may be an object."""
    if key == "engine" and not isinstance(part, str | Mapping):
        return part
    return read_part(key, lambda value, name: copy_plain(value, name, constants=key == "space"), part)


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

"""Ray Tune with our engine: ``tune.TuneConfig(search_alg=AutotuneSearch())``.

A trial that raised an error, or whose result lacks the metric or is NaN or infinite there, has failed: the
engine learns to stay away, nothing is made of a value. A trial that a scheduler stopped has a partial value,
which is never taken for a final one: once other trials were seen at its iteration and at their end, its final
value is estimated from theirs, with the error of that, and never as better than the best one that ended.
Tune does not say which of the two ended a trial: a function has returned where its last result comes again;
else a result is a full one where the `stop` of the run says so, or where no other trial went on from there.

Reference: https://docs.ray.io/en/latest/tune/api/suggestion.html.
"""

from __future__ import annotations

import copy
import json
import logging
import math
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from tempfile import TemporaryDirectory

from ray import tune
from ray.tune.result import DEFAULT_METRIC, DONE, TRAINING_ITERATION
from ray.tune.search import Searcher

from autotune.convert.names import metric_name
from autotune.core.arguments import check_arguments, check_class, read_count
from autotune.core.measurement import LARGEST, Cause, Estimate, Failure
from autotune.core.objective import Goal, Limit
from autotune.core.parameter import Bool, Float, Int, Parameter
from autotune.core.registry import shown
from autotune.core.space import Space
from autotune.core.trial import Config, Reason, Suggestion, TrialState, config_key
from autotune.engine.base import Engine
from autotune.engine.registry import deferred, read_engine
from autotune.errors import SpecError, under
from autotune.integrations.ray_tune_space import TuneSpace, read_space
from autotune.integrations.ray_tune_space_data import Slot, Tree
from autotune.integrations.ray_tune_state import (
    DIRECTIONS,
    OBSERVED,
    State,
    TuneTrial,
    check_goals,
    read_budget,
    read_limits,
    read_path,
    read_trials,
    record,
    replay,
)
from autotune.study.study import SpaceLike, Study, given_path, read_study_name
from autotune.study.study import read_space as read_our_space
from autotune.systems.own.trainable import run_trainable

__all__ = ["AutotuneSearch", "TrainableFunction", "TuneSpace", "read_space", "write_space"]

_log = logging.getLogger("autotune.integrations")

_LEAST_SEEN = 3  # trials seen at an iteration and at their end, before one stopped there is estimated
_KEPT = (
    "metric",
    "mode",
    "limits",
    "engine",
    "seed",
    "name",
    "budget",
    "early_stopping",
)  # arguments that a saved state has
_TOLD = ("numbers", "curves", "stopped", "ended")


@check_class("space", "metric", "mode", "points_to_evaluate", "evaluated_rewards", "seed", "engine")
class AutotuneSearch(Searcher):
    """Searcher of Ray Tune that proposes what an engine of ours proposes.

    Args:
        space: Search space of Tune's, or an :class:`autotune.Space` with conditions and constraints, the name
            of one such as ``vllm`` or its file; by default the ``param_space`` of the `Tuner`.
        metric: Metric to optimize, or a list of them; by default that of the `TuneConfig`.
        mode: ``max`` or ``min``, or a list of these; ``obs`` for a metric that is kept and not optimized.
        points_to_evaluate: Configurations that are tried first.
        evaluated_rewards: Results of those, where they were tried already: a number each, or one by metric.
        limits: Limits on metrics that trials report: ``["latency <= 0.5"]``.
        engine: Name of an engine, its section of a study file, or an engine.
        seed: Seed of the engine.
        path: Ledger that keeps every proposal before it is made, for `autotune status`, `report` and the
            like; the same one again goes on.
        name: Name of the study within the ledger.
        early_stopping: Whether a scheduler may stop trials; without one, every last result is a full one.
        budget: Number of trials planned, which sizes the initial design; by default ``num_samples``.

    Raises:
        SpecError: An argument is wrong, or something in the space has no equivalent.
    """

    CKPT_FILE_TMPL = "autotune-searcher-{}.json"

    _metric: str | list[str] | None  # type: ignore[assignment] # Ray's own is of one goal
    _mode: str | list[str] | None  # type: ignore[assignment]

    def __init__(
        self,
        space: Mapping[str, Tree] | Space | str | Path | None = None,
        metric: str | Sequence[str] | None = None,
        mode: str | Sequence[str] | None = None,
        points_to_evaluate: Sequence[Mapping[str, Tree]] | None = None,
        evaluated_rewards: Sequence[Tree] | None = None,
        *,
        limits: Sequence[str] = (),
        engine: str | Mapping[str, object] | Engine = "gp",
        seed: int = 0,
        path: str | Path | None = None,
        name: str = "study",
        early_stopping: bool = True,
        budget: int | None = None,
    ) -> None:
        check_goals(metric, mode)
        super().__init__(metric=_plain(metric), mode=_plain(mode))  # type: ignore[arg-type] # takes lists too
        read_engine(engine)
        with under("limits"):
            self._limits = read_limits(limits)
        self._engine, self._name, self._seed = engine, read_study_name(name), read_count(seed, "seed")
        self._path, self._budget = read_path(path), read_budget(budget)
        self._early_stopping = _truth(early_stopping, "early_stopping")
        self._points = _read_points(points_to_evaluate, evaluated_rewards)
        self._rewards = evaluated_rewards
        self._space: TuneSpace | None = None if space is None else _own(space)
        self._given = space is not None
        self._study: Study | None = None
        self._saved: list[dict[str, Tree]] = []  # trials of a study in memory, to be made again
        self._numbers: dict[str, int] = {}  # numbers of our trials by the ids of Tune's
        self._curves: dict[str, dict[str, dict[str, float]]] = {}  # goals by id of a trial and by iteration
        self._stopped: dict[str, dict[str, float]] = {}  # partial results, by id of a trial
        self._until: dict[str, float] = {}  # the `stop` of the run
        self._ended: list[str] = []  # ids of trials whose last result is a final one
        self._found: list[TuneTrial] = []  # of Tune's saved state

    # -- what Tune asks --------------------------------------------------------------------------------

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: Mapping[str, Tree], **spec: Tree
    ) -> bool:
        """Take metric, mode and space of a `Tuner`, as far as the searcher has none of its own."""
        check_goals(metric, mode)
        if metric is not None and metric == self._metric and mode and self._mode and mode != self._mode:
            raise SpecError(
                f"metric {metric!r} is to be {self._mode!r} by AutotuneSearch and {mode!r} by TuneConfig"
            )
        self._metric = self._metric or metric
        self._mode = self._mode or mode
        if self._metric is None and self._mode is not None:
            self._metric = DEFAULT_METRIC
        samples = spec.get("num_samples")
        if self._budget is None and isinstance(samples, int) and 0 < samples < sys.maxsize:  # -1 is no number
            self._budget = samples
        self._until = dict(spec["stop"]) if isinstance(spec.get("stop"), Mapping) else {}
        if self._given:
            return False
        found = read_space(config)
        if self._study is not None and self._space is not None and found.space != self._space.space:
            raise SpecError(
                "AutotuneSearch has searched another param_space already",
                hint="a run over another space needs an AutotuneSearch of its own",
            )
        self._space = found
        for note in self._space.notes:
            _log.warning("%s", note)
        return True

    def suggest(self, trial_id: str) -> dict[str, Tree] | str | None:  # type: ignore[override] # FINISHED is a text
        """Return the next configuration, or ``FINISHED`` where every allowed one was proposed."""
        _check_id(trial_id)
        study = self._opened()
        number = self._numbers.get(trial_id)
        if number is None:
            self._settle()
            known = set(self._numbers.values())
            # what a run that was killed proposed and no saved state knows comes first: it was not measured
            waiting = [t.number for t in study.unfinished if t.number not in known]
            number = waiting[0] if waiting else next((t.number for t in study.ask(1)), None)
        if number is None:
            _log.warning("the run ends: all %d configurations that are allowed were tried", len(study.trials))
            return str(self.FINISHED)
        self._numbers[trial_id] = number
        return self._tune_space.config(study.trials[number].config)

    def on_trial_result(self, trial_id: str, result: Mapping[str, Tree]) -> None:
        """Take note of a result after which a trial goes on."""
        _check_id(trial_id)
        _check_result(result)
        if trial_id in self._numbers and trial_id not in self._ended:
            self._curve(trial_id, result)

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Tree] | None = None, error: bool = False
    ) -> None:
        """Tell the study what came of a trial; a second result of one that was measured changes nothing."""
        _check_id(trial_id)
        _check_result({} if result is None else result)
        error = _truth(error, "error")
        number = self._numbers.get(trial_id)
        if number is None:
            return
        study = self._opened()
        state = study.trials[number].state
        if state.finished:
            if state is TrialState.COMPLETED or error or not result:
                _log.info("trial %s: another result is not told", trial_id)
                return
            study.reopen(number)  # tried again by Tune, and it went well
        if error and not self._goals_of(result or {}):  # of a `Repeater`'s, others went well
            study.tell(number, failure=Failure(Cause.CRASHED_UNDER_LOAD, "the trial raised an error"))
        elif not result and (curve := self._curves.get(trial_id)):  # stopped while it was paused
            at = max(curve, key=float)
            self._stopped[trial_id] = {TRAINING_ITERATION: float(at), **curve[at]}
        elif not result:
            study.abandon(number)
        elif self._is_final(trial_id, result):
            self._ended.append(trial_id)
            self._curve(trial_id, result)
            self._tell(number, result)
        else:
            self._stopped[trial_id] = {TRAINING_ITERATION: _iteration(result), **self._goals_of(result)}
        self._settle()

    def add_evaluated_point(
        self,
        parameters: Mapping[str, Tree],
        value: Tree,
        error: bool = False,
        pruned: bool = False,
        intermediate_values: Sequence[float] | None = None,
    ) -> None:
        """Add what was measured elsewhere; a pruned point has no final value and is left out."""
        error = _truth(error, "error")
        if _truth(pruned, "pruned") and not error:
            return
        study = self._opened()
        config = self._tune_space.values(parameters)
        values = value if isinstance(value, Mapping) else {self._metrics[0]: value}
        if isinstance(value, Sequence) and not isinstance(value, str):
            values = dict(zip(self._metrics, value, strict=False))
        if error:
            study.add(config, failure="crashed_under_load")
        else:
            told = {
                _ours(key): number for key, found in values.items() if (number := _number(found)) is not None
            }
            study.add(config, **({"metrics": told} if told else {"failure": "wrong_output"}))

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Leave the bound to the `ConcurrencyLimiter`: any number of trials may be pending."""
        return False

    # -- state -----------------------------------------------------------------------------------------

    def save(self, checkpoint_path: str) -> None:
        """Write the state as JSON.

        Raises:
            SpecError: There can be no such file.
        """
        file = given_path(checkpoint_path, "checkpoint_path", "a file")
        try:
            file.write_text(json.dumps(self.get_state()), encoding="utf-8")
        except OSError as error:
            raise SpecError(f"checkpoint_path: {file} cannot be written: {error.strerror}") from None

    def restore(self, checkpoint_path: str) -> None:
        """Read what :meth:`save` wrote.

        Raises:
            SpecError: There is no such file, or it holds something else.
        """
        file = given_path(checkpoint_path, "checkpoint_path", "a file")
        try:
            state = json.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise SpecError(f"checkpoint_path: {file} cannot be read: {error.strerror}") from None
        except ValueError:  # no JSON, or no text
            raise SpecError(f"checkpoint_path: {checkpoint_path} is no state of an AutotuneSearch") from None
        try:
            self.set_state(state)
        except SpecError as error:
            raise SpecError(f"checkpoint_path: {checkpoint_path}: {error.message}", hint=error.hint) from None

    def restore_from_dir(self, checkpoint_dir: str) -> None:
        """Read the newest state of a run, and what Tune knows of its trials beside it.

        A run that was killed may have left one of the two older than the other: a trial that only Tune knows
        is not proposed to another one, and one that Tune does not know is proposed again.
        """
        given_path(checkpoint_dir, "checkpoint_dir", "a folder")
        super().restore_from_dir(checkpoint_dir)
        self._found = read_trials(checkpoint_dir)

    def get_state(self) -> dict[str, Tree]:
        """Return the state as plain JSON data."""
        trials = [] if self._study is None else [record(trial) for trial in self._study.trials]
        space = None
        with suppress(TypeError):  # a choice among objects: whoever restores gives the space again
            space = None if self._space is None else self._space.to_dict()
        arguments = {key: getattr(self, f"_{key}") for key in _KEPT}
        if not isinstance(self._engine, str | Mapping):  # an object: whoever restores has it
            del arguments["engine"]
        told = {f"_{key}": getattr(self, f"_{key}") for key in _TOLD}
        kept = copy.deepcopy(
            {**arguments, **told, "path": self._path, "trials": [] if trials else self._saved}
        )
        return {**kept, "space": space, "trials": trials or kept["trials"]}

    def set_state(self, state: Mapping[str, Tree]) -> None:
        """Go on from a state; the space, where this searcher has one already, stays.

        Raises:
            SpecError: A part of it is none that :meth:`get_state` returned; the searcher is as it was.
        """
        read = State.read(state, {key: getattr(self, f"_{key}") for key in _KEPT}, self._space)
        self._close()
        for key in (*_KEPT, *_TOLD):
            setattr(self, f"_{key}", getattr(read, key))
        self._path, self._space = self._path or read.path, self._space or read.space
        self._saved = read.trials

    def __getstate__(self) -> dict[str, Tree]:
        return {**vars(self), "_study": None, "_saved": self.get_state()["trials"]}

    def _close(self) -> None:
        if self._study is not None:
            self._study.close()
        self._study = None

    @property
    def study(self) -> Study:
        """The study behind it: :attr:`Study.result`, figures, the trials with what was told of them.

        Raises:
            SpecError: There is no metric, mode or space yet.
        """
        return self._opened()

    @property
    def _tune_space(self) -> TuneSpace:
        if self._space is None:
            raise SpecError("AutotuneSearch has no search space", hint="Tuner(param_space=...), or space=...")
        return self._space

    @property
    def _metrics(self) -> list[str]:
        return [self._metric] if isinstance(self._metric, str) else list(self._metric or ())

    def _opened(self) -> Study:
        """Return the study; on the first use it is made, and filled with what a saved state has."""
        if self._study is not None:
            return self._study
        if not self._metric or not self._mode:
            raise SpecError(
                "AutotuneSearch has no metric or no mode",
                hint='AutotuneSearch(metric="loss", mode="min"); those of a TuneConfig reach it only '
                "where the Tuner has a param_space. A run that was killed before Tune had written the "
                "searcher's state is begun anew: with the same path= nothing measured is lost",
            )
        modes = [self._mode] if isinstance(self._mode, str) else list(self._mode)
        objective: dict[str, Tree] = {"limits": self._limits}
        for metric, mode in zip(self._metrics, modes, strict=True):
            if mode != OBSERVED:
                objective.setdefault(DIRECTIONS[mode], []).append(_ours(metric))
        study = self._study = Study(
            self._tune_space.space, objective, engine=deferred(self._engine), seed=self._seed,
            name=self._name, path=self._path, budget=self._budget,
        )  # fmt: skip
        for saved, trial in zip(self._saved, study.trials, strict=False):
            if saved["suggestion"]["config"] != trial.config:
                raise SpecError(
                    f"trial {trial.number} in {self._path} is not that of the saved state",
                    hint="restore it into the ledger that it was saved with, or into an empty one",
                )
        for saved in self._saved[len(study.trials) :]:
            replay(study, saved)
        if not self._saved:
            self._add_points(study)
        self._reconcile(study)
        return study

    def _reconcile(self, study: Study) -> None:
        """Make what is known of trials agree with what Tune knows; see :meth:`restore_from_dir`."""
        found, self._found = self._found, []
        if found:
            ids = {trial.id for trial in found}
            self._numbers = {id_: number for id_, number in self._numbers.items()
                             if id_ in ids or study.trials[number].state.finished}  # fmt: skip
        for trial in found:
            if trial.id not in self._numbers:
                with suppress(SpecError):  # it is of another space
                    self._numbers[trial.id] = self._adopted(study, self._tune_space.values(trial.config))
            number = self._numbers.get(trial.id)
            known = number is None or study.trials[number].state.finished or trial.id in self._stopped
            if not known and trial.is_over:
                self.on_trial_complete(trial.id, trial.result, error=trial.has_failed)

    def _adopted(self, study: Study, config: Config) -> int:
        """Return the number of a trial of Tune's that has none yet."""
        taken = set(self._numbers.values())
        waiting = (t.number for t in study.trials if t.number not in taken and t.key == config_key(config))
        number = next(waiting, None)
        if number is None:
            number = study.suggest(Suggestion(config, Reason.START, engine="start")).number
        return number

    def _add_points(self, study: Study) -> None:
        """Add the points that the caller knows, or wants to be tried first."""
        known = {trial.key for trial in study.trials}
        for i, point in enumerate(self._points):
            config = self._tune_space.values(point)
            if config_key(config) in known:
                continue
            if self._rewards is not None:
                self.add_evaluated_point(point, self._rewards[i])
            else:
                study.suggest(Suggestion(config, Reason.START, engine="start"))
            known.add(config_key(config))

    # -- results ---------------------------------------------------------------------------------------

    def _tell(self, number: int, result: Mapping[str, Tree]) -> None:
        """Tell a final result: the metrics that the trial reported itself."""
        names = {key: _ours(key) for key in (*self._metrics, *_limited(self._limits)) if key in result}
        numbers = {ours: _number(result[key]) for key, ours in names.items()}
        told = {ours: value for ours, value in numbers.items() if value is not None}
        if told:
            self._opened().tell(number, told)
        else:
            lacks = Failure(Cause.WRONG_OUTPUT, f"the result has no {' or '.join(self._metrics)}")
            self._opened().tell(number, failure=lacks)

    def _goals_of(self, result: Mapping[str, Tree]) -> dict[str, float]:
        keys = (*self._metrics, *_limited(self._limits))
        numbers = {key: _number(result.get(key)) for key in keys}
        return {
            key: number for key, number in numbers.items() if number is not None and abs(number) <= LARGEST
        }

    def _curve(self, trial_id: str, result: Mapping[str, Tree]) -> None:
        at = _iteration(result)
        before = self._curves.get(trial_id, {})  # a scheduler may pause a trial, which then starts anew
        kept = {t: goals for t, goals in before.items() if float(t) < at}
        self._curves[trial_id] = {**kept, str(at): self._goals_of(result)}

    def _is_final(self, trial_id: str, result: Mapping[str, Tree]) -> bool:
        """Return whether the last result of a trial is a full one; the module says how that is known.

        A scheduler lets the first trial pass that comes to a rung, and none pass its last.
        """
        again = bool(result.get(DONE)) and str(_iteration(result)) in self._curves.get(trial_id, {})
        if again or not self._early_stopping:
            return True
        reported = {key: _number(result.get(key)) for key in self._until}
        if any(number is not None and number >= self._until[key] for key, number in reported.items()):
            return True
        others = ((id_, curve) for id_, curve in self._curves.items() if id_ != trial_id)
        reached = [float(t) for id_, curve in others for t in curve if not self._last(id_, t)]
        return _iteration(result) > max(reached, default=-math.inf)

    def _last(self, trial_id: str, iteration: str) -> bool:
        """Return whether a trial ended at an iteration."""
        return trial_id in self._ended and iteration == max(self._curves[trial_id], key=float)

    def _settle(self) -> None:
        """Tell what the final values of stopped trials are estimated to be, where others say so."""
        study = self._opened()
        for trial_id, partial in list(self._stopped.items()):
            number = self._numbers.get(trial_id)
            if number is None or study.trials[number].state.finished:  # Tune forgot it, or tried it again
                del self._stopped[trial_id]
                continue
            at = str(partial[TRAINING_ITERATION])
            told = {}
            for metric in partial.keys() - {TRAINING_ITERATION}:
                seen = [
                    (curve[at][metric], curve[max(curve, key=float)].get(metric))
                    for id_ in self._ended
                    if at in (curve := self._curves.get(id_, {})) and metric in curve[at]
                ]
                gains = [final - there for there, final in seen if final is not None]
                if len(gains) >= _LEAST_SEEN:
                    told[_ours(metric)] = self._estimated(metric, partial[metric], gains, seen)
            if len(told) == len(partial) - 1 and told:
                study.tell(number, told)
                del self._stopped[trial_id]

    def _estimated(
        self, metric: str, value: float, gains: Sequence[float], seen: Sequence[tuple[float, float | None]]
    ) -> Estimate:
        """Return the final value that a trial would have come to, were its gain like that of the others.

        Formula: value + mean(gains), standard error stdev(gains) * sqrt(1 + 1 / n).
        """
        found, error = value + fmean(gains), stdev(gains) * math.sqrt(1 + 1 / len(gains))
        goal = next((g for g in self._opened().objective.goals if g.metric == _ours(metric)), None)
        finals = [final for _, final in seen if final is not None]
        if goal is not None:
            found = min(found, max(finals)) if goal.maximize else max(found, min(finals))
        return Estimate(found, error, len(gains))


@check_arguments("space")
def write_space(space: SpaceLike) -> tuple[dict[str, Tree], tuple[str, ...]]:
    """Return a space of ours as one of Tune's, and a line for each thing that Tune has no equivalent of.

    Args:
        space: Space, or its name such as ``vllm``.

    Raises:
        SpecError: It is none, or one with a mistake.
    """
    space = read_our_space(space)
    notes = [f"constraint {text!r}: Tune would try what it forbids" for text in space.constraints]
    notes += [f"derived value {name!r}: compute it in the trainable" for name in space.derived]
    if space.configurations is not None:
        notes.append("the list of allowed configurations: Tune would try every combination")
    for parameter in space:
        if parameter.when:
            notes.append(f"condition of {parameter.name!r} ({parameter.when}): Tune always draws it")
        if parameter.prior is not None:
            notes.append(f"prior of {parameter.name!r}: Tune draws evenly")
    return {parameter.name: _domain(parameter) for parameter in space}, tuple(notes)


def _domain(parameter: Parameter) -> Tree:
    """Return the distribution of Tune's that draws the values of a parameter."""
    if isinstance(parameter, Bool) or not isinstance(parameter, Int | Float):
        return tune.choice(list(parameter.levels))
    log, low, high, step = parameter.scale != "linear", parameter.low, parameter.high, parameter.step
    if isinstance(parameter, Float):
        if step is None:
            return tune.loguniform(low, high) if log else tune.uniform(low, high)
    elif parameter.powers_of is None and parameter.multiple_of is None and step in (None, 1):
        return (tune.lograndint if log else tune.randint)(int(low), int(high) + 1)
    if not log and step is not None and low % step == 0 and high % step == 0:
        if isinstance(parameter, Float):
            return tune.quniform(low, high, step)
        return tune.qrandint(int(low), int(high), int(step))
    return tune.choice(list(parameter.levels))  # Tune's steps count from 0, ours from the lowest value


@dataclass(frozen=True)
class TrainableFunction:
    """A trainable of Tune's as a function for :func:`autotune.tune`; in one process one runs at a time.

    Args:
        trainable: A function that calls `tune.report`, or a subclass of `tune.Trainable`.
        config: Configuration that its own is put into: a text ``{name}`` in it stands for a parameter.
        stop: Bounds on what it reports, at which it is stopped, as `tune.RunConfig` has them. A class needs
            one unless it reports ``done``.
    """

    trainable: Tree
    config: Mapping[str, Tree] = field(default_factory=dict)
    stop: Mapping[str, float] = field(default_factory=dict)

    def __call__(self, config: Config) -> dict[str, float]:
        """Return the numbers that it reported last."""
        with _ONE_AT_A_TIME, TemporaryDirectory(prefix="autotune-trainable-") as folder:
            here = os.getcwd()
            try:
                return run_trainable(self.trainable, config, Path(folder), self.config, self.stop)
            finally:
                os.chdir(here)  # a function of Tune's works in the folder of its trial


_ONE_AT_A_TIME = threading.Lock()  # Tune's session is one for the process


def _ours(metric: str) -> str:
    """Return the name by which a metric of Tune's is known here."""
    with suppress(SpecError):
        return Goal(metric).metric
    return metric_name(metric)[0]


def _own(space: Mapping[str, Tree] | Space | str | Path) -> TuneSpace:
    """Return the space that an argument gives."""
    if isinstance(space, Mapping):
        return read_space(space)
    if not isinstance(space, Space | str | Path):
        raise SpecError(f"space must be a search space of Tune's or a Space, found {space!r}")
    ours = read_our_space(space)
    return TuneSpace(ours, {name: Slot(name) for name in (*ours.names, *ours.derived)})


def _plain(argument: str | Sequence[str] | None) -> str | list[str] | None:
    return argument if argument is None or isinstance(argument, str) else list(argument)


def _check_id(trial_id: object) -> None:
    if not isinstance(trial_id, str):
        raise SpecError(f"trial_id must be the id of a trial, found {shown(trial_id)}")


def _truth(found: object, name: str) -> bool:
    try:
        return bool(found)
    except (TypeError, ValueError, RuntimeError):  # an array or a tensor of several
        raise SpecError(f"{name} must be True or False, found {shown(found)}") from None


def _check_result(result: object) -> None:
    if not isinstance(result, Mapping):
        raise SpecError(f"result must be a mapping of what was reported, found {result!r}")


def _read_points(points: object, rewards: object) -> list[Mapping[str, Tree]]:
    if points is None:
        points = []
    if not isinstance(points, list | tuple) or not all(isinstance(point, Mapping) for point in points):
        raise SpecError(f"points_to_evaluate must be a list of configurations, found {points!r}")
    if rewards is not None and (not isinstance(rewards, list | tuple) or len(rewards) != len(points)):
        raise SpecError(
            f"evaluated_rewards must be a list of {len(points)}, one for each of points_to_evaluate, "
            f"found {rewards!r}"
        )
    return list(points)


def _limited(limits: Sequence[str]) -> list[str]:
    return [Limit.parse(text).metric for text in limits]


def _iteration(result: Mapping[str, Tree]) -> float:
    number = _number(result.get(TRAINING_ITERATION))
    return 0.0 if number is None or not math.isfinite(number) else number


def _number(value: Tree) -> float | None:
    """Return a number that was reported: it may be a scalar of numpy or torch, or a truth value."""
    if isinstance(value, str | bytes):
        return None
    try:
        return float(value.item() if hasattr(value, "item") else value)
    except OverflowError:
        return math.inf
    except (TypeError, ValueError, RuntimeError):  # the last of a tensor of several
        return None

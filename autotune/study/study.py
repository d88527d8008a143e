"""The study: the one mutable object. Ask for a trial, measure it, tell what came of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast, overload

from autotune.core import ranking
from autotune.core.arguments import check_arguments, read_count
from autotune.core.assessment import Assessment, ModelQuality
from autotune.core.decision import PREDICTIONS, Decision, Predictions, stored
from autotune.core.dependencies import need
from autotune.core.drift import with_drift
from autotune.core.failures import FailureGroup, failure_groups
from autotune.core.file_names import LEDGER_NAME
from autotune.core.html import html_table, short
from autotune.core.input_file import names_a_path
from autotune.core.measurement import Cause, Estimate, Failure, Measurement, as_estimates, finite_metrics
from autotune.core.metric import UNITS
from autotune.core.mistake import NOT_FINITE, comparable, complete
from autotune.core.objective import Objective, Outcome
from autotune.core.parameter import Parameter
from autotune.core.scalar import plain_scalar
from autotune.core.space import Space
from autotune.core.space_change import adopt, as_stored, differences
from autotune.core.start import named_start
from autotune.core.trial import Config, Reason, Suggestion, Trial, TrialState, config_key
from autotune.core.units import counted, show_unit
from autotune.engine.base import Engine, assess, choices, libraries, model_quality, predictions
from autotune.engine.question import Question
from autotune.engine.registry import ENGINES, engine_or_missing, read_engine, suggestions
from autotune.errors import AutotuneError, LedgerError, SpecError, StudyError, UnitError, did_you_mean
from autotune.ledger import Ledger, StudyRow
from autotune.spec.sections import EngineConfig
from autotune.spec.stored import StoredSpec
from autotune.study.history import History
from autotune.study.stored_spec import ORDER, read_stored_spec
from autotune.tracking.items import VERIFIES

if TYPE_CHECKING:
    import pandas as pd

    from autotune.analysis.study_view import StudyView
    from autotune.executor.function import AsyncFunction, Function
    from autotune.study.result import StudyResult


CHOICES = "engine choices"
"""Key of the study's note in the ledger that holds the design choices of its engine."""
ASSUMED = "assumed units"
"""Key of the note that holds the units of earlier limits, in which plain numbers of their metrics are."""
QUEUE = "queue"
"""Key of the note that holds the configurations that are asked for before the engine is."""
CALLED_BACK: ContextVar[Study | None] = ContextVar("CALLED_BACK", default=None)
"""Study whose callback runs: in this thread, or in the task that it is."""

Metrics: TypeAlias = Mapping[str, Estimate | float | int | list[float]]
"""Measured metrics by name."""
SpaceLike: TypeAlias = Space | str | Path | Mapping[str, object] | Sequence[Parameter]
"""Whatever a search space is read from."""


class Study:
    """A study: it proposes configurations and keeps what was measured.

    In memory unless ``path`` names a ledger; then every suggestion is committed before it is returned
    and every measurement before :meth:`tell` returns, and opening the study again continues it. Several
    threads may use one study.

    Args:
        space: Search space; a name of the catalogue, a file, a mapping or a list of parameters is read.
        objective: Objective; a mapping is read by :meth:`Objective.from_dict`. Another one than the
            ledger has is applied to everything measured, and stored.
        engine: Name of the engine, its section of a study file, or an engine itself: an object with a
            ``name`` and a method ``ask``. The ledger does not hold one; whoever opens it gives it again.
        seed: Seed of the engine; equal histories and seeds give equal suggestions.
        name: Name of the study within its ledger.
        path: Ledger file; created if it is not there, with its folder.
        budget: Number of trials planned, which sizes the initial design.
        spec: Whole study file as plain data, kept in the ledger for whoever resumes the study.
        widen: Whether to go on with a study over another space if everything it measured belongs to this one
            too; a new parameter takes its default in what was measured without it.

    Attributes:
        rescored: Changes where the ledger had another objective; empty otherwise.
        stop_asked: Reason why :meth:`stop` was called; empty if it was not.

    Raises:
        StudyError: The ledger has a study of that name over another space; the difference is printed. Or
            what it measured lacks a metric of the objective.
        LedgerError: The ledger is damaged or cannot be written.
    """

    @check_arguments("space", "objective", "engine", "seed", "name", "path", "budget")
    def __init__(
        self,
        space: SpaceLike,
        objective: Objective | Mapping[str, object],
        *,
        engine: str | Mapping[str, object] | Engine = "gp",
        seed: int = 0,
        name: str = "study",
        path: str | Path | None = None,
        budget: int | None = None,
        spec: Mapping[str, object] | None = None,
        widen: bool = False,
    ) -> None:
        self.space: Space = read_space(space)
        space = self.space
        self.objective: Objective = read_objective(objective)
        self.name: str = read_study_name(name)
        self.seed: int = read_count(seed, "seed", 0)
        self.rescored: str = ""
        self.stop_asked: str = ""
        self._at_close: tuple[int, str] | None = None  # launches planned, and why it was stopped
        self._driver = 0  # thread of whoever runs the study to its end
        budget = None if budget is None else read_count(budget, "budget", 1)
        self.engine: Engine
        self.engine, section = read_engine(engine, budget=budget)
        self._use = str(section.get("use", "gp"))
        _check_plain(spec)
        self.path: Path | None = None if path is None else ledger_path(path)
        self.ledger: Ledger = Ledger.open(":memory:" if self.path is None else self.path, guarded=True)
        self._lock = self.ledger.lock
        try:
            row = self.ledger.study(name)
            if row is None:
                self.objective.check_units()
                stored = dict(spec or {})
                stored.setdefault("space", space.to_dict())
                stored.setdefault("objective", self.objective.to_dict())
                stored.setdefault("engine", {**section, "seed": self.seed})
                self.ledger.create_study(
                    name, spec=stored, fingerprint=space.fingerprint, seed=self.seed, engine=self.engine.name
                )
                self.ledger.set_study_note(name, CHOICES, choices(self.engine))
                self.ledger.set_study_note(name, ORDER, list(space.names))
            else:
                read_stored_spec(self.ledger.path, row)
                self._check_same(row, widen)
                if ORDER in row.notes and set(row.notes[ORDER]) != set(self.space.names):  # it was widened
                    self.ledger.set_study_note(name, ORDER, list(self.space.names))
                self._rescore()
            self._history = History(self.ledger.trials(name))
            notes = self.ledger.study_notes(name)
            self._queue: list[Config] = list(notes.get(QUEUE) or ())
            self._assumed: dict[str, str] = dict(notes.get(ASSUMED) or {})
            self._predictions: dict[tuple[tuple[int, TrialState], ...], Predictions | None] = {}
            self._decisions: dict[tuple[int, tuple[tuple[int, TrialState], ...]], Decision] = {}
        except BaseException:
            self.ledger.close()
            raise

    @classmethod
    @check_arguments("path", "name", "engine")
    def open(cls, path: str | Path, name: str | None = None, *, engine: Engine | None = None) -> Study:
        """Open a study that a ledger already has.

        Args:
            path: The ledger file, or the store folder that holds it.
            name: Name of the study; may be left out when the ledger has one only.
            engine: Engine of a study that was given one as an object.

        Raises:
            SpecError: An argument is wrong, or such an engine is left out.
            StudyError: There is no such ledger or study.
            LedgerError: What the ledger holds of it is wrong.

        What was measured is read where the engine is of a plug-in that is not installed here; asking for more
        says what is missing.
        """
        file = given_path(path)
        if name is not None and not isinstance(name, str):
            raise SpecError(f"name must be the name of a study, found {name!r}")
        if file.is_dir():
            file = file / LEDGER_NAME
        if not file.exists():
            there = sorted(other.name for other in file.parent.glob("*.sqlite"))
            hint = f"the folder has {', '.join(there)}" if there else "`autotune run FILE` creates one"
            raise StudyError(f"no ledger at {file}", hint=hint)
        with Ledger.open(file, read_only=True) as ledger:
            row = find_study(ledger, name)
        stored = read_stored_spec(file, row)
        config = stored.engine or EngineConfig(seed=row.seed)
        return cls(
            stored.space,
            stored.objective,
            engine=engine_or_missing(config.section) if engine is None else engine,
            seed=config.seed,
            name=row.name,
            path=file,
            budget=stored.trials,
        )

    def _check_same(self, row: StudyRow, widen: bool) -> None:
        if row.fingerprint == self.space.fingerprint:
            return
        stored = StoredSpec(row.spec)
        self.space = as_stored(self.space, stored.space_section)
        if row.fingerprint == self.space.fingerprint:
            return
        changes = differences(stored.space, self.space)
        if not widen:
            raise StudyError(
                f"study {self.name!r} was started over another search space:\n"
                + "\n".join(f"  {line}" for line in changes),
                hint="--widen goes on with it where all that was measured still counts; --new starts another",
            )
        adopted: dict[int, Suggestion] = {}
        for trial in self.ledger.trials(self.name):
            try:
                config = adopt(self.space, trial.config)
            except SpecError as error:
                raise StudyError(
                    f"study {self.name!r} cannot go on over this space, trial {trial.number} does not fit: "
                    f"{error.message}",
                    hint="use another name, or --new to start another study beside it",
                ) from None
            if config != trial.config:
                adopted[trial.number] = replace(trial.suggestion, config=config)
        spec = stored.with_parts({"space": self.space.to_dict()})
        with self.ledger.lock_study(self.name):
            self.ledger.widen_study(self.name, spec, self.space.fingerprint, adopted, changes)

    def _rescore(self) -> None:
        """Store the objective where the ledger has another; refuse one that the measurements cannot tell."""
        row = self.ledger.study(self.name)
        assert row is not None  # noqa: S101 - as called
        stored = StoredSpec(row.spec)
        old = stored.objective
        if old.fingerprint == self.objective.fingerprint:
            return
        measured = [t for t in self.ledger.trials(self.name) if t.state is TrialState.COMPLETED]
        for trial in measured:
            absent = [name for name in self.objective.metrics if name not in trial.metrics]
            known = [name for name in old.metrics if name not in trial.metrics]
            if absent and not set(absent) <= set(known):
                raise StudyError(
                    f"study {self.name!r} cannot go on with the objective {str(self.objective)!r}: trial "
                    f"{trial.number} did not measure {', '.join(absent)}; it measured "
                    f"{', '.join(trial.metrics)}",
                    hint="use another name, or --new to start another study beside it",
                )
        with self.ledger.lock_study(self.name):
            # first: killed in between, the objective is still the old one and all of this happens again
            assumed = {**(row.notes.get(ASSUMED) or {}), **old.units}
            self.ledger.set_study_note(self.name, ASSUMED, assumed)
            self.ledger.set_study_spec(self.name, stored.with_parts({"objective": self.objective.to_dict()}))
        again = f"scored anew: {counted(len(measured), 'measured trial')}"
        self.rescored = f"objective: {old} -> {self.objective}; {again}"

    # -- asking and telling ------------------------------------------------------------------------

    @overload
    def ask(self) -> Trial: ...

    @overload
    def ask(self, n: int) -> list[Trial]: ...

    @check_arguments("n")
    def ask(self, n: int | None = None) -> Trial | list[Trial]:
        """Return the next trial, or a batch of up to ``n``; the suggestion is committed first.

        Trials that were asked for and not told are pending: the engine takes them into account.

        Args:
            n: Most trials of a batch, which is empty for 0; a single trial when not given.

        Raises:
            SpecError: ``n`` is no whole number of at least 0.
            StudyError: Every allowed configuration has been tried (only without ``n``; a batch comes
                back shorter instead).
            EnvironmentProblem: A library that the engine needs is not installed here.
        """
        if n is not None and read_count(n, "n", 0) == 0:
            return []
        with self._lock:
            if self._driver not in (0, threading.get_ident()):
                raise StudyError(
                    f"study {self.name!r} is being tuned, which asks for its trials itself",
                    hint="study.enqueue(config) names a configuration that it measures next",
                )
            most = 1 if n is None else n
            trials = self._from_queue(most)
            if len(trials) < most:
                trials += self._from_engine(most - len(trials))
        if n is not None:
            return trials
        if not trials:
            raise StudyError(f"every one of the {len(self.trials)} allowed configurations has been tried")
        return trials[0]

    def _from_engine(self, most: int) -> list[Trial]:
        """Commit up to ``most`` trials that the engine proposes."""
        need(libraries(self.engine))  # the first ones are proposed without them
        known, anchored = self._history, self.anchored
        past = known.finished
        history = with_drift(past, anchored, self.space) if known.watched else list(past)
        question = Question(self.space, anchored, history, tuple(known.pending()), self.seed)
        found = suggestions(self._use, self.engine, question, most)
        return [self.suggest(suggestion) for suggestion in found[:most]]

    def _from_queue(self, most: int) -> list[Trial]:
        """Commit up to ``most`` trials of what was put in the queue."""
        taken, rest = self._queue[:most], self._queue[most:]
        if not taken:
            return []
        with self.ledger.together():
            trials = [self.suggest(Suggestion(config, Reason.START, engine="start")) for config in taken]
            self.ledger.set_study_note(self.name, QUEUE, rest)
        self._queue = rest
        return trials

    @check_arguments("configs")
    def enqueue(self, *configs: Mapping[str, object]) -> list[Config]:
        """Put configurations in the queue: they are asked for next, in this order, before the engine is.

        The ledger keeps the queue. Whoever tunes the study takes from it too.

        Args:
            configs: Configurations; parameters that one leaves out take their defaults.

        Returns:
            Those that were put in the queue, completed; what was tried or waits already is left out.

        Raises:
            SpecError: One is not in the space; none is put in the queue.
        """
        found = named_start(self.space, configs, len(configs) + 1, "configs")
        with self._lock:
            known = {trial.key for trial in self.trials} | {config_key(config) for config in self._queue}
            fresh = [config for config in found if config_key(config) not in known]
            self.ledger.set_study_note(self.name, QUEUE, [*self._queue, *fresh])
            self._queue += fresh
        return fresh

    @property
    def queued(self) -> list[Config]:
        """The configurations that are asked for before the engine is, in order."""
        return list(self._queue)

    @check_arguments()
    def suggest(self, suggestion: Suggestion) -> Trial:
        """Commit a suggestion that did not come from the engine, such as a repeat, as a waiting trial.

        Raises:
            StudyError: A callback asks.
        """
        if CALLED_BACK.get() is self:
            raise StudyError(
                "a callback cannot ask for a trial: it would be one beyond the budget",
                hint="study.enqueue(config) names one to measure next, a larger `trials` has more of them",
            )
        with self._lock:
            number = len(self._history)
            with self._refreshed(number):
                self.ledger.add_trial(self.name, number, suggestion)
            return self._history[number]

    @check_arguments(...)
    def tell(
        self, trial: Trial | int, metrics: Metrics | None = None, *, failure: str | Failure | None = None
    ) -> Trial:
        """Record what came of a trial: its metrics or why there are none.

        Args:
            trial: The trial or its number.
            metrics: Floats, :class:`Estimate` objects or lists of samples, by name. Where a goal or the
                metric of a limit is not among them, or is NaN or infinite, the trial fails with
                ``wrong_output``; any other metric that is not finite is left out. A float is in the
                base unit of its metric (``ttft.p99`` in seconds), or of the limit on a metric of your own.
            failure: A cause such as ``"out_of_memory"``, or a :class:`Failure`.

        Raises:
            SpecError: A metric is no number or in a unit of another dimension, a cause is unknown, or both or
                neither were given. The trial stays open.
            StudyError: There is no such trial, or it already has a result.
        """
        number = trial.number if isinstance(trial, Trial) else plain_scalar(trial)
        if not isinstance(number, int) or isinstance(number, bool):
            raise SpecError(f"trial must be a trial or its number, found {trial!r}")
        with self._lock:
            if not 0 <= number < len(self._history):
                raise StudyError(f"study {self.name!r} has no trial {number}")
            found = self._history[number]
            if found.state.finished:
                raise StudyError(f"trial {number} already has a result: {found.state.value}")
            measurement = complete(self._measurement(metrics, failure), self.objective)
            measurement = self._with_plugins(measurement)
            with self._refreshed(number), self.ledger.together():
                attempt = self.ledger.start_attempt(self.name, number, "caller")
                self.ledger.finish_attempt(
                    self.name, number, attempt, measurement, state=state_of(measurement)
                )
            return self._history[number]

    @check_arguments(...)
    def add(
        self,
        config: Mapping[str, object],
        metrics: Metrics | None = None,
        *,
        failure: str | Failure | None = None,
    ) -> Trial:
        """Insert an earlier measurement of ``config``; it counts like any other trial.

        Raises:
            SpecError: The configuration is not in the space, or as for :meth:`tell`.
        """
        suggestion = Suggestion(self.space.validate(config), Reason.ADDED)
        with self._lock:
            measurement = complete(self._measurement(metrics, failure), self.objective)
            number = len(self._history)
            with self._refreshed(number):
                self.ledger.add_measured(self.name, number, suggestion, measurement, state_of(measurement))
            return self._history[number]

    @check_arguments()
    def in_units(self, metrics: Mapping[str, Estimate]) -> dict[str, Estimate]:
        """Return measured metrics in the units of this study.

        A metric of the user's own is of the dimension that its limits have, or else that of the trial that
        measured it first; one trial in seconds and another without a unit cannot be compared. Where a limit
        that is gone gave plain numbers their unit, they keep it.

        Raises:
            UnitError: A unit is unknown or of another dimension.
        """
        found = self.objective.in_units({name: self._as_assumed(name, e) for name, e in metrics.items()})
        for name, estimate in found.items():
            unit, number = self._history.units.get(name, (estimate.unit, 0))
            if unit != estimate.unit and name not in self.objective.units and name not in UNITS:
                raise UnitError(
                    f"metric {name!r} is {show_unit(estimate.unit)} here and {show_unit(unit)} in trial "
                    f"{number}: they cannot be compared",
                    hint="a metric has one dimension in all trials of a study",
                )
        return found

    def _as_assumed(self, name: str, estimate: Estimate) -> Estimate:
        """Return a plain number in the unit that an earlier limit gave to those of its metric."""
        unit = self._assumed.get(name)
        if unit is None or estimate.unit not in ("1", "") or name in self.objective.units:
            return estimate
        measured, _ = self._history.units.get(name, ("", 0))
        return replace(estimate, unit=unit) if measured == unit else estimate

    @check_arguments()
    def checked(self, measurement: Measurement) -> Measurement:
        """Return a measurement in the units of this study; wrong ones make it the owner's mistake."""
        return comparable(measurement, self.in_units)

    def _measurement(self, metrics: Metrics | None, failure: str | Failure | None) -> Measurement:
        found = _measurement(metrics, failure, self.objective.units)
        return replace(found, metrics=self.in_units(found.metrics)) if found.metrics else found

    # -- steps of an attempt, for whoever runs the trials -------------------------------------------

    @check_arguments()
    def start_attempt(self, number: int, *, executor: str, scratch: str = "") -> int:
        """Commit that an attempt starts; return its number, counted from 1."""
        with self._lock:
            attempt = self.ledger.start_attempt(self.name, number, executor, scratch)
            self._refresh(number)
            return attempt

    @check_arguments()
    def finish_attempt(
        self, number: int, attempt: int, measurement: Measurement, *, state: TrialState, node: str = ""
    ) -> bool:
        """Commit the result of an attempt; return whether it entered the history now."""
        measurement = self._with_plugins(measurement)
        with self._lock, self._refreshed(number):
            try:
                return self.ledger.finish_attempt(
                    self.name, number, attempt, measurement, node=node, state=state
                )
            except LedgerError:
                if self.ledger.make_room():  # kept for this
                    self.ledger.finish_attempt(
                        self.name, number, attempt, measurement, node=node, state=state
                    )
                raise

    def _with_plugins(self, measurement: Measurement) -> Measurement:
        """Return a measurement with the version of the plug-in that proposed it."""
        found = ENGINES.versions(self._use) | measurement.facts.get("plugins", {})
        return replace(measurement, facts={**measurement.facts, "plugins": found}) if found else measurement

    @check_arguments()
    def requeue(self, number: int) -> None:
        """Put a trial whose attempt was lost back to WAITING."""
        with self._lock:
            self.ledger.requeue(self.name, number)
            self._refresh(number)

    def put_back(self) -> None:
        """Put every trial in flight, as the ledger has it, back to WAITING: nobody waits for its result."""
        with self._lock:
            self._history = History(self.ledger.trials(self.name))
            for trial in self.trials:
                if trial.state is TrialState.RUNNING:
                    self.requeue(trial.number)

    @check_arguments()
    def reopen(self, number: int) -> None:
        """Put a failed trial back to WAITING, where its failure was not its own; its attempts are kept."""
        with self._lock:
            self.ledger.reopen(self.name, number)
            self._refresh(number)

    def reopen_mistakes(self) -> None:
        """Put the trials that a mistake of the owner's failed back to WAITING: it may be mended now."""
        for trial in self.trials:
            if trial.failure is not None and trial.failure.cause is Cause.OWNER_MISTAKE:
                self.reopen(trial.number)

    @check_arguments()
    def abandon(self, number: int) -> None:
        """Give a trial up for good; nothing is learned from it."""
        with self._lock:
            self.ledger.abandon(self.name, number)
            self._refresh(number)

    @contextmanager
    def _refreshed(self, number: int) -> Iterator[None]:
        """Read a trial after the block; what the ledger has of it also where the block says that it moved."""
        try:
            yield
        except LedgerError:
            with suppress(AutotuneError):
                self._refresh(number)
            raise
        self._refresh(number)

    def _refresh(self, number: int) -> Trial:
        return self._history.put(self.ledger.trial(self.name, number))

    # -- reading ------------------------------------------------------------------------------------

    @property
    def trials(self) -> list[Trial]:
        """Every trial in number order."""
        return self._history.all()

    @property
    def unfinished(self) -> list[Trial]:
        """The trials that are not over, in number order."""
        with self._lock:
            return self._history.unfinished()

    @property
    def searched(self) -> int:
        """Number of trials of the search: confirmations, control measurements and repeats come on top."""
        return self._history.searched

    @property
    def failures(self) -> list[FailureGroup]:
        """The failed trials by cause and message, the most frequent first."""
        return failure_groups(self.trials)

    @property
    def anchored(self) -> Objective:
        """The objective with limits relative to the default bound by what the default measured."""
        return ranking.anchored(self.trials, self.objective, self.space)

    @property
    def best(self) -> Trial | None:
        """The first trial of the configuration to recommend; ``None`` where none likely keeps the limits.

        The winner of :meth:`decide`; while no configuration keeps every limit with the confidence that the
        objective asks for, the nearest one that more likely keeps them than not.
        """
        found = self.decide().recommended
        return None if found is None else found.contender.trial

    @property
    def predictions(self) -> Predictions | None:
        """What the engine's model expects of each measured configuration; ``None`` without a model."""
        with self._lock:
            finished = self._history.finished
            key = tuple((t.number, t.state) for t in finished)
            if key not in self._predictions:  # the last ones only
                self._predictions = {key: predictions(self.engine, self.space, self.anchored, finished)}
            return self._predictions[key]

    @property
    def view(self) -> StudyView:
        """The study as it stands: what figures and reports are made of.

        Raises:
            StudyError: The ledger does not have the study any more.
        """
        from autotune.study.reading import read_view

        return read_view(self.ledger, find_study(self.ledger, self.name))

    @property
    def result(self) -> StudyResult:
        """What was found, as one value: winner, pooled metrics, default, verdict, deployment.

        What `autotune best` prints. The metrics of :attr:`best` are those of one trial; these are pooled
        over all launches that count.

        Raises:
            StudyError: The ledger does not have the study any more.
        """
        from autotune.study.result import read_result

        return read_result(self.ledger, find_study(self.ledger, self.name))

    def keep_predictions(self) -> None:
        """Keep what the model expects in the ledger: whoever reads it decides alike, without the model."""
        note = stored(self.predictions, self.trials, self.objective)
        self.ledger.set_study_note(self.name, PREDICTIONS, note)

    @check_arguments()
    def decide(self, confirm: int | None = None) -> Decision:
        """Return which configuration to recommend and how sure one may be, by all measurements.

        Args:
            confirm: Fresh launches that confirm a configuration; by default as the study's budget has it.
        """
        if confirm is None:
            confirm = self._at_close[0] if self._at_close else self._planned_launches()
        with self._lock:
            trials = self.trials
            key = (confirm, tuple((t.number, t.state) for t in trials))
            if key not in self._decisions:  # the last one only: a driver asks at every turn
                default = config_key(self.space.default_config)
                found = Decision(
                    trials, self.anchored, default, confirm=confirm, predictions=self.predictions
                )
                self._decisions = {key: found}
            return self._decisions[key]

    def _planned_launches(self) -> int:
        """Return the number of launches that confirm a configuration, as the study's budget has it."""
        row = self.ledger.study(self.name)
        return 0 if row is None else StoredSpec(row.spec).confirm

    @property
    def pareto_front(self) -> list[Trial]:
        """Feasible trials that no other one beats in every goal; none while a limit cannot be judged."""
        return ranking.pareto_front(self.trials, self.anchored)

    @check_arguments()
    def outcome(self, trial: Trial) -> Outcome:
        """Apply the objective to a trial's measurement."""
        return self.anchored.score(trial.metrics)

    def assess(self) -> Assessment | None:
        """Return how much is left to gain and whether searching on is worth it.

        Returns:
            ``None`` for an engine without a model; without numbers while nothing feasible was measured.
        """
        with self._lock:
            return assess(self.engine, self.space, self.anchored, self.trials, self.seed)

    def model_quality(self) -> Mapping[str, ModelQuality] | None:
        """Return by metric how well the engine's model predicts each trial from all the others.

        Returns:
            ``None`` for an engine without a model; empty while there are too few trials.
        """
        with self._lock:
            return model_quality(self.engine, self.space, self.anchored, self.trials)

    @check_arguments()
    def stop(self, reason: str = "") -> None:
        """Ask whoever runs the study, such as :func:`autotune.tune`, to end its search.

        What runs is measured to its end. May be called from any thread. The same call of ``tune`` goes on.

        Args:
            reason: Reason, for :attr:`stopped`.
        """
        self.stop_asked = reason or "stopped by its caller"

    @property
    def stopped(self) -> str:
        """Why the search ended before its budget; empty if it did not."""
        if self._at_close:
            return self._at_close[1]
        note = self.ledger.study_notes(self.name).get("stopped") or {}
        return str(note.get("reason", ""))

    def to_frame(self) -> pd.DataFrame:
        """Return one row per trial: state, parameters, metrics with ``.sem``, surprises, failure, reason."""
        from autotune.analysis.trial_frame import trial_frame

        return trial_frame(self.trials, self.anchored, self.space.names)

    @check_arguments()
    def export(
        self, as_: str, *, trial: int | None = None, under: Sequence[str] = (), image: str = ""
    ) -> str:
        """Return a configuration as the text of a file that deploys it, as ``autotune export`` writes it.

        Args:
            as_: Format: ``args``, ``env``, ``docker-compose``, ``k8s``, ``helm-values``, ``vllm-yaml``,
                ``sglang-yaml``, ``systemd``, ``yaml``, ``python``, or one of a plug-in.
            trial: Number of the trial whose configuration is wanted; the winner without it.
            under: Limits such as ``ttft.p99 <= 300 ms``, under which the best is wanted.
            image: Container image in place of the official one.

        Raises:
            SpecError: The format is unknown or makes no sense for the system, or a limit cannot be read.
            StudyError: The trial has no measurement.
            NothingFeasible: No configuration keeps the limits.
        """
        from autotune.study.exporting import export_study

        row = find_study(self.ledger, self.name)
        return export_study(self.ledger, row, as_, trial=trial, under=under, image=image)

    @check_arguments(...)
    async def tune_async(
        self,
        function: Function | AsyncFunction,
        *,
        trials: int = 40,
        parallel: int = 1,
        stop_when: str = "budget",
        ray: bool = False,
        timeout: float | str | None = None,
        start: Sequence[Mapping[str, object]] = (),
        callbacks: Sequence[Callable[[Study, Trial], object]] = (),
        progress: bool | None = None,
        mlflow: bool | str | Mapping[str, object] | None = None,
        on: Mapping[str, object] | None = None,
    ) -> Study:
        """Tune a function without leaving the event loop, of a notebook too; as :func:`autotune.tune` does.

        The engine works in a thread, so that the loop goes on. Cancelling the task puts what runs back, for
        the next call; a function that is not ``async`` cannot be stopped, and its result is not told.

        Args:
            function: Function that takes a configuration and returns its metrics. One that is ``async`` runs
                in this loop, any other in a thread.
            trials: Budget; trials that the study already holds count.
            parallel: Number of calls at once.
            stop_when: ``budget``, or ``converged``.
            ray: Whether to run the calls on Ray; the function is not ``async`` then.
            timeout: Time budget in seconds, or with its unit, earlier calls included.
            start: Configurations that are measured first, after the default.
            callbacks: Functions, ``async`` or not, called in this loop as ``callback(study, trial)``.
            progress: Whether to show progress; by default in a terminal and in a notebook only.
            mlflow: MLflow store to mirror the study to, as :func:`autotune.tune` takes it.
            on: Web hooks that are told of trials and of the end.

        Returns:
            The study itself.

        Raises:
            SpecError: An argument is wrong, or a result has no metric.
            StudyError: The study is being tuned already.
            CancelledError: The task was cancelled.
        """
        from autotune.study.tune_async import tune_async

        return await tune_async(
            self, function, trials=trials, parallel=parallel, stop_when=stop_when, ray=ray, timeout=timeout,
            start=start, callbacks=callbacks, progress=progress, mlflow=mlflow, on=on,
        )  # fmt: skip

    @contextmanager
    def driven(self) -> Iterator[None]:
        """Run the study to its end by this thread: until the block ends, no other asks for trials.

        Raises:
            StudyError: Another one runs it.
        """
        with self._lock:
            if self._driver:
                raise StudyError(f"study {self.name!r} is being tuned already")
            self._driver, self.stop_asked = threading.get_ident(), ""
        try:
            yield
        finally:
            self._driver = 0

    def close(self) -> None:
        """Close the ledger. Idempotent.

        Trials, and what follows from them alone, such as :attr:`best`, can be read afterwards; what asks the
        ledger, such as :meth:`ask`, :meth:`tell`, :attr:`view` and :attr:`result`, says that it was closed.
        """
        with suppress(AutotuneError):  # closed before, or damaged: whoever asks for it is told
            self._at_close = self._planned_launches(), self.stopped
        self.ledger.close()

    def __repr__(self) -> str:
        where = "" if self.path is None else f" in {short(str(self.path), 40)}"
        trials = counted(len(self._history), "trial")
        return f"<Study {short(self.name, 40)!r}: {short(str(self.objective), 60)}; {trials}{where}>"

    def _repr_html_(self) -> str:
        from autotune.report.notebook import study_html

        try:
            return study_html(self.view)
        except (LedgerError, StudyError) as error:  # closed, or its ledger cannot be read
            return html_table(repr(self), (), (), str(error))

    def __enter__(self) -> Study:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


def read_study_name(name: object) -> str:
    """Return the name that a study is given.

    Raises:
        SpecError: It is none.
    """
    if not isinstance(name, str) or not name or not name.isprintable():
        raise SpecError(f"name must be a text that is not empty and can be printed, found {name!r}")
    return name


def read_objective(objective: Objective | Mapping[str, object]) -> Objective:
    """Return the objective that an argument gives.

    Raises:
        SpecError: It is none, or one with a mistake.
    """
    if isinstance(objective, Objective):
        return objective
    if not isinstance(objective, Mapping):
        raise SpecError(
            f"objective must be an Objective or a mapping, found {objective!r}",
            hint='for example {"maximize": "throughput", "limits": ["latency <= 500 ms"]}, or '
            "load_objective(name) of one that is shipped",
        )
    return Objective.from_dict(objective)


def read_space(space: SpaceLike) -> Space:
    """Return the space that an argument gives.

    Raises:
        SpecError: It is none, or one with a mistake.
    """
    if isinstance(space, Space):
        return space
    if isinstance(space, str | Path):
        from autotune.study.study_file import load_space

        return load_space(space)
    if isinstance(space, Mapping):
        return Space.from_dict(space)
    if isinstance(space, Sequence) and not isinstance(space, bytes):
        return Space(cast("Sequence[Parameter]", space))
    raise SpecError(
        f"space must be a Space, found {space!r}",
        hint='Space([Int("batch_size", 1, 64), ...]), a name such as "vllm", a file or a mapping',
    )


def ledger_path(path: str | Path) -> Path:
    """Return the ledger file that an argument names, in a folder that is there from now on.

    Args:
        path: The file, or a store's folder.

    Raises:
        SpecError: It is no path.
        LedgerError: The folder cannot be made.
    """
    file = given_path(path)
    if file.is_dir():
        file = file / LEDGER_NAME
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = "something on its way is no folder" if isinstance(error, FileExistsError) else error.strerror
        raise LedgerError(f"path: the folder {file.parent} cannot be made: {why}") from None
    return file


def _check_plain(spec: Mapping[str, object] | None) -> None:
    """Refuse what a ledger cannot keep.

    Raises:
        SpecError: It is no plain data.
    """
    try:
        json.dumps(spec)
    except (TypeError, ValueError) as error:
        raise SpecError(f"spec must be plain data, as JSON has it, found {spec!r}: {error}") from None


def given_path(path: str | Path, name: str = "path", what: str = "a ledger file") -> Path:
    """Return the path that an argument gives.

    Args:
        path: The argument.
        name: Its name.
        what: Kind of what it names, for messages.

    Raises:
        SpecError: It names no file.
    """
    if not isinstance(path, str | Path) or not str(path).strip() or not names_a_path(str(path)):
        raise SpecError(f"{name} must name {what}, found {short(repr(path))}")
    return Path(path).expanduser()


def find_study(ledger: Ledger, name: str | None) -> StudyRow:
    """Return the study called ``name``, or the only one.

    Raises:
        StudyError: There is none, or no name was given and there are several, verifications apart.
    """
    rows = ledger.studies()
    if name is None:
        rows = [row for row in rows if VERIFIES not in row.notes]
    names = [row.name for row in rows]
    if name is None:
        if len(rows) == 1:
            return rows[0]
        found = f"found {', '.join(names)}" if names else "found none"
        raise StudyError(f"name a study; {found}")
    row = ledger.study(name)
    if row is None:
        allowed = ", ".join(names) or "none yet"
        raise StudyError(f"no study {name!r}; the ledger has: {allowed}", hint=did_you_mean(name, names))
    return row


def state_of(measurement: Measurement) -> TrialState:
    """Return the final state that a measurement gives its trial."""
    if measurement.failure is None:
        return TrialState.COMPLETED
    at_fault = measurement.failure.cause.configuration_at_fault
    return TrialState.INFEASIBLE if at_fault else TrialState.FAILED


def _measurement(
    metrics: Metrics | None, failure: str | Failure | None, units: Mapping[str, str]
) -> Measurement:
    if (metrics is None) == (failure is None):
        raise SpecError("tell needs either metrics or a failure")
    if metrics is not None:
        if not isinstance(metrics, Mapping):
            raise SpecError(f"metrics must be a mapping of names to numbers, found {metrics!r}")
        if not metrics:
            raise SpecError("metrics must not be empty; a configuration that gave none is a failure")
        finite, odd = finite_metrics(metrics)
        return Measurement(metrics=as_estimates(finite, units), facts={NOT_FINITE: odd} if odd else {})
    if isinstance(failure, Failure):
        return Measurement(failure=failure)
    causes: Sequence[str] = [cause.value for cause in Cause]
    if not isinstance(failure, str) or failure not in causes:
        raise SpecError(
            f"unknown failure cause {failure!r}; allowed: {', '.join(causes)}",
            hint=did_you_mean(str(failure), causes),
        )
    return Measurement(failure=Failure(Cause(str(failure))))


__all__ = ["LEDGER_NAME", "Study", "find_study", "state_of"]

"""The scheduler of a study: what to start, retry, repeat, confirm, give up and wait for, and when to end.

A pure function of the trials, the time, the room and the settings: :func:`schedule` takes a frozen
:class:`State` and returns frozen actions. It reads no ledger, starts no process and looks at no clock; the
driver (:mod:`autotune.study.driver`) carries the actions out and asks again once something has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, TypeAlias

from autotune.core import ranking
from autotune.core.decision import Decision
from autotune.core.measurement import Failure
from autotune.core.objective import Objective
from autotune.core.space import Space
from autotune.core.trial import Config, Reason, Suggestion, Trial, TrialState, config_key
from autotune.study.confirm import next_confirmation
from autotune.study.remeasure import next_remeasure
from autotune.study.retries import Retries
from autotune.study.watch import next_watch

SAID_S = 3.0
"""Wait for room after which it is said what is waited for."""

HELD_S = 86400.0
"""Longest wait for room on nodes that other jobs hold: a queue of a day is an ordinary one."""

AWAY_S = 600.0
"""Longest wait for room on a node, while nothing else can run: the reboot of one that left takes minutes."""


# -- what is known -------------------------------------------------------------------------------------------


class Room(Protocol):
    """The room for attempts at one moment; asking changes nothing."""

    def needs(self, config: Config) -> Mapping[str, float]:
        """Return the resources that a configuration needs."""

    def shortage(self, config: Config) -> str:
        """Return why a configuration can never be placed; empty if it can."""

    def places(self, config: Config) -> int:
        """Return how many such configurations could be measured at once now if nothing else ran."""

    def free(self, config: Config, beside: Sequence[Config]) -> bool:
        """Return whether one more attempt may start now, beside others that are about to."""

    def held(self, config: Config) -> str:
        """Return what others hold of the nodes that could hold a configuration; empty without such nodes."""

    def waits_elsewhere(self, config: Config, avoid: Sequence[str], beside: Sequence[Config]) -> bool:
        """Return whether an attempt had better wait for one of ours to end on a node that is not to avoid."""

    def nodes(self) -> int:
        """Return the number of nodes there are now."""


@dataclass(frozen=True)
class Settings:
    """The demands on a study.

    Args:
        space: Search space.
        objective: Objective as stated: limits relative to the default are bound here.
        trials: Budget of trials of the search.
        time_s: Budget of time in seconds; ``None`` without a limit.
        parallel: Attempts at once; ``None`` for as many as there is room.
        confirm: Launches that confirm a configuration.
        watch: Trials between two control measurements of the default; 0 for none.
        seed: Seed of the study.
        named: Keys of configurations to confirm in place of the best.
        compares_answers: Whether answers are compared with those of the default configuration.
        logs: Place of the logs, for whoever reads an error.
    """

    space: Space
    objective: Objective
    trials: int
    time_s: float | None = None
    parallel: int | None = None
    confirm: int = 0
    watch: int = 0
    seed: int = 0
    named: frozenset[str] = frozenset()
    compares_answers: bool = False
    logs: str = ""

    def time_is_over(self, spent_s: float) -> bool:
        """Return whether a study that has taken so many seconds has none left."""
        return self.time_s is not None and spent_s >= self.time_s

    @cached_property
    def default(self) -> Config:
        """Default configuration."""
        return self.space.default_config

    @cached_property
    def default_key(self) -> str:
        """Key of the default configuration."""
        return config_key(self.default)


@dataclass(frozen=True)
class Running:
    """An attempt that runs, or is about to.

    Args:
        trial: Number of its trial.
        attempt: Number of the attempt, counted from 1.
        ends: Time after which it is given up, seconds.
    """

    trial: int
    attempt: int
    ends: float


@dataclass(frozen=True)
class State:
    """A study at one moment.

    Args:
        trials: All of them, in number order.
        unfinished: Those of them that are not over, in number order.
        searched: Number of those of them that belong to the search.
        room: Room for attempts now.
        decide: Function that gives the decision by these trials; asked once the search is over.
        now: Time in seconds.
        spent_s: Seconds spent on the study, earlier runs included.
        running: Attempts in flight.
        retries: Environment faults of this run.
        nodes: Names of the nodes that there were when the last result came.
        converged: Whether the engine has found that the search is over.
        exhausted: Whether the engine had nothing more to propose.
        interrupted: Whether somebody asked to stop.
        idle_s: Seconds for which nothing has run for want of room.
        said: Whether it was said what is waited for.
    """

    trials: Sequence[Trial]
    unfinished: Sequence[Trial]
    searched: int
    room: Room
    decide: Callable[[], Decision]
    now: float = 0.0
    spent_s: float = 0.0
    running: tuple[Running, ...] = ()
    retries: Retries = field(default_factory=Retries)
    nodes: tuple[str, ...] = ()
    converged: bool = False
    exhausted: bool = False
    interrupted: bool = False
    idle_s: float = 0.0
    said: bool = False


# -- what is to be done --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Start:
    """The start of the next attempt of a waiting trial."""

    trial: Trial


@dataclass(frozen=True)
class Ask:
    """The question to the engine for the next trial of the search, or whether it is over."""


@dataclass(frozen=True)
class Replicate:
    """A repeat, a control measurement or a confirmation, to be committed as a waiting trial."""

    suggestion: Suggestion


@dataclass(frozen=True)
class Refuse:
    """The close of a trial that no node can ever hold.

    Args:
        trial: Trial to close.
        shortage: Resources that are lacking, with the numbers.
    """

    trial: Trial
    shortage: str


@dataclass(frozen=True)
class GiveUp:
    """The giving up of an attempt whose result has not come in time."""

    attempt: Running


@dataclass(frozen=True)
class Say:
    """A message to whoever watches."""

    text: str


@dataclass(frozen=True)
class Wait:
    """A wait for a result, or for time to pass.

    Args:
        for_room: Whether nothing runs, for want of room.
    """

    for_room: bool = False


@dataclass(frozen=True)
class End:
    """The end of this run of the study.

    Args:
        state: ``completed``, ``converged``, ``exhausted``, ``interrupted``, ``out of time`` or ``failed``.
        error: Reason why the machines cannot go on, for ``failed``.
        hint: Advice.
    """

    state: str
    error: str = ""
    hint: str = ""


Action: TypeAlias = Start | Ask | Replicate | Refuse | GiveUp | Say | Wait | End


# -- what is decided -----------------------------------------------------------------------------------------


def schedule(state: State, settings: Settings) -> tuple[Action, ...]:
    """Return what to do now, in order; never empty.

    The last action is a :class:`Wait` or an :class:`End` where nothing else is to be done; after any other
    action the state has changed, and the scheduler is asked again.
    """
    if state.interrupted:
        return (End("interrupted"),)
    ill = state.retries.open(state.nodes)
    if ill:
        logs = f"see the logs under {settings.logs}; running the same command goes on"
        return (End("failed", ill, logs),)
    late = tuple(GiveUp(attempt) for attempt in state.running if state.now > attempt.ends)
    if late:
        return late
    if settings.time_is_over(state.spent_s):
        return (End("out of time"),)
    return tuple(_Turn(state, settings).actions()) or _rest(state, settings)


def left(state: State, settings: Settings) -> Action | None:
    """Return something that is left to be done, however much room there were; ``None`` at the study's end."""
    if state.interrupted or settings.time_is_over(state.spent_s):
        return None
    if state.unfinished:
        return Start(state.unfinished[0])
    return next(_Turn(state, settings).proposed(), None)


def settle(
    retries: Retries, trial: int, state: TrialState, failure: Failure | None, node: str, now: float
) -> tuple[TrialState, Retries]:
    """Return the state that a trial takes after an attempt, and what is known of environment faults then.

    Args:
        retries: Retries known before.
        trial: Number of the trial.
        state: State that the measurement gives it.
        failure: Reason why there is no measurement, with its true cause; ``None`` where there is one.
        node: Name of the node that ran the attempt.
        now: Time in seconds.
    """
    if state is not TrialState.FAILED or failure is None:
        return state, retries.answered(trial)
    after = retries.failed(trial, node, failure, now)
    return (state if after.used_up(trial) else TrialState.WAITING), after


def answers_of(trial: Trial) -> list[object] | None:
    """Return the answers that a measured trial gave, for others to be compared with; ``None`` without."""
    measured = trial.measurement if trial.state is TrialState.COMPLETED else None
    return None if measured is None else dict(measured.facts.get("quality") or {}).get("answers")


def awaits_default(
    trial: Trial, default_key: str, trials: Sequence[Trial], started: Sequence[Trial] = ()
) -> bool:
    """Return whether a trial must wait for the default's, whose answers it is compared with.

    Args:
        trial: Trial that may wait.
        default_key: Key of the default configuration.
        trials: All trials of the study.
        started: Those of them that are about to run.
    """
    if trial.key == default_key:
        return False
    own = [other for other in trials if other.key == default_key]
    runs = any(t.state is TrialState.RUNNING for t in own) or any(t.key == default_key for t in started)
    return runs and not any(answers_of(t) for t in own)


class _Turn:
    """The actions possible at one moment: trials to start, to refuse and to propose."""

    def __init__(self, state: State, settings: Settings) -> None:
        self.state, self.settings, self.room = state, settings, state.room
        self.waiting = _waiting(state)
        self.started: list[Trial] = []

    def actions(self) -> Iterator[Action]:
        """Yield every action, those of waiting trials first.

        First in, first out: a trial that waits for resources blocks later ones, so that large trials do not
        starve. Those that rest after an environment fault, whose nodes are away, or that wait for a node
        where they have not failed, keep only their own place.
        """
        left = len(self.waiting)
        for trial in self.waiting:
            short = self.room.shortage(trial.config)
            if short:
                left -= 1
                yield Refuse(trial, short)
            elif self._rests(trial) or not self.room.places(trial.config) or self._waits_elsewhere(trial):
                continue
            elif self._may_start(trial):
                left -= 1
                self.started.append(trial)
                yield Start(trial)
            else:
                return
        if self._place_is_free(left):
            yield from self.proposed()

    @property
    def _busy(self) -> int:
        """Number of attempts that run or are about to."""
        return len(self.state.running) + len(self.started)

    def _rests(self, trial: Trial) -> bool:
        return self.state.retries.resting(trial.number, self.state.now)

    def _waits_elsewhere(self, trial: Trial) -> bool:
        avoid = self.state.retries.avoid(trial.number)
        beside = [other.config for other in self.started]
        return bool(avoid) and self.room.waits_elsewhere(trial.config, avoid, beside)

    def _may_start(self, trial: Trial) -> bool:
        """Return whether a trial may start now; one whose pause is over included."""
        if self.settings.parallel is not None and self._busy >= self.settings.parallel:
            return False
        known = self.state.trials
        if self.settings.compares_answers and awaits_default(
            trial, self.settings.default_key, known, self.started
        ):
            return False
        return self._free(trial.config)

    def _free(self, config: Config) -> bool:
        return self.room.free(config, [trial.config for trial in self.started])

    def _place_is_free(self, waiting: int) -> bool:
        """Return whether another trial is worth proposing: the default's resources say what is usual."""
        if not self._busy + waiting:  # without a look at the room: a study that has ended has none
            return True
        usual, parallel = self.settings.default, self.settings.parallel
        places = max(self.room.places(usual), 1)
        if parallel is not None:
            places = min(places, parallel)
        if self._busy + waiting >= places:
            return False
        return not self._busy or self._free(usual)

    def proposed(self) -> Iterator[Action]:
        """Yield where the next trial comes from: a repeat, a control, the search or a confirmation."""
        state, settings = self.state, self.settings
        objective = ranking.anchored(state.trials, settings.objective, settings.space)
        again = next_remeasure(state.trials, objective)
        if again is None and not state.converged:
            again = next_watch(state.trials, settings.space, settings.watch, settings.trials)
        if again is not None:
            yield Replicate(again)
        elif state.searched < settings.trials and not state.exhausted and not state.converged:
            yield Ask()
        elif settings.confirm and all(t.suggestion.reason is Reason.CONFIRM for t in state.unfinished):
            found = next_confirmation(state.decide(), settings.space, settings.seed, settings.named)
            if found is not None:
                yield Replicate(found)


def _waiting(state: State) -> list[Trial]:
    running = {attempt.trial for attempt in state.running}
    return [t for t in state.unfinished if t.state is TrialState.WAITING and t.number not in running]


def _rest(state: State, settings: Settings) -> tuple[Action, ...]:
    """Return what to do where nothing can start: the end, or what is waited for."""
    waiting = _waiting(state)
    if not state.running and not waiting:
        return (End("converged" if state.converged else "exhausted" if state.exhausted else "completed"),)
    if state.running or any(state.retries.resting(trial.number, state.now) for trial in waiting):
        return (Wait(),)
    first = waiting[0]
    needed, held = state.room.needs(first.config), state.room.held(first.config)
    wanted = f"trial {first.number} needs {' and '.join(f'{n:g} {k}' for k, n in needed.items())}"
    if state.idle_s > (HELD_S if held else AWAY_S):
        error = (
            f"{wanted}; for {state.idle_s:.0f} s none of {state.room.nodes()} nodes has had room for it, and "
            f"nothing else runs{': ' if held else ''}{held}"
        )
        return (End("failed", error, "free or bring back nodes; running the same command goes on"),)
    if state.idle_s > SAID_S and not state.said:
        text = f"waiting for room: {wanted}; {held or 'no node that lives can hold it'}"
        return (Say(text), Wait(for_room=True))
    return (Wait(for_room=True),)

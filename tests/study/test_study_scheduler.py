"""The scheduler: a frozen state in, actions out; no ledger, no process, no clock."""

import math
from collections import Counter
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.core.decision import Decision
from autotune.core.measurement import DOUBT, Cause, Estimate, Failure, Measurement
from autotune.core.objective import Objective
from autotune.core.parameter import Int
from autotune.core.space import Space
from autotune.core.trial import Reason, Suggestion, Trial, TrialState, config_key
from autotune.study.confirm import MOST
from autotune.study.retries import BREAKER, MAX_ATTEMPTS, Retries
from autotune.study.scheduler import (
    AWAY_S,
    HELD_S,
    SAID_S,
    Ask,
    End,
    GiveUp,
    Refuse,
    Replicate,
    Running,
    Say,
    Settings,
    Start,
    State,
    Wait,
    schedule,
    settle,
)

SPACE = Space((Int("width", 1, 4, default=1), Int("x", 1, 30, default=1)))
OBJECTIVE = Objective.from_dict({"maximize": "speed", "limits": ["heat <= 9"]})
LIMIT_S = 50.0
"""Seconds after which an attempt is given up."""


@dataclass(frozen=True)
class Cpus:
    """A machine whose processors a configuration takes ``width`` of."""

    total: int = 4
    used: int = 0
    away: bool = False
    others: str = ""
    elsewhere: bool = False

    def needs(self, config):
        return {"cpus": float(config["width"])}

    def shortage(self, config):
        return f"needs {config['width']} CPUs" if config["width"] > self.total else ""

    def places(self, config):
        return 0 if self.away else self.total // config["width"]

    def free(self, config, beside):
        wanted = self.used + sum(other["width"] for other in beside) + config["width"]
        return not self.away and not self.others and wanted <= self.total

    def held(self, config):
        return self.others

    def waits_elsewhere(self, config, avoid, beside):
        return self.elsewhere

    def nodes(self):
        return 1


def waiting(number, width=1, x=None, reason=Reason.EXPLORE, state=TrialState.WAITING, measured=None):
    return Trial(number, Suggestion({"width": width, "x": x or number + 1}, reason), state, 0, measured)


def done(number, speed=10.0, reason=Reason.EXPLORE, x=None, **facts):
    metrics = {"speed": Estimate(speed, 0.1, 20), "heat": Estimate(1.0, 0.01, 20)}
    return waiting(number, 1, x, reason, TrialState.COMPLETED, Measurement(metrics, facts=facts))


def state_of(trials, confirm=0, **known):
    return State(
        trials=tuple(trials),
        unfinished=tuple(trial for trial in trials if not trial.state.finished),
        searched=sum(trial.suggestion.reason.of_search for trial in trials),
        decide=lambda: Decision(list(trials), OBJECTIVE, config_key(SPACE.default_config), confirm=confirm),
        **{"room": Cpus(), "nodes": ("here",), **known},
    )


def asked(trials=4, **more):
    return Settings(SPACE, OBJECTIVE, trials, **more)


# -- single decisions ----------------------------------------------------------------------------------------


def test_a_wide_trial_blocks_later_ones_and_one_whose_nodes_are_away_does_not():
    trials = [waiting(0, 2), waiting(1, 4), waiting(2, 1)]
    assert schedule(state_of(trials), asked()) == (Start(trials[0]),)
    resting = Retries().failed(1, "here", Failure(Cause.NODE_LOST, ""), now=0.0)
    found = schedule(state_of(trials, retries=resting, now=0.5), asked())
    assert found == (Start(trials[0]), Start(trials[2]), Ask())


def test_what_fits_nowhere_is_refused_and_what_is_free_is_asked_for():
    trials = [waiting(0, 4), waiting(1, 2)]
    found = schedule(state_of(trials, room=Cpus(3)), asked(9))
    assert found == (Refuse(trials[0], "needs 4 CPUs"), Start(trials[1]), Ask())


def test_the_budget_of_attempts_at_once_counts_those_that_run():
    trials = [waiting(0, state=TrialState.RUNNING), waiting(1), waiting(2)]
    known = state_of(trials, running=(Running(0, 1, LIMIT_S),), room=Cpus(4, used=1))
    assert schedule(known, asked(parallel=2)) == (Start(trials[1]),)
    assert schedule(known, asked(parallel=1)) == (Wait(),)


def test_a_late_attempt_is_given_up_before_anything_else_is_decided():
    late = Running(0, 2, LIMIT_S)
    trials = [waiting(0, state=TrialState.RUNNING), waiting(1)]
    known = state_of(trials, running=(late, Running(1, 1, math.inf)), now=LIMIT_S + 1)
    assert schedule(known, asked(time_s=1.0)) == (GiveUp(late),)
    assert schedule(replace(known, interrupted=True), asked()) == (End("interrupted"),)


@pytest.mark.parametrize(("others", "limit"), [("node-0: held", HELD_S), ("", AWAY_S)])
def test_what_is_waited_for_is_said_once_and_not_for_ever(others, limit):
    known = state_of([waiting(3, 2)], room=Cpus(away=not others, others=others))
    assert schedule(known, asked()) == (Wait(for_room=True),)
    said = f"waiting for room: trial 3 needs 2 cpus; {others or 'no node that lives can hold it'}"
    assert schedule(replace(known, idle_s=SAID_S + 1), asked()) == (Say(said), Wait(for_room=True))
    assert schedule(replace(known, idle_s=SAID_S + 1, said=True), asked()) == (Wait(for_room=True),)
    (end,) = schedule(replace(known, idle_s=limit + 1, said=True), asked())
    assert end.state == "failed"
    assert f"trial 3 needs 2 cpus; for {limit + 1:.0f} s none of 1 nodes has had room for it" in end.error


def test_a_trial_waits_for_a_node_where_it_has_not_failed_and_comes_first_once_there_is_room():
    trials = [waiting(0), waiting(1), waiting(2, state=TrialState.RUNNING)]
    failed_there = Retries().failed(0, "bad", Failure(Cause.DISK_FULL, "full"), now=0.0)
    busy = state_of(
        trials, retries=failed_there, now=9.0, running=(Running(2, 1, LIMIT_S),),
        room=Cpus(used=1, elsewhere=True),
    )  # fmt: skip
    assert schedule(busy, asked(parallel=3))[0] == Start(trials[1])
    assert Start(trials[0]) not in schedule(busy, asked(parallel=3))
    free = replace(busy, room=Cpus(used=1))
    assert schedule(free, asked(parallel=3))[:2] == (Start(trials[0]), Start(trials[1]))


def test_who_compares_answers_waits_for_the_first_of_the_default():
    default, other = waiting(0, 1, 1), waiting(1, 1, 5)
    compared = asked(compares_answers=True, trials=2)
    assert schedule(state_of([default, other]), compared) == (Start(default),)
    answered = replace(done(0, quality={"answers": ["a"]}), suggestion=default.suggestion)
    assert Start(other) in schedule(state_of([answered, other]), compared)


def test_the_machines_are_ill_when_attempt_after_attempt_fails():
    retries = Retries()
    for trial in range(BREAKER):
        retries = retries.failed(trial, "here", Failure(Cause.DISK_FULL, "full"), now=0.0)
    (end,) = schedule(state_of([waiting(0)], retries=retries, now=99.0), asked(logs="there"))
    assert (end.state, end.error.partition(" attempts")[0]) == ("failed", str(BREAKER))
    assert "see the logs under there" in end.hint
    assert Start(waiting(0)) in schedule(
        state_of([waiting(0)], retries=retries.answered(9), now=99.0), asked()
    )


def test_the_order_of_what_is_proposed():
    doubted = [done(0), done(1, x=2, **{DOUBT: "noisy"})]
    (again,) = schedule(state_of(doubted), asked())
    assert (again.suggestion.reason, again.suggestion.config) == (Reason.REMEASURE, doubted[1].config)
    plain = [done(number, 10.0 + 5 * number) for number in range(3)]
    (look,) = schedule(state_of(plain), asked(9, watch=2))
    assert look.suggestion.reason is Reason.WATCH
    assert schedule(state_of(plain, converged=True), asked(9, watch=2)) == (End("converged"),)
    assert schedule(state_of(plain), asked(9)) == (Ask(),)
    assert schedule(state_of(plain), asked(3)) == (End("completed"),)
    (launch,) = schedule(state_of(plain, confirm=1), asked(3, confirm=1))
    assert launch.suggestion.reason is Reason.CONFIRM
    for converged, exhausted, said in (
        (True, False, "converged"),
        (False, True, "exhausted"),
        (True, True, "converged"),
    ):
        known = state_of(plain, converged=converged, exhausted=exhausted)
        assert schedule(known, asked(9)) == (End(said),)


def test_an_answer_ends_a_trial_and_an_environment_fault_only_the_third_time():
    failure, retries = Failure(Cause.WORKER_LOST, "gone"), Retries()
    states, pauses = [], []
    for now in (0.0, 10.0, 20.0):
        state, retries = settle(retries, 3, TrialState.FAILED, failure, f"node {now:g}", now)
        states.append(state)
        pauses.append(retries.faults[3].ready - now)
    assert states == [TrialState.WAITING] * (MAX_ATTEMPTS - 1) + [TrialState.FAILED]
    assert pauses == [1.0, 2.0, 4.0]
    assert retries.avoid(3) == ["node 0", "node 10", "node 20"]
    assert settle(retries, 3, TrialState.COMPLETED, None, "here", 30.0) == (TrialState.COMPLETED, Retries())
    unfit = Failure(Cause.OUT_OF_MEMORY, "")
    assert settle(Retries(), 3, TrialState.INFEASIBLE, unfit, "here", 0.0) == (
        TrialState.INFEASIBLE,
        Retries(),
    )


# -- whole studies -------------------------------------------------------------------------------------------

OUTCOMES = ("good", "good", "good", "doubtful", "unfit", "fault", "silent")


@dataclass
class World:
    """A study carried out in memory, whose every action is checked; ``draw(kind)`` decides what happens."""

    settings: Settings
    cpus: int
    draw: object
    trials: list = field(default_factory=list)
    running: dict = field(default_factory=dict)  # by trial: attempt, its limit, when its result comes
    retries: Retries = field(default_factory=Retries)
    tried: Counter = field(default_factory=Counter)  # attempts of this run
    now: float = 0.0
    converged: bool = False
    exhausted: bool = False
    interrupted: bool = False
    idle_since: float | None = None

    def state(self):
        used = sum(self.trials[number].config["width"] for number in self.running)
        return state_of(
            self.trials,
            self.settings.confirm,
            room=Cpus(self.cpus, used),
            now=self.now,
            spent_s=self.now,
            running=tuple(
                Running(number, attempt, ends) for number, (attempt, ends, _) in self.running.items()
            ),
            retries=self.retries,
            converged=self.converged,
            exhausted=self.exhausted,
            interrupted=self.interrupted,
            idle_s=0.0 if self.idle_since is None else self.now - self.idle_since,
        )

    def run(self, moments=10_000):
        """Carry out actions until the end, which is returned, or until so many moments have passed."""
        for _ in range(moments):
            state = self.state()
            actions = schedule(state, self.settings)
            assert actions
            assert actions == schedule(state, self.settings)  # a function of its arguments
            self.check_stops(state)
            for action in actions:
                if isinstance(action, End):
                    assert action is actions[-1]
                    return action
                self.carry_out(action)
        assert moments < 10_000, "the study does not end"
        return None

    def check_stops(self, state):
        assert schedule(replace(state, interrupted=True), self.settings) == (End("interrupted"),)
        spent = schedule(replace(state, spent_s=60.0), replace(self.settings, time_s=60.0))
        assert not any(isinstance(action, Start | Ask | Replicate) for action in spent)

    def carry_out(self, action):
        match action:
            case Start(trial):
                self.start(trial)
            case Ask():
                self.ask()
            case Replicate(suggestion):
                self.launch(suggestion)
            case Refuse(trial, _):
                assert trial.config["width"] > self.cpus
                failure = Failure(Cause.REJECTED_FLAGS, "too wide")
                self.change(trial.number, TrialState.INFEASIBLE, Measurement(failure=failure))
            case GiveUp(attempt):
                assert self.now > self.running[attempt.trial][1]
                self.settle(attempt.trial, "fault")
            case Wait(for_room):
                assert not (for_room and self.running)
                self.idle_since = (self.idle_since or self.now) if for_room else None
                self.pass_time()

    def start(self, trial):
        number, settings_ = trial.number, self.settings
        assert self.trials[number].state is TrialState.WAITING
        assert number not in self.running  # never two attempts of one trial at once
        assert self.tried[number] < MAX_ATTEMPTS
        assert not self.retries.resting(number, self.now)
        assert settings_.parallel is None or len(self.running) < settings_.parallel
        taken = sum(self.trials[other].config["width"] for other in self.running)
        assert taken + trial.config["width"] <= self.cpus
        self.tried[number] += 1
        self.trials[number] = replace(trial, state=TrialState.RUNNING, attempts=trial.attempts + 1)
        self.running[number] = trial.attempts + 1, self.now + LIMIT_S, self.now + self.draw("seconds")

    def ask(self):
        searched = sum(trial.suggestion.reason.of_search for trial in self.trials)
        assert searched < self.settings.trials  # the budget is never exceeded
        assert not self.converged
        assert not self.exhausted
        said = self.draw("ask")
        if said == "converged":
            self.converged = True
            return
        tried = {trial.key for trial in self.trials}
        fresh = (
            c for x in range(1, 31) if config_key(c := {"width": self.draw("width"), "x": x}) not in tried
        )
        config = SPACE.default_config if not self.trials else next(fresh, None)
        if said == "exhausted" or config is None:
            self.exhausted = True
        else:
            self.trials.append(Trial(len(self.trials), Suggestion(config, Reason.EXPLORE)))

    def launch(self, suggestion):
        reason, search = suggestion.reason, [t for t in self.trials if t.suggestion.reason.of_search]
        assert reason in (Reason.CONFIRM, Reason.WATCH, Reason.REMEASURE)
        if reason is Reason.CONFIRM:  # only once the search is over, and everything of it
            assert len(search) >= self.settings.trials or self.converged or self.exhausted
            others = [t for t in self.trials if t.suggestion.reason is not Reason.CONFIRM]
            assert all(trial.state.finished for trial in others)
            confirmed = len(self.trials) - len(others)
            assert confirmed < 2 * MOST * self.settings.confirm
        elif reason is Reason.WATCH:
            assert not self.converged
            assert suggestion.config == SPACE.default_config
        else:
            repeats = [t for t in self.trials if t.suggestion.reason is Reason.REMEASURE]
            doubted = [t for t in self.trials if t.doubt and t.suggestion.reason is not Reason.REMEASURE]
            assert len(repeats) < len(doubted)
        self.trials.append(Trial(len(self.trials), suggestion))

    def pass_time(self):
        """Let the next result come, the next attempt be overdue, or the next pause end."""
        ready = [faults.ready for faults in self.retries.faults.values() if faults.ready > self.now]
        moments = [min(ends + 0.1, comes) for _, ends, comes in self.running.values()] + ready
        assert moments, "nothing is waited for"
        self.now = min(moments)
        for number in [n for n, (_, _, comes) in self.running.items() if comes <= self.now]:
            self.settle(number, self.draw("outcome"))

    def settle(self, number, outcome):
        if outcome == "silent":  # it never tells, and is given up
            attempt, ends, _ = self.running[number]
            self.running[number] = attempt, ends, math.inf
            return
        del self.running[number]
        state, failure = TrialState.COMPLETED, None
        if outcome == "fault":
            state, failure = TrialState.FAILED, Failure(Cause.WORKER_LOST, "gone")
        elif outcome == "unfit":
            state, failure = TrialState.INFEASIBLE, Failure(Cause.OUT_OF_MEMORY, "too large")
        state, self.retries = settle(self.retries, number, state, failure, "here", self.now)
        x = self.trials[number].config["x"]
        metrics = {"speed": Estimate(10.0 + x, 0.5, 20), "heat": Estimate(1.0, 0.01, 20)}
        measured = Measurement(failure=failure)
        if failure is None:
            measured = Measurement(metrics, facts={DOUBT: "noisy"} if outcome == "doubtful" else {})
        self.change(number, state, measured)

    def change(self, number, state, measurement):
        kept = None if state is TrialState.WAITING else measurement
        self.trials[number] = replace(self.trials[number], state=state, measurement=kept)

    def killed(self):
        """Begin another run, as after a kill: what ran waits again, and faults are forgotten."""
        for number in self.running:
            self.trials[number] = replace(self.trials[number], state=TrialState.WAITING)
        self.running, self.retries, self.idle_since = {}, Retries(), None
        self.tried = Counter()


@st.composite
def worlds(draw):
    """Worlds in which anything may happen: faults, silence, doubt, early ends, trials that are too wide."""
    asked_for = asked(
        draw(st.integers(1, 6)),
        parallel=draw(st.sampled_from([None, 1, 2, 3])),
        confirm=draw(st.integers(0, 2)),
        watch=draw(st.sampled_from([0, 2])),
    )
    chance = draw(st.randoms(use_true_random=False))
    drawn = {
        "outcome": lambda: chance.choice(OUTCOMES),
        "seconds": lambda: chance.choice([0.5, 3.0, 20.0]),
        "ask": lambda: chance.choice(["more"] * 12 + ["converged", "exhausted"]),
        "width": lambda: chance.randint(1, 4),
    }
    return World(asked_for, draw(st.integers(1, 5)), lambda kind: drawn[kind]())


def check_end(world, end):
    assert end.state in ("completed", "converged", "exhausted", "failed")
    if end.state == "failed":
        assert world.retries.open(["here"])
        return
    assert not world.running
    assert all(trial.state.finished for trial in world.trials)  # every trial ends
    searched = sum(trial.suggestion.reason.of_search for trial in world.trials)
    assert searched <= world.settings.trials
    if end.state == "completed":
        assert searched == world.settings.trials


@given(worlds())
@settings(max_examples=150, deadline=None)
def test_whatever_happens_every_trial_ends_and_nothing_exceeds_its_bounds(world):
    check_end(world, world.run())


@given(worlds(), st.lists(st.integers(1, 12), max_size=3))
@settings(max_examples=100, deadline=None)
def test_a_study_that_was_killed_goes_on_to_the_same_bounds(world, moments):
    for count in moments:
        if world.run(count) is not None:
            break
        world.killed()
    check_end(world, world.run())


@given(worlds(), st.integers(1, 12))
@settings(max_examples=50, deadline=None)
def test_nothing_happens_once_somebody_stops_it(world, moments):
    if world.run(moments) is None:
        before = list(world.trials)
        world.interrupted = True
        assert world.run() == End("interrupted")
        assert world.trials == before

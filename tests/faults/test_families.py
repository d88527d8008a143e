"""The two families of failure: a configuration fault is an answer, an environment fault is tried again."""

import itertools

import pytest
from simulated import Clock, Messages, simulate, study_file

from autotune.core.measurement import Cause, Failure, Measurement
from autotune.core.trial import TrialState
from autotune.errors import EnvironmentProblem
from autotune.executor.base import AttemptResult
from autotune.executor.health import QUARANTINE_AFTER, QUARANTINE_S, NodeHealth
from autotune.ledger import Ledger
from autotune.study.retries import BREAKER, MAX_ATTEMPTS, Retries
from tests_shared import works_in

ENVIRONMENT = [c for c in Cause if not c.configuration_at_fault and c is not Cause.OWNER_MISTAKE]


class Failing(Messages):
    """``fails(job, node)`` names the cause, or ``None`` for a good measurement."""

    def result(self, job, node):
        good = super().result(job, node)
        self.starts = [*getattr(self, "starts", []), (job.trial, job.attempt, node, self.clock.now)]
        cause = self.fails(job, node)
        if cause is None:
            return good
        failed = Measurement(failure=Failure(cause, f"on {node}"), started_ns=1, ended_ns=2)
        return AttemptResult(job.key, failed, node)


def loop_of(tmp_path, monkeypatch, fails, *, trials=3, places=4, seconds=0.5, parallel="auto", study=None):
    executor = Failing(Clock(), lambda _job: [seconds], places)
    executor.fails = fails
    return simulate(study_file(tmp_path, trials, parallel), None, monkeypatch, executor=executor, study=study)


@pytest.mark.parametrize("cause", ENVIRONMENT)
def test_environment_faults_are_tried_again_elsewhere_after_a_growing_pause(tmp_path, monkeypatch, cause):
    loop = loop_of(
        tmp_path, monkeypatch, lambda job, _n: cause if job.trial == 0 and job.attempt < 3 else None
    )
    assert loop.run() == "completed"
    assert [t.state for t in loop.study.trials] == [TrialState.COMPLETED] * 3
    starts = [(node, when) for trial, _, node, when in loop.executor.starts if trial == 0]
    assert len({node for node, _ in starts}) == 3
    first, second = (b[1] - a[1] for a, b in itertools.pairwise(starts))
    assert 1.0 <= first - 0.5 < 1.5
    assert 2.0 <= second - 0.5 < 2.5
    loop.study.close()


def test_after_three_attempts_a_trial_has_failed_and_the_study_goes_on(tmp_path, monkeypatch, record):
    loop = loop_of(
        tmp_path, monkeypatch, lambda job, _n: Cause.NODE_LOST if job.trial == 1 else None, trials=5
    )
    assert loop.run() == "completed"
    states = [t.state for t in loop.study.trials]
    assert states == [TrialState.COMPLETED, TrialState.FAILED, *[TrialState.COMPLETED] * 3]
    assert loop.study.trials[1].attempts == MAX_ATTEMPTS
    record(
        "one trial meets environment faults again and again",
        "tried again elsewhere after 1 s and 2 s, then given up; the study goes on",
        f"{MAX_ATTEMPTS} attempts, {states.count(TrialState.COMPLETED)} of 4 others measured",
    )
    loop.study.close()


@pytest.mark.parametrize("cause", [cause for cause in Cause if cause.configuration_at_fault])
def test_the_configuration_s_failures_are_answers(tmp_path, monkeypatch, cause):
    loop = loop_of(tmp_path, monkeypatch, lambda job, _node: cause if job.trial else None, trials=13)
    assert loop.run() == "completed"  # twelve in a row are no illness of the machines
    failed = [t for t in loop.study.trials if t.suggestion.reason.of_search][1:]
    assert {(t.state, t.attempts) for t in failed} == {(TrialState.INFEASIBLE, 1)}
    loop.study.close()


def test_others_go_on_while_a_trial_rests_and_one_place_keeps_the_order(tmp_path, monkeypatch):
    def fails(job, _node):
        return Cause.PORT_TAKEN if job.trial == 0 and job.attempt == 1 else None

    many = loop_of(tmp_path, monkeypatch, fails, trials=8)
    many.run()
    order = [trial for trial, *_ in many.executor.starts]
    assert order.index(4) < len(order) - 1 - order[::-1].index(0)  # trial 4 began before trial 0 did again
    many.study.close()
    one = loop_of(tmp_path, monkeypatch, fails, trials=3, places=1)
    one.run()
    assert [trial for trial, *_ in one.executor.starts] == [0, 0, 1, 2]
    one.study.close()


def test_machines_that_fail_everything_stop_the_study_with_counts_and_it_can_go_on(
    tmp_path, monkeypatch, record
):
    loop = loop_of(tmp_path, monkeypatch, lambda _job, _node: Cause.DISK_FULL, trials=40, places=2)
    with pytest.raises(EnvironmentProblem, match=r"in a row failed .* on all of 2 nodes") as caught:
        loop.run()
    assert "disk_full 6" in str(caught.value) or "disk_full 5" in str(caught.value)
    assert "node-0 " in str(caught.value)
    assert "running the same command goes on" in caught.value.hint
    row = loop.study.ledger.study(loop.study.name)
    assert row.state == "INTERRUPTED"
    assert not [t for t in loop.study.trials if t.state is TrialState.RUNNING]
    record(
        "every attempt fails on every node",
        "the study stops after 5 in a row with counts by cause and node, and can go on",
        caught.value.message.split(";")[0],
    )
    again = loop_of(tmp_path, monkeypatch, lambda _job, _node: None, trials=40, places=2, study=loop.study)
    assert again.run() == "completed"
    # only those that used up their attempts before stay failed
    failed = [t for t in again.study.trials if t.state is TrialState.FAILED]
    assert all(t.attempts == MAX_ATTEMPTS for t in failed)
    assert len(again.study.trials) == 40
    again.study.close()


def test_one_bad_node_among_good_ones_does_not_stop_the_study():
    retries = Retries()
    failure = Failure(Cause.WORKER_LOST, "gone")
    for trial in range(3 * BREAKER):
        retries = retries.failed(trial, "bad", failure, 0.0)
        if trial < 3 * BREAKER - 1:
            assert retries.open(["bad", "good", "fine"]) == ""
    assert "bad 15" in retries.open(["bad", "good", "fine"])  # nothing has come from the others for too long
    assert retries.answered(99).open(["bad"]) == ""


def test_a_node_that_keeps_failing_is_left_alone_longer_each_time():
    now = [0.0]
    health = NodeHealth(clock=lambda: now[0])
    for _ in range(QUARANTINE_AFTER - 1):
        assert not health.failed("bad", "port_taken: 8000")
    assert health.trusted(["bad", "good"]) == ["bad", "good"]
    assert health.failed("bad", "port_taken: 8000")
    assert health.trusted(["bad", "good"]) == ["good"]
    assert health.quarantined("bad") == "port_taken: 8000"
    assert health.trusted(["bad"]) == ["bad"]  # the only one there is: the breaker's matter
    now[0] += QUARANTINE_S
    assert health.trusted(["bad", "good"]) == ["bad", "good"]
    assert health.failed("bad", "again")  # one more failure is enough now
    now[0] += 1.5 * QUARANTINE_S
    assert health.quarantined("bad")
    now[0] += QUARANTINE_S
    assert not health.quarantined("bad")
    health.succeeded("bad")
    assert not health.failed("bad", "once")


def test_failures_of_earlier_runs_and_kills_use_up_no_attempt(tmp_path, monkeypatch):
    """A study killed three times in one trial still tries that trial again after an environment fault."""
    loop = loop_of(tmp_path, monkeypatch, lambda _job, _node: None, trials=1)
    trial = loop.study.ask()
    for _ in range(3):
        loop.study.start_attempt(trial.number, executor="x")
        loop.study.requeue(trial.number)
    again = loop_of(
        tmp_path, monkeypatch, lambda job, _node: Cause.NODE_LOST if job.attempt == 4 else None, trials=1,
        study=loop.study,
    )  # fmt: skip
    assert again.run() == "completed"
    assert [(t.state, t.attempts) for t in again.study.trials] == [(TrialState.COMPLETED, 5)]
    again.study.close()


def test_an_attempt_without_a_result_is_given_up_and_its_place_is_free(tmp_path, monkeypatch, record):
    loop = loop_of(tmp_path, monkeypatch, lambda _job, _node: None, trials=2, places=1)
    loop.executor.plan = lambda job: [] if job.key[1:] == (0, 1) else [1.0]
    began = loop.executor.clock.now
    assert loop.run() == "completed"
    assert [(t.state, t.attempts) for t in loop.study.trials] == [
        (TrialState.COMPLETED, 2),
        (TrialState.COMPLETED, 1),
    ]
    lost, _ = loop.study.ledger.attempts("simulated", 0)
    assert lost.measurement.failure.message.startswith("no result within 102 s")
    record(
        "a worker hangs and never answers",
        "given up after the sum of its deadlines and 60 s, then tried again",
        f"after {lost.measurement.seconds:.0f} s of {loop.executor.clock.now - began:.0f} s (simulated time)",
    )
    loop.study.close()


def test_a_server_that_ignores_sigterm_cannot_stretch_the_time_budget(
    tmp_path, toy_study, autotune_command, record
):
    toy_study(
        budget="{trials: 50, time: 5 s, confirm: 0}",
        workload="{prompt_tokens: 4, output_tokens: 4, precision: 0.001 %, time: 100 s, warmup: 1}",
        system="{use: toy, step: '0.02'}",
        deadlines="{startup: 60 s, measure: 200 s, stop: 2 s}",
    )
    text = (tmp_path / "toy.yaml").read_text()
    stubborn = "parameters:\n  mode: {type: categorical, values: [stubborn, ok]}"
    (tmp_path / "toy.yaml").write_text(text.replace("parameters:", stubborn))
    autotune_command("run", "toy.yaml", "--local", check=False)
    with Ledger.open(tmp_path / "autotune-runs" / "ledger.sqlite", read_only=True) as ledger:
        spent = ledger.study_notes("toy")["spent_s"]
        states = {trial.state for trial in ledger.trials("toy")}
    # a default that was cut off waits for more time
    assert states <= {TrialState.ABANDONED, TrialState.WAITING, TrialState.COMPLETED}
    assert states != {TrialState.COMPLETED}
    assert works_in(tmp_path / "autotune-runs") == []
    assert 5 <= spent < 5 + 2 + 10  # the grace, and what a busy machine takes to end a worker
    record(
        "the time budget ends in the middle of a trial whose server ignores SIGTERM",
        "the study ends within one stop grace",
        f"{spent - 5:.1f} s after its end, with a grace of 2 s",
    )


class Held(Messages):
    """Nodes that other jobs hold until a time; ``away`` says that no node lives meanwhile."""

    until, away = 0.0, False

    def has_room(self, resources, beside=()):
        return self.clock.now >= self.until and super().has_room(resources, beside)

    def held(self, resources):
        return "" if self.away else "node-0: 4 of 4 CPUs held by other jobs"

    def waits_elsewhere(self, resources, avoid, beside=()):
        return False


@pytest.mark.parametrize(
    ("away", "seconds", "said"),
    [
        (False, 7200.0, "waiting for room: trial 0 needs 1 cpus; node-0: 4 of 4 CPUs held by other jobs"),
        (True, 300.0, "waiting for room: trial 0 needs 1 cpus; no node that lives can hold it"),
    ],
)
def test_what_is_waited_for_is_said_once_and_within_seconds(tmp_path, monkeypatch, away, seconds, said):
    executor = Held(Clock(), lambda _job: [0.5], 1)
    executor.until, executor.away = executor.clock.now + seconds, away
    loop = simulate(study_file(tmp_path, 3), None, monkeypatch, executor=executor)
    told = []
    loop.screen.message = lambda text: told.append((text, executor.clock.now))
    began = executor.clock.now
    with loop.study:
        assert loop.run() == "completed"
    assert [text for text, _ in told] == [said]
    assert told[0][1] - began < 10


@pytest.mark.parametrize(("away", "limit"), [(False, 86400.0), (True, 600.0)])
def test_room_that_never_comes_ends_the_study(tmp_path, monkeypatch, away, limit):
    executor = Held(Clock(), lambda _job: [0.5], 1)
    executor.until, executor.away = float("inf"), away
    loop = simulate(study_file(tmp_path, 3), None, monkeypatch, executor=executor)
    monkeypatch.setattr("autotune.study.driver.POLL_S", 50.0)
    began = executor.clock.now
    with loop.study, pytest.raises(EnvironmentProblem, match="of 1 nodes has had room"):
        loop.run()
    assert limit < executor.clock.now - began < limit + 200


def test_trials_are_put_back_before_what_runs_is_waited_for(tmp_path, monkeypatch):
    """A second Ctrl-C while a server has its grace finds the ledger in order."""

    class Slow(Messages):
        def cancel(self):
            states.append([trial.state for trial in loop.study.trials])
            states.append(loop.study.ledger.study(loop.study.name).state)
            raise KeyboardInterrupt

    states = []
    executor = Slow(Clock(), lambda job: [0.5] if job.trial == 0 else [1000.0], 1)
    loop = simulate(study_file(tmp_path, 3), None, monkeypatch, executor=executor)
    loop.screen.update = lambda view: (
        loop.stop.set() if len(view.running) and view.trials[0].metrics else None
    )
    with loop.study, pytest.raises(KeyboardInterrupt):
        loop.run()
    assert states[:2] == [[TrialState.COMPLETED, TrialState.WAITING], "INTERRUPTED"]


@pytest.mark.parametrize("stopped", [True, False])
def test_a_cluster_that_ends_with_us_is_an_interruption(tmp_path, monkeypatch, stopped):
    """As when SIGTERM goes to the driver and to its cluster at once."""

    class Gone(Messages):
        def nodes(self):
            if any(trial.metrics for trial in loop.study.trials):
                if stopped:
                    loop.stop.set()
                raise EnvironmentProblem("the local Ray cluster has ended")
            return super().nodes()

    loop = simulate(study_file(tmp_path, 3), None, monkeypatch,
                    executor=Gone(Clock(), lambda _job: [0.5], 1))  # fmt: skip
    with loop.study:
        if stopped:
            assert loop.run() == "interrupted"
        else:
            with pytest.raises(EnvironmentProblem, match="has ended"):
                loop.run()
        assert loop.study.ledger.study(loop.study.name).state == "INTERRUPTED"

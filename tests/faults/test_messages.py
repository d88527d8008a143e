"""Result messages: lost, delayed, doubled, reordered."""

from collections import Counter

import numpy as np
import pytest
from simulated import Clock, Messages, simulate, study_file

from autotune.core.measurement import LATE, Cause, Failure, Measurement
from autotune.core.trial import TrialState
from autotune.executor.base import AttemptResult
from autotune.study.retries import MAX_ATTEMPTS

LIMIT_S = 20 + 20 + 2 + 60  # of an attempt of the simulated study


def chaos(rng):
    """Plan a message's copies: some lost, some doubled, some so late that nobody waits for them any more."""

    def plan(_job):
        if rng.random() < 0.15:
            return []
        copies = 1 + (rng.random() < 0.3)
        late = rng.random(copies) < 0.2
        return list(np.where(late, rng.uniform(0, 3 * LIMIT_S, copies), rng.uniform(0, 5, copies)))

    return plan


def check_history(loop):
    """Compare the ledger with what the executor delivered; return what happened, counted."""
    study, seen = loop.study, Counter()
    in_time = {r.key: r.measurement for r, late in reversed(loop.executor.delivered) if not late}
    too_late = {r.key: r.measurement for r, late in loop.executor.delivered if late and r.key not in in_time}
    told = []
    for trial in study.trials:
        rows = study.ledger.attempts(study.name, trial.number)
        assert len(rows) == trial.attempts <= MAX_ATTEMPTS
        for row in rows:
            key = (study.name, trial.number, row.attempt)
            if key in in_time:
                assert row.state == "DONE"
                assert row.measurement.metrics == in_time[key].metrics
                told.append(key)
            elif key in too_late:
                assert row.state == "LATE"
                assert row.measurement.failure.cause is Cause.WORKER_LOST
                assert row.measurement.facts[LATE] == too_late[key].to_dict()
            else:
                assert row.state == "DONE"
                assert row.measurement.failure.cause is Cause.WORKER_LOST
            seen["late" if key in too_late else "told" if key in in_time else "lost"] += 1
        if trial.state is TrialState.COMPLETED:
            assert trial.metrics == in_time[study.name, trial.number, trial.attempts].metrics
        else:
            assert trial.state is TrialState.FAILED
            assert not trial.metrics
            assert trial.attempts == MAX_ATTEMPTS
    completed = [t for t in study.trials if t.state is TrialState.COMPLETED]
    seen["twice"] = len(told) - len(completed)  # each measurement enters once, and none beside
    assert seen["twice"] == 0
    seen["doubled"] += sum(n > 1 for n in Counter(r.key for r, _ in loop.executor.delivered).values())
    return seen


def told_of(seen):
    kinds = ("told", "doubled", "late", "lost")
    return ", ".join(f"{seen[kind]} {kind}" for kind in kinds) + f"; {seen['twice']} entered twice"


def shuffles(seeds, folder, monkeypatch):
    spec, seen = study_file(folder), Counter()
    for seed in seeds:
        loop = simulate(spec, chaos(np.random.default_rng(seed)), monkeypatch, places=8, seed=seed)
        assert loop.run() == "completed"
        assert len(loop.study.trials) == 6
        seen += check_history(loop)
        loop.study.close()
    return seen


def test_each_measurement_enters_once_whatever_happens_to_its_message(tmp_path, monkeypatch, record):
    seen = shuffles(range(60), tmp_path, monkeypatch)
    assert min(seen[kind] for kind in ("told", "late", "lost", "doubled")) > 10
    record(
        "60 studies whose messages are lost, delayed, doubled, reordered",
        "each measurement enters once; late ones are kept, not told",
        told_of(seen),
    )


@pytest.mark.slow
def test_each_measurement_enters_once_in_a_thousand_shuffles_of_messages(tmp_path, monkeypatch, record):
    seen = shuffles(range(1000, 2000), tmp_path, monkeypatch)
    record(
        "1,000 such studies",
        "each measurement enters once; late ones are kept, not told",
        told_of(seen),
    )


def test_a_result_of_nobody_changes_nothing(tmp_path, monkeypatch, record):
    spec = study_file(tmp_path, trials=3)
    clock = Clock()

    class Strangers(Messages):
        def wait(self, timeout):
            strange = [(self.study, 99, 1), ("another", 0, 1), (self.study, 0, 99), (self.study, -1, 1)]
            alien = [AttemptResult(key, Measurement()) for key in strange]
            return [*alien, *super().wait(timeout), *alien]

    executor = Strangers(clock, lambda _job: [1.0])
    executor.study = spec.name
    loop = simulate(spec, None, monkeypatch, executor=executor)
    assert loop.run() == "completed"
    assert [t.state for t in loop.study.trials] == [TrialState.COMPLETED] * 3
    assert [len(loop.study.ledger.attempts(spec.name, n)) for n in range(3)] == [1, 1, 1]
    record("results of unknown studies, trials and attempts", "they change nothing", "3 of 3 trials intact")
    loop.study.close()


def test_a_late_result_is_told_to_no_engine_even_after_the_retry(tmp_path, monkeypatch):
    spec = study_file(tmp_path, trials=1)
    delays = {1: [LIMIT_S + 50.0], 2: [80.0]}  # the first attempt's comes while the second runs
    loop = simulate(spec, lambda job: delays[job.attempt], monkeypatch)
    assert loop.run() == "completed"
    first, second = loop.study.ledger.attempts(spec.name, 0)
    assert (first.state, second.state) == ("LATE", "DONE")
    assert first.measurement.facts[LATE]["metrics"]["output_throughput"]["value"] == 0.1
    assert loop.study.trials[0].metrics["output_throughput"].value == 0.2
    assert first.node != second.node  # it was tried again elsewhere
    loop.study.close()


def test_a_doubled_failure_counts_once(tmp_path, monkeypatch):
    """A copy of an environment fault must not trip the breaker or use up attempts."""
    spec = study_file(tmp_path, trials=2, parallel=1)
    clock = Clock()

    class Failing(Messages):
        def result(self, job, node):
            good = super().result(job, node)
            if job.attempt > 1:
                return good
            failed = Measurement(failure=Failure(Cause.PORT_TAKEN, "taken"), started_ns=1, ended_ns=2)
            return AttemptResult(job.key, failed, node)

    loop = simulate(spec, None, monkeypatch, executor=Failing(clock, lambda _job: [1.0] * 12, places=1))
    assert loop.run() == "completed"
    assert [(t.state, t.attempts) for t in loop.study.trials] == [(TrialState.COMPLETED, 2)] * 2
    loop.study.close()

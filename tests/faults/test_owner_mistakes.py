"""An owner's mistake in a parallel study and on several nodes: who is charged, and when the study ends."""

from dataclasses import replace

import pytest
from simulated import Clock, Messages, simulate, study_file

from autotune.core.measurement import Cause, Failure, Measurement
from autotune.core.mistake import mistake_error
from autotune.core.trial import TrialState
from autotune.errors import EnvironmentProblem, SpecError


class Failing(Messages):
    """Attempts that fail as ``fails(job, node)`` says; those for which it gives ``None`` are measured."""

    fails = None

    def result(self, job, node):
        found = super().result(job, node)
        failure = self.fails(job, node)
        return found if failure is None else replace(found, measurement=Measurement(failure=failure))


def loop_of(tmp_path, monkeypatch, fails, plan=lambda job: [1.0], places=4, trials=12):
    executor = Failing(Clock(), plan, places)
    executor.fails = fails
    return simulate(study_file(tmp_path, trials=trials), None, monkeypatch, executor=executor)


CRASH = Failure(Cause.CRASHED_UNDER_LOAD, "KeyError: 'btach'", "Traceback ...\nKeyError: 'btach'")


@pytest.mark.parametrize("first", [0.5, 1.0, 2.0])
def test_the_trials_beside_the_default_are_stopped_or_acquitted(tmp_path, monkeypatch, first):
    """Whether the default's answer comes before, with or after those of the other three."""
    loop = loop_of(tmp_path, monkeypatch, lambda job, node: CRASH,
                   lambda job: [first if job.trial == 0 else 1.0])  # fmt: skip
    with loop.study, pytest.raises(SpecError, match=r"KeyError: 'btach'\n  \| Traceback"):
        loop.run()
    states = [trial.state for trial in loop.study.trials]
    assert states.count(TrialState.FAILED) == 1
    assert set(states) == {TrialState.FAILED, TrialState.WAITING}
    assert not loop.executor.running


def test_a_key_error_of_a_later_configuration_is_its_own(tmp_path, monkeypatch):
    loop = loop_of(tmp_path, monkeypatch, lambda job, node: CRASH if job.trial else None, places=1)
    with loop.study:
        assert loop.run() == "completed"
        states = [trial.state for trial in loop.study.trials]
    assert states == [TrialState.COMPLETED] + [TrialState.INFEASIBLE] * 11


def test_out_of_memory_with_one_message_never_ends_a_study(tmp_path, monkeypatch):
    memory = Failure(Cause.OUT_OF_MEMORY, "MemoryError")
    loop = loop_of(tmp_path, monkeypatch, lambda job, node: memory)
    with loop.study:
        assert loop.run() == "completed"
        assert all(trial.state is TrialState.INFEASIBLE for trial in loop.study.trials)


ABSENT = Failure(Cause.OWNER_MISTAKE, "the engine cannot be run here: No module named 'vllm'")


def test_what_one_node_lacks_is_tried_on_another(tmp_path, monkeypatch):
    loop = loop_of(tmp_path, monkeypatch, lambda job, node: ABSENT if node == "node-0" else None, places=3)
    with loop.study:
        assert loop.run() == "completed"
        assert all(trial.state is TrialState.COMPLETED for trial in loop.study.trials)
        assert max(trial.attempts for trial in loop.study.trials) == 2


@pytest.mark.parametrize("places", [1, 3])
def test_what_every_node_lacks_ends_the_study_as_the_environments(tmp_path, monkeypatch, places):
    loop = loop_of(tmp_path, monkeypatch, lambda job, node: ABSENT, places=places)
    with loop.study, pytest.raises(EnvironmentProblem, match="No module named 'vllm'"):
        loop.run()
    assert max(trial.attempts for trial in loop.study.trials) <= 2
    assert not any(trial.state is TrialState.INFEASIBLE for trial in loop.study.trials)


def test_a_file_that_a_later_configuration_names_ends_the_study_and_keeps_what_was_measured(
    tmp_path, monkeypatch
):
    absent = Failure(Cause.OWNER_MISTAKE, "the model cannot be read: No such file or directory: x-Q4_0.gguf")
    loop = loop_of(tmp_path, monkeypatch, lambda job, node: absent if job.trial == 2 else None, places=1)
    with loop.study, pytest.raises(EnvironmentProblem, match="trial 2: the model cannot be read"):
        loop.run()
    assert [trial.state for trial in loop.study.trials] == [TrialState.COMPLETED] * 2 + [TrialState.FAILED]


def test_a_result_without_the_goal_of_any_system_is_wrong_output(tmp_path, monkeypatch):
    class Other(Messages):
        def result(self, job, node):
            found = super().result(job, node)
            if job.trial == 0:
                return found
            other = {"output_thruput": found.measurement.metrics["output_throughput"]}
            return replace(found, measurement=Measurement(other))

    loop = simulate(study_file(tmp_path, trials=3), None, monkeypatch,
                    executor=Other(Clock(), lambda job: [1.0], 1))  # fmt: skip
    with loop.study:
        assert loop.run() == "completed"
        failures = [trial.failure for trial in loop.study.trials]
    assert failures[0] is None
    for failure in failures[1:]:
        assert failure.cause is Cause.WRONG_OUTPUT
        assert "did you mean 'output_thruput'?" in failure.message


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("http://127.0.0.1:1/v1/models: HTTP 401: Invalid API key; `key_variable: NAME` names ...", 3),
        ("http://127.0.0.1:1/v1/models: ConnectionRefusedError: [Errno 111] Connection refused", 3),
        ("https://[::1]:1/v1/models: SSLCertVerificationError: self-signed certificate", 3),
        ("http://h:1/v1 refuses requests at /v1/completions: HTTP 404: Not Found", 3),
        ("not ready after 15 s: http://h:1/health: HTTP 503: loading", 3),
        ("http://h:1/v1/completions does not know the field 'top': HTTP 400: unrecognized", 2),
        ("no request was answered: no stream: the whole answer came as one application/json", 2),
        ("KeyError: 'http://h: '", 2),
    ],
)
def test_a_server_that_is_not_there_or_lets_nobody_in_is_the_environments(message, code):
    assert mistake_error(Failure(Cause.OWNER_MISTAKE, message), "trial 0").exit_code == code

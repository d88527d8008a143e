"""An owner's mistake in a parallel study and on several nodes: who is charged, and when the study ends."""

import json
import os
import platform
import subprocess
import sys
import threading
from dataclasses import replace

import pytest
import ray
from nodes import Nodes
from simulated import Clock, Messages, simulate, study_file

from autotune.core.measurement import Cause, Failure, Measurement
from autotune.core.mistake import mistake_error
from autotune.core.trial import TrialState
from autotune.errors import EnvironmentProblem, SpecError
from autotune.ledger import Ledger
from field_server import Server


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


ABSENT = Failure(Cause.OWNER_MISTAKE, "the server cannot be run here: No module named 'vllm'")


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
        ("http://h:1/health: HTTP 302: redirected to '/login', which is not followed", 3),
        ("no request was answered: HTTP 307: redirected to '/a', which is not followed", 3),
        ("quality check: http://h:1/v1/completions: HTTP 308: redirected to '/a/', which is ...", 3),
        ("no request was answered: no output tokens but 24 of reasoning that is not shown", 2),
        ("not ready after 15 s: http://h:1/health: HTTP 503: loading", 3),
        ("http://h:1/v1/completions does not know the field 'top': HTTP 400: unrecognized", 2),
        ("no request was answered: no stream: the whole answer came as one application/json", 2),
        ("KeyError: 'http://h: '", 2),
    ],
)
def test_a_server_that_is_not_there_or_lets_nobody_in_is_the_environments(message, code):
    assert mistake_error(Failure(Cause.OWNER_MISTAKE, message), "trial 0").exit_code == code


# -- the whole command on a Ray cluster ---------------------------------------------------------------------

CODE = """
def typo(c):
    return {"speed": c["btach"]}

def absent(c):
    import no_such_package
"""
STUDY = """
name: mine
parameters: {a: {type: int, low: 1, high: 8, default: 2}}
system: SYSTEM
objective: {maximize: speed}
workload: {prompt_tokens: 4, output_tokens: 4, precision: 99 %, time: 1 s, warmup: 1}
budget: {trials: 4, confirm: 0, watch: 0}
engine: {use: random, seed: 0}
tracking: {mlflow: none}
"""
ON_RAY = {
    "typo": ("{use: function, call: 'mine.py:typo'}", "speed", 2, "KeyError: 'btach'"),
    "package": ("{use: function, call: 'mine.py:absent'}", "speed", 3, "No module named 'no_such_package'"),
    "key": (
        "{use: openai_server, url: 'URL', model: m}", "output_throughput", 3,
        "HTTP 401: Invalid API key; `key_variable: NAME`",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    nodes = Nodes(tmp_path_factory.mktemp("cluster"), namespaces=False)
    nodes.join()
    yield nodes
    nodes.close()


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("case", ON_RAY)
def test_on_ray_the_first_trial_says_what_is_wrong(cluster, tmp_path, autotune_command, record, case):
    system, goal, code, said = ON_RAY[case]
    server = Server(manners="auth") if case == "key" else None
    if server is not None:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        system = system.replace("URL", f"http://127.0.0.1:{server.server_address[1]}/auth")
    (tmp_path / "mine.py").write_text(CODE)
    text = STUDY.replace("SYSTEM", system).replace("speed}", f"{goal}}}")
    (tmp_path / "mine.yaml").write_text(text)
    try:
        done = autotune_command("run", "mine.yaml", env=cluster.env, check=False)
    finally:
        if server is not None:
            server.shutdown()
            server.server_close()
    assert done.returncode == code, done.stdout + done.stderr
    assert said in done.stderr
    assert "no configuration is charged" in done.stderr
    with Ledger.open(tmp_path / "autotune-runs" / "ledger.sqlite", read_only=True) as ledger:
        assert ledger.study("mine").state == "INTERRUPTED"
        (trial,) = ledger.trials("mine")
        (attempt,) = ledger.attempts("mine", 0)
    assert (trial.failure.cause, attempt.executor) == (Cause.OWNER_MISTAKE, "ray")
    record(
        f"the owner's mistake on Ray: {case}",
        "said after the first trial, charged to no configuration",
        f"exit code {code} after {attempt.attempt} attempt",
    )


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_on_ray_a_program_that_is_not_there_is_said_before_anything_is_launched(
    cluster, tmp_path, autotune_command
):
    (tmp_path / "mine.yaml").write_text(STUDY.replace("SYSTEM", "{use: command, argv: [./absent, '{a}']}"))
    done = autotune_command("run", "mine.yaml", env=cluster.env, check=False)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "no program './absent'" in done.stderr
    with Ledger.open(tmp_path / "autotune-runs" / "ledger.sqlite", read_only=True) as ledger:
        assert ledger.trials("mine") == []


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_cluster_of_another_version_is_named(cluster, tmp_path, toy_study, autotune_command, record):
    toy_study()
    script = (
        "import json, sys\nfrom ray._raylet import GcsClient\nhead = GcsClient(address=sys.argv[1])\n"
        "key, space = b'CLUSTER_METADATA', b'cluster'\ntold = json.loads(head.internal_kv_get(key, space))\n"
        "told |= json.loads(sys.argv[2])\nhead.internal_kv_put(key, json.dumps(told).encode(), True, space)\n"
        "print(json.dumps(told))\n"
    )

    def say(**versions):
        argv = [sys.executable, "-c", script, cluster.env["RAY_ADDRESS"], json.dumps(versions)]
        env = {**os.environ, **cluster.env}
        subprocess.run(argv, env=env, check=True, timeout=120, capture_output=True)

    say(ray_version="2.9.3", python_version="3.10.4")
    try:
        done = autotune_command("run", "toy.yaml", env=cluster.env, check=False)
    finally:
        say(ray_version=ray.__version__, python_version=platform.python_version())
    assert done.returncode == 3, done.stdout + done.stderr
    assert "runs Ray 2.9.3 on Python 3.10.4, this process Ray" in done.stderr
    record("a cluster of another version of Ray and Python", "refused with both versions", "exit code 3")

"""A launched server serves the trials that differ in their requests only, where the study file allows it."""

import json
import os
import re
import sys

import pytest

from autotune.core.measurement import Cause
from autotune.core.trial import Reason
from autotune.errors import SpecError
from autotune.executor.local import LocalExecutor
from autotune.study.jobs import make_job
from autotune.study.study_file import read_study
from autotune.systems.registry import SystemConfig, build_system
from tests_jobs import results_of
from tests_shared import is_alive, wait_until, works_in

UNIQUE = re.compile("[0-9a-f]{8} ")  # what a prompt of the load begins with, so that no other does
pytestmark = pytest.mark.timeout(300)

SERVER = """
import json, os
import toy_openai
open(f"launched-{os.getpid()}", "w").close()

class Handler(toy_openai.Handler):
    def look(self, asked):
        with open("asked.jsonl", "a") as file:
            file.write(json.dumps([asked.get("top_k"), asked["prompt"]]) + "\\n")
        if asked.get("top_k") == 9 and asked["max_tokens"] > 2:
            os._exit(3)

toy_openai.serve(Handler)
"""


@pytest.fixture
def spec(tmp_path):
    """Return a study of a server with a flag and a field of its requests."""
    (tmp_path / "server.py").write_text(SERVER)
    (tmp_path / "study.yaml").write_text(
        "name: reuse\nparameters:\n"
        "  top_k: {type: ordinal, values: [1, 2, 9]}\n  flag: {type: ordinal, values: [1, 2]}\n"
        f"system: {{use: openai_server, command: ['{sys.executable}', {tmp_path}/server.py, '{{port}}', "
        "'{flag}'], request: [top_k], reuse: true}\n"
        "workload: {prompt_tokens: 8, output_tokens: 4, arrival: concurrency, concurrency: 1, time: 300 ms, "
        "warmup: 1, precision: 90 %}\nobjective: {maximize: output_throughput}\n"
        "deadlines: {startup: 30 s, measure: 30 s, stop: 2 s}\n"
    )
    return read_study(tmp_path / "study.yaml")


@pytest.fixture
def run(spec, tmp_path):
    """Return a function that runs one attempt on the local executor and returns its measurement."""
    executor = LocalExecutor()
    count = iter(range(100))

    def once(top_k, flag, attempt, reason):
        number = next(count)
        scratch = tmp_path / "store" / "reuse" / f"trial-{number}" / "attempt-1"
        config = {"top_k": top_k, "flag": flag}
        job = make_job(spec, "reuse", config, {}, scratch, trial=number, attempt=attempt, reason=reason)
        executor.submit(job)
        (result,) = results_of(executor)
        return result.measurement

    def measure(top_k, flag, *, attempt=1, reason=None):
        for _ in range(3):  # a busy machine makes measurements invalid
            measurement = once(top_k, flag, attempt, reason)
            failure = measurement.failure
            if failure is None or failure.cause.configuration_at_fault or "other trials" in failure.message:
                break
        return measurement

    measure.executor = executor
    yield measure
    executor.close()
    assert works_in(tmp_path) == []


def launch_key(section, config):
    return SystemConfig.from_dict(section).launch_key(config)


def prompts_of(tmp_path):
    """Return the prompts that servers were given, with the field of the trial that asked."""
    files = tmp_path.rglob("asked.jsonl")
    return [tuple(json.loads(line)) for file in files for line in file.read_text().splitlines()]


def test_only_what_changes_the_command_launches_anew(run, tmp_path):
    first, second = run(1, 1), run(2, 1)
    assert first.failure is None
    assert second.failure is None
    assert "launched_by" not in first.facts
    assert second.facts["launched_by"]["attempt"] == 1
    assert second.facts["argv"] == first.facts["argv"]
    launched = list(tmp_path.rglob("launched-*"))
    assert len(launched) == 1
    server = int(launched[0].name.partition("-")[2])
    assert is_alive(server), "it waits for the next trial"
    asked = prompts_of(tmp_path)
    assert {top_k for top_k, _ in asked} == {1, 2}, "the second trial's requests carry its own field"
    loads = {k: {prompt for top_k, prompt in asked if top_k == k and UNIQUE.match(prompt)} for k in (1, 2)}
    assert min(len(prompts) for prompts in loads.values()) > 5
    assert not loads[1] & loads[2], "a cache of prompts would flatter the second trial"

    third = run(2, 2)
    assert "launched_by" not in third.facts
    assert len(list(tmp_path.rglob("launched-*"))) == 2
    assert not is_alive(server), "one that the next trial cannot use is stopped first"


@pytest.mark.parametrize(
    ("attempt", "reason"),
    [
        (2, None),
        (1, Reason.CONFIRM),
        pytest.param(1, Reason.WATCH, marks=pytest.mark.slow),
        pytest.param(1, Reason.REPEAT, marks=pytest.mark.slow),
    ],
)
def test_what_is_compared_or_has_failed_starts_afresh(run, tmp_path, attempt, reason):
    run(1, 1)
    second = run(1, 1, attempt=attempt, reason=reason)
    assert second.failure is None
    assert "launched_by" not in second.facts
    assert len(list(tmp_path.rglob("launched-*"))) == 2
    assert "launched_by" in run(2, 1).facts, "and is used by the next"


def test_a_failure_on_a_server_that_others_used_is_not_the_configurations(run, tmp_path):
    run(1, 1)
    failure = run(9, 1).failure
    assert failure.cause is Cause.INVALID_MEASUREMENT, "to be measured again, on a fresh one"
    assert failure.message.startswith("on a process that other trials had used: ")
    fresh = run(9, 1, attempt=2).failure
    assert fresh.cause is Cause.CRASHED_UNDER_LOAD
    assert run(1, 1).failure is None


def test_a_server_that_died_between_two_trials_is_replaced(run, tmp_path):
    run(1, 1)
    server = int(next(iter(tmp_path.rglob("launched-*"))).name.partition("-")[2])
    os.kill(server, 9)
    wait_until(lambda: not is_alive(server), 90)
    second = run(2, 1)
    assert second.failure is None
    assert "launched_by" not in second.facts


def test_ending_the_executor_ends_what_waits(run, tmp_path):
    run(1, 1)
    assert works_in(tmp_path)
    run.executor.close()
    assert works_in(tmp_path) == []


def test_reuse_is_asked_for(spec):
    section = dict(spec.system.section)
    assert launch_key(section, {"top_k": 1, "flag": 1}) == launch_key(section, {"top_k": 2, "flag": 1})
    assert launch_key(section, {"top_k": 1, "flag": 1}) != launch_key(section, {"top_k": 1, "flag": 2})
    assert launch_key({**section, "reuse": "false"}, {"top_k": 1, "flag": 1}) == ""
    with pytest.raises(SpecError, match="reuse must be true or false, found 'maybe'"):
        build_system({**section, "reuse": "maybe"})
    with pytest.raises(SpecError, match="command starts afresh for every trial"):
        build_system({"use": "command", "argv": ["x"], "reuse": True})


@pytest.mark.parametrize(
    ("section", "one", "same", "other"),
    [
        ({"use": "transformers", "model": "m"}, {"batch_size": 1}, {"batch_size": 8}, {"threads": 2}),
        (
            {"use": "openvino", "model": "m.gguf", "draft_model": "d.gguf", "program": "python3"},
            {"draft_length": 2},
            {"draft_length": 4},
            {"draft_length": 0},
        ),
        ({"use": "vllm", "model": "m"}, {"max_num_seqs": 8}, {"max_num_seqs": 8}, {"max_num_seqs": 16}),
    ],
)
def test_which_parameters_need_only_a_new_request(section, one, same, other):
    section = {**section, "reuse": "true"}
    assert launch_key(section, one) == launch_key(section, same)
    assert launch_key(section, one) != launch_key(section, other)

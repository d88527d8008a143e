"""Other generators: their arguments, their records, programs that fail; a small program plays the tool."""

import json
import stat
import sys
import time

import psutil
import pytest

from autotune.core.endpoint import Endpoint
from autotune.errors import AutotuneError, EnvironmentProblem
from autotune.measure.load import aiperf, guidellm
from autotune.measure.load.aiperf import AIPerf
from autotune.measure.load.base import LoadPlan
from autotune.measure.load.choose import build_generator
from autotune.measure.load.generator import OwnGenerator
from autotune.measure.load.guidellm import GuideLLM
from autotune.measure.load.tool import Task, ToolGenerator, spread
from autotune.measure.workload import Workload

AIPERF_LINE = {
    "metadata": {
        "credit_issued_ns": 1_700_000_000_000_000_000,
        "request_start_ns": 1_700_000_000_002_000_000,
        "request_end_ns": 1_700_000_000_130_000_000,
        "was_cancelled": False,
    },
    "metrics": {
        "time_to_first_token": {"value": 50.5, "unit": "ms"},
        "inter_chunk_latency": {"value": [10.0, 20.0], "unit": "ms"},
        "usage_completion_tokens": {"value": 6, "unit": "tokens"},
        "usage_prompt_tokens": {"value": 64, "unit": "tokens"},
    },
    "error": None,
}
GUIDELLM_ROW = {
    "info": {
        "timings": {
            "targeted_start": 1_700_000_000.0,
            "request_start": 1_700_000_000.0625,
            "first_token_iteration": 1_700_000_000.125,
            "last_token_iteration": 1_700_000_000.5,
            "request_end": 1_700_000_000.75,
            "predecessor_completed": None,
        },
        "error": None,
    },
    "input_metrics": {"text_tokens": 64},
    "output_metrics": {"text_tokens": 4},
}
SINCE = -1_700_000_000_000_000_000


def test_a_record_of_aiperf():
    found = aiperf.record(AIPERF_LINE, 3, SINCE)
    assert (found.id, found.send_ns, found.slip_ns, found.end_ns) == (3, 0, 2_000_000, 130_000_000)
    assert found.arrivals == ((52_500_000, 2), (62_500_000, 2), (82_500_000, 2))
    assert (found.prompt_tokens, found.error) == (64, None)
    failed = {**AIPERF_LINE, "metrics": {}, "error": {"code": 500, "message": "server\ndied"}}
    assert aiperf.record(failed, 0, SINCE).error == "server died"


def test_a_record_of_guidellm():
    found = guidellm.record(GUIDELLM_ROW, 1, SINCE)
    assert (found.send_ns, found.slip_ns, found.end_ns) == (0, 62_500_000, 750_000_000)
    assert found.arrivals == ((125_000_000, 1), (250_000_000, 1), (375_000_000, 1), (500_000_000, 1))
    failed = {"info": {"timings": {"request_start": 1_700_000_000.0}, "error": "HTTP 500"}}
    assert guidellm.record(failed, 0, SINCE).error == "HTTP 500"
    assert spread(5, 5, 1) == ((5, 1),)
    assert spread(5, 9, 0) == ()


@pytest.mark.parametrize(("section", "one"), [({"rate": 5}, True), ({"concurrency": 4}, False),
                                              ({"arrival": "constant", "rate": 5}, False)])  # fmt: skip
def test_one_process_draws_the_arrivals_of_guidellm(section, one):
    """Its processes share the seed: each gap would come as often as there are processes."""
    workload = Workload.from_dict(section)
    found = GuideLLM().environment(LoadPlan(Endpoint("http://127.0.0.1:1", "m"), workload, 5.0))
    assert (found.get("GUIDELLM__MAX_WORKER_PROCESSES") == "1") is one


def program(tmp_path, tool, body):
    """Write a program that is found as the tool."""
    path = tmp_path / tool
    path.write_text(f"#!{sys.executable}\nimport json, pathlib, sys, time\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return {f"AUTOTUNE_{tool.upper()}": str(path)}


def finish(load):
    records, until = [], time.monotonic() + 30
    while not load.ended and time.monotonic() < until:
        records += load.poll(0.2)
    return records


PLAY_AIPERF = f"""
words = sys.argv
assert words[1] == "profile" and words[words.index("--request-rate") + 1] == "5.0", words
lines = pathlib.Path(words[words.index("--input-file") + 1]).read_text().splitlines()
folder = pathlib.Path(words[words.index("--artifact-dir") + 1])
folder.mkdir()
line = json.loads({json.dumps(json.dumps(AIPERF_LINE))})
assert all(json.loads(l)["output_length"] == 6 for l in lines)
(folder / "profile_export.jsonl").write_text((json.dumps(line) + chr(10)) * len(lines))
"""


def plan(stub, stream="measured", **more):
    workload = Workload.from_dict({"rate": 5, "time": "2 s", "output_tokens": 6, "prompt_tokens": 20})
    return LoadPlan(stub.endpoint(tokenize="/tokenize", **more), workload, 5.0, None, stream)


def test_a_tools_records_become_ours(stub, tmp_path):
    load = ToolGenerator(AIPerf(), program(tmp_path, "aiperf", PLAY_AIPERF)).start(plan(stub))
    records = finish(load)
    assert len(records) == 15  # 5 requests/s for 1.5 times 2 s
    assert {r.output_tokens for r in records} == {6}
    assert load.started_ns == min(r.send_ns for r in records)
    assert not load.task.folder.exists()


def test_what_wakes_the_system_is_sent_by_our_own(stub, tmp_path):
    generator = ToolGenerator(AIPerf(), program(tmp_path, "aiperf", "sys.exit(3)"))
    workload = plan(stub).workload
    load = generator.start(LoadPlan(stub.endpoint(), workload, None, 1, "warmup"))
    try:
        assert load.poll(10.0)[0].error is None
    finally:
        load.stop(0.0)


def test_a_tool_that_fails_is_an_error_with_its_words(stub, tmp_path):
    generator = ToolGenerator(GuideLLM(), program(tmp_path, "guidellm", "sys.exit('no such option')"))
    with pytest.raises(AutotuneError, match=r"guidellm gave no records .exit code 1") as caught:
        finish(generator.start(plan(stub)))
    assert "no such option" in caught.value.message


def test_stopping_a_tool_ends_all_that_it_started(stub, tmp_path):
    body = """
import os, subprocess
child = subprocess.Popen(["sleep", "60"])
pathlib.Path(sys.argv[0] + ".pid").write_text(f"{os.getpid()} {child.pid}")
time.sleep(60)
"""
    load = ToolGenerator(GuideLLM(), program(tmp_path, "guidellm", body)).start(plan(stub))
    note, until = tmp_path / "guidellm.pid", time.monotonic() + 20
    while not (note.exists() and note.read_text()) and time.monotonic() < until:
        assert load.poll(0.1) == []
    processes = [psutil.Process(int(pid)) for pid in note.read_text().split()]
    load.stop(0.0)
    assert not psutil.wait_procs(processes, timeout=10)[1]
    assert load.ended


def test_what_a_tool_cannot_do_is_said(stub):
    with pytest.raises(EnvironmentProblem, match="generator aiperf is not installed") as caught:
        ToolGenerator(AIPerf(), {"AUTOTUNE_AIPERF": "/nowhere/aiperf"})
    assert "pip install aiperf" in caught.value.hint
    assert isinstance(build_generator("own"), OwnGenerator)
    secret = stub.endpoint(headers={"Authorization": "Bearer secret-key"})
    generator = ToolGenerator(GuideLLM(), {"AUTOTUNE_GUIDELLM": sys.executable})
    with pytest.raises(EnvironmentProblem, match="would show the endpoint's headers"):
        generator.start(LoadPlan(secret, Workload(), 5.0))


def test_arguments_say_what_the_plan_says(stub, tmp_path):
    def task_of(plan):
        return Task(plan, tmp_path, tmp_path / "p.jsonl", 3.0, 15)

    words = GuideLLM().arguments(task_of(plan(stub)))
    assert json.loads(words[words.index("--profile") + 1]) == {"kind": "poisson", "rate": 5.0}
    closed = LoadPlan(stub.endpoint(), Workload(), None, 4)
    words = GuideLLM().arguments(task_of(closed))
    assert json.loads(words[words.index("--profile") + 1]) == {"kind": "concurrent", "streams": 4}
    words = AIPerf().arguments(task_of(closed))
    assert words[words.index("--concurrency") + 1] == "4"
    bursts = Workload.from_dict({"rate": 5, "burstiness": 0.5, "generator": "aiperf"})
    words = AIPerf().arguments(task_of(LoadPlan(stub.endpoint(), bursts, 5.0)))
    assert words[words.index("--arrival-pattern") + 1] == "gamma"
    assert words[words.index("--arrival-smoothness") + 1] == "0.5"

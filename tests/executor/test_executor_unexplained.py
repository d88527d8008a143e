"""A server that dies with words that nobody recognizes: launched once more before they are a refusal."""

import sys

import pytest

import field_server
from autotune.core.file_names import FIRST_LOG
from autotune.core.measurement import Cause
from autotune.executor.base import Deadlines, Job
from autotune.executor.worker import run_attempt

DIES = """
import pathlib, sys
count = pathlib.Path(sys.argv[1])
number = len(count.read_text()) if count.exists() else 0
count.write_text("x" * (number + 1))
words = {words!r}
print(words[min(number, len(words) - 1)], flush=True)
sys.exit(int(sys.argv[2]))
"""


@pytest.fixture
def attempt(tmp_path):
    def run(*words, code=1):
        program = tmp_path / "server.py"
        program.write_text(DIES.format(words=words))
        command = [sys.executable, str(program), str(tmp_path / "launches"), str(code), "{port}"]
        job = Job(
            study="s", trial=0, attempt=1, config={}, goal="output_throughput", workload={},
            system={"use": "openai_server", "command": command, "model": "m"},
            scratch=str(tmp_path / "t0"), deadlines=Deadlines(30.0, 5.0, 1.0),
        )  # fmt: skip
        measurement = run_attempt(job).measurement
        return measurement, len((tmp_path / "launches").read_text())

    return run


def test_unknown_last_words_are_a_refusal_once_a_fresh_launch_says_the_same(attempt, tmp_path):
    measurement, launches = attempt("flux 0x7f12 of worker 81 is cold", "flux 0x66ab of worker 97 is cold")
    assert launches == 2
    failure = measurement.failure
    assert failure.cause is Cause.REJECTED_FLAGS
    assert failure.message == "flux 0x66ab of worker 97 is cold (in two launches)"
    assert failure.log_tail == "flux 0x66ab of worker 97 is cold"
    assert measurement.facts["first_launch"] == "flux 0x7f12 of worker 81 is cold"
    assert (tmp_path / "t0" / FIRST_LOG).read_text() == "flux 0x7f12 of worker 81 is cold\n"


def test_other_last_words_are_an_unexplained_crash(attempt):
    measurement, launches = attempt("the flux is cold", "the disk is warm")
    assert launches == 2
    assert measurement.failure.cause is Cause.CRASHED_UNDER_LOAD
    assert measurement.failure.message == "the disk is warm; the launch before it: the flux is cold"


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        ("server: error: unrecognized arguments: --x", Cause.REJECTED_FLAGS),
        ("ValueError: heads must be even", Cause.REJECTED_FLAGS),
        ("CUDA out of memory. Tried to allocate 2.00 GiB", Cause.OUT_OF_MEMORY),
        ("OSError: [Errno 98] Address already in use", Cause.PORT_TAKEN),
    ],
)
def test_words_that_explain_need_no_second_launch(attempt, words, cause):
    measurement, launches = attempt(words)
    assert (measurement.failure.cause, launches) == (cause, 1)
    assert "first_launch" not in measurement.facts


def test_a_server_that_comes_up_the_second_time_is_measured(tmp_path):
    program = tmp_path / "server.py"
    program.write_text(
        "import pathlib, runpy, sys\n"
        f"count = pathlib.Path({str(tmp_path / 'launches')!r})\n"
        "if not count.exists():\n    count.write_text('x')\n    sys.exit('the flux is cold')\n"
        f"sys.argv[0] = {field_server.__file__!r}\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    command = [sys.executable, str(program), "{port}"]
    job = Job(
        study="s", trial=0, attempt=1, config={}, goal="output_throughput",
        workload={"concurrency": 2, "prompt_tokens": 8, "output_tokens": 4, "requests": 10, "time": "1 s",
                  "warmup": 0},
        system={"use": "openai_server", "command": command, "model": "m"},
        scratch=str(tmp_path / "t0"), deadlines=Deadlines(30.0, 30.0, 1.0),
    )  # fmt: skip
    measurement = run_attempt(job).measurement
    assert measurement.failure is None, measurement.failure
    assert measurement.facts["first_launch"] == "the flux is cold"
    assert measurement.metrics["output_throughput"].value > 0

"""Programs that are run for what they print: what they leave behind, and what they print without end."""

import subprocess
import sys
import time

import pytest

from autotune.systems import programs
from autotune.systems.programs import run_program


def python(code):
    return [sys.executable, "-c", code]


def test_exit_code_output_and_errors_are_told_apart():
    code = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
    assert run_program(python(code), 60.0) == (3, "out\n", "err\n")


def test_a_process_that_is_left_behind_is_not_waited_for():
    began = time.monotonic()
    code = "import subprocess, sys; p = subprocess.Popen(['sleep', '300']); print(p.pid)"
    status, printed, _ = run_program(python(code), 60.0)
    subprocess.run(["kill", printed.strip()], check=True)  # it lives still
    assert status == 0
    assert time.monotonic() - began < 60.0


def test_the_beginning_of_an_endless_output_is_kept_and_the_time_is_kept_too(monkeypatch):
    monkeypatch.setattr(programs, "MOST_BYTES", 10)
    assert run_program(python("print('a-' * 24_000)"), 60.0)[1] == "a-" * 5
    with pytest.raises(subprocess.TimeoutExpired):
        run_program(python("import time; time.sleep(300)"), 0.2)

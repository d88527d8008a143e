"""The one table of what programs say when they fail: every example is a case."""

import re
from pathlib import Path

import pytest

import autotune
from autotune.core.diagnosis import (
    ABSENT_SIGNS,
    CODE_SIGNS,
    LIBRARIES,
    METRIC_SIGNS,
    NO_AUTOTUNE,
    NO_MEMORY,
    OWNER_SIGNS,
    SERVERS,
    USAGE_SIGNS,
    Reading,
    matcher,
)
from autotune.core.measurement import Cause, Failure
from autotune.core.mistake import blamed, mistake_error
from autotune.errors import EnvironmentProblem
from autotune.systems import diagnosis as servers
from autotune.systems import shortfall
from autotune.systems.own import diagnosis as programs
from autotune.systems.own.protocol import OOM_KILLED
from autotune.systems.registry import build_system
from autotune.systems.served import negotiation

READINGS = (
    *shortfall.READINGS,
    *servers.USELESS,
    *servers.PLACES,
    *(Reading(f"(?i:{one.pattern})", one.example) for one in negotiation.UNKNOWN),
)

TRACE = "INFO: starting\nTraceback (most recent call last):\n{}\nthe last line says nothing"


@pytest.mark.parametrize(
    "rule", [*LIBRARIES, *SERVERS, *OWNER_SIGNS, *NO_AUTOTUNE, *READINGS], ids=lambda rule: rule.pattern
)
def test_a_rule_finds_its_example(rule):
    assert matcher([rule]).search(rule.example)


@pytest.mark.parametrize("reading", shortfall.READINGS, ids=lambda reading: reading.example[:40])
def test_how_much_was_missing_is_read_from_each_example(reading):
    assert shortfall.shortfall(reading.example) > 1.0


@pytest.mark.parametrize("reading", servers.USELESS, ids=lambda reading: reading.pattern)
def test_what_says_only_that_something_is_wrong_is_passed_over(reading):
    said = f"RuntimeError: the flux capacitor is cold\n{reading.example}"
    assert servers.diagnose(1, said).message == "RuntimeError: the flux capacitor is cold"


@pytest.mark.parametrize("reading", servers.PLACES, ids=lambda reading: reading.pattern)
def test_a_place_comes_with_what_is_said_of_it(reading):
    assert servers.diagnose(1, f"{reading.example}\nit is cold").message.strip() == "it is cold"


@pytest.mark.parametrize("rule", [*LIBRARIES, *SERVERS], ids=lambda rule: rule.pattern)
@pytest.mark.parametrize("around", ["{}", TRACE, "[rank1]: {}", "(W pid=7) ERROR 11-25 01:37:17 [a.py:1] {}"])
def test_a_server_that_says_so_failed_of_that(rule, around):
    failure = servers.diagnose(1, around.format(rule.example))
    assert failure.cause is rule.cause
    assert rule.example.strip() in failure.message
    assert failure.message.startswith(rule.meaning)


@pytest.mark.parametrize("rule", LIBRARIES, ids=lambda rule: rule.pattern)
@pytest.mark.parametrize("around", ["{}", TRACE])
def test_a_program_that_says_so_failed_of_that(rule, around):
    assert programs.diagnose(1, around.format(rule.example), {}).cause is rule.cause


@pytest.mark.parametrize("rule", [rule for rule in SERVERS if rule.cause is Cause.REJECTED_FLAGS])
def test_a_program_of_the_owners_is_not_read_as_a_server(rule):
    assert programs.diagnose(1, rule.example, {}).cause is Cause.CRASHED_UNDER_LOAD


@pytest.mark.parametrize("code", [1, 2, 255, None])
def test_words_that_no_rule_knows_are_a_crash(code):
    said = "the flux capacitor is cold"
    assert servers.diagnose(code, said) == Failure(Cause.CRASHED_UNDER_LOAD, said, said)
    assert programs.diagnose(code, said, {}).cause is Cause.CRASHED_UNDER_LOAD


def test_every_system_that_launches_a_server_reads_the_same_table():
    for use, section in {
        "transformers": {"model": "m"},
        "vllm": {"model": "m"},
        "openai_server": {"command": ["x", "{port}"], "model": "m"},
    }.items():
        system = build_system({"use": use, **section})
        found = [system.diagnose(1, rule.example).cause for rule in (*LIBRARIES, *SERVERS)]
        assert found == [rule.cause for rule in (*LIBRARIES, *SERVERS)], use


@pytest.mark.parametrize("rule", LIBRARIES, ids=lambda rule: rule.pattern)
def test_memory_of_any_program_is_told_from_the_rest(rule):
    assert (NO_MEMORY.search(rule.example) is not None) == (rule.cause is Cause.OUT_OF_MEMORY)


def test_the_line_about_the_kernel_is_known():
    assert programs.diagnose(137, OOM_KILLED, {}).cause is Cause.OUT_OF_MEMORY


@pytest.mark.parametrize(
    ("cause", "rules"),
    [
        (Cause.CRASHED_UNDER_LOAD, (*CODE_SIGNS, *USAGE_SIGNS)),
        (Cause.REJECTED_FLAGS, USAGE_SIGNS),
        (Cause.WRONG_OUTPUT, METRIC_SIGNS),
    ],
)
def test_a_mistake_on_the_default_configuration_is_the_owners(cause, rules):
    for rule in rules:
        failure = Failure(cause, rule.example)
        assert blamed(failure, is_default=True, measured=False).cause is rule.cause
        assert blamed(failure, is_default=False, measured=False) is failure
        assert blamed(failure, is_default=True, measured=True) is failure


@pytest.mark.parametrize("rule", ABSENT_SIGNS, ids=lambda rule: rule.pattern)
def test_what_the_machine_lacks_is_an_error_of_the_environment(rule):
    assert isinstance(mistake_error(Failure(rule.cause, rule.example), "trial 0"), EnvironmentProblem)


def test_no_other_module_reads_what_programs_say():
    """Words of a rule in another module would be a second table."""
    telling = ("OutOfMemoryError", "No space left", "No module named", "unrecognized arguments", "in use")
    root = Path(autotune.__file__).parent
    others = [
        f"{path.relative_to(root)}: {word}"
        for path in root.rglob("*.py")
        for word in telling
        if re.search(rf"re\.compile\([^)]*{word}", path.read_text())
    ]
    assert others == []


@pytest.mark.parametrize(
    "said",
    [
        "RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB",
        "RuntimeError: CUDA error: out of memory",
        "RuntimeError: CUDA runtime error (2) : out of memory at /pytorch/THC/THCGeneral.cpp:50",
        "Cuda Runtime (out of memory)",
        "torch.cuda.OutOfMemoryError: HIP out of memory. Tried to allocate 1 GiB",
        "RuntimeError: HIP error: out of memory",
        "RuntimeError: MPS backend out of memory (MPS allocated: 9.0 GB)",
        "RuntimeError: NPU out of memory. Tried to allocate 20.00 MiB",
        "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 8.00 GiB for an array",
    ],
)
def test_devices_that_run_out_of_memory_are_known_whatever_program_says_it(said):
    assert NO_MEMORY.search(said), said
    assert programs.diagnose(1, said, {}).cause is Cause.OUT_OF_MEMORY

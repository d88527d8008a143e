# ruff: noqa: E501 - texts do not wrap
"""What programs print: read in time that grows with its length, whatever it is.

Time of the process is compared, not of the clock, at doubling lengths, the least of several tries of each: a
quadratic pattern needs 64 times as much after three doublings, one of n log n about 10 times.
"""

import json
import re
import time

import pytest

from autotune.core import mistake
from autotune.core.answer import Answer
from autotune.core.measurement import Cause, Failure
from autotune.core.redact import find_secret, redact, visible
from autotune.core.secret_spans import known_values, spans_of
from autotune.executor.attempt_files import last_lines
from autotune.measure.watch.prometheus import read_samples
from autotune.systems import diagnosis, shortfall, vllm
from autotune.systems.own import diagnosis as own
from autotune.systems.own.last_object import last_object
from autotune.systems.served import drift

pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]  # five minutes

ENVIRONMENT = {"A_KEY": "canary-5ecret-value-123", "B_PASSWORD": "two words/and+more"}
UNITS = [
    "a", "a-", "-", " ", "\n", "\t\n", "a ", "1", "1.", "1,", "\\", "%63", "\\u0063", "c\n", "'", '"', "{", "}", "{}",
    "(", "\x1b[", "\x1b[0", "\x1b", "\x9d", "\x1b]a", "\r", "_", "::", "é",
    "token", "token=", "token    ", "api_key=", "password: ", "passwd\"'", "secret_", "hf_", "sk-", "task-sk-", "ghp_",
    "AKIA", "bearer ", "bearer" + " " * 60, "://", "://a:", "://a:b@", "Bearer a", "canary-5ecret-value-12",
    "canary-\x1b[0m5ecret-value-12", "\x1b[31m", "\x1b[31mcanary-5ecret-value-123", "\x1b]8;;", "\x00", "\\u001b[", "\\u001b[0m",
    "%1b[3", "^[[", "\u200b", "\x9b0", "c\x00", "\\", "\\e[0", "token\x1b[1m=", "hf_\x1b[1m0", "\xc2",
    "canary-\n ", "canary-5ecret-value-123 ", "%63anary-5ecret-value-123 ", "Y2FuYXJ5LTVlY3JldC12YWx1ZS0xMjM",
    "{'loss': 0.5, 'epoch': 0.33}\n", '{"a": [1,\n', '{"a": "x\n', '\n{"a": 1},', '{"a":\n', "{\n", '{"a": 1}\n', '"\\"',
    '{"a":[{},', "\n   \n", "[", '{"k"\n', "{1\n", '{"a": {"b": 1}, x\n',
    "Error", "Error: ", "aError", "a.Error\n", "MemoryError", "Warning: ", "aWarning", "(a pid=1) ", "\x1b[0m(", "[rank0]: ",
    "llama_a: ", "llama_a", "memory on device ", "No such file or directory", "couldn't connect to ", "model '",
    "ErrorOutof", "failed to allocate ", "port 1", "Exception from ", "Check '", "Check 'a' failed at a:",
    "Tried to allocate 1 GiB", "Tried to allocate 1 GiB total capacity of 1 GiB of which ", "1 GiB KV cache is needed",
    "max seq len (1) is larger than the maximum number of tokens", "Free memory on device", "Free memory on device (1/1 GiB)",
    "Available memory on node 1 (1/1 GiB)", "error: ", "infeasible ", "cannot start ", "needs 1", "No module named ",
    "a{", "a{}", "a{} ", "a 1 ", "a{b} 1\n", "} ", "a " + "b" * 30, "non-default args: {", "Maximum concurrency for 1,",
    "KV cache size: 1", "Initializing a V1 LLM engine (", "a=", "a='", "a=b", "a=b(,", "-a", "--a-", "-a, ", "  --a", "default: ", "- a", "  OLLAMA_A  ", "(default: ",
]  # fmt: skip
READERS = {
    "redact": lambda text: redact(text, ENVIRONMENT),
    "find_secret": lambda text: find_secret({"a": text, "argv": ["--token", text]}, ENVIRONMENT),
    "visible": visible,
    "last_lines": last_lines,
    "last_object": last_object,
    "own diagnosis": lambda text: own.diagnose(1, text, {"needle": Cause.OUT_OF_MEMORY}),
    "diagnosis of servers": lambda text: diagnosis.diagnose(1, text),
    "shortfall": shortfall.shortfall,
    "mistakes": lambda text: mistake.blamed(
        Failure(Cause.CRASHED_UNDER_LOAD, text), is_default=True, measured=False
    ),
    "absent": lambda text: mistake.mistake_error(Failure(Cause.OWNER_MISTAKE, text), "here"),
    "answer": lambda text: Answer(text).units(by_token=False),
    "prometheus": lambda text: read_samples(text, {"a"}),
    "vLLM's log": lambda text: [vllm.logged(name, text) for name in vllm._LOGGED],
    "vLLM's settings": vllm.effective_settings,
    "vLLM's line of settings": lambda text: vllm.effective_settings(ENGINE + text),
    "help of llama.cpp": drift.llama_cpp_flags,
    "help of Ollama": drift.ollama_flags,
}
ENGINE = "Initializing a V1 LLM engine (v0.32) with config: "
SHORT, DOUBLINGS = 8_000, 3
GROWTH = 3.0**DOUBLINGS  # between the 8 of n, the 10 of n log n, and the 64 of n squared
FLOOR_S = 0.02  # below this nothing hangs, and the clock of the process is too coarse to compare


def seconds(read, text, tries):
    best = float("inf")
    for _ in range(tries):
        began = time.process_time()
        read(text)
        best = min(best, time.process_time() - began)
    return best


def growth(read, unit):
    """Return how much longer a text takes that is eight times as long, and the seconds of that."""
    long = SHORT * 2**DOUBLINGS
    found = (0.0, 0.0)
    for tail in ("", "!"):
        texts = [unit * (size // len(unit)) + tail for size in (SHORT, long)]
        if seconds(read, texts[1], 1) < FLOOR_S:
            continue
        short, slow = (seconds(read, text, tries) for text, tries in zip(texts, (5, 2), strict=True))
        found = max(found, (slow / max(short, FLOOR_S / 2.0 ** (2 * DOUBLINGS)), slow))
    return found


@pytest.mark.parametrize("reader", READERS)
def test_what_reads_a_programs_words_is_linear(reader, record):
    worst = {unit: growth(READERS[reader], unit) for unit in UNITS}
    bad = {unit: found for unit, found in worst.items() if found[0] > GROWTH}
    assert bad == {}
    slowest = max(found[1] for found in worst.values())
    record(f"{2 * len(UNITS)} repetitive texts of doubling length through `{reader}`", "P9: grows no faster than n log n",
           f"{SHORT * 2**DOUBLINGS // 1000} kB: at most {max(1000 * slowest, 1000 * FLOOR_S):.0f} ms")  # fmt: skip


def test_the_measure_sees_a_quadratic_pattern():
    assert growth(re.compile(r"a*b").search, "a")[0] > GROWTH


def test_an_ordinary_log_is_searched_a_fixed_number_of_times(record):
    """The speed is recorded, not asserted: it is the machine's."""
    lines = [
        "INFO 11-29 06:36:04 [loggers.py:123] Engine 000: Avg prompt throughput: 123.4 tokens/s, Running: 3 reqs\n",
        'INFO:     127.0.0.1:45678 - "POST /v1/completions HTTP/1.1" 200 OK\n',
        json.dumps({"id": 1, "start": 0.123, "tokens": 128, "max_tokens": 12}) + "\n",
        "Loading safetensors checkpoint shards: 100% Completed | 4/4 [00:03<00:00] see https://x.y/z\n",
    ]
    block = "".join(lines).encode()
    block *= (1 << 20) // len(block)
    known = known_values(tuple(ENVIRONMENT.values()))
    assert spans_of(block, known) == []
    spent = {
        blocks: seconds(lambda _, n=blocks: [spans_of(block, known) for _ in range(n)], "", 2)
        for blocks in (1, 10)
    }
    speeds = ", ".join(
        f"{blocks} MB at {len(block) * blocks / 1e6 / spent[blocks]:.0f} MB/s" for blocks in spent
    )
    record(
        "an ordinary log is searched for secrets",
        "P9 P11: at the speed of memory, whatever its length",
        speeds,
    )

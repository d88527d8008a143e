"""Files that are damaged, or made to do harm: nothing but SpecError, and soon."""

import os
import random
import time
from pathlib import Path

import pytest

from autotune.errors import SpecError
from autotune.spec.catalogue import find
from autotune.spec.yaml_text import MAX_BYTES
from autotune.study.study_file import read_study
from tests_study_files import GOOD

RICH = """name: rich
description: every kind of section
parameters:
  batch_size: {type: int, low: 1, high: 64, powers_of: 2, scale: log2, default: 2, memory: up}
  quantization_bits: {type: ordinal, values: [4, 8, 16], prior: {weights: {8: 2.5}}}
  draft_length: {type: int, low: 0, high: 8, multiple_of: 2, prior: {around: 2, spread: 1}}
  draft_layers: {type: int, low: 1, high: 3, when: draft_length > 0}
  threads: {type: categorical, values: [1, 2], restart: engine}
derived: {product: batch_size * quantization_bits}
constraints:
  - draft_length == 0 or batch_size == 1
  - product <= 512 and not (batch_size > 32 and quantization_bits == 16)
system: {use: transformers, model: tiny, device: cpu, memory_limit: 2 GiB}
workload: {prompt_tokens: {mean: 64, spread: 8}, time: 30 s, precision: 5 %, goodput: {ttft: 1 s}}
objective: {maximize: output_throughput, minimize: tpot.p95, limits: [quality.perplexity <= 1.02 x default]}
budget: {trials: 12, time: 1 h, parallel: auto}
resources: {cpus: threads * 1, price: 0.5}
engine: sobol
"""
SEEDS = (GOOD, RICH)
SCRAPS = [
    "", "x", "-1", "0", "[", "]", "{", "}", ":", ",", "- ", "1e9", "1e999", "none", "*a", "&a", "!!int", "\t",
    "\n", "nan", '"', "'", "%", "true", "parameters", "type: int", "when: a > b", "\x00", "é", "\ud7ff", "🚀",
    "0x10", "9" * 40, "low", "(", "min(", "<=", " x default", "1_000", "? ", "| ", "> ", "#", "---", "~",
]  # fmt: skip


def mutated(rng):
    """Return a file with a few bytes, words or lines changed, moved, doubled or lost."""
    text = rng.choice(SEEDS)
    for _ in range(rng.choice((1, 1, 2, 3))):
        i, j = sorted(rng.randrange(len(text) + 1) for _ in range(2))
        kind = rng.randrange(12)
        if kind == 0:
            text = text[:i] + rng.choice(SCRAPS) + text[i:]
        elif kind == 1:
            text = text[:i] + text[i + rng.randrange(1, 6) :]
        elif kind == 2:
            text = (
                text[:i]
                + chr(rng.choice((rng.randrange(32), rng.randrange(32, 127), 0x85, 0x2028)))
                + text[i + 1 :]
            )
        elif kind == 3:
            lines = text.split("\n")
            a, b = rng.randrange(len(lines)), rng.randrange(len(lines))
            lines[a], lines[b] = lines[b], lines[a]
            text = "\n".join(lines)
        elif kind == 4:
            lines = text.split("\n")
            lines.insert(rng.randrange(len(lines)), rng.choice(lines))
            text = "\n".join(lines)
        elif kind == 5:
            words = text.split(" ")
            words[rng.randrange(len(words))] = rng.choice((*SCRAPS, *words))
            text = " ".join(words)
        elif kind == 6:
            text = text[:i] + text[j:] if j - i < 80 else text[:j]
        else:  # another number, which is often as good
            digits = [k for k, c in enumerate(text) if c.isdigit()]
            k = rng.choice(digits or [0])
            text = text[:k] + rng.choice("0123456789") + text[k + 1 :]
    return text


@pytest.mark.timeout(600)
@pytest.mark.parametrize("count", [100, pytest.param(20_000, marks=pytest.mark.slow)])
def test_mutated_files_raise_nothing_but_spec_errors(tmp_path, count):
    rng = random.Random(count)
    path = tmp_path / "study.yaml"
    refused = 0
    for number in range(count):
        text = mutated(rng)
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            read_study(path)
        except SpecError as error:
            refused += 1
            place = str(path) in error.message
        except Exception as error:
            raise AssertionError(f"mutation {number}: {type(error).__name__}: {error}\n{text}") from error
        else:
            place = True
        assert place, (number, text)
    assert 0.5 * count < refused < 0.975 * count  # most break something, some do not: both ways were gone


def seconds_to_refuse(path):
    started = time.process_time()
    with pytest.raises(SpecError) as caught:
        read_study(path)
    return time.process_time() - started, caught.value.message


ONE = b"parameters:\n  a: {type: %b}\n"
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (BOMB.encode(), "anchors are not allowed"),
        (b"parameters: !!python/object/apply:os.system ['touch canary']\n", "tags are not allowed"),
        (b"a: " + b"x" * MAX_BYTES, "at most 64 KiB"),
        (b"- " * 30_000, "expected 'key: value' lines at the top"),
        (b"a: " + b"[" * 60_000, "nested more than 12 deep"),
        (b"a: " + b"{b: " * 15_000, "nested more than 12 deep"),
        (b"? " * 30_000 + b"\n", "expected 'key: value' lines|a key must be text|not valid YAML"),
        (b"name: a\x00b\n", "a character that YAML does not allow"),
        (b"\x00" * 1000, "a character that YAML does not allow"),
        (b"\xff\xfe" + "name: a\n".encode("utf-16-le"), "not UTF-8"),
        (b"a: 1\n...\n---\nb: 2\n", "only one document is allowed"),
        (b"<<: {a: 1}\nparameters: {a: {type: bool}}\n", "unknown key '<<'"),
        ("".join(f"k{i}: 1\n" for i in range(7000)).encode(), "unknown key 'k0'"),
        (ONE % b"bool" + b"constraints:\n  - " + b"(" * 150 + b"a" + b"\n", "nests at most 32 deep"),
        (ONE % b"bool" + b"constraints: [\"__import__('os').system('touch canary')\"]\n", "cannot read '.'"),
        (ONE % (b"int, low: 1, high: " + b"9" * 4000), "high must be a whole number"),
        (ONE % b"float, low: 0, high: 1e308, step: 1e-300", "more than 1000000 values"),
    ],
    ids=["bomb", "tag", "large", "sequences", "brackets", "braces", "keys", "nul", "nuls", "utf16",
         "documents", "merge", "many-keys", "parentheses", "import", "digits", "steps"],
)  # fmt: skip
def test_a_hostile_file_is_refused_at_once(content, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "study.yaml"
    path.write_bytes(content)
    seconds, message = seconds_to_refuse(path)
    assert any(part in message for part in said.split("|")), message
    assert (
        seconds < 5
    )  # milliseconds, except where a file as long as allowed has to be read; no test of speed
    assert not (tmp_path / "canary").exists()


def test_links_in_a_circle_devices_and_folders_are_no_files(tmp_path):
    loop = tmp_path / "loop.yaml"
    loop.symlink_to(tmp_path / "other.yaml")
    (tmp_path / "other.yaml").symlink_to(loop)
    pipe = tmp_path / "pipe.yaml"
    os.mkfifo(pipe)
    for path in (loop, tmp_path, pipe, Path("/dev/zero"), tmp_path / "nowhere.yaml"):
        seconds, message = seconds_to_refuse(path)
        assert "no such file" in message or "no regular file" in message or "cannot be read" in message
        assert seconds < 5


def test_a_space_that_names_itself_through_links_ends(tmp_path):
    (tmp_path / "a.yaml").write_text("space: ./b.yaml\n")
    (tmp_path / "b.yaml").symlink_to(tmp_path / "a.yaml")
    _, message = seconds_to_refuse(tmp_path / "a.yaml")
    assert "circle" in message


def test_a_shipped_file_carries_no_path_and_no_command():
    for path in sorted(find("search_spaces", "vllm").parent.glob("*.yaml")):
        text = path.read_text()
        assert not any(word in text for word in ("argv", "command:", "program:", "../", "~/", "$")), path

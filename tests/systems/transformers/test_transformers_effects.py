"""Every parameter changes what really runs: weights, drafted tokens, processes, threads."""

import os
import subprocess
import sys
import time
from importlib.metadata import version

import pytest

from autotune.core.measurement import Cause
from autotune.core.request import Request
from autotune.executor.base import Job
from autotune.executor.worker import run_attempt
from autotune.systems.base import AttemptFailed
from autotune.systems.transformers import loading
from autotune.systems.transformers.generation import Generator
from autotune.systems.transformers.loading import load
from autotune.systems.transformers.options import Options
from tests_shared import is_alive, wait_until

from tests.systems.transformers.conftest import WORKLOAD, launched  # isort: skip

pytestmark = pytest.mark.timeout(
    900
)  # a kernel is compiled where the cache is empty: two minutes of a core and more


@pytest.mark.parametrize("bits", [{"quantization_bits": 4}, {"kv_cache_bits": 4}, {"kv_cache_bits": 2}])
def test_a_kernel_that_generating_needs_is_built_before_anything_is_measured(pair, monkeypatch, bits):
    class BuiltError(Exception):
        pass

    def build():
        raise BuiltError

    monkeypatch.setattr(loading, "build_kernels", build)
    with pytest.raises(BuiltError):
        load(Options(str(pair[0].target), device="cpu", **bits))


@pytest.mark.slow
def test_quantization_changes_the_stored_weights(observed):
    found = {bits: observed(quantization_bits=bits) for bits in (16, 8, 4)}
    stored = {bits: f["facts"]["weight_bytes"]["target"] for bits, f in found.items()}
    assert set(stored[16]) == {"bfloat16", "float32"}
    assert "int8" in stored[8]
    assert "uint8" in stored[4]
    assert "QLinear" not in found[16]["facts"]["linear_layers"]
    for bits in (8, 4):
        assert "QLinear" in found[bits]["facts"]["linear_layers"]
    # the linear layers alone shrink: 8 bits to a half, 4 bits (two in a byte) to a quarter
    linear = stored[8]["int8"]
    assert stored[4]["uint8"] == linear // 2
    assert stored[16]["bfloat16"] == pytest.approx(2 * linear + stored[8]["bfloat16"], rel=0.15)
    sizes = [found[bits]["metrics"]["memory.weights"].value for bits in (16, 8, 4)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == sum(stored[16].values())


SMALL_KERNEL = """
#include <Python.h>
static PyModuleDef made = {PyModuleDef_HEAD_INIT, "quanto_cpp", nullptr, -1, nullptr};
PyMODINIT_FUNC PyInit_quanto_cpp() { return PyModule_Create(&made); }
"""


@pytest.mark.slow
def test_a_compiler_that_was_killed_keeps_no_later_launch_waiting(tmp_path, monkeypatch):
    """With a kernel that does nothing: the real one takes a compiler two minutes."""
    from autotune.systems.transformers.kernels import kernel_folder

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = tmp_path / "small.cpp"
    source.write_text(SMALL_KERNEL)
    folder = kernel_folder(str(source))
    assert tmp_path in folder.parents
    folder.mkdir(parents=True)
    (folder / "lock").touch()  # as torch leaves it
    code = (
        "from optimum.quanto.library.extensions import get_extension\n"
        "from autotune.systems.transformers.kernels import build_kernels\n"
        f"get_extension('quanto_cpp').sources[:] = [{str(source)!r}]\n"
        "build_kernels()"
    )
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], check=True, timeout=200, env=dict(os.environ)
    )
    assert not (folder / "lock").exists()
    assert any(folder.glob("*.so"))


@pytest.mark.slow
def test_a_compiler_of_the_real_kernel_that_was_killed_keeps_no_later_launch_waiting():
    from optimum.quanto.library.extensions import get_extension

    from autotune.systems.transformers.kernels import kernel_folder

    folder = kernel_folder(get_extension("quanto_cpp").sources[0])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "lock").touch()  # as torch leaves it
    code = "from autotune.systems.transformers.kernels import build_kernels; build_kernels()"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=200)
    assert not (folder / "lock").exists()
    assert any(folder.glob("*.so"))


@pytest.mark.slow
def test_quantization_costs_little_quality_in_a_trained_model(observed):
    perplexity = {
        bits: observed(quantization_bits=bits)["metrics"]["quality.perplexity"] for bits in (16, 8, 4)
    }
    assert perplexity[16].value < 40  # of 256 bytes: it has learned something
    assert perplexity[8].value == pytest.approx(perplexity[16].value, rel=0.02)
    assert perplexity[16].value != perplexity[4].value
    assert perplexity[16].n > 1
    assert perplexity[16].sem > 0


def test_drafting_accepts_real_tokens_and_changes_no_answer(observed):
    plain, drafted = observed(quantization_bits=16), observed(draft_length=3)
    assert drafted["tokens"] == plain["tokens"]
    assert "draft" in drafted["facts"]["weight_bytes"]
    assert "draft" not in plain["facts"]["weight_bytes"]
    length, rate = drafted["metrics"]["acceptance_length"], drafted["metrics"]["acceptance_rate"]
    assert 1.0 < length.value <= 4.0
    assert 0.0 < rate.value <= 1.0
    assert length.n > 1
    assert "acceptance_length" not in plain["metrics"]
    (record,) = drafted["records"]
    assert record.output_tokens == 20
    assert len(record.arrivals) < 20  # several tokens came at once
    assert max(count for _, count in record.arrivals) > 1
    assert [count for _, count in plain["records"][0].arrivals] == [1] * 20


def test_the_first_layers_can_draft_for_the_whole_model(observed):
    plain, drafted = observed(quantization_bits=16), observed(draft_length=3, draft_layers=2)
    assert drafted["tokens"] == plain["tokens"]
    assert "draft" not in drafted["facts"]["weight_bytes"]  # no second model was loaded
    assert 1.0 < drafted["metrics"]["acceptance_length"].value <= 4.0
    (record,) = drafted["records"]
    assert record.output_tokens == 20
    assert len(record.arrivals) < 20


def test_skipped_layers_do_not_run_while_drafting(pair):
    loaded = load(Options(str(pair[0].target), device="cpu", draft_length=3, draft_layers=1))
    passes = [0, 0]

    def count(layer):
        def hook(*_):
            passes[layer] += 1

        return hook

    for i, layer in enumerate(loaded.model.model.layers):
        layer.register_forward_hook(count(i))
    generator = Generator(loaded, draft_length=3, draft_layers=1)
    generator.run(WORKLOAD.batch(0, 1))
    first, last = passes
    assert last == len(generator.drafting.steps)  # one pass of the whole model per step
    assert first > 2 * last  # and up to three of the first layer alone before it


@pytest.mark.slow
def test_fewer_bits_of_the_kv_cache_are_what_is_kept(observed):
    plain, quantized = observed(quantization_bits=16), observed(kv_cache_bits=4)
    assert "kv_cache" not in plain["facts"]
    assert quantized["facts"]["kv_cache"] == {"kind": "QuantizedCache", "bits": 4}
    assert len(quantized["tokens"][0]) == 20


@pytest.mark.slow
def test_two_bits_of_the_kv_cache_are_two(observed):
    assert observed(kv_cache_bits=2)["facts"]["kv_cache"]["bits"] == 2


def test_tensor_parallelism_splits_the_weights_over_real_processes(system, observed, tmp_path):
    alone = observed(quantization_bits=16)
    with launched(system, {"tensor_parallel": 2}, tmp_path) as (driver, process):
        facts = driver.facts()
        ranks = facts["ranks"]
        assert [rank["rank"] for rank in ranks] == [0, 1]
        assert facts["world_size"] == 2
        pids = [rank["pid"] for rank in ranks]
        assert len(set(pids)) == 2
        assert all(is_alive(pid) for pid in pids)
        whole = sum(alone["facts"]["weight_bytes"]["target"].values())
        off = 0.1 if version("transformers") > "5.20.0" else 0.2  # which leaves each rank one matrix whole
        for rank in ranks:
            assert sum(rank["weight_bytes"]["target"].values()) == pytest.approx(whole / 2, rel=off)
        requests = WORKLOAD.batch(0, 1)
        assert driver.tokens(requests, time.monotonic() + 60) == alone["tokens"]
        metrics = driver.metrics(time.monotonic() + 60)
        assert metrics["memory.peak"].value > 1.5 * alone["metrics"]["memory.peak"].value
        assert process.pid in pids
    wait_until(lambda: not any(is_alive(pid) for pid in pids), 90)


@pytest.mark.slow
def test_quantization_drafting_and_tensor_parallelism_go_together(observed):
    found = observed(quantization_bits=8, draft_length=2, tensor_parallel=2)
    assert len(found["facts"]["ranks"]) == 2
    assert "int8" in found["facts"]["ranks"][1]["weight_bytes"]["target"]
    assert found["metrics"]["acceptance_length"].value > 1.0


@pytest.mark.slow
def test_threads_and_batch_size_are_what_runs(observed):
    found = observed(batch_size=3, threads=1)
    assert found["facts"]["threads"] == 1
    assert observed(threads=2)["facts"]["threads"] == 2
    assert len(found["records"]) == 3
    sent = {record.send_ns for record in found["records"]}
    assert len(sent) == 1  # together
    assert found["tokens"][0] == observed(quantization_bits=16)["tokens"][0]


def test_requests_of_different_lengths_share_a_batch(system, tmp_path):
    requests = [Request(0, "for x in range(10):", 5, 7), Request(1, "import os", 12, 3)]
    with launched(system, {"batch_size": 2}, tmp_path) as (driver, _):
        records = driver.generate(requests, time.monotonic() + 60)
        assert [r.prompt_tokens for r in records] == [7, 3]
        assert [r.output_tokens for r in records] == [5, 12]
        assert records[0].end_ns < records[1].end_ns
        for record in records:
            times = [moment for moment, _ in record.arrivals]
            assert times == sorted(times)
            assert record.send_ns < times[0]
        # a server outlives a refused operation
        with pytest.raises(AttemptFailed, match="no answer"):
            driver.generate(requests, time.monotonic())


def test_a_whole_attempt_measures_every_metric_with_its_error(system, tmp_path):
    job = Job(
        study="s", trial=0, attempt=1, config={"batch_size": 2, "quantization_bits": 8, "threads": 1},
        system={"use": "transformers", **system.to_dict()},
        workload={"prompt_tokens": "16", "output_tokens": "8", "time": "2 s", "precision": "20 %"},
        goal="output_throughput", scratch=str(tmp_path / "s" / "trial-0000" / "attempt-1"),
    )  # fmt: skip
    for _ in range(5):  # as the runner does: what a busy machine spoiled is measured again
        measurement = run_attempt(job).measurement
        if measurement.failure is None or measurement.failure.cause is not Cause.INVALID_MEASUREMENT:
            break
    assert measurement.failure is None, measurement.failure
    metrics = measurement.metrics
    for family in ("ttft", "tpot", "e2e"):
        for statistic in ("p50", "p95", "p99"):
            estimate = metrics[f"{family}.{statistic}"]
            assert estimate.value > 0
            assert estimate.sem is not None
            assert estimate.n >= 5
            assert estimate.unit == "s"
    assert metrics["output_throughput"].unit == "tokens/s"
    assert metrics["memory.peak"].value > 50e6
    assert metrics["tpot.p50"].value <= metrics["tpot.p99"].value
    assert metrics["ttft.p50"].value < metrics["e2e.p50"].value
    facts = measurement.facts
    assert facts["measured"]["batches"] >= 5
    assert facts["system"]["quantization_bits"] == 8
    assert "--quantization-bits" in facts["argv"]
    assert set(measurement.artifacts) == {"command.txt", "requests.jsonl", "server.log"}


def test_a_memory_limit_makes_a_real_out_of_memory_failure(system, tmp_path):
    section = {"use": "transformers", **system.to_dict(), "memory_limit": "700 MB"}
    job = Job(
        study="s", trial=0, attempt=1, config={"batch_size": 4096}, system=section,
        workload={"prompt_tokens": "512", "output_tokens": "4", "time": "2 s"},
        goal="output_throughput", scratch=str(tmp_path / "s" / "trial-0000" / "attempt-1"),
    )  # fmt: skip
    failure = run_attempt(job).measurement.failure
    assert failure.cause is Cause.OUT_OF_MEMORY, failure


def test_a_folder_without_a_model_is_refused_with_the_librarys_words(system, tmp_path):
    (tmp_path / "empty").mkdir()
    job = Job(
        study="s", trial=0, attempt=1, config={}, workload={},
        system={"use": "transformers", "model": str(tmp_path / "empty")},
        goal="output_throughput", scratch=str(tmp_path / "s" / "trial-0000" / "attempt-1"),
    )  # fmt: skip
    failure = run_attempt(job).measurement.failure
    assert failure.cause is Cause.REJECTED_FLAGS
    assert "config.json" in failure.log_tail

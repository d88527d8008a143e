"""The CUDA path of the transformers system; run with ``pytest -m gpu`` on a machine with a GPU."""

import time

import pytest

from autotune.executor.base import Job
from autotune.executor.worker import run_attempt
from autotune.systems.transformers.make_model import HELD_OUT
from autotune.systems.transformers.system import TransformersSystem

from tests.systems.transformers.conftest import WORKLOAD, launched, pair  # noqa: F401 - a fixture  # isort: skip

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(600)]


@pytest.fixture
def cuda_system(pair):  # noqa: F811 - the fixture above
    paths, _ = pair
    section = {"model": str(paths.target), "draft_model": str(paths.draft), "device": "cuda"}
    return TransformersSystem.from_dict({**section, "perplexity_text": str(paths.target / HELD_OUT)})


def test_bits_change_the_memory_of_the_gpu(cuda_system, tmp_path):
    sizes = {}
    for bits in (16, 8, 4):
        with launched(cuda_system, {"quantization_bits": bits}, tmp_path / str(bits)) as (driver, _):
            assert driver.facts()["device"].startswith("cuda")
            driver.generate(WORKLOAD.batch(0, 1), time.monotonic() + 300)
            metrics = driver.metrics(time.monotonic() + 60)
            sizes[bits] = metrics["memory.weights"].value
            assert metrics["memory.peak"].value >= metrics["memory.weights"].value
    assert sizes[16] > sizes[8] > sizes[4]


def test_a_whole_attempt_with_drafting(cuda_system, tmp_path):
    job = Job(
        study="s", trial=0, attempt=1, config={"draft_length": 3},
        system={"use": "transformers", **cuda_system.to_dict()},
        workload={"prompt_tokens": "16", "output_tokens": "16", "time": "3 s", "precision": "20 %"},
        goal="output_throughput", scratch=str(tmp_path / "s" / "trial-0000" / "attempt-1"),
    )  # fmt: skip
    measurement = run_attempt(job).measurement
    assert measurement.failure is None, measurement.failure
    assert measurement.metrics["acceptance_length"].value > 1.0
    assert measurement.facts["hardware"]["gpus"]


def test_tensor_parallelism_over_two_gpus_speaks_nccl(cuda_system, tmp_path):
    import torch

    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    with launched(cuda_system, {"tensor_parallel": 2}, tmp_path) as (driver, _):
        ranks = driver.facts()["ranks"]
        assert [rank["device"] for rank in ranks] == ["cuda:0", "cuda:1"]
        assert len(driver.generate(WORKLOAD.batch(0, 1), time.monotonic() + 300)) == 1

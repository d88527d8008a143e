"""How much memory was missing is read from the messages that servers print."""

import pytest

from autotune.core.measurement import Cause, Failure
from autotune.errors import SpecError
from autotune.systems.diagnosis import diagnose
from autotune.systems.shortfall import shortfall

TORCH = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of "
    "16.00 GiB of which 1024.00 MiB is free. Process 2493055 has 12.02 GiB memory in use."
)
TEXTS = [
    (TORCH, 17 / 16),
    (
        "ValueError: To serve at least one request with the models's max seq len (13107), (4.00 GiB KV cache "
        "is needed, which is larger than the available KV cache memory (0.5 GiB). Based on",
        8.0,
    ),
    (
        "To serve at least one request with the models's max seq len (32768), (2.0 GB KV cache is"
        "needed, which is larger than the available KV Cache memory (1.6 GB). Try increasing",
        1.25,
    ),
    (
        "The model's max seq len (32768) is larger than the maximum number of tokens that can be stored in "
        "KV cache (8192). Try increasing `gpu_memory_utilization`",
        4.0,
    ),
    (
        "ValueError: Free memory on device cuda:0 (100.0/121.69 GiB) on startup is less than desired GPU "
        "memory utilization (0.89, 108.3 GiB).",
        1.083,
    ),
]


@pytest.mark.parametrize(("text", "ratio"), TEXTS)
def test_the_ratio_is_read(text, ratio):
    assert shortfall(f"before\n{text}\nafter") == pytest.approx(ratio)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "CUDA out of memory",
        "MemoryError",
        TORCH.replace("2.00 GiB", "0.10 GiB"),
        "KV cache memory (0 GiB)",
    ],
)
def test_nothing_is_made_up(text):
    assert shortfall(text) is None


def test_a_diagnosis_carries_it_and_it_survives_the_ledger():
    failure = diagnose(1, TORCH)
    assert failure.cause is Cause.OUT_OF_MEMORY
    assert failure.shortfall == pytest.approx(17 / 16)
    assert Failure.from_dict(failure.to_dict()) == failure
    assert "shortfall" not in Failure(Cause.OUT_OF_MEMORY).to_dict()


@pytest.mark.parametrize("wrong", [1.0, 0.5, float("nan"), float("inf")])
def test_a_wrong_shortfall_is_refused(wrong):
    with pytest.raises(SpecError, match="above 1"):
        Failure(Cause.OUT_OF_MEMORY, shortfall=wrong)

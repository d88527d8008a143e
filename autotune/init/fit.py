"""What of a model fits where: bytes of weights and of the cache, splits over GPUs, times by a roofline [R]_.

The arithmetic is that of a decoder-only transformer. It is good to a factor of two, which is enough to leave
out what cannot work and to say how long a trial takes; what it leaves in is measured.

.. [R] Williams et al., Roofline: an insightful visual performance model, CACM 2009.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from autotune.init.machine import GIB, Machine
from autotune.init.model import ModelCard
from autotune.init.workloads import Load

_SHARE = 0.92  # of a GPU's memory that servers take by default (vLLM 0.32)
_GPU_OVERHEAD = int(2.5 * GIB)  # context of the driver, activations, graphs
_HOST_SHARE = 0.8  # of the host's memory: the rest is for everything else that runs
_HOST_OVERHEAD = int(0.75 * GIB)  # a Python with its libraries
_SCALES = 1.07  # scales and zero points of weights below 16 bits, groups of 64 to 128
# Sustained: half of what NVIDIA's data sheets say for 16 bits without sparsity, 3/4 of the bandwidth.
_GPU_FLOPS = {9.0: 4e14, 8.0: 1.2e14, 0.0: 4e13}
_GPU_BANDWIDTH = {
    "H200": 3.6e12,
    "B200": 6e12,
    "H100": 2.5e12,
    "A100": 1.4e12,
    "L40": 6e11,
    "L4": 2.2e11,
    "4090": 7.5e11,
    "3090": 7e11,
    "5090": 1.3e12,
    "A10": 4.5e11,
    "T4": 2.4e11,
}
_GPU_BANDWIDTH_ELSE = 5e11
_CORE_FLOPS = 6e10  # of one core with AVX2 at 3 GHz: two thirds of its peak
_HOST_BANDWIDTH = 2e10  # two channels of DDR4, of which half is left to one program


@dataclass(frozen=True)
class Fit:
    """Arithmetic of one model under one load on one machine.

    Args:
        card: The model.
        machine: The machine.
        load: The load.
        on_gpu: Whether it runs on the GPUs; else on the processors.
    """

    card: ModelCard
    machine: Machine
    load: Load
    on_gpu: bool

    @property
    def devices(self) -> int:
        """Devices that a model may be split over: GPUs, or the host as one."""
        return len(self.machine.gpus) if self.on_gpu else 1

    def weights(self, bits: float = 16) -> int:
        """Return the bytes of the weights at a number of bits; embeddings stay at 16.

        A model that is quantized already has the bytes that it has.
        """
        card = self.card
        if card.quantization or not card.parameters:
            return card.stored
        embeddings = min(card.parameters, 2 * card.vocabulary * card.hidden)
        scales = _SCALES if bits < 16 else 1.0
        return int((card.parameters - embeddings) * bits / 8 * scales + embeddings * 2)

    def per_token(self, bits: float = 16) -> int:
        """Return the bytes that one token takes in the cache, over all layers."""
        return int(self.card.layers * self.card.kv_width * bits / 8)

    def room(self, bits: float, devices: int = 1) -> int:
        """Return the bytes that weights and activations leave to the cache; below 0 where they do not fit."""
        if self.on_gpu:
            usable = int(_SHARE * self.machine.gpu_memory) - _GPU_OVERHEAD
            return devices * usable - self.weights(bits)
        return int(_HOST_SHARE * self.machine.memory) - _HOST_OVERHEAD - self.weights(bits)

    def requests(self, bits: float, devices: int = 1) -> int:
        """Return how many requests of usual length fit into the cache at once."""
        each = self.per_token() * self.load.mean
        return self.room(bits, devices) // each if each else 1 << 20

    def fits(self, bits: float, devices: int = 1) -> bool:
        """Return whether weights and the longest request fit."""
        return self.room(bits, devices) >= self.per_token() * self.load.longest

    def splits(self) -> tuple[int, ...]:
        """Return the numbers of GPUs that the model's heads can be divided over."""
        heads, kv_heads = self.card.heads, self.card.kv_heads
        divides = [size for size in powers(min(self.devices, 128)) if heads and heads % size == 0]
        return tuple(
            size for size in divides or [1] if size == 1 or kv_heads % size == 0 or size % kv_heads == 0
        )

    def smallest_split(self, bits: float) -> int:
        """Return the fewest GPUs that hold the model at a number of bits; 0 where none do."""
        return next((size for size in self.splits() if self.fits(bits, size)), 0)

    def fitting_bits(self, offered: Sequence[int]) -> tuple[int, ...]:
        """Return which of the offered bits fit at all."""
        return tuple(bits for bits in offered if self.smallest_split(bits))

    @property
    def bandwidth(self) -> float:
        """Bytes per second that one device reads its memory with."""
        if not self.on_gpu:
            return _HOST_BANDWIDTH
        name = self.machine.gpus[0].name.upper()
        return next((value for word, value in _GPU_BANDWIDTH.items() if word in name), _GPU_BANDWIDTH_ELSE)

    @property
    def flops(self) -> float:
        """Operations per second of one device."""
        if not self.on_gpu:
            return _CORE_FLOPS * self.machine.workers
        capability = self.machine.capability
        return next(value for least, value in _GPU_FLOPS.items() if capability >= least)

    def prefill_s(self, devices: int = 1) -> float:
        """Return the seconds of one prompt alone. Formula: 2 x weights x tokens / operations per second."""
        return 2 * self.card.parameters * (self.load.shared + self.load.prompt[0]) / self.flops / devices

    def token_s(self, bits: float, devices: int = 1) -> float:
        """Return the seconds of one token alone. Formula: bytes of the weights / bandwidth."""
        return self.weights(bits) / self.bandwidth / devices

    def request_s(self, bits: float, devices: int = 1) -> float:
        """Return the seconds of one request alone."""
        return self.prefill_s(devices) + self.load.output[0] * self.token_s(bits, devices)


def power_below(number: float, least: int = 1, most: int = 1 << 20) -> int:
    """Return the largest power of two that is not above a number, within bounds."""
    return max(least, min(most, 1 << max(0, math.floor(math.log2(max(1.0, number))))))


def power_above(number: float, most: int = 1 << 20) -> int:
    """Return the smallest power of two that is not below a number, up to a bound."""
    return min(most, 1 << max(0, math.ceil(math.log2(max(1.0, number)))))


def powers(most: int) -> list[int]:
    """Return the powers of two from 1 to a number."""
    return [1 << n for n in range(most.bit_length())]


def rounded_up(number: float, step: int) -> int:
    """Return the next multiple of a step."""
    return math.ceil(number / step) * step

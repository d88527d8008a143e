"""What the process itself knows after the load: memory, acceptance, perplexity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from autotune.core.measurement import Estimate
from autotune.systems.transformers.generation import Drafting
from autotune.systems.transformers.loading import Loaded

_WINDOW = 256  # tokens scored at once; each window is one observation of the standard error
_WINDOWS = 16


def peak_memory(device: torch.device) -> int:
    """Return the most memory this process ever held, in bytes: on its GPU, or resident.

    Source: ``VmHWM`` of ``/proc/self/status``; the allocator's own count on CUDA.
    """
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the kernel does not tell the peak memory (VmHWM)")


def acceptance(drafting: Drafting) -> dict[str, Estimate]:
    """Return how well the draft is agreed with; empty without drafting.

    Formula: acceptance_length = tokens / steps of the target; acceptance_rate = accepted / drafted tokens.
    Source: [Leviathan2023] Y. Leviathan, M. Kalman, Y. Matias, "Fast inference from transformers via
    speculative decoding", ICML 2023.
    """
    steps = drafting.steps
    if len(steps) < 2 or not drafting.drafted:
        return {}
    rate = drafting.accepted / drafting.drafted
    rate_error = math.sqrt(max(rate * (1 - rate), 0.0) / drafting.drafted)
    return {
        "acceptance_length": Estimate.mean_of(steps),
        "acceptance_rate": Estimate(rate, rate_error, drafting.drafted, "1"),
    }


def window_losses(loaded: Loaded, text: str) -> list[float]:
    """Return the mean negative log likelihood per token of each window of ``text``, in nats."""
    ids = loaded.tokenizer(text, verbose=False)["input_ids"]
    losses = []
    for start in range(0, min(len(ids), _WINDOW * _WINDOWS) - 1, _WINDOW):
        piece = torch.tensor([ids[start : start + _WINDOW]], device=loaded.device)
        if piece.shape[1] < 2:
            break
        with torch.no_grad():
            logits: Any = loaded.model(piece).logits
        loss = torch.nn.functional.cross_entropy(logits[0, :-1].float(), piece[0, 1:])
        losses.append(float(loss))
    return losses


def perplexity(losses: Sequence[float]) -> Estimate | None:
    """Return the perplexity from the losses of windows, or ``None`` from fewer than two.

    Formula: exp(mean of the windows' mean negative log likelihoods); the error by the delta method.
    """
    return None if len(losses) < 2 else Estimate.mean_of(losses).exp()

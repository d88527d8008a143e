"""Generate a batch and record when each token came."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from transformers import QuantizedCache
from transformers.generation.streamers import BaseStreamer

from autotune.core.request import Request, RequestRecord
from autotune.systems.transformers.loading import Loaded


class Clock(BaseStreamer):
    """The time of every arrival of tokens; the first is the prompt's and is left out.

    ``generate`` hands tokens over after copying them to the processor, which on CUDA waits for the
    kernels that made them: the times are of tokens that are really there.
    """

    def __init__(self) -> None:
        self.arrivals: list[tuple[int, int]] = []
        self._prompt_seen = False

    def put(self, value: torch.Tensor) -> None:
        """Record an arrival: one token per sequence, or several of one sequence when drafting."""
        now = time.monotonic_ns()
        if not self._prompt_seen:
            self._prompt_seen = True
            return
        self.arrivals.append((now, value.shape[-1] if value.dim() > 1 else 1))

    def end(self) -> None:
        """Do nothing: the last arrival is the end."""


class AssistedClock(Clock):
    """The arrivals of drafting, where the tokens of one step come together."""

    def put(self, value: torch.Tensor) -> None:
        """Record an arrival of all the tokens that one step accepted."""
        now = time.monotonic_ns()
        if not self._prompt_seen:
            self._prompt_seen = True
            return
        self.arrivals.append((now, int(value.numel())))


@dataclass
class Drafting:
    """The yield of drafting, over all generations since the last reset.

    Args:
        steps: Tokens that each step of the target gave: accepted ones and its own.
        drafted: Tokens drafted.
        accepted: Number of those that the target agreed with.
    """

    steps: list[int] = field(default_factory=list)
    drafted: int = 0
    accepted: int = 0

    def add(self, gains: Sequence[int], draft_length: int, wanted: int) -> None:
        """Count one generation of ``wanted`` tokens in steps that gave ``gains`` tokens each."""
        made = 0
        for gain in gains:
            # the library drafts no further than the end, and the target adds one token of its own
            self.drafted += max(0, min(draft_length, wanted - made - 1))
            self.accepted += gain - 1
            made += gain
        self.steps += gains


class Generator:
    """Runner of batches on a loaded model; with tensor parallelism every rank runs the same ones.

    Args:
        loaded: The model.
        draft_length: Tokens drafted per step; 0 without drafting.
        draft_layers: First layers of the model that draft where there is no draft model.
        kv_cache_bits: Bits of cached keys and values; 16 leaves them as they are.
    """

    def __init__(
        self, loaded: Loaded, draft_length: int, draft_layers: int = 0, kv_cache_bits: int = 16
    ) -> None:
        self.loaded = loaded
        self.draft_length = draft_length
        self.draft_layers = draft_layers if draft_length else 0
        self.kv_cache_bits = kv_cache_bits
        self.drafting = Drafting()
        model, draft = loaded.model, loaded.draft
        model.generation_config.eos_token_id = None  # the amount of work is the workload's to choose
        model.generation_config.pad_token_id = loaded.tokenizer.pad_token_id
        drafter = model if self.draft_layers else draft
        if drafter is not None:
            settings = drafter.generation_config
            settings.eos_token_id = None
            settings.num_assistant_tokens = draft_length
            settings.num_assistant_tokens_schedule = "constant"
            settings.assistant_confidence_threshold = 0.0

    def encode(self, requests: Sequence[Request]) -> tuple[dict[str, torch.Tensor], list[int]]:
        """Return the model's inputs and the length of each prompt in tokens."""
        rows = [self._prompt(request) for request in requests]
        longest = max(len(row) for row in rows)
        pad = self.loaded.tokenizer.pad_token_id or 0
        ids = torch.tensor([[pad] * (longest - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
        device = self.loaded.device
        return {"input_ids": ids.to(device), "attention_mask": mask.to(device)}, [len(row) for row in rows]

    def _prompt(self, request: Request) -> list[int]:
        """Return the prompt's tokens, cut or repeated to the length asked for."""
        ids: list[int] = self.loaded.tokenizer(request.prompt, verbose=False)["input_ids"]
        wanted = request.prompt_tokens
        if wanted is None or not ids:
            return ids or [self.loaded.tokenizer.pad_token_id or 0]
        return (ids * (wanted // len(ids) + 1))[:wanted]

    def run(self, requests: Sequence[Request]) -> tuple[list[RequestRecord], list[list[int]]]:
        """Answer the requests as one batch; return their records and the tokens of their answers.

        The batch is static: it computes until the longest answer is complete; a shorter one is complete
        when its own last token came.
        """
        sent = time.monotonic_ns()
        inputs, lengths = self.encode(requests)
        wanted = max(request.max_tokens for request in requests)
        drafted = self.loaded.draft is not None or bool(self.draft_layers)
        clock = AssistedClock() if drafted else Clock()
        settings: dict[str, object] = {}
        if self.draft_layers:
            settings["assistant_early_exit"] = self.draft_layers
        elif self.loaded.draft is not None:
            settings["assistant_model"] = self.loaded.draft
        if self.kv_cache_bits != 16:
            cache = QuantizedCache("quanto", self.loaded.model.config, nbits=self.kv_cache_bits)
            settings["past_key_values"] = cache
            bits = cache.layers[0].nbits  # type: ignore[union-attr] # each layer of it is quantized
            self.loaded.facts["kv_cache"] = {"kind": type(cache).__name__, "bits": bits}
        with torch.no_grad():  # not inference mode: quanto views its packed weights
            output = self.loaded.model.generate(
                **inputs,
                max_new_tokens=wanted,
                min_new_tokens=wanted,
                do_sample=False,
                streamer=clock,
                **settings,
            )
        if self.loaded.device.type == "cuda":
            torch.cuda.synchronize(self.loaded.device)
        if drafted:
            self.drafting.add([count for _, count in clock.arrivals], self.draft_length, wanted)
        answers = output[:, inputs["input_ids"].shape[1] :].tolist()
        records = [
            _record(request, length, sent, clock.arrivals)
            for request, length in zip(requests, lengths, strict=True)
        ]
        return records, [row[: r.max_tokens] for row, r in zip(answers, requests, strict=True)]


def _record(request: Request, length: int, sent: int, arrivals: list[tuple[int, int]]) -> RequestRecord:
    mine: list[tuple[int, int]] = []
    left = request.max_tokens
    for moment, count in arrivals:
        if left <= 0:
            break
        mine.append((moment, min(count, left)))
        left -= count
    return RequestRecord(request.id, length, sent, tuple(mine), mine[-1][0] if mine else sent)

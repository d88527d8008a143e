"""The operations of the server; with tensor parallelism all ranks run them together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from autotune.core.json_object import JsonObject
from autotune.core.measurement import Estimate
from autotune.core.request import Request
from autotune.systems.transformers.generation import Drafting, Generator
from autotune.systems.transformers.loading import load, weights
from autotune.systems.transformers.options import Options
from autotune.systems.transformers.own_metrics import acceptance, peak_memory, perplexity, window_losses


class Operations:
    """The operations on a model, which is loaded on construction; one runs at a time."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.loaded = load(options)
        self.generator = Generator(
            self.loaded, options.draft_length, options.draft_layers, options.kv_cache_bits
        )
        self.parallel = options.tensor_parallel > 1

    def lead(self, order: Mapping[str, object]) -> dict[str, Any]:
        """Run an operation on all ranks and return rank 0's answer."""
        if self.parallel:
            distributed.broadcast_object_list([dict(order)], src=0)
        return self.run(order)

    def follow(self) -> bool:
        """Run the next operation of rank 0 along with it; return whether there will be another."""
        box: list[Any] = [None]
        distributed.broadcast_object_list(box, src=0)
        self.run(box[0])
        return bool(box[0]["op"] != "stop")

    def run(self, order: JsonObject) -> dict[str, object]:
        """Run one operation: ``generate``, ``losses``, ``metrics``, ``facts``, ``reset`` or ``stop``."""
        name = order["op"]
        if name == "generate":
            requests = [Request.from_dict(data) for data in order["requests"]]
            records, answers = self.generator.run(requests)
            texts = self.loaded.tokenizer.batch_decode(answers, skip_special_tokens=True)
            return {"records": [r.to_dict() for r in records], "tokens": answers, "texts": texts}
        if name == "losses":
            return {"losses": window_losses(self.loaded, order["text"])}
        if name == "metrics":
            return {"metrics": {key: found.to_dict() for key, found in self.metrics().items()}}
        if name == "facts":
            return {"facts": self.facts()}
        if name == "reset":
            self.generator.drafting = Drafting()
            if self.loaded.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(self.loaded.device)
        return {}

    def metrics(self) -> dict[str, Estimate]:
        """Return what this process knows, summed over the ranks where they add up."""
        peak = self._sum(peak_memory(self.loaded.device))
        parts = [self.loaded.model] + ([] if self.loaded.draft is None else [self.loaded.draft])
        held = self._sum(sum(sum(weights(part).values()) for part in parts))
        result = {
            "memory.peak": Estimate(float(peak), None, 1, "B"),
            "memory.weights": Estimate(float(held), 0.0, 1, "B"),
            **acceptance(self.generator.drafting),
        }
        if self.options.perplexity_text:
            text = Path(self.options.perplexity_text).read_text(encoding="utf-8", errors="replace")
            found = perplexity(window_losses(self.loaded, text))
            if found is not None:
                result["quality.perplexity"] = found
        return result

    def facts(self) -> dict[str, Any]:
        """Return what really runs, one entry per rank."""
        mine = self.loaded.facts
        if not self.parallel:
            return {**mine, "ranks": [mine]}
        ranks: list[object] = [None] * self.options.tensor_parallel
        distributed.all_gather_object(ranks, mine)
        return {**mine, "ranks": ranks}

    def _sum(self, value: int) -> int:
        if not self.parallel:
            return value
        total = torch.tensor([value], dtype=torch.int64, device=self.loaded.device)
        distributed.all_reduce(total)
        return int(total.item())

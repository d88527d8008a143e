"""AIPerf (https://github.com/ai-dynamo/aiperf) as a load generator; written for its version 0.13.

Its records hold every chunk's time; where chunks are fewer than tokens, tokens are shared evenly among them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from autotune.core.endpoint import foreign_json
from autotune.core.json_object import JsonObject
from autotune.core.request import RequestRecord
from autotune.measure.load.answer import shared
from autotune.measure.load.base import LoadPlan
from autotune.measure.load.prompts import Order
from autotune.measure.load.tool import Task, extra_fields, read_output, write_lines

_FOLDER, _OUTPUT = "out", "profile_export.jsonl"  # it empties its folder when it starts

# It wants a tokenizer even where the server counts, and would download one: this one splits at spaces.
_TOKENIZER: dict[str, Any] = {
    "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
    "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None,
    "model": {"type": "WordLevel", "vocab": {"[UNK]": 0}, "unk_token": "[UNK]"},
}  # fmt: skip


class AIPerf:
    """AIPerf."""

    name = "aiperf"
    install = "pip install aiperf, in an environment of its own (it brings 141 packages)"

    def environment(self, plan: LoadPlan) -> Mapping[str, str]:
        """Return its settings: with either set to anything it refuses a folder, for which it asks no hub."""
        return {"HF_HUB_OFFLINE": "", "TRANSFORMERS_OFFLINE": ""}

    def arguments(self, task: Task) -> list[str]:
        """Return the arguments of its program."""
        plan, endpoint = task.plan, task.plan.endpoint
        tokenizer = task.folder / "tokenizer"
        tokenizer.mkdir(exist_ok=True)
        (tokenizer / "tokenizer.json").write_text(json.dumps(_TOKENIZER), encoding="utf-8")
        kind = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]"}
        (tokenizer / "tokenizer_config.json").write_text(json.dumps(kind), encoding="utf-8")
        words = [
            "profile",
            "--model", endpoint.model,
            "--url", endpoint.url,
            "--endpoint-type", "chat" if endpoint.is_chat else "completions",
            "--custom-endpoint", endpoint.path,
            "--streaming",
            "--use-legacy-max-tokens",
            "--use-server-token-count",
            "--tokenizer", str(tokenizer),
            "--input-file", str(task.prompts),
            "--custom-dataset-type", "single_turn",
            "--dataset-sampling-strategy", "sequential",
            "--random-seed", str(plan.workload.seed),
            "--artifact-dir", str(task.folder / _FOLDER),
            "--export-level", "records",
            "--ui-type", "none",
            "--no-auto-plot",
            "--extra-inputs", json.dumps(extra_fields(endpoint)),
        ]  # fmt: skip
        if plan.concurrency is not None:
            words += ["--concurrency", str(plan.concurrency), "--benchmark-duration", f"{task.seconds:g}"]
        else:
            words += ["--request-rate", str(plan.rate), "--arrival-pattern", plan.workload.arrival,
                      "--request-count", str(task.requests)]  # fmt: skip
        if plan.workload.burstiness is not None:
            words += ["--arrival-smoothness", str(plan.workload.burstiness)]
        return words

    def write_prompts(self, path: Path, orders: Sequence[Order]) -> None:
        """Write the prompts as single turns."""
        write_lines(path, [{"text": order.joined, "output_length": order.max_tokens} for order in orders])

    def records(self, folder: Path, to_monotonic_ns: int) -> list[RequestRecord]:
        """Read its records."""
        lines = read_output(folder / _FOLDER / _OUTPUT).splitlines()
        return [record(foreign_json(line), number, to_monotonic_ns) for number, line in enumerate(lines)]


def record(row: JsonObject, number: int, to_monotonic_ns: int) -> RequestRecord:
    """Return the record of one line."""
    about, metrics = row["metadata"], row.get("metrics") or {}
    sent, end = about["request_start_ns"] + to_monotonic_ns, about["request_end_ns"] + to_monotonic_ns
    due = (about.get("credit_issued_ns") or about["request_start_ns"]) + to_monotonic_ns
    arrivals: tuple[tuple[int, int], ...] = ()
    first = _value(metrics, "time_to_first_token")
    if first is not None:
        gaps = _value(metrics, "inter_chunk_latency") or []
        times = [sent + round(ms * 1e6) for ms in accumulate([first, *gaps])]
        tokens = _value(metrics, "usage_completion_tokens") or _value(metrics, "output_sequence_length")
        counts = shared(int(tokens or len(times)), [1] * len(times))
        arrivals = tuple((at, count) for at, count in zip(times, counts, strict=True) if count)
    error = row.get("error")
    text = error.get("message", error) if isinstance(error, Mapping) else error
    cancelled = "cancelled" if about.get("was_cancelled") else None
    return RequestRecord(
        id=number,
        prompt_tokens=int(_value(metrics, "usage_prompt_tokens") or 0),
        send_ns=due,
        arrivals=arrivals,
        end_ns=max(end, due, arrivals[-1][0] if arrivals else 0),
        error=cancelled if text is None else " ".join(str(text).split())[:300],
        slip_ns=max(0, sent - due),
    )


def _value(metrics: Mapping[str, object], name: str) -> Any:
    found = metrics.get(name)
    return found.get("value") if isinstance(found, Mapping) else None

"""GuideLLM (https://github.com/vllm-project/guidellm) as a load generator; written for its version 0.8.

Its records hold the first and the last token's time of each request; tokens between them are taken to be
even, so ``itl`` is its mean within a request. Each of its ten processes draws the Poisson arrivals from the
same seed (0.8.1), so that each gap comes ten times: 160 requests had 17 different gaps, and 32/s came where
20/s were asked for. With one process it was 20.3/s and 158, so one is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from autotune.core.endpoint import foreign_json
from autotune.core.json_object import JsonObject
from autotune.core.request import RequestRecord
from autotune.measure.load.base import LoadPlan
from autotune.measure.load.prompts import Order
from autotune.measure.load.tool import Task, extra_fields, read_output, spread, write_lines

_OUTPUT = "benchmark.json"


class GuideLLM:
    """GuideLLM."""

    name = "guidellm"
    install = "pip install guidellm, in an environment of its own (it brings torch)"

    def environment(self, plan: LoadPlan) -> Mapping[str, str]:
        """Return its settings: no tokenizer is looked for, and Poisson arrivals come from one process."""
        one = {"GUIDELLM__MAX_WORKER_PROCESSES": "1"} if plan.workload.arrival == "poisson" else {}
        return {"HF_HUB_OFFLINE": "1", **one}

    def arguments(self, task: Task) -> list[str]:
        """Return the arguments of its program."""
        plan, endpoint = task.plan, task.plan.endpoint
        backend = {
            "kind": "openai_http",
            "target": endpoint.url,
            "model": endpoint.model,
            "request_format": endpoint.path,
            "http2": False,
            "extras": {"body": extra_fields(endpoint)},
        }
        profile: dict[str, object] = {"kind": plan.workload.arrival, "rate": plan.rate}
        if plan.concurrency is not None:
            profile = {"kind": "concurrent", "streams": plan.concurrency}
        return [
            "run",
            "--backend", json.dumps(backend),
            "--profile", json.dumps(profile),
            "--constraint", json.dumps({"kind": "max_duration", "seconds": task.seconds}),
            "--constraint", json.dumps({"kind": "max_requests", "count": task.requests}),
            "--data", json.dumps({"kind": "json_file", "path": str(task.prompts)}),
            "--output", json.dumps({"kind": "json", "path": str(task.folder / _OUTPUT)}),
            "--disable-console",
        ]  # fmt: skip

    def write_prompts(self, path: Path, orders: Sequence[Order]) -> None:
        """Write the prompts under the names of columns that it knows."""
        write_lines(
            path,
            [
                {
                    "prompt": o.joined,
                    "prompt_tokens_count": o.prompt_tokens,
                    "output_tokens_count": o.max_tokens,
                }
                for o in orders
            ],
        )

    def records(self, folder: Path, to_monotonic_ns: int) -> list[RequestRecord]:
        """Read the requests of its report."""
        report = foreign_json(read_output(folder / _OUTPUT))
        requests = report["benchmarks"][0]["requests"]
        found = [record(row, number, to_monotonic_ns) for number, row in enumerate(requests["successful"])]
        errored = requests.get("errored") or []
        return found + [record(row, len(found) + i, to_monotonic_ns) for i, row in enumerate(errored)]


def record(row: JsonObject, number: int, to_monotonic_ns: int) -> RequestRecord:
    """Return the record of one request of a report."""
    info = row["info"]
    times = {key: _nanoseconds(value) + to_monotonic_ns for key, value in info["timings"].items()
             if isinstance(value, float) and value > 1e9}  # fmt: skip
    sent = times.get("request_start", times.get("resolve_start", 0))
    due = times.get("targeted_start", sent)
    end = times.get("request_end", times.get("resolve_end", sent))
    tokens = (row.get("output_metrics") or {}).get("text_tokens") or 0
    first, last = times.get("first_token_iteration"), times.get("last_token_iteration")
    arrivals = () if first is None or last is None else spread(first, last, int(tokens))
    error = info.get("error")
    return RequestRecord(
        id=number,
        prompt_tokens=int((row.get("input_metrics") or {}).get("text_tokens") or 0),
        send_ns=due,
        arrivals=arrivals,
        end_ns=max(end, due, last or 0),
        error=None if error is None else " ".join(str(error).split())[:300],
        slip_ns=max(0, sent - due),
    )


def _nanoseconds(seconds: float) -> int:
    """Return seconds since 1970 in nanoseconds; their product in one step would lose 100 of them."""
    whole = int(seconds)
    return whole * 10**9 + round((seconds - whole) * 1e9)

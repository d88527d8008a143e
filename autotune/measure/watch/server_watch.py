"""What a server counts itself while it is under load: phases, drafts, cache use.

Formula: phase.queue = seconds requests waited in the server's queue / requests, between two looks; the same
for phase.prefill and phase.decode
Formula: acceptance_length = 1 + accepted draft tokens / drafts; acceptance_rate = accepted / drafted tokens
Unit: s; 1.
Source: the Prometheus endpoints of vLLM (``vllm:request_queue_time_seconds``, ``..._prefill_...``,
``..._decode_...``, ``vllm:spec_decode_*``), SGLang (``sglang:queue_time_seconds``) and llama.cpp
(``llamacpp:prompt_seconds_total``, ``llamacpp:tokens_predicted_seconds_total``; it counts no requests, so the
generator's count stands in).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from autotune.core.endpoint import Endpoint, Refused
from autotune.core.http_client import HttpConnection
from autotune.core.measurement import Estimate
from autotune.measure.watch.prometheus import read_samples

EVERY_S = 1.0  # an answer costs the server milliseconds
_MOST_PAUSE_S = 60.0  # after looks without an answer, each of which may take as long as an answer may
_TIMEOUT_S = 2.0
_MOST_BYTES = 4 << 20

_PHASES = {
    "phase.queue": ("vllm:request_queue_time_seconds", "sglang:queue_time_seconds"),
    "phase.prefill": ("vllm:request_prefill_time_seconds",),
    "phase.decode": ("vllm:request_decode_time_seconds",),
}
_PLAIN_PHASES = {
    "phase.prefill": "llamacpp:prompt_seconds_total",
    "phase.decode": "llamacpp:tokens_predicted_seconds_total",
}
_DRAFTS = "vllm:spec_decode_num_drafts_total"
_DRAFTED = "vllm:spec_decode_num_draft_tokens_total"
_ACCEPTED = "vllm:spec_decode_num_accepted_tokens_total"
_GAUGES = {
    "kv_cache_usage": ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc", "sglang:token_usage",
                       "llamacpp:kv_cache_usage_ratio"),
    "waiting": ("vllm:num_requests_waiting", "sglang:num_queue_reqs", "llamacpp:requests_deferred"),
    "running": ("vllm:num_requests_running", "sglang:num_running_reqs", "llamacpp:requests_processing"),
}  # fmt: skip
_COUNTERS = {"preemptions": ("vllm:num_preemptions_total", "sglang:num_retracted_requests_total")}
_NAMES = frozenset(
    [f"{name}_{part}" for names in _PHASES.values() for name in names for part in ("sum", "count")]
    + [name for names in (*_GAUGES.values(), *_COUNTERS.values()) for name in names]
    + [*_PLAIN_PHASES.values(), _DRAFTS, _DRAFTED, _ACCEPTED]
)


@dataclass
class ServerWatch:
    """A watch that asks a server for its counters now and then.

    Args:
        fetch: Function that returns the text of its counters; raises :class:`Refused` or ``OSError`` where
            there are none.
        clock: Monotonic nanoseconds.
    """

    fetch: Callable[[], str]
    clock: Callable[[], int] = time.monotonic_ns
    taken: list[tuple[int, dict[str, list[float]]]] = field(default_factory=list)
    problem: str = ""
    _looked_ns: int | None = None
    _problems: int = 0

    def look(self) -> None:
        """Keep the counters as they are, at most once per ``EVERY_S``; less often where they do not come."""
        now = self.clock()
        pause_s = min(_MOST_PAUSE_S, EVERY_S * 2 ** min(10, 2 * self._problems))
        if self._looked_ns is not None and now - self._looked_ns < pause_s * 1e9:
            return
        self._looked_ns = now
        try:
            self.taken.append((now, read_samples(self.fetch(), _NAMES)))
            self._problems = 0
        except (OSError, Refused) as error:
            kind = f"{type(error).__name__}: " if isinstance(error, OSError) else ""
            self.problem, self._problems = f"{kind}{error}", self._problems + 1

    def metrics(self, start_ns: int, end_ns: int, requests: int) -> dict[str, Estimate]:
        """Return the metrics between the looks that lie nearest within a time.

        Args:
            start_ns: Start of the measured time.
            end_ns: Its end.
            requests: Requests that ended in it, for servers that do not count them.
        """
        used = [samples for time_ns, samples in self.taken if start_ns <= time_ns <= end_ns]
        if len(used) < 2:
            return {}
        first, last = used[0], used[-1]
        found: dict[str, Estimate] = {}
        for metric, names in _PHASES.items():
            for name in names:
                count = _change(first, last, f"{name}_count")
                seconds = _change(first, last, f"{name}_sum")
                if count and seconds is not None and count > 0:
                    found[metric] = Estimate(max(0.0, seconds) / count, None, max(1, int(count)), "s")
        for metric, name in _PLAIN_PHASES.items():
            seconds = _change(first, last, name)
            if metric not in found and seconds is not None and requests > 0:
                found[metric] = Estimate(max(0.0, seconds) / requests, None, requests, "s")
        drafts, accepted = _change(first, last, _DRAFTS), _change(first, last, _ACCEPTED)
        drafted = _change(first, last, _DRAFTED)
        if drafts and accepted is not None and drafts > 0:
            found["acceptance_length"] = Estimate(1 + accepted / drafts, None, int(drafts), "1")
        if drafted and accepted is not None and drafted > 0:
            found["acceptance_rate"] = Estimate(accepted / drafted, None, int(drafted), "1")
        return found

    def facts(self, start_ns: int, end_ns: int) -> dict[str, Any]:
        """Return the highest cache use and queue, and the preemptions, within a time: plain JSON data."""
        used = [samples for time_ns, samples in self.taken if start_ns <= time_ns <= end_ns]
        facts: dict[str, Any] = {"looks": len(used)}
        for key, names in _GAUGES.items():
            values = [max(samples[name]) for samples in used for name in names if name in samples]
            if values:
                facts[f"{key}_max"] = max(values)
        for key, names in _COUNTERS.items():
            changes = [_change(used[0], used[-1], name) for name in names] if used else []
            known = [change for change in changes if change is not None]
            if known:
                facts[key] = known[0]
        return facts | ({"problem": self.problem} if self.problem else {})


def counters_of(endpoint: Endpoint) -> Callable[[], str] | None:
    """Return a function that fetches an endpoint's counters; ``None`` where it has none."""
    if not endpoint.prometheus:
        return None

    def fetch() -> str:
        connection = HttpConnection(endpoint.url)
        headers = {"Connection": "close", **endpoint.headers}
        deadline = time.monotonic() + _TIMEOUT_S
        try:
            answer = connection.ask(
                endpoint.prometheus, None, headers, deadline=deadline, most_bytes=_MOST_BYTES
            )
            text = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise Refused.of_answer(answer.status, answer.headers, text)
        return text.decode("utf-8", errors="replace")

    return fetch


def _change(first: Mapping[str, list[float]], last: Mapping[str, list[float]], name: str) -> float | None:
    """Return by how much a counter rose, summed over its labels; ``None`` where it is not there."""
    if name not in last:
        return None
    return sum(last[name]) - sum(first.get(name, [0.0]))

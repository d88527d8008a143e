"""How the tokens of a measurement were counted, and whether what is wanted may rest on that.

A stream without usage shows chunks only. While drafting, and on a busy server, a chunk holds several tokens,
and how many is what a draft length changes: counted by chunks, the best draft length comes out worst. Such a
number is refused for a goal or a limit, never reported as if it were exact.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from autotune.core.request import BY_CHUNKS, BY_LENGTH_NOT_USAGE, BY_SEVERAL_WORDS, RequestRecord
from autotune.measure.workload import Workload

_OF_TOKENS = ("output_throughput", "total_throughput", "decode_throughput", "itl", "tpot", "fluidity_index",
              "cost.per_million_tokens", "energy.per_token")  # fmt: skip
_DRAFTING = re.compile(
    r"draft|spec(?:ulative|ulation)?(?:_|$)|eagle|medusa|ngram|lookup|lookahead|mtp|stream_interval"
)


def counting(records: Sequence[RequestRecord]) -> tuple[dict[str, Any], list[str]]:
    """Return what a measurement notes of how its tokens were counted, and what to warn of.

    Args:
        records: Of the measured requests.
    """
    found = Counter(record.counted_by for record in records if record.counted_by and record.error is None)
    waits = [record.waits for record in records if record.waits]
    facts: dict[str, Any] = {}
    notes = []
    if found:
        facts["tokens_by"] = next(iter(found)) if len(found) == 1 else dict(found)
    if by_chunks := found[BY_CHUNKS] + found[BY_SEVERAL_WORDS]:
        several = ", which hold several words each" if found[BY_SEVERAL_WORDS] else ""
        notes.append(f"tokens counted by chunks{several}: {by_chunks} of {sum(found.values())} answers came "
                     "without usage or a length to go by")  # fmt: skip
    if against := found[BY_LENGTH_NOT_USAGE]:
        notes.append(
            f"the usage that the server sends is not believed: {against} of {sum(found.values())} answers "
            "ended by length with another usage, and count as the tokens asked for"
        )
    other = [r for r in records if r.error is None and r.wanted and r.output_tokens != r.wanted]
    if other:
        facts["other_lengths"] = len(other)
        notes.append(f"{len(other)} of {len(records)} answers had another length than asked for: they end "
                     "where the model ends them")  # fmt: skip
    if waits:
        facts["told_to_wait"] = {"requests": len(waits), "times": sum(waits)}
        notes.append(f"{len(waits)} of {len(records)} requests were told to come back later (HTTP 429 or "
                     "503); their latencies hold the wait")  # fmt: skip
    return facts, notes


def needs_tokens(metric: str, workload: Workload) -> bool:
    """Return whether a metric follows from the number of output tokens."""
    if metric.partition(".")[0] == "goodput":
        return workload.goodput.tpot is not None
    return any(metric == name or metric.startswith(f"{name}.") for name in _OF_TOKENS)


def uncounted(
    facts: Mapping[str, Any], judged: Collection[str], parameters: Collection[str], workload: Workload
) -> str:
    """Return why a measurement must not be judged: what is wanted needs tokens that were not counted.

    Args:
        facts: Of the measurement, :func:`counting` included.
        judged: Metrics of the objective, goals and limits.
        parameters: Names of the study's parameters.
        workload: What was sent.

    Returns:
        What was found and what the owner may do; empty where the measurement may be judged.
    """
    how = facts.get("tokens_by", "")
    kinds = set(how) if isinstance(how, Mapping) else {how}
    wanting = sorted(name for name in judged if needs_tokens(name, workload))
    if not wanting or not kinds & {BY_CHUNKS, BY_SEVERAL_WORDS}:
        return ""
    drafting = sorted(name for name in parameters if _DRAFTING.search(name))
    if BY_SEVERAL_WORDS in kinds:
        why = "its chunks hold several tokens each"
    elif drafting:
        why = f"{', '.join(drafting)} decides how many tokens a chunk holds"
    else:
        return ""
    return (
        f"the server does not tell how many tokens it made, and {why}: {', '.join(wanting)} would be wrong; "
        "it must send usage (stream_options), or end by length, or have /tokenize, or `tokenizer` must name "
        "the model's tokenizer.json"
    )

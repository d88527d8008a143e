"""How the tokens of a measurement were counted, and whether what is wanted may rest on that.

A stream without usage shows chunks only. While drafting, and on a busy server, a chunk holds several tokens,
and how many is what a draft length changes: counted by chunks, the best draft length comes out worst. Such a
number is refused for a goal or a limit, never reported as if it were exact. So are times per token where no
chunk shows some tokens and nobody says how many, anything per token where a usage contradicts itself, and a
rate of the prefill where hidden tokens hide its end.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from autotune.core.json_object import JsonObject
from autotune.core.request import (
    BY_CHUNKS,
    BY_LENGTH_NOT_USAGE,
    BY_SEVERAL_WORDS,
    BY_USAGE_AGAINST_ITSELF,
    HIDDEN_UNCOUNTED,
    RequestRecord,
)
from autotune.measure.workload import Workload

_OF_TOKENS = ("output_throughput", "total_throughput", "decode_throughput", "itl", "tpot", "fluidity_index",
              "cost.per_million_tokens", "energy.per_token")  # fmt: skip
_PER_SHOWN = ("decode_throughput", "itl", "tpot", "fluidity_index")
_PREFILL = "prefill_throughput"
_BY = {BY_LENGTH_NOT_USAGE: "as the tokens asked for", BY_CHUNKS: "by chunks", BY_SEVERAL_WORDS: "by chunks"}
_DRAFTING = re.compile(
    r"draft|spec(?:ulative|ulation)?(?:_|$)|eagle|medusa|ngram|lookup|lookahead|mtp|stream_interval"
)


def counting(records: Sequence[RequestRecord]) -> tuple[dict[str, object], list[str]]:
    """Return what a measurement notes of how its tokens were counted, and what to warn of.

    Args:
        records: Records of the measured requests.
    """
    found = Counter(record.counted_by for record in records if record.counted_by and record.error is None)
    waits = [record.waits for record in records if record.waits]
    facts: dict[str, object] = {}
    notes = []
    if found:
        facts["tokens_by"] = next(iter(found)) if len(found) == 1 else dict(found)
    if by_chunks := found[BY_CHUNKS] + found[BY_SEVERAL_WORDS]:
        several = ", which hold several words each" if found[BY_SEVERAL_WORDS] else ""
        notes.append(f"tokens counted by chunks{several}: {by_chunks} of {sum(found.values())} answers came "
                     "without usage or a length to go by")  # fmt: skip
    good = [record for record in records if record.error is None]
    if doubted := [record for record in good if record.doubted]:
        ways = dict.fromkeys(_BY[r.counted_by] for r in doubted if r.counted_by in _BY)
        how = f", which are counted {' or '.join(ways)}" if ways else ""
        notes.append(f"the usage that the server sends is not believed: {doubted[0].doubted}, in "
                     f"{len(doubted)} of {len(good)} answers{how}")  # fmt: skip
    if hidden := [record for record in good if record.hidden]:
        counted = [record.hidden for record in hidden if record.hidden != HIDDEN_UNCOUNTED]
        facts["hidden_tokens"] = {"answers": len(hidden), "tokens": sum(counted),
                                  "uncounted": len(hidden) - len(counted)}  # fmt: skip
        notes.append(_about_hidden(len(good), len(hidden), counted))
    # Some servers count what is shown against the tokens asked for, others all.
    told = [r for r in good if r.wanted and r.counted_by != BY_USAGE_AGAINST_ITSELF]
    other = [r for r in told if r.wanted not in (r.output_tokens, r.output_tokens - max(0, r.hidden))]
    if other:
        facts["other_lengths"] = len(other)
        notes.append(f"{len(other)} of {len(records)} answers had another length than asked for: they end "
                     "where the model ends them")  # fmt: skip
    if waits:
        facts["told_to_wait"] = {"requests": len(waits), "times": sum(waits)}
        notes.append(f"{len(waits)} of {len(records)} requests were told to come back later (HTTP 429 or "
                     "503); their latencies hold the wait")  # fmt: skip
    return facts, notes


def _about_hidden(answers: int, hidden: int, counted: Sequence[int]) -> str:
    """Return what to warn of where tokens are made that no chunk shows."""
    if not counted:
        return (f"{hidden} of {answers} answers may have tokens that are not shown, and nobody says for "
                "certain how many: they have no tpot, itl, decode_throughput and fluidity_index")  # fmt: skip
    some = f"; in {hidden - len(counted)} others nobody says how many" if len(counted) < hidden else ""
    return (
        f"{len(counted)} of {answers} answers begin with tokens that are not shown, "
        f"{sum(counted) / len(counted):.4g} each: ttft is the time to the first one that is shown, tpot and "
        f"itl are of those after it{some}"
    )


def needs_tokens(metric: str, workload: Workload) -> bool:
    """Return whether a metric follows from the number of output tokens."""
    if metric.partition(".")[0] == "goodput":
        return workload.goodput.tpot is not None
    return any(metric == name or metric.startswith(f"{name}.") for name in _OF_TOKENS)


def uncounted(
    facts: JsonObject, judged: Collection[str], parameters: Collection[str], workload: Workload
) -> str:
    """Return why a measurement must not be judged: what is wanted needs tokens that were not counted.

    Args:
        facts: Facts of the measurement, :func:`counting` included.
        judged: Metrics of the objective, goals and limits.
        parameters: Names of the study's parameters.
        workload: Workload that was sent.

    Returns:
        What was found and what the owner may do; empty where the measurement may be judged.
    """
    if hidden := _unknown_for_hidden(facts.get("hidden_tokens") or {}, judged, workload):
        return hidden
    how = facts.get("tokens_by", "")
    kinds = set(how) if isinstance(how, Mapping) else {how}
    wanting = sorted(name for name in judged if needs_tokens(name, workload))
    if wanting and BY_USAGE_AGAINST_ITSELF in kinds:
        return (
            "the usage that the server sends contradicts itself, with more tokens of reasoning than of all: "
            f"{', '.join(wanting)} cannot be known; its completion_tokens or total_tokens must hold both"
        )
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


def _unknown_for_hidden(hidden: Mapping[str, object], judged: Collection[str], workload: Workload) -> str:
    """Return what cannot be known where tokens are made that no chunk shows; empty if all can."""
    families = {name: name.partition(".")[0] for name in sorted(judged)}
    if hidden.get("uncounted"):
        per_token = workload.goodput.tpot is not None
        unknown = [n for n, f in families.items() if f in _PER_SHOWN or (f == "goodput" and per_token)]
        if unknown:
            return (
                "the server may make tokens that it does not show, and no reasoning_tokens of its usage say "
                f"for certain how many: {', '.join(unknown)} cannot be known; it must show them, or count "
                "them as each chunk comes (stream_options.continuous_usage_stats)"
            )
    if hidden and _PREFILL in families:
        return (
            f"the server makes tokens before the first one that it shows: {_PREFILL} cannot be known; "
            "ttft is the time to the first token shown"
        )
    return ""

"""How much memory was missing, read from what a server says when it runs out.

Knowing that a configuration needed 1.02 times what was there, or 3 times, teaches more than that it failed.
The patterns are the messages of PyTorch 2 (``torch.OutOfMemoryError``), of vLLM (0.8 to 0.32, both of its
checks of the KV cache and its checks of free memory, on CPUs too) and of CPU allocators.
"""

from __future__ import annotations

import re

from autotune.core.diagnosis import Reading

# Between what a message says first and last: without a bound a log full of its first words would be read
# to its end for each of them.
_GAP = r"[\s\S]{0,1000}?"
_SIZE = r"(?<!\d)(\d{1,20}(?:\.\d{1,20})?) ?(bytes|[KMGT]i?B)"
_UNITS = {"bytes": 1.0, "K": 2.0**10, "M": 2.0**20, "G": 2.0**30, "T": 2.0**40}

_TORCH = Reading(
    rf"Tried to allocate {_SIZE}{_GAP}total capacity of {_SIZE} of which {_SIZE} is free",
    "Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 16.00 GiB of which 1024.00 MiB is free.",
)
_KV_CACHE = Reading(
    rf"(?i:{_SIZE} KV cache is\s*needed{_GAP}KV cache memory\s*\({_SIZE}\))",
    "(4.00 GiB KV cache is needed, which is larger than the available KV cache memory (0.5 GiB). Based on",
)
_TOKENS = Reading(
    rf"max seq len\s*\((\d+)\) is larger than the maximum number of tokens{_GAP}KV cache\s*\((\d+)\)",
    "The model's max seq len (32768) is larger than the maximum number of tokens that can be stored in KV "
    "cache (8192). Try increasing `gpu_memory_utilization`",
)
_FREE = Reading(
    rf"Free memory on device[^(]{{0,200}}\((\d+(?:\.\d+)?)/{_SIZE}\){_GAP}\(\d+(?:\.\d+)?, {_SIZE}\)",
    "ValueError: Free memory on device cuda:0 (100.0/121.69 GiB) on startup is less than desired GPU memory "
    "utilization (0.89, 108.3 GiB).",
)
_NODE = Reading(
    rf"Available memory on node \d+ \((\d+(?:\.\d+)?)/{_SIZE}\){_GAP}requested memory for kv\s*\({_SIZE}\)",
    "ValueError: Available memory on node 0 (10.9/14.21 GiB) is less than requested memory for kv (12.0 GiB)",
)
READINGS = (_TORCH, _KV_CACHE, _TOKENS, _FREE, _NODE)
"""Messages that say how much was needed."""


def shortfall(text: str) -> float | None:
    """Return memory needed over memory there, above 1; ``None`` where the text does not say.

    Needs are lower bounds: a server stops at the first allocation that does not fit.
    """
    ratio = None
    if found := re.search(_TORCH.pattern, text):
        wanted, total, free = (_bytes(*found.group(i, i + 1)) for i in (1, 3, 5))
        ratio = (total - free + wanted) / total if total else None
    elif found := re.search(_KV_CACHE.pattern, text):
        needed, there = (_bytes(*found.group(i, i + 1)) for i in (1, 3))
        ratio = needed / there if there else None
    elif found := re.search(_TOKENS.pattern, text):
        ratio = int(found[1]) / int(found[2]) if int(found[2]) else None
    elif found := re.search(_FREE.pattern, text) or re.search(_NODE.pattern, text):
        unit = found[3]
        there, wanted = _bytes(found[1], unit), _bytes(found[4], found[5])
        ratio = wanted / there if there else None
    return ratio if ratio is not None and ratio > 1.0 else None


def _bytes(number: str, unit: str) -> float:
    return float(number) * _UNITS[unit if unit == "bytes" else unit[0]]

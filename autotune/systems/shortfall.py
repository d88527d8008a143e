"""How much memory was missing, read from what a server says when it runs out.

Knowing that a configuration needed 1.02 times what was there, or 3 times, teaches more than that it failed.
The patterns are the messages of PyTorch 2 (``torch.OutOfMemoryError``), of vLLM (0.8 to 0.32, both of its
checks of the KV cache and its checks of free memory, on CPUs too) and of CPU allocators.
"""

from __future__ import annotations

import re

# Between what a message says first and last: without a bound a log full of its first words would be read
# to its end for each of them.
_GAP = r"[\s\S]{0,1000}?"
_SIZE = r"(?<!\d)(\d{1,20}(?:\.\d{1,20})?) ?(bytes|[KMGT]i?B)"
_UNITS = {"bytes": 1.0, "K": 2.0**10, "M": 2.0**20, "G": 2.0**30, "T": 2.0**40}

_TORCH = re.compile(
    rf"Tried to allocate {_SIZE}{_GAP}total capacity of {_SIZE} of which {_SIZE} is free", re.DOTALL
)
_KV_CACHE = re.compile(
    rf"{_SIZE} KV cache is\s*needed{_GAP}KV cache memory\s*\({_SIZE}\)", re.DOTALL | re.IGNORECASE
)
_TOKENS = re.compile(
    rf"max seq len\s*\((\d+)\) is larger than the maximum number of tokens{_GAP}KV cache\s*\((\d+)\)",
    re.DOTALL,
)
_FREE = re.compile(
    rf"Free memory on device[^(]{{0,200}}\((\d+(?:\.\d+)?)/{_SIZE}\){_GAP}\(\d+(?:\.\d+)?, {_SIZE}\)",
    re.DOTALL,
)
_NODE = re.compile(
    rf"Available memory on node \d+ \((\d+(?:\.\d+)?)/{_SIZE}\){_GAP}requested memory for kv\s*\({_SIZE}\)",
    re.DOTALL,
)


def shortfall(text: str) -> float | None:
    """Return memory needed over memory there, above 1; ``None`` where the text does not say.

    Needs are lower bounds: a server stops at the first allocation that does not fit.
    """
    ratio = None
    if found := _TORCH.search(text):
        wanted, total, free = (_bytes(*found.group(i, i + 1)) for i in (1, 3, 5))
        ratio = (total - free + wanted) / total if total else None
    elif found := _KV_CACHE.search(text):
        needed, there = (_bytes(*found.group(i, i + 1)) for i in (1, 3))
        ratio = needed / there if there else None
    elif found := _TOKENS.search(text):
        ratio = int(found[1]) / int(found[2]) if int(found[2]) else None
    elif found := _FREE.search(text) or _NODE.search(text):
        unit = found[3]
        there, wanted = _bytes(found[1], unit), _bytes(found[4], found[5])
        ratio = wanted / there if there else None
    return ratio if ratio is not None and ratio > 1.0 else None


def _bytes(number: str, unit: str) -> float:
    return float(number) * _UNITS[unit if unit == "bytes" else unit[0]]

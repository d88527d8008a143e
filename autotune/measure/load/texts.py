"""What the text of an answer is, and how many tokens it can be.

Reasoning comes under many names: ``reasoning_content``, ``reasoning``, ``thinking``, ``reasoning_details``,
or as parts of a list in ``content``. Where a server sends it under several of them at once, it is read once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

_REASONING = ("reasoning_content", "reasoning", "thinking", "reasoning_details")
_SHOWN = ("content", "refusal")
_CALLS = ("tool_calls", "function_call")
_NAMES = frozenset((*_REASONING, *_SHOWN, *_CALLS))
_INNER = ("text", "thinking", "summary")  # of a part; what is encrypted is not shown
_DEPTH = 4
_WIDE = re.compile("[\u2e80-\U0010ffff]")  # of scripts without spaces: a token holds two at most, on average
_LETTERS = re.compile(" ?[A-Z]?[a-z]+")


def delta_texts(delta: Mapping[str, object]) -> tuple[list[str], int]:
    """Return the texts that a chat's chunk adds, and how many of their characters are reasoning.

    Args:
        delta: Parts of the chunk: content, reasoning, tool calls.
    """
    filled = [name for name, value in delta.items() if value and name in _NAMES]
    if len(filled) == 1 and filled[0] not in _CALLS and isinstance(text := delta[filled[0]], str):  # most
        return [text], len(text) if filled[0] in _REASONING else 0
    shown: list[str] = []
    thought: list[str] = []
    for name in _SHOWN:
        value = delta.get(name)
        for part in value if isinstance(value, list) else [value]:
            (thought if _is_thought(part) else shown).extend(_texts(part))
    named = (list(_texts(delta.get(name))) for name in _REASONING)
    others = [text for text in max(named, key=lambda texts: sum(map(len, texts))) if text not in thought]
    thought += others
    shown = [text for text in shown if text not in thought]  # some send it as content too
    calls = delta.get("tool_calls")
    listed = calls if isinstance(calls, list) else []
    called = [*(c.get("function") for c in listed if isinstance(c, Mapping)), delta.get("function_call")]
    for function in called:
        if isinstance(function, Mapping):
            shown += [text for key in ("name", "arguments") if isinstance(text := function.get(key), str)]
    return thought + shown, sum(map(len, thought))


def _is_thought(part: object) -> bool:
    kind = part.get("type") if isinstance(part, Mapping) else None
    return isinstance(kind, str) and kind.startswith(("thinking", "reasoning"))


def _texts(value: object, depth: int = _DEPTH) -> Iterator[str]:
    """Yield the texts of a field: a text, a part that holds one, or a list of these."""
    if isinstance(value, str):
        if value:
            yield value
    elif isinstance(value, list | Mapping) and depth:
        inner = value if isinstance(value, list) else [value.get(name) for name in _INNER]
        for part in inner:
            yield from _texts(part, depth - 1)


def least_tokens(text: str) -> int:
    """Return the fewest tokens that a text is: one for each word, or for two characters without spaces."""
    return max(len(text.split()), len(_WIDE.findall(text)) // 2)


def most_tokens(text: str) -> int:
    """Return the most tokens that a text can be: one for each byte."""
    return len(text.encode("utf-8", "replace"))


def likely_tokens(text: str) -> int:
    """Return the most tokens that a text is likely to be: one for two letters, or any other byte."""
    words = _LETTERS.findall(text)
    return most_tokens(text) - sum(len(word) - (len(word.lstrip()) + 1) // 2 for word in words)

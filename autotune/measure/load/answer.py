"""What the events of one streamed completion say: when how many tokens came, and what went wrong.

Tokens per chunk, in order of preference:

1. the running ``usage`` of a chunk (``continuous_usage_stats``): a chunk may carry several tokens (drafting,
   a busy server), and tokens may come without text of their own (parts of a character);
2. the ``usage`` at the end, shared among the chunks with text by their characters;
3. one token for each chunk with text.

Reasoning counts as content. The first arrival is the first chunk with text: tokens before it count for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from autotune.core.endpoint import message_of

DONE = b"[DONE]"
_MOST_TOKENS = 10**9
_TEXTS = ("content", "reasoning_content", "reasoning")


class Answer:
    """Take the events of one answer.

    Attributes:
        error: What the server said went wrong, else ``""``.
        done: Whether the server said that the stream is over.
        prompt_tokens: As the server counted them, ``None`` where it does not say.
        output_tokens: The same, of the answer.
    """

    def __init__(self) -> None:
        self.error = ""
        self.done = False
        self.finished = ""
        self.prompt_tokens: int | None = None
        self.output_tokens: int | None = None
        self._chunks: list[tuple[int, int, int]] = []  # time, characters, tokens so far or -1

    def add(self, time_ns: int, data: bytes) -> None:
        """Take the data of one event that came at ``time_ns``."""
        if self.done or self.error:
            return
        if data == DONE:
            self.done = True
            return
        try:
            event = json.loads(data)
        except (ValueError, RecursionError):
            self.error = f"an event is no JSON: {data[:60]!r}"
            return
        if not isinstance(event, Mapping):
            self.error = f"an event is no object: {data[:60]!r}"
            return
        if event.get("error"):
            self.error = f"the server said: {message_of(event)}"
            return
        usage = event.get("usage")
        running = self._usage(usage) if isinstance(usage, Mapping) else -1
        characters = self._text(event.get("choices"))
        if characters or running >= 0:
            self._chunks.append((time_ns, characters, running))

    def _usage(self, usage: Mapping[str, Any]) -> int:
        prompt, output = usage.get("prompt_tokens"), usage.get("completion_tokens")
        for name, count in (("prompt_tokens", prompt), ("completion_tokens", output)):
            if count is not None and (type(count) is not int or not 0 <= count <= _MOST_TOKENS):
                self.error = f"usage.{name} is {count!r}"
                return -1
        if prompt is not None:
            self.prompt_tokens = prompt
        if output is None:
            return -1
        if output < (self.output_tokens or 0):
            self.error = f"usage.completion_tokens fell from {self.output_tokens} to {output}"
            return -1
        self.output_tokens = output
        return int(output)

    def _text(self, choices: Any) -> int:
        """Return how many characters the first choice adds."""
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, Mapping):
            return 0
        reason = choice.get("finish_reason")
        if isinstance(reason, str) and reason:
            self.finished = reason
        delta = choice.get("delta")
        texts = [choice.get("text")] if not isinstance(delta, Mapping) else [delta.get(n) for n in _TEXTS]
        return sum(len(text) for text in texts if isinstance(text, str))

    @property
    def ended(self) -> bool:
        """Whether the server said in any way that the answer is complete."""
        return self.done or bool(self.finished)

    def arrivals(self) -> tuple[tuple[int, int], ...]:
        """Return ``(time_ns, tokens)`` of each arrival."""
        texts = [chunk for chunk in self._chunks if chunk[1]]
        if not texts:
            return ()
        if all(running >= 0 for _, _, running in texts):
            return self._running(texts[0][0])
        if self.output_tokens is None:
            return tuple((time_ns, 1) for time_ns, _, _ in texts)
        counts = shared(self.output_tokens, [characters for _, characters, _ in texts])
        return tuple((chunk[0], n) for chunk, n in zip(texts, counts, strict=True) if n)

    def _running(self, first_ns: int) -> tuple[tuple[int, int], ...]:
        found, before, begun = [], 0, False
        for time_ns, characters, running in self._chunks:
            begun = begun or bool(characters)
            if not begun or running <= before:
                continue
            found.append((max(time_ns, first_ns), running - before))
            before = running
        return tuple(found)


def shared(tokens: int, characters: Sequence[int]) -> list[int]:
    """Return tokens for each chunk, in proportion to its characters; the first with text has at least one.

    Args:
        tokens: All of them.
        characters: Of each chunk, at least 1.
    """
    if tokens == len(characters):
        return [1] * tokens
    total, so_far, given = sum(characters), 0, 0
    counts: list[int] = []
    for count in characters:
        so_far += count
        # rounded, and never less than the first one's token
        until = max((2 * tokens * so_far + total) // (2 * total), min(tokens, 1))
        counts.append(until - given)
        given = until
    return counts

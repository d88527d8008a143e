"""What is sent as request number ``i`` of a stream: a function of the workload and ``i`` alone.

A file of ``prompts`` is JSONL, taken in turn and again from its start: ``{"prompt": text}`` or ``{"messages":
[{"role", "content"}]}``, with ``output_tokens`` where an answer is to have a length of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from autotune.errors import SpecError
from autotune.measure.load.body import Message
from autotune.measure.load.ruler import Ruler
from autotune.measure.load.trace import BLOCK_TOKENS, Entry, Trace, read_lines_of, read_trace
from autotune.measure.workload import Workload
from autotune.measure.workload.numbers import whole


@dataclass(frozen=True, slots=True)
class Order:
    """Describe one request to send.

    Args:
        id: Its number in the stream.
        messages: Role and text of each.
        joined: The texts as one.
        max_tokens: Of the answer.
        prompt_tokens: Expected, overhead included; 0 where it is not known.
    """

    id: int
    messages: tuple[Message, ...]
    joined: str
    max_tokens: int
    prompt_tokens: int


@dataclass(frozen=True, slots=True)
class OwnPrompt:
    """Hold one line of a file of prompts."""

    messages: tuple[Message, ...]
    output_tokens: int | None


class Orders:
    """Give the requests of one stream.

    Args:
        workload: What they are like.
        stream: Its name.
        ruler: Makes texts.
        trace: Of the workload.
        own: Prompts of the workload's file.
        salt: Makes beginnings of texts differ from those of other runs with the same seed, for a server that
            keeps the cache of an earlier run; lengths stay the same.
    """

    def __init__(
        self,
        workload: Workload,
        stream: str,
        ruler: Ruler,
        trace: Trace | None = None,
        own: Sequence[OwnPrompt] = (),
        salt: str = "",
    ) -> None:
        self.workload, self.stream, self.ruler = workload, stream, ruler
        self.trace, self.own, self.salt = trace, own, salt

    def at(self, index: int) -> Order:
        """Return request ``index``, from 0."""
        random = self.workload.random(self.stream, index)
        if self.own:
            return self._own(index, random)
        if self.trace is not None:
            return self._traced(index, self.trace.entries[index % len(self.trace.entries)], random)
        if self.workload.turns is not None:
            return self._turn(index)
        own = self.workload.prompt_tokens.at(random.random())
        max_tokens = self.workload.output_tokens.at(random.random())
        texts = [self._text(self._least(own), random.random(), str(index))]
        shared = self.workload.shared_prefix
        if shared is not None and random.random() < shared.share:
            group = int(random.random() * shared.groups)
            texts.insert(0, self._common(f"prefix {group}", shared.tokens))
            own += shared.tokens
        return self._order(index, [("user", self.ruler.join(texts))], max_tokens, own)

    def _order(self, index: int, messages: Sequence[Message], max_tokens: int, prompt_tokens: int) -> Order:
        joined = self.ruler.join([text for _, text in messages])
        return Order(index, tuple(messages), joined, max_tokens, prompt_tokens)

    def _least(self, tokens: int) -> int:
        """Return how many of the tokens are text, the overhead being the system's."""
        return max(1, tokens - self.ruler.overhead)

    def _text(self, tokens: int, place: float, name: str) -> str:
        key = f"{self.workload.seed}/{self.salt}/{self.stream}/{name}"
        return self.ruler.text(max(1, tokens), place, key)

    def _common(self, name: str, tokens: int) -> str:
        """Return a text that all streams share."""
        random = self.workload.random("shared", name)
        return self.ruler.text(tokens, random.random(), f"{self.workload.seed}/{self.salt}/{name}")

    def _turn(self, index: int) -> Order:
        """Return a request that repeats the turns before it."""
        turns = self.workload.turns
        assert turns is not None  # noqa: S101 - the caller looked
        conversation, turn = turns.place(index)
        messages: list[Message] = []
        total = 0
        for number in range(turn + 1):
            random = self.workload.random(self.stream, f"{conversation}/{number}")
            asked = self.workload.prompt_tokens.at(random.random())
            answered = self.workload.output_tokens.at(random.random())
            name = f"{conversation}/{number}"
            tokens = self._least(asked) if number == 0 else asked
            messages.append(("user", self._text(tokens, random.random(), name)))
            total += asked
            if number < turn:
                messages.append(("assistant", self._text(answered, random.random(), f"{name} answer")))
                total += answered
        return self._order(index, messages, answered, total)

    def _traced(self, index: int, entry: Entry, random: Random) -> Order:
        """Return a request of a trace; blocks with a number are the same text wherever it stands."""
        texts, left = [], self._least(entry.prompt_tokens)
        for block in entry.blocks:
            if left <= 0:
                break
            tokens = min(BLOCK_TOKENS, left)
            # The last block is not full: another text, not the beginning of a full one of that number.
            texts.append(self._common(f"block {block} {tokens}", tokens))
            left -= tokens
        if left > 0:
            texts.append(self._text(left, random.random(), str(index)))
        joined = self.ruler.join(texts)
        return self._order(index, [("user", joined)], entry.output_tokens, entry.prompt_tokens)

    def _own(self, index: int, random: Random) -> Order:
        line = self.own[index % len(self.own)]
        drawn = self.workload.output_tokens.at(random.random())
        joined = "\n".join(text for _, text in line.messages)
        return Order(index, line.messages, joined, line.output_tokens or drawn, 0)


def read_prompts(path: str | Path) -> tuple[OwnPrompt, ...]:
    """Read a file of prompts.

    Raises:
        SpecError: It is not there or a line is wrong; the message names file and line.
    """
    text, _ = read_lines_of(Path(path), "prompts")
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            found.append(_prompt(json.loads(line)))
        except (ValueError, TypeError, SpecError) as error:
            raise SpecError(f"{path}:{number}: {error}", path=("prompts",)) from None
    if not found:
        raise SpecError(f"{path} has no prompts", path=("prompts",))
    return tuple(found)


def check_files(workload: Workload) -> None:
    """Read the files that a workload names.

    Raises:
        SpecError: One is not there or wrong.
    """
    if workload.trace:
        read_trace(workload.trace)
    if workload.prompts:
        read_prompts(workload.prompts)


def _prompt(row: Any) -> OwnPrompt:
    if not isinstance(row, Mapping):
        raise ValueError("a line must be a JSON object")
    length = row.get("output_tokens", row.get("max_tokens"))
    tokens = None if length is None else whole(length, ("output_tokens",), 1)
    text, messages = row.get("prompt"), row.get("messages")
    if isinstance(text, str) and text:
        return OwnPrompt((("user", text),), tokens)
    if not isinstance(messages, list) or not messages:
        raise ValueError("a line needs 'prompt', a text, or 'messages', a list")
    pairs = []
    for message in messages:
        role, content = (
            (message.get("role"), message.get("content")) if isinstance(message, Mapping) else (0, 0)
        )
        if not isinstance(role, str) or not isinstance(content, str):
            raise ValueError("a message needs the texts 'role' and 'content'")
        pairs.append((role, content))
    return OwnPrompt(tuple(pairs), tokens)

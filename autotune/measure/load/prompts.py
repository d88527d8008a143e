"""What is sent as request number ``i`` of a stream: a function of the workload and ``i`` alone.

A file of ``prompts`` is JSONL or one JSON list, taken in turn and again from its start. A line is one of:

* ``{"prompt": text}`` or ``{"messages": [{"role", "content"}]}``, with ``output_tokens`` or ``max_tokens``
  where an answer is to have a length of its own;
* a line of an OpenAI batch file: the same in ``body``;
* a conversation of ShareGPT: its first turn is the prompt, and the answer is to be as long as the one there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from autotune.core.kinds import Whole
from autotune.errors import SpecError
from autotune.measure.load.body import Message
from autotune.measure.load.prompt_builder import PromptBuilder
from autotune.measure.load.trace import (
    BLOCK_TOKENS,
    MOST_TOKENS,
    Entry,
    Trace,
    json_rows,
    located,
    read_lines_of,
    read_trace,
)
from autotune.measure.workload import Workload

_LENGTHS = ("output_tokens", "max_tokens", "max_completion_tokens")


@dataclass(frozen=True, slots=True)
class Order:
    """One request to send.

    Args:
        id: Its number in the stream.
        messages: Role and text of each.
        joined: The texts as one.
        max_tokens: Output tokens of the answer at most.
        prompt_tokens: Expected number, overhead included; 0 where it is not known.
    """

    id: int
    messages: tuple[Message, ...]
    joined: str
    max_tokens: int
    prompt_tokens: int


@dataclass(frozen=True, slots=True)
class OwnPrompt:
    """One line of a file of prompts."""

    messages: tuple[Message, ...]
    output_tokens: int | None
    answer: str = ""  # as long as the answer is to be, where no number is given


class Orders:
    """The requests of one stream.

    Args:
        workload: Workload that they follow.
        stream: Its name.
        builder: Builder of prompts.
        trace: Trace of the workload.
        own: Prompts of the workload's file.
        salt: Text that makes beginnings differ from those of other runs with the same seed, for a server that
            keeps the cache of an earlier run; lengths stay the same.
    """

    def __init__(
        self,
        workload: Workload,
        stream: str,
        builder: PromptBuilder,
        trace: Trace | None = None,
        own: Sequence[OwnPrompt] = (),
        salt: str = "",
    ) -> None:
        self.workload, self.stream, self.builder = workload, stream, builder
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
        return self._order(index, [("user", self.builder.join(texts))], max_tokens, own)

    def _order(self, index: int, messages: Sequence[Message], max_tokens: int, prompt_tokens: int) -> Order:
        joined = self.builder.join([text for _, text in messages])
        return Order(index, tuple(messages), joined, max_tokens, prompt_tokens)

    def _least(self, tokens: int) -> int:
        """Return how many of the tokens are text, the overhead being the system's."""
        return max(1, tokens - self.builder.overhead)

    def _text(self, tokens: int, place: float, name: str) -> str:
        key = f"{self.workload.seed}/{self.salt}/{self.stream}/{name}"
        return self.builder.text(max(1, tokens), place, key)

    def _common(self, name: str, tokens: int) -> str:
        """Return a text that all streams share."""
        random = self.workload.random("shared", name)
        return self.builder.text(tokens, random.random(), f"{self.workload.seed}/{self.salt}/{name}")

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
        output = entry.output_tokens or self.workload.output_tokens.at(random.random())
        if entry.text:
            return Order(index, (("user", entry.text),), entry.text, output, 0)
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
        joined = self.builder.join(texts)
        return self._order(index, [("user", joined)], output, entry.prompt_tokens)

    def _own(self, index: int, random: Random) -> Order:
        line = self.own[index % len(self.own)]
        drawn = self.workload.output_tokens.at(random.random())
        if line.answer:
            drawn = max(1, round(len(line.answer) / self.builder.characters))
        joined = "\n".join(text for _, text in line.messages)
        return Order(index, line.messages, joined, line.output_tokens or drawn, 0)


def read_prompts(path: str | Path) -> tuple[OwnPrompt, ...]:
    """Read a file of prompts.

    Raises:
        SpecError: It is not there or a line is wrong; the message names file and line.
    """
    text, _ = read_lines_of(Path(path), "prompts")
    found = []
    unanswered = 0
    for label, row in json_rows(text, path, "prompts"):
        try:
            prompt = _prompt(row)
        except (ValueError, TypeError, SpecError) as error:
            raise SpecError(f"{located(path, label)}: {error}", path=("prompts",)) from None
        if prompt is not None:
            found.append(prompt)
        else:
            unanswered += 1
    if not found:
        but = f" but {unanswered} conversations that nobody answered" if unanswered else ""
        raise SpecError(f"{path} has no prompts{but}", path=("prompts",))
    return tuple(found)


def check_files(workload: Workload) -> None:
    """Read the files that a workload names.

    Raises:
        SpecError: One is not there or wrong.
    """
    if workload.trace:
        entries = read_trace(workload.trace).entries
        if (
            all(entry.output_tokens for entry in entries)
            and workload.output_tokens != Workload().output_tokens
        ):
            raise SpecError(
                "'output_tokens' is given by the file of 'trace'",
                path=("output_tokens",),
                hint="leave out 'output_tokens': every row of the file has a length",
            )
    if workload.prompts:
        read_prompts(workload.prompts)


def _prompt(row: Mapping[str, object]) -> OwnPrompt | None:
    """Return the prompt of a line; ``None`` for a conversation that nobody answered."""
    if "conversations" in row or "conversation" in row:
        return _conversation(row.get("conversations", row.get("conversation")))
    body = row.get("body")
    row = body if isinstance(body, Mapping) and "custom_id" in row else row
    key = next((key for key in _LENGTHS if row.get(key) is not None), "")
    tokens = Whole(1, MOST_TOKENS).read(row[key], key) if key else None
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
        content = _joined(content)
        if not isinstance(role, str) or content is None:
            raise ValueError("a message needs the texts 'role' and 'content'")
        pairs.append((role, content))
    return OwnPrompt(tuple(pairs), tokens)


def _joined(content: object) -> str | None:
    """Return the text of a message: as it is, or the parts of it; ``None`` where it has others than text."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [None]
    texts = [part.get("text") if isinstance(part, Mapping) else None for part in parts]
    found = [text for text in texts if isinstance(text, str)]
    return "".join(found) if len(found) == len(parts) else None


def _conversation(turns: object) -> OwnPrompt | None:
    """Return the first question of a conversation of ShareGPT, with its answer."""
    if not isinstance(turns, list) or not all(isinstance(turn, Mapping) for turn in turns):
        raise ValueError("conversations must be a list of turns, each with 'from' and 'value'")
    said = [(turn.get("from", turn.get("role")), turn.get("value", turn.get("content"))) for turn in turns]
    said = [(who, text) for who, text in said if who != "system"]
    for who, text in said[:2]:
        if not isinstance(text, str | None):
            raise ValueError(f"a turn of a conversation must be text, found {text!r:.60} from {who!r:.60}")
    if len(said) < 2 or not all(isinstance(text, str) and text for _, text in said[:2]):
        return None
    return OwnPrompt((("user", said[0][1]),), None, said[1][1])

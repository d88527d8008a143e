"""What the events of one streamed completion say: when how many tokens came, and what went wrong.

How many tokens an answer has, in order of preference (:attr:`StreamedAnswer.counted_by`):

1. ``usage``: what the server counted, at the end or in its last running count;
2. ``length``: the tokens asked for, where the answer ended because it had them (``finish_reason: length``).
   Some servers' usage leaves out the first or the last token: where as many chunks or running tokens came as
   were asked for, this is believed rather than a smaller usage. So it is where the usage cannot be: above the
   tokens asked for, or fewer than the text has chunks or words (``length, against the usage``);
3. ``chunks``: one token for each chunk with text. Where chunks hold several words, they hold several tokens,
   and this is too few (``chunks of several words``); the text may still be counted by a tokenizer.

When they came: by the running count, where it is one (it begins with the first text, never falls and ends at
the total); else all tokens are shared among the chunks with text by their characters. A chunk may carry
several tokens (drafting, a busy server), and tokens may come without text of their own (parts of a
character). Reasoning and tool calls are text. The first arrival is the first chunk with text: tokens before
it count for it.

Reasoning that is counted and not streamed (:attr:`StreamedAnswer.hidden`) is told by ``reasoning_tokens`` of
the usage, at its top or in ``completion_tokens_details``, or by a running count that begins high. It lies
before the first chunk with text, and is no part of the others. Reasoning may be counted and streamed as
content too: without a running count the text decides, by its chunks, words and bytes, whether it has the
tokens with the reasoning or those without. Where both fit, where only a summary is streamed, where the count
of reasoning cannot be, or where an answer has more tokens than its text has bytes and nobody says why, tokens
may be hidden that cannot be counted. Without a count of reasoning, fewer hidden tokens than that are not
noticed.

A usage need not be one. ``24.0`` and ``"24"`` are counts; a truth value, a fraction, a negative number or one
that the text contradicts is not believed, and :attr:`StreamedAnswer.doubted` says so. With more reasoning
than tokens it contradicts itself, unless an end by ``length`` or the total says that it counts them apart.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise

from autotune.core.endpoint import count_of, message_of
from autotune.core.nesting import MOST_LEVELS, TOO_DEEP, nests_too_deep
from autotune.core.request import (
    BY_CHUNKS,
    BY_LENGTH,
    BY_LENGTH_NOT_USAGE,
    BY_SEVERAL_WORDS,
    BY_USAGE,
    BY_USAGE_AGAINST_ITSELF,
    HIDDEN_UNCOUNTED,
)
from autotune.measure.load.sse import ErrorEvent
from autotune.measure.load.texts import delta_texts, least_tokens, likely_tokens, most_tokens

DONE = b"[DONE]"
_decode = json.JSONDecoder().raw_decode
_SHOWN = 60  # characters of what is odd
_MOST_CHOICES = 128
_ERROR_KEYS = ("message", "detail")
_SEVERAL_WORDS_SHARE = 0.02  # of the chunks: a single token of some vocabularies holds two words
_DISTRUSTED = (8, 3)  # a usage of less than a third of at least eight chunks is no count of the answer
_LONGEST_TOKEN = 16  # characters, on average over an answer
_ONE_EACH = 0.9  # chunks for each token, at least, where the chunks hold one each
_HELD_BACK = 3  # tokens that wait for the last byte of a character, which has four
_SUMMARY = (8, 3)  # of at least eight tokens of reasoning less than a third of the text that others have


class StreamedAnswer:
    """One streamed answer, put together from its events.

    Args:
        wanted: Tokens asked for, where an end by ``length`` means that they all came; ``None`` where it does
            not.
        most: Tokens that may come at most; ``None`` where that is not known.

    Attributes:
        error: Text of what the server said went wrong, else ``""``.
        done: Whether the server said that the stream is over.
        finished: The reason that the server gave for the end.
        prompt_tokens: Number that the server counted, ``None`` where it does not say.
        reasoning: Tokens of reasoning as the server counted them, streamed or not.
    """

    def __init__(self, wanted: int | None = None, most: int | None = None) -> None:
        self.error = ""
        self.done = False
        self.finished = ""
        self.prompt_tokens: int | None = None
        self.reasoning = 0
        self._wanted, self._most = wanted, most
        self._choices: set[int] = set()
        self._odd = ""  # what the usage says that is no count
        self._misreasoned = False  # whether the last count of reasoning cannot be
        self._beyond = False  # whether it was above that of all tokens
        self._untold = False  # whether the last count of output tokens was none
        self._final: int | None = None
        self._reasoned = 0  # characters of reasoning that were streamed
        self._unshown = 0  # events without text after the first with text: tokens without text of their own
        self._chunks: list[tuple[int, str, int]] = []  # time, text, tokens so far or -1

    def add(self, time_ns: int, data: bytes) -> None:
        """Take the data of one event that came at ``time_ns``."""
        if self.done or self.error:
            return
        if data == DONE:
            self.done = True
            return
        if isinstance(data, ErrorEvent):
            self.error = f"the server said: {message_of(bytes(data))}"
            return
        if not data.strip():  # keeps a connection alive
            return
        try:
            event = _parsed(data)
        except (ValueError, RecursionError):
            self.error = f"an event is no JSON: {data[:_SHOWN]!r}"
            return
        if not isinstance(event, dict):
            self.error = f"an event is no object: {data[:_SHOWN]!r}"
            return
        if _is_error(event):
            self.error = f"the server said: {message_of(event)}"
            return
        choices = event.get("choices")
        text = self._text(choices)
        usage = event.get("usage")
        count = self._usage(usage) if isinstance(usage, dict) else -1
        if count >= 0 and not text and (not choices or self.finished):
            self._final = count
        if text or count >= 0:
            self._chunks.append((time_ns, text, count))
        self._unshown += bool(choices and not text and self._chunks)

    def _usage(self, usage: Mapping[str, object]) -> int:
        """Return the output tokens so far, -1 where it does not say."""
        prompt = self._count("prompt_tokens", usage.get("prompt_tokens"))
        if prompt is not None:
            self.prompt_tokens = prompt
        said = usage.get("completion_tokens")
        tokens = self._count("completion_tokens", said)
        if said is not None:
            self._untold = tokens is None
        if tokens is None:
            return -1
        details = usage.get("completion_tokens_details")
        found = details.get("reasoning_tokens") if isinstance(details, Mapping) else None
        found = usage.get("reasoning_tokens") if found is None else found
        reasoning = self._count("reasoning_tokens", found) or 0
        self._misreasoned = found is not None and count_of(found) is None
        # Some servers count what is shown alone; their total has the reasoning, or the end by length tells.
        beside = reasoning and prompt is not None and count_of(usage.get("total_tokens"))
        asked = self._most if self._wanted is None else self._wanted
        full = reasoning and self.finished == "length" and tokens + reasoning == asked
        self._beyond = False
        if full or (beside and beside == (prompt or 0) + tokens + reasoning):
            tokens += reasoning
        elif reasoning > tokens:
            self._beyond = True
            self._odd = self._odd or f"usage.reasoning_tokens is {reasoning} of {tokens}"
            self._misreasoned, reasoning = True, 0
        self.reasoning = reasoning
        return tokens

    def _count(self, name: str, said: object) -> int | None:
        """Return a count of the usage; ``None`` where there is none, with a note of what is there instead."""
        count = count_of(said)
        if count is None and said is not None:
            self._odd = self._odd or f"usage.{name} is {repr(said)[:_SHOWN]}"
        return count

    def _text(self, choices: object) -> str:
        """Return the text that an event adds, and take note of an end."""
        found: list[str] = []
        for choice in choices if isinstance(choices, list) else ():  # one, but for a body with `n`
            if not isinstance(choice, dict):
                continue
            index = choice.get("index")
            if type(index) is int and len(self._choices) < _MOST_CHOICES:
                self._choices.add(index)
            reason = choice.get("finish_reason")
            if isinstance(reason, str) and reason:
                self.finished = reason
            delta = choice.get("delta")
            if isinstance(delta, dict):
                content = delta.get("content")
                if len(delta) == 1 and isinstance(content, str):
                    found.append(content)
                    continue
                texts, reasoned = delta_texts(delta)
                found += texts
                self._reasoned += reasoned
            elif isinstance(choice.get("text"), str):
                found.append(choice["text"])
        return "".join(found)

    @property
    def ended(self) -> bool:
        """Whether the server said in any way that the answer is complete."""
        return self.done or bool(self.finished)

    @property
    def texts(self) -> list[str]:
        """The text of each chunk that has any."""
        return [text for _, text, _ in self._chunks if text]

    @property
    def output_tokens(self) -> int | None:
        """Tokens of the answer as the server counted them; ``None`` where it says nothing possible."""
        told = self._told()
        return None if told is None or self._contradicted(told) else told

    def _contradicted(self, told: int) -> bool:
        """Return whether a usage is above what may come, or denies an end by ``length`` that the text shows.

        A context that is full ends by ``length`` too, with fewer tokens than were asked for: such a usage is
        no smaller than what came.
        """
        if self._most is not None and told - self.reasoning > self._most * max(1, len(self._choices)):
            return True
        texts, (least, share) = self.texts, _DISTRUSTED
        if len(texts) >= least and told * share < len(texts):
            return True
        if self._wanted is None or self.finished != "length" or told >= self._wanted:
            return False
        if len(texts) == self._wanted:  # a usage that leaves out the first or the last token
            return False
        whole = "".join(texts)
        return told < max(len(texts), len(whole.split()), len(whole) // _LONGEST_TOKEN)

    def _told(self) -> int | None:
        """Return the server's count, ``None`` where there is none of the whole answer."""
        if self._untold:
            return None
        if self._final is not None:
            told = self._final
        else:
            running = [count for _, _, count in self._chunks if count >= 0]
            if not running or not self._runs(running[-1]):
                return None
            told = running[-1]
        return None if told == 0 and self.texts else told

    def _runs(self, total: int) -> bool:
        """Return whether the counts of the chunks are a running one that ends at ``total``."""
        begun, before = False, 0
        for _, text, count in self._chunks:
            if text and count < (0 if begun else 1):
                return False
            begun = begun or bool(text)
            if 0 <= count < before:
                return False
            before = max(before, count)
        counts = [count for _, text, count in self._chunks if text]
        # The same number again and again is the size of each chunk, not how many came so far.
        grows = sum(b > a for a, b in pairwise(counts))
        return begun and before == total and 2 * grows >= len(counts) - 1

    def total(self) -> tuple[int, str]:
        """Return the tokens of the answer and how they were counted."""
        texts = self.texts
        told = self.output_tokens
        wanted = self._wanted if self.finished == "length" else None
        if told is not None:
            most = max([len(texts), *(count for _, _, count in self._chunks)])
            if wanted is not None and told < wanted == most:
                return wanted, BY_LENGTH
            return told, BY_USAGE_AGAINST_ITSELF if self._beyond and told != wanted else BY_USAGE
        if wanted is not None and 0 < len(texts) <= wanted:
            return wanted, BY_LENGTH_NOT_USAGE if self.doubted else BY_LENGTH
        several = sum(len(text.split()) > 1 for text in texts)
        return len(texts), BY_SEVERAL_WORDS if several > _SEVERAL_WORDS_SHARE * len(texts) else BY_CHUNKS

    @property
    def doubted(self) -> str:
        """What the usage says that cannot be, in words; empty where it was believed, or there is none."""
        told = self._told()
        if self._odd or told is None or not self._contradicted(told):
            return self._odd
        return f"usage.completion_tokens is {told} for {len(self.texts)} chunks of text"

    @property
    def hidden(self) -> int:
        """Tokens that were made before the first one that was shown, and that no chunk shows.

        :data:`HIDDEN_UNCOUNTED` where there are some, and how many is not known.
        """
        texts, told = self.texts, self.output_tokens
        if not texts or told is None:
            return 0
        if self._runs(told):
            return self._hidden_before_running()
        whole, spare = "".join(texts), _HELD_BACK + self._unshown
        shown = told - self.reasoning
        if self._misreasoned or (self.reasoning and not self._reasoned and not shown):
            return 0 if len(texts) + self._unshown >= told else HIDDEN_UNCOUNTED
        if self.reasoning and self._reasoned:
            least, share = _SUMMARY
            per_token = (len(whole) - self._reasoned) / shown / share if shown >= least else 0.0
            summary = self._reasoned < self.reasoning * max(1.0, per_token)
            return HIDDEN_UNCOUNTED if self.reasoning >= least and summary else 0
        among = told <= most_tokens(whole) + spare
        if not self.reasoning:
            return 0 if among else HIDDEN_UNCOUNTED
        before = (
            max(len(texts), least_tokens(whole), len(whole) // _LONGEST_TOKEN)
            <= shown
            <= most_tokens(whole) + spare
        )
        if among and before:  # the text may have the tokens with reasoning, and those without
            among = told <= likely_tokens(whole) + spare and not self._one_each(shown)
        if among == before:
            return HIDDEN_UNCOUNTED
        return self.reasoning if before else 0

    def _one_each(self, tokens: int) -> bool:
        """Return whether so many tokens came in a chunk each, as without drafting."""
        texts = self.texts
        several = sum(len(text.split()) > 1 for text in texts)
        return len(texts) >= _ONE_EACH * tokens and several <= _SEVERAL_WORDS_SHARE * len(texts)

    def _hidden_before_running(self) -> int:
        """Return the tokens before the first chunk with text, where the counts of the chunks are running."""
        before, first, text = self._first_count()
        most, counted = most_tokens(text) + _HELD_BACK, 0 if self._reasoned else self.reasoning
        if counted and least_tokens(text) <= first - counted <= most and first > counted:
            return counted
        if first - before > most:
            return first - 1
        if before > _HELD_BACK:
            return min(before, first - 1)
        counts = [count for _, text, count in self._chunks if text]
        step = max((b - a for a, b in pairwise(counts)), default=first)
        return HIDDEN_UNCOUNTED if self._misreasoned and first > step + _HELD_BACK else 0

    def _first_count(self) -> tuple[int, int, str]:
        """Return the running count before the first chunk with text, at it, and its text."""
        before = 0
        for _, text, count in self._chunks:
            if text:
                return before, count, text
            before = max(before, count)
        return before, before, ""

    @property
    def counted_by(self) -> str:
        """How the tokens were counted."""
        return self.total()[1]

    def arrivals(self, per_character: float | None = None) -> tuple[tuple[int, int], ...]:
        """Return ``(time_ns, tokens)`` of each arrival.

        Args:
            per_character: Tokens per character of other answers, for one that was cut off before its tokens
                could be counted.
        """
        texts = [chunk for chunk in self._chunks if chunk[1]]
        if not texts:
            return ()
        total, how = self.total()
        if self._runs(total):
            return self._running(texts[0][0])
        if not self.ended and how not in (BY_USAGE, BY_USAGE_AGAINST_ITSELF) and per_character is not None:
            total = max(1, round(per_character * sum(len(text) for _, text, _ in texts)))
        hidden = max(0, self.hidden)
        shown = shared_over(
            [time_ns for time_ns, _, _ in texts], [len(text) for _, text, _ in texts], total - hidden
        )
        return ((shown[0][0], shown[0][1] + hidden), *shown[1:]) if hidden else shown

    def _running(self, first_ns: int) -> tuple[tuple[int, int], ...]:
        found, before, begun = [], 0, False
        for time_ns, text, running in self._chunks:
            begun = begun or bool(text)
            if not begun or running <= before:
                continue
            found.append((max(time_ns, first_ns), running - before))
            before = running
        return tuple(found)


def _parsed(data: bytes) -> object:
    """Return an event's JSON.

    What ``json.loads`` does beside (guess an encoding, look for space twice) is a tenth of an event's cost.

    Raises:
        ValueError: It is none, or nested too deep.
    """
    text = data.decode("utf-8", "surrogatepass").strip()
    found, end = _decode(text)
    if end < len(text):
        raise ValueError("more than one value")
    if text.count("{") + text.count("[") > MOST_LEVELS and nests_too_deep(found):
        raise ValueError(TOO_DEEP)
    return found


def _is_error(event: Mapping[str, object]) -> bool:
    """Return whether an event tells of an error: in OpenAI's form, in vLLM's, or as a bare message."""
    if "choices" in event or event.get("error"):
        return bool(event.get("error"))
    if "error" in (event.get("object"), event.get("type")):
        return True
    return "usage" not in event and any(key in event for key in _ERROR_KEYS)


def shared_over(times: Sequence[int], characters: Sequence[int], tokens: int) -> tuple[tuple[int, int], ...]:
    """Return ``(time_ns, tokens)`` of the chunks that get any of ``tokens``, by their characters."""
    counts = shared(tokens, characters)
    return tuple((time_ns, n) for time_ns, n in zip(times, counts, strict=True) if n)


def shared(tokens: int, characters: Sequence[int]) -> list[int]:
    """Return tokens for each chunk, in proportion to its characters; the first with text has at least one.

    Args:
        tokens: All of them.
        characters: Length of each chunk, at least 1.
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

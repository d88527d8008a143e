"""What must be known of an endpoint before a load.

What its streams can be asked, how long texts are to it, and how the tokens of its answers can be counted.

Never raises for what the server does: a server that answers nothing here answers nothing under load either,
and there it is recorded.
"""

from __future__ import annotations

import math
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from autotune.core.endpoint import BUSY, Endpoint, Refused, count_of, foreign_json
from autotune.core.json_object import JsonObject
from autotune.measure.load.answer import StreamedAnswer
from autotune.measure.load.ask import EndpointConnection
from autotune.measure.load.body import STREAM_OPTIONS, fields
from autotune.measure.load.prompt_builder import FIRST, SLICES, PromptBuilder, slice_text
from autotune.measure.workload.corpus import passage, words

_FILLERS = 64
_CANDIDATES = 160  # common words tried for fillers
_REPEATS = 9
_LEAST_SLICES = 32
_TRIED = (17, 64, 150)  # tokens of texts that are counted to see whether lengths are exact
_LENGTHS = (40, 80, 160, 320)  # characters: short enough for any model
_WORD = re.compile(r"[a-z]{2,7}")
_PROBE_TOKENS = 2
_WHOLE_TOKENS = 16
_TOKENIZERS = ("/tokenize", "/extras/tokenize/count")  # of vLLM, SGLang and llama.cpp; of llama-cpp-python
_ANSWERS = 2.0  # most time for all, in longest answers: only the first of them wakes the server
_MOST_EXTRA = 1000  # tokens of a text beyond its bytes: more is no count
_UNKNOWN = PromptBuilder()


@dataclass(frozen=True)
class Calibration:
    """Result of a calibration.

    Args:
        builder: Builder of prompts.
        options: Names of :data:`STREAM_OPTIONS` that the server takes.
        length_told: Whether an end by ``length`` means that all tokens asked for came; asked only where
            streams have no usage.
        tokenize: Path that counts the tokens of a text, where streams have no usage and there is one.
        problem: Reason why nothing could be found, empty where it could.
    """

    builder: PromptBuilder = _UNKNOWN
    options: int = 0
    problem: str = ""
    length_told: bool = True
    tokenize: str = ""

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON data; :meth:`from_dict` reads it back."""
        return {
            "builder": self.builder.to_dict(),
            "options": self.options,
            "problem": self.problem,
            "length_told": self.length_told,
            "tokenize": self.tokenize,
        }

    @classmethod
    def from_dict(cls, data: JsonObject) -> Calibration:
        """Read what :meth:`to_dict` wrote."""
        return cls(**{**data, "builder": PromptBuilder.from_dict(data["builder"])})

    def facts(self) -> dict[str, Any]:
        """Return what a measurement notes of it."""
        return {**self.builder.facts(), "stream_options": STREAM_OPTIONS[self.options]}


def calibrate(endpoint: Endpoint, *, seconds: float = 60.0, patience_s: float = math.inf) -> Calibration:
    """Ask the server.

    Args:
        endpoint: Endpoint of the server.
        seconds: Most time for each answer, and for the tokens of single texts.
        patience_s: Most time for all of it.
    """
    now = time.monotonic()
    deadline = now + min(seconds, patience_s)
    with EndpointConnection(endpoint, seconds, now + min(_ANSWERS * seconds, patience_s)) as connection:
        for number, options in enumerate(STREAM_OPTIONS):
            try:
                first = _answer(connection, passage(0, _LENGTHS[0]), options)
            except Refused as error:
                refusal = 400 <= error.status < 500 and error.status not in BUSY
                if refusal and number + 1 < len(STREAM_OPTIONS):
                    continue
                return Calibration(problem=str(error))
            break

        def spent(text: str) -> int | None:
            """Return the prompt tokens that the server counts for a text."""
            try:
                return _prompt_tokens(connection, text, options)
            except Refused:
                return None

        told, tokenize = (
            (True, "") if first.output_tokens is not None else _without_usage(endpoint, connection)
        )
        builder = by_tokenizer(endpoint, connection, deadline) if endpoint.tokenize else None
        if builder is None:
            return Calibration(by_usage(spent), number, "", told, tokenize)
        extra = [spent(builder.text(tokens, 0.3, f"probe {tokens}")) for tokens in _TRIED[:2]]
        found = [total - tokens for total, tokens in zip(extra, _TRIED, strict=False) if total is not None]
        overhead = max(0, min(found)) if found else builder.overhead
        return Calibration(replace(builder, overhead=overhead), number, "", told, tokenize)


def _answer(connection: EndpointConnection, text: str, options: object) -> StreamedAnswer:
    return connection.completion(fields(connection.endpoint, [("user", text)], text, _PROBE_TOKENS, options))


def _prompt_tokens(connection: EndpointConnection, text: str, options: object) -> int | None:
    return _answer(connection, text, options).prompt_tokens


def _without_usage(endpoint: Endpoint, connection: EndpointConnection) -> tuple[bool, str]:
    """Return whether an end by ``length`` is to be believed, and the path that counts tokens, or ``""``.

    An answer that is not streamed has a usage with nearly all servers: if it says ``length`` and has another
    number of tokens than were asked for, the word means nothing.
    """
    text = passage(0, _LENGTHS[0])
    body = fields(endpoint, [("user", text)], text, _WHOLE_TOKENS, None) | {"stream": False}
    try:
        found = foreign_json(connection.post(endpoint.path, body))
        reason = found["choices"][0].get("finish_reason")
        count = (found.get("usage") or {}).get("completion_tokens")
        told = reason != "length" or count_of(count) in (None, _WHOLE_TOKENS)
    except (Refused, ValueError, KeyError, IndexError, TypeError, AttributeError):
        told = True  # nothing speaks against it
    for path in (endpoint.tokenize, *_TOKENIZERS):
        try:
            if path and count_tokens(endpoint, connection, text, path) > 0:
                return told, path
        except Refused:
            continue
    return told, ""


def by_usage(spent: Callable[[str], int | None]) -> PromptBuilder:
    """Return a builder of prompts from what the server counts for texts of several lengths.

    Args:
        spent: Function that returns the prompt tokens of a text, ``None`` where the server does not say.
    """
    texts = [passage(700 * i, length)[:length].strip() for i, length in enumerate(_LENGTHS)]
    found = [(len(text), count) for text in texts if (count := spent(text)) is not None]
    if len(found) < 2:
        return PromptBuilder()
    n = len(found)
    mean_x, mean_y = sum(x for x, _ in found) / n, sum(y for _, y in found) / n
    slope = sum((x - mean_x) * (y - mean_y) for x, y in found) / sum((x - mean_x) ** 2 for x, _ in found)
    if slope <= 0:
        return PromptBuilder()
    overhead = max(0, round(mean_y - slope * mean_x))
    exact = all(count - length == found[0][1] - found[0][0] for length, count in found)
    return PromptBuilder("usage", 1.0 if exact else 1 / slope, overhead, exact)


def by_tokenizer(endpoint: Endpoint, connection: EndpointConnection, deadline: float) -> PromptBuilder | None:
    """Return a builder of prompts from the server's tokenizer, ``None`` where it does not answer.

    Args:
        endpoint: Endpoint with the path of its tokenizer.
        connection: Connection to the server.
        deadline: ``time.monotonic()`` value.
    """
    try:
        base = count_tokens(endpoint, connection, FIRST)
        slices: list[int] = []
        while len(slices) < SLICES and (len(slices) < _LEAST_SLICES or time.monotonic() < deadline):
            slices.append(count_tokens(endpoint, connection, f"{FIRST} {slice_text(len(slices))}") - base)
        lengths = [len(slice_text(i)) + 1 for i in range(len(slices))]
        characters = sum(lengths) / sum(slices)
        if slices == lengths:  # every character is a token
            return PromptBuilder("tokenizer", 1.0, 0, exact=True)
        common = Counter(word for word in words() if _WORD.fullmatch(word))
        fillers: list[str] = []
        for word, _ in common.most_common(_CANDIDATES):
            if len(fillers) == _FILLERS or time.monotonic() > deadline:
                break
            if count_tokens(endpoint, connection, FIRST + f" {word}" * _REPEATS) - base == _REPEATS:
                fillers.append(word)
        builder = PromptBuilder("tokenizer", characters, 0, False, tuple(slices), tuple(fillers))
        if not builder.by_slices:
            return replace(builder, counts=(), fillers=())
        tried = [
            count_tokens(endpoint, connection, builder.text(tokens, 0.1 * i, f"{i}")) - base + 1 == tokens
            for i, tokens in enumerate(_TRIED)
        ]
        return replace(builder, exact=all(tried))
    except (Refused, ValueError, ZeroDivisionError):
        return None


def count_tokens(endpoint: Endpoint, connection: EndpointConnection, text: str, path: str = "") -> int:
    """Return how many tokens a text has to the server.

    The words of vLLM and SGLang (``prompt``), llama.cpp (``content``) and llama-cpp-python (``input``) are
    all given; each takes its own.

    Args:
        endpoint: Endpoint that names the model, and the path where none is given.
        connection: Connection to the server.
        text: Text to be counted.
        path: Path of the tokenizer; given for a text that stands alone, without a first token of the model.

    Raises:
        Refused: The server does not say.
    """
    body: dict[str, object] = {"model": endpoint.model, "prompt": text, "content": text, "input": text}
    if path:
        body["add_special_tokens"] = False
    try:
        found = foreign_json(connection.post(path or endpoint.tokenize, body))
    except ValueError:
        raise Refused(0, "the tokenizer's answer is no JSON") from None
    if isinstance(found, Mapping):
        count = found.get("count", found.get("tokens"))
        if isinstance(count, list):
            return len(count)
        number = count_of(count)
        if number is not None and number <= 4 * len(text) + _MOST_EXTRA:
            return number
    raise Refused(0, f"the tokenizer's answer has no tokens: {str(found)[:100]}")

"""Ask a system for greedy answers and for how likely it finds a text: over HTTP, or in batches."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from autotune.core.answer import Answer
from autotune.core.endpoint import BUSY, Endpoint, Refused, foreign_json, seconds_to_wait
from autotune.core.http_client import HttpConnection
from autotune.core.request import Request

WINDOW = 1000  # characters of a text scored at once over HTTP: each window is one observation
WINDOWS = 16
_LONGEST = 16 << 20  # bytes of an answer
_MOST_LOSS = 700.0  # nats: a token that can't be, which some servers give as infinity
_LARGEST = 2**63 - 1  # number of a token
_SHOWN = 200  # characters of one that are quoted
# The load makes every request do the same work; answers that are judged end where the model ends them.
_NEW_NAME = "max_completion_tokens"
_OF_THE_LOAD = (
    "ignore_eos",
    "min_tokens",
    "max_tokens",
    "max_completion_tokens",
    "stream",
    "stream_options",
    "n_predict",
)


class NoAnswer(Exception):
    """The lack of an answer of the system: it died, refused, or took too long.

    Args:
        text: Words on what happened.
        malformed: Whether something came that is no answer.
        redirected: Whether the server answers elsewhere, which only the study's owner can mend.
    """

    def __init__(self, text: str, *, malformed: bool = False, redirected: bool = False) -> None:
        super().__init__(text)
        self.malformed = malformed
        self.redirected = redirected


class Source(Protocol):
    """A source of greedy answers to prompts."""

    def answers(self, prompts: Sequence[str], max_tokens: int, deadline: float) -> list[Answer]:
        """Return one answer per prompt, in order.

        Raises:
            NoAnswer: The system did not answer by ``deadline`` (``time.monotonic()``).
        """

    def losses(self, text: str, deadline: float) -> list[float]:
        """Return the mean negative log likelihood per token of each window of a text, in nats.

        Empty where the server does not tell it.
        """


class Answering(Protocol):
    """The part of a batch driver that answers are asked of."""

    def answers(self, requests: Sequence[Request], deadline: float) -> list[Answer]:
        """Run the requests as one batch and return their answers."""

    def losses(self, text: str, deadline: float) -> list[float]:
        """Return the losses of a text; see :class:`Source`."""


class BatchSource:
    """A driver that runs batches, as a source.

    Args:
        driver: Driver that is ready.
        batch_size: Most requests at once.
    """

    def __init__(self, driver: Answering, batch_size: int) -> None:
        self.driver = driver
        self.batch_size = batch_size

    def answers(self, prompts: Sequence[str], max_tokens: int, deadline: float) -> list[Answer]:
        """Return one answer per prompt, in order."""
        requests = [Request(i, prompt, max_tokens) for i, prompt in enumerate(prompts)]
        size = self.batch_size
        groups = [requests[i : i + size] for i in range(0, len(requests), size)]
        return [answer for group in groups for answer in self.driver.answers(group, deadline)]

    def losses(self, text: str, deadline: float) -> list[float]:
        """Return the losses of a text."""
        return self.driver.losses(text, deadline)


class EndpointSource:
    """An OpenAI-compatible server as a source: one request at a time and without streaming.

    Args:
        endpoint: Endpoint of the server.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._logprobs = True  # until the server refuses them

    def answers(self, prompts: Sequence[str], max_tokens: int, deadline: float) -> list[Answer]:
        """Return one answer per prompt, in order."""
        return [self._answer(prompt, max_tokens, deadline) for prompt in prompts]

    def _answer(self, prompt: str, max_tokens: int, deadline: float) -> Answer:
        endpoint = self.endpoint
        own = {key: value for key, value in endpoint.body.items() if key not in _OF_THE_LOAD}
        own = {key: value for key, value in own.items() if value != "{max_tokens}"}
        asked: dict[str, object] = {"prompt": prompt}
        if endpoint.is_chat:
            asked = {"messages": [{"role": "user", "content": prompt}]}
        length = _NEW_NAME if _NEW_NAME in endpoint.body else "max_tokens"
        body = {**own, **asked, "model": endpoint.model, length: max_tokens, "temperature": 0}
        body = {key: value for key, value in body.items() if key not in endpoint.omit}
        if self._logprobs:
            status, data = self._post(
                endpoint.path, {**body, "logprobs": True if endpoint.is_chat else 1}, deadline
            )
            if status == 200:
                return _read_answer(data)
            self._logprobs = False  # tokens are not told then, and words are compared
        status, data = self._post(endpoint.path, body, deadline)
        if not status:
            raise NoAnswer(f"the answer is no JSON: {_shown(data['text'])}", malformed=True)
        if status != 200:
            raise NoAnswer(f"HTTP {status}: {_shown(data)}")
        return _read_answer(data)

    def losses(self, text: str, deadline: float) -> list[float]:
        """Return the losses of a text: by ``echo`` with ``logprobs``, or by vLLM's ``prompt_logprobs``."""
        windows = [text[i : i + WINDOW] for i in range(0, min(len(text), WINDOW * WINDOWS), WINDOW)]
        found = []
        for extra in ({"echo": True, "logprobs": 1}, {"prompt_logprobs": 0}):
            found = [self._loss(window, extra, deadline) for window in windows[:1]]
            if found and found[0] is not None:
                found += [self._loss(window, extra, deadline) for window in windows[1:]]
                return [loss for loss in found if loss is not None]
        return []

    def _loss(self, text: str, extra: Mapping[str, object], deadline: float) -> float | None:
        body = {"model": self.endpoint.model, "prompt": text, "max_tokens": 1, "temperature": 0, **extra}
        status, data = self._post("/v1/completions", body, deadline)
        if status != 200:
            return None
        try:
            choice = data["choices"][0]
            told = (choice.get("logprobs") or {}).get("token_logprobs") if "echo" in extra else None
            if "prompt_logprobs" in extra:
                told = [_own_logprob(entry) for entry in choice.get("prompt_logprobs") or []]
            elif told:
                told = told[:-1]  # the last one is of the token that it was made to add
            known = [_number(value) for value in told or [] if value is not None]
        except (LookupError, TypeError, AttributeError, ValueError, OverflowError):
            text = f"the answer's log probabilities are none: {_shown(data)}"
            raise NoAnswer(text, malformed=True) from None
        if any(map(math.isnan, known)):
            raise NoAnswer("a log probability of the text is no number", malformed=True)
        known = [max(-_MOST_LOSS, min(_MOST_LOSS, value)) for value in known]
        # A server that does not echo gives the one new token's only: that is no loss of the text.
        return -sum(known) / len(known) if len(known) > 1 else None

    def _post(self, path: str, body: Mapping[str, object], deadline: float) -> tuple[int, Any]:
        """Return status and answer; a server that is busy is waited for as it asks."""
        while True:
            status, data, wait = self._post_once(path, body, deadline)
            if status not in BUSY or wait is None or time.monotonic() + wait >= deadline:
                return status, data
            time.sleep(wait)

    def _post_once(
        self, path: str, body: Mapping[str, object], deadline: float
    ) -> tuple[int, object, float | None]:
        if time.monotonic() >= deadline:
            raise NoAnswer("the time for the quality check is over")
        connection = HttpConnection(self.endpoint.url)
        headers = {"Connection": "close", **self.endpoint.headers}
        try:
            answer = connection.ask(
                path, json.dumps(body).encode(), headers, deadline=deadline, most_bytes=_LONGEST
            )
            text = answer.read().decode("utf-8", errors="replace")
        except Refused as refusal:
            raise NoAnswer(str(refusal), malformed=refusal.malformed) from None
        finally:
            connection.close()
        refused = Refused.of_answer(answer.status, answer.headers, text)
        if refused.redirected:
            raise NoAnswer(f"{self.endpoint.url}{path}: {refused}", redirected=True)
        wait = seconds_to_wait(answer.headers.get("retry-after"))
        try:
            return answer.status, foreign_json(text), wait
        except ValueError:
            return (answer.status if answer.status != 200 else 0), {"text": text[:_SHOWN]}, wait


def _read_answer(data: Any) -> Answer:
    try:
        choice = data["choices"][0]
        text = choice["message"]["content"] if "message" in choice else choice["text"]
        told = choice.get("logprobs") or {}
        tokens = told.get("tokens")
        if tokens is None and told.get("content"):
            tokens = [entry["token"] for entry in told["content"]]
        tokens = choice.get("token_ids") or tokens or None
    except (KeyError, IndexError, TypeError, AttributeError):
        raise NoAnswer(f"the answer has no choice: {_shown(data)}", malformed=True) from None
    if not isinstance(text or "", str) or not _are_tokens(tokens):
        raise NoAnswer(f"the answer's text or tokens are none: {_shown(choice)}", malformed=True)
    return Answer(text or "", tuple(tokens) if tokens else None)


def _are_tokens(found: object) -> bool:
    """Return whether tokens are told as texts or numbers, or not at all."""
    if found is not None and not isinstance(found, list):
        return False
    return all(
        isinstance(token, str) or (type(token) is int and abs(token) <= _LARGEST) for token in found or ()
    )


def _shown(data: object) -> str:
    return json.dumps(data)[:_SHOWN]


def _own_logprob(entry: Mapping[str, Mapping[str, object]] | None) -> float | None:
    """Return the log probability of the prompt's own token, which vLLM lists first."""
    if not entry:
        return None
    return _number(next(iter(entry.values()))["logprob"])


def _number(found: object) -> float:
    """Return a number of an answer.

    Raises:
        TypeError: It is none.
        OverflowError: It has no float.
    """
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise TypeError(f"no number: {found!r}"[:_SHOWN])
    return float(found)

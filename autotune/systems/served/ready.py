"""Wait for a launched server: it must be ours, list its model and answer one short request."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autotune.core.endpoint import Endpoint, Refused
from autotune.core.measurement import Cause, Failure
from autotune.systems.base import AttemptFailed, NotReady
from autotune.systems.served.client import ask
from autotune.systems.served.diagnosis import is_out_of_memory
from autotune.systems.served.launch import Launch, listens, root_process
from autotune.systems.shortfall import shortfall

_TOKENS = 2  # the least that shows that a second step works too
_LOOK_S = 2.0
_PROMPT = "The quick brown fox"


def wait_ready(
    folder: Path, deadline: float, headers: Mapping[str, str] | None = None
) -> tuple[Endpoint, dict[str, Any]]:
    """Return the endpoint of the server that was launched in ``folder``, and what the first answer told.

    Args:
        folder: Of the attempt.
        deadline: ``time.monotonic()`` value by which it must be ready.
        headers: Of every request.

    Raises:
        NotReady: It does not answer yet.
        AttemptFailed: It answers and cannot do what is asked, or another process has its port.
    """
    launch = Launch.read(folder)
    try:
        ask(launch.url, launch.ready, headers=headers, timeout=_LOOK_S)
    except Refused:
        raise NotReady from None
    root = root_process(folder)
    if launch.ours and root is not None and not listens(root, launch.port):
        text = f"another process answers on port {launch.port}"
        raise AttemptFailed(Failure(Cause.PORT_TAKEN, text))
    endpoint = Endpoint(
        url=launch.url,
        model=launch.model or served_model(launch, headers),
        path=launch.path,
        body=dict(launch.body),
        headers=dict(headers or {}),
        tokenize=launch.tokenize,
        prometheus=launch.prometheus,
    )
    return endpoint, first_answer(endpoint, deadline)


def served_model(launch: Launch, headers: Mapping[str, str] | None = None) -> str:
    """Return the first model that the server lists.

    Raises:
        NotReady: It lists none.
    """
    prefix = launch.path.partition("/completions")[0].removesuffix("/chat")
    try:
        found = ask(launch.url, f"{prefix}/models", headers=headers, timeout=_LOOK_S)
        return str(found["data"][0]["id"])
    except (Refused, KeyError, IndexError, TypeError):
        raise NotReady from None


def first_answer(endpoint: Endpoint, deadline: float) -> dict[str, Any]:
    """Ask for a few tokens and return what came, so that no server is measured that cannot answer.

    Raises:
        NotReady: The connection broke: the server is ending, or not quite there.
        AttemptFailed: It refuses, or has no answer by the deadline.
    """
    began = time.monotonic()
    try:
        answer = ask(
            endpoint.url,
            endpoint.path,
            request_body(endpoint, _PROMPT, _TOKENS),
            headers=endpoint.headers,
            timeout=deadline - began,
        )
    except Refused as refusal:
        if refusal.status in (0, 502, 503, 504):
            raise NotReady from None
        text = f"the first request was refused: {refusal}"
        memory = is_out_of_memory(refusal.text)
        cause = Cause.OUT_OF_MEMORY if memory else Cause.CRASHED_UNDER_LOAD
        if 400 <= refusal.status < 500 and not memory:
            cause = Cause.REJECTED_FLAGS
        raise AttemptFailed(
            Failure(cause, text, shortfall=shortfall(refusal.text) if memory else None)
        ) from None
    if not isinstance(answer, Mapping) or not answer.get("choices"):
        raise AttemptFailed(Failure(Cause.WRONG_OUTPUT, f"the first answer has no choices: {answer!r:.200}"))
    usage = answer.get("usage") or {}
    return {
        "first_answer_s": round(time.monotonic() - began, 3),
        "first_answer_tokens": usage.get("completion_tokens"),
    }


def request_body(endpoint: Endpoint, prompt: str, max_tokens: int) -> dict[str, Any]:
    """Return one request that is not streamed, deterministic, with the fields of the endpoint."""
    own = {key: max_tokens if value == "{max_tokens}" else value for key, value in endpoint.body.items()}
    asked: dict[str, Any] = {"messages": [{"role": "user", "content": prompt}]}
    if not endpoint.is_chat:
        asked = {"prompt": prompt}
    return {"model": endpoint.model, **asked, "max_tokens": max_tokens, "temperature": 0.0, **own}

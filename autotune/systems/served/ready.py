"""Wait for a server: it must be the one that was launched, list its model and answer one short request."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from autotune.core.endpoint import BUSY, Endpoint, Refused
from autotune.core.measurement import Cause, Failure
from autotune.systems.base import AttemptFailed, NotReady
from autotune.systems.served.client import ask
from autotune.systems.served.launch import Launch, listens, root_process
from autotune.systems.served.negotiation import PATHS, Asking, first_answer, hint_of, mistake

MODELS = "/v1/models"
_LOOK_S = 2.0
_LEAST_LOOK_S = 0.5
_TLS_S = 2.0
_LONGEST_NAME = 4096  # characters: models are paths too
_LONGEST_WAIT_S = 5.0  # at once: the death of a launched server is noticed in between


def wait_ready(
    folder: Path, deadline: float, headers: Mapping[str, str] | None = None
) -> tuple[Endpoint, dict[str, Any]]:
    """Return the endpoint of the server that was launched in ``folder``, and what the first answer told.

    Args:
        folder: Folder of the attempt.
        deadline: ``time.monotonic()`` value by which it must be ready.
        headers: Headers of every request.

    Raises:
        NotReady: It does not answer yet.
        AttemptFailed: It answers and cannot do what is asked, the study's owner has to mend something, or
            another process has its port.
    """
    launch = Launch.read(folder)
    path = launch.ready or MODELS
    try:
        ask(launch.url, path, headers=headers, timeout=_look_s(deadline))
    except Refused as refusal:
        # Not every server lists its models, and nobody asked for it where the model is named.
        if launch.ready or not launch.model or refusal.status not in (404, 405):
            if refusal.status:
                _check_listener(launch, folder)
            _not_ready(launch, path, refusal, headers, deadline)
    _check_listener(launch, folder)
    endpoint = Endpoint(
        url=launch.url,
        model=launch.model or served_model(launch, deadline, headers),
        path=launch.path or PATHS[0],
        body=dict(launch.body),
        headers=dict(headers or {}),
        tokenize=launch.tokenize,
        prometheus=launch.prometheus,
        # A field that nobody asked for may be passed over, and answers then end where the model ends them.
        exact=not set(launch.optional) & set(launch.body),
        tokenizer=launch.tokenizer,
    )
    found = first_answer(endpoint, deadline, asking_of(launch))
    _check_beside(found[0], deadline)
    return found


def _check_listener(launch: Launch, folder: Path) -> None:
    """Check that it is the launched server that answers, before anything it says is believed.

    Raises:
        AttemptFailed: ``port_taken``: another process has its port.
    """
    root = root_process(folder)
    if launch.ours and root is not None and not listens(root, launch.port):
        text = f"another process answers on port {launch.port}"
        raise AttemptFailed(Failure(Cause.PORT_TAKEN, text))


def _check_beside(endpoint: Endpoint, deadline: float) -> None:
    """Check that the paths beside the completions answer themselves: tokenizer and counters.

    What they answer is read where it is needed, and they may be missing.

    Raises:
        AttemptFailed: One of them is redirected, which the study's owner has to mend.
    """
    text = {"model": endpoint.model, "prompt": "a", "content": "a", "input": "a"}
    for path, body in ((endpoint.tokenize, text), (endpoint.prometheus, None)):
        if not path:
            continue
        try:
            ask(endpoint.url, path, body, headers=endpoint.headers, timeout=_look_s(deadline))
        except Refused as refusal:
            if refusal.redirected:
                hint = hint_of(endpoint.url, path, refusal)
                raise mistake(f"{endpoint.url}{path}: {refusal}{hint}") from None


def _look_s(deadline: float) -> float:
    # The last look before the deadline has time enough to find out what is wrong.
    return max(_LEAST_LOOK_S, min(_LOOK_S, deadline - time.monotonic()))


def asking_of(launch: Launch) -> Asking:
    """Return what may be tried until a server takes its first request."""
    paths = (launch.path,) if launch.path else PATHS
    return Asking(paths, tuple(launch.optional), tuple(launch.varied), launch.ours)


def served_model(launch: Launch, deadline: float, headers: Mapping[str, str] | None = None) -> str:
    """Return the first model that the server lists.

    Raises:
        NotReady: It lists none.
        AttemptFailed: It has no list, so that the owner must name the model.
    """
    prefix = (launch.path or PATHS[0]).partition("/completions")[0].removesuffix("/chat")
    path = f"{prefix}/models"
    try:
        found = ask(launch.url, path, headers=headers, timeout=_look_s(deadline))
        name = found["data"][0]["id"]
    except Refused as refusal:
        _not_ready(launch, path, refusal, headers, deadline)
    except (KeyError, IndexError, TypeError):
        raise NotReady(f"{launch.url}{path} lists no model") from None
    if not isinstance(name, str) or len(name) > _LONGEST_NAME:
        raise NotReady(f"{launch.url}{path} lists a model without a name")
    return name


def _not_ready(
    launch: Launch, path: str, refusal: Refused, headers: Mapping[str, str] | None, deadline: float
) -> NoReturn:
    """Raise what it means that a path which tells that a server is ready was refused."""
    text = f"{launch.url}{path}: {refusal}{hint_of(launch.url, path, refusal)}"
    if refusal.status in BUSY:
        wait = min(refusal.retry_after or 0.0, _LONGEST_WAIT_S, deadline - time.monotonic())
        time.sleep(max(0.0, wait))
    elif refusal.redirected or refusal.status in (401, 403, 407):
        raise mistake(text) from None
    elif 400 <= refusal.status < 500:
        if not launch.ours or _others_answer(launch, path, headers):
            lists = path.endswith("/models")
            more = "where a server lists no models, `model` names the one to ask" if lists else ""
            more = more or "`ready` names a path that answers 200 once the server takes requests"
            raise mistake(text if hint_of(launch.url, path, refusal) else f"{text}; {more}") from None
    elif not launch.ours and refusal.unreachable:
        raise mistake(text) from None
    elif not launch.ours and refusal.status == 0 and _speaks_tls(launch.url):
        raise mistake(f"{text}; the server speaks TLS: the url is https://") from None
    elif not launch.ours and refusal.malformed:
        raise mistake(text) from None
    raise NotReady(text) from None


def _others_answer(launch: Launch, path: str, headers: Mapping[str, str] | None) -> bool:
    """Return whether a launched server has come up though the path that was to tell so is not there."""
    for other in {MODELS, "/health"} - {path}:
        try:
            ask(launch.url, other, headers=headers, timeout=_LOOK_S)
        except Refused:
            continue
        return True
    return False


def _speaks_tls(url: str) -> bool:
    """Return whether a server that breaks off plain HTTP answers a TLS handshake."""
    parts = urlsplit(url)
    if parts.scheme != "http":
        return False
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is sent over it
    try:
        with (
            socket.create_connection((parts.hostname or "", parts.port or 80), timeout=_TLS_S) as plain,
            context.wrap_socket(plain, server_hostname=parts.hostname),
        ):
            return True
    except OSError:
        return False

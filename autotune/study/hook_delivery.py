"""One try to deliver an event: a post to an address, or a call of a function.

A signed post has ``X-Autotune-Timestamp``, in seconds since 1970, and ``X-Autotune-Signature``:
``sha256=`` and the hexadecimal HMAC-SHA256, by the secret, of the timestamp, a dot and the body.
"""

from __future__ import annotations

import hashlib
import hmac
import subprocess
import sys
import time
from urllib.parse import urlsplit

from autotune.core.endpoint import Refused
from autotune.core.http_client import HttpConnection
from autotune.core.version import VERSION
from autotune.spec.hooks import Hook
from autotune.study.hook_events import Payload

_MOST_BYTES = 1 << 16  # of an answer, which nobody reads
_BUSY = (408, 425, 429)


class NotDelivered(Exception):
    """An event did not arrive.

    Args:
        why: Words.
        again: Whether another try may be better.
    """

    def __init__(self, why: str, *, again: bool) -> None:
        super().__init__(why)
        self.again = again


def post(url: str, secret: bytes, body: bytes, payload: Payload, deadline: float) -> None:
    """Post an event.

    Args:
        url: Address.
        secret: Secret that signs it; empty for none.
        body: The event as JSON.
        payload: The same as data.
        deadline: ``time.monotonic()`` value by which it must be answered.

    Raises:
        NotDelivered: It did not arrive.
    """
    parts = urlsplit(url)
    stamp = str(int(time.time()))
    headers = {
        "User-Agent": f"autotune/{VERSION}",
        "Connection": "close",
        "X-Autotune-Event": str(payload["event"]),
        "X-Autotune-Delivery": str(payload["id"]),
        "X-Autotune-Timestamp": stamp,
    }
    if secret:
        headers["X-Autotune-Signature"] = signature(secret, stamp, body)
    connection = HttpConnection(f"{parts.scheme}://{parts.netloc}")
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        answer = connection.ask(path, body, headers, deadline=deadline, most_bytes=_MOST_BYTES)
    except Refused as error:
        raise NotDelivered(error.text, again=True) from None
    finally:
        connection.close()
    if 200 <= answer.status < 300:
        return
    busy = answer.status in _BUSY or answer.status >= 500
    moved = ", a redirect, which is not followed" if 300 <= answer.status < 400 else ""
    raise NotDelivered(f"HTTP {answer.status}{moved}", again=busy)


def signature(secret: bytes, stamp: str, body: bytes) -> str:
    """Return the value of ``X-Autotune-Signature``; a receiver compares it in constant time."""
    return "sha256=" + hmac.new(secret, stamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def call(hook: Hook, body: bytes, seconds: float) -> None:
    """Call the function of a hook with an event in a process of its own.

    Raises:
        NotDelivered: It failed, or did not return in time.
    """
    argv = [sys.executable, "-m", "autotune.study.hook_call", hook.call, hook.folder]
    try:
        done = subprocess.run(argv, input=body, capture_output=True, timeout=max(0.0, seconds), check=False)
    except subprocess.TimeoutExpired:
        raise NotDelivered(f"it did not return within {seconds:.0f} s", again=False) from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise NotDelivered(said[-1] if said else f"it ended with {done.returncode}", again=False)

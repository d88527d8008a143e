"""One try to deliver an event: a post to an address, or a call of a function.

A signed post has ``X-Autotune-Timestamp``, in seconds since 1970, and ``X-Autotune-Signature``:
``sha256=`` and the hexadecimal HMAC-SHA256, by the secret, of the timestamp, a dot and the body.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import selectors
import subprocess
import time
from tempfile import TemporaryFile
from urllib.parse import urlsplit

from autotune.core.endpoint import Refused
from autotune.core.environment import own_environment, own_module
from autotune.core.http_client import HttpConnection
from autotune.core.version import VERSION
from autotune.spec.hooks import Hook
from autotune.study.hook_events import Payload

_MOST_BYTES = 1 << 16  # of an answer, which nobody reads
_BUSY = (408, 425, 429)
_MOST_SAID = 1 << 16  # bytes of standard error that are kept: the last line of them is why a function failed
_LARGEST_PIPE = 1 << 20
_LOOK_S = 0.1  # between two looks whether a silent function has ended


class NotDelivered(Exception):
    """An event that did not arrive.

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
    argv = own_module("autotune.study.hook_call", hook.call, hook.folder)
    with TemporaryFile() as event:
        event.write(body)
        event.seek(0)
        process = subprocess.Popen(
            argv, stdin=event, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=own_environment()
        )
    with process:  # closes the pipe
        try:
            said = _said(process, time.monotonic() + seconds)
        finally:
            process.kill()
    if said is None:
        raise NotDelivered(f"it did not return within {seconds:.0f} s", again=False)
    if process.returncode:
        lines = said.decode(errors="replace").strip().splitlines()
        raise NotDelivered(_why(lines) or f"it ended with {process.returncode}", again=False)


def _why(lines: list[str]) -> str:
    """Return the last line, or all of the exception's text where a traceback is what was said last."""
    frames = [i for i, line in enumerate(lines) if line.startswith("  File ")]
    after = (
        [line for line in lines[frames[-1] + 1 :] if not line.startswith("    ")] if frames else lines[-1:]
    )
    return " ".join(line.strip() for line in after)


def _said(process: subprocess.Popen[bytes], deadline: float) -> bytes | None:
    """Return the end of what a process wrote to standard error; ``None`` where it runs at the deadline.

    What it started and left behind may hold the pipe, and write on: nobody waits for that.
    """
    assert process.stderr is not None  # noqa: S101 - asked for above
    pipe, said = process.stderr.fileno(), b""
    os.set_blocking(pipe, False)
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            ended = process.poll() is not None  # before the pipe is read: then all is in it
            left = deadline - time.monotonic()
            if left <= 0 and not ended:
                return None
            for _ in selector.select(0 if ended else min(left, _LOOK_S)):
                found = os.read(pipe, _LARGEST_PIPE)
                said = (said + found)[-_MOST_SAID:]
                if not found:
                    selector.unregister(pipe)
            if ended:
                return said

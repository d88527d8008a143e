"""A Ray cluster of this machine alone: reached from it only, its token private, gone with its driver."""

from __future__ import annotations

import os
import secrets
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from autotune.errors import Interrupted
from autotune.executor.ray_guard import MARK, Guard
from autotune.executor.ray_private import ended_processes, knows_tokens, loopback_only, sigterm_left_alone

_PRIVATE = 0o600
_TOKEN_BYTES = 32  # as many as Ray takes
_UNWIND_S = 6.0  # Docker kills 10 s after its signal


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Keep this process's signal handlers: connecting to Ray replaces that of SIGTERM, in Python and in C++.

    Ray's own ends the process from wherever it is, and leaves the study as if it had been killed. Leaving Ray
    takes any handler of SIGTERM away in C++, so that a signal then kills.
    """
    if threading.current_thread() is not threading.main_thread():  # Ray sets none from another thread
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    kept = {number: handler for number in numbers if (handler := signal.getsignal(number)) is not None}
    try:
        with sigterm_left_alone():
            yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """End this process if SIGTERM or SIGHUP does not interrupt in time what runs meanwhile.

    Ray waits in C++ for its own processes, for minutes and where no handler of Python is called; those may
    have got the signal as well, and are gone. Nothing is being measured then.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard, told = os.pipe()
    os.set_blocking(told, False)
    over = threading.Event()

    def watch() -> None:
        while numbers := os.read(heard, 64):  # each signal is a byte, whatever the main thread does
            if {signal.SIGTERM, signal.SIGHUP} & set(numbers) and not over.wait(_UNWIND_S):
                os.write(2, b"error: stopped\n  nothing that was measured is lost\n")
                os._exit(Interrupted.exit_code)
        os.close(heard)

    threading.Thread(target=watch, name="autotune-signals", daemon=True).start()
    before = signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    try:
        yield
    finally:
        over.set()
        signal.set_wakeup_fd(before)
        os.close(told)


@contextmanager
def of_this_machine(guard: Guard) -> Iterator[None]:
    """Let the cluster that is started meanwhile listen at the loopback address only and carry a mark."""
    _keep_token_private()
    os.environ[MARK] = guard.mark
    try:
        with loopback_only():
            yield
    finally:
        os.environ.pop(MARK, None)


def _keep_token_private() -> None:
    """Make the token of local clusters, which allows to run programs as its user, readable to the user only.

    Ray makes the file readable to everybody.
    """
    path = Path.home() / ".ray" / "auth_token"
    with suppress(OSError):  # a home that cannot be written: Ray says so itself, if it needs the file
        if not path.exists() and not _has_own_token() and knows_tokens():
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=".auth_token-")  # of mode 600
            try:
                with os.fdopen(descriptor, "w") as file:
                    file.write(secrets.token_hex(_TOKEN_BYTES))
                os.link(draft, path)  # whole or not at all; another process's that came first stays
            finally:
                os.unlink(draft)
        if path.stat().st_mode & 0o077:
            path.chmod(_PRIVATE)


def _has_own_token() -> bool:
    """Return whether the environment says which token to use, or that none is."""
    told = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
    return any(os.environ.get(name) for name in told) or os.environ.get("RAY_AUTH_MODE", "token") != "token"


def ended_parts() -> list[str]:
    """Return the names of those processes of the local cluster that ended: calls into Ray hang without them.

    Empty for a cluster that was not started here.
    """
    names = {"gcs_server": "the head (gcs_server)", "raylet": "the node's manager (raylet)"}
    return [names[kind] for kind in ended_processes()]

"""A Ray cluster of this machine alone: reached from it only, its token private, gone with its driver."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType

from autotune.errors import Interrupted
from autotune.executor.ray_guard import MARK, Guard

_PRIVATE = 0o600
_UNWIND_S = 6.0  # Docker kills 10 s after its signal


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Keep this process's signal handlers: connecting to Ray replaces that of SIGTERM, in Python and in C++.

    Ray's own ends the process from wherever it is, and leaves the study as if it had been killed. Leaving Ray
    takes any handler of SIGTERM away in C++, so that a signal then kills.
    """
    from ray._private import utils

    if threading.current_thread() is not threading.main_thread():  # Ray sets none from another thread
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    kept = {number: handler for number in numbers if (handler := signal.getsignal(number)) is not None}
    try:
        with _replaced(utils, "set_sigterm_handler", lambda handler: None):
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
    """Let the cluster that is started meanwhile listen at the loopback address only and carry a mark.

    Ray takes the loopback address for a cluster of one machine on other platforms than Linux; asked for it
    here, it takes the address of a network instead.
    """
    from ray._private import ray_constants

    _keep_token_private()
    os.environ[MARK] = guard.mark
    try:
        with _replaced(ray_constants, "ENABLE_RAY_CLUSTER", False):
            yield
    finally:
        os.environ.pop(MARK, None)


@contextmanager
def _replaced(module: ModuleType, name: str, value: object) -> Iterator[None]:
    theirs = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, theirs)


def _keep_token_private() -> None:
    """Make the token of local clusters, which allows to run programs as its user, readable to the user only.

    Ray makes the file readable to everybody.
    """
    path = Path.home() / ".ray" / "auth_token"
    # a home that cannot be written: Ray says so itself, if it needs the file; Ray 2.50 knows no tokens
    with suppress(OSError, ModuleNotFoundError):
        if not path.exists() and not _has_own_token():
            from ray._private.authentication.authentication_token_generator import (
                generate_new_authentication_token,
            )

            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=".auth_token-")  # of mode 600
            try:
                with os.fdopen(descriptor, "w") as file:
                    file.write(generate_new_authentication_token())
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
    from ray._private import ray_constants
    from ray._private.worker import _global_node

    if _global_node is None:
        return []
    vital = {
        ray_constants.PROCESS_TYPE_GCS_SERVER: "the head (gcs_server)",
        ray_constants.PROCESS_TYPE_RAYLET: "the node's manager (raylet)",
    }
    return [vital[kind] for kind, _ in _global_node.dead_processes() if kind in vital]

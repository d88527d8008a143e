"""The worker's side of a supervised process: start it, look at it, stop it, in bounded time."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from autotune.core.environment import import_path, own_module, server_environment
from autotune.core.redact import secret_variables
from autotune.errors import EnvironmentProblem
from autotune.executor.proc import owner_tag, start_time
from autotune.executor.supervisor import BEAT, LEASE_S, LIVING, MARK, OWNER

_START_S = 30.0  # a supervisor is up in 0.1 s; a machine too busy for this cannot measure either
_SLACK_S = 5.0  # beyond the grace, for KILL and the look at /proc
_ABSENT = ("FileNotFoundError", "PermissionError", "NotADirectoryError", "Errno 8")
"""What the start of a program says where the program is not there or cannot be run, on this machine ever."""
_BEATS = 15  # in the time of a lease: it is lost only when that many in a row are missing

_PARENT_THREAD = "parent"
_PARENT_S = 1.0  # between two looks at whether the parent lives


def depend_on_parent() -> None:
    """End this process soon after the one that started it; what it launched ends with it.

    For a worker whose parent is its node's manager. Ray's workers ask whether their parent is process 1 now,
    and so outlive it where orphans are given to another process, as they are in many containers.
    """
    if any(thread.name == _PARENT_THREAD for thread in threading.enumerate()):
        return  # the worker has run an attempt before
    parent = os.getppid()
    started = start_time(parent)

    def watch() -> None:
        while start_time(parent) == started:
            time.sleep(_PARENT_S)
        os._exit(1)  # nothing waits for its results; the pipe that closes ends the server

    threading.Thread(target=watch, name=_PARENT_THREAD, daemon=True).start()


class SupervisorLost(EnvironmentProblem):
    """A process that was lost, or could not be started, through no fault of its own."""


class SupervisedProcess:
    """A command that runs under a supervisor.

    Args:
        argv: Program and arguments.
        env: Whole environment.
        log: File that receives its output, appended.
        cwd: Working folder.
        mark: ``store/study/trial/attempt``, kept in the environment so that a sweep finds leftovers.
        grace_s: Time between TERM and KILL.
        lease_s: Silence of this process, stopped or stuck, after which the supervisor ends the command.

    Raises:
        EnvironmentProblem: The program or the supervisor cannot be started.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        log: Path,
        cwd: Path,
        mark: str,
        grace_s: float = 10.0,
        lease_s: float = LEASE_S,
    ) -> None:
        self.grace_s = grace_s
        self._ended_by = "killed"
        self._lease_s = lease_s
        self._mark = mark
        self._released = False
        self.exit_code: int | None = None
        self._buffer = b""
        self._ended = self._signalled = False
        marked = {**env, MARK: mark, OWNER: owner_tag()}
        self._lock = threading.Lock()  # around the pipe's end: a beat must never go to a number used again
        self._closed = threading.Event()
        life_read, self._life = os.pipe()
        self._status, status_write = os.pipe()
        LIVING.append(mark)
        order: dict[str, object] = {"argv": list(argv), "env": marked, "log": str(log), "cwd": str(cwd)}
        order |= {"grace_s": grace_s, "lease_s": lease_s, "secrets": secret_variables(os.environ)}
        try:
            launcher = self._spawn(life_read, status_write, mark)
            os.write(self._life, json.dumps(order).encode() + b"\n")
            launcher.wait(_START_S)
            first = self._message(time.monotonic() + _START_S)
        except (OSError, subprocess.TimeoutExpired) as error:
            self.close()
            raise SupervisorLost(f"the process supervisor did not start: {error}") from None
        if first is None or "pid" not in first:
            self.close()
            reason = "no answer" if first is None else first.get("error")
            absent = any(name in str(reason) for name in _ABSENT)
            raise (EnvironmentProblem if absent else SupervisorLost)(f"cannot start {argv[0]}: {reason}")
        self.pid = int(str(first["pid"]))
        self.supervisor_pid = int(str(first["supervisor"]))
        self.guard_pid = int(str(first["guard"]))
        os.set_blocking(self._life, False)  # a supervisor that is stopped must not stop us
        threading.Thread(target=self._renew, name="lease", daemon=True).start()

    @staticmethod
    def _spawn(life: int, status: int, mark: str) -> subprocess.Popen[bytes]:
        env = {**server_environment({}), **import_path(), MARK: mark, OWNER: owner_tag()}
        try:
            return subprocess.Popen(
                own_module("autotune.executor.supervisor", str(life), str(status)),
                pass_fds=(life, status),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
                env=env,
            )
        finally:
            os.close(life)
            os.close(status)

    def _renew(self) -> None:
        """Keep the lease, from a thread."""
        while not self._closed.wait(self._lease_s / _BEATS):
            self._write(BEAT)

    def _write(self, message: bytes) -> None:
        with self._lock, contextlib.suppress(BrokenPipeError, BlockingIOError):
            if self._life >= 0:  # a supervisor that is gone shows at the other pipe
                os.write(self._life, message)

    def poll(self) -> int | None:
        """Return the exit code once the process ended (negative: by that signal), else ``None``.

        Raises:
            SupervisorLost: It was ended through no fault of its own: somebody killed the supervisor or sent
                it a signal, or this process was silent for longer than its lease.
        """
        while self.exit_code is None and not self._lost and self._message(time.monotonic()) is not None:
            continue
        if self.exit_code is None and self._lost:
            if not self._closed.is_set():
                raise SupervisorLost(f"the process supervisor ended before the server: {self._ended_by}")
            self.exit_code = -signal.SIGKILL  # by our own stop
        return self.exit_code

    @property
    def _lost(self) -> bool:
        return self._ended or self._signalled

    def stop(self) -> None:
        """End the process and everything below it; returns when nothing is left. Idempotent."""
        if not self._ended:
            self._write(b"stop\n")
            deadline = time.monotonic() + self.grace_s + _SLACK_S
            while not self._ended and time.monotonic() < deadline:
                self._message(deadline)
        self.close()

    def close(self) -> None:
        """Let go of the pipes; the supervisor then ends whatever is left by itself."""
        self._closed.set()
        with self._lock:
            for name in ("_life", "_status"):
                number = getattr(self, name)
                if number >= 0:
                    os.close(number)
                    setattr(self, name, -1)
        if not self._released:
            self._released = True
            LIVING.remove(self._mark)
        self._ended = True

    def _message(self, deadline: float) -> dict[str, object] | None:
        """Return the supervisor's next message, or ``None`` when there is none by the deadline."""
        while b"\n" not in self._buffer:
            if self._ended:
                return None
            ready, _, _ = select.select([self._status], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                return None
            piece = os.read(self._status, 4096)
            if not piece:
                self._ended = True
                return None
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\n")
        message: dict[str, object] = json.loads(line)
        if "exit" in message:
            self.exit_code = int(str(message["exit"]))
        if "signal" in message:
            self._signalled, self._ended_by = True, f"it got {message['signal']}"
        if "lease" in message:
            self._ended_by = f"this process was silent for {self._lease_s:g} s"
        self._ended = self._ended or "done" in message
        return message

    def __enter__(self) -> SupervisedProcess:
        return self

    def __exit__(self, *raised: object) -> None:
        self.stop()

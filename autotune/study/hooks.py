"""Events of a study sent to who wants them, never in the study's way.

Each receiver has a thread and a bounded queue of its own, so that one that is slow or dead keeps neither the
study nor another receiver waiting. A post is tried again with a back-off while the receiver is away, too busy
or at fault itself (408, 425, 429, 5xx); anything else is final, a redirect too. What was not delivered is
said at the end. An event holds no secrets: it is masked as everything is that leaves the process.
"""

from __future__ import annotations

import json
import os
import queue
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias
from urllib.parse import urlsplit

from autotune.analysis.study_view import StudyView
from autotune.core.redact import redact, redacted
from autotune.core.trial import Trial
from autotune.core.units import counted
from autotune.errors import EnvironmentProblem, SpecError, under, words_of
from autotune.spec.hooks import Hook, Hooks, read_hooks
from autotune.study.hook_delivery import NotDelivered, call, post
from autotune.study.hook_events import Payload, end_event, failed_event, stamp, trial_event
from autotune.study.study import Study

POST_S = 10.0
"""Longest time of one try of a post."""

CALL_S = 60.0
"""Longest time of a call of a function."""

FLUSH_S = 10.0
"""Longest wait at the end for what is not delivered yet."""

STOPPED_S = 2.0
"""The same where the run was interrupted: whoever did it kills what has not ended in time."""

BACK_OFF_S = (1.0, 4.0, 15.0, 60.0)
"""Waits before the tries after the first."""

MOST_WAITING = 1000
"""Events that wait for one receiver; more are not taken."""

Event: TypeAlias = Callable[[], Payload]
"""Makes the payload of an event, in the thread of its receiver."""


class Receiver:
    """One receiver with its queue and its thread.

    Args:
        hook: Target of the events.
        environment: Variables that hold addresses and secrets.

    Raises:
        EnvironmentProblem: A variable is not set.
        SpecError: One holds no address, or the function is not there.
    """

    def __init__(self, hook: Hook, environment: Mapping[str, str] = os.environ) -> None:
        self.hook = hook
        hook.refuse_absent()
        for name in filter(None, (hook.url_variable, hook.secret_variable)):
            if not environment.get(name):
                raise EnvironmentProblem(f"the variable {name} of a hook under `on` is not set")
        self._url = hook.url
        if hook.url_variable:
            parts = urlsplit(environment[hook.url_variable])
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise SpecError(
                    f"the variable {hook.url_variable} holds no address such as https://host/path"
                )
            self._url = parts.geturl()
        self._secret = environment.get(hook.secret_variable, "").encode()
        self._waiting: queue.Queue[tuple[str, Event] | None] = queue.Queue(MOST_WAITING)
        self._closing = threading.Event()
        self._last_s = float("inf")  # when it is over, once it closes
        self.taken = self.delivered = 0
        self.why = ""
        self._thread = threading.Thread(target=self._run, name=f"hook {hook.label}", daemon=True)
        self._thread.start()

    def put(self, event: Event) -> None:
        """Take an event, or leave it where too many wait; returns at once."""
        self.taken += 1
        try:
            self._waiting.put_nowait((stamp(), event))
        except queue.Full:
            self.why = self.why or f"more than {MOST_WAITING} events waited"

    def begin_to_close(self, deadline: float) -> None:
        """Bound all that is under way by ``deadline`` (``time.monotonic()``)."""
        self._last_s = deadline
        self._closing.set()
        with suppress(queue.Full):  # what is taken after the deadline ends the thread too
            self._waiting.put_nowait(None)

    def close(self) -> None:
        """Wait for what is under way, until the deadline."""
        self._thread.join(max(0.0, self._last_s - time.monotonic()))

    @property
    def lost(self) -> str:
        """What was not delivered, in words; empty if everything was."""
        missing = self.taken - self.delivered
        if not missing:
            return ""
        why = redact(self.why or "no answer in time")
        return f"{missing} of {counted(self.taken, 'event')} not delivered to {self.hook.label}: {why}"

    def _run(self) -> None:
        while (waiting := self._waiting.get()) is not None:
            happened, event = waiting
            if time.monotonic() >= self._last_s:
                return
            try:
                self._deliver({**redacted(event()), "time": happened, "id": uuid.uuid4().hex})
                self.delivered += 1
            except NotDelivered as error:
                self.why = str(error)
            except Exception as error:  # noqa: BLE001 - whatever it is, the next event may be better
                self.why = f"{type(error).__name__}: {error}"

    def _deliver(self, payload: Payload) -> None:
        """Send an event, several times where that may help.

        Raises:
            NotDelivered: It did not arrive.
        """
        body = json.dumps(payload).encode()
        if self.hook.call:
            call(self.hook, body, min(CALL_S, self._last_s - time.monotonic()))
            return
        for wait in (*BACK_OFF_S, None):
            try:
                deadline = min(time.monotonic() + POST_S, self._last_s)
                post(self._url, self._secret, body, payload, deadline)
                return
            except NotDelivered as error:
                if not error.again or wait is None or not self._wait(wait):
                    raise

    def _wait(self, seconds: float) -> bool:
        """Wait for the next try, less where the end begins; return whether there is time for one."""
        if not self._closing.is_set():
            self._closing.wait(seconds)
        else:
            time.sleep(max(0.0, min(seconds, self._last_s - time.monotonic())))
        return time.monotonic() < self._last_s


@dataclass
class Told:
    """The receivers of a study; entered around its run, it tells them of every end.

    Args:
        study: The study.
        trial: Receivers of trials that are over.
        end: Receivers of the end.
        say: Callable that shows the user what was not delivered.
    """

    study: Study
    trial: list[Receiver]
    end: list[Receiver]
    say: Callable[[str], object]
    ended: bool = field(default=False, init=False)

    @property
    def callbacks(self) -> tuple[Callable[[Study, Trial], None], ...]:
        """What the driver calls once a trial is over; nothing where nobody is told."""
        return (self._on_trial,) if self.trial else ()

    def _on_trial(self, study: Study, trial: Trial) -> None:
        view = StudyView(study.name, study.space, study.anchored, tuple(study.trials))
        for receiver in self.trial:
            receiver.put(lambda: trial_event(view, trial))

    def on_end(self, view: Callable[[str], StudyView], state: str, report: Path | None = None) -> None:
        """Tell of the end of a run.

        Args:
            view: Function that gives the study as it ended in a state; asked only where somebody is told.
            state: The state.
            report: Path of its report.
        """
        found = view(state) if self.end else None
        self._end(state, lambda: {} if found is None else end_event(found, report))

    def _end(self, state: str, event: Event) -> None:
        self.ended = True
        for receiver in self.end:
            receiver.put(event)
        self._flush_s = STOPPED_S if state == "interrupted" else FLUSH_S

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Tell of an end by an error, wait a little for what is under way, and say what was not delivered."""
        if not self.ended:
            is_failure = isinstance(error, Exception)
            state = "failed" if is_failure else "interrupted"
            said = words_of(error) if is_failure and error is not None else ""
            name = self.study.name
            self._end(state, lambda: failed_event(name, state, said))
        deadline = time.monotonic() + self._flush_s
        receivers = (*self.trial, *self.end)
        for receiver in receivers:
            receiver.begin_to_close(deadline)
        for receiver in receivers:
            receiver.close()
            if receiver.lost:
                self.say(f"warning: {receiver.lost}")


def start_hooks(hooks: Hooks, study: Study, say: Callable[[str], object]) -> Told:
    """Return the receivers of a study, started.

    Args:
        hooks: Hooks of its file.
        study: The study.
        say: Callable that shows the user what was not delivered.

    Raises:
        EnvironmentProblem: A variable that one names is not set.
    """
    trial, end = ([Receiver(hook) for hook in listed] for listed in (hooks.trial, (*hooks.end, *hooks.once)))
    return Told(study, trial, end, say)


def read_argument(on: object) -> Hooks:
    """Return the hooks that an argument ``on`` gives.

    Raises:
        SpecError: Something is wrong; the message says where.
    """
    try:
        hooks = read_hooks(on, Path())  # type: ignore[arg-type] # what is no mapping is refused
        for event, listed in (("trial", hooks.trial), ("end", hooks.end)):
            for place, hook in enumerate(listed):
                with under(event, place):
                    hook.refuse_absent()
        return hooks
    except SpecError as error:
        where = "".join(f"[{part!r}]" for part in error.path)
        raise SpecError(f"on{where}: {error.message}", hint=error.hint) from None

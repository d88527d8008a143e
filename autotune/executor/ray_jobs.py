"""Jobs of a Ray cluster, through the HTTP server of its head: often all of it that a firewall lets through.

Ray's client needs ``ray[default]`` on the head, for the server, and plain Ray here.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from urllib.parse import urlsplit

from autotune.core.commands import shown_address
from autotune.core.dependencies import need
from autotune.core.diagnosis import NO_AUTOTUNE, matcher
from autotune.errors import EnvironmentProblem
from autotune.executor.ray_private import PACKAGING_LOG, HeadValues, send_package

OWNER, STUDY = "autotune_owner", "autotune_study"
"""Metadata of a job that runs a study."""

ENTRYPOINT = "Running entrypoint for job "
"""Begin of the line with which Ray says that a job's command begins."""

QUESTION = "autotune_question"
"""Metadata of a job that runs another command: which."""

_POLL_S = 0.2
_SETTLED_S = 5.0  # after which Ray has written all of a job that has ended
_ANSWER_S = 10.0
_READY_S = 120.0  # for the agent of a head that has just been started, which starts its jobs
_NO_AGENT = "No available agent"  # what Ray says until then
_AWAY_S = 120.0  # for which a head that does not answer is asked again while a study is followed
_TALKATIVE = (
    "ray",
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
    PACKAGING_LOG,
)
_WITHOUT_US = matcher(NO_AUTOTUNE)
_EARLY_S = 20.0  # longest wait for a job to begin, before nobody waits for it to fail at once


@dataclass(frozen=True)
class StudyJob:
    """A job that runs a study.

    Args:
        id: Its id.
        owner: Name of whoever submitted it.
        study: Name of the study.
        live: Whether it waits or runs.
    """

    id: str
    owner: str
    study: str
    live: bool

    @property
    def label(self) -> str:
        """Name of the study with its owner."""
        return f"{self.owner}/{self.study}"


class JobServer:
    """The job server of a cluster's head.

    Args:
        address: ``http://HEAD:8265``; without a scheme, plain HTTP.

    Raises:
        EnvironmentProblem: Nobody answers there, or no job server, or it refuses us; or Ray is missing here.
    """

    def __init__(self, address: str) -> None:
        need(["ray"], extra="cluster")
        self.address = _checked(address)
        with self._talking():
            from ray.job_submission import JobSubmissionClient

            for name in _TALKATIVE:  # each has a level of its own, given when it is imported
                logging.getLogger(name).setLevel(logging.ERROR)
            try:
                self._client = JobSubmissionClient(self.address)  # it asks for the version
            except Exception as error:  # its kind differs between versions of Ray
                token = _token(os.environ)
                if not _wants_token(f"{error}") or not token:
                    raise
                headers = {"Authorization": f"Bearer {token}"}
                self._client = JobSubmissionClient(self.address, headers=headers)

    @contextmanager
    def _talking(self) -> Iterator[None]:
        """Turn what Ray raises into one message."""
        try:
            yield
        except EnvironmentProblem:
            raise
        except Exception as error:  # noqa: BLE001 - Ray raises many kinds here; each ends in one message
            text = " ".join(f"{error}".split())
            hint = (
                "8265 is the usual port; the head needs `pip install 'autotune-inference[cluster]'`, and "
                "`ray start --head --dashboard-host=0.0.0.0`"
            )
            if _wants_token(text) or "403" in text or "token" in text.lower():
                hint = (
                    "share its token: here too it has to be in ~/.ray/auth_token or RAY_AUTH_TOKEN, and "
                    "RAY_AUTH_MODE unset or `token`"
                )
            raise EnvironmentProblem(
                f"the job server at {shown_address(self.address)}: {text[:300] or type(error).__name__}",
                hint=hint,
            ) from None

    def submit(
        self,
        entrypoint: str,
        *,
        name: str,
        folder: Path | None = None,
        variables: Mapping[str, str],
        metadata: Mapping[str, str],
        say: Callable[[str], None],
    ) -> None:
        """Start a job; a head that has just been started is waited for.

        Args:
            entrypoint: Command line; everybody can read it.
            name: Id of the job, used once.
            folder: Folder whose files are there for every process of the job.
            variables: Variables of the environment; everybody can read them.
            metadata: Texts that are told of the job.
            say: Callable that takes a line that says what is waited for.

        Raises:
            EnvironmentProblem: The head starts no jobs.
        """
        environment: dict[str, object] = {"env_vars": dict(variables)}
        if folder is not None:
            environment["working_dir"] = str(folder)
        until, said = time.monotonic() + _READY_S, False
        where = f"the head at {shown_address(self.address)}"
        with self._talking():
            while True:
                try:
                    self._client.submit_job(
                        entrypoint=entrypoint, submission_id=name, runtime_env=environment,
                        metadata=dict(metadata),
                    )  # fmt: skip
                    return
                except RuntimeError as error:
                    if _NO_AGENT not in str(error):
                        raise
                if time.monotonic() > until:
                    raise EnvironmentProblem(
                        f"{where} starts no jobs: its job agent has not come up within {_READY_S:g} s",
                        hint="dashboard_agent.log of its session says why; where another Ray of that machine "
                        "has the port, `ray start --dashboard-agent-listen-port` names another one",
                    )
                if not said:
                    said = True
                    say(f"{where} has no job agent yet; waiting for it, at most {_READY_S:g} s")
                time.sleep(_POLL_S)

    def send(self, package: str, content: bytes) -> None:
        """Put bytes into the memory of the head, where a process of the cluster fetches them by their name.

        They stand in no description of a job and in no log.
        """
        with self._talking():
            send_package(self._client, package, content)

    def studies(self) -> list[StudyJob]:
        """Return the jobs that run or ran studies."""
        with self._talking():
            jobs = self._client.list_jobs()
        return [
            StudyJob(
                str(job.submission_id),
                job.metadata[OWNER],
                job.metadata[STUDY],
                not job.status.is_terminal(),
            )
            for job in jobs
            if job.submission_id and job.metadata and OWNER in job.metadata and STUDY in job.metadata
        ]

    def is_live(self, job: str) -> bool:
        """Return whether a job waits or runs."""
        with self._talking():
            return not self._client.get_job_status(job).is_terminal()

    def wait_until_running(self, job: str, seconds: float) -> None:
        """Wait until a job has left the queue.

        Raises:
            EnvironmentProblem: It has not within these seconds.
        """
        until = time.monotonic() + seconds
        with self._talking():
            while self._client.get_job_status(job) == "PENDING":
                if time.monotonic() > until:
                    raise EnvironmentProblem(f"job {job} has not begun within {seconds:g} s")
                time.sleep(_POLL_S)

    def exit_code(self, job: str) -> int:
        """Return the exit code of a job that has ended; that of an interruption where it was stopped.

        Raises:
            EnvironmentProblem: It ended without one.
        """
        with self._talking():
            info = self._client.get_job_info(job)
        if info.driver_exit_code is not None and info.status != "STOPPED":
            return int(info.driver_exit_code)
        if info.status == "STOPPED":
            return 5
        raise EnvironmentProblem(f"job {job} has ended without an exit code: {info.message}")

    def output(self, job: str) -> str:
        """Wait until a job has ended; return all that it has printed.

        Raises:
            EnvironmentProblem: autotune is not there on the head.
        """
        with self._talking():
            while not self._client.get_job_status(job).is_terminal():
                time.sleep(_POLL_S)
            text: str = self._client.get_job_logs(job)
        refuse_without_us(text, self.address)
        return text

    def wait_until_begun(self, job: str, seconds: float) -> None:
        """Wait until a job prints something or ends; it has a while to begin.

        Args:
            job: Its id.
            seconds: Longest wait for a line of a job that runs.

        Raises:
            EnvironmentProblem: It has ended, for autotune is not there on the head.
        """
        until, runs = time.monotonic() + _EARLY_S, False
        while time.monotonic() < until:
            with self._talking():
                status = self._client.get_job_status(job)
                text = "" if status == "PENDING" else self._client.get_job_logs(job)
            said = text.rpartition(ENTRYPOINT)[2].partition("\n")[2] if ENTRYPOINT in text else ""
            if status.is_terminal() or said:
                refuse_without_us(text, self.address)
                return
            if status != "PENDING" and not runs:
                runs, until = True, time.monotonic() + seconds
            time.sleep(_POLL_S)

    def follow(self, job: str) -> Iterator[str]:
        """Yield what a job prints from its beginning to its end; a network that fails is waited for."""
        shown = 0
        answered = time.monotonic()
        while True:
            position = 0
            try:
                for text in self._tail(job):
                    answered = time.monotonic()
                    new = text[max(0, shown - position) :]
                    position += len(text)
                    shown = max(shown, position)
                    if new:
                        yield new
                if not self.is_live(job):
                    return
            except (EnvironmentProblem, OSError, RuntimeError):
                if time.monotonic() - answered > _AWAY_S:
                    raise
            time.sleep(_POLL_S)

    def _tail(self, job: str) -> Iterator[str]:
        """Yield the texts of Ray's asynchronous iterator."""
        queue: SimpleQueue[str | Exception | None] = SimpleQueue()

        async def collect() -> None:
            async for text in self._client.tail_job_logs(job):
                queue.put(text)

        def run() -> None:
            try:
                asyncio.run(collect())
                queue.put(None)
            except Exception as error:  # noqa: BLE001 - raised in the thread that reads
                queue.put(error)

        Thread(target=run, name="autotune-job-log", daemon=True).start()
        while (found := queue.get()) is not None:
            if isinstance(found, Exception):
                raise RuntimeError(f"{type(found).__name__}: {found}") from found
            yield found

    def stop(self, job: str) -> None:
        """Ask a job to end as SIGTERM does."""
        with self._talking():
            self._client.stop_job(job)

    def tidy(self) -> None:
        """Take questions that were answered a while ago off the list: Ray still writes of the last."""
        with self._talking():
            for job in self._client.list_jobs():
                if QUESTION not in (job.metadata or {}) or not job.submission_id or not job.end_time:
                    continue
                if time.time() - job.end_time / 1000 > _SETTLED_S:
                    with suppress(RuntimeError):  # somebody else has tidied meanwhile
                        self._client.delete_job(job.submission_id)


def refuse_without_us(text: str, address: str) -> None:
    """Refuse what a job has printed where autotune is not there.

    Args:
        text: Its first lines.
        address: Address of its job server.

    Raises:
        EnvironmentProblem: It says so.
    """
    if _WITHOUT_US.search(text):
        raise EnvironmentProblem(
            f"the head at {shown_address(address)} finds no autotune: its `python` is another one",
            hint="install autotune there, and give `ray start` in its environment, first in PATH",
        )


def _wants_token(text: str) -> bool:
    """Return whether a job server's refusal is that it got no token."""
    return "401" in text or "Unauthorized" in text


def _token(environment: Mapping[str, str]) -> str:
    """Return the token of this machine, where Ray looks for it; empty where it has none, or is not to use it.

    A head started with ``RAY_AUTH_MODE`` unset wants its token as soon as there is one; Ray's client sends
    its own only where that variable says so.
    """
    if environment.get("RAY_AUTH_MODE"):  # Ray has sent it, or was told not to
        return ""
    if token := environment.get("RAY_AUTH_TOKEN", "").strip():
        return token
    place = environment.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token"
    try:
        return Path(place).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, ValueError, RuntimeError):  # RuntimeError: this user has no home
        return ""


def take_package(package: str) -> bytes | None:
    """Return what was sent to this cluster's head, and take it away; ``None`` while it has not come."""
    return HeadValues(os.environ["RAY_ADDRESS"], _ANSWER_S).take_package(package)


def _checked(address: str) -> str:
    """Return an address with its scheme.

    Raises:
        EnvironmentProblem: It is none of a job server.
    """
    full = address if "://" in address else f"http://{address}"
    parts = urlsplit(full)
    try:
        wrong = parts.scheme not in ("http", "https") or not parts.hostname or (parts.port or 1) < 1
    except ValueError:
        wrong = True
    if wrong:
        raise EnvironmentProblem(
            f"{shown_address(address)!r} is no address of a job server; allowed: http://HEAD:8265, https://...",
            hint="8265 is the port of Ray's dashboard; ray://... is for programs of Ray's",
        )
    return full.rstrip("/")

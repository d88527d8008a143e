"""What Ray offers in no public way: the only module that touches names that Ray keeps to itself.

Each function says why it is needed. All of them are in the sources of Ray 2.50 and 2.60, and a minor version
may take any away without a word: `pyproject.toml` therefore admits none above the newest that the tests ran
with, and `tests/executor/test_executor_ray_private.py` uses every one on the Ray that is installed. Where one
is gone nevertheless, :class:`EnvironmentProblem` names it, unless the function says what is done instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING

from autotune.errors import EnvironmentProblem

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

PACKAGING_LOG = "ray._private.runtime_env.packaging"
"""Logger of what a job client says of each folder that it sends; another name would let it speak."""


@contextmanager
def _known() -> Iterator[None]:
    """Turn a name that this Ray does not have into one message."""
    try:
        yield
    except (ImportError, AttributeError) as error:
        from ray import __version__

        raise EnvironmentProblem(
            f"Ray {__version__} lacks a part that autotune needs: {error}",
            hint="`autotune doctor` says which versions of Ray are known to have it",
        ) from error


def started_address() -> str | None:
    """Return the address of the last cluster that `ray start` made here; ``None`` without one.

    `ray.init("auto")` alone knows it, and it connects, also to what a study has started for itself.
    """
    with _known():
        from ray._private.services import find_bootstrap_address
    found = find_bootstrap_address(None)
    return None if found is None else str(found)


class HeadValues:
    """The values that a cluster's head keeps by name, read without joining the cluster.

    Ray's public interface connects first: it waits for minutes where nobody answers, and refuses another
    version with a traceback.

    Args:
        address: Address of the head, ``host:port``.
        timeout: Longest wait for an answer, in seconds.
    """

    def __init__(self, address: str, timeout: float) -> None:
        with _known():
            from ray._raylet import GcsClient  # type: ignore[attr-defined] # its stub leaves it out
        self._client = GcsClient(address=address)
        self._timeout = timeout

    def versions(self) -> bytes | None:
        """Return the head's versions of Ray and Python as JSON; ``None`` where it does not say."""
        return self._get(b"CLUSTER_METADATA", b"cluster")

    def take_package(self, package: str) -> bytes | None:
        """Return what :func:`send_package` put there, and take it away; ``None`` while it has not come."""
        key = f"gcs://{package}".encode()
        content = self._get(key, None)
        if content is not None:
            self._client.internal_kv_del(key, False, None, timeout=self._timeout)
        return content

    def _get(self, key: bytes, space: bytes | None) -> bytes | None:
        found: bytes | None = self._client.internal_kv_get(key, space, timeout=self._timeout)
        return found


def send_package(client: JobSubmissionClient, package: str, content: bytes) -> None:
    """Put bytes into the memory of the head, where :meth:`HeadValues.take_package` finds them.

    The public client sends folders only, and says in the job's description what they are.

    Raises:
        RuntimeError: The head did not take them.
    """
    with _known():
        request = client._do_request
    answer = request("PUT", f"/api/packages/gcs/{package}", data=content)
    if answer.status_code != 200:
        raise RuntimeError(f"{answer.status_code}: {answer.text[:200]}")


def free_resources() -> Mapping[str, Mapping[str, float]]:
    """Return what is free on each node by its id; public is only the sum over the cluster."""
    with _known():
        from ray._private.state import available_resources_per_node
    found: Mapping[str, Mapping[str, float]] = available_resources_per_node()
    return found


def ended_processes() -> list[str]:
    """Return ``gcs_server`` and ``raylet`` where that process, started by this one, ended.

    Nothing public tells: calls into Ray hang instead. Empty where no cluster was started here.
    """
    with _known():
        from ray._private.ray_constants import PROCESS_TYPE_GCS_SERVER, PROCESS_TYPE_RAYLET
        from ray._private.worker import _global_node
    if _global_node is None:
        return []
    vital = {PROCESS_TYPE_GCS_SERVER: "gcs_server", PROCESS_TYPE_RAYLET: "raylet"}
    return [vital[kind] for kind, _ in _global_node.dead_processes() if kind in vital]


@contextmanager
def sigterm_left_alone() -> Iterator[None]:
    """Let Ray set no handler of SIGTERM meanwhile: no option of ``ray.init`` says so.

    Its own ends the process from wherever it is, and a study as if it had been killed.
    """
    with _known():
        from ray._private import utils
    with _replaced(utils, "set_sigterm_handler", lambda handler: None):
        yield


@contextmanager
def loopback_only() -> Iterator[None]:
    """Let a cluster that is started meanwhile listen at the loopback address only.

    Ray does so by itself on other platforms than Linux; asked for that address here, it takes the address of
    a network instead. The variable of the environment that says it is read once, when Ray is imported.
    """
    with _known():
        from ray._private import ray_constants
    with _replaced(ray_constants, "ENABLE_RAY_CLUSTER", False):
        yield


def knows_tokens() -> bool:
    """Return whether this Ray keeps a token of its local clusters: 2.50 does not.

    Where the name is gone, Ray makes the file itself, readable to everybody until the next start.
    """
    try:
        import ray._private.authentication  # noqa: F401 - whether it is there
    except ModuleNotFoundError:
        return False
    return True


@contextmanager
def _replaced(module: ModuleType, name: str, value: object) -> Iterator[None]:
    with _known():
        theirs = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, theirs)

"""The address of a Ray cluster: its form, who answers there, and whether it is of our version.

Ray itself waits for minutes where nobody answers, and hides the reason behind time-outs.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import sys

from autotune.errors import EnvironmentProblem
from autotune.executor.proc import command_line, environment, pids
from autotune.executor.ray_guard import MARK
from autotune.executor.ray_private import HeadValues, started_address

NAMES = ("auto", "local")
"""Words that are no address: the cluster that runs on this machine, or one that is started."""

_REACH_S = 10.0  # for a connection to the head node, and its first bytes; it answers in milliseconds
_RAYLET, _HEAD = re.compile(r"(?:^|/)raylet "), re.compile(r" --gcs-address=([^ ]+:[0-9]+)")
_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})")
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)  # preface and empty SETTINGS
_SETTINGS = 4  # type of the frame with which each side of HTTP/2, on which gRPC stands, begins
_HINT = "start it, correct RAY_ADDRESS, or unset it to run on a cluster of this machine's own"

_log = logging.getLogger("autotune.executor")


def find_address() -> str:
    """Return the address that ``auto`` stands for, where there is no doubt, and say which it is.

    It is that of the cluster that `ray start` has made, or of the only one that runs on this machine. One
    that a study has started for itself is no cluster to join: it ends with the study.

    Raises:
        EnvironmentProblem: There is none, or several; they are named.
    """
    here = _clusters_here()
    started = started_address()
    others = sorted(address for address, of_study in here.items() if not of_study)
    own = len(here) - len(others)
    besides = f" but {own} that studies have started for themselves" if own else ""
    if started not in here and len(others) > 1:
        raise EnvironmentProblem(
            f"{len(others)} Ray clusters run on this machine, and 'auto' does not say which: "
            f"{', '.join(others)}",
            hint="set RAY_ADDRESS to one of them, or unset it to run on a cluster of this machine's own",
        )
    if started not in here and not others:
        raise EnvironmentProblem(
            f"the Ray address is 'auto', and no Ray cluster runs on this machine{besides}",
            hint="start one with `ray start --head`, or unset RAY_ADDRESS to run on a cluster of this "
            "machine's own",
        )
    address, how = (
        (started, "that `ray start` has made") if started in here else (others[0], "the only one here")
    )
    _log.warning("RAY_ADDRESS is 'auto': joined the Ray cluster at %s, %s", address, how)
    return address


def _clusters_here() -> dict[str, bool]:
    """Return the clusters with a node on this machine, and whether a study has started each for itself."""
    found: dict[str, bool] = {}
    for pid in pids():
        line = command_line(pid)
        if (head := _HEAD.search(line)) and _RAYLET.search(line):
            found[head[1]] = found.get(head[1], False) or MARK in environment(pid)
    return found


def check_address(address: str) -> None:
    """Raise unless a head node of our own version, that lets us in, answers at an address.

    Raises:
        EnvironmentProblem: The address is malformed or of Ray's client; nobody or somebody else answers; the
            cluster refuses us or is of another version of Ray or Python.
    """
    if address in NAMES:  # Ray finds out by itself
        return
    host, port = split_address(address)
    _check_reachable(address, host, port)
    _check_head(address)


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of an address.

    Raises:
        EnvironmentProblem: It is none.
    """
    if address.startswith("ray://"):
        raise EnvironmentProblem(
            f"the Ray address {address!r} is one of Ray Client, with which no nodes can be chosen",
            hint="give the address of the head node itself, host:port without ray:// (6379 is Ray's default "
            "port), from a machine that is part of the cluster",
        )
    found = _ADDRESS.fullmatch(address)
    if found is None or not 0 < int(found["port"]) < 2**16:
        raise EnvironmentProblem(
            f"{address!r} is no address of a Ray cluster; allowed: host:port of its head node, such as "
            f"10.0.0.1:6379, with a port from 1 to 65535, or {' or '.join(NAMES)}",
            hint="correct RAY_ADDRESS, or unset it to run on a cluster of this machine's own",
        )
    return found["host"].strip("[]"), int(found["port"])


def _check_reachable(address: str, host: str, port: int) -> None:
    """Raise unless something that may be a head node listens there."""
    try:
        with socket.create_connection((host, port), timeout=_REACH_S) as connection:
            if os.environ.get("RAY_USE_TLS", "0") in ("", "0"):
                connection.sendall(_HELLO)
                _check_hello(address, connection.recv(9))
    except TimeoutError:
        raise EnvironmentProblem(
            f"no Ray cluster answers at {address} within {_REACH_S:g} s", hint=_HINT
        ) from None
    except (OSError, UnicodeError) as error:  # a host name may have a form that cannot be looked up
        raise EnvironmentProblem(f"no Ray cluster answers at {address}: {error}", hint=_HINT) from None


def _check_hello(address: str, answer: bytes) -> None:
    if len(answer) < 4 or answer[3] != _SETTINGS:
        raise EnvironmentProblem(
            f"what listens at {address} is no head node of a Ray cluster: it does not speak HTTP/2",
            hint=f"6379 is the default port of a head node, 8265 that of its dashboard; {_HINT}",
        )


def _check_head(address: str) -> None:
    """Raise if the cluster asks for another token than this process has, or is of another version."""
    from ray import __version__, exceptions

    try:
        told = HeadValues(address, _REACH_S).versions()
    except getattr(exceptions, "AuthenticationError", ()) as error:  # Ray 2.50 knows no tokens
        reason = str(error).splitlines()[0].split(". ")[0]
        raise EnvironmentProblem(
            f"the Ray cluster at {address} refuses this process: {reason}",
            hint="share its token (RAY_AUTH_TOKEN or ~/.ray/auth_token), or run both sides with "
            "RAY_AUTH_MODE=disabled",
        ) from None
    except EnvironmentProblem:
        raise
    except Exception as error:  # noqa: BLE001 - anything else is met again, and reported, when connecting
        _log.info("the head node at %s: %s", address, error)
        return
    theirs = json.loads(told) if told else {}
    python = ".".join(map(str, sys.version_info[:3]))  # as Ray tells it: without "+" or "rc1"
    same = theirs.get("ray_version") == __version__ and _matches(theirs["python_version"], python)
    if theirs and not same:
        raise EnvironmentProblem(
            f"the Ray cluster at {address} runs Ray {theirs['ray_version']} on Python "
            f"{theirs['python_version']}, this process Ray {__version__} on Python {python}",
            hint="Ray wants the same versions everywhere: install autotune on the cluster's Python, with "
            f"`pip install ray=={theirs['ray_version']}`",
        )


def _matches(theirs: str, ours: str) -> bool:
    """Return whether two versions of Python go together, as strictly as Ray's own variable says."""
    parts = 2 if os.environ.get("RAY_DEFAULT_PYTHON_VERSION_MATCH_LEVEL") == "minor" else None
    return theirs.split(".")[:parts] == ours.split(".")[:parts]

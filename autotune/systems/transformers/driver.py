"""The worker's side of the server's socket."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autotune.core.answer import Answer
from autotune.core.file_names import SOCKET_NAME
from autotune.core.json_object import JsonObject
from autotune.core.measurement import Cause, Estimate, Failure
from autotune.core.request import Request, RequestRecord
from autotune.systems.base import AttemptFailed, NotReady

_LEAST_S = 0.01
_MOST_BYTES = 1 << 30  # of one answer: the records of a batch of thousands have some MiB
_STOP_S = 2.0  # the supervisor ends a server that does not hear


def connect(folder: Path) -> SocketDriver:
    """Connect to the server that works in ``folder``.

    Raises:
        NotReady: It is not listening yet.
    """
    if not (folder / SOCKET_NAME).exists():
        raise NotReady
    # The name of a socket has at most 107 bytes, and scratch folders may lie deep: go by the open folder.
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(f"/proc/self/fd/{number}/{SOCKET_NAME}")
    except (ConnectionRefusedError, FileNotFoundError):
        connection.close()
        raise NotReady from None
    finally:
        os.close(number)
    return SocketDriver(connection)


class SocketDriver:
    """A driver that sends operations to the server, one at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._rest = b""  # of what came, beyond the last line

    def facts(self) -> JsonObject:
        """Return what really runs."""
        found: dict[str, object] = self._ask({"op": "facts"}, time.monotonic() + 60)["facts"]
        return found

    def generate(self, requests: Sequence[Request], deadline: float) -> list[RequestRecord]:
        """Run the requests as one batch; see :class:`autotune.systems.base.Driver`."""
        answer = self._ask({"op": "generate", "requests": [r.to_dict() for r in requests]}, deadline)
        records = [RequestRecord.from_dict(data) for data in answer["records"]]
        for request, record in zip(requests, records, strict=True):
            if record.output_tokens != request.max_tokens:
                text = f"request {request.id} got {record.output_tokens} of {request.max_tokens} tokens"
                raise AttemptFailed(Failure(Cause.WRONG_OUTPUT, text))
        return records

    def tokens(self, requests: Sequence[Request], deadline: float) -> list[list[int]]:
        """Run the requests as one batch and return the tokens of their answers."""
        order = {"op": "generate", "requests": [r.to_dict() for r in requests]}
        answers: list[list[int]] = self._ask(order, deadline)["tokens"]
        return answers

    def answers(self, requests: Sequence[Request], deadline: float) -> list[Answer]:
        """Run the requests as one batch and return their answers."""
        order = {"op": "generate", "requests": [r.to_dict() for r in requests]}
        found = self._ask(order, deadline)
        return [Answer(text, tuple(row)) for text, row in zip(found["texts"], found["tokens"], strict=True)]

    def losses(self, text: str, deadline: float) -> list[float]:
        """Return the mean negative log likelihood per token of each window of a text, in nats."""
        losses: list[float] = self._ask({"op": "losses", "text": text}, deadline)["losses"]
        return losses

    def metrics(self, deadline: float) -> Mapping[str, Estimate]:
        """Return memory, acceptance and quality."""
        found = self._ask({"op": "metrics"}, deadline)["metrics"]
        return {name: Estimate.from_dict(data) for name, data in found.items()}

    def reset(self, deadline: float) -> None:
        """Let what is counted (drafts, peak memory of a GPU) start anew."""
        self._ask({"op": "reset"}, deadline)

    def close(self) -> None:
        """Ask the process to end and close the connection."""
        with contextlib.suppress(AttemptFailed, OSError):  # it is gone, which is what was wanted
            self._ask({"op": "stop"}, time.monotonic() + _STOP_S)
        self._socket.close()

    def _ask(self, order: JsonObject, deadline: float) -> dict[str, Any]:
        try:
            self._socket.settimeout(max(0.01, deadline - time.monotonic()))
            self._socket.sendall(json.dumps(order).encode() + b"\n")
            line = self._line(deadline)
        except TimeoutError:
            text = f"no answer to {order['op']!r} in time"
            raise AttemptFailed(Failure(Cause.TIME_LIMIT, text)) from None
        except OSError as error:
            raise AttemptFailed(
                Failure(Cause.CRASHED_UNDER_LOAD, f"the model's process is gone: {error}")
            ) from None
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            failure = answer["error"]
            raise AttemptFailed(Failure(Cause(failure["cause"]), failure["message"]))
        return answer

    def _line(self, deadline: float) -> bytes:
        """Return the next line that comes."""
        pieces, length = [self._rest], len(self._rest)
        while b"\n" not in pieces[-1]:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._socket.settimeout(max(_LEAST_S, left))
            pieces.append(self._socket.recv(1 << 20))
            length += len(pieces[-1])
            if not pieces[-1]:
                raise AttemptFailed(
                    Failure(Cause.CRASHED_UNDER_LOAD, "the model's process closed its connection")
                )
            if length > _MOST_BYTES:
                text = f"the answer of the model's process has more than {_MOST_BYTES >> 20} MiB"
                raise AttemptFailed(Failure(Cause.WRONG_OUTPUT, text))
        line, _, self._rest = b"".join(pieces).partition(b"\n")
        return line

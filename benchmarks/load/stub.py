"""A cheap server that knows its truth: ``python -m benchmarks.load.stub DELAYS LOG``.

It prints its port, and ``begun`` with the first request, and answers streamed completions of the OpenAI form.
DELAYS is JSON: ``ttft`` and ``itl`` are medians in seconds, ``spread`` is the standard deviation of their
logarithm; every request and every token draws its own, from a fixed seed. A token of a prompt is a character.
At the end of its standard input it writes LOG: one line of JSON per request, when it was read and when each
token was written, on the clock of all processes of the machine.

It is one thread over epoll with answers that are made beforehand, so that a core of it can feed more streams
than a core of a client takes.
"""

from __future__ import annotations

import heapq
import json
import select
import socket
import sys
import time
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from autotune.measure.load.precise import freeze_garbage, prepare_process

DRAWS = 1 << 16
BACKLOG = 4096
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_LIST = json.dumps({"object": "list", "data": [{"id": "stub", "object": "model"}]}).encode()
MODELS = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
    len(_LIST),
    _LIST,
)
END = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


def draw_delays(median_s: float, spread: float, seed: int) -> list[int]:
    """Return lognormal delays in nanoseconds.

    Args:
        median_s: Median in seconds.
        spread: Standard deviation of the logarithm.
        seed: Of the random numbers.
    """
    drawn = np.random.default_rng(seed).normal(0.0, 1.0, DRAWS)
    return [round(x) for x in median_s * 1e9 * np.exp(spread * np.clip(drawn, -3.0, 3.0))]


class Answers:
    """The bytes of answers, made once per kind of request."""

    def __init__(self) -> None:
        self._made: dict[tuple[Any, ...], list[bytes]] = {}

    def of(self, body: dict[str, Any]) -> tuple[list[bytes], int]:
        """Return the bytes of each token's event, the last with the answer's end, and the prompt's tokens."""
        chat = "messages" in body
        prompt = body["messages"] if chat else body["prompt"]
        length = len(str(prompt[0]["content"]) if chat else str(prompt))
        options = body.get("stream_options") or {}
        tokens = int(body.get("max_tokens") or body.get("max_completion_tokens") or 16)
        running = bool(options.get("continuous_usage_stats"))
        key = (chat, length, tokens, running, bool(options.get("include_usage")))
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = [self._event(key, i + 1) for i in range(tokens)]
        return found, length

    @staticmethod
    def _event(key: tuple[Any, ...], number: int) -> bytes:
        chat, length, tokens, running, final = key
        last = number == tokens
        choice: dict[str, Any] = {"index": 0, "finish_reason": "length" if last else None}
        choice |= {"delta": {"content": " tok"}} if chat else {"text": " tok"}
        usage = {"prompt_tokens": length, "completion_tokens": number, "total_tokens": length + number}
        kind = "chat.completion.chunk" if chat else "text_completion"
        event = {"id": "cmpl-1", "object": kind, "created": 1, "model": "stub", "choices": [choice]}
        data = _chunk(event | {"usage": usage} if running else event)
        if last:
            data += _chunk(event | {"choices": [], "usage": usage}) if final else b""
            data += END
        return data


def _chunk(event: dict[str, Any]) -> bytes:
    data = b"data: %b\n\n" % json.dumps(event).encode()
    return b"%x\r\n%b\r\n" % (len(data), data)


class Server:
    """The connections, the timers and the log.

    Args:
        delays: See the module.
    """

    def __init__(self, delays: dict[str, float]) -> None:
        spread = delays.get("spread", 0.0)
        self.first = draw_delays(delays["ttft"], spread, 1)
        self.next = draw_delays(delays["itl"], spread, 2)
        self.answers = Answers()
        self.poll = select.epoll()
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        self.listening.setblocking(False)
        self.open: dict[int, tuple[socket.socket, bytearray]] = {}
        self.timers: list[tuple[int, int, list[Any]]] = []  # due, order, [socket, events, place, log's row]
        self.log: list[list[int]] = []  # read, prompt tokens, then when each token was due and written
        self._order = count()
        self._draws = count()

    def run(self) -> None:
        """Serve until the standard input ends."""
        self.poll.register(self.listening, select.EPOLLIN)
        self.poll.register(0, select.EPOLLIN)
        accept = self.listening.fileno()
        while True:
            self._write_due()
            wait = max(0.0, (self.timers[0][0] - time.monotonic_ns()) / 1e9) if self.timers else 1.0
            found = self.poll.poll(0)
            if not found and wait:
                select.select([self.poll], [], [], wait)  # epoll itself waits in whole milliseconds
                found = self.poll.poll(0)
            for fd, _ in found:
                if fd == accept:
                    self._accept()
                elif fd == 0:
                    return
                else:
                    self._read(fd)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listening.accept()
            except BlockingIOError:
                return
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.open[connection.fileno()] = (connection, bytearray())
            self.poll.register(connection, select.EPOLLIN)

    def _read(self, fd: int) -> None:
        connection, buffer = self.open[fd]
        try:
            data = connection.recv(1 << 16)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            del self.open[fd]
            self.poll.unregister(fd)
            connection.close()
            return
        buffer += data
        while (end := buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(buffer[:end]).lower()
            _, mark, rest = head.partition(b"content-length:")
            length = int(rest.split(b"\r\n", 1)[0]) if mark else 0
            if len(buffer) < end + 4 + length:
                return
            body = bytes(buffer[end + 4 : end + 4 + length])
            del buffer[: end + 4 + length]
            self._answer(connection, head, body)

    def _answer(self, connection: socket.socket, head: bytes, body: bytes) -> None:
        read_ns = time.monotonic_ns()
        found = json.loads(body) if body else {}
        if not found.get("stream"):
            connection.send(MODELS)
            return
        events, length = self.answers.of(found)
        row = [read_ns, length]
        if not self.log:
            print("begun", flush=True)
        self.log.append(row)
        connection.send(HEAD)
        due = read_ns + self.first[next(self._draws) % DRAWS]
        heapq.heappush(self.timers, (due, next(self._order), [connection, events, 0, row]))

    def _write_due(self) -> None:
        timers, draws = self.timers, self._draws
        while timers and timers[0][0] <= (now := time.monotonic_ns()):
            due, order, state = timers[0]
            connection, events, place, row = state
            try:
                connection.send(events[place])
            except OSError:  # the client has gone; what was written stays in the log
                heapq.heappop(timers)
                continue
            row += (due, now)
            state[2] = place + 1
            if place + 1 == len(events):
                heapq.heappop(timers)
            else:
                heapq.heapreplace(timers, (due + self.next[next(draws) % DRAWS], order, state))

    def write_log(self, path: Path) -> None:
        """Write what was read and written when."""
        with path.open("w") as file:
            for read_ns, length, *times in self.log:
                row = {"read_ns": read_ns, "prompt_tokens": length}
                file.write(json.dumps(row | {"due_ns": times[::2], "written_ns": times[1::2]}) + "\n")


def main() -> None:
    """Serve, then write the log."""
    prepare_process()
    server = Server(json.loads(sys.argv[1]))
    print(server.listening.getsockname()[1], flush=True)
    freeze_garbage()
    server.run()
    server.write_log(Path(sys.argv[2]))


if __name__ == "__main__":
    main()

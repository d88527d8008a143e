"""An OpenAI-compatible server with known delays and known faults: ``python stub_server.py [DEFAULTS] [LOG]``.

Prints its port. A request's field ``stub`` says how it is to be answered; DEFAULTS is the same as JSON, for
clients that cannot send it. LOG receives one line of JSON per request when it ends: when it was read, and
when each chunk was written, on the clock of all processes of the machine.
"""

import asyncio
import json
import math
import os
import re
import sys
import time
from pathlib import Path

from autotune.measure.load.base import REALTIME
from autotune.measure.load.precise import freeze_garbage, precise_loop, prepare_process, take_precedence

DEFAULTS = {
    "mode": "ok",
    "ttft": 0.02,  # seconds from reading the request to the first chunk
    "itl": 0.005,  # between chunks
    "per_chunk": 1,  # tokens
    "usage": "continuous",  # continuous | final | none
    "stall_at": -1,  # request number (from 0) at which the whole server sleeps
    "stall": 0.0,  # for so many seconds
    "die_at": -1,  # request number at which the server dies
    "serial": 0.0,  # seconds that the one slot of the server is taken by each request; 0: no queue
}
WORD = re.compile(r"\S+")


def tokens_of(text):
    """Count tokens: one per started five letters of a word."""
    return sum(math.ceil(len(word) / 5) for word in WORD.findall(text))


class Server:
    def __init__(self, loop, defaults, log):
        self.loop, self.defaults, self.log = loop, defaults, log
        self.count = self.connections = 0
        self.free_at = 0.0


class Protocol(asyncio.Protocol):
    def __init__(self, server):
        self.server, self.buffer, self.transport = server, b"", None
        self.number, server.connections = server.connections, server.connections + 1

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.buffer += data
        while True:
            head, mark, rest = self.buffer.partition(b"\r\n\r\n")
            if not mark:
                return
            length = int(re.search(rb"(?i)content-length: *(\d+)", head)[1]) if b"POST" in head[:5] else 0
            if len(rest) < length:
                return
            self.buffer = rest[length:]
            path = head.split(b" ", 2)[1].decode()
            self.request(path, json.loads(rest[:length] or b"{}"), head.decode("latin-1"))

    def request(self, path, body, head):
        if path.endswith("/tokenize"):
            text = body.get("prompt") or body.get("content") or body.get("input")
            self.json(200, {"count": 1 + tokens_of(text), "tokens": list(range(1 + tokens_of(text)))})
        elif path.endswith("/models"):
            self.json(200, {"object": "list", "data": [{"id": "stub", "object": "model"}]})
        elif path.endswith(("/completions",)):
            Reply(self, body, path, head)
        else:
            self.json(200, {})

    def json(self, status, found):
        data = json.dumps(found).encode()
        self.transport.write(
            b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (status, len(data), data)
        )


class Reply:
    """Answer one completion."""

    def __init__(self, connection, body, path, head):
        server = connection.server
        self.read_ns = time.monotonic_ns()
        self.connection, self.server, self.body, self.head = connection, server, body, head
        self.o = {**server.defaults, **body.get("stub", {})}
        self.chat = path.endswith("/chat/completions")
        self.number, server.count = server.count, server.count + 1
        if self.number == self.o["die_at"]:
            os._exit(9)
        if self.number == self.o["stall_at"]:
            time.sleep(self.o["stall"])
        self.total = int(body.get("max_tokens") or body.get("max_completion_tokens") or 16)
        texts = [m["content"] for m in body["messages"]] if self.chat else [body["prompt"]]
        texts = [t if isinstance(t, str) else "".join(p.get("text", "") for p in t) for t in texts]
        self.prompt_tokens = 1 + tokens_of(" ".join(texts)) + (4 * len(texts) if self.chat else 0)
        self.options = body.get("stream_options") or {}
        self.written = []
        self.given = 0
        getattr(self, f"mode_{self.o['mode']}")()

    # faults -------------------------------------------------------------------------------------------------
    def mode_http500(self):
        self.connection.json(500, {"error": {"message": "server died\n at the end"}})

    def mode_text500(self):
        self.connection.transport.write(b"HTTP/1.1 503 X\r\nContent-Length: 4\r\n\r\nbusy")

    def mode_old(self):
        """A server that refuses options it does not know."""
        if "continuous_usage_stats" in self.options:
            self.connection.json(422, {"detail": "extra fields not permitted"})
        else:
            self.mode_ok()

    def mode_json(self):
        self.connection.json(200, {"choices": [{"text": "all at once"}]})

    def mode_never(self):
        return

    def mode_not_http(self):
        self.connection.transport.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")

    def mode_endless_head(self):
        self.connection.transport.write(b"HTTP/1.1 200 OK\r\n" + b"x: " + b"y" * 200_000)

    def mode_bad_chunk(self):
        self.begin()
        self.connection.transport.write(b"zz\r\nhello\r\n")

    def mode_garbage(self):
        self.begin()
        self.chunk(b"data: {not json\n\n")

    def mode_list(self):
        self.begin()
        self.chunk(b"data: [1, 2]\n\n")

    def mode_deep(self):
        self.begin()
        self.chunk(b"data: " + b"[" * 200_000 + b"\n\n")

    def mode_endless_event(self):
        self.begin()
        for _ in range(100):
            self.chunk(b"data: " + b"x" * 60_000)

    def mode_bad_usage(self):
        self.begin()
        self.event({"choices": [{"text": "a"}], "usage": {"prompt_tokens": 3, "completion_tokens": -7}})
        self.end(done=True)

    def mode_error_event(self):
        self.begin()
        self.event({"choices": [{"text": "a", "index": 0}]})
        self.event({"error": {"message": "out of memory", "code": 500}})
        self.end(done=True)

    def mode_no_done(self):
        self.begin()
        self.event({"choices": [{"text": "a", "index": 0}]})
        self.end(done=False)

    def mode_empty(self):
        self.begin()
        self.end(done=True)

    def mode_truncate(self):
        self.o["stop_after"] = 3
        self.mode_ok()

    def mode_hang(self):
        self.o["hang_after"] = 3
        self.mode_ok()

    def mode_short(self):
        self.total = max(1, self.total // 2)
        self.mode_ok()

    def mode_linger(self):
        """Forget to end the response after [DONE]."""
        self.begin()
        self.event({"choices": [{"text": "a", "index": 0, "finish_reason": "length"}]})
        self.chunk(b"data: [DONE]\n\n")

    def mode_bytes(self):
        """Send the whole answer in pieces of one byte, with comments, CR LF and several lines of data."""
        events = [b": hello\r\n\r\n", b'event: x\r\ndata: {"choices":\r\ndata: [{"text": "a"}]}\r\n\r\n']
        final = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": self.total}}
        events += [b"retry: 5\rdata:" + json.dumps(final).encode() + b"\r\r", b"data: [DONE]\r\n"]
        data = (
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n"
        )
        data += b"\xef\xbb\xbf" + b"".join(events)
        for i, byte in enumerate(data):
            self.server.loop.call_later(i * 2e-4, self.connection.transport.write, bytes([byte]))
        self.server.loop.call_later(len(data) * 2e-4 + 0.02, self.connection.transport.close)

    # answers ------------------------------------------------------------------------------------------------
    def mode_close(self):
        self.mode_ok()

    def mode_rude(self):
        """Close the connection after the answer without having said so."""
        self.mode_ok()

    def mode_ok(self):
        now = time.monotonic()
        if self.o["serial"]:
            self.server.free_at = max(self.server.free_at, now) + self.o["serial"]
            now = self.server.free_at
        self.begin()
        self.at = now + self.o["ttft"]
        self.server.loop.call_at(self.at, self.token)

    def token(self):
        if self.connection.transport.is_closing():
            self.note()
            return
        count = min(self.o["per_chunk"], self.total - self.given)
        self.given += count
        last = self.given >= self.total
        reason = "length" if last else None
        text = "tok " * count
        choice = {"index": 0, "finish_reason": reason}
        if self.chat:
            name = "reasoning_content" if self.given % 2 else "content"
            choice["delta"] = {name: text}
        else:
            choice["text"] = text
        event = {
            "id": "cmpl",
            "object": "text_completion",
            "created": 1,
            "model": "stub",
            "choices": [choice],
        }
        if self.chat:
            event["object"] = "chat.completion.chunk"
        if self.o["usage"] == "continuous" and self.options.get("continuous_usage_stats"):
            event["usage"] = self.usage()
        self.event(event)
        self.written.append(time.monotonic_ns())
        if len(self.written) == self.o.get("stop_after"):
            self.connection.transport.close()
        elif len(self.written) == self.o.get("hang_after"):
            return
        elif last:
            if self.o["usage"] != "none" and self.options.get("include_usage"):
                final = {**event, "choices": [], "usage": self.usage()}
                self.event(final)
            self.end(done=True)
            self.note()
        else:
            self.at += self.o["itl"]
            self.server.loop.call_at(self.at, self.token)

    def note(self):
        if self.server.log is not None:
            found = {
                "number": self.number,
                "read_ns": self.read_ns,
                "written_ns": self.written,
                "prompt_tokens": self.prompt_tokens,
                "tokens": self.given,
                "connection": self.connection.number,
                "key": "Bearer secret-key" in self.head,
                "body": {k: v for k, v in self.body.items() if k not in ("prompt", "messages")},
            }
            self.server.log.write(json.dumps(found) + "\n")

    def usage(self):
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.given,
            "total_tokens": self.prompt_tokens + self.given,
        }

    def begin(self):
        close = b"Connection: close\r\n" if self.o["mode"] == "close" else b""
        self.connection.transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n%bTransfer-Encoding: chunked\r\n\r\n"
            % close
        )

    def event(self, found):
        self.chunk(b"data: %b\n\n" % json.dumps(found).encode())

    def chunk(self, data):
        self.connection.transport.write(b"%x\r\n%b\r\n" % (len(data), data))

    def end(self, *, done):
        if done:
            self.chunk(b"data: [DONE]\n\n")
        self.connection.transport.write(b"0\r\n\r\n")
        if self.o["mode"] == "close" or self.o["mode"] == "rude":
            self.connection.transport.close()


def main():
    prepare_process()
    defaults = {**DEFAULTS, **(json.loads(sys.argv[1]) if len(sys.argv) > 1 else {})}
    log = Path(sys.argv[2]).open("w", buffering=1 << 20) if len(sys.argv) > 2 else None  # noqa: SIM115
    loop, _ = precise_loop()
    asyncio.set_event_loop(loop)
    server = Server(loop, defaults, log)
    listening = loop.run_until_complete(
        loop.create_server(lambda: Protocol(server), "127.0.0.1", 0, backlog=4096)
    )
    print(listening.sockets[0].getsockname()[1], flush=True)

    def parent():
        if not os.read(0, 1):  # whoever started it is gone
            if log is not None:
                log.flush()
            os._exit(0)

    loop.add_reader(0, parent)
    freeze_garbage()
    take_precedence(REALTIME)
    loop.run_forever()


if __name__ == "__main__":
    main()

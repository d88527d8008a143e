"""A server that breaks every rule there is: ``http://host:port/MANNER.STAGE/...``.

``STAGE`` says which requests it is hostile to (``all``, ``first``: a completion that is not streamed,
``stream``, ``facts``: what servers tell about themselves, ``tokenize``); the others it answers as it should.
``python hostile_server.py PORT MANNER.STAGE`` serves in a process of its own.
"""

import contextlib
import gzip
import json
import socket
import socketserver
import sys
import threading

from tests_shared import serving_in_a_thread

DRIP_S = 0.05
BOMB = gzip.compress(b" " * (16 << 20))
NESTED = b'{"choices": ' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}"
FACTS = ("/metrics", "/props", "/version", "/get_server_info", "/api/version")


def head(status="200 OK", kind="application/json", **headers):
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def whole(text, kind="application/json"):
    return head(kind=kind, Content_Length=len(text)) + text


def good(path, stream):
    """Return what a server that behaves would answer."""
    if path.endswith("/models"):
        return whole(b'{"data": [{"id": "m"}]}')
    if path.endswith("/tokenize"):
        return whole(b'{"count": 3}')
    if path in FACTS:
        return whole(b"{}")
    usage = {"prompt_tokens": 5, "completion_tokens": 2}
    if not stream:
        choice = {"text": " a b", "message": {"content": " a b"}, "finish_reason": "length"}
        return whole(json.dumps({"choices": [choice], "usage": usage}).encode())
    chunk = {"choices": [{"text": " a", "finish_reason": None}]}
    last = {"choices": [{"text": " b", "finish_reason": "length"}]}
    events = [chunk, last, {"choices": [], "usage": usage}]
    text = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
    return whole(text.encode(), "text/event-stream")


def numbers(number, stream):
    """Return an answer all of whose numbers are ``number``, as text."""
    fields = "".join(f', "{n}": {number}' for n in ("count", "total_slots", "max_running_requests", "tokens"))
    usage = f'"usage": {{"prompt_tokens": {number}, "completion_tokens": {number}}}'
    probs = f'"logprobs": {{"tokens": [{number}], "token_logprobs": [{number}, {number}, {number}]}}'
    event = (
        f'{{"choices": [{{"text": " a", "message": {{"content": {number}}}, "index": {number}, {probs}}}], '
    )
    event = event.replace(f'"content": {number}', '"content": " a"') + usage + fields + "}"
    if stream:
        return whole(f"data: {event}\n\ndata: [DONE]\n\n".encode(), "text/event-stream")
    return whole(event.encode())


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        with contextlib.suppress(OSError, ValueError, IndexError):
            while self.one():
                pass

    def one(self):
        """Answer one request; return whether the connection is good for another."""
        line = self.rfile.readline().split()
        _, place, *rest = line[1].decode().split("/")
        manner, _, stage = self.server.manner.partition(".") if self.server.manner else place.partition(".")
        path = "/" + "/".join(rest if not self.server.manner else [place, *rest])
        length = 0
        while (field := self.rfile.readline()).strip():
            if field.lower().startswith(b"content-length:"):
                length = int(field.partition(b":")[2])
        body = json.loads(self.rfile.read(length) or b"{}")
        self.server.asked.append(path)
        self.asked = line[1].decode()
        stream = bool(body.get("stream"))
        kind = (
            "stream" if stream else "facts" if path in FACTS else "tokenize" if "tokenize" in path else "list"
        )
        kind = "first" if kind == "list" and line[0] == b"POST" else kind
        if stage not in ("all", kind):
            self.wfile.write(good(path, stream))
            return True
        return bool(getattr(self, manner)(path, stream))

    def forever(self, data, wait_s=0.0):
        while not self.server.over.wait(wait_s):
            self.wfile.write(data)

    def kind(self, stream):
        return "text/event-stream" if stream else "application/json"

    def drip_head(self, path, stream):
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        self.forever(b"x", DRIP_S)

    def drip_body(self, path, stream):
        self.wfile.write(head(kind=self.kind(stream), Content_Length=10**6))
        self.forever(b" ", DRIP_S)

    def drip_events(self, path, stream):
        self.wfile.write(head(kind=self.kind(stream)))
        self.forever(b": ping\n\n", DRIP_S)

    def endless_body(self, path, stream):
        self.wfile.write(head(kind=self.kind(stream)))
        self.forever(b" " * 65536)

    def endless_events(self, path, stream):
        self.wfile.write(head(kind=self.kind(stream)))
        self.forever(b'data: {"choices": [{"text": " a"}], "filler": "%s"}\n\n' % (b"x" * 60000))

    def endless_event(self, path, stream):
        self.wfile.write(head(kind=self.kind(stream)) + b"data: ")
        self.forever(b"x" * 65536)

    def endless_head(self, path, stream):
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        self.forever(b"X: y\r\n" * 1000)

    def endless_interim(self, path, stream):
        self.forever(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)

    def endless_trailers(self, path, stream):
        self.wfile.write(head(kind=self.kind(stream), Transfer_Encoding="chunked") + b"0\r\n")
        self.forever(b"X: y\r\n" * 1000)

    def negative_chunk(self, path, stream):
        self.wfile.write(head(kind=self.kind(stream), Transfer_Encoding="chunked") + b"-5\r\nhello\r\n")
        self.server.over.wait()

    def huge_chunk(self, path, stream):
        self.wfile.write(head(kind=self.kind(stream), Transfer_Encoding="chunked") + b"f" * 40 + b"\r\n")
        self.server.over.wait()

    def huge_length(self, path, stream):
        self.wfile.write(head(kind=self.kind(stream), Content_Length="9" * 5000))
        self.server.over.wait()

    def long_length(self, path, stream):
        self.wfile.write(head(kind=self.kind(stream), Content_Length=1000) + b"{}")

    def short_length(self, path, stream):
        self.wfile.write(head(kind=self.kind(stream), Content_Length=1) + good(path, stream))
        return True

    def gzip_bomb(self, path, stream):
        packed = head(kind=self.kind(stream), Content_Encoding="gzip", Content_Length=len(BOMB))
        self.wfile.write(packed + BOMB)

    def redirect_loop(self, path, stream):
        self.wfile.write(head("302 Found", Location=path, Content_Length=0))
        return True

    def redirect_away(self, path, stream):
        self.wfile.write(head("307 Temporary Redirect", Location=self.server.away, Content_Length=0))
        return True

    def redirect_to_tls(self, path, stream):
        host, port = self.server.server_address
        self.wfile.write(
            head("301 Moved Permanently", Location=f"https://{host}:{port}{path}", Content_Length=0)
        )
        return True

    def redirect_to_slash(self, path, stream):
        self.wfile.write(head("308 Permanent Redirect", Location=f"{self.asked}/", Content_Length=0))
        return True

    def redirect_nowhere(self, path, stream):
        self.wfile.write(head("302 Found", Location="http://[::1", Content_Length=0))
        return True

    def redirect_unsaid(self, path, stream):
        self.wfile.write(head("302 Found", Content_Length=0))
        return True

    def nested(self, path, stream):
        text = b"data: " + NESTED + b"\n\n" if stream else NESTED
        self.wfile.write(whole(text, self.kind(stream)))
        return True

    def huge_numbers(self, path, stream):
        self.wfile.write(numbers("1" + "0" * 400, stream))
        return True

    def endless_digits(self, path, stream):
        self.wfile.write(numbers("1" + "0" * 5000, stream))
        return True

    def not_a_number(self, path, stream):
        self.wfile.write(numbers("NaN", stream))
        return True

    def resets_midway(self, path, stream):
        self.wfile.write(head(kind=self.kind(stream), Content_Length=1000) + b"{}")
        self.resets(path, stream)

    def two_lengths(self, path, stream):
        lengths = b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"
        self.wfile.write(head(kind=self.kind(stream))[:-2] + lengths)

    def packed_transfer(self, path, stream):
        packed = head(kind=self.kind(stream), Transfer_Encoding="gzip, chunked")
        self.wfile.write(packed + b"%x\r\n%s\r\n0\r\n\r\n" % (len(BOMB), BOMB))

    def no_status(self, path, stream):
        self.wfile.write(whole(b"{}").replace(b" 200 OK", b" 000 OK"))

    def byte_order_mark(self, path, stream):
        kind = self.kind(stream)
        self.wfile.write(whole(b"\xef\xbb\xbf" + good(path, stream).partition(b"\r\n\r\n")[2], kind))
        return True

    def half_characters(self, path, stream):
        data = good(path, stream).partition(b"\r\n\r\n")[2]
        for text in (b'" a"', b'" b"', b'" a b"', b'"m"'):
            data = data.replace(text, text[:-1] + b'\\ud83d"')
        self.wfile.write(whole(data, self.kind(stream)))
        return True

    def doubled_keys(self, path, stream):
        data = good(path, stream).partition(b"\r\n\r\n")[2]
        data = data.replace(b'{"choices": ', b'{"choices": [], "choices": ')
        self.wfile.write(whole(data.replace(b'{"data": ', b'{"data": [], "data": '), self.kind(stream)))
        return True

    def odd_counts(self, path, stream):
        self.wfile.write(numbers("true", stream))
        return True

    def no_http(self, path, stream):
        self.wfile.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
        self.server.over.wait()

    def no_text(self, path, stream):
        self.wfile.write(whole(b"\xff\xfe\x00" * 100, self.kind(stream)))
        return True

    def other_json(self, path, stream):
        self.wfile.write(whole(b'data: [1, "a"]\n\n' if stream else b'[1, "a"]', self.kind(stream)))
        return True

    def closes(self, path, stream):
        return False

    def resets(self, path, stream):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.connection.close()

    def silent(self, path, stream):
        self.server.over.wait()


HARMLESS = ("byte_order_mark", "doubled_keys", "half_characters")
"""Odd manners that a reader has to bear: the answer is right."""
_NO_MANNERS = ("handle", "one", "forever", "kind", *HARMLESS)
MANNERS = sorted(name for name in vars(Handler) if name not in _NO_MANNERS and name[0] != "_")


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128
    block_on_close = False

    def __init__(self, port=0, manner=""):
        super().__init__(("127.0.0.1", port), Handler)
        self.manner, self.asked, self.away = manner, [], ""
        self.over = threading.Event()

    def handle_error(self, request, address):
        """A client that has gone is none of our business."""

    def url(self, manner, stage):
        return f"http://127.0.0.1:{self.server_address[1]}/{manner}.{stage}"


@contextlib.contextmanager
def serving(**options):
    """Serve in a thread of this process."""
    with serving_in_a_thread(Server(**options)) as server:
        try:
            yield server
        finally:
            server.over.set()


if __name__ == "__main__":
    Server(int(sys.argv[1]), sys.argv[2]).serve_forever()

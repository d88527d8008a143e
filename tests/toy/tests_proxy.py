"""A proxy on loopback between a client and a server, that delays, cuts, answers itself or goes away."""

import contextlib
import socket
import socketserver
import threading


class Proxy:
    """Stand between a client and the server at ``port``, at a port ``at`` or one that is free.

    Attributes:
        answer: Called with each request's bytes; ``(status, body)`` to answer itself, a function of the
            client's socket to send it anything, ``None`` to pass it on.
        delay: Called with a request's bytes: seconds before it is passed on.
        late: Likewise: seconds before its answer is passed back; it has been carried out by then.
        requests: Seen so far.
        cut_after: Requests after which every connection is cut, none while ``None``.
    """

    def __init__(self, port, at=0):
        self.heal()
        self.requests = 0
        self.over = threading.Event()
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                with contextlib.suppress(OSError):
                    outer.serve(self.request, port)

        socketserver.ThreadingTCPServer.allow_reuse_address = True
        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", at), Handler)
        self.server.daemon_threads = True
        self.uri = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def serve(self, client, port):
        """Pass one request after the other on, each through a connection of its own."""
        while request := read_message(client):
            self.requests += 1
            if self.cut_after is not None and self.requests > self.cut_after:
                return
            own = self.answer(request)
            if callable(own):
                own(client)
                return
            if own is not None:
                status, body = own
                head = f"HTTP/1.1 {status} Injected\r\nContent-Type: application/json\r\n"
                client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
                continue
            self.over.wait(self.delay(request))
            with socket.create_connection(("127.0.0.1", port), timeout=60) as upstream:
                upstream.sendall(request)
                reply = read_message(upstream)
            self.over.wait(self.late(request))
            client.sendall(reply)

    def heal(self):
        """Pass everything on again."""
        self.answer = lambda request: None
        self.delay = self.late = lambda request: 0.0
        self.cut_after = None

    def close(self):
        self.over.set()
        self.server.shutdown()
        self.server.server_close()


def read_message(stream):
    """Return one whole HTTP message; nothing when the other side is gone."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = stream.recv(65536)
        if not piece:
            return b""
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:] if b":" in line)
    if b"chunked" in fields.get(b"transfer-encoding", b""):
        while not body.endswith(b"0\r\n\r\n"):
            body += stream.recv(65536)
    else:
        wanted = int(fields.get(b"content-length", b"0"))
        while len(body) < wanted:
            piece = stream.recv(65536)
            if not piece:
                return b""
            body += piece
    return head + b"\r\n\r\n" + body

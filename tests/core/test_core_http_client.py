"""One connection for several requests, opened again where the server has let go of it."""

import socketserver
import threading
import time
from contextlib import contextmanager

import pytest

from autotune.core.endpoint import Refused
from autotune.core.http_client import HttpConnection

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@contextmanager
def answering(per_connection):
    """Answer so many requests on each connection, then close it without a word; keep what was asked."""
    asked = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            asked.append([])
            for _ in range(per_connection):
                head = []
                while (line := self.rfile.readline()).strip():
                    head.append(line.decode().strip())
                if not head:
                    return
                lengths = [int(text.split(":")[1]) for text in head if text.startswith("Content-Length")]
                asked[-1].append((head[0], self.rfile.read(sum(lengths))))
                self.wfile.write(ANSWER)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/under", asked
        finally:
            server.shutdown()
            thread.join()


def ask(connection, path="/a", body=None, **headers):
    answer = connection.ask(path, body, headers, deadline=time.monotonic() + 20.0, most_bytes=1000)
    return answer.status, answer.read()


def test_one_connection_serves_one_request_after_the_other():
    with answering(3) as (url, asked):
        connection = HttpConnection(url)
        assert [ask(connection), ask(connection, "/b", b"[1]"), ask(connection)] == [(200, b"{}")] * 3
        connection.close()
    assert asked == [
        [
            ("GET /under/a HTTP/1.1", b""),
            ("POST /under/b HTTP/1.1", b"[1]"),
            ("GET /under/a HTTP/1.1", b""),
        ]
    ]


def test_a_request_on_a_connection_that_was_let_go_of_is_sent_once_more():
    with answering(1) as (url, asked):
        connection = HttpConnection(url)
        for _ in range(3):
            assert ask(connection, "/a", b"{}") == (200, b"{}")
        connection.close()
    assert [len(requests) for requests in asked] == [1, 1, 1]


def test_a_server_that_never_answers_is_asked_once():
    with answering(0) as (url, asked):
        with pytest.raises(Refused, match="the connection ended before an answer"):
            ask(HttpConnection(url))
        assert len(asked) == 1


def test_a_body_that_was_not_read_to_its_end_takes_its_connection_along():
    with answering(2) as (url, asked):
        connection = HttpConnection(url)
        answer = connection.ask("/a", deadline=time.monotonic() + 20.0, most_bytes=1000)
        answer.pieces.close()
        assert ask(connection) == (200, b"{}")
        connection.close()
    assert [len(requests) for requests in asked] == [1, 1]


@pytest.mark.parametrize(
    ("path", "headers"),
    [("/a b", {}), ("/a\r\nX: 1", {}), ("/é", {}), ("/a", {"Authorization": "Bearer x\n"})],
)
def test_a_path_or_a_header_that_would_end_its_line_is_never_sent(path, headers):
    with answering(1) as (url, asked):
        with pytest.raises(Refused, match="a character that no request has") as caught:
            ask(HttpConnection(url), path, **headers)
        assert caught.value.unreachable
        assert asked == []


def test_a_host_that_has_no_address_is_unreachable():
    for host in ("nowhere.invalid", "a" * 70 + ".b"):
        with pytest.raises(Refused) as caught:
            ask(HttpConnection(f"http://{host}:1"))
        assert caught.value.unreachable

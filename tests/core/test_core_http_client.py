"""One connection for several requests, opened again where the server has let go of it."""

import datetime as dt
import socket
import socketserver
import ssl
import threading
import time
from contextlib import contextmanager, suppress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from autotune.core.endpoint import Refused
from autotune.core.http_client import HttpConnection
from tests_shared import serving_in_a_thread

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@contextmanager
def answering(per_connection, tls=None):
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

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    with serving_in_a_thread(server):
        yield f"http://127.0.0.1:{server.server_address[1]}/under", asked


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


@pytest.mark.parametrize(
    ("user", "sent"), [("", []), ("me:p%40ss@", ["Proxy-Authorization: Basic bWU6cEBzcw=="])]
)
def test_a_proxy_is_asked_for_the_whole_address(user, sent):
    with answering(1) as (url, _), proxy_of(url) as (address, asked):
        connection = HttpConnection("http://models.invalid:81/under", proxy=f"{user}{address}")
        assert ask(connection) == (200, b"{}")
        connection.close()
    (head,) = asked
    assert head[0] == "GET http://models.invalid:81/under/a HTTP/1.1"
    assert [line for line in head if line.startswith("Proxy-")] == sent


def test_a_server_of_tls_is_reached_through_a_tunnel(tmp_path, monkeypatch):
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    private = ec.generate_private_key(ec.SECP256R1())
    name, now = (
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "models.invalid")]),
        dt.datetime.now(dt.UTC),
    )
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("models.invalid")]), critical=False)
        .sign(private, hashes.SHA256())
    )
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    key.write_bytes(private.private_bytes(pem, form, serialization.NoEncryption()))
    certificate.write_bytes(signed.public_bytes(pem))
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with answering(1, context) as (url, requests), proxy_of(url) as (address, asked):
        connection = HttpConnection("https://models.invalid/under", proxy=f"http://me:pass@{address}")
        assert ask(connection, "/a", b"[1]") == (200, b"{}")
        connection.close()
    assert requests == [[("POST /under/a HTTP/1.1", b"[1]")]]
    assert asked == [
        ["CONNECT models.invalid:443 HTTP/1.1", "Host: models.invalid:443",
         "Proxy-Authorization: Basic bWU6cGFzcw=="]
    ]  # fmt: skip


def test_a_proxy_that_lets_nobody_through_is_no_answer():
    with answering(1) as (url, asked):  # it answers 200 to anything, and then closes
        address = url.removeprefix("http://").removesuffix("/under")
        with pytest.raises(Refused, match=r"EOF|reset"):
            ask(HttpConnection("https://models.invalid", proxy=address))
    assert [head for ((head, _),) in asked] == ["CONNECT models.invalid:443 HTTP/1.1"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "the proxy answers 407"),
     (b"SSH-2.0-OpenSSH\r\n\r\n", "the proxy answers with no HTTP"),
     (b"", "the proxy ended the connection")],
)  # fmt: skip
def test_what_a_proxy_says_instead_of_a_tunnel_is_told(answer, said):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(Refused, match=said):
            ask(HttpConnection("https://models.invalid", proxy=f"127.0.0.1:{listener.getsockname()[1]}"))
        thread.join()


@contextmanager
def proxy_of(url):
    """Make a proxy that reaches one server, whatever it is asked for; give its address and the heads."""
    port, asked = int(url.split(":")[2].split("/")[0]), []

    class Proxy(socketserver.StreamRequestHandler):
        def handle(self):
            head = []
            while (line := self.rfile.readline()).strip():
                head.append(line.decode().strip())
            asked.append(head)
            with socket.create_connection(("127.0.0.1", port)) as server:
                if head[0].startswith("CONNECT"):
                    self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                    back = threading.Thread(target=pour, args=(server, self.connection))
                    back.start()
                    pour(self.connection, server)
                    back.join()
                else:
                    server.sendall("\r\n".join([*head, "", ""]).encode())
                    pour(server, self.connection)

    with serving_in_a_thread(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Proxy)) as server:
        yield f"127.0.0.1:{server.server_address[1]}", asked


def pour(source, target):
    """Copy what comes until it ends."""
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)

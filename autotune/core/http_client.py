"""HTTP/1.1 requests that end: each has a last moment and a largest answer, whatever the server does.

What is asked is the address that was named: redirects are not followed, no proxy is used unless it is named
too, and answers are not compressed (one that is anyway stays as it is: nothing is unpacked).

Reference: RFC 9110 and 9112.
"""

from __future__ import annotations

import socket
import ssl
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from autotune.core.endpoint import Refused
from autotune.core.http_response import BadResponse, ResponseReader, packed_as

_NO_REQUEST = "the path or a header has a character that no request has"
_PIECE = 64 << 10
_LEAST_S = 0.001  # of a wait on a socket: 0 would not wait at all


@dataclass(frozen=True)
class HttpAnswer:
    """The head of a response, and its body as it comes.

    Args:
        status: HTTP status.
        headers: Names in lower case.
        pieces: Pieces of the body; raises :class:`Refused` where it is cut off, late or too long.
    """

    status: int
    headers: Mapping[str, str]
    pieces: Iterator[bytes]

    def read(self) -> bytes:
        """Return the whole body.

        Raises:
            Refused: It did not come, in time and within the size asked for.
        """
        return b"".join(self.pieces)


class _Silent(Exception):
    """The end of a connection without a byte of an answer."""


class HttpConnection:
    """One connection to a server, for one request after the other; opened by the first of them.

    Args:
        url: Scheme, host and port; a path in it comes before that of each request.
        proxy: Address of the HTTP proxy to go through, with user and password where it wants them; empty for
            none.
    """

    def __init__(self, url: str, *, proxy: str = "") -> None:
        parts = urlsplit(url)
        self._host, self._authority = parts.hostname or "", parts.netloc.rpartition("@")[2]
        self._secure = parts.scheme == "https"
        self._port = parts.port or (443 if self._secure else 80)
        self._prefix = parts.path.rstrip("/")
        self._proxy = urlsplit(proxy if "://" in proxy else f"http://{proxy}") if proxy else None
        self._socket: socket.socket | None = None
        self._reading = False  # an answer that was not read to its end

    def ask(
        self,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        deadline: float,
        most_bytes: int,
    ) -> HttpAnswer:
        """Return the answer to a GET, or to a POST of ``body``, once its head is there.

        A server may close a connection that was used before just when it is asked again: the request is then
        sent once more on a new one.

        Args:
            path: Path with its leading slash.
            body: JSON.
            headers: Headers on top of the content type.
            deadline: ``time.monotonic()`` value by which the whole answer must have come.
            most_bytes: Longest body.

        Raises:
            Refused: There is no answer.
        """
        limit = max(0.0, deadline - time.monotonic())
        request = self._request(path, body, headers or {})
        if self._reading:
            self.close()
        used = self._socket is not None
        while True:
            reader = ResponseReader()
            try:
                first = self._begin(request, reader, deadline)
                break
            except _Silent:
                self.close()
                if not used:
                    raise Refused(0, "the connection ended before an answer") from None
                used = False
            except (OSError, BadResponse, UnicodeError) as error:
                raise self._broken(error, limit) from None
        self._reading = True
        if packed := packed_as(reader.headers):
            raise self._broken(BadResponse(packed), limit)
        return HttpAnswer(
            reader.status, reader.headers, self._body(reader, first, deadline, limit, most_bytes)
        )

    def close(self) -> None:
        """Let go of the connection; another request opens it again."""
        self._reading = False
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _request(self, path: str, body: bytes | None, headers: Mapping[str, str]) -> bytes:
        own = {"Host": self._authority, "Accept-Encoding": "identity"}
        if body is not None:
            own |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
        target = f"{self._prefix}{path}"
        if self._proxy is not None and not self._secure:
            target = f"http://{self._authority}{target}"
            own |= self._credentials()
        if " " in path:
            raise Refused(0, _NO_REQUEST, unreachable=True)
        return _head(f"{'GET' if body is None else 'POST'} {target}", {**own, **headers}) + (body or b"")

    def _credentials(self) -> dict[str, str]:
        """Return the header that lets us through the proxy; none where its address has no user."""
        if self._proxy is None or self._proxy.username is None:
            return {}
        pair = f"{unquote(self._proxy.username)}:{unquote(self._proxy.password or '')}"
        return {"Proxy-Authorization": f"Basic {b64encode(pair.encode()).decode()}"}

    def _begin(self, request: bytes, reader: ResponseReader, deadline: float) -> list[bytes]:
        """Send a request and read to the end of the head; return the pieces of the body that came with it."""
        if self._socket is None:
            self._socket = self._connected(deadline)
        try:
            rest = memoryview(request)
            while rest:
                self._wait_until(deadline)
                rest = rest[self._socket.send(rest) :]
        except (BrokenPipeError, ConnectionResetError):
            raise _Silent from None
        pieces: list[bytes] = []
        while not reader.has_head:
            data = self._receive(deadline)
            if not data:
                if not reader.started:
                    raise _Silent
                reader.end()  # raises: there is no head
            pieces += reader.feed(data)
        return pieces

    def _body(
        self, reader: ResponseReader, pieces: list[bytes], deadline: float, limit: float, most_bytes: int
    ) -> Iterator[bytes]:
        """Yield the pieces of the body; the connection is kept where the server keeps it."""
        length = 0
        try:
            while True:
                for piece in pieces:
                    length += len(piece)
                    if length > most_bytes:
                        raise BadResponse(f"an answer of more than {most_bytes >> 10} KiB")
                    yield piece
                if reader.complete:
                    break
                data = self._receive(deadline)
                pieces = reader.feed(data) if data else []
                if not data:
                    reader.end()
        except (OSError, BadResponse) as error:
            raise self._broken(error, limit) from None
        finally:
            self._reading = not reader.complete
            if self._reading or not reader.keep_alive:
                self.close()

    def _broken(self, error: Exception, limit: float) -> Refused:
        """Return what a failure means, and let go of the connection."""
        self.close()
        if isinstance(error, TimeoutError):
            return Refused(0, f"no complete answer within {limit:.3g} s")
        if isinstance(error, BadResponse):
            return Refused(0, str(error), malformed=not str(error).startswith("truncated"))
        return Refused.of_error(error)

    def _connected(self, deadline: float) -> socket.socket:
        """Return a connected socket: the first of the host's addresses that takes it."""
        host, port = self._host, self._port
        if self._proxy is not None:
            host, port = self._proxy.hostname or "", self._proxy.port or 80
        failed: OSError = OSError(f"no address of {host!r}")
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            found = socket.socket(family, kind, protocol)
            try:
                found.settimeout(_left(deadline))
                found.connect(address)
                found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                found.settimeout(_left(deadline))
                if self._secure and self._proxy is not None:
                    self._pass_proxy(found, deadline)
                return self._wrapped(found)
            except OSError as error:
                found.close()
                failed = error
        raise failed

    def _pass_proxy(self, found: socket.socket, deadline: float) -> None:
        """Let a proxy connect a socket to the host (RFC 9110, 9.3.6).

        Raises:
            OSError: It does not.
        """
        host = f"[{self._host}]" if ":" in self._host else self._host
        found.sendall(
            _head(f"CONNECT {host}:{self._port}", {"Host": f"{host}:{self._port}", **self._credentials()})
        )
        reader = ResponseReader()
        while not reader.has_head:
            found.settimeout(_left(deadline))
            data = found.recv(_PIECE)
            if not data:
                raise OSError("the proxy ended the connection")
            try:
                reader.feed(data)
            except BadResponse as error:
                raise OSError(f"the proxy answers with {error}") from None
        if reader.status != 200:
            raise OSError(f"the proxy answers {reader.status}")
        found.settimeout(_left(deadline))

    def _wrapped(self, plain: socket.socket) -> socket.socket:
        if not self._secure:
            return plain
        return ssl.create_default_context().wrap_socket(plain, server_hostname=self._host)

    def _receive(self, deadline: float) -> bytes:
        assert self._socket is not None  # noqa: S101 - a request is under way
        self._wait_until(deadline)
        try:
            return self._socket.recv(_PIECE)
        except ConnectionResetError:
            return b""

    def _wait_until(self, deadline: float) -> None:
        assert self._socket is not None  # noqa: S101 - a request is under way
        self._socket.settimeout(_left(deadline))


def _head(line: str, headers: Mapping[str, str]) -> bytes:
    """Return the head of a request.

    Raises:
        Refused: It has a character that none has.
    """
    words = [f"{line} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    if any(not word.isascii() or not word.isprintable() for word in words):
        raise Refused(0, _NO_REQUEST, unreachable=True)
    return "\r\n".join([*words, "", ""]).encode()


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return max(_LEAST_S, left)

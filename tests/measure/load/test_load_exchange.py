"""One request and its answer, without a network: waiting as the server asks, bodies of every kind."""

import json
from email.utils import formatdate

import pytest

from autotune.core.endpoint import seconds_to_wait
from autotune.measure.load.exchange import Exchange
from autotune.measure.load.prompts import Order

ORDER = Order(0, (("user", "a"),), "a", 8, 1)
EVENTS = b'data: {"choices": [{"text": " a b c d"}]}\n\n' * 2
EVENTS += b'data: {"choices": [{"text": "", "finish_reason": "length"}]}\n\ndata: [DONE]\n\n'


def response(status, body, kind="text/event-stream", **headers):
    head = {"Content-Type": kind, "Content-Length": len(body), **headers}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in head.items())
    return f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode() + body


@pytest.fixture
def asked():
    """Return a request that was sent, what it was put off for, and whether it has ended."""
    ended, put_off = [], []
    exchange = Exchange(ORDER, b"request", 0, ended.append)
    exchange.postpone = lambda _, seconds: put_off.append(seconds)
    exchange.write(lambda _: None)
    return exchange, put_off, ended


def answered(exchange, data, pieces=1):
    now = exchange.sent_ns + 5
    size = -(-len(data) // pieces)
    over = [exchange.take(now, data[at : at + size]) for at in range(0, len(data), size)]
    assert over == [False] * (len(over) - 1) + [True]
    exchange.finish(now)
    return exchange.record()


@pytest.mark.parametrize("status", [429, 503])
def test_a_request_is_sent_again_when_the_server_says_so_and_counts_from_the_first_time(asked, status):
    exchange, put_off, ended = asked
    first_ns = exchange.sent_ns
    for _ in range(2):
        answered(exchange, response(status, b"{}", "application/json", Retry_After=7))
        assert not ended
        exchange.write(lambda _: None)
    assert put_off == [7.0, 7.0]
    record = answered(exchange, response(200, EVENTS))
    assert (record.error, record.waits, record.output_tokens) == (None, 2, 8)
    assert (record.send_ns, record.slip_ns) == (first_ns, 0)
    assert record.arrivals[0][0] > exchange.sent_ns > first_ns
    assert ended == [exchange]


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (response(429, b'{"error": {"message": "no"}}', Retry_After="soon"), "HTTP 429: no"),
        (response(503, b"busy"), "HTTP 503: busy"),
        (response(500, b"dead", Retry_After=1), "HTTP 500: dead"),
    ],
)
def test_what_says_not_when_to_come_back_has_failed(asked, data, error):
    exchange, put_off, ended = asked
    assert answered(exchange, data).error == error
    assert (put_off, ended) == ([], [exchange])


@pytest.mark.parametrize(
    "kind", ["text/event-stream", "text/plain; charset=utf-8", "application/json", "x/y"]
)
@pytest.mark.parametrize("pieces", [1, 7, 1000])
def test_events_are_read_whatever_their_type_says(asked, kind, pieces):
    record = answered(asked[0], response(200, EVENTS, kind), pieces)
    assert (record.error, record.counted_by) == (None, "length")
    assert [n for _, n in record.arrivals] == [4, 4]


@pytest.mark.parametrize(
    ("found", "error"),
    [
        ({"error": {"message": "CUDA out of memory"}}, "the server said: CUDA out of memory"),
        ({"choices": [{"text": "all"}]}, "no stream: the whole answer came as one application/json"),
    ],
)
def test_an_answer_in_one_piece_is_no_stream(asked, found, error):
    assert answered(asked[0], response(200, json.dumps(found).encode(), "application/json")).error == error


def test_seconds_and_dates_to_come_back_at():
    assert [seconds_to_wait(text) for text in (None, "", "soon", "-1", "inf", "0", "2.5")] == [
        None, None, None, None, None, 0.02, 2.5,
    ]  # fmt: skip
    assert seconds_to_wait(formatdate(usegmt=True)) == pytest.approx(0, abs=2)
    assert seconds_to_wait("Fri, 01 Jan 2100 00:00:00 GMT") > 1e6
    assert seconds_to_wait("Fri, 01 Jan 99999999999999999999 00:00:00 GMT") is None

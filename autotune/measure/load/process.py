"""The generator's own process: ``python -m autotune.measure.load.process``.

The order comes as one line of JSON over standard input, so that no header (they may hold keys) is ever in an
argument list. Frames (:mod:`.wire`) go out over standard output. A line ``stop SECONDS`` ends it; so does the
end of the input, which is the parent's death.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time

from autotune.core.endpoint import Endpoint
from autotune.core.json_object import JsonObject
from autotune.core.request import BY_CHUNKS, BY_SEVERAL_WORDS, RequestRecord
from autotune.errors import AutotuneError
from autotune.measure.load import wire
from autotune.measure.load.body import STREAM_OPTIONS, Head, fields, wants_all_tokens
from autotune.measure.load.calibrate import Calibration
from autotune.measure.load.connections import Connections
from autotune.measure.load.outbox import Outbox
from autotune.measure.load.precise import freeze_garbage, precise_loop, prepare_process, take_precedence
from autotune.measure.load.prompts import Order, Orders, read_prompts
from autotune.measure.load.schedule import offsets
from autotune.measure.load.sending import Sending
from autotune.measure.load.trace import read_trace
from autotune.measure.workload import Workload

_FLUSH_S = 0.02  # how soon the parent hears of a record
_LEAD_NS = 20_000_000  # between ready and the first request
_SPARE = 8  # idle connections of an open loop
_MOST_WARM = 256
_PREPARE_S = 2.0
_PREPARE_BYTES = 64 << 20
_PREPARE_FOR_S = 30.0  # of the schedule
_PREPARE_LEAST = 64


def main() -> None:
    """Run the load that the first line of standard input orders."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process
    prepare_process()
    order = json.loads(_first_line())
    loop, selector = precise_loop()
    asyncio.set_event_loop(loop)
    outbox = Outbox(1, loop)
    try:
        process = _Process(order, loop, outbox, Connections(order["endpoint"]["url"], loop, selector))
    except (AutotuneError, ValueError) as error:
        outbox.put(wire.frame(wire.FAILED, str(error).encode()))
        outbox.finish()
        return
    loop.run_until_complete(process.run())
    outbox.finish()
    os._exit(0)  # nothing is left to be told, and open connections need no farewell


def _first_line() -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(0, 1 << 16)
        if not piece:  # the parent died before it gave its order
            sys.exit(1)
        line += piece
    return line


class _Process:
    """The process of one load."""

    def __init__(
        self,
        order: JsonObject,
        loop: asyncio.AbstractEventLoop,
        outbox: Outbox,
        connections: Connections,
    ) -> None:
        self.loop, self.outbox, self.connections = loop, outbox, connections
        self.stopping: asyncio.Future[float] = loop.create_future()
        workload = Workload.from_dict(order["workload"])
        endpoint = Endpoint(**order["endpoint"])
        calibration = Calibration.from_dict(order["calibration"])
        trace = read_trace(workload.trace) if workload.trace else None
        own = read_prompts(workload.prompts) if workload.prompts else ()
        rate, stream = order["rate"], order["stream"]
        self.concurrency: int = order["concurrency"] or 0
        orders = Orders(workload, stream, calibration.builder, trace, own, order["salt"])
        head, options = Head(endpoint), STREAM_OPTIONS[calibration.options]

        def make(number: int) -> tuple[Order, bytes]:
            asked = orders.at(number)
            body = fields(endpoint, asked.messages, asked.joined, asked.max_tokens, options)
            return asked, head.request(body)

        schedule = None
        if not self.concurrency:
            schedule = offsets(workload, rate, stream, trace)
            connections.spare = _SPARE
        self.ahead = _PREPARE_LEAST + round(_PREPARE_FOR_S * (rate or (trace.rate if trace else 1.0)))
        if trace is not None and schedule is not None:
            self.ahead = min(self.ahead, len(trace.entries))
        self.sending = Sending(
            connections,
            make,
            self.ended,
            timeout_s=order["timeout_s"],
            exact=wants_all_tokens(endpoint),
            length_told=calibration.length_told,
            schedule=schedule,
            concurrency=self.concurrency,
        )
        self.told_end = False
        self.counts_texts = bool(calibration.tokenize or endpoint.tokenizer)
        self.precedence: str = order["precedence"]

    async def run(self) -> None:
        """Prepare, send until told to stop, and give up what is left."""
        self.sending.prepare(self.ahead, _PREPARE_S, _PREPARE_BYTES)
        self.loop.add_reader(0, self.read)
        await self.connections.warm(min(_MOST_WARM, self.concurrency or _SPARE))
        freeze_garbage()
        self.outbox.put(wire.frame(wire.PRECEDENCE, take_precedence(self.precedence).encode()))
        start_ns = time.monotonic_ns() + _LEAD_NS
        self.outbox.put(wire.number_frame(wire.BEGUN, start_ns))
        self.sending.begin(start_ns)
        self.tell()
        drain_s = await self.stopping
        await self.sending.stop(drain_s)
        self.outbox.put(wire.number_frame(wire.STATUS, self.sending.sent))
        self.outbox.put(wire.frame(wire.ENDED))

    def ended(self, record: RequestRecord, texts: list[str]) -> None:
        """Note a record, and its texts where the parent is to count its tokens."""
        if self.counts_texts and texts and record.counted_by in (BY_CHUNKS, BY_SEVERAL_WORDS):
            self.outbox.put(wire.frame(wire.TEXT, json.dumps(texts).encode()))
        self.outbox.put(wire.record_frame(record))

    def tell(self) -> None:
        """Tell the parent what is new, again and again."""
        self.outbox.put(wire.number_frame(wire.STATUS, self.sending.sent))
        self.outbox.put(wire.number_frame(wire.OLDEST, self.sending.oldest_ns))
        if self.sending.exhausted and not self.sending.under_way and not self.told_end:
            self.told_end = True
            self.outbox.put(wire.frame(wire.ENDED))
        self.outbox.flush()
        if not self.stopping.done():
            self.loop.call_later(_FLUSH_S, self.tell)

    def read(self) -> None:
        """Read what the parent says; without a parent, end at once."""
        line = os.read(0, 4096)
        if not line:
            os._exit(1)
        word, _, seconds = line.decode().partition(" ")
        if word == "stop" and not self.stopping.done():
            self.stopping.set_result(float(seconds))


if __name__ == "__main__":
    main()

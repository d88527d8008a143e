"""A target on a clock of its own: it returns records with timings that the test chose."""

from collections.abc import Callable, Sequence

import pytest

from autotune.core.request import Request, RequestRecord


class FakeTarget:
    """Advance a clock by what ``seconds(batch_number, requests)`` says and spread the tokens evenly."""

    def __init__(
        self,
        seconds: Callable[[int, Sequence[Request]], float],
        *,
        alter: Callable[[int, list[RequestRecord]], list[RequestRecord]] = lambda number, records: records,
        tokens_at_once: int = 1,
    ) -> None:
        self.seconds = seconds
        self.alter = alter
        self.tokens_at_once = tokens_at_once
        self.now = 0
        self.batches: list[Sequence[Request]] = []

    def clock(self) -> int:
        return self.now

    def generate(self, requests: Sequence[Request], deadline: float) -> list[RequestRecord]:
        number = len(self.batches)
        self.batches.append(requests)
        start = self.now + 1_000
        length = round(self.seconds(number, requests) * 1e9)
        records = [self._record(request, start, length) for request in requests]
        self.now = start + length + 1_000
        return self.alter(number, records)

    def _record(self, request: Request, start: int, length: int) -> RequestRecord:
        arrivals, left = [], request.max_tokens
        steps = -(-request.max_tokens // self.tokens_at_once)
        for i in range(steps):
            count = min(left, self.tokens_at_once)
            arrivals.append((start + length * (i + 1) // steps, count))
            left -= count
        return RequestRecord(request.id, request.prompt_tokens or 1, start, tuple(arrivals), start + length)


@pytest.fixture
def fake_target() -> type[FakeTarget]:
    return FakeTarget

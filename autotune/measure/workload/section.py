"""The ``workload`` section of a study file as a value."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from autotune.core.input_file import resolved
from autotune.core.json_object import JsonObject
from autotune.core.kinds import FILE, By, Choice, Number, Share, Text, Whole
from autotune.core.request import Request
from autotune.core.section import Section, mapping, one
from autotune.errors import SpecError, under
from autotune.measure.workload.arrival import CLOSED, RateSearch, read_arrival, read_rate
from autotune.measure.workload.corpus import passage, words
from autotune.measure.workload.lengths import Length, Lengths, located_lengths, read_lengths
from autotune.measure.workload.request_limits import RequestLimits
from autotune.measure.workload.sharing import SharedPrefix, Turns

GENERATORS = ("own", "guidellm", "aiperf")
MOST_ERRORS = 0.001  # of the requests of a valid measurement

_FILES = ("trace", "prompts")
_SERVED_KEYS = ("rate", "search", "burstiness", "concurrency", *_FILES, "shared_prefix", "turns", "generator",
                "max_error_rate")  # fmt: skip
_PROMPT_TOKENS, _OUTPUT_TOKENS = Length(128.0, 32.0), Length(64.0, 16.0)
_REQUEST_LIMITS = RequestLimits()
_LENGTHS = By(read_lengths, what="a whole number, or a distribution")
_CHARACTERS_PER_TOKEN = 6  # English prose has 4 to 5 with large vocabularies; the system cuts what is over


@dataclass(frozen=True)
class Workload(Section):
    """The load and the end of a measurement.

    Args:
        arrival: ``concurrency``: closed loop, the next batch or request is sent when one has ended. Open
            loops of served systems: ``constant``, ``poisson``, ``gamma`` gaps, or a ``trace``.
        prompt_tokens: Lengths of the prompts.
        output_tokens: Lengths of the answers; the system is told to ignore end-of-sequence.
        requests: Number of measured requests after which to stop, once ``min_batches`` are done; ``None``: no
            cap.
        precision: Share of the goal's value below which the half-width of its 95 % interval ends the
            measurement.
        min_batches: Fewest measured batches; fewer are no valid measurement.
        time: Seconds of measuring after which to stop, once ``min_batches`` are done.
        warmup: Batches before measuring; ``None``: until the system is steady
            (:mod:`autotune.measure.statistics.steady_state`).
        seed: Seed of the requests' lengths and texts: equal for every configuration of a study.
        goodput: Limits that a request must keep to count for the goodput.
        rate: Requests per second of an open loop, or a search for the highest; a trace is rescaled to it,
            or keeps its own times without.
        burstiness: Shape of gamma gaps: their coefficient of variation is ``1 / sqrt(burstiness)``.
        concurrency: Requests under way at once in a closed loop; ``None``: what the measurement takes.
        trace: CSV or JSONL file of arrival times and lengths (:mod:`autotune.measure.load.trace`).
        prompts: JSONL file of prompts, taken in turn (:mod:`autotune.measure.load.prompts`).
        shared_prefix: Prefixes that requests have in common.
        turns: Conversations.
        generator: Sender of the requests: our own, or ``guidellm`` or ``aiperf`` where it is installed.
        max_error_rate: Share of the requests that may fail in a valid measurement.
    """

    title: ClassVar[str] = "a workload"
    more_keys: ClassVar[tuple[str, ...]] = ("search",)

    arrival: Annotated[str, Text()] = CLOSED
    prompt_tokens: Annotated[Lengths, _LENGTHS] = _PROMPT_TOKENS
    output_tokens: Annotated[Lengths, _LENGTHS] = _OUTPUT_TOKENS
    requests: Annotated[int | None, Whole(1, word="none")] = None
    precision: Annotated[float, Share(whole=False)] = 0.05
    # Student's factor is 1.42 with 5 batches and 2.2 with 3: fewer give an interval too wide to be of use.
    min_batches: Annotated[int, Whole(2)] = 5
    time: Annotated[float, Number("s", above=0.0, example="60 s")] = 60.0
    warmup: Annotated[int | None, Whole(0, word="auto")] = None
    seed: Annotated[int, Whole(0)] = 0
    goodput: Annotated[RequestLimits, one(RequestLimits)] = _REQUEST_LIMITS
    rate: Annotated[
        float | RateSearch | None, By(read_rate, what="requests per second, or `{search: max}`")
    ] = None
    burstiness: Annotated[float | None, Number(above=0.0, example="0.5")] = None
    concurrency: Annotated[int | None, Whole(1)] = None
    trace: Annotated[str, FILE] = ""
    prompts: Annotated[str, FILE] = ""
    shared_prefix: Annotated[SharedPrefix | None, one(SharedPrefix)] = None
    turns: Annotated[Turns | None, one(Turns)] = None
    generator: Annotated[str, Choice(GENERATORS)] = "own"
    max_error_rate: Annotated[float, Share()] = MOST_ERRORS

    @classmethod
    def from_dict(cls, data: Any) -> Self:
        """Read the ``workload`` section of a study file; numbers may be text with units.

        Raises:
            SpecError: A key or a value is wrong; ``path`` is relative to the section.
        """
        mapping(data, cls.title)
        items = {**data, "arrival": read_arrival(data)}
        if "search" in data:  # short for a rate
            with under("search"):
                items["rate"] = RateSearch.from_dict({"search": data["search"]}).to_dict()
        workload = super().from_dict(items)
        _check_generator(data, workload)
        return workload

    def to_dict(self) -> dict[str, object]:
        """Return the section that :meth:`from_dict` reads back, as plain JSON data."""
        data = super().to_dict()
        if self.trace or self.prompts:  # their lengths come from the file
            del data["prompt_tokens"]
        return data

    @staticmethod
    def located(data: JsonObject, folder: Path) -> dict[str, Any]:
        """Return the section with the paths in it made absolute, starting from the study file's folder."""
        named = {key: data[key] for key in _FILES if isinstance(data.get(key), str) and data[key]}
        paths: dict[str, Any] = {
            key: str(resolved((folder / file).expanduser())) for key, file in named.items()
        }
        for key in ("prompt_tokens", "output_tokens"):
            if key in data:
                paths[key] = located_lengths(data[key], folder)
        return {**data, **paths}

    def request(self, index: int, *, warmup: bool = False) -> Request:
        """Return request ``index``, which depends on ``seed`` and ``index`` alone.

        Two configurations with different batch sizes therefore get the same requests in the same order.
        Each prompt begins with a number of its own, so that a prefix cache finds nothing to reuse.

        Args:
            index: Index, counted from 0.
            warmup: Whether to draw from the separate stream that warm-up uses; its ids are negative.
        """
        stream = "warmup" if warmup else "measured"
        rng = self.random(stream, index)
        prompt_tokens = self.prompt_tokens.at(rng.random())
        max_tokens = self.output_tokens.at(rng.random())
        start = int(rng.random() * len(words()))
        unique = 2 * index + (1 if warmup else 0)
        text = f"{unique}. {passage(start, prompt_tokens * _CHARACTERS_PER_TOKEN)}"
        return Request(-1 - index if warmup else index, text, max_tokens, prompt_tokens)

    def random(self, stream: str, index: int | str) -> random.Random:
        """Return the random numbers of one request of a stream."""
        # Seeding from text and .random() give the same numbers in every version of Python.
        return random.Random(f"autotune/{self.seed}/{stream}/{index}")  # noqa: S311 - not for secrets

    def batch(self, number: int, size: int, *, warmup: bool = False) -> tuple[Request, ...]:
        """Return batch ``number`` (from 0) of ``size`` requests."""
        return tuple(self.request(number * size + i, warmup=warmup) for i in range(size))


def served_key(data: Mapping[str, object], workload: Workload) -> str | None:
    """Return the first key of a section that only means something for a system with an endpoint.

    Args:
        data: Section as it was written.
        workload: Workload that was read of it; a key that says what is usual asks for nothing.
    """
    if str(data.get("arrival", CLOSED)) != CLOSED:
        return "arrival"
    usual = Workload()
    stated = (key for key in _SERVED_KEYS if key in data)
    return next((key for key in stated if getattr(workload, key, True) != getattr(usual, key, None)), None)


def _check_generator(data: Mapping[str, object], workload: Workload) -> None:
    """Refuse what another load generator cannot be told."""
    generator = workload.generator
    if generator == "own":
        return
    for key in ("trace", "prompts", "shared_prefix", "turns"):
        if key in data:
            raise SpecError(f"{key!r} is for generator own, found {generator}", path=(key,), at_key=True)
    if generator == "guidellm" and "burstiness" in data:
        raise SpecError("generator guidellm has no gamma arrivals", path=("burstiness",), at_key=True,
                        hint="generators own and aiperf have")  # fmt: skip
    if isinstance(workload.rate, RateSearch):
        raise SpecError(
            f"the highest rate is searched for with generator own, found {generator}", path=("generator",),
            hint="the search ends a probe as soon as its answer is known; these tools run to their end",
        )  # fmt: skip

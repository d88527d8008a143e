"""How requests arrive: the kinds of arrival, a rate or the search for the highest, what goes with what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self

from autotune.core.kinds import Choice, Number
from autotune.core.section import Section
from autotune.errors import SpecError, under

CLOSED = "concurrency"
OPEN = ("constant", "poisson", "gamma", "trace")
ARRIVALS = (CLOSED, *OPEN)

_NEEDS = {
    # key -> arrivals it goes with
    "rate": OPEN,
    "search": OPEN,
    "burstiness": ("gamma",),
    "concurrency": (CLOSED,),
    "trace": ("trace",),
}
_WITHOUT = (
    # arrivals -> keys of which one must be there, what is needed in words, an example
    (("constant", "poisson", "gamma"), {"rate", "search"}, "'rate'",
     "for example `rate: 4` (requests/s), or `rate: {search: max}`"),
    (("gamma",), {"burstiness"}, "'burstiness'", "1 is Poisson; 0.5 comes in bursts, 4 is more even"),
    (("trace",), {"trace"}, "'trace', a CSV or JSONL file", ""),
)  # fmt: skip
_TRACED = ("prompt_tokens", "prompts", "shared_prefix", "turns")
_FROM_FILE = ("prompt_tokens", "shared_prefix", "turns")
_RATE = Number("requests/s", above=0.0, example="4")


@dataclass(frozen=True)
class RateSearch(Section):
    """A search for the highest rate that keeps the limits.

    Args:
        low: Lowest rate to consider in requests/s; ``None``: as low as need be.
        high: Highest rate to consider.
    """

    title: ClassVar[str] = "a rate"
    more_keys: ClassVar[tuple[str, ...]] = ("search",)

    low: Annotated[float | None, _RATE] = None
    high: Annotated[float | None, _RATE] = None

    @classmethod
    def from_dict(cls, data: Any) -> Self:
        """Read ``{search: max, low: 1, high: 64}``."""
        search = super().from_dict(data)
        if not _is_max(data.get("search")):
            raise SpecError(
                f"a rate is searched for by 'search: max', found {data.get('search')!r}",
                hint="for example `rate: {search: max, low: 1, high: 64}`",
            )
        if search.low is not None and search.high is not None and search.low >= search.high:
            raise SpecError(f"low must be below high, found {data['low']!r} and {data['high']!r}")
        return search

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON data; :func:`read_rate` reads it back."""
        return {"search": "max", **super().to_dict()}


def read_arrival(data: Mapping[str, object]) -> str:
    """Return the kind of arrival of a section; what goes with one kind only stands for it.

    Raises:
        SpecError: It is unknown, or another key does not go with it.
    """
    implied = "trace" if "trace" in data else "poisson" if "rate" in data or "search" in data else CLOSED
    if "arrival" not in data and "burstiness" in data:
        implied = "gamma"
    with under("arrival"):
        arrival = Choice(ARRIVALS).read(data.get("arrival", implied), "arrival")
    for key, kinds in _NEEDS.items():
        if key in data and arrival not in kinds:
            raise SpecError(
                f"{key!r} goes with arrival {', '.join(kinds)}, found {arrival}", path=(key,), at_key=True
            )
    _check_needs(data, arrival)
    return arrival


def _check_needs(data: Mapping[str, object], arrival: str) -> None:
    """Refuse keys that lack another one, or that say the same as another one."""
    if "rate" in data and "search" in data:
        raise SpecError(
            "both 'rate' and 'search' are given", path=("search",), at_key=True,
            hint="write `rate: {search: max, low: 1, high: 64}`",
        )  # fmt: skip
    for kinds, any_of, needed, hint in _WITHOUT:
        if arrival in kinds and not any_of & data.keys():
            raise SpecError(f"arrival {arrival} needs {needed}", path=("arrival",), hint=hint)
    for source, keys in (("trace", _TRACED), ("prompts", _FROM_FILE)):
        for key in keys:
            if source in data and key in data:
                raise SpecError(f"{key!r} is given by the file of '{source}'", path=(key,), at_key=True,
                                hint=f"leave out {key!r} or {source!r}")  # fmt: skip
    if "turns" in data and "shared_prefix" in data:
        raise SpecError("'turns' and 'shared_prefix' do not go together", path=("turns",), at_key=True)


def read_rate(raw: object, name: str) -> float | RateSearch | None:
    """Return requests/s, a search for the highest, or ``None`` without a rate.

    Raises:
        SpecError: It is neither.
    """
    if raw is None:
        return None
    if isinstance(raw, Mapping):
        return RateSearch.from_dict(raw)
    return RateSearch() if _is_max(raw) else _RATE.read(raw, name)


def _is_max(value: object) -> bool:
    return isinstance(value, str) and value.strip().lower() == "max"

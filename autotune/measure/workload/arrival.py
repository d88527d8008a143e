"""How requests arrive: the kinds of arrival, a rate or the search for the highest, what goes with what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autotune.errors import SpecError, did_you_mean, refuse_unknown_keys
from autotune.measure.workload.numbers import is_word, positive

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
_TRACED = ("prompt_tokens", "prompts", "shared_prefix", "turns")
_FROM_FILE = ("prompt_tokens", "shared_prefix", "turns")


@dataclass(frozen=True, slots=True)
class RateSearch:
    """Ask for the highest rate that keeps the limits.

    Args:
        low: Lowest rate to consider in requests/s; ``None``: as low as need be.
        high: Highest rate to consider.
    """

    low: float | None = None
    high: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data; :func:`read_rate` reads it back."""
        ends = {"low": self.low, "high": self.high}
        return {"search": "max", **{name: end for name, end in ends.items() if end is not None}}


def read_arrival(data: Mapping[str, Any]) -> str:
    """Return the kind of arrival of a section; what goes with one kind only stands for it.

    Raises:
        SpecError: It is unknown, or another key does not go with it.
    """
    implied = "trace" if "trace" in data else "poisson" if "rate" in data or "search" in data else CLOSED
    if "arrival" not in data and "burstiness" in data:
        implied = "gamma"
    arrival = str(data.get("arrival", implied))
    if arrival not in ARRIVALS:
        raise SpecError(
            f"unknown arrival {arrival!r}; allowed: {', '.join(ARRIVALS)}",
            path=("arrival",),
            hint=did_you_mean(arrival, ARRIVALS),
        )
    for key, kinds in _NEEDS.items():
        if key in data and arrival not in kinds:
            raise SpecError(
                f"{key!r} goes with arrival {', '.join(kinds)}, found {arrival}", path=(key,), at_key=True
            )
    _check_needs(data, arrival)
    return arrival


def _check_needs(data: Mapping[str, Any], arrival: str) -> None:
    """Refuse keys that lack another one, or that say the same as another one."""
    if "rate" in data and "search" in data:
        raise SpecError(
            "both 'rate' and 'search' are given", path=("search",), at_key=True,
            hint="write `rate: {search: max, low: 1, high: 64}`",
        )  # fmt: skip
    if arrival in ("constant", "poisson", "gamma") and "rate" not in data and "search" not in data:
        raise SpecError(
            f"arrival {arrival} needs 'rate'", path=("arrival",),
            hint="for example `rate: 4` (requests/s), or `rate: {search: max}`",
        )  # fmt: skip
    if arrival == "gamma" and "burstiness" not in data:
        raise SpecError(
            "arrival gamma needs 'burstiness'", path=("arrival",),
            hint="1 is Poisson; 0.5 comes in bursts, 4 is more even",
        )  # fmt: skip
    if arrival == "trace" and "trace" not in data:
        raise SpecError("arrival trace needs 'trace', a CSV or JSONL file", path=("arrival",))
    for source, keys in (("trace", _TRACED), ("prompts", _FROM_FILE)):
        for key in keys:
            if source in data and key in data:
                raise SpecError(f"{key!r} is given by the file of '{source}'", path=(key,), at_key=True,
                                hint=f"leave out {key!r} or {source!r}")  # fmt: skip
    if "turns" in data and "shared_prefix" in data:
        raise SpecError("'turns' and 'shared_prefix' do not go together", path=("turns",), at_key=True)


def read_rate(data: Mapping[str, Any]) -> float | RateSearch | None:
    """Return the rate of a section: requests/s, a search for the highest, or ``None`` without one.

    Raises:
        SpecError: It is neither.
    """
    if "search" in data:
        return _read_search({"search": data["search"]}, ("search",))
    raw = data.get("rate")
    if raw is None:
        return None
    if isinstance(raw, Mapping):
        return _read_search(raw, ("rate",))
    if is_word(raw, "max"):
        return RateSearch()
    return positive(raw, ("rate",), "requests/s", "4")


def _read_search(data: Mapping[str, Any], path: tuple[str, ...]) -> RateSearch:
    refuse_unknown_keys(data, ("search", "low", "high"), path=path)
    if not is_word(data.get("search", ""), "max"):
        raise SpecError(
            f"a rate is searched for by 'search: max', found {data.get('search')!r}", path=path,
            hint="for example `rate: {search: max, low: 1, high: 64}`",
        )  # fmt: skip
    ends = {
        key: positive(data[key], (*path, key), "requests/s", "4") for key in ("low", "high") if key in data
    }
    search = RateSearch(ends.get("low"), ends.get("high"))
    if search.low is not None and search.high is not None and search.low >= search.high:
        raise SpecError(f"low must be below high, found {data['low']!r} and {data['high']!r}", path=path)
    return search

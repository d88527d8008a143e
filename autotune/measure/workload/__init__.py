"""What the system is asked to do: how requests arrive, how long they are, when measuring ends.

Owns the section ``workload`` of a study file and the text that prompts are made of. Imports no other room.
"""

from __future__ import annotations

from autotune.measure.workload.arrival import ARRIVALS, RateSearch
from autotune.measure.workload.lengths import Length, Lengths, read_lengths
from autotune.measure.workload.request_limits import RequestLimits
from autotune.measure.workload.section import GENERATORS, Workload, served_key
from autotune.measure.workload.sharing import SharedPrefix, Turns

__all__ = [
    "ARRIVALS",
    "GENERATORS",
    "Length",
    "Lengths",
    "RateSearch",
    "RequestLimits",
    "SharedPrefix",
    "Turns",
    "Workload",
    "read_lengths",
    "served_key",
]

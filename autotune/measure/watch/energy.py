"""Energy that the machine used, from the processor's own counters (Intel and AMD, through Linux powercap).

Formula: energy.per_token = energy of all packages during the measured batches / output tokens; of a served
load the energy of the GPUs is added (:mod:`.machine_watch`)
Unit: J, lower is better. Everything that runs on the machine counts; so it must run nothing else.
Source: Linux kernel documentation, Power Capping Framework (intel-rapl); Khan et al., RAPL in action, ACM
TOMPECS 3(2), 2018.
"""

from __future__ import annotations

from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


class EnergyMeter:
    """Energy counters of the packages, read at the start and at the end of a measurement.

    Args:
        folder: Folder where the kernel shows them.
    """

    def __init__(self, folder: Path = POWERCAP) -> None:
        # packages only (intel-rapl:0); their parts (intel-rapl:0:0) are counted in them already
        self._zones = [zone for zone in sorted(folder.glob("intel-rapl:*")) if zone.name.count(":") == 1]
        self._start = [_counter(zone, "energy_uj") for zone in self._zones]

    def joules(self) -> float | None:
        """Return the energy since the meter was made, ``None`` where the machine does not tell."""
        total = 0
        for zone, before in zip(self._zones, self._start, strict=True):
            after = _counter(zone, "energy_uj")
            if before is None or after is None:
                return None
            most = _counter(zone, "max_energy_range_uj") or 0
            total += after - before if after >= before else after - before + most  # the counter wrapped
        return total / 1e6 if self._zones else None


def _counter(zone: Path, name: str) -> int | None:
    try:
        return int((zone / name).read_text())
    except (OSError, ValueError):  # not there, or root's to read
        return None

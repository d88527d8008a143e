"""What a measurement says of versions and hardware, in the words in which a change of them is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from autotune.core.json_object import JsonObject
from autotune.core.trial import Trial
from autotune.core.units import format_quantity


def versions_of(system: JsonObject) -> dict[str, str]:
    """Return the versions among the facts of a system, by name; ``version`` alone is the server's."""
    found: dict[str, str] = {}
    for name, value in system.items():
        if name == "versions" and isinstance(value, Mapping):
            found |= {str(key): str(text) for key, text in value.items()}
        elif name.split("_")[-1] == "version" and isinstance(value, str | int | float) and str(value):
            own = str(system.get("engine") or "version")
            found[own if name == "version" else name.removesuffix("_version")] = str(value)
    return found


def hardware_of(hardware: JsonObject) -> dict[str, str]:
    """Return what a machine is, by part, in words: GPUs with their driver, processor, memory, system."""
    found: dict[str, str] = {}
    gpus = [gpu for gpu in hardware.get("gpus") or () if isinstance(gpu, Mapping)]
    if gpus:
        names = Counter(str(gpu.get("name") or "GPU") for gpu in gpus)
        found["GPUs"] = " and ".join(f"{count} x {name}" for name, count in names.items())
        drivers = dict.fromkeys(str(gpu["driver"]) for gpu in gpus if gpu.get("driver"))
        if drivers:
            found["GPU driver"] = ", ".join(drivers)
    if hardware.get("cpu"):
        cpus = hardware.get("usable_cpus") or hardware.get("threads")
        found["processor"] = str(hardware["cpu"]) + (f", {cpus:g} processors usable" if cpus else "")
    if isinstance(hardware.get("memory_bytes"), int):
        found["memory"] = format_quantity(float(hardware["memory_bytes"]), "B")
    if hardware.get("platform"):
        found["platform"] = str(hardware["platform"])
    return found


def circumstances(trials: Sequence[Trial]) -> dict[str, str]:
    """Return versions, also of plug-ins, and hardware of measured trials; several of one stand together."""
    seen: dict[str, dict[str, None]] = {}
    for trial in trials:
        facts = trial.measurement.facts if trial.measurement is not None else {}
        hardware = facts.get("hardware") or {}
        parts = {**versions_of(facts.get("system") or {}), **hardware_of(hardware)}
        parts |= {f"plug-in {name}": str(text) for name, text in (facts.get("plugins") or {}).items()}
        if hardware.get("python"):
            parts["Python of autotune"] = str(hardware["python"])
        for name, text in parts.items():
            seen.setdefault(name, {})[text] = None
    return {name: " or ".join(texts) for name, texts in seen.items()}


def changed(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return what differs between two sets of circumstances, a line each."""
    names = dict.fromkeys([*then, *now])
    return [
        f"{name}: {then.get(name, 'not known')} -> {now.get(name, 'not known')}"
        for name in names
        if then.get(name) != now.get(name)
    ]

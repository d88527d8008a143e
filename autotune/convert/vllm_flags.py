"""vLLM's flags by the names and values that files of other tools give them."""

from __future__ import annotations

from typing import Any

from autotune.errors import did_you_mean
from autotune.systems.served.flags import AUTO, Flag, table

_SHORT = {
    "tp": "tensor_parallel_size",
    "pp": "pipeline_parallel_size",
    "dp": "data_parallel_size",
    "dcp": "decode_context_parallel_size",
    "ep": "enable_expert_parallel",
    "q": "quantization",
    "cc": "compilation_config",
    "sc": "speculative_config",
    "ac": "attention_config",
}
_LEAST_PREFIX = 8  # letters of a flag's beginning that are taken for it, as its parser does
_OURS = ("host", "port", "uds", "api_key")  # where the load finds the server is for the measurement to say
_OPPOSITES = (("no_", ""), ("no_", "enable_"), ("disable_", "enable_"), ("enable_", "disable_"))
"""What a switch that is turned round begins with, and what the flag itself begins with then."""


def canonical(written: str) -> tuple[str, bool]:
    """Return the flag that a name means, and whether a true value switches it on.

    ``no_enable_prefix_caching``, ``--no-enable-prefix-caching`` and ``disable_prefix_caching`` are the flag
    ``enable_prefix_caching`` turned round; ``tensor_parallel`` is the only flag that begins so. A name that
    is no flag is returned with underscores.
    """
    flags = table("vllm").flags
    name = written.strip().lstrip("-").replace("-", "_")
    name = _SHORT.get(name, name)
    if name in flags:
        return name, True
    for prefix, instead in _OPPOSITES:
        opposite = instead + name.removeprefix(prefix)
        if name.startswith(prefix) and is_switch(opposite):
            return opposite, False
    longer = [flag for flag in flags if flag.startswith(name)] if len(name) >= _LEAST_PREFIX else []
    return (longer[0] if len(longer) == 1 else name), True


def is_switch(name: str) -> bool:
    """Return whether a flag is on or off."""
    flag = table("vllm").flags.get(name)
    return flag is not None and flag.kind in ("toggle", "switch")


def turned(flag: Flag, value: object, positive: bool) -> object:
    """Return a value as the flag takes it: of its type, and turned round where its name is.

    Args:
        flag: Flag that the name means.
        value: Value as the file has it.
        positive: Whether a true value switches the flag on.
    """
    found = flag.typed(value)
    return not found if isinstance(found, bool) and not positive else found


def unset(flag: Flag) -> Any:
    """Return the value that leaves a flag out of the command, or that the server takes without it."""
    if flag.kind == "switch":
        return False
    return AUTO if flag.is_left_out(AUTO) or flag.default is None else flag.default


def why_not(name: str) -> str:
    """Return why a study cannot set what ``name`` means, with the nearest flag; empty if it can."""
    known = table("vllm")
    if name in _OURS:
        return "is set by the measurement itself"
    if name in known.flags:
        return ""
    near = did_you_mean(name, known.flags)
    return f"is no flag of vLLM {known.version}" + (f" ({near})" if near else "")

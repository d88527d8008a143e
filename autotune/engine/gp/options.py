"""What a user may choose of the ``gp`` engine, read from the ``engine`` section of a study file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from autotune.errors import SpecError, did_you_mean

SURROGATES: Mapping[str, str] = {
    "auto": "autotune.engine.gp.surrogate:Surrogate",
    "smooth": "autotune.engine.gp.surrogate:smooth",
    "additive": "autotune.engine.gp.surrogate:additive",
    "rugged": "autotune.engine.gp.surrogate:rugged",
    "sparse": "autotune.engine.gp.surrogate:sparse",
    "random_trees": "autotune.engine.gp.surrogate:random_trees",
    "deep_kernel": "autotune.engine.gp.surrogates.deep_kernel:DeepKernel",
    "infinite_network": "autotune.engine.gp.surrogates.infinite_network:InfiniteNetwork",
    "deep_ensemble": "autotune.engine.gp.surrogates.deep_ensemble:DeepEnsemble",
    "forest": "autotune.engine.gp.surrogates.forest:Forest",
}
"""Surfaces by name; adding one is a module and a line here."""

ACQUISITIONS: Mapping[str, str] = {
    "auto": "autotune.engine.gp.acquisitions.improvement:automatic",
    "knowledge_gradient": "autotune.engine.gp.acquisitions.knowledge_gradient:KnowledgeGradient",
    "entropy_search": "autotune.engine.gp.acquisitions.entropy_search:EntropySearch",
    "thompson": "autotune.engine.gp.acquisitions.thompson:Thompson",
}
"""Acquisition functions by name; adding one is a module and a line here."""

REGIONS = ("auto", "on", "off")
"""Whether to search around the best configuration only: ``auto`` does so where there are many parameters."""


@dataclass(frozen=True)
class Options:
    """Hold the choices.

    Args:
        initial: Trials of the initial design, the default configuration included. Three by default: on
            replayed tables the surrogate spends the following trials better than a longer design does.
        surrogate: One of :data:`SURROGATES`.
        acquisition: One of :data:`ACQUISITIONS`.
        repeat: Whether a leading configuration may be measured again where launches differ by much.
        trust_region: One of :data:`REGIONS`.
    """

    initial: int = 3
    surrogate: str = "auto"
    acquisition: str = "auto"
    repeat: bool = False
    trust_region: str = "auto"

    @classmethod
    def from_dict(cls, name: str, data: Mapping[str, Any]) -> Options:
        """Read the options of a section.

        Args:
            name: Of the engine, for messages.
            data: The section without ``use`` and ``seed``.

        Raises:
            SpecError: An option is unknown or wrong.
        """
        known = [field.name for field in fields(cls)]
        for key in data:
            if key not in known:
                raise SpecError(
                    f"engine {name!r} has no option {key!r}; allowed: seed, {', '.join(known)}",
                    path=(key,),
                    at_key=True,
                    hint=did_you_mean(str(key), ("seed", *known)),
                )
        values: dict[str, Any] = dict(data)
        if "initial" in values:
            values["initial"] = _whole("initial", values["initial"])
        for key, allowed in (("surrogate", SURROGATES), ("acquisition", ACQUISITIONS)):
            if key in values:
                values[key] = _one_of(key, values[key], list(allowed))
        if "trust_region" in values:  # a YAML reader may have made a truth value of the word
            word = {"true": "on", "false": "off"}.get(str(values["trust_region"]).lower())
            values["trust_region"] = _one_of("trust_region", word or values["trust_region"], REGIONS)
        if "repeat" in values:
            values["repeat"] = _flag("repeat", values["repeat"])
        return cls(**values)


def _whole(key: str, value: Any) -> int:
    text = str(value)
    if not text.isdecimal() or int(text) < 1:
        raise SpecError(f"{key} must be a whole number of at least 1, found {value!r}", path=(key,))
    return int(text)


def _flag(key: str, value: Any) -> bool:
    text = str(value).lower()
    if text not in ("true", "false"):
        raise SpecError(f"{key} must be true or false, found {value!r}", path=(key,))
    return text == "true"


def _one_of(key: str, value: Any, allowed: Sequence[str]) -> str:
    if value not in allowed:
        raise SpecError(
            f"unknown {key} {value!r}; allowed: {', '.join(allowed)}",
            path=(key,),
            hint=did_you_mean(str(value), allowed),
        )
    return str(value)

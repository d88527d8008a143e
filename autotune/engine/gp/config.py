"""The design choices of the ``gp`` engine in one frozen value, and what a study file may say of them.

A study file reads the first group (:data:`OPTIONS`). The others are ours: each has figures in
``benchmarks/README.md``, and an ablation is ``replace(config, ...)``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Self

from autotune.core.json_object import JsonObject
from autotune.core.kinds import By, Choice, Flag, Whole
from autotune.core.section import Section
from autotune.errors import SpecError, did_you_mean

BOTORCH = "botorch:"
"""Before the name of a model or an acquisition function of BoTorch."""

SURROGATES: Mapping[str, str] = {
    "auto": "autotune.engine.gp.model.surrogates:averaged",
    "smooth": "autotune.engine.gp.model.surrogates:smooth",
    "additive": "autotune.engine.gp.model.surrogates:additive",
    "rugged": "autotune.engine.gp.model.surrogates:rugged",
    "infinite_network": "autotune.engine.gp.model.optional.infinite_network:infinite_network",
    "deep_kernel": "autotune.engine.gp.model.optional.deep_kernel:deep_kernel",
}
"""Our surrogates by name; adding one is a module and a line here. ``botorch:NAME`` takes one of BoTorch."""

ACQUISITIONS: Mapping[str, str] = {
    "auto": "autotune.engine.gp.acquisition.improvement:automatic",
    "thompson": "autotune.engine.gp.acquisition.thompson:Thompson",
}
"""Our acquisition functions by name; adding one is a module and a line here. ``botorch:NAME`` takes one of
BoTorch."""

REGIONS = ("auto", "on", "off")
"""Whether to search around the best configuration only: ``auto`` does so where there are many parameters."""

OPTIONS = ("initial", "surrogate", "acquisition", "repeat", "trust_region")
"""Fields of :class:`GPConfig` that a study file may set."""

_WITHDRAWN = {
    "sparse": "botorch:EnsembleMapSaasSingleTaskGP averages levels of shrinkage too",
    "random_trees": "no recorded run was better for it",
    "deep_ensemble": "no recorded run was better for it than for infinite_network",
    "forest": "it came within 5 % of the best in 57 % of its runs, auto in 91 %",
    "knowledge_gradient": "botorch:qKnowledgeGradient stands for it",
    "entropy_search": "botorch:qMaxValueEntropy stands for it",
}
"""What earlier versions had by these names, and why not any more; figures in ``benchmarks/README.md``."""


@dataclass(frozen=True)
class Structure:
    """Prior of a Gaussian process; all priors are normal on the logarithm.

    Args:
        length: Mean and standard deviation of each log length scale, ``log(sqrt(d))`` to be added.
        noise: The same of the variance that was not measured, of standardized values.
        parts: The same of the variance of one additive part per parameter; ``None`` without such parts.
        part_length: Length scale of the additive parts.
    """

    length: tuple[float, float] = (math.sqrt(2.0), math.sqrt(3.0))
    noise: tuple[float, float] = (-6.0, 2.0)
    parts: tuple[float, float] | None = None
    part_length: float = 0.6


JOINT = Structure()
"""All parameters together, and smooth, as in C. Hvarfner, E. O. Hellsten, L. Nardi, "Vanilla Bayesian
optimization performs great in high dimensions", ICML 2024."""

ADDITIVE = Structure(parts=(-2.0, 1.5))
"""The same plus one effect for each parameter."""

RUGGED = Structure(length=(-0.7, 0.7))
"""All parameters together, and each step may change much."""

NEARBY = Structure(length=(math.log(0.3), 0.5), noise=(-4.0, 0.5))
"""A failure speaks for its neighbourhood."""

EVERYWHERE = Structure(length=(math.log(0.5), 0.7), noise=(-4.0, 0.5), parts=(-2.0, 1.0))
"""A value may fail wherever it is taken."""


def _named(value: object, key: str) -> str:
    """Return the name of ours, or of BoTorch's, once it is known that there is such a thing."""
    allowed = list(SURROGATES if key == "surrogate" else ACQUISITIONS)
    if isinstance(value, str) and value.startswith(BOTORCH):
        from autotune.engine.gp.botorch_names import acquisition_class, model_class  # loads torch

        try:
            (model_class if key == "surrogate" else acquisition_class)(value.removeprefix(BOTORCH))
        except LookupError as error:
            raise SpecError(f"unknown {key} {value!r}: {error}") from None
        return value
    if value in _WITHDRAWN and value not in allowed:
        raise SpecError(
            f"{key} {value!r} was withdrawn: {_WITHDRAWN[value]}",
            hint=f"allowed: {', '.join(allowed)}, botorch:NAME",
        )
    return Choice([*allowed, f"{BOTORCH}NAME"]).read(value, key)


def _region(value: object, key: str) -> str:
    word = {"true": "on", "false": "off"}.get(str(value).lower())  # YAML may have made a truth value of it
    return Choice(REGIONS).read(word or value, key)


@dataclass(frozen=True)
class GPConfig(Section):
    """The design choices of the engine.

    Args:
        initial: Trials of the initial design, the default configuration included. Three by default: on
            replayed tables the surrogate spends the following trials better than a longer design does.
        surrogate: One of :data:`SURROGATES`, or ``botorch:NAME``.
        acquisition: One of :data:`ACQUISITIONS`, or ``botorch:NAME``.
        repeat: Whether a leading configuration may be measured again where launches differ by much.
        trust_region: One of :data:`REGIONS`.
        structures: Priors that the surrogate averages over, by their evidence.
        structures_of_many: The same where there are more than ``many`` parameters: few trials cannot say that
            many of them matter at every step.
        many: Parameters above which they are many.
        logarithms: Whether a number may act by its logarithm where that is not its rank.
        failures: Priors of the model of failures; none at all where it is empty.
        failure_threshold: Probability of a measurement below which a candidate is left alone while others
            remain, before the share of failures among the last trials is added.
        failure_threshold_most: Upper bound of that threshold; 0 for no threshold.
        waste: Failure cost: part of the goal that is given up to be spared a wasted trial. On replayed tables
            0.005 wastes a fifth more trials and 0.02 finds the best configurations beside a border of memory
            later.
        limit_launches: Launches that a limit is shown to hold by: the search's, two or more fresh ones, and
            what the model knows from other configurations. What lies nearer to a limit than they can show
            will not be recommended, so that it is not looked for either.
        limit_threshold: Probability to keep the limits below which a candidate is left alone while others
            remain, where no limit was broken of late.
        limit_threshold_rise: Factor on the share of broken limits of the last trials, added to it.
        limit_threshold_most: Upper bound of that threshold.
        recent: Trials that count as the last ones.
        trials: Trials that the models of one goal are fitted to at most; of more, the better half of so many
            and an even part of the others. Matrices grow with the square of it, the time of an ask with the
            cube: 390 MB and about 1 s at 1,000 trials of 22 parameters.
        outliers: Measurements from which one of them may be an outlier: before, each of them is news.
        predicted_from: Configurations measured from which the models predict for the recommendation.
    """

    initial: Annotated[int, Whole(1)] = 3
    surrogate: Annotated[str, By(_named, what="a name, or `botorch:NAME`")] = "auto"
    acquisition: Annotated[str, By(_named, what="a name, or `botorch:NAME`")] = "auto"
    repeat: Annotated[bool, Flag()] = False
    trust_region: Annotated[str, By(_region, what="a name")] = "auto"

    structures: tuple[Structure, ...] = field(default=(JOINT, ADDITIVE, RUGGED), repr=False)
    structures_of_many: tuple[Structure, ...] = field(default=(JOINT, ADDITIVE), repr=False)
    many: int = 15
    logarithms: bool = True
    failures: tuple[Structure, ...] = field(default=(NEARBY, EVERYWHERE), repr=False)
    failure_threshold: float = 0.4
    failure_threshold_most: float = 0.85
    waste: float = 0.01
    limit_launches: int = 6
    limit_threshold: float = 0.02
    limit_threshold_rise: float = 0.6
    limit_threshold_most: float = 0.6
    recent: int = 10
    trials: int = 400
    outliers: int = 8
    predicted_from: int = 4

    @classmethod
    def from_dict(cls, data: JsonObject, name: str = "gp") -> Self:
        """Read the options of a section.

        Args:
            data: The section without ``use`` and ``seed``.
            name: Name of the engine, for messages.

        Raises:
            SpecError: An option is unknown or wrong.
        """
        for key in data:
            if key not in OPTIONS:
                raise SpecError(
                    f"engine {name!r} has no option {key!r}; allowed: seed, {', '.join(OPTIONS)}",
                    path=(key,),
                    at_key=True,
                    hint=did_you_mean(str(key), ("seed", *OPTIONS)),
                )
        return super().from_dict(data)


def described(config: GPConfig) -> str:
    """Return every choice as ``name=value``, for a log; those by default as well."""
    shown = ((f.name, getattr(config, f.name)) for f in fields(config) if f.repr)
    return " ".join(f"{name}={value}" for name, value in shown)

"""The design choices of the ``gp`` engine in one frozen value, and what a study file may say of them.

A study file reads the first group (:data:`OPTIONS`). The others are ours, and an ablation is
``replace(config, ...)``; those that were taken away have their figures in ``benchmarks/README.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Annotated, Self

from autotune.core.json_object import JsonObject
from autotune.core.kinds import By, Choice, Flag, Whole
from autotune.core.section import Section
from autotune.engine.gp.choices import (
    ADDITIVE,
    EVERYWHERE,
    JOINT,
    NEARBY,
    RUGGED,
    STRUCTURES,
    HistoryConfig,
    StoppingConfig,
    Structure,
    TrustRegionConfig,
)
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
    "random_trees": "no recorded run speaks for it",
    "deep_ensemble": "infinite_network needed 2.1 (1.5) trials fewer, at a third of the time per ask",
    "forest": "it came within 5 % of the best in 57 % of its runs, auto in 91 %",
    "knowledge_gradient": "botorch:qKnowledgeGradient stands for it",
    "entropy_search": "botorch:qMaxValueEntropy stands for it",
}
"""What earlier versions had by these names, and why not any more; figures in ``benchmarks/README.md``."""


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
        logarithm_odds: Log odds against logarithms, by default 1 in 100: people list values by the steps that
            count.
        failures: Priors of the model of failures; none at all where it is empty.
        failure_variance: Variance of a failure's label: the same configuration nearly always fails the same
            way.
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
        outlier_odds: Log odds against an outlier, by default 1 in 150: what the gain in evidence has to beat.
        outlier_share: Share of the measurements that may be outliers.
        predicted_from: Configurations measured from which the models predict for the recommendation.
        belief_trials: Trials until what the user believes counts once. C. Hvarfner et al., "piBO", ICLR 2022,
            has a tenth of the budget, for budgets of hundreds.
        belief_least: Lower bound of what a value counts by it: a belief guides and never excludes.
        augment: Share of the sum in the scalarization of several goals (ParEGO's rho).
        reference_margin: Part of the front's range below its worst at which the hypervolume begins, as
            BoTorch has it.
        tie: Weight of the goal between candidates that are equally likely to keep the limits, while nothing
            keeps them.
        exact: Whether every allowed configuration is scored where they can be enumerated; a well-chosen part
            of them otherwise, as in a larger space.
        near: Whether that part is dense around the best configurations.
        climb: Whether local search goes on from the best of it.
        region: Growth of the trust region.
        history: Numbers in the place of what has no honest one.
        stopping: Bounds of what is left to gain.
    """

    initial: Annotated[int, Whole(1)] = 3
    surrogate: Annotated[str, By(_named, what="a name, or `botorch:NAME`")] = "auto"
    acquisition: Annotated[str, By(_named, what="a name, or `botorch:NAME`")] = "auto"
    repeat: Annotated[bool, Flag()] = False
    trust_region: Annotated[str, By(_region, what="a name")] = "auto"

    structures: tuple[Structure, ...] = (JOINT, ADDITIVE, RUGGED)
    structures_of_many: tuple[Structure, ...] = (JOINT, ADDITIVE)
    many: int = 15
    logarithms: bool = True
    logarithm_odds: float = 4.6
    failures: tuple[Structure, ...] = (NEARBY, EVERYWHERE)
    failure_variance: float = 0.01
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
    outlier_odds: float = 5.0
    outlier_share: float = 0.1
    predicted_from: int = 4
    belief_trials: float = 10.0
    belief_least: float = 1e-4
    augment: float = 0.05
    reference_margin: float = 0.1
    tie: float = 0.01
    exact: bool = True
    near: bool = True
    climb: bool = True
    region: TrustRegionConfig = field(default_factory=TrustRegionConfig)
    history: HistoryConfig = field(default_factory=HistoryConfig)
    stopping: StoppingConfig = field(default_factory=StoppingConfig)

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


DEFAULT = GPConfig()
"""Every choice by default."""


def described(config: GPConfig) -> str:
    """Return every choice as ``name=value``, for a log; those by default as well."""
    return " ".join(f"{f.name}={_text(getattr(config, f.name))}" for f in fields(config))


def _text(value: object) -> str:
    """Return a choice as text: the name of a structure that has one, and every part of what has parts."""
    if isinstance(value, tuple):
        return f"({','.join(map(_text, value))})"
    named = (name for name, structure in STRUCTURES.items() if structure == value)
    if (name := next(named, None)) is not None:
        return name
    if is_dataclass(value):
        return f"({','.join(f'{f.name}={_text(getattr(value, f.name))}' for f in fields(value))})"
    return str(value)

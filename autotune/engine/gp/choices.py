"""Design choices of the ``gp`` engine that belong together: the values that its configuration is made of."""

from __future__ import annotations

import math
from dataclasses import dataclass


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

STRUCTURES = {
    "joint": JOINT,
    "additive": ADDITIVE,
    "rugged": RUGGED,
    "nearby": NEARBY,
    "everywhere": EVERYWHERE,
}
"""The same by name, for a log."""


@dataclass(frozen=True)
class TrustRegionConfig:
    """Sizes of the box around the best configuration, in ranges of a parameter, and what changes them.

    Lengths, the successes waited for and the perturbation are those of D. Eriksson et al., "Scalable global
    optimization via local Bayesian optimization", NeurIPS 2019. It waits for as many failures as there are
    parameters, with budgets of thousands; ours are of tens.

    Args:
        parameters: Parameters with more than one value from which there is a region unless it is asked for
            or refused.
        first: Length at the start, and after it fell below the least.
        least: Lower bound of the length.
        most: Upper bound of the length.
        successes: Successes in a row that double the length.
        failures: Failures in a row that halve it.
        better: Relative gain that is a success.
        perturbed: Coordinates changed at most, on average, in a candidate near the best configurations.
    """

    parameters: int = 16
    first: float = 0.8
    least: float = 0.5**7
    most: float = 1.6
    successes: int = 3
    failures: int = 5
    better: float = 1e-3
    perturbed: float = 20.0


@dataclass(frozen=True)
class HistoryConfig:
    """The numbers that stand for trials without an honest one.

    Args:
        bad_tail: Interquartile ranges below the lower quartile at which a goal value is cut.
        nearest: Least size of the label of a failure, where next to no memory was missing.
        furthest: Largest size of that label; 1 is twice the memory that was there.
        projected: Multiple of a limit's bound that a measurement without an end counts as at least. Where a
            queue would be in ten minutes says that a configuration is worse than what was measured of
            others, not by how much: as a number it would dwarf every difference between them. It counts as
            the worst measured value.
    """

    bad_tail: float = 3.0
    nearest: float = 0.25
    furthest: float = 2.0
    projected: float = 2.0


@dataclass(frozen=True)
class StoppingConfig:
    """Bounds below which what is left to gain is little enough to stop.

    Args:
        measured: Trials below which nothing is said.
        close: Share in per cent below which what is left is small (A. Makarova et al., "Automatic termination
            for hyperparameter optimization", AutoML 2022).
        close_by_noise: The same in standard deviations of one measurement: nobody could show less by one.
        worth: Share in per cent below which one more trial is not worth it (V. Nguyen et al., "Regret for
            expected improvement over the best-observed value and stopping condition", ACML 2017).
        worth_by_noise: The same in standard deviations of one measurement.
        widen: Factor on the models' deviations, whatever leaving one out shows: the hyper-parameters are
            fitted, and to trials that lie close together where it is good. With it nine in ten of the bounds
            hold in ``benchmarks/calibration.py``, without it about 85 % on measured tables and the serving
            simulator; what no trial has hinted at, such as the one deep hole of a plain, no width covers.
        prior_trials: Trials that speak for the models' own width beside those that are left out.
    """

    measured: int = 4
    close: float = 5.0
    close_by_noise: float = 1.0
    worth: float = 0.3
    worth_by_noise: float = 0.1
    widen: float = 1.5
    prior_trials: float = 4.0

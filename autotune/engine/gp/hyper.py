"""Hyper-parameters of a Gaussian process, fitted by their exact gradient in milliseconds.

The covariance is a Matern-5/2 of all parameters together plus, where the structure has one, a sum of
Matern-5/2 of single parameters: measured serving configurations are nearly additive on the log scale
(what batching gains hardly depends on the number of bits), kernels and drafting are not.

References:
    [Rasmussen2006] C. E. Rasmussen, C. K. I. Williams, "Gaussian Processes for Machine Learning", 2006:
        equation 5.9 for the gradient.
    [Hvarfner2024] C. Hvarfner, E. O. Hellsten, L. Nardi, "Vanilla Bayesian optimization performs great in
        high dimensions", ICML 2024: length scales that grow with the square root of the dimension.
    [Duvenaud2011] D. Duvenaud, H. Nickisch, C. E. Rasmussen, "Additive Gaussian processes", NeurIPS 2011.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import solve_triangular
from scipy.optimize import minimize

Array = npt.NDArray[np.float64]

LEAST_NOISE = 1e-6
"""Variance added to every standardized value: keeps the covariance invertible."""

_ROOT5 = math.sqrt(5.0)
_LENGTHS = (math.log(0.025), 8.0)  # from one step of a finely graded parameter to no effect at all
_SCALES = (-6.0, 5.0)
_NOISES = (math.log(LEAST_NOISE), 2.0)
_PARTS = (-12.0, 4.0)
_STEPS = 60  # of the optimizer; a fit from so few points gains nothing from more


@dataclass(frozen=True)
class Structure:
    """Say what is believed of a surface before any data; priors are normal on the logarithm.

    Args:
        length: Mean and standard deviation of each log length scale, ``log(sqrt(d))`` to be added.
        noise: The same of the variance that was not measured, of standardized values.
        parts: The same of each parameter's own additive variance; ``None`` without an additive part.
        part_length: Length scale of the additive parts.
    """

    length: tuple[float, float] = (math.sqrt(2.0), math.sqrt(3.0))
    noise: tuple[float, float] = (-6.0, 2.0)
    parts: tuple[float, float] | None = None
    part_length: float = 0.6


JOINT = Structure()
"""All parameters together ([Hvarfner2024])."""

ADDITIVE = Structure(parts=(-2.0, 1.5))
"""The same plus one effect for each parameter."""


@dataclass(frozen=True)
class Hyper:
    """Hold fitted hyper-parameters of ``d`` parameters.

    Args:
        lengths: Length scales, shape ``d``.
        scale: Variance of the joint part.
        noise: Variance that was not measured.
        mean: Constant mean.
        parts: Variances of the additive parts, shape ``d``; zeros without any.
        part_length: Their length scale.
        log_posterior: Log density of the data and of these hyper-parameters.
    """

    lengths: Array
    scale: float
    noise: float
    mean: float
    parts: Array
    part_length: float
    log_posterior: float

    @property
    def additive(self) -> bool:
        """Whether there is an additive part."""
        return bool(self.parts.any())


def matern(distance: Array) -> Array:
    """Return the Matern-5/2 correlation at a distance in length scales, shape as ``distance``."""
    r = _ROOT5 * distance
    return (1.0 + r + r * r / 3.0) * np.exp(-r)


def fit_hyper(squares: Array, y: Array, yvar: Array, structure: Structure = JOINT) -> Hyper:
    """Return the hyper-parameters of the highest posterior density.

    Args:
        squares: Squared distances of the points in each parameter, ``d x n x n``.
        y: Standardized values, shape ``n``.
        yvar: Variances of their measuring errors; nan where unknown, shape ``n``.
        structure: What is believed beforehand.
    """
    problem = _Posterior(squares, y, np.where(np.isfinite(yvar), yvar, 0.0), structure)
    found = minimize(
        problem, problem.centre, jac=True, method="L-BFGS-B", bounds=problem.bounds,
        options={"maxiter": _STEPS, "ftol": 1e-6},
    )  # fmt: skip
    return problem.read(np.asarray(found.x), -float(found.fun))


class _Posterior:
    """The negative log posterior density of the hyper-parameters and its gradient."""

    def __init__(self, squares: Array, y: Array, yvar: Array, structure: Structure) -> None:
        self.squares, self.y, self.yvar, self.structure = squares, y, yvar, structure
        self.d, self.n = len(squares), len(y)
        mean, deviation = structure.length
        centre = [mean + 0.5 * math.log(max(1, self.d))] * self.d + [0.0, structure.noise[0]]
        spread = [deviation] * self.d + [1.0, structure.noise[1]]
        self.bounds = [_LENGTHS] * self.d + [_SCALES, _NOISES]
        if structure.parts is not None:
            centre += [structure.parts[0]] * self.d
            spread += [structure.parts[1]] * self.d
            self.bounds += [_PARTS] * self.d
            self.single = matern(np.sqrt(squares) / structure.part_length)
        self.centre, self.spread = np.array(centre), np.array(spread)

    def __call__(self, theta: Array) -> tuple[float, Array]:
        d, n = self.d, self.n
        weights, scale, noise = np.exp(-2.0 * theta[:d]), math.exp(theta[d]), math.exp(theta[d + 1])
        r = _ROOT5 * np.sqrt(np.maximum(np.tensordot(weights, self.squares, 1), 1e-20))
        decay = np.exp(-r)
        joint = scale * (1.0 + r + r * r / 3.0) * decay
        covariance = joint.copy()
        if self.structure.parts is not None:
            parts = np.exp(theta[d + 2 :])
            covariance += np.tensordot(parts, self.single, 1)
        covariance[np.diag_indices(n)] += noise + self.yvar + LEAST_NOISE
        try:
            factor = np.linalg.cholesky(covariance)
        except np.linalg.LinAlgError:
            return 1e10, np.zeros_like(theta)  # the line search steps back
        half = solve_triangular(factor, np.eye(n), lower=True)
        inverse = half.T @ half
        mean = _mean(inverse, self.y)
        alpha = inverse @ (self.y - mean)
        value = 0.5 * float((self.y - mean) @ alpha) + float(np.log(np.diag(factor)).sum()) + 0.5 * mean**2
        slope = np.outer(alpha, alpha) - inverse
        gradient = np.empty_like(theta)
        by_square = slope * (scale * (5.0 / 3.0) * (1.0 + r) * decay)
        gradient[:d] = -0.5 * (self.squares.reshape(d, -1) @ by_square.ravel()) * weights
        gradient[d] = -0.5 * float((slope * joint).sum())
        gradient[d + 1] = -0.5 * noise * float(np.trace(slope))
        if self.structure.parts is not None:
            gradient[d + 2 :] = -0.5 * parts * (self.single.reshape(d, -1) @ slope.ravel())
        z = (theta - self.centre) / self.spread
        return value + 0.5 * float(z @ z), gradient + z / self.spread

    def read(self, theta: Array, log_posterior: float) -> Hyper:
        """Return a point as hyper-parameters."""
        d = self.d
        structure = self.structure
        parts = np.zeros(d) if structure.parts is None else np.exp(theta[d + 2 :])
        lengths, scale, noise = np.exp(theta[:d]), math.exp(theta[d]), math.exp(theta[d + 1])
        r = np.sqrt(np.tensordot(lengths**-2.0, self.squares, 1))
        covariance = scale * matern(r)
        if structure.parts is not None:
            covariance += np.tensordot(parts, self.single, 1)
        covariance[np.diag_indices(self.n)] += noise + self.yvar + LEAST_NOISE
        mean = _mean(np.linalg.inv(covariance), self.y)
        return Hyper(lengths, scale, noise, mean, parts, structure.part_length, log_posterior)


def _mean(inverse: npt.NDArray[np.floating], y: Array) -> float:
    """Return the constant mean under its own standard normal prior."""
    ones = inverse.sum(1)
    return float(ones @ y / (ones.sum() + 1.0))

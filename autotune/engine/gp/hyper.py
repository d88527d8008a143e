"""Hyper-parameters of a Gaussian process, fitted by their exact gradient in milliseconds.

The covariance is a Matern-5/2 of all parameters together plus, where the structure has them, a sum of
Matern-5/2 of single parameters or of pairs: measured serving configurations are nearly additive on the log
scale (what batching gains hardly depends on the number of bits), kernels and drafting are not.

References:
    [Rasmussen2006] C. E. Rasmussen, C. K. I. Williams, "Gaussian Processes for Machine Learning", 2006:
        equation 5.9 for the gradient.
    [MacKay1992] D. J. C. MacKay, "Bayesian interpolation", Neural Computation 4: the evidence of a model by
        Laplace's approximation, here with the expected Hessian.
    [Hvarfner2024] C. Hvarfner, E. O. Hellsten, L. Nardi, "Vanilla Bayesian optimization performs great in
        high dimensions", ICML 2024: length scales that grow with the square root of the dimension.
    [Eriksson2021] D. Eriksson, M. Jankowiak, "High-dimensional Bayesian optimization with sparse
        axis-aligned subspaces", UAI 2021: a half-Cauchy prior on inverse squared length scales.
    [Duvenaud2011] D. Duvenaud, H. Nickisch, C. E. Rasmussen, "Additive Gaussian processes", NeurIPS 2011.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg.lapack import dpotrf, dpotri
from scipy.optimize import minimize

Array = npt.NDArray[np.float64]
Part = tuple[int, ...]
"""Parameters that one additive part is a function of."""

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
        parts: The same of each additive part's variance; ``None`` without additive parts.
        part_length: Length scale of the additive parts.
        pairs: Which parameters the parts are functions of; each one alone where it is empty.
        shrinkage: Scale of a half-Cauchy prior on inverse squared length scales, in place of ``length``
            ([Eriksson2021]): few parameters matter, and those may matter much.
    """

    length: tuple[float, float] = (math.sqrt(2.0), math.sqrt(3.0))
    noise: tuple[float, float] = (-6.0, 2.0)
    parts: tuple[float, float] | None = None
    part_length: float = 0.6
    pairs: tuple[Part, ...] = ()
    shrinkage: float | None = None

    def members(self, d: int) -> tuple[Part, ...]:
        """Return the parameters of each additive part, of ``d`` parameters in all."""
        if self.parts is None:
            return ()
        return self.pairs or tuple((i,) for i in range(d))


JOINT = Structure()
"""All parameters together, and smooth ([Hvarfner2024])."""

ADDITIVE = Structure(parts=(-2.0, 1.5))
"""The same plus one effect for each parameter."""

RUGGED = Structure(length=(-0.7, 0.7))
"""All parameters together, and each step may change much."""

SPARSE = Structure(shrinkage=0.01)
"""Few parameters matter ([Eriksson2021])."""


@dataclass(frozen=True)
class Hyper:
    """Hold fitted hyper-parameters of ``d`` parameters.

    Args:
        lengths: Length scales, shape ``d``.
        scale: Variance of the joint part.
        noise: Variance that was not measured.
        mean: Constant mean.
        parts: Variances of the additive parts, shape ``p``.
        members: Parameters of each additive part.
        part_length: Their length scale.
        log_evidence: Log probability of the data under the structure ([MacKay1992]).
    """

    lengths: Array
    scale: float
    noise: float
    mean: float
    parts: Array
    members: tuple[Part, ...]
    part_length: float
    log_evidence: float


def matern(distance: Array) -> Array:
    """Return the Matern-5/2 correlation at a distance in length scales, shape as ``distance``."""
    r = _ROOT5 * distance
    return (1.0 + r + r * r / 3.0) * np.exp(-r)


def prior_covariance(squares: Array, hyper: Hyper) -> Array:
    """Return the covariance of the noise-free values, ``n x n``, from squared distances ``d x n x n``."""
    total = hyper.scale * matern(np.sqrt(np.tensordot(hyper.lengths**-2.0, squares, 1)))
    for variance, members in zip(hyper.parts, hyper.members, strict=True):
        total = total + variance * matern(np.sqrt(squares[list(members)].sum(0)) / hyper.part_length)
    return total


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
        problem, problem.start, jac=True, method="L-BFGS-B", bounds=problem.bounds,
        options={"maxiter": _STEPS, "ftol": 1e-6},
    )  # fmt: skip
    return problem.read(np.asarray(found.x), -float(found.fun))


@dataclass(frozen=True)
class _State:
    """Hold what the density, its gradient and its curvature share at one point."""

    weights: Array  # inverse squared length scales
    joint: Array
    by_square: Array  # derivative of the joint part by the weighted squared distance, times -2
    parts: Array
    noise: float
    inverse: Array
    half_log_det: float


class _Posterior:
    """The negative log posterior density of the hyper-parameters and its gradient."""

    def __init__(self, squares: Array, y: Array, yvar: Array, structure: Structure) -> None:
        self.squares, self.y, self.yvar, self.structure = squares, y, yvar, structure
        self.d, self.n = len(squares), len(y)
        self.flat = np.ascontiguousarray(squares.reshape(self.d, -1))
        self.members = structure.members(self.d)
        mean, deviation = structure.length
        centre = [mean + 0.5 * math.log(max(1, self.d))] * self.d + [0.0, structure.noise[0]]
        if structure.shrinkage is not None:
            centre[: self.d] = [-0.5 * math.log(structure.shrinkage)] * self.d
        spread = [deviation] * self.d + [1.0, structure.noise[1]]
        self.bounds = [_LENGTHS] * self.d + [_SCALES, _NOISES]
        if structure.parts is not None:
            centre += [structure.parts[0]] * len(self.members)
            spread += [structure.parts[1]] * len(self.members)
            self.bounds += [_PARTS] * len(self.members)
            single = [matern(np.sqrt(squares[list(m)].sum(0)) / structure.part_length) for m in self.members]
            self.single = np.stack(single).reshape(len(self.members), -1)
        self.centre, self.spread = np.array(centre), np.array(spread)
        self.start = self.centre.copy()
        if structure.shrinkage is not None:  # at its mode nothing matters, and no gradient says what might
            self.start[: self.d] = 0.5 * math.log(max(1, self.d))

    def _state(self, theta: Array) -> _State | None:
        d, n = self.d, self.n
        weights, scale, noise = np.exp(-2.0 * theta[:d]), math.exp(theta[d]), math.exp(theta[d + 1])
        r = _ROOT5 * np.sqrt(np.maximum(weights @ self.flat, 1e-20)).reshape(n, n)
        decay = scale * np.exp(-r)
        joint = (1.0 + r + r * r / 3.0) * decay
        parts = np.exp(theta[d + 2 :])
        covariance = joint + (parts @ self.single).reshape(n, n) if len(parts) else joint.copy()
        covariance[np.diag_indices(n)] += noise + self.yvar + LEAST_NOISE
        factor, info = dpotrf(covariance, lower=1)
        if info:
            return None
        half_log_det = float(np.log(np.diag(factor)).sum())
        inverse, _ = dpotri(factor, lower=1)
        inverse = np.tril(inverse) + np.tril(inverse, -1).T
        return _State(weights, joint, (5.0 / 3.0) * (1.0 + r) * decay, parts, noise, inverse, half_log_det)

    def __call__(self, theta: Array) -> tuple[float, Array]:
        d = self.d
        state = self._state(theta)
        if state is None:
            return 1e10, np.zeros_like(theta)  # the line search steps back
        inverse = state.inverse
        mean = _mean(inverse, self.y)
        alpha = inverse @ (self.y - mean)
        value = 0.5 * float((self.y - mean) @ alpha) + state.half_log_det + 0.5 * mean**2
        slope = np.outer(alpha, alpha) - inverse
        gradient = np.empty_like(theta)
        gradient[:d] = -0.5 * (self.flat @ (slope * state.by_square).ravel()) * state.weights
        gradient[d] = -0.5 * float((slope * state.joint).sum())
        gradient[d + 1] = -0.5 * state.noise * float(np.trace(slope))
        if len(state.parts):
            gradient[d + 2 :] = -0.5 * state.parts * (self.single @ slope.ravel())
        prior, prior_gradient, _ = self._prior(theta)
        return value + prior, gradient + prior_gradient

    def _prior(self, theta: Array) -> tuple[float, Array, Array]:
        """Return the negative log prior density, its gradient and its curvature in each coordinate."""
        z = (theta - self.centre) / self.spread
        values, gradient, curvature = 0.5 * z * z, z / self.spread, self.spread**-2.0
        if self.structure.shrinkage is not None:
            d = self.d
            shift = theta[:d] - self.centre[:d]  # 1 / (1 + s**2) with s = exp(-2 shift), Jacobian included
            values[:d] = np.logaddexp(0.0, -4.0 * shift) + 2.0 * shift - math.log(2.0)
            gradient[:d] = 2.0 * np.tanh(2.0 * shift)
            curvature[:d] = 4.0 / np.cosh(np.clip(2.0 * shift, -50.0, 50.0)) ** 2
        return float(values.sum()), gradient, curvature

    def _log_volume(self, theta: Array, state: _State) -> float:
        """Return by what the evidence differs from the density: how much of the prior is left.

        The Hessian of the likelihood is the expected one, which is never negative: half the trace of
        ``K^-1 dK_i K^-1 dK_j``.
        """
        n, d = self.n, self.d
        by_length = state.by_square.ravel() * self.flat * state.weights[:, None]
        slopes = [*by_length, state.joint.ravel(), state.noise * np.eye(n).ravel()]
        if len(state.parts):
            slopes += [*(state.parts[:, None] * self.single)]
        scaled = [(state.inverse @ slope.reshape(n, n)) for slope in slopes]
        left = np.stack([m.ravel() for m in scaled])
        right = np.stack([m.T.ravel() for m in scaled])
        spread = self.spread.copy()
        _, _, curvature = self._prior(theta)
        if self.structure.shrinkage is not None:
            spread[:d] = 1.0 / 2.0  # a normal prior of the same curvature at its mode
        information = 0.5 * (left @ right.T) * np.outer(spread, spread)
        information[np.diag_indices(len(theta))] += np.maximum(curvature * spread**2, 0.05)
        sign, log_det = np.linalg.slogdet(0.5 * (information + information.T))
        return -0.5 * float(log_det) if sign > 0 else 0.0

    def read(self, theta: Array, log_posterior: float) -> Hyper:
        """Return a point as hyper-parameters.

        Raises:
            ArithmeticError: The covariance is not positive definite there.
        """
        d = self.d
        state = self._state(theta)
        if state is None:
            raise ArithmeticError("the covariance of the trials is not positive definite")
        return Hyper(
            lengths=np.exp(theta[:d]),
            scale=math.exp(theta[d]),
            noise=state.noise,
            mean=_mean(state.inverse, self.y),
            parts=state.parts,
            members=self.members,
            part_length=self.structure.part_length,
            log_evidence=log_posterior + self._log_volume(theta, state),
        )


def _mean(inverse: npt.NDArray[np.floating], y: Array) -> float:
    """Return the constant mean under its own standard normal prior."""
    ones = inverse.sum(1)
    return float(ones @ y / (ones.sum() + 1.0))

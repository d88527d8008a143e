"""Hyper-parameters of a Gaussian process, fitted by their exact gradient in milliseconds.

The covariance is a Matern-5/2 of all parameters together plus, where the structure has them, a sum of
Matern-5/2 of single parameters: measured serving configurations are nearly additive on the log
scale (what batching gains hardly depends on the number of bits), kernels and drafting are not.

References:
    [Rasmussen2006] C. E. Rasmussen, C. K. I. Williams, "Gaussian Processes for Machine Learning", 2006:
        equation 5.9 for the gradient.
    [MacKay1992] D. J. C. MacKay, "Bayesian interpolation", Neural Computation 4: the evidence of a model by
        Laplace's approximation, here with the expected Hessian.
    [Hvarfner2024] C. Hvarfner, E. O. Hellsten, L. Nardi, "Vanilla Bayesian optimization performs great in
        high dimensions", ICML 2024: length scales that grow with the square root of the dimension.
    [Duvenaud2011] D. Duvenaud, H. Nickisch, C. E. Rasmussen, "Additive Gaussian processes", NeurIPS 2011.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.linalg.blas import dsymv, dsyr
from scipy.linalg.lapack import dpotrf, dpotri
from scipy.optimize import minimize

from autotune.engine.gp.choices import JOINT, Structure

Array = npt.NDArray[np.float64]
LEAST_NOISE = 1e-6
"""Variance added to every standardized value: keeps the covariance invertible."""

FIT_MOST = 150
"""Trials that hyper-parameters are fitted to: more cost cubically and change them little."""

_ROOT5 = math.sqrt(5.0)
_LENGTHS = (math.log(0.025), 8.0)  # from one step of a finely graded parameter to no effect at all
_SCALES = (-6.0, 5.0)
_NOISES = (math.log(LEAST_NOISE), 2.0)
_PARTS = (-12.0, 4.0)
_KEPT = 8  # fits
_STEPS = 60  # of the optimizer; a fit from so few points gains nothing from more


@dataclass(frozen=True)
class Hyper:
    """Fitted hyper-parameters of ``d`` parameters.

    Args:
        lengths: Length scales, shape ``d``.
        scale: Variance of the joint part.
        noise: Variance that was not measured.
        mean: Constant mean.
        parts: Variances of the additive parts, shape ``d``; empty where the structure has none.
        part_length: Their length scale.
        log_evidence: Log probability of the data under the structure ([MacKay1992]).
        structure: Structure with its priors.
    """

    lengths: Array
    scale: float
    noise: float
    mean: float
    parts: Array
    part_length: float
    log_evidence: float
    structure: Structure = JOINT


Fit: TypeAlias = Callable[[Array, Array, Array, Structure], Hyper]
"""Fits hyper-parameters to squared distances (``d x n x n``), values and variances of their errors."""


def matern(distance: Array) -> Array:
    """Return the Matern-5/2 correlation at a distance in length scales, shape as ``distance``."""
    r = _ROOT5 * distance
    return (1.0 + r + r * r / 3.0) * np.exp(-r)


def prior_covariance(squares: Array, hyper: Hyper) -> Array:
    """Return the covariance of the noise-free values, ``n x n``, from squared distances ``d x n x n``."""
    total = hyper.scale * matern(np.sqrt(np.tensordot(hyper.lengths**-2.0, squares, 1)))
    for variance, square in zip(hyper.parts, squares, strict=False):
        total = total + variance * matern(np.sqrt(square) / hyper.part_length)
    return total


def fit_hyper(squares: Array, y: Array, yvar: Array, structure: Structure = JOINT) -> Hyper:
    """Return the hyper-parameters of the highest posterior density.

    Args:
        squares: Squared distances of the points in each parameter, ``d x n x n``.
        y: Standardized values, shape ``n``.
        yvar: Variances of their measuring errors; nan where unknown, shape ``n``.
        structure: Structure with its priors.
    """
    yvar = np.where(np.isfinite(yvar), yvar, 0.0)
    data = blake2b(repr(squares.shape).encode())
    for part in (squares, y, yvar):
        data.update(np.ascontiguousarray(part).tobytes())
    key = data.digest(), structure
    found = _FITTED.get(key)
    if found is None:
        found = _FITTED[key] = _fitted(squares, y, yvar, structure)
        for oldest in list(_FITTED)[:-_KEPT]:
            _FITTED.pop(oldest, None)
    return found


def hyper_samples(squares: Array, y: Array, yvar: Array, hyper: Hyper, n: int, seed: int) -> list[Hyper]:
    """Return draws of hyper-parameters that explain the data too, by Laplace's approximation ([MacKay1992]).

    Args:
        squares: Squared distances of the points in each parameter, ``d x n x n``.
        y: Standardized values, shape ``n``.
        yvar: Variances of their measuring errors, shape ``n``.
        hyper: Hyper-parameters of the highest posterior density.
        n: Number of draws.
        seed: Seed of the draws.

    Returns:
        ``n`` of them; the most probable one in the place of a draw that gives no covariance.
    """
    problem = HyperPosterior(squares, y, yvar, hyper.structure)
    found = problem.nearby(problem.theta_of(hyper), n, np.random.default_rng(seed))
    return found + [hyper] * (n - len(found))


_FITTED: dict[tuple[bytes, Structure], Hyper] = {}
"""Recent fits by a digest of their data: outliers and surrogates are fitted to the same data."""


def _fitted(squares: Array, y: Array, yvar: Array, structure: Structure) -> Hyper:
    problem = HyperPosterior(squares, y, yvar, structure)
    # In units of the prior's deviations the optimizer finds higher densities, and the engine worse
    # configurations: over 155 paired runs 5 % of the best was reached 1.2 (0.6) trials later.
    found = minimize(
        problem, problem.start, jac=True, method="L-BFGS-B", bounds=problem.bounds,
        options={"maxiter": _STEPS, "ftol": 1e-5},
    )  # fmt: skip
    return problem.read(np.asarray(found.x), -float(found.fun))


@dataclass(frozen=True)
class _State:
    """The terms that the density, its gradient and its curvature share at one point.

    Matrices are symmetric, so that only their lower triangles are computed, as vectors; ``inverse`` is a
    matrix whose upper triangle means nothing.
    """

    weights: Array  # inverse squared length scales
    joint: Array
    by_square: Array  # derivative of the joint part by the weighted squared distance, times -2
    parts: Array
    noise: float
    inverse: Array
    half_log_det: float


class HyperPosterior:
    """The negative log posterior density of the hyper-parameters and its gradient.

    Args:
        squares: Squared distances of the points in each parameter, ``d x n x n``.
        y: Standardized values, shape ``n``.
        yvar: Variances of their measuring errors, shape ``n``.
        structure: Structure with its priors.
    """

    def __init__(self, squares: Array, y: Array, yvar: Array, structure: Structure) -> None:
        self.y, self.yvar, self.structure = y, yvar, structure
        self.d, self.n = len(squares), len(y)
        row, column = np.tril_indices(self.n)
        self.place = row + self.n * column  # of each element of the lower triangle, column by column
        self.mirrored = column + self.n * row
        self.diagonal = np.flatnonzero(row == column)
        self.times = np.full(len(row), 2.0)  # each element stands for itself and its mirror image
        self.times[self.diagonal] = 1.0
        self.flat = np.ascontiguousarray(squares[:, row, column])
        mean, deviation = structure.length
        centre = [mean + 0.5 * math.log(max(1, self.d))] * self.d + [0.0, structure.noise[0]]
        spread = [deviation] * self.d + [1.0, structure.noise[1]]
        self.bounds = [_LENGTHS] * self.d + [_SCALES, _NOISES]
        if structure.parts is not None:
            centre += [structure.parts[0]] * self.d
            spread += [structure.parts[1]] * self.d
            self.bounds += [_PARTS] * self.d
            self.single = matern(np.sqrt(self.flat) / structure.part_length)
        self.centre, self.spread = np.array(centre), np.array(spread)
        self.start = self.centre.copy()

    def _state(self, theta: Array) -> _State | None:
        d, n = self.d, self.n
        weights, scale, noise = np.exp(-2.0 * theta[:d]), math.exp(theta[d]), math.exp(theta[d + 1])
        r = weights @ self.flat
        np.sqrt(np.maximum(r, 1e-20, out=r), out=r)
        r *= _ROOT5
        decay = np.exp(-r)
        decay *= scale
        rising = (1.0 + r) * decay
        joint = r * r
        joint *= decay
        joint /= 3.0
        joint += rising
        parts = np.exp(theta[d + 2 :])
        lower = joint + parts @ self.single if len(parts) else joint.copy()
        lower[self.diagonal] += noise + self.yvar + LEAST_NOISE
        covariance = np.zeros(n * n)
        covariance[self.place] = lower
        factor, info = dpotrf(covariance.reshape(n, n, order="F"), lower=1, overwrite_a=1)
        if info:
            return None
        half_log_det = float(np.log(np.diag(factor)).sum())
        inverse, _ = dpotri(factor, lower=1, overwrite_c=1)
        return _State(weights, joint, (5.0 / 3.0) * rising, parts, noise, inverse, half_log_det)

    def _mean(self, inverse: Array) -> tuple[float, Array]:
        """Return the constant mean under its own standard normal prior, and the residuals' weights."""
        ones, weights = dsymv(1.0, inverse, np.ones(self.n), lower=1), dsymv(1.0, inverse, self.y, lower=1)
        mean = float(ones @ self.y / (ones.sum() + 1.0))
        return mean, weights - mean * ones

    def __call__(self, theta: Array) -> tuple[float, Array]:
        """Return the negative log density at a point, up to a constant, and its gradient, shape ``p``."""
        d = self.d
        state = self._state(theta)
        if state is None:
            return 1e10, np.zeros_like(theta)  # the line search steps back
        mean, alpha = self._mean(state.inverse)
        value = 0.5 * float((self.y - mean) @ alpha) + state.half_log_det + 0.5 * mean**2
        slope = self._lower(dsyr(-1.0, alpha, lower=1, a=state.inverse, overwrite_a=1))
        slope *= self.times  # of the inverse, which is not needed any more, less alpha alpha'
        gradient = np.empty_like(theta)
        gradient[:d] = 0.5 * (self.flat @ (slope * state.by_square)) * state.weights
        gradient[d] = 0.5 * float(slope @ state.joint)
        gradient[d + 1] = 0.5 * state.noise * float(slope[self.diagonal].sum())
        if len(state.parts):
            gradient[d + 2 :] = 0.5 * state.parts * (self.single @ slope)
        prior, prior_gradient, _ = self._prior(theta)
        return value + prior, gradient + prior_gradient

    def _prior(self, theta: Array) -> tuple[float, Array, Array]:
        """Return the negative log prior density, its gradient and its curvature in each coordinate."""
        z = (theta - self.centre) / self.spread
        values, gradient, curvature = 0.5 * z * z, z / self.spread, self.spread**-2.0
        return float(values.sum()), gradient, curvature

    def _log_volume(self, theta: Array, state: _State) -> float:
        """Return by what the evidence differs from the density: how much of the prior is left."""
        sign, log_det = np.linalg.slogdet(self._information(theta, state))
        return -0.5 * float(log_det) if sign > 0 else 0.0

    def _information(self, theta: Array, state: _State) -> Array:
        """Return the precision of the hyper-parameters in units of their prior deviations.

        The Hessian of the likelihood is the expected one, which is never negative: half the trace of
        ``K^-1 dK_i K^-1 dK_j``.
        """
        d = self.d
        slopes = np.zeros((len(theta), len(self.place)))
        np.multiply(state.by_square * state.weights[:, None], self.flat, out=slopes[:d])
        slopes[d] = state.joint
        slopes[d + 1, self.diagonal] = state.noise
        if len(state.parts):
            np.multiply(state.parts[:, None], self.single, out=slopes[d + 2 :])
        inverse = self._whole(self._lower(state.inverse))
        products = np.empty((len(theta), self.n, self.n))
        mirrored = np.empty_like(products)
        for product, mirror, slope in zip(products, mirrored, slopes, strict=True):
            np.matmul(self._whole(slope), inverse, out=product)
            mirror[:] = product.T
        information = products.reshape(len(theta), -1) @ mirrored.reshape(len(theta), -1).T
        spread = self.spread.copy()
        _, _, curvature = self._prior(theta)
        information *= 0.5 * np.outer(spread, spread)
        information[np.diag_indices(len(theta))] += np.maximum(curvature * spread**2, 0.05)
        symmetric: Array = 0.5 * (information + information.T)
        return symmetric

    def _whole(self, lower: Array) -> Array:
        """Return a symmetric matrix from its lower triangle."""
        matrix = np.empty(self.n * self.n)
        matrix[self.place] = lower
        matrix[self.mirrored] = lower
        return matrix.reshape(self.n, self.n)

    def _lower(self, matrix: Array) -> Array:
        """Return the lower triangle of a matrix that is stored column by column."""
        found: Array = matrix.ravel(order="F").take(self.place)
        return found

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
            mean=self._mean(state.inverse)[0],
            parts=state.parts,
            part_length=self.structure.part_length,
            log_evidence=log_posterior + self._log_volume(theta, state),
            structure=self.structure,
        )

    def theta_of(self, hyper: Hyper) -> Array:
        """Return hyper-parameters as a point."""
        scales = np.log([hyper.scale, hyper.noise])
        return np.concatenate([np.log(hyper.lengths), scales, np.log(hyper.parts)])

    def nearby(self, theta: Array, n: int, rng: np.random.Generator) -> list[Hyper]:
        """Return ``n`` draws of what else the data allow, by Laplace's approximation at a point."""
        state = self._state(theta)
        if state is None:
            return []
        factor = np.linalg.cholesky(self._information(theta, state))
        drawn = np.linalg.solve(factor.T, rng.standard_normal((len(theta), n))).T * self.spread
        low, high = np.array(self.bounds).T
        points = np.clip(theta + drawn, low, high)
        return [self.read(point, 0.0) for point in points if self._state(point) is not None]

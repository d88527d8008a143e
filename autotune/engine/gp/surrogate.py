"""What a measured quantity is over the encoded space: exact Gaussian processes, averaged over structures.

No single structure wins: with few points smooth, additive and rugged surfaces look alike. So one process of
each is fitted and they are averaged by their evidence; with more points one of them leads.

References:
    [Balandat2020] M. Balandat et al., "BoTorch", NeurIPS 2020.
    [Hoeting1999] J. A. Hoeting et al., "Bayesian model averaging: a tutorial", Statistical Science 14 (1999).
    [Ziomek2023] J. Ziomek, H. Bou-Ammar, "Are random decompositions all we need in high dimensional Bayesian
        optimisation?", ICML 2023: random trees of pairs (RDUCB).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache, partial

import numpy as np
import torch
from botorch.models import SingleTaskGP
from threadpoolctl import ThreadpoolController
from torch import Tensor

from autotune.engine.gp.encode import Columns
from autotune.engine.gp.hyper import ADDITIVE, JOINT, RUGGED, Part, Structure, fit_hyper
from autotune.engine.gp.kernels import Groups, MaternSum, squared_distances
from autotune.engine.gp.posterior import leading
from autotune.engine.gp.surrogates.processes import Processes, process

STRUCTURES = (JOINT, ADDITIVE, RUGGED)
"""What a surface of a few parameters may be."""

STRUCTURES_OF_MANY = (JOINT, ADDITIVE)
"""The same of many parameters: few trials cannot say that many of them matter at every step."""

MANY = 15
"""Parameters above which they are many."""

TREES = 4
"""Random decompositions that are averaged."""

_DOUBT = 4.6  # log odds against logarithms, 1 in 100: people list values by the steps that count
_FIT_MOST = 150  # trials that hyper-parameters are fitted to: more cost cubically and change them little


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch and the linear algebra of numpy and scipy on one thread.

    Matrices this small are slower on several, and trials need the others: a second thread of OpenBLAS waits
    in a loop for a core that is taken, and an ask of 0.12 s took 30 s. Rounding no longer depends on how many
    cores there are, either.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with _thread_pools().limit(limits=1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before)


@lru_cache(maxsize=1)
def _thread_pools() -> ThreadpoolController:
    """Return the thread pools of this process; looking for them takes longer than setting them."""
    return ThreadpoolController()


def fit(
    X: Tensor, Y: Tensor, Yvar: Tensor, groups: Groups | None = None, structure: Structure = JOINT
) -> SingleTaskGP:
    """Fit one process.

    The noise is the measured variance plus a learned one for what differs between launches.

    Args:
        X: Encoded configurations, ``n x k``.
        Y: Standardized values, ``n x 1``.
        Yvar: Measured variances on that scale, ``n x 1``; nan where none is known.
        groups: Columns of each parameter; by default each column is one.
        structure: What is believed beforehand.

    Returns:
        The model in evaluation mode.
    """
    return Surrogate(X, Y, Yvar, groups, (structure,)).models[0]


class Surrogate(Processes):
    """Hold one quantity as a mixture of processes.

    Args:
        X: Encoded configurations, ``n x k``.
        Y: Standardized values, ``n x 1``.
        Yvar: Measured variances on that scale, ``n x 1``; nan where none is known.
        groups: Columns of each parameter; by default each column is one.
        structures: What may be believed beforehand; by the number of parameters where it is not given.

    Attributes:
        models: The processes that count, in the order of ``structures``.
        log_weights: Logarithms of their probabilities, shape ``len(models)``.
    """

    def __init__(
        self,
        X: Tensor,
        Y: Tensor,
        Yvar: Tensor,
        groups: Groups | None = None,
        structures: Sequence[Structure] | None = None,
    ) -> None:
        groups = groups or [slice(i, i + 1) for i in range(X.shape[-1])]
        if structures is None:
            structures = STRUCTURES if len(groups) <= MANY else STRUCTURES_OF_MANY
        rows = leading(Y.squeeze(-1), _FIT_MOST)
        squares = squared_distances(X[rows], groups)
        y, yvar = Y[rows, 0].numpy(), Yvar[rows, 0].numpy()
        found = [(fit_hyper(squares, y, yvar, structure), groups) for structure in structures]
        other = groups.other if isinstance(groups, Columns) else None
        if other is not None:  # the same by logarithms, for the structure that explains the data best
            best = max(range(len(found)), key=lambda i: found[i][0].log_evidence)
            squares = squared_distances(X[rows], other)
            by_logarithms = fit_hyper(squares, y, yvar, structures[best])
            doubted = replace(by_logarithms, log_evidence=by_logarithms.log_evidence - _DOUBT)
            found.append((doubted, other))
        if len(X) > _FIT_MOST:  # so many trials say which it is
            found = [max(found, key=lambda pair: pair[0].log_evidence)]
        models = [process(X, Y, Yvar, MaternSum(h, columns), h.noise, h.mean) for h, columns in found]
        super().__init__(models, [hyper.log_evidence for hyper, _ in found])


smooth = partial(Surrogate, structures=(JOINT,))
additive = partial(Surrogate, structures=(ADDITIVE,))
rugged = partial(Surrogate, structures=(RUGGED,))
sparse = partial(Surrogate, structures=tuple(Structure(shrinkage=s) for s in (0.1, 0.01, 0.001)))
"""Sparse axis-aligned: the level of shrinkage is averaged over."""


def random_trees(X: Tensor, Y: Tensor, Yvar: Tensor, groups: Groups | None = None) -> Surrogate:
    """Return a surface of effects of pairs of parameters, the pairs being random trees ([Ziomek2023])."""
    d = X.shape[-1] if groups is None else len(groups)
    rng = np.random.default_rng([d, len(X)])
    structures = [Structure(parts=(-3.0, 1.5), pairs=random_tree(d, rng)) for _ in range(TREES)]
    return Surrogate(X, Y, Yvar, groups, structures)


def random_tree(d: int, rng: np.random.Generator) -> tuple[Part, ...]:
    """Return the ``d - 1`` edges of a random tree over ``d`` parameters; one part where ``d`` is 1."""
    order = rng.permutation(d)
    edges = [(int(order[rng.integers(i)]), int(order[i])) for i in range(1, d)]
    return tuple(edges) or ((0,),)

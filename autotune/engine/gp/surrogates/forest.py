"""A forest of extremely randomized trees, each of them one function that may be the true one.

A tree cuts the space at random places that tell the values apart. The values of its leaves are drawn from
their posterior: the mean of a node is that of its parent plus a difference that gets smaller with depth, and
the measurements in it say what they say with their noise. So a single noisy value bends nothing, and trees
disagree where there are few measurements.

References:
    [Geurts2006] P. Geurts, D. Ernst, L. Wehenkel, "Extremely randomized trees", Machine Learning 63 (2006).
    [Hutter2014] F. Hutter, L. Xu, H. H. Hoos, K. Leyton-Brown, "Algorithm runtime prediction: methods and
        evaluation", Artificial Intelligence 206 (2014): forests as surrogates, random places of cuts.
    [Lakshminarayanan2014] B. Lakshminarayanan, D. M. Roy, Y. W. Teh, "Mondrian forests: efficient online
        random forests", NIPS 2014: hierarchical posteriors of the nodes' means.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.tree import ExtraTreeRegressor
from torch import Tensor

from autotune.engine.gp.kernels import Groups
from autotune.engine.gp.surrogates.functions import Functions
from autotune.engine.gp.surrogates.ordinary import ordinary
from autotune.engine.gp.surrogates.processes import total_noise

Narrow = npt.NDArray[np.float32]
Array = npt.NDArray[np.float64]

TREES = 64
"""Trees: their covariance has as many dimensions, less one."""

_COLUMNS = 0.8  # share of the columns that a cut is chosen from: [Hutter2014] take five sixths
_DECAY = 0.6  # prior variance of a node's difference from its parent, over that of its parent's difference
_TOP = 0.5  # the same of the root's children


class Forest(Functions):
    """Hold one quantity as a forest.

    Args:
        X: Encoded configurations, ``n x k``.
        Y: Standardized values, ``n x 1``.
        Yvar: Measured variances on that scale, ``n x 1``; nan where none is known.
        groups: Columns of each parameter; by default each column is one.
    """

    def __init__(self, X: Tensor, Y: Tensor, Yvar: Tensor, groups: Groups | None = None) -> None:
        found = ordinary(X, Y, Yvar, groups)
        self.columns = found.columns
        x, y = self._narrow(X), Y.squeeze(-1).numpy()
        variances = total_noise(Yvar).numpy() + found.noise
        rng = np.random.default_rng(0)
        self.trees = [Tree(x, y, variances, seed, rng) for seed in range(TREES)]
        super().__init__(X, float(np.median(variances)))

    def values(self, X: Tensor) -> Tensor:
        """Return what each tree says at ``X`` (``n x k``), ``TREES x n``."""
        x = self._narrow(X)
        return torch.from_numpy(np.stack([tree(x) for tree in self.trees]))

    def _narrow(self, X: Tensor) -> Narrow:
        # trees are flat: no gradient is lost
        return np.ascontiguousarray(X.detach()[:, self.columns].numpy(), dtype=np.float32)


class Tree:
    """Draw a tree and the values of its leaves.

    Args:
        x: Encoded configurations, ``n x k``.
        y: Standardized values, shape ``n``.
        variances: Of their errors, shape ``n``.
        seed: Of the cuts.
        rng: Draws the measurements that the tree is grown from, and its values.
    """

    def __init__(self, x: Narrow, y: Array, variances: Array, seed: int, rng: np.random.Generator) -> None:
        n = len(y)
        drawn = np.bincount(rng.integers(n, size=n), minlength=n).astype(np.float64)
        grown = ExtraTreeRegressor(max_features=_COLUMNS, random_state=seed)
        self.cuts = grown.fit(x, y, sample_weight=drawn / variances, check_input=False).tree_
        inside = self.cuts.decision_path(x).toarray().T * drawn  # nodes x n
        self.leaves = _draw(self.cuts, inside / variances, inside.sum(1), y, rng)

    def __call__(self, x: Narrow) -> Array:
        """Return the tree's values at ``n x k`` points, shape ``n``."""
        found: Array = self.leaves[self.cuts.apply(x)]
        return found


def _draw(cuts: Any, weights: Array, count: Array, y: Array, rng: np.random.Generator) -> Array:
    """Return a value of each node from its posterior, shape ``nodes``.

    Args:
        cuts: A tree; parents come before their children.
        weights: Of each measurement in each node, by its precision, ``nodes x n``.
        count: Measurements in each node, shape ``nodes``.
        y: Standardized values, shape ``n``.
        rng: Of the draws.
    """
    nodes = cuts.node_count
    inner = np.flatnonzero(cuts.children_left >= 0)
    parent, depth = np.zeros(nodes, np.int64), np.zeros(nodes)
    for children in (cuts.children_left, cuts.children_right):
        parent[children[inner]] = inner
    for node in range(1, nodes):
        depth[node] = depth[parent[node]] + 1
    precision = np.maximum(weights.sum(1), 1e-12)
    mean = weights @ y / precision
    prior = _TOP * _DECAY ** (depth - 1.0)
    # the values below a node that is cut further differ by more than noise
    below = prior * _DECAY / (1.0 - _DECAY) / np.maximum(count, 1.0)
    spread = 1.0 / precision + np.where(cuts.children_left >= 0, below, 0.0)
    gain = prior / (prior + spread)
    apart = np.sqrt(prior * (1.0 - gain)) * rng.standard_normal(nodes)
    values = np.empty(nodes)
    values[0] = mean[0]
    for node in range(1, nodes):
        above = values[parent[node]]
        values[node] = above + gain[node] * (mean[node] - above) + apart[node]
    return values

"""Standard normal vectors that are evenly spread: a scrambled Sobol sequence, shifted anew by each seed.

Scrambling a sequence takes longer than all the rest, so that it is done once; a random digital shift leaves
it as even as it was, and makes estimates by it unbiased ([Lecuyer2002]).

Reference:
    [Lecuyer2002] P. L'Ecuyer, C. Lemieux, "Recent advances in randomized quasi-Monte Carlo methods", 2002.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

_MOST = 1024  # dimensions, beyond which the directions of the sequence are slow to make and no better
_BITS = SobolEngine.MAXBIT


def normal_samples(n: int, d: int, seed: int) -> Tensor:
    """Return ``n`` standard normal vectors of length ``d``, evenly spread where that can be afforded."""
    generator = torch.Generator().manual_seed(seed)
    if not 0 < d <= _MOST:
        return torch.randn(n, d, generator=generator, dtype=torch.float64)
    net = _net(n, min(_MOST, 1 << (d - 1).bit_length()))[:, :d]
    shifted = net ^ torch.randint(1 << _BITS, (d,), generator=generator)
    return torch.special.ndtri((shifted.double() + 0.5) / (1 << _BITS))


@lru_cache(maxsize=8)
def _net(n: int, d: int) -> Tensor:
    """Return the first ``n`` points of a scrambled sequence as whole numbers of ``_BITS`` bits, ``n x d``."""
    points = SobolEngine(d, scramble=True, seed=0).draw(n, dtype=torch.float64)
    return (points * (1 << _BITS)).long().clamp_max((1 << _BITS) - 1)

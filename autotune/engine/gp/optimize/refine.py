"""Continuous parameters off their grid: from the best configuration of the grid uphill by gradient.

The grid is compared whole, so what is left is the way to the top of one hill. Whatever is not continuous
stays as it is. The result is a configuration with six significant digits per value, as the grid has them:
people read it, and equal texts mean equal configurations.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize
from torch import Tensor

from autotune.core.parameter.numeric import Float
from autotune.core.space import Space
from autotune.core.trial import Config
from autotune.engine.gp.model.encode import Encoder
from autotune.errors import SpecError

Score = Callable[[Tensor], Tensor]
"""Scores encoded configurations, ``n x k`` to ``n``."""

_ITERATIONS = 10  # from the best point of the grid it is a short way
_ENOUGH = 1e-4  # relative gain of an iteration below which the way is at its end
_STEP = 1e-4  # of a range, where differences stand in for the gradient
_SHORTER = (1.0, 0.5, 0.25, 0.125)  # shares of the way that are tried while a constraint is in it
_LEAST_GAIN = 1e-6  # of a log acquisition: less is rounding

Array = npt.NDArray[np.float64]


def refine(space: Space, config: Config, score_of_X: Score) -> Config:
    """Return a configuration whose continuous parameters have a better score, or ``config`` itself.

    Args:
        space: Search space.
        config: Allowed configuration.
        score_of_X: Score to be maximized. Its gradient is taken where it has one, else differences.
    """
    encoder = Encoder(space)
    active = [
        (p, encoder.column(i))
        for i, p in enumerate(space.parameters)
        if isinstance(p, Float) and not p.discrete and p.name in config and p.low < p.high
    ]
    if not active:
        return config
    columns = torch.tensor([column for _, column in active])
    x = torch.from_numpy(encoder.configs([config]))
    start = x[0, columns].numpy().copy()

    def at(places: Tensor) -> Tensor:
        """Return encodings with the continuous columns at ``places`` (``n x c``), shape ``n x k``."""
        return x.expand(len(places), -1).index_copy(1, columns, places)

    def descend(u: Array) -> tuple[float, Array]:
        value, gradient = _with_gradient(lambda places: score_of_X(at(places)), u)
        return (-value, -gradient) if np.isfinite(value) else (1e10, np.zeros_like(u))

    found = minimize(
        descend, start, jac=True, method="L-BFGS-B", bounds=[(0.0, 1.0)] * len(start),
        options={"maxiter": _ITERATIONS, "ftol": _ENOUGH},
    )  # fmt: skip
    for share in _SHORTER:
        place = start + share * (np.clip(found.x, 0.0, 1.0) - start)
        values: Config = {p.name: _value(p, u) for (p, _), u in zip(active, place, strict=True)}
        refined = _allowed(space, config, values)
        if refined is None:
            continue
        with torch.no_grad():
            rows = torch.from_numpy(encoder.configs([config, refined]))
            before, after = score_of_X(rows).tolist()
        return refined if after > before + _LEAST_GAIN else config
    return config


def _with_gradient(score: Score, u: Array) -> tuple[float, Array]:
    """Return the score at ``u`` (shape ``c``) and its gradient."""
    with torch.enable_grad():
        place = torch.from_numpy(u).unsqueeze(0).requires_grad_()
        (value,) = score(place)
        if value.requires_grad:
            (gradient,) = torch.autograd.grad(value, place)
            if bool(gradient.isfinite().all()):
                return float(value.detach()), gradient[0].numpy()
    steps = _STEP * np.eye(len(u))
    with torch.no_grad():
        around = score(torch.from_numpy(np.concatenate([u + steps, u - steps]).clip(0.0, 1.0)))
    upper, lower = around.numpy().reshape(2, -1)
    width = np.minimum(u + _STEP, 1.0) - np.maximum(u - _STEP, 0.0)
    slope = (upper - lower) / width
    return float(value.detach()), np.where(np.isfinite(slope), slope, 0.0)


def _value(parameter: Float, place: float) -> float:
    """Return the value at a place of the parameter's scale."""
    return min(max(float(f"{parameter.value_at(place):.6g}"), parameter.low), parameter.high)


def _allowed(space: Space, config: Config, values: Config) -> Config | None:
    """Return the configuration with some values replaced if it is allowed and changes nothing else."""
    try:
        found = space.validate(
            {name: values.get(name, value) for name, value in config.items() if name not in space.derived}
        )
    except SpecError:
        return None
    same = all(found.get(p.name) == config.get(p.name) for p in space.parameters if p.name not in values)
    return found if same else None

"""Whether to measure a leading configuration once more instead of a new one.

A measurement of a leader tells which of the leaders is the best; one of a new configuration tells whether it
is better than they are. Both are knowledge gradients over the same choice, that between what will have been
measured. Only where launches differ by much can the first be worth more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from autotune.core.trial import Config, config_key
from autotune.engine.gp.acquisitions.believed import Believed
from autotune.engine.gp.acquisitions.knowledge_gradient import Gradient
from autotune.engine.gp.belief import Belief

LEAST_NOISE = 0.05
"""Relative standard deviation of a launch below which nothing is repeated: the search is for the last 5 %."""

_LEADERS = 5
_LAUNCHES = 4  # of one configuration at most; a confirmation at the end of a study makes its own


def to_repeat(
    belief: Belief, x: Tensor, X_pending: Tensor, pending: Sequence[Config]
) -> tuple[Config, Tensor] | None:
    """Return a measured configuration that is better measured again than the best new one, or ``None``.

    Args:
        belief: The models of one goal.
        x: Encoding of the best new candidate, ``1 x k``.
        X_pending: Encodings of what is pending, ``m x k``.
        pending: The same as configurations.
    """
    if belief.searching or len(belief.goals) > 1 or noise_of(belief) < LEAST_NOISE:
        return None
    configs = [belief.data.configs[row] for row in belief.rows]
    launches = Counter(map(config_key, belief.data.configs))
    surface = belief.goal.surrogate
    means, _ = surface.predict(belief.measured)
    order = means.masked_fill(~belief.observed, -torch.inf).argsort(descending=True, stable=True)
    away = {config_key(config) for config in pending}
    leaders: dict[str, int] = {}
    alternatives: dict[str, int] = {}
    for row in order.tolist():
        if not bool(belief.observed[row]):
            break
        key = config_key(configs[row])
        alternatives.setdefault(key, row)
        if len(alternatives) <= _LEADERS and key not in away and launches[key] < _LAUNCHES:
            leaders.setdefault(key, row)
    if not leaders:
        return None
    rows = list(leaders.values())
    points = torch.cat([belief.measured[list(alternatives.values())], X_pending[belief.kept(X_pending)], x])
    gradient = Gradient(Believed(surface, X_pending), points, surface.noise())
    candidates = torch.cat([belief.measured[rows], x])
    value = surface.mix(gradient(candidates)) + belief.log_limits(candidates)
    value += belief.feasibility.log_probability(candidates)
    best = int(value[:-1].argmax())
    if float(value[best]) <= float(value[-1]):
        return None
    return configs[rows[best]], belief.measured[rows[best]].unsqueeze(0)


def noise_of(belief: Belief) -> float:
    """Return the standard deviation between launches relative to the goal's size there."""
    surface, series = belief.goal.surrogate, belief.goal.series
    deviation = float((surface.log_weights.exp() * surface.noise()).sum()) ** 0.5 * series.scale
    if series.logarithm:
        return deviation
    best = abs(float(series.Y.max()) * series.scale + series.shift)
    return deviation / max(best, series.scale)

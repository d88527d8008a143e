"""Search spaces of ours as Ray Tune's."""

from __future__ import annotations

from ray import tune

from autotune.core.parameter import Bool, Float, Int, Parameter
from autotune.core.space import Space
from autotune.integrations.ray_tune_space import Tree


def write_space(space: Space) -> tuple[dict[str, Tree], tuple[str, ...]]:
    """Return a space of ours as one of Tune's, and a line for each thing that Tune has no equivalent of."""
    notes = [f"constraint {text!r}: Tune would try what it forbids" for text in space.constraints]
    notes += [f"derived value {name!r}: compute it in the trainable" for name in space.derived]
    if space.configurations is not None:
        notes.append("the list of allowed configurations: Tune would try every combination")
    for parameter in space:
        if parameter.when:
            notes.append(f"condition of {parameter.name!r} ({parameter.when}): Tune always draws it")
        if parameter.prior is not None:
            notes.append(f"prior of {parameter.name!r}: Tune draws evenly")
    return {parameter.name: _domain(parameter) for parameter in space}, tuple(notes)


def _domain(parameter: Parameter) -> Tree:
    """Return the distribution of Tune's that draws the values of a parameter."""
    if isinstance(parameter, Bool) or not isinstance(parameter, Int | Float):
        return tune.choice(list(parameter.levels))
    log, low, high, step = parameter.scale != "linear", parameter.low, parameter.high, parameter.step
    if isinstance(parameter, Float):
        if step is None:
            return tune.loguniform(low, high) if log else tune.uniform(low, high)
    elif parameter.powers_of is None and parameter.multiple_of is None and step in (None, 1):
        return tune.lograndint(low, high + 1) if log else tune.randint(low, high + 1)
    if not log and step is not None and low % step == 0 and high % step == 0:
        return (tune.quniform if isinstance(parameter, Float) else tune.qrandint)(low, high, step)
    return tune.choice(list(parameter.levels))  # Tune's steps count from 0, ours from the lowest value

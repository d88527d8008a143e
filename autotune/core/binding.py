"""Which limit binds while no configuration keeps them all, and by how much it is broken."""

from __future__ import annotations

import math
from collections.abc import Sequence

from autotune.core.improvement_text import FACTOR
from autotune.core.objective import Limit, Objective
from autotune.core.ranking import Contender, contenders
from autotune.core.trial import Trial
from autotune.core.units import format_in, format_quantity, show_unit

_MOST = 1e6  # multiple above which the difference is told instead
_BOUND = "the bound"


def binding_limit(trials: Sequence[Trial], objective: Objective, nearest: Contender | None = None) -> str:
    """Return in words how near the nearest configuration comes to keeping every limit.

    Empty while something is feasible or nothing has finished.

    Args:
        trials: All trials of the study.
        objective: Objective with relative limits made absolute.
        nearest: The one that is known to be the nearest; by default the one whose worst violation is the
            smallest.
    """
    found = contenders(trials, objective)
    if any(c.feasible for c in found) or not any(t.state.finished for t in trials):
        return ""
    whole = [c for c in found if not c.outcome.missing]
    if not whole:
        missing = found[0].outcome.missing[0] if found else ""
        odd = next((c.metrics[missing] for c in found if missing in c.metrics), None)
        if odd is not None:
            wanted = show_unit(objective.units.get(missing, ""))
            return f"{missing} was measured {show_unit(odd.unit)} and is wanted {wanted}: not comparable"
        return f"no trial measured {missing}" if missing else "no configuration could be measured yet"
    nearest = nearest or min(whole, key=lambda c: (c.excess, c.trial.number))
    if not nearest.outcome.violations:
        number = nearest.trial.number
        return f"no configuration is sound yet; trial {number} keeps every limit, but a launch of it failed"
    limit = max(
        (limit for limit in objective.limits if str(limit) in nearest.outcome.violations),
        key=lambda limit: nearest.outcome.violations[str(limit)],
    )
    distance = _distance(nearest, limit)
    if all(str(limit) in c.outcome.violations for c in whole):
        return f"no configuration keeps {limit} yet; the nearest, trial {nearest.trial.number}, is {distance}"
    return (
        f"no configuration keeps every limit yet; the nearest, trial {nearest.trial.number}, "
        f"is {distance}{' of' if _BOUND in distance else ''} {limit}"
    )


def _distance(contender: Contender, limit: Limit) -> str:
    side = "above" if limit.upper else "below"
    value = contender.metrics[limit.metric].value
    if contender.metrics[limit.metric].projected:
        side = f"{side} (projected)"
    ratio = value / limit.bound if value > 0 and limit.bound > 0 else math.nan
    if 1 / FACTOR < ratio < FACTOR:
        share = 100 * abs(ratio - 1)
        return f"{share:.2g} % {side}" if share < 99.5 else f"{share:.0f} % {side}"
    times = max(ratio, 1 / ratio) if ratio > 0 else math.nan
    if times < _MOST:
        projected = " (projected)" if contender.metrics[limit.metric].projected else ""
        return f"{format_quantity(times)} times {'' if ratio > 1 else 'below '}{_BOUND}{projected}"
    apart = abs(value - limit.bound)
    shown = format_in(apart, limit.symbol) if limit.symbol else format_quantity(apart, limit.unit)
    return f"{shown} {side}"

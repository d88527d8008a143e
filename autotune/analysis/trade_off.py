"""What one metric costs in another: goals, the goal and each limit, load and latency."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from autotune.analysis.progress import kind_by, kind_of
from autotune.analysis.study_view import StudyView
from autotune.core.metric import metric_info
from autotune.core.objective import Limit
from autotune.core.ranking import Contender, contenders, judged, undominated
from autotune.core.trial import config_key

_THROUGHPUTS = ("output_throughput", "request_throughput", "total_throughput", "goodput")
_LATENCIES = (
    "ttft.p99",
    "ttft.p95",
    "tpot.p95",
    "tpot.p99",
    "e2e.p95",
    "e2e.p99",
    "itl.p99",
    "e2e.p50",
)
_MOST_PANELS = 4


@dataclass(frozen=True)
class PlanePoint:
    """A configuration in a plane of two metrics, its launches pooled.

    Args:
        trial: Number of its first trial.
        x, y: Values.
        x_half, y_half: Half-widths of their 95 % intervals; ``None`` where no error is known.
        kind: ``kept``, ``limit``, ``unknown`` or ``doubtful``.
        best: Whether it is the one to deploy.
        default: Whether it is the default configuration.
        on_front: Whether no other one that keeps the limits is better in both.
    """

    trial: int
    x: float
    y: float
    x_half: float | None
    y_half: float | None
    kind: str
    best: bool
    default: bool
    on_front: bool


@dataclass(frozen=True)
class Plane:
    """Configurations by two metrics.

    Args:
        x, y: Names of the metrics.
        x_unit, y_unit: Their units.
        x_maximize, y_maximize: Whether more is better.
        points: Configurations in the order of their first trials.
        x_limits, y_limits: Limits on the two metrics.
    """

    x: str
    y: str
    x_unit: str
    y_unit: str
    x_maximize: bool
    y_maximize: bool
    points: tuple[PlanePoint, ...]
    x_limits: tuple[Limit, ...]
    y_limits: tuple[Limit, ...]

    @property
    def front(self) -> list[PlanePoint]:
        """Points of the front in the order of x."""
        return sorted((p for p in self.points if p.on_front), key=lambda p: (p.x, p.y))


def pareto_planes(view: StudyView) -> list[Plane]:
    """Return the goals in pairs; for a single goal, the goal against the metric of each limit.

    Without a second goal and without limits there is no trade-off.
    """
    goals = [(goal.metric, goal.maximize) for goal in view.objective.goals]
    if len(goals) > 1:
        pairs = list(combinations(goals, 2))
    else:
        bounded = dict.fromkeys((limit.metric, not limit.upper) for limit in view.stated.limits)
        pairs = [(side, goals[0]) for side in bounded if side[0] != goals[0][0]]
    return list(_planes(view, pairs))


def load_planes(view: StudyView) -> list[Plane]:
    """Return latencies against the throughput: those that are goals or limits, else the usual ones."""
    measured = view.measured_metrics
    wanted = [name for name in view.objective.metrics if name in measured]
    rates = [name for name in (*wanted, *_THROUGHPUTS) if name in _THROUGHPUTS and name in measured]
    if not rates:
        return []
    latencies = [name for name in wanted if name in _LATENCIES or _is_time(name)]
    latencies = latencies or [name for name in _LATENCIES if name in measured][:2]
    return list(_planes(view, [((rates[0], True), (name, False)) for name in latencies]))


def _is_time(metric: str) -> bool:
    info = metric_info(metric)
    return info is not None and info.unit == "s"


def _planes(view: StudyView, pairs: Sequence[tuple[tuple[str, bool], tuple[str, bool]]]) -> Iterator[Plane]:
    found = contenders(view.trials, view.objective)
    for (x, x_up), (y, y_up) in pairs[:_MOST_PANELS]:
        both = [c for c in found if x in c.metrics and y in c.metrics]
        if not both:
            continue
        known = [c for c in both if judged(c.feasible, view.objective)]
        kept = [c for c in known if kind_of(c.trial, view.objective) == "kept"]
        signs = (1.0 if x_up else -1.0, 1.0 if y_up else -1.0)
        values = [(c, (signs[0] * c.metrics[x].value, signs[1] * c.metrics[y].value)) for c in kept]
        front = {id(c) for c in undominated(values)}
        limits = [tuple(limit for limit in view.objective.limits if limit.metric == m) for m in (x, y)]
        yield Plane(
            x,
            y,
            both[0].metrics[x].unit,
            both[0].metrics[y].unit,
            x_up,
            y_up,
            tuple(_point(view, c, x, y, id(c) in front) for c in both),
            *limits,
        )


def _point(view: StudyView, side: Contender, x: str, y: str, on_front: bool) -> PlanePoint:
    best, key = view.best, side.trial.key
    kind = kind_of(side.trial, view.objective)
    if kind != "doubtful":
        kind = kind_by(side.feasible, view.objective)
    is_best, is_default = best is not None and best.trial.key == key, key == config_key(view.default_config)
    x_half, y_half = (side.metrics[name].half_width for name in (x, y))
    if is_best or is_default:  # of which tables and other figures say the interval that the decision has
        decided = [view.half_width(side, name) for name in (x, y)]
        x_half = x_half if decided[0] is None else decided[0]
        y_half = y_half if decided[1] is None else decided[1]
    return PlanePoint(
        side.trial.number,
        side.metrics[x].value,
        side.metrics[y].value,
        x_half,
        y_half,
        kind,
        is_best,
        is_default,
        on_front,
    )

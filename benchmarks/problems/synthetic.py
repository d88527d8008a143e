"""Functions with a known optimum: mixed kinds, conditions, constraints, limits, failures, idle parameters.

Each goal is a time of 1 at the optimum and more elsewhere: ``1 + f / spread``, where f >= 0 is the textbook
function less its least value over the allowed configurations, so that quality reads ``1 / time``. Spreads are
chosen so that between 1 in 100 and 1 in 5,000 configurations come within 5 % of the best.

References: Branin, Hartmann, Rosenbrock and Ackley as in S. Surjanovic and D. Bingham, Virtual Library of
Simulation Experiments (sfu.ca/~ssurjano). The optimum on the grid is found by trying all levels of the
parameters that matter, or known where each term has its own parameters.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt

from autotune.core.measurement import Cause
from autotune.core.objective import Objective
from autotune.core.parameter import Bool, Categorical, Float, Int, Ordinal, Parameter
from autotune.core.space import Space
from autotune.core.trial import Config
from benchmarks.problems.base import Problem, Truth

Array = npt.NDArray[np.float64]
GOAL = Objective.from_dict({"minimize": "time"})


def branin() -> Problem:
    """Return Branin on 36 x 31 levels: two parameters, three valleys."""
    first = Ordinal("a", tuple(round(-5 + 15 * i / 35, 4) for i in range(36)))
    space = Space((first, Float("b", 0.0, 15.0, step=0.5, default=15.0)))
    least = min(_branin(float(a), float(b)) for a in space["a"].levels for b in space["b"].levels)

    def truth(config: Config) -> Truth:
        return {"time": 1 + (_branin(float(config["a"]), float(config["b"])) - least) / 10}

    return Problem("branin", space, GOAL, truth, 0.02, known_optimum=1.0)


def _branin(x: float, y: float) -> float:
    bend = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
    return bend**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10


_H_A = np.array(
    [
        [10, 3, 17, 3.5, 1.7, 8],
        [0.05, 10, 17, 0.1, 8, 14],
        [3, 3.5, 1.7, 10, 17, 8],
        [17, 8, 0.05, 10, 0.1, 14],
    ]
)
_H_P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)
_H_W = np.array([1.0, 1.2, 3.0, 3.2])


def _hartmann(levels: Array) -> Array:
    """Return Hartmann's function (negative, least is best) of points in [0, 1], shape ``n x 6`` to ``n``."""
    total = np.zeros(len(levels))
    for weight, a, p in zip(_H_W, _H_A, _H_P, strict=True):
        total -= weight * np.exp(-(((levels - p) ** 2) @ a))
    return total


@cache
def _hartmann_least(count: int) -> float:
    axis = np.arange(count) / (count - 1)
    grid = np.stack(np.meshgrid(*[axis] * 5, indexing="ij"), -1).reshape(-1, 5)
    return min(float(_hartmann(np.insert(grid, 5, last, axis=1)).min()) for last in axis)


def hartmann6() -> Problem:
    """Return Hartmann's six dimensions on 9 levels each: 531,441 configurations, too many for a table."""
    count = 9
    space = Space(tuple(Int(f"x{i}", 0, count - 1, default=count - 1) for i in range(6)))
    least = _hartmann_least(count)

    def truth(config: Config) -> Truth:
        point = np.array([[float(config[f"x{i}"]) / (count - 1) for i in range(6)]])
        return {"time": 1 + float(_hartmann(point)[0] - least) / 1.5}

    return Problem("hartmann6", space, GOAL, truth, 0.02, known_optimum=1.0)


def rosenbrock() -> Problem:
    """Return Rosenbrock in four parameters: a constraint, a limit on a second metric, a corner that fails."""
    levels = tuple(round(-2 + 0.4 * i, 1) for i in range(11))
    space = Space(
        (
            Ordinal("a", levels),
            Ordinal("b", levels),
            Float("c", -2.0, 2.0, step=0.4, default=-2.0),
            Ordinal("d", levels),
        ),
        constraints=("a + b + c + d <= 5", "a <= c + 2"),
    )
    objective = Objective.from_dict({"minimize": "time", "limits": ["memory <= 6"]})
    points = itertools.product(levels, repeat=4)
    rows = [(a, b, c, d) for a, b, c, d in points if a + b + c + d <= 5 and a <= c + 2]
    least = min(_rosenbrock(*row) for row in rows if not _crashes(*row) and _memory(*row) <= 6)

    def truth(config: Config) -> Truth:
        row = tuple(float(config[name]) for name in "abcd")
        if _crashes(*row):
            return Cause.CRASHED_UNDER_LOAD
        return {"time": 1 + (_rosenbrock(*row) - least) / 60, "memory": _memory(*row)}

    return Problem("rosenbrock", space, objective, truth, 0.03, known_optimum=1.0)


def _rosenbrock(*x: float) -> float:
    return sum(100 * (b - a**2) ** 2 + (1 - a) ** 2 for a, b in itertools.pairwise(x))


def _crashes(a: float, b: float, c: float, d: float) -> bool:
    return b - d > 1.9 or a * c < -1.9


def _memory(a: float, b: float, c: float, d: float) -> float:
    return 4 + a + 0.8 * b + 0.6 * c - 0.4 * d


_CASH: dict[str, tuple[float, tuple[tuple[str, int, float], ...]]] = {
    "tree": (0.35, (("depth", 12, 4.0), ("leaf", 10, 6.0))),
    "kernel": (0.0, (("width", 16, 11.0), ("cost", 16, 5.0), ("cache", 6, 2.0))),
    "linear": (0.6, (("rate", 20, 13.0),)),
    "network": (0.1, (("layers", 8, 3.0), ("units", 12, 8.0), ("drop", 9, 2.0), ("steps", 10, 7.0))),
}
"""Per algorithm: what it costs beyond the best one, and its parameters with their levels and best level."""


def cash() -> Problem:
    """Return the choice of an algorithm with parameters of its own: conditions; a separable bowl in each."""
    parameters: list[Parameter] = [Categorical("algorithm", tuple(_CASH)), Bool("scaling")]
    for algorithm, (_, own) in _CASH.items():
        parameters += [
            Int(f"{algorithm}_{name}", 0, count - 1, when=f"algorithm == '{algorithm}'")
            for name, count, _ in own
        ]

    def truth(config: Config) -> Truth:
        algorithm = str(config["algorithm"])
        offset, own = _CASH[algorithm]
        if algorithm == "network" and int(config["network_layers"]) * int(config["network_units"]) > 50:
            return Cause.OUT_OF_MEMORY
        gaps = [(float(config[f"{algorithm}_{name}"]) - best) / count for name, count, best in own]
        value = offset + sum(6 * gap**2 + 0.1 * (1 - math.cos(9 * gap)) for gap in gaps)
        return {"time": 1 + value + (0.0 if config["scaling"] == (algorithm != "tree") else 0.15)}

    return Problem("cash", Space(tuple(parameters)), GOAL, truth, 0.03, known_optimum=1.0)


_KERNELS = {"triton": 0.35, "eager": 0.8, "flash": 0.0, "paged": 0.12, "sdpa": 0.5}
_LAYOUTS = {"row": 0.2, "column": 0.45, "blocked": 0.0}


def ackley() -> Problem:
    """Return Ackley in four ordered parameters with its centre off the middle, and two categorical ones."""
    space = Space(
        (
            *(Int(f"x{i}", 0, 14) for i in range(4)),
            Categorical("kernel", tuple(_KERNELS)),
            Categorical("layout", tuple(_LAYOUTS)),
        )
    )
    centre = (9, 4, 11, 6)

    def truth(config: Config) -> Truth:
        x = np.array([int(config[f"x{i}"]) - c for i, c in enumerate(centre)]) / 2.5
        bowl = 20 - 20 * math.exp(-0.2 * math.sqrt(float((x**2).mean())))
        ripple = math.e - math.exp(float(np.cos(2 * math.pi * x).mean()))
        extra = _KERNELS[str(config["kernel"])] + _LAYOUTS[str(config["layout"])]
        return {"time": 1 + (bowl + ripple) / 8 + extra}

    return Problem("ackley", space, GOAL, truth, 0.03, known_optimum=1.0)


def wide() -> Problem:
    """Return 30 parameters of which five matter: out of memory decided by two, two that interact."""
    rest: list[Parameter] = [Bool(f"flag{i}") for i in range(8)]
    rest += [Categorical(f"choice{i}", ("a", "b", "c")) for i in range(7)]
    rest += [Int(f"number{i}", 0, 9) for i in range(10)]
    mattering: list[Parameter] = [
        Int("batch", 1, 512, powers_of=2, scale="log2", default=8),
        Ordinal("bits", (4, 8, 16), default=16),
        Int("shards", 1, 8, powers_of=2, scale="log2"),
        Categorical("attention", ("eager", "flash", "paged")),
        Float("share", 0.5, 0.95, step=0.05, default=0.5),
    ]
    order = np.random.default_rng(0).permutation(30)  # what matters is not what comes first
    space = Space(tuple([*mattering, *rest][i] for i in order))
    names = [p.name for p in mattering]
    points = itertools.product(*(p.levels for p in mattering))
    found = (_wide(dict(zip(names, point, strict=True))) for point in points)
    best = max(value for value in found if value is not None)

    def truth(config: Config) -> Truth:
        speed = _wide(config)
        return Cause.OUT_OF_MEMORY if speed is None else {"speed": speed}

    objective = Objective.from_dict({"maximize": "speed"})
    return Problem("wide", space, objective, truth, 0.03, known_optimum=best)


def _wide(config: Config) -> float | None:
    batch, bits, shards = int(config["batch"]), int(config["bits"]), int(config["shards"])
    share = float(config["share"])
    if 26 * bits / 16 / shards + 0.06 * batch / shards > 40 * share:
        return None
    step = (
        2 + bits / shards + 0.02 * batch / shards**0.8 + 1.6 * math.log2(shards) + (1.5 if bits == 4 else 0)
    )
    factor = {"eager": 0.7, "flash": 1.0, "paged": 0.92 + 0.02 * math.log2(batch)}[str(config["attention"])]
    return float(factor * batch / step / shards**0.25 * (1 - 2.0 * (share - 0.8) ** 2))


SYNTHETIC: dict[str, Callable[[], Problem]] = {
    "branin": branin,
    "hartmann6": hartmann6,
    "rosenbrock": rosenbrock,
    "cash": cash,
    "ackley": ackley,
    "wide": wide,
}
"""Builders by name."""

"""What is computed from runs: trials to a target, paired tests with correction, ratios with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import wilcoxon

NEAR = 0.95
"""Quality that is within 5 % of the best."""

Run = Mapping[str, Any]
Runs = Mapping[tuple[str, str], Mapping[int, Run]]
"""By problem and method, then by seed."""

Array = npt.NDArray[np.float64]


def at_look(run: Run, look: int, key: str = "recommended") -> float:
    """Return an entry after ``look`` trials; a run that ended early keeps its last one."""
    values = run[key]
    return float(values[min(look, len(values)) - 1]) if values else 0.0


def trials_to(run: Run, target: float = NEAR) -> int:
    """Return the trial, counted from 1, that reached the target; the budget + 1 where none did."""
    return next((i for i, quality in enumerate(run["best"], 1) if quality >= target), run["trials"] + 1)


def wasted(run: Run, *keys: str) -> int:
    """Return how many trials failed, or broke a limit, by the keys named."""
    return sum(sum(run[key]) for key in keys)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number.

    Reference: S. Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Stat. 6 (1979).
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected, floor = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        floor = max(floor, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = floor
    return corrected


def paired_p(differences: Sequence[float]) -> float:
    """Return the two-sided p-value of Wilcoxon's signed-rank test; 1 where nothing differs."""
    moved = [d for d in differences if d != 0]
    return float(wilcoxon(moved).pvalue) if moved else 1.0


@dataclass(frozen=True)
class Comparison:
    """One paired test of the reference against a peer.

    Args:
        problem: By name.
        look: Trials after which they are compared.
        peer: By name.
        median: Of the differences in quality; above 0 the reference is better.
        direction: +1 where the positive differences outrank the negative ones, else -1.
        p: Corrected over the peers of this problem and look: the smallest family, so the strictest for us.
        p_all: Corrected over everything that was tested.
        seeds: Pairs.
    """

    problem: str
    look: int
    peer: str
    median: float
    direction: int
    p: float
    p_all: float
    seeds: int


def compare(runs: Runs, reference: str, peers: Sequence[str], looks: Sequence[int]) -> list[Comparison]:
    """Return the tests of ``reference`` against each peer.

    Args:
        runs: By problem and method, then by seed.
        reference: Name of our method.
        peers: Names of theirs.
        looks: Numbers of trials.
    """
    found: list[tuple[str, int, str, list[float], float]] = []
    within: list[float] = []
    for problem in dict.fromkeys(problem for problem, _ in runs):
        ours = runs.get((problem, reference), {})
        for look in looks:
            family = []
            for peer in peers:
                theirs = runs.get((problem, peer), {})
                seeds = sorted(ours.keys() & theirs.keys())
                if seeds:
                    gaps = [at_look(ours[s], look) - at_look(theirs[s], look) for s in seeds]
                    family.append((problem, look, peer, gaps, paired_p(gaps)))
            within += holm([p for *_, p in family])
            found += family
    everything = holm([p for *_, p in found])
    return [
        Comparison(problem, look, peer, float(np.median(gaps)), _direction(gaps), p, p_all, len(gaps))
        for (problem, look, peer, gaps, _), p, p_all in zip(found, within, everything, strict=True)
    ]


def _direction(differences: Sequence[float]) -> int:
    gaps = np.array([d for d in differences if d != 0])
    if not len(gaps):
        return 1
    ranks = np.argsort(np.argsort(np.abs(gaps))) + 1
    return 1 if float((np.sign(gaps) * ranks).sum()) >= 0 else -1


def ratios(runs: Runs, reference: str, peers: Sequence[str]) -> dict[str, tuple[float, str]]:
    """Return per problem the reference's median trials to the target over the best peer's, and its name.

    Problems where a side has no runs are left out, and so are those where nobody got there.
    """
    result = {}
    for problem in dict.fromkeys(problem for problem, _ in runs):
        ours = runs.get((problem, reference))
        medians = {
            peer: float(np.median([trials_to(run) for run in runs[problem, peer].values()]))
            for peer in peers
            if runs.get((problem, peer))
        }
        if not ours or not medians:
            continue
        best = min(medians, key=lambda peer: medians[peer])
        mine = float(np.median([trials_to(run) for run in ours.values()]))
        budget = next(iter(ours.values()))["trials"]
        if min(mine, medians[best]) <= budget:
            result[problem] = (mine / medians[best], best)
    return result


def ratio_interval(
    runs: Runs,
    reference: str,
    peers: Sequence[str],
    *,
    draws: int = 500,
    seed: int = 0,
) -> tuple[float, float, float] | None:
    """Return the median ratio over problems and its 95 % bootstrap interval over seeds and problems.

    The seeds are drawn anew per problem, the same for all methods because they are paired, and the best peer
    is chosen anew in every draw; then the problems are drawn.
    """
    here = ratios(runs, reference, peers)
    if not here:
        return None
    rng = np.random.default_rng(seed)
    tables: list[tuple[Array, Array]] = []
    for problem in here:
        ours = runs[problem, reference]
        shared = set(ours).intersection(*(runs[problem, p] for p in peers if runs.get((problem, p))))
        seeds = sorted(shared)
        if seeds:
            theirs = [
                [trials_to(runs[problem, p][s]) for s in seeds] for p in peers if runs.get((problem, p))
            ]
            tables.append((np.array([trials_to(ours[s]) for s in seeds], float), np.array(theirs, float)))
    medians = []
    for _ in range(draws if tables else 0):
        drawn = []
        for at in rng.integers(0, len(tables), len(tables)):
            mine, theirs = tables[at]
            chosen = rng.integers(0, len(mine), len(mine))
            drawn.append(np.median(mine[chosen]) / np.median(theirs[:, chosen], axis=1).min())
        medians.append(float(np.median(drawn)))
    middle = float(np.median([ratio for ratio, _ in here.values()]))
    if not medians:
        return middle, float("nan"), float("nan")
    low, high = np.quantile(medians, [0.025, 0.975])
    return middle, float(low), float(high)

"""Importances beside Optuna's, on functions whose importances arithmetic gives.

``python -m benchmarks.importance --seeds 6 --out importance.jsonl`` measures random configurations of each
function with noise and asks every method what mattered; the table says how far they are from the truth. A run
is one (function, trials, seed); started again with the same file, runs that are there are skipped.

The truth is exact over the grid of 33 values of each parameter: Shapley effects, and main effects divided by
their sum, which is what Optuna's fANOVA estimates. Its other evaluators have no target of their own and stand
beside both. A positive function is measured with an error in per cent, and what is to be explained is its
logarithm; the others have mean 0, so that nobody takes it. The width of the intervals was calibrated with the
seeds 0 and 1.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np

import autotune
from autotune.analysis.importance import importance
from benchmarks.compare import append, read_results

TRIALS = (20, 60)
NOISE = 0.05
"""Standard deviation of a measurement, of that of the function over its space."""

MARGIN = 0.005
"""By how much a truth may be outside of an interval: half a per cent is no difference to a person."""

GRID = np.linspace(0.0, 1.0, 33)

Function = Callable[[Mapping[str, Any]], Any]


def additive(c: Mapping[str, Any]) -> Any:
    """Four parameters that add up, each half of the one before, the last without any effect."""
    return 4 * c["a"] + 2 * c["b"] + c["c"] + 0 * c["d"]


def interacting(c: Mapping[str, Any]) -> Any:
    """Two parameters that matter together only, and two that do not."""
    return (2 * c["a"] - 1) * (2 * c["b"] - 1) + 0.2 * c["c"] + 0 * c["d"]


def ishigami(c: Mapping[str, Any]) -> Any:
    """The function of T. Ishigami and T. Homma (1990): one parameter matters by its interaction only."""
    x, y, z = (math.pi * (2 * c[name] - 1) for name in "abc")
    return np.sin(x) + 7 * np.sin(y) ** 2 + 0.1 * z**4 * np.sin(x) + 0 * c["d"]


def sobol_g(c: Mapping[str, Any]) -> Any:
    """The g-function of I. M. Sobol with weights 0, 1, 4.5 and 9: kinks and products."""
    weighed = zip("abcd", (0, 1, 4.5, 9), strict=True)
    return math.prod((abs(4 * c[name] - 2) + weight) / (1 + weight) for name, weight in weighed)


def friedman(c: Mapping[str, Any]) -> Any:
    """The function of J. H. Friedman (1991) with one of its two linear terms."""
    return 10 * np.sin(math.pi * c["a"] * c["b"]) + 20 * (c["c"] - 0.5) ** 2 + 10 * c["d"]


def bratley(c: Mapping[str, Any]) -> Any:
    """The function of P. Bratley, B. L. Fox and H. Niederreiter (1992): products of the first so many."""
    a, b, third, d = (c[name] for name in NAMES)
    return -a + a * b - a * b * third + a * b * third * d


def cliff(c: Mapping[str, Any]) -> Any:
    """A step, behind which a second parameter matters."""
    return np.where(c["a"] > 0.6, 2.0 + c["b"], 0.0) + c["c"] + 0 * c["d"]


def saturating(c: Mapping[str, Any]) -> Any:
    """A throughput that saturates, has a best place along one parameter, and is positive."""
    batch = 1 / (0.05 + 0.3 / (1 + 9 * c["a"]))
    return batch * (1 + c["b"]) * np.exp(-2 * (c["c"] - 0.3) ** 2) * (1 - 0.2 * c["d"] * c["a"])


FUNCTIONS: dict[str, Function] = {
    f.__name__: f for f in (additive, interacting, ishigami, sobol_g, friedman, bratley, cliff, saturating)
}
NAMES = "abcd"


@dataclass(frozen=True)
class Truth:
    """What is exact of a function over the grid.

    Args:
        shares: Shapley effects.
        alone: Main effects divided by their sum.
        mean: Mean, 0 of a logarithm.
        spread: Standard deviation.
        logarithm: Whether all that is of the function's logarithm.
    """

    shares: dict[str, float]
    alone: dict[str, float]
    mean: float
    spread: float
    logarithm: bool


@cache
def truth(name: str) -> Truth:
    """Return what is exact of a function."""
    axes = np.meshgrid(*[GRID] * len(NAMES), indexing="ij")
    values = FUNCTIONS[name](dict(zip(NAMES, axes, strict=True)))
    logarithm = bool(values.min() > 0)
    values = np.log(values) if logarithm else values

    @cache
    def explained(known: tuple[int, ...]) -> float:
        rest = tuple(i for i in range(len(NAMES)) if i not in known)
        return float(values.mean(axis=rest).var())

    orders = list(permutations(range(len(NAMES))))
    effects = np.zeros(len(NAMES))
    for order in orders:
        for k, i in enumerate(order):
            effects[i] += explained(tuple(sorted(order[: k + 1]))) - explained(tuple(sorted(order[:k])))
    mains = np.array([explained((i,)) for i in range(len(NAMES))])
    shares, alone = effects / effects.sum(), mains / (mains.sum() or 1.0)
    return Truth(
        dict(zip(NAMES, shares.tolist(), strict=True)),
        dict(zip(NAMES, alone.tolist(), strict=True)),
        0.0 if logarithm else float(values.mean()),
        float(values.std()),
        logarithm,
    )


def run(name: str, trials: int, seed: int) -> dict[str, Any]:
    """Return what every method says of one set of measurements."""
    import optuna

    function, exact = FUNCTIONS[name], truth(name)
    rng = np.random.default_rng([seed, trials])
    parameters = {p: {"type": "float", "low": 0.0, "high": 1.0} for p in NAMES}
    space = autotune.Space.from_dict({"parameters": parameters})
    study = autotune.Study(space, autotune.Objective.from_dict({"minimize": "loss"}), engine="random")
    peers = optuna.create_study()
    ranges = {p: optuna.distributions.FloatDistribution(0.0, 1.0) for p in NAMES}
    for config in space.sample(trials, rng):
        error, value = NOISE * exact.spread * float(rng.standard_normal()), float(function(config))
        value = value * math.exp(error) if exact.logarithm else value - exact.mean + error
        study.add(config, {"loss": value})
        shown = math.log(value) if exact.logarithm else value
        peers.add_trial(optuna.trial.create_trial(params=config, distributions=ranges, value=shown))
    began = time.process_time()
    found = importance(study.view)
    seconds = time.process_time() - began
    assert found is not None
    said: dict[str, Any] = {
        "ours": {p.name: p.share.value for p in found.parameters},
        "ours, main effects": _normalized({p.name: p.alone.value for p in found.parameters}),
    }
    evaluators = {
        "optuna fANOVA": optuna.importance.FanovaImportanceEvaluator(seed=seed),
        "optuna impurity": optuna.importance.MeanDecreaseImpurityImportanceEvaluator(seed=seed),
        "optuna PED-ANOVA": optuna.importance.PedAnovaImportanceEvaluator(),
    }
    for method, evaluator in evaluators.items():
        said[method] = _normalized(optuna.importance.get_param_importances(peers, evaluator=evaluator))
    intervals = {p.name: [p.share.low, p.share.high] for p in found.parameters}
    return {
        "function": name, "trials": trials, "seed": seed, "said": said, "intervals": intervals,
        "seconds": seconds,
    }  # fmt: skip


def _normalized(found: Mapping[str, float]) -> dict[str, float]:
    total = sum(found.values())
    return {name: value / total if total > 0 else 1 / len(found) for name, value in found.items()}


def table(runs: list[dict[str, Any]]) -> list[str]:
    """Return as Markdown how far methods are off either truth, and how often their first is right."""
    methods = list(runs[0]["said"]) if runs else []
    lines = [f"| function | trials | {' | '.join(methods)} |", f"|{'---|' * (2 + len(methods))}"]
    for name in FUNCTIONS:
        shares, alone = truth(name).shares, truth(name).alone
        best = max(shares.values())
        for trials in TRIALS:
            own = [each for each in runs if each["function"] == name and each["trials"] == trials]
            cells = []
            for method in methods if own else ():
                said = [each["said"][method] for each in own]
                off = [
                    np.mean([abs(s[p] - target[p]) for s in said for p in NAMES])
                    for target in (shares, alone)
                ]
                right = np.mean([shares[max(s, key=s.__getitem__)] > best - 0.01 for s in said])
                cells.append(f"{off[0]:.3f} / {off[1]:.3f}, {100 * right:.0f} %")
            lines += [f"| {name} | {trials} | {' | '.join(cells)} |"] if cells else []
    return [*lines, "", *_coverage(runs)]


def _coverage(runs: list[dict[str, Any]]) -> list[str]:
    """Return as Markdown how often our intervals hold the truth, and how wide they are."""
    lines = ["| functions | trials | 95 % intervals that hold the truth | mean width |", "|---|---|---|---|"]
    groups = {"all": set(FUNCTIONS)} | {name: {name} for name in FUNCTIONS}
    for label, names in groups.items():
        for trials in TRIALS:
            found = [
                (low - MARGIN <= truth(each["function"]).shares[p] <= high + MARGIN, high - low)
                for each in runs
                if each["trials"] == trials and each["function"] in names
                for p, (low, high) in each["intervals"].items()
            ]
            if found:
                inside, widths = np.array(found, dtype=float).T
                lines.append(
                    f"| {label} | {trials} | {inside.mean():.1%} of {len(found)} | {widths.mean():.3f} |"
                )
    return lines


def main() -> None:
    """Run what is missing and print the table."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--first", type=int, default=2, help="the first seed")
    parser.add_argument("--out", type=Path, default=Path("importance.jsonl"))
    args = parser.parse_args()
    runs = read_results(args.out)
    there = {(each["function"], each["trials"], each["seed"]) for each in runs}
    for seed in range(args.first, args.first + args.seeds):
        for name in FUNCTIONS:
            for trials in TRIALS:
                if (name, trials, seed) not in there:
                    runs.append(run(name, trials, seed))
                    append(args.out, runs[-1])
    print("\n".join(table(runs)))


if __name__ == "__main__":
    main()

"""Importances beside Optuna's, on functions whose importances arithmetic gives.

``python -m benchmarks.importance --seeds 6 --out importance.jsonl`` measures random configurations of each
function with noise and asks every method what mattered; the table says how far they are from the truth. A run
is one (function, trials, seed); started again with the same file, runs that are there are skipped.

The truth is exact over the grid of 33 values of each parameter: Shapley effects, and main effects divided by
their sum, which is what Optuna's fANOVA estimates. Its other evaluators have no target of their own and stand
beside both.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Mapping
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


FUNCTIONS: dict[str, Function] = {f.__name__: f for f in (additive, interacting, ishigami, sobol_g)}
NAMES = "abcd"


def truth(function: Function) -> tuple[dict[str, float], dict[str, float], float]:
    """Return Shapley effects, main effects by their sum, and the standard deviation, over the grid."""
    axes = np.meshgrid(*[GRID] * len(NAMES), indexing="ij")
    values = function(dict(zip(NAMES, axes, strict=True)))

    def explained(known: tuple[int, ...]) -> float:
        rest = tuple(i for i in range(len(NAMES)) if i not in known)
        return float(values.mean(axis=rest).var())

    orders = list(permutations(range(len(NAMES))))
    effects = np.zeros(len(NAMES))
    for order in orders:
        for k, i in enumerate(order):
            effects[i] += explained(order[: k + 1]) - explained(order[:k])
    mains = np.array([explained((i,)) for i in range(len(NAMES))])
    shares, alone = effects / effects.sum(), mains / (mains.sum() or 1.0)
    spread = float(values.std())
    return dict(zip(NAMES, shares, strict=True)), dict(zip(NAMES, alone, strict=True)), spread


def run(name: str, trials: int, seed: int) -> dict[str, Any]:
    """Return what every method says of one set of measurements."""
    import optuna

    function = FUNCTIONS[name]
    rng = np.random.default_rng([seed, trials])
    spread = truth(function)[2]
    parameters = {p: {"type": "float", "low": 0.0, "high": 1.0} for p in NAMES}
    space = autotune.Space.from_dict({"parameters": parameters})
    study = autotune.Study(space, autotune.Objective.from_dict({"minimize": "loss"}), engine="random")
    peers = optuna.create_study()
    ranges = {p: optuna.distributions.FloatDistribution(0.0, 1.0) for p in NAMES}
    for config in space.sample(trials, rng):
        value = float(function(config)) + NOISE * spread * float(rng.standard_normal())
        study.add(config, {"loss": value})
        peers.add_trial(optuna.trial.create_trial(params=config, distributions=ranges, value=value))
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
    for name, function in FUNCTIONS.items():
        shares, alone, _ = truth(function)
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
    exact = {name: truth(function)[0] for name, function in FUNCTIONS.items()}
    for trials in TRIALS:
        inside = [
            low - MARGIN <= exact[each["function"]][p] <= high + MARGIN
            for each in runs
            if each["trials"] == trials
            for p, (low, high) in each["intervals"].items()
        ]
        if inside:
            lines.append(f"{trials} trials: {np.mean(inside):.0%} of our 95 % intervals hold the truth")
    return lines


def main() -> None:
    """Run what is missing and print the table."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--out", type=Path, default=Path("importance.jsonl"))
    args = parser.parse_args()
    runs = read_results(args.out)
    there = {(each["function"], each["trials"], each["seed"]) for each in runs}
    for seed in range(args.seeds):
        for name in FUNCTIONS:
            for trials in TRIALS:
                if (name, trials, seed) not in there:
                    runs.append(run(name, trials, seed))
                    append(args.out, runs[-1])
    print("\n".join(table(runs)))


if __name__ == "__main__":
    main()

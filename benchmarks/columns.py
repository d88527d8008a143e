"""How often the parameter that matters most is a column of the table of trials, after a real search.

``python -m benchmarks.columns --engines gp,optuna:tpe --seeds 12`` lets each engine search a function of
24 parameters, of which one explains a given share of the goal's variance, and draws the table of ``autotune
status`` at 60 and 80 columns after 15 and after 40 trials. The others weigh at random, on a line or around a
peak in turn.
"""

from __future__ import annotations

import argparse
import math
import random
from collections import Counter
from collections.abc import Iterator, Mapping

from autotune import Study
from autotune.analysis.study_view import StudyView
from autotune.report.tables import trial_table

NAMES = [f"parameter_{i}" for i in range(24)]
AFTER = (15, 40)
WIDTHS = (60, 80)
SHARES = (0.4, 0.6, 0.8)
SPREAD = 2.58
"""Standard deviation of a whole number from 0 to 8."""


def weighed(seed: int, share: float) -> tuple[str, dict[str, float], bool]:
    """Return the parameter that explains a share of the variance, all weights, and whether it bends."""
    rng = random.Random(seed)
    main, bend = rng.choice(NAMES), bool(seed % 2)
    weights = {name: rng.choice([-1, 1]) * rng.expovariate(1.0) for name in NAMES}
    others = math.sqrt(sum(w * w for name, w in weights.items() if name != main))
    weights[main] = others * math.sqrt(share / (1.0 - share))
    return main, weights, bend


def measured(config: Mapping[str, int], main: str, weights: Mapping[str, float], *, bend: bool) -> float:
    """Return the goal of a configuration, positive."""
    at = {name: (config[name] - 4) / SPREAD for name in NAMES}
    found = sum(weights[name] * at[name] for name in NAMES if name != main)
    found += weights[main] * (1.1 * (1.0 - at[main] ** 2) if bend else at[main])
    return math.exp(found / (5.0 * math.sqrt(sum(w * w for w in weights.values()))))


def searched(engine: str, seed: int, share: float) -> Iterator[tuple[int, int, bool]]:
    """Yield trials, width and whether the parameter that matters most is a column, of one search."""
    main, weights, bend = weighed(seed, share)
    space = {name: {"type": "int", "low": 0, "high": 8, "default": 4} for name in NAMES}
    with Study({"parameters": space}, {"maximize": "speed"}, engine=engine, seed=seed) as study:
        for count in range(1, max(AFTER) + 1):
            trial = study.ask()
            study.tell(trial, {"speed": measured(trial.config, main, weights, bend=bend)})
            if count in AFTER:
                view = StudyView("columns", study.space, study.objective, tuple(study.trials))
                for width in WIDTHS:
                    text = "\n".join(trial_table(view, width=width))
                    yield count, width, not _is_hidden(main, text)


def _is_hidden(name: str, text: str) -> bool:
    """Return whether a table names a parameter among those for which it has no column."""
    below = [part for mark in ("also varied:", "not shown:") for part in text.partition(mark)[2].split()]
    return name in (word.strip(",.;") for word in below)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engines", default="gp,optuna:tpe,random")
    parser.add_argument("--seeds", type=int, default=12)
    args = parser.parse_args()
    print(
        "| engine | share of the variance | "
        + " | ".join(f"{n} trials, {w} columns" for n in AFTER for w in WIDTHS)
        + " |"
    )
    print("|" + " --- |" * (2 + len(AFTER) * len(WIDTHS)))
    for engine in args.engines.split(","):
        for share in SHARES:
            seen = Counter(
                (count, width)
                for seed in range(args.seeds)
                for count, width, shown in searched(engine, seed, share)
                if shown
            )
            cells = (f"{seen[n, w]} of {args.seeds}" for n in AFTER for w in WIDTHS)
            print(f"| {engine} | {share:.0%} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()

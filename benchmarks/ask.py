"""Seconds to choose the next configuration as trials and the space grow: ``python -m benchmarks.ask``."""

from __future__ import annotations

import time
import warnings

import numpy as np

from autotune.core.measurement import Estimate, Measurement
from autotune.core.objective import Objective
from autotune.core.parameter import Int
from autotune.core.space import Space
from autotune.core.trial import Reason, Suggestion, Trial, TrialState
from autotune.engine.gp import GPEngine

OBJECTIVE = Objective.from_dict({"maximize": "y"})
SIZES = {3: 1_000, 4: 10_000, 5: 100_000}  # parameters of ten values each -> configurations
TRIALS = (10, 30, 100)


def history_of(space: Space, n: int) -> list[Trial]:
    """Return ``n`` random trials of a smooth function."""
    trials = []
    for number, config in enumerate(space.sample(n, np.random.default_rng(0))):
        y = 10.0 + sum(np.sin(int(value) * (i + 1) / 7) for i, value in enumerate(config.values()))
        measurement = Measurement(metrics={"y": Estimate(float(y), 0.1)})
        trials.append(Trial(number, Suggestion(config, Reason.RANDOM), TrialState.COMPLETED, 1, measurement))
    return trials


def main() -> None:
    """Print seconds per ask, the median of three."""
    warnings.simplefilter("ignore")
    engine = GPEngine(initial=1)
    print(f"{'configurations':>14}" + "".join(f"{f'{n} trials':>14}" for n in TRIALS))
    for d, count in SIZES.items():
        space = Space(tuple(Int(f"p{i}", 0, 9) for i in range(d)))
        cells = ""
        for n in TRIALS:
            trials = history_of(space, n)
            times = []
            for seed in range(3):
                began = time.perf_counter()
                engine.ask(space, OBJECTIVE, trials, [], 1, seed)
                times.append(time.perf_counter() - began)
            cells += f"{f'{np.median(times):.2f} s':>14}"
        print(f"{count:>14,}{cells}")


if __name__ == "__main__":
    main()

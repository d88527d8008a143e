"""Processor time and memory of one ask as trials and the space grow: ``python -m benchmarks.ask``.

Parameters are mixed, twelve of them where there are 100,000 configurations; every ask sees a history that no
ask saw before, as in a study. A cell is the median of several asks, in a process of its own so that its peak
of memory is its own; the engine takes one thread.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from autotune.core.measurement import Cause, Estimate, Failure, Measurement
from autotune.core.objective import Objective
from autotune.core.parameter import Bool, Categorical, Int, Ordinal
from autotune.core.space import Space
from autotune.core.trial import Config, Reason, Suggestion, Trial, TrialState
from autotune.engine.gp import GPEngine

OBJECTIVES = {
    "goal": Objective.from_dict({"maximize": "y"}),
    "goal, limit, failures": Objective.from_dict({"maximize": "y", "limits": ["l <= 1.8"]}),
}
TRIALS = (10, 30, 100, 300, 1000)
SHAPES = ((1, 2, 1), (1, 4, 1), (3, 6, 1), (5, 6, 6), (10, 6, 24))
"""Sizes of the spaces: powers of two of one parameter, number of switches, values of the last parameter."""

ASKS = 5


def space_of(powers: int, switches: int, values: int) -> Space:
    """Return a space of ``405 (powers + 1) 2**switches values`` configurations."""
    return Space(
        (
            Int("a", 1, 2**powers, powers_of=2, scale="log2", memory="up"),
            Ordinal("b", (4, 8, 16)),
            Int("c", 0, 4),
            Categorical("d", ("x", "y", "z")),
            Ordinal("g", (1, 2, 4)),
            Int("h", 0, 2),
            *(Bool(f"s{i}") for i in range(switches)),
            *((Int("n", 1, values),) if values > 1 else ()),
        )
    )


def history_of(space: Space, n: int, *, failures: bool) -> list[Trial]:
    """Return ``n`` random trials of a smooth noisy function; some run out of memory where ``failures``."""
    rng = np.random.default_rng(0)
    return [
        Trial(
            number,
            Suggestion(config, Reason.RANDOM),
            TrialState.COMPLETED if measured.failure is None else TrialState.INFEASIBLE,
            1,
            measured,
        )
        for number, config in enumerate(space.sample(n, rng))
        for measured in [_measured(space, config, rng, failures=failures)]
    ]


def _measured(space: Space, config: Config, rng: np.random.Generator, *, failures: bool) -> Measurement:
    v = [p.level_of(config[p.name]) / max(1, len(p.levels) - 1) for p in space.parameters]
    if failures and v[0] + v[1] >= 1.7:
        return Measurement(failure=Failure(Cause.OUT_OF_MEMORY))
    y = float(np.exp(np.sin(3 * v[0]) + v[1] * v[2] + 0.5 * v[3] + 0.3 * v[4] + 0.02 * rng.standard_normal()))
    return Measurement(metrics={"y": Estimate(y, 0.02 * y), "l": Estimate(float(1 + v[0] + 0.1 * v[5]))})


def cell(shape: tuple[int, int, int], trials: int, kind: str) -> dict[str, Any]:
    """Measure one cell: seconds of processor time per ask, and the most memory the process had."""
    warnings.simplefilter("ignore")
    space, objective, engine = space_of(*shape), OBJECTIVES[kind], GPEngine()
    history = history_of(space, trials + ASKS, failures=kind != "goal")
    engine.ask(space, objective, history[:8], [], 1, 0)  # the table of the space is made once per study
    seconds = []
    for i in range(ASKS):
        began = time.process_time()
        engine.ask(space, objective, history[: trials + i], [], 1, i)
        seconds.append(time.process_time() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "configurations": round(space.count().value),
        "trials": trials,
        "kind": kind,
        "seconds": float(np.median(seconds)),
        "slowest": max(seconds),
        "peak_mib": peak,
    }


def draw(cells: Sequence[dict[str, Any]], path: Path) -> None:
    """Write the growth with trials and with the space as a PNG file."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 4))
    for kind, style in zip(OBJECTIVES, ("-", "--"), strict=True):
        for axis, along, other, at in (
            (axes[0], "trials", "configurations", None),
            (axes[1], "configurations", "trials", (10, 100, 1000)),
        ):
            for value in sorted({c[other] for c in cells} if at is None else at):
                line = sorted(
                    (c[along], c["seconds"]) for c in cells if c["kind"] == kind and c[other] == value
                )
                axis.loglog(*zip(*line, strict=True), style, marker="o", label=f"{value:,} {other}, {kind}")
            axis.set(xlabel=along, ylabel="seconds of one core per ask")
            axis.legend(fontsize=5)
    figure.tight_layout()
    figure.savefig(path, dpi=140)


def main() -> None:
    """Print a table per kind of objective; write the cells and a plot when asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="JSON file of the cells")
    parser.add_argument("--plot", type=Path, help="PNG file")
    options = parser.parse_args()
    cells = []
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for kind in OBJECTIVES:
            print(f"{kind}\n{'configurations':>14}" + "".join(f"{f'{n} trials':>13}" for n in TRIALS))
            for shape in SHAPES:
                found = [pool.apply(cell, (shape, n, kind)) for n in TRIALS]
                cells += found
                row = "".join(f"{c['seconds']:>11.3f} s" for c in found)
                print(
                    f"{found[0]['configurations']:>14,}{row}   {max(c['peak_mib'] for c in found):.0f} MiB",
                    flush=True,
                )
    if options.out:
        options.out.write_text(json.dumps(cells, indent=1) + "\n", encoding="utf-8")
    if options.plot:
        draw(cells, options.plot)


if __name__ == "__main__":
    main()

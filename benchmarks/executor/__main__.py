"""Measure the loop with simulated work: ``python -m benchmarks.executor --plot executor.png``.

Two runs of the real loop, ledger and mirror over workers that only wait. *Busy*: 64 workers and trials of one
second; which part of the workers' time is used. *Overhead*: one worker and trials of no time at all; what a
trial costs beside its measurement, from its suggestion to the commit of its result. The engine is ``random``:
a model's ask is measured by ``python -m benchmarks.ask``.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from autotune.study.run import run_study
from autotune.study.study_file import read_study
from benchmarks.executor.simulated import Quiet, SimulatedExecutor

STUDY = """
name: executor
parameters:
  a: {{type: int, low: 1, high: 1000, default: 1}}
  b: {{type: int, low: 1, high: 1000, default: 1}}
system: {{use: function, call: "{module}:nothing"}}
objective: {{maximize: output_throughput}}
budget: {{trials: {trials}, confirm: 0, watch: 0}}
engine: {{use: random, seed: 0}}
tracking: {{mlflow: {mlflow}}}
"""
WINDOWS = 20
"""Points of a curve over the trials."""


def run(kind: str, trials: int, workers: int, seconds: float, mirror: bool) -> dict[str, object]:
    """Run a study and return its figures, with a curve over the trials."""
    executor = SimulatedExecutor(workers, seconds)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "executor.yaml"
        mlflow = f"sqlite:///{folder}/mlflow.db" if mirror else "none"
        module = Path(__file__).with_name("simulated.py")
        path.write_text(STUDY.format(trials=trials, mlflow=mlflow, module=module), encoding="utf-8")
        spec = read_study(path)
        began, cpu = time.monotonic(), time.process_time()
        done = run_study(
            spec, store=Path(folder) / "store", view=Quiet(), tracking=mirror,
            make_executor=lambda _spec, _local: executor,
        )  # fmt: skip
        wall, cpu = time.monotonic() - began, time.process_time() - cpu
    ends = np.asarray(executor.ends)
    chunks = np.array_split(np.arange(1, len(ends)), WINDOWS)
    return {
        "kind": kind,
        "trials": len(done.view.trials),
        "workers": workers,
        "seconds": seconds,
        "mirror": mirror,
        "wall_s": round(wall, 2),
        "cpu_ms_per_trial": round(1e3 * cpu / trials, 2),
        "ms_per_trial": round(float(1e3 * (ends[-1] - ends[0]) / (len(ends) - 1)), 2),
        "busy": round(_busy(ends, workers, seconds), 4),
        "curve": [
            {
                "trial": int(part[-1]),
                "ms_per_trial": round(float(1e3 * (ends[part[-1]] - ends[part[0] - 1]) / len(part)), 3),
            }
            for part in chunks
            if len(part)
        ],
    }


def _busy(ends: np.ndarray, workers: int, seconds: float) -> float:
    """Return the part of the workers' time that was spent on attempts, first and last seconds left out.

    While the workers fill up and empty there is no work for all of them, however good the loop is.
    """
    inner = ends[(ends >= ends[0] + 2 * seconds) & (ends <= ends[-1] - 2 * seconds)]
    if not seconds or len(inner) < 2 * workers:
        return float("nan")
    return float((len(inner) - 1) * seconds / (workers * (inner[-1] - inner[0])))


def plot(rows: list[dict[str, object]], path: Path) -> None:
    """Draw what a trial costs over the number of trials."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
    for row in rows:
        curve = row["curve"]
        x = [point["trial"] for point in curve]  # type: ignore[attr-defined]
        y = [point["ms_per_trial"] for point in curve]  # type: ignore[attr-defined]
        what = "mirrored to MLflow" if row["mirror"] else "ledger only"
        label = f"{row['workers']} workers, {row['seconds']} s trials" if row["seconds"] else what
        axes.plot(x, y, marker="o", markersize=3, label=label)
    axes.axhline(50, color="grey", linewidth=0.8, linestyle="--")
    axes.set(xlabel="trials so far", ylabel="milliseconds per trial", yscale="log")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Run what is asked for and print a row of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--mirrored", type=int, default=1_000, help="trials of the run with a mirror")
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    wanted = [
        ("busy", options.trials, options.workers, options.seconds, False),
        ("overhead", options.trials, 1, 0.0, False),
        ("overhead", options.mirrored, 1, 0.0, True),
    ]
    rows = []
    for what in wanted:
        if what[1]:
            rows.append(run(*what))
            print(json.dumps({key: value for key, value in rows[-1].items() if key != "curve"}), flush=True)
    if options.out:
        options.out.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    if options.plot:
        plot(rows, options.plot)


if __name__ == "__main__":
    main()

"""Is what the engine says of itself true: ``python -m benchmarks.calibration --out calibration.jsonl``.

After every trial, what the engine says is left to gain is taken down beside the truth. A run is one line of
the file; started again with the same file, runs that are there are skipped. The tables say how often the
truth lies within the stated 90 % bound, when ``stop_when: converged`` would have ended the study, and at what
cost.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from autotune.core import ranking
from autotune.core.trial import config_key
from benchmarks.compare import append, read_results
from benchmarks.methods.ours import EngineMethod
from benchmarks.problems import builders
from benchmarks.problems.base import Problem
from benchmarks.race import noisy

LOOKS = (10, 20, 40)
KEYS = ("gap", "bound", "median", "improvement", "noise", "converged")
"""What is taken down after each trial, in per cent of the goal."""

Run = Mapping[str, Any]


def gap_of(problem: Problem, quality: float) -> float | None:
    """Return what the goal may truly rise or fall by, in per cent; None for what fails or breaks a limit."""
    if quality <= 0:
        return None
    return 100 * (1 / quality - 1) if problem.objective.goals[0].maximize else 100 * (1 - quality)


def follow(problem: Problem, method: str, seed: int, trials: int, first: int) -> dict[str, list[Any]]:
    """Run a method and return, trial by trial, what is left and what the engine says is left.

    Args:
        problem: To be searched.
        method: One of our engines that has a model, with its options.
        seed: Of the engine and of the noise.
        trials: How many.
        first: Trials after which the engine is first asked for its account.
    """
    session = EngineMethod(method).start(problem, seed, trials)
    seen: dict[str, int] = {}
    lists: dict[str, list[Any]] = {key: [] for key in KEYS}
    for number in range(1, trials + 1):
        config = session.ask()
        if config is None:
            break
        key = config_key(config)
        session.tell(config, noisy(problem, config, seed, seen.get(key, 0)))
        seen[key] = seen.get(key, 0) + 1
        best = ranking.best(session.history, problem.objective)
        lists["gap"].append(None if best is None else gap_of(problem, problem.quality(best.config)))
        said = None
        if number >= first:
            said = session.engine.assess(problem.space, problem.objective, session.history, seed)  # type: ignore[attr-defined]
        for name in KEYS[1:]:
            lists[name].append(None if said is None else getattr(said, name))
    return lists


def one(name: str, tables: Path | None, method: str, seed: int, trials: int, first: int) -> dict[str, Any]:
    """Do one run in a worker process."""
    problem = builders([name], tables)[name]()
    return {
        "problem": name,
        "method": method,
        "seed": seed,
        "trials": trials,
        **follow(problem, method, seed, trials, first),
    }


def covered(runs: Sequence[Run], look: int) -> list[tuple[float, float]]:
    """Return the true gap and the bound of each run after ``look`` trials, where both are there."""
    pairs = []
    for run in runs:
        if len(run["gap"]) >= look:
            gap, bound = run["gap"][look - 1], run["bound"][look - 1]
            if gap is not None and bound is not None:
                pairs.append((gap, bound))
    return pairs


def stopped_at(run: Run) -> int | None:
    """Return after how many trials the study would have ended; ``None`` if its budget ends it."""
    return next((i for i, converged in enumerate(run["converged"], 1) if converged), None)


def tables_of(runs: Sequence[Run], looks: Sequence[int] = LOOKS) -> Iterator[str]:
    """Yield the lines of both tables, problem by problem and for all together."""
    names = list(dict.fromkeys(run["problem"] for run in runs))
    groups = {name: [run for run in runs if run["problem"] == name] for name in names} | {"all": list(runs)}
    wide = max(len(name) for name in groups)
    yield f"{'share of runs within their 90 % bound, median bound and gap in per cent':<{wide}}"
    yield f"{'problem':<{wide}}  runs" + "".join(f"  {f'{look} trials':>24}" for look in looks)
    for name, group in groups.items():
        cells = ""
        for look in looks:
            pairs = covered(group, look)
            text = "-"
            if pairs:
                gaps, bounds = np.array(pairs).T
                share = f"{100 * np.mean(gaps <= bounds + 1e-9):.0f} % of {len(pairs)}"
                text = f"{share}, {np.median(bounds):.3g}, {np.median(gaps):.3g}"
            cells += f"  {text:>24}"
        yield f"{name:<{wide}}  {len(group):>4}{cells}"
    yield ""
    yield "stop_when: converged"
    heads = f"{'stopped':>9}  {'at trial':>8}  {'saved':>5}  {'gap then':>14}  {'gap at the end':>14}"
    yield f"{'problem':<{wide}}  {heads}"
    for name, group in groups.items():
        yield f"{name:<{wide}}  {_stops(group)}"


def _stops(group: Sequence[Run]) -> str:
    at = [(run, stop) for run in group if (stop := stopped_at(run)) is not None]
    shown = f"{len(at)} of {len(group)}"
    if not at:
        return f"{shown:>9}"
    trials = [stop for _, stop in at]
    saved = sum(len(run["gap"]) - stop for run, stop in at) / sum(len(run["gap"]) for run in group)
    then = [run["gap"][stop - 1] for run, stop in at]
    last = [run["gap"][-1] for run, _ in at]
    figures = f"{shown:>9}  {np.median(trials):>8.0f}  {100 * saved:>3.0f} %"
    return f"{figures}  {_spread(then):>14}  {_spread(last):>14}"


def _spread(gaps: Sequence[float | None]) -> str:
    """Return median and 90 % quantile; what truly breaks a limit counts as infinitely far."""
    values = np.array([np.inf if gap is None else gap for gap in gaps])
    middle, high = np.quantile(values, [0.5, 0.9], method="higher")
    return f"{middle:.3g}, {high:.3g}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is not in the file yet and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--problems", default="*", help="patterns with commas (default: all)")
    parser.add_argument("--tables", type=Path, help="folder of measured tables to replay")
    parser.add_argument("--method", default="gp", help="our engine, with options (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--first", type=int, default=6, help="trials before the first account")
    parser.add_argument("--out", type=Path, default=Path("calibration.jsonl"))
    parser.add_argument("--jobs", type=int, default=1, help="worker processes; 0 only prints")
    asked = parser.parse_args(arguments)
    try:
        names = list(builders(asked.problems.split(","), asked.tables))
    except ValueError as error:
        parser.error(str(error))
    wanted = [(name, asked.method, seed, asked.trials) for seed in range(asked.seeds) for name in names]
    key = ("problem", "method", "seed", "trials")
    done = {tuple(run[k] for k in key) for run in read_results(asked.out, mend=True)}
    left = [task for task in wanted if task not in done] if asked.jobs else []
    print(f"{len(names)} problems, {len(wanted)} runs, {len(left)} to do", flush=True)
    if left:
        with ProcessPoolExecutor(asked.jobs, mp_context=get_context("spawn")) as pool:
            futures = [
                pool.submit(one, name, asked.tables, method, seed, trials, asked.first)
                for name, method, seed, trials in left
            ]
            for number, future in enumerate(as_completed(futures), 1):
                append(asked.out, future.result())
                print(f"[{number}/{len(left)}]", flush=True)
    runs = [run for run in read_results(asked.out) if tuple(run[k] for k in key) in set(wanted)]
    if runs:
        print("\n".join(tables_of(runs)))


if __name__ == "__main__":
    main()

"""Our engines beside their peers: ``python -m benchmarks.compare --methods gp,random --out results.jsonl``.

Every (problem, method, seed, parallel) is one run, done in a worker process and appended to the file as one
line when it is over. Started again with the same file, runs that are there are skipped: stop it at any time.
``python -m benchmarks.report results.jsonl`` says what came of it.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.crew import Crew
from benchmarks.problems import builders

METHODS = "gp,optuna:tpe,coordinate_descent,random"
"""What needs nothing that the package itself does not."""


@dataclass(frozen=True, order=True)
class Task:
    """Name one run.

    Args:
        seed: Of the method and of the noise.
        problem: By name.
        method: By name.
        parallel: Trials out at all times.
        trials: How many.
    """

    seed: int
    problem: str
    method: str
    parallel: int
    trials: int


def read_results(path: Path, *, mend: bool = False) -> list[dict[str, Any]]:
    """Return the runs of a file; the last line may be torn by an interruption.

    Args:
        path: Need not exist.
        mend: Cut a torn last line off the file, so that what is appended begins a line of its own.

    Raises:
        ValueError: A line before the last is no JSON.
    """
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if mend and whole < len(data):
        with path.open("r+b") as file:
            file.truncate(whole)
    lines = data[:whole].decode().splitlines()
    results = []
    for number, line in enumerate(lines, 1):
        try:
            results.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}:{number}: not a result: {error}") from None
    return results


def task_of(result: dict[str, Any]) -> Task:
    """Return which run a line is the result of."""
    return Task(**{key: result[key] for key in Task.__dataclass_fields__})


def tasks_left(tasks: Sequence[Task], results: Sequence[dict[str, Any]], *, retry: bool) -> list[Task]:
    """Return the tasks that have no result; with ``retry`` also those whose result is an error."""
    done = {task_of(result) for result in results if not (retry and "error" in result)}
    return [task for task in tasks if task not in done]


def all_tasks(
    names: Sequence[str], methods: Sequence[str], seeds: int, parallel: Sequence[int], trials: int
) -> Iterator[Task]:
    """Yield the tasks seed by seed, so that an interrupted file is a fair comparison with fewer seeds."""
    for seed in range(seeds):
        for width in parallel:
            for name in names:
                for method in methods:
                    yield Task(seed, name, method, width, trials)


def append(path: Path, result: dict[str, Any]) -> None:
    """Add one line with one write, so that several processes may share a file."""
    line = (json.dumps(result, separators=(",", ":")) + "\n").encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, line)
        os.fsync(handle)
    finally:
        os.close(handle)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is not in the file yet."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--methods", default=METHODS, help="names with commas (default: %(default)s)")
    parser.add_argument("--problems", default="*", help="patterns with commas (default: all)")
    parser.add_argument("--tables", type=Path, help="folder of measured tables to replay")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--parallel", default="1", help="trials out at a time, with commas: 1,4")
    parser.add_argument("--out", type=Path, default=Path("results.jsonl"))
    parser.add_argument("--jobs", type=int, default=1, help="worker processes")
    parser.add_argument("--limit", type=float, default=3600.0, help="seconds for one run")
    parser.add_argument("--retry-errors", action="store_true", help="run again what ended in an error")
    asked = parser.parse_args(arguments)
    try:
        names = list(builders(asked.problems.split(","), asked.tables))
    except ValueError as error:
        parser.error(str(error))
    widths = [int(text) for text in asked.parallel.split(",")]
    tasks = list(all_tasks(names, asked.methods.split(","), asked.seeds, widths, asked.trials))
    left = tasks_left(tasks, read_results(asked.out, mend=True), retry=asked.retry_errors)
    print(f"{len(names)} problems, {len(tasks)} runs, {len(tasks) - len(left)} done already")
    began = time.monotonic()
    with Crew(asked.jobs, asked.tables, asked.limit) as crew:
        for number, (task, result) in enumerate(crew.work(left), 1):
            append(asked.out, {**asdict(task), **result})
            note = f"ERROR {result['error'].splitlines()[-1]}" if "error" in result else _summary(result)
            spent = time.monotonic() - began
            print(f"[{number}/{len(left)} {spent:.0f} s] {task.problem} {task.method} "
                  f"seed {task.seed} x{task.parallel}: {note}", flush=True)  # fmt: skip


def _summary(result: dict[str, Any]) -> str:
    if not result["recommended"]:
        return "nothing tried"
    wasted = sum(result["failed"]) + sum(result["broke"])
    return f"{result['recommended'][-1]:.3f}, {wasted} wasted, {sum(result['ask']):.1f} s"


if __name__ == "__main__":
    main()

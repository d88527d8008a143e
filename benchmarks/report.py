"""What came of a comparison: ``python -m benchmarks.report results.jsonl [--reference gp] [--plots DIR]``."""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.compare import read_results
from benchmarks.measures import (
    NEAR,
    Comparison,
    Run,
    at_look,
    compare,
    ratio_interval,
    ratios,
    trials_to,
    wasted,
)
from benchmarks.methods import is_peer

LEVEL = 0.05
WASTES = (("failed",), ("failed", "broke"))


@dataclass(frozen=True)
class Results:
    """Runs of one width of parallelism.

    Args:
        runs: By problem and method, then by seed.
        errors: Lines that say which run ended in which error.
        looks: Numbers of trials after which methods are compared.
    """

    runs: dict[tuple[str, str], dict[int, Run]]
    errors: list[str]
    looks: tuple[int, ...]

    @property
    def problems(self) -> list[str]:
        """Names, in the order of their first runs."""
        return list(dict.fromkeys(problem for problem, _ in self.runs))

    @property
    def methods(self) -> list[str]:
        """Names, ours first."""
        names = dict.fromkeys(method for _, method in self.runs)
        return sorted(names, key=is_peer)

    def of(self, problem: str, method: str) -> list[Run]:
        """Return the runs of a method on a problem."""
        return list(self.runs.get((problem, method), {}).values())


def collect(lines: Iterable[Mapping[str, Any]], parallel: int, looks: Sequence[int]) -> Results:
    """Sort the lines of a file; an error counts only where no later line has the result.

    Runs of another number of trials than the problem's largest are left out: methods plan by their
    budget. So a problem that nobody comes to the end of can be run longer, and compared by that alone.
    """
    lines = [line for line in lines if line["parallel"] == parallel]
    budgets: dict[str, int] = defaultdict(int)
    for line in lines:
        budgets[line["problem"]] = max(budgets[line["problem"]], line["trials"])
    shortest = min(budgets.values(), default=0)
    runs: dict[tuple[str, str], dict[int, Run]] = defaultdict(dict)
    failed: dict[tuple[str, str, int], str] = {}
    for line in lines:
        if line["trials"] != budgets[line["problem"]]:
            continue
        key = (line["problem"], line["method"], line["seed"])
        if "error" in line:
            failed[key] = line["error"].splitlines()[-1]
        else:
            runs[key[:2]][line["seed"]] = line
            failed.pop(key, None)
    errors = [f"{problem} {method} seed {seed}: {text}" for (problem, method, seed), text in failed.items()]
    return Results(dict(runs), errors, tuple(look for look in looks if look <= shortest) or (shortest,))


def quartiles(values: Sequence[float]) -> str:
    """Return ``0.95 [0.90, 0.99]``."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f"{middle:.2f} [{low:.2f}, {high:.2f}]"


def problem_table(results: Results, problem: str) -> list[str]:
    """Return the table of one problem."""
    lines = ["", problem]
    lines.append(f"{'':<20}" + "".join(f"{f'after {n}':>18}" for n in results.looks)
                 + f"{'to 5 %':>7}{'waste':>6}{'s/ask':>7}{'seeds':>6}")  # fmt: skip
    for method in results.methods:
        runs = results.of(problem, method)
        if not runs:
            continue
        cells = "".join(f"{quartiles([at_look(run, n) for run in runs]):>18}" for n in results.looks)
        lines.append(f"{method[:19]:<20}{cells}{_reach(runs):>7}{_mean_waste(runs, 'failed', 'broke'):>6.1f}"
                     f"{_seconds(runs):>7.2f}{len(runs):>6}")  # fmt: skip
    return lines


def _reach(runs: Sequence[Run]) -> str:
    middle = float(np.median([trials_to(run) for run in runs]))
    budget = runs[0]["trials"]
    return f">{budget}" if middle > budget else f"{middle:g}"


def _mean_waste(runs: Sequence[Run], *keys: str) -> float:
    return float(np.mean([wasted(run, *keys) for run in runs])) if runs else float("nan")


def _seconds(runs: Sequence[Run]) -> float:
    asks = [second for run in runs for second in run["ask"]]
    return float(np.mean(asks)) if asks else 0.0


def overall_rows(results: Results) -> list[list[str]]:
    """Return a row per method: medians over problems, and means per run where anything is wasted."""
    rows = []
    where = [[p for p in results.problems if _anywhere(results, p, *keys)] for keys in WASTES]
    for method in results.methods:
        each = [runs for p in results.problems if (runs := results.of(p, method))]
        every = [run for runs in each for run in runs]
        looks = [np.median([np.median([at_look(run, n) for run in runs]) for runs in each])
                 for n in results.looks]  # fmt: skip
        reached = np.mean([trials_to(run) <= run["trials"] for run in every])
        spent = np.mean([np.mean([min(trials_to(r), r["trials"]) for r in runs]) for runs in each])
        waste = []
        for keys, problems in zip(WASTES, where, strict=True):
            means = [_mean_waste(runs, *keys) for p in problems if (runs := results.of(p, method))]
            waste.append(f"{np.mean(means):.1f}" if means else "-")
        row = [method, *(f"{look:.2f}" for look in looks), f"{reached:.0%}", f"{spent:.1f}", *waste]
        rows.append([*row, f"{_seconds(every):.2f}", str(len(each))])
    return rows


def _anywhere(results: Results, problem: str, *keys: str) -> bool:
    return any(wasted(run, *keys) for method in results.methods for run in results.of(problem, method))


def header(results: Results) -> list[str]:
    """Return the names of the columns of :func:`overall_rows`."""
    looks = [f"@{n}" for n in results.looks]
    return ["method", *looks, "reached", "trials", "failed", "wasted", "s/ask", "problems"]


def overall(results: Results) -> list[str]:
    """Return the table over all problems."""
    lines = [
        "",
        "All problems: quality after n trials (median of medians), share of runs that came within",
        f"{1 - NEAR:.0%}, trials until then (mean, at most the budget), trials failed and wasted (failed or",
        "beyond a limit) per run where there are any, seconds per ask",
    ]
    rows = [header(results), *overall_rows(results)]
    return lines + [f"{row[0][:23]:<24}" + "".join(f"{cell:>9}" for cell in row[1:]) for row in rows]


def ratio_lines(results: Results, reference: str, peers: Sequence[str]) -> list[str]:
    """Return how many trials the reference needs beside the best peer of each problem, and what it wastes."""
    lines = ["", f"Trials of {reference} to come within {1 - NEAR:.0%} over those of the best peer (medians)"]
    found = ratios(results.runs, reference, peers)
    lines += [f"  {problem[:52]:<54}{ratio:>6.2f}  {peer}" for problem, (ratio, peer) in found.items()]
    never = [p for p in results.problems if p not in found]
    if never:
        lines.append(f"  left out, nobody's median gets there: {', '.join(never)}")
    interval = ratio_interval(results.runs, reference, peers)
    if interval is not None:
        middle, low, high = interval
        lines.append(
            f"  median over {len(found)} problems: {middle:.2f} [{low:.2f}, {high:.2f}] (95 %, bootstrap)"
        )
    for peer in peers:  # the same against each alone
        alone = [ratio for ratio, _ in ratios(results.runs, reference, [peer]).values()]
        if alone:
            lines.append(f"    beside {peer:<28}{np.median(alone):>6.2f} over {len(alone)} problems")
    return lines


def waste_lines(results: Results, reference: str, peers: Sequence[str]) -> list[str]:
    """Return the wasted trials per run of the reference and the best peer, where all of them were run."""
    lines = [""]
    for name, keys in zip(("failed", "failed or beyond a limit"), WASTES, strict=True):
        sides = [reference, *(p for p in peers if any(results.of(q, p) for q in results.problems))]
        problems = [
            p
            for p in results.problems
            if _anywhere(results, p, *keys) and all(results.of(p, s) for s in sides)
        ]
        if not problems or len(sides) < 2:
            continue
        means = {s: np.mean([_mean_waste(results.of(p, s), *keys) for p in problems]) for s in sides}
        best = min(sides[1:], key=lambda side: means[side])
        share = f"{means[reference] / means[best]:.2f}" if means[best] else "no"
        mine, theirs = f"{means[reference]:.1f}", f"{means[best]:.1f}"
        lines.append(f"Trials {name}, per run, over {len(problems)} problems that have some:")
        lines.append(f"  {reference} {mine}, best peer {theirs} ({best}), ratio {share}")
    return lines


def test_lines(tests: Sequence[Comparison], reference: str) -> list[str]:
    """Return where the reference is significantly worse, and where better."""
    lines = [
        "",
        "Wilcoxon's signed-rank tests, paired by seed, Holm over the peers of a problem and look",
        "(* also over all tests)",
    ]
    if not tests:
        return [*lines, f"  no pair of {reference} and a peer"]
    for name, direction in (("worse", -1), ("better", 1)):
        hits = [t for t in tests if t.p < LEVEL and t.direction == direction]
        lines.append(f"{reference} is significantly {name} in {len(hits)} of {len(tests)}"
                     f" ({sum(t.p_all < LEVEL for t in hits)} over all)")  # fmt: skip
        lines += [
            f"  {t.problem[:40]:<42}@{t.look:<4}{t.peer[:24]:<25}{t.median:>+7.3f}  p = {t.p:.3f}"
            f"{' *' if t.p_all < LEVEL else ''}"
            for t in hits
        ]
    if (pairs := min(t.seeds for t in tests)) < 6:
        lines.append(f"with {pairs} seeds no difference can be significant: at least 6 are needed")
    return lines


def markdown(results: Results) -> list[str]:
    """Return the table over all problems for a README."""
    names = header(results)
    lines = [f"| {' | '.join(names)} |", "|---|" + "---:|" * (len(names) - 1)]
    return lines + [f"| {' | '.join(row)} |" for row in overall_rows(results)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description="what came of a comparison")
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("--reference", default="gp")
    parser.add_argument("--peers", help="names with commas (default: every method that is not ours)")
    parser.add_argument("--looks", default="10,20,40")
    parser.add_argument("--plots", type=Path, help="folder for curves")
    parser.add_argument(
        "--markdown", action="store_true", help="only the table over all problems, for a README"
    )
    asked = parser.parse_args(arguments)
    lines = [line for path in asked.results for line in read_results(path)]
    for parallel in sorted({line["parallel"] for line in lines}):
        results = collect(lines, parallel, [int(n) for n in asked.looks.split(",")])
        if not results.runs and not results.errors:
            continue
        peers = asked.peers.split(",") if asked.peers else [m for m in results.methods if is_peer(m)]
        peers = [peer for peer in peers if peer != asked.reference]
        print(f"{'' if asked.markdown else chr(10)}{parallel} at a time\n")
        text = markdown(results) if asked.markdown else _full(results, asked.reference, peers)
        print("\n".join(text))
        if asked.plots is not None and results.runs:
            from benchmarks.plots import draw

            draw(results, parallel, asked.plots)


def _full(results: Results, reference: str, peers: Sequence[str]) -> list[str]:
    lines = [f"{len(results.errors)} runs ended in an error:", *results.errors] if results.errors else []
    for problem in results.problems:
        lines += problem_table(results, problem)
    if not results.runs:
        return lines
    tests = compare(results.runs, reference, peers, results.looks)
    lines += [*overall(results), *ratio_lines(results, reference, peers)]
    return [*lines, *waste_lines(results, reference, peers), *test_lines(tests, reference)]


if __name__ == "__main__":
    main()

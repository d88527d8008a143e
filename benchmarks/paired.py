"""What a method costs beside another one, paired: ``python -m benchmarks.paired FILE... [--reference gp]``.

A pair is one problem and seed that both have a run of. Prints, per method, what it needs more than the
reference (means, standard errors in brackets) and seconds per ask as a ratio (geometric means of the runs'
medians, by one standard error to each side).
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.measures import Run, at_look, trials_to, wasted


@dataclass(frozen=True)
class Paired:
    """Differences of a method from the reference, over some pairs of runs.

    Args:
        method: Name of the method.
        pairs: Runs of the reference and of the method.
    """

    method: str
    pairs: Sequence[tuple[Run, Run]]

    @property
    def row(self) -> list[str]:
        """Cells of the table."""
        trials = [trials_to(b) - trials_to(a) for a, b in self.pairs]
        failed = [wasted(b, "failed") - wasted(a, "failed") for a, b in self.pairs]
        broke = [wasted(b, "broke") - wasted(a, "broke") for a, b in self.pairs]
        last = [at_look(b, b["trials"]) - at_look(a, a["trials"]) for a, b in self.pairs]
        cells = [_mean(trials, 1), _mean(failed, 1), _mean(broke, 1), _mean(last, 3)]
        return [self.method, str(len(self.pairs)), *cells, self.ratio]

    @property
    def ratio(self) -> str:
        """Seconds per ask over those of the reference, as ``2.1 [1.9, 2.3]``."""
        logs = [np.log(_seconds(b) / _seconds(a)) for a, b in self.pairs]
        error = _error(logs)
        middle, low, high = np.exp(np.mean(logs) + np.array([0.0, -error, error]))
        return f"{middle:.2f} [{low:.2f}, {high:.2f}]"


def _seconds(run: Run) -> float:
    """Return the median seconds of an ask for which there was a model."""
    return max(1e-4, float(np.median(run["ask"][3:])))


def _error(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else 0.0


def _mean(values: Sequence[float], digits: int) -> str:
    return f"{np.mean(values):+.{digits}f} ({_error(values):.{digits}f})"


def paired(lines: Iterable[Run], reference: str) -> dict[str, list[Paired]]:
    """Return the differences of each method: over all problems (``""``), and by problem.

    Args:
        lines: Runs of one width of parallelism; those that ended in an error are left out.
        reference: Name of the method that the others are compared with.
    """
    runs = {(r["problem"], r["seed"], r["trials"], r["method"]): r for r in lines if "error" not in r}
    found: dict[str, dict[str, list[tuple[Run, Run]]]] = defaultdict(lambda: defaultdict(list))
    for (problem, seed, trials, method), run in runs.items():
        other = runs.get((problem, seed, trials, reference))
        if other is not None and method != reference:
            found[""][method].append((other, run))
            found[problem][method].append((other, run))
    return {where: [Paired(name, pairs) for name, pairs in each.items()] for where, each in found.items()}


def read(path: Path) -> list[Run]:
    """Return the runs of a file, which may be packed."""
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line) for line in text.splitlines()]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table over all problems, and one for each."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("--reference", default="gp")
    asked = parser.parse_args(arguments)
    lines = [line for path in asked.results for line in read(path)]
    for where, each in paired(lines, asked.reference).items():
        print(f"\n{where or 'all problems'}\n")
        print("| | pairs | trials to 5 % | failed | over a limit | value at the end | s per ask, ratio |")
        print("|---|---|---|---|---|---|---|")
        for found in each:
            print(f"| {' | '.join(found.row)} |")


if __name__ == "__main__":
    main()

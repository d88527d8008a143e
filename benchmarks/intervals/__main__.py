"""Print the shares of 95 % intervals that hold the truth, by simulation."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

from autotune.measure.statistics.doubt import USUAL
from autotune.measure.statistics.flow import Requests, rate
from autotune.measure.statistics.queue_memory import LEAST_RELAXATIONS
from benchmarks.compare import append, read_results
from benchmarks.intervals.loads import RELAXATIONS, STATISTICS, UTILIZATIONS, Load
from benchmarks.intervals.overloads import Overloaded
from benchmarks.intervals.searches import SERVERS, record, recorded_rate
from benchmarks.intervals.stops import PRECISIONS, stops
from benchmarks.intervals.streams import STREAMS, Run, Stream
from benchmarks.trust import packed

SECONDS = (5.0, 15.0, 60.0)
FACTORS = (1.3, 1.6, 2.5)
_ROUNDING = 1e-12  # seconds: a median of equal latencies has no error
_LONG = 2_000_000  # requests: heavy tails at 84 % of the capacity differ by 1 % after 400,000


def rate_of(run: Run, stream: Stream) -> tuple[float, float]:
    """Return the measured rate of a run and its standard error."""
    requests = Requests(run.ended, run.took, run.tokens, stream.concurrency)
    found = rate(run.times, run.amounts, run.seconds, requests, "tokens/s", 64)
    return found.value, found.sem or 0.0


def streams(runs: int, seed: int = 1) -> list[tuple[str, float, float, float, float]]:
    """Return a row per closed loop and length: name, seconds, share held, true and stated half-width.

    Half-widths are shares of the rate: 1.96 standard deviations of the measured rates, and the median of what
    the intervals say.
    """
    rows = []
    for stream in STREAMS:
        truth = stream.rate
        for seconds in SECONDS:
            simulated = stream.simulate(np.random.default_rng(seed), seconds, runs)
            values, errors = np.array([rate_of(run, stream) for run in simulated]).T
            held = float(np.mean(np.abs(values - truth) <= 1.96 * errors))
            half = 1.96 * float(np.median(errors)) / truth
            rows.append((stream.name, seconds, held, 1.96 * float(values.std()) / truth, half))
    return rows


def loads(runs: int) -> list[tuple[str, float, float, dict[str, tuple[float, float, float, float]]]]:
    """Return a row per server, utilization and length: name, utilization, seconds, and per statistic.

    Per statistic the share held, the share held or doubtful for the queue's memory, and, over the truth, 1.96
    standard deviations and the stated half-width.
    """
    rows = []
    for server in SERVERS:
        for utilization in UTILIZATIONS:
            load = Load(server, utilization)
            truth = load.truth()
            for seconds in SECONDS:
                found = list(load.runs(1, seconds, runs))
                row = {}
                doubtful = np.array([one[RELAXATIONS].value for one in found]) < LEAST_RELAXATIONS
                for name in STATISTICS:
                    values = np.array([one[name].value for one in found])
                    errors = np.array([one[name].sem or 0.0 for one in found])
                    inside = np.abs(values - truth[name]) <= 1.96 * errors + _ROUNDING
                    half = 1.96 * float(np.median(errors)) / truth[name]
                    marked = doubtful & (1.96 * errors > USUAL * values) & (name != STATISTICS[0])
                    true = 1.96 * float(values.std()) / truth[name]
                    row[name] = (float(inside.mean()), float((inside | marked).mean()), true, half)
                rows.append((server.name.partition(",")[0], utilization, seconds, row))
    return rows


def overloads(runs: int) -> list[tuple[str, float, str, float, float, float]]:
    """Return a row per server, load and statistic: share held, true and stated standard error in seconds."""
    rows = []
    for server in SERVERS:
        for factor in FACTORS:
            case = Overloaded(server, factor)
            found = [projections for seed in range(runs) if (projections := case.projections(seed))]
            for name in ("e2e.mean", "e2e.p99"):
                values = np.array([one[name].value for one in found])
                errors = np.array([one[name].sem or 0.0 for one in found])
                held = float(np.mean(np.abs(values - case.truth) <= 1.96 * errors))
                rows.append((server.name, factor, name, held, float(values.std()), float(np.median(errors))))
    return rows


def searches(runs: int, path: Path | None = None) -> list[tuple[str, float, float, float, float, float, int]]:
    """Return a row per server: truth, mean value, share held, true and stated relative error, searches.

    Args:
        runs: Searches of each server.
        path: Results of earlier searches, packed or not; what is missing is run and, where the file is not
            packed, appended.
    """
    lines = [] if path is None else packed(path) if path.suffix == ".gz" else read_results(path, mend=True)
    rows = []
    for server in SERVERS:
        known = {int(line["seed"]): line for line in lines if line["server"] == server.name}
        for seed in range(runs):
            if seed not in known and (path is None or path.suffix != ".gz"):
                known[seed] = record(server, seed)
                if path is not None:
                    append(path, known[seed])
        truth = server.truth(_LONG)
        found = [recorded_rate(server, known[seed]) for seed in sorted(known)[:runs]]
        values = np.array([one.value for one in found])
        errors = np.array([one.sem or 0.0 for one in found])
        held = float(np.mean(np.abs(values - truth) <= 1.96 * errors))
        rms = float(np.sqrt(np.mean((values / truth - 1) ** 2)))
        stated = float(np.median(errors)) / truth
        rows.append((server.name, truth, float(values.mean()), held, rms, stated, len(found)))
    return rows


def _print_streams(runs: int, path: Path | None) -> None:
    print("| closed loop | s | held | 1.96 standard deviations | stated half-width |\n|---|---|---|---|---|")
    for name, seconds, held, true, stated in streams(runs):
        print(f"| {name} | {seconds:.0f} | {held:.1%} | {true:.2%} | {stated:.2%} |", flush=True)


def _print_loads(runs: int, path: Path | None) -> None:
    print(f"| server | utilization | s | {' | '.join(STATISTICS)} |\n|---|---|---|---|---|---|---|")
    for name, utilization, seconds, row in loads(runs):
        cells = " | ".join(
            f"{h:.0%}, {marked:.0%} ({100 * true:.2g}, {100 * half:.2g})"
            for h, marked, true, half in row.values()
        )
        print(f"| {name} | {utilization} | {seconds:.0f} | {cells} |", flush=True)


def _print_overloads(runs: int, path: Path | None) -> None:
    print("| server | load | statistic | held | standard deviation | stated |\n|---|---|---|---|---|---|")
    for name, factor, statistic, held, true, stated in overloads(runs):
        print(f"| {name} | {factor} | {statistic} | {held:.1%} | {true:.1f} s | {stated:.1f} s |", flush=True)


def _print_stops(runs: int, path: Path | None) -> None:
    print("| closed loop | precision | reached | held when reached | median s | held of all |")
    print("|---|---|---|---|---|---|")
    for stream in STREAMS:
        for precision in PRECISIONS:
            found = stops(stream, precision, runs, seed=1)
            inside = np.array([abs(one.value - stream.rate) <= one.half for one in found])
            reached = np.array([one.reached for one in found])
            held = f"{inside[reached].mean():.1%}" if reached.any() else ""
            seconds = float(np.median([one.seconds for one in found]))
            print(f"| {stream.name} | {precision:.0%} | {reached.mean():.0%} | {held} | {seconds:.1f} "
                  f"| {inside.mean():.1%} |", flush=True)  # fmt: skip


def _print_searches(runs: int, path: Path | None) -> None:
    print("| server | truth | mean | held | rms error | stated | searches |\n|---|---|---|---|---|---|---|")
    for name, truth, value, held, true, stated, count in searches(runs, path):
        print(f"| {name} | {truth:.2f} | {value:.2f} | {held:.1%} | {true:.1%} | {stated:.1%} | {count} |")


PARTS: dict[str, tuple[Callable[[int, Path | None], None], int]] = {
    "streams": (_print_streams, 400),
    "stops": (_print_stops, 400),
    "loads": (_print_loads, 400),
    "overloads": (_print_overloads, 200),
    "searches": (_print_searches, 200),
}


def main() -> None:
    """Run the parts that were asked for, all without any."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.intervals", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of {', '.join(PARTS)}; all by default")
    parser.add_argument("--runs", type=int, help="simulated runs of each row")
    parser.add_argument("--out", type=Path, help="file of the searches: read and gone on with (.gz: read)")
    given = parser.parse_args()
    for part in given.parts or PARTS:
        if part not in PARTS:
            parser.error(f"unknown part {part!r}; allowed: {', '.join(PARTS)}")
        show, usual = PARTS[part]
        print(f"\n{part}\n")
        show(given.runs or usual, given.out)


if __name__ == "__main__":
    main()

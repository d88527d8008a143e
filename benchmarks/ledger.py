"""How long a large ledger takes to open, commit to and copy: ``python -m benchmarks.ledger [TRIALS]``."""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from autotune import Study
from autotune.core.measurement import Estimate, Measurement
from autotune.core.space import Space
from autotune.core.trial import Reason, Suggestion, TrialState
from autotune.ledger import Ledger
from autotune.ledger.copy import StudyCopier

SPACE = Space.from_dict(
    {
        "parameters": {
            "batch_size": {"type": "int", "low": 1, "high": 1_000_000, "default": 1},
            "bits": {"type": "ordinal", "values": [4, 8, 16], "default": 16},
        }
    }
)
OBJECTIVE = {"maximize": "output_throughput", "limits": ["ttft.p99 <= 500 ms"]}
METRICS = 40  # of a served measurement, facts beside them


@dataclass(frozen=True)
class LedgerTimes:
    """Seconds to open and verify a ledger, to have it as a study, per commit and per copy; megabytes."""

    trials: int
    open_s: float
    study_s: float
    commit_s: float
    megabytes: float
    first_copy_s: float
    next_copy_s: float
    copy_megabytes: float


def measurement(number: int) -> Measurement:
    """Return a measurement as large as that of a server."""
    metrics = {f"metric_{k}.p99": Estimate(number + k / 7, 0.1, 64, "s") for k in range(METRICS)}
    metrics["output_throughput"] = Estimate(float(number), 1.0, 64, "tokens/s")
    facts = {"hardware": {"cpu": "x" * 200}, "argv": ["--flag"] * 40, "phases_s": {"measure": 12.345}}
    return Measurement(metrics=metrics, facts=facts, started_ns=1, ended_ns=2)


def build(path: Path, trials: int) -> None:
    """Write a ledger of measured trials; without waiting for the disk, which is not what is timed."""
    with Study(SPACE, OBJECTIVE, engine="random", name="large", path=path) as study:
        ledger = study.ledger
        ledger._db.execute("PRAGMA synchronous = OFF")
        for number in range(trials):
            suggestion = Suggestion({"batch_size": number + 1, "bits": 8}, Reason.RANDOM)
            ledger.add_measured("large", number, suggestion, measurement(number), TrialState.COMPLETED)


def measure(path: Path, trials: int, commits: int = 50) -> LedgerTimes:
    """Time a ledger that :func:`build` wrote."""
    began = time.monotonic()
    Ledger.open(path, read_only=True).close()
    opened = time.monotonic() - began
    began = time.monotonic()
    with Study.open(path) as study:
        ready = time.monotonic() - began
        began = time.monotonic()
        for number in range(trials, trials + commits):
            study.ledger.add_trial("large", number, Suggestion({"batch_size": 1, "bits": 4}, Reason.RANDOM))
        each = (time.monotonic() - began) / commits
        copier, spent = StudyCopier("large"), []
        for _ in range(2):  # what was looked through once for secrets is not again
            began = time.monotonic()
            size = len(copier.copy(study.ledger))
            spent.append(time.monotonic() - began)
    return LedgerTimes(trials, opened, ready, each, path.stat().st_size / 1e6, *spent, size / 1e6)


def main() -> None:
    """Print a table row for the number of trials."""
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.sqlite"
        build(path, trials)
        found = measure(path, trials)
    print("| trials | MB | open s | study ready s | commit ms | first copy s | next copy s | copy MB |")
    print("|---|---|---|---|---|---|---|---|")
    print(
        f"| {found.trials} | {found.megabytes:.0f} | {found.open_s:.2f} | {found.study_s:.2f} "
        f"| {1000 * found.commit_s:.1f} | {found.first_copy_s:.2f} | {found.next_copy_s:.2f} "
        f"| {found.copy_megabytes:.1f} |"
    )


if __name__ == "__main__":
    main()

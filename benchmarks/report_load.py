"""How long the report of a large study takes to open: ``python -m benchmarks.report_load 1000``.

Makes a study of that many trials (nine parameters, two limits, failures), writes its report, and opens it
some times in a headless Chromium with a new profile: time from navigation to the load event, the processor
time of the page's main thread until then, and the time until the last figure is drawn. It needs
``chromium``, ``chromedriver`` and selenium, as the browser tests do.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import autotune
from autotune.core.measurement import Cause, Estimate, Failure, Measurement
from autotune.core.trial import Reason, Suggestion, Trial, TrialState
from autotune.report.html import write_report

_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage",
)  # fmt: skip
_PATIENCE_S = 120.0

SPACE = autotune.Space.from_dict(
    {
        "parameters": {
            "max_num_seqs": {"type": "int", "low": 8, "high": 1024, "scale": "log2", "powers_of": 2},
            "max_num_batched_tokens": {"type": "ordinal", "values": [2048, 8192, 16384, 65536]},
            "gpu_memory_utilization": {"type": "float", "low": 0.7, "high": 0.97},
            "kv_cache_dtype": {"type": "categorical", "values": ["auto", "fp8_e5m2", "fp8_e4m3"]},
            "enable_prefix_caching": {"type": "bool"},
            "enable_chunked_prefill": {"type": "bool"},
            "tensor_parallel_size": {"type": "ordinal", "values": [1, 2, 4, 8]},
            "draft_tokens": {"type": "int", "low": 0, "high": 8},
            "block_size": {"type": "ordinal", "values": [16, 32]},
        }
    }
)
OBJECTIVE = autotune.Objective.from_dict(
    {"maximize": "output_throughput", "limits": ["ttft.p99 <= 500 ms", "tpot.p95 <= 60 ms"]}
)


def large_view(count: int) -> Any:
    """Return the view of a completed study of that many trials."""
    from autotune.analysis.study_view import StudyView

    rng, trials = np.random.default_rng(0), []
    for i, config in enumerate(SPACE.sample(count, rng)):
        started = i * 40_000_000_000 + 1
        span = {"started_ns": started, "ended_ns": started + 30_000_000_000}
        if rng.random() < 0.08:
            failure = Failure(
                Cause.OUT_OF_MEMORY, "CUDA out of memory", "torch.OutOfMemoryError: CUDA out of memory"
            )
            state, measurement = TrialState.INFEASIBLE, Measurement(failure=failure, **span)
        else:
            seqs = float(config["max_num_seqs"])
            speed = (
                40 * seqs**0.6 * float(config["gpu_memory_utilization"]) * float(np.exp(0.05 * rng.normal()))
            )
            metrics = {
                "output_throughput": Estimate(speed, 0.02 * speed, 30, "tokens/s"),
                "ttft.p99": Estimate(0.05 + 0.0008 * seqs, 0.01, 30, "s"),
                "tpot.p95": Estimate(0.01 + 0.0001 * seqs, 0.001, 30, "s"),
            }
            state, measurement = TrialState.COMPLETED, Measurement(metrics, **span)
        trials.append(Trial(i, Suggestion(config, Reason.EXPLORE), state, 1, measurement, "node-1"))
    return StudyView("large", SPACE, OBJECTIVE, trials, state="completed", budget_trials=count)


@contextmanager
def browser(folder: Path) -> Iterator[Any]:
    """Open a headless Chromium with an empty profile."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or "chromium"
    for flag in (*_FLAGS, f"--user-data-dir={folder}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


def opened(path: Path) -> dict[str, float]:
    """Return the seconds that a page takes to load and to draw its figures, and its count of messages."""
    drawn = "return [...document.querySelectorAll('.plot')].every((box) => box.dataset.drawn)"
    with tempfile.TemporaryDirectory() as folder, browser(Path(folder)) as driver:
        driver.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
        began = time.monotonic()
        driver.get(path.resolve().as_uri())
        metrics = driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
        busy = next(each["value"] for each in metrics if each["name"] == "TaskDuration")
        spent = driver.execute_script("return performance.getEntriesByType('navigation')[0].loadEventEnd")
        while not driver.execute_script(drawn) and time.monotonic() - began < _PATIENCE_S:
            time.sleep(0.02)
        all_drawn = time.monotonic() - began
        return {
            "load": spent / 1e3,
            "processor": busy,
            "drawn": all_drawn,
            "errors": len(driver.get_log("browser")),
        }


def main() -> None:
    """Write the report, open it and print what it took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("trials", type=int, nargs="?", default=1000)
    parser.add_argument("--loads", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        began = time.process_time()
        path = write_report(large_view(args.trials), Path(folder) / "report.html")
        made = time.process_time() - began
        runs = [opened(path) for _ in range(args.loads)]
        loads = [run["load"] for run in runs]
        found = {
            "trials": args.trials,
            "megabytes": round(path.stat().st_size / 1e6, 1),
            "seconds of a core to write": round(made, 1),
            "load event, s": [round(load, 2) for load in loads],
            "processor time of the page, s": [round(run["processor"], 2) for run in runs],
            "median": round(statistics.median(loads), 2),
            "all figures drawn, s": [round(run["drawn"], 1) for run in runs],
            "console messages": sum(int(run["errors"]) for run in runs),
            "load average": [round(each, 1) for each in os.getloadavg()],
        }
        print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()

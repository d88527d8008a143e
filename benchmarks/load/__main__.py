"""Compare load generators on one server with known delays: ``python -m benchmarks.load [NAME ...]``.

The server notes when it read each request and wrote each chunk, on the clock that all processes share, so
that its own lateness is not taken for a generator's. Errors are differences of quantiles: what the generator
says minus what the server did. Where this user may, our generator and the server take precedence and the
tools do not; `setpriv --inh-caps=-sys_nice --bounding-set=-sys_nice` before the command makes all equal.
Tools are found through ``AUTOTUNE_GUIDELLM`` and ``AUTOTUNE_AIPERF``.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autotune.core.endpoint import Endpoint
from autotune.errors import AutotuneError, EnvironmentProblem
from autotune.measure.load.base import REALTIME, Plan
from autotune.measure.load.choose import build_generator
from autotune.measure.workload import GENERATORS, Workload

ROOT = Path(__file__).resolve().parents[2]
STUB = ROOT / "tests" / "measure" / "load" / "stub_server.py"
TOOL_SHARE = 1.5  # tools run this much longer than the workload's time
QUANTILES = (0.5, 0.99)


@dataclass(frozen=True)
class Scene:
    """Describe one load.

    Args:
        name: In the table.
        stub: The server's delays.
        workload: Section of a study file.
        seconds: How long.
        rate: Requests per second, or ``None``.
        concurrency: Requests at once, or ``None``.
    """

    name: str
    stub: dict[str, Any]
    workload: dict[str, Any]
    seconds: float
    rate: float | None = None
    concurrency: int | None = None


LENGTHS = {"prompt_tokens": 64}
SCENES = [
    Scene("accuracy, 50/s", {"ttft": 0.05, "itl": 0.01},
          {**LENGTHS, "output_tokens": 20, "arrival": "poisson", "rate": 50}, 12, 50.0),
    Scene("rate, 300/s", {"ttft": 0.02, "itl": 0.01},
          {**LENGTHS, "output_tokens": 2, "arrival": "constant", "rate": 300}, 8, 300.0),
    Scene("rate, 1000/s", {"ttft": 0.02, "itl": 0.01},
          {**LENGTHS, "output_tokens": 2, "arrival": "constant", "rate": 1000}, 8, 1000.0),
    Scene("2000 streams", {"ttft": 0.5, "itl": 0.5},
          {**LENGTHS, "output_tokens": 12, "concurrency": 2000}, 14, None, 2000),
]  # fmt: skip


def main() -> None:
    """Run all scenes with all generators and print a table."""
    names = sys.argv[1:] or list(GENERATORS)
    head = ("generator", "scene", "requests", "failed", "rate", "streams", "slip p50 / p99 ms",
            "ttft error p50 / p99 ms", "itl error p50 / p99 ms", "CPU s")  # fmt: skip
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head), flush=True)
    for scene in SCENES:
        for name in names:
            try:
                row = run(scene, name)
            except EnvironmentProblem as error:
                row = [error.message]
            except AutotuneError as error:
                row = [error.message.splitlines()[0]]
            print("| " + " | ".join([name, scene.name, *row]) + " |", flush=True)


def run(scene: Scene, name: str) -> list[str]:
    """Return the cells of one generator in one scene."""
    time_s = scene.seconds / (1 if name == "own" else TOOL_SHARE)
    workload = Workload.from_dict({**scene.workload, "generator": name, "time": f"{time_s} s"})
    generator = build_generator(name)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        server = subprocess.Popen([sys.executable, str(STUB), json.dumps(scene.stub), str(log)],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT,
                                  env={"PYTHONPATH": str(ROOT)})  # fmt: skip
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            port = int(server.stdout.readline())
            endpoint = Endpoint(
                f"http://127.0.0.1:{port}", "stub", body={"ignore_eos": True}, tokenize="/tokenize"
            )
            before = _cpu_s()
            load = generator.start(
                Plan(endpoint, workload, scene.rate, scene.concurrency, precedence=REALTIME)
            )
            records, until = [], time.monotonic() + scene.seconds
            while not load.ended and (name != "own" or time.monotonic() < until):
                records += load.poll(0.5)
            records += load.stop(10.0)
            cpu = _cpu_s() - before
        finally:
            server.stdin.close()
            server.wait(30)
        notes = [json.loads(line) for line in log.read_text().splitlines()]
    tokens = int(scene.workload["output_tokens"])
    return _cells(records, [note for note in notes if note["tokens"] == tokens], cpu)


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _cells(records: list[Any], notes: list[dict[str, Any]], cpu: float) -> list[str]:
    good = [r for r in records if r.error is None and r.arrivals]
    failed = sum(r.error not in (None, "cut off") for r in records)
    if not good or not notes:
        return [str(len(good)), str(failed)]
    sent = np.sort([r.send_ns + r.slip_ns for r in good]) / 1e9
    edges = sorted([(n["read_ns"], 1) for n in notes] + [(n["written_ns"][-1], -1) for n in notes])
    streams = int(np.cumsum([step for _, step in edges]).max())
    ttft = [(r.arrivals[0][0] - r.send_ns - r.slip_ns) / 1e6 for r in good]
    itl = [gap / 1e6 for r in good for gap in np.diff([t for t, _ in r.arrivals])]
    own_ttft = [(n["written_ns"][0] - n["read_ns"]) / 1e6 for n in notes]
    own_itl = [gap / 1e6 for n in notes for gap in np.diff(n["written_ns"])]
    return [
        str(len(good)),
        str(failed),
        f"{(len(sent) - 1) / (sent[-1] - sent[0]):.0f}",
        str(streams),
        _pair(np.quantile([r.slip_ns / 1e6 for r in good], QUANTILES)),
        _pair(np.quantile(ttft, QUANTILES) - np.quantile(own_ttft, QUANTILES)),
        _pair(np.quantile(itl, QUANTILES) - np.quantile(own_itl, QUANTILES)),
        f"{cpu:.1f}",
    ]


def _pair(values: Any) -> str:
    return " / ".join(f"{value:.2f}" for value in values)


if __name__ == "__main__":
    main()

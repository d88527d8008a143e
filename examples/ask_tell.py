"""Ask and tell: the loop is yours, the trials run where you like; a crash in the middle loses nothing.

Three workers at once, configurations that run out of memory, and a second process that goes on. Takes 15 s.
"""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import autotune

SPACE = autotune.Space(
    (
        autotune.Int("max_num_seqs", 8, 512, scale="log2", powers_of=2, default=32, memory="up"),
        autotune.Int("max_num_batched_tokens", 512, 8192, scale="log2", powers_of=2, default=2048),
        autotune.Bool("prefix_caching"),
    )
)
OBJECTIVE = {"maximize": "throughput", "limits": ["ttft.p99 <= 400 ms"]}


def serve(config: dict) -> dict[str, float] | None:
    """Return what a server of this kind would do; ``None`` where it runs out of memory."""
    seqs, tokens = config["max_num_seqs"], config["max_num_batched_tokens"]
    if seqs * tokens > 2**20:
        return None
    speed = 4000 * seqs / (seqs + 64) * (1.2 if config["prefix_caching"] else 1.0) * tokens / (tokens + 1024)
    return {"throughput": speed, "ttft.p99": 0.05 + 0.001 * seqs + 0.00002 * tokens}


def search(path: Path, rounds: int) -> autotune.Study:
    """Run some rounds of three trials; the study is in a ledger, so that another process can go on."""
    study = autotune.Study(SPACE, OBJECTIVE, seed=0, path=path, budget=15)
    with ThreadPoolExecutor(3) as workers:
        for _ in range(rounds):
            trials = study.ask(3)  # all pending: none of them is proposed twice
            for trial, metrics in zip(trials, workers.map(serve, [t.config for t in trials]), strict=True):
                if metrics is None:
                    study.tell(trial, failure="out_of_memory")
                else:
                    study.tell(trial, metrics)
    return study


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.sqlite"
        search(path, 3).close()
        with search(path, 2) as study:  # as if after a crash: the nine trials are there
            best = study.best
            assert best is not None
            print(f"{len(study.trials)} trials, {len(study.failures)} kind of failure")
            print(f"best {best.config}: {best.metrics['throughput'].value:.0f} tokens/s")
            assert len(study.trials) == 15
            assert best.metrics["ttft.p99"].value <= 0.4
            assert best.metrics["throughput"].value > 1.5 * study.trials[0].metrics["throughput"].value

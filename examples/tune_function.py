"""Tune any Python function: here zlib's settings, for speed, while the result stays small enough.

Run it: ``python examples/tune_function.py``. It really measures, on this machine. Takes 15 to 20 seconds.
"""

from __future__ import annotations

import statistics
import time
import zlib
from pydoc_data.topics import topics

import autotune

TEXT = "".join(topics[name] for name in sorted(topics)).encode()

SPACE = autotune.Space(
    (
        autotune.Int("level", 1, 9, default=6),
        autotune.Int("window_bits", 9, 15, default=15),
        autotune.Int("memory_level", 1, 9, default=8, memory="up"),
        autotune.Categorical("strategy", ("default", "filtered", "huffman"), default="default"),
    )
)
STRATEGIES = {"default": zlib.Z_DEFAULT_STRATEGY, "filtered": zlib.Z_FILTERED, "huffman": zlib.Z_HUFFMAN_ONLY}


def measure(config: dict) -> dict[str, autotune.Estimate | float]:
    """Compress the text five times; return the speed with its standard error, and the size."""
    times = []
    for _ in range(5):
        began = time.perf_counter()
        packer = zlib.compressobj(
            config["level"],
            zlib.DEFLATED,
            config["window_bits"],
            config["memory_level"],
            STRATEGIES[config["strategy"]],
        )
        size = len(packer.compress(TEXT) + packer.flush())
        times.append(time.perf_counter() - began)
    mean = statistics.fmean(times)
    sem = statistics.stdev(times) / len(times) ** 0.5
    speed = len(TEXT) / mean
    return {
        "speed": autotune.Estimate(speed, speed * sem / mean, len(times), "B/s"),
        "ratio": size / len(TEXT),
    }


if __name__ == "__main__":
    study = autotune.tune(SPACE, measure, {"maximize": "speed", "limits": ["ratio <= 0.32"]}, trials=25)
    default = study.trials[0]
    print(f"default {default.config}: {default.metrics['speed'].value / 1e6:.1f} MB/s")
    best = study.best
    assert best is not None
    print(f"best    {best.config}: {best.metrics['speed'].value / 1e6:.1f} MB/s")
    print(f"its size: {best.metrics['ratio'].value:.1%} of the text")

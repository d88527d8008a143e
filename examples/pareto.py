"""Two goals: the Pareto front of a compressor's speed against its size, and the point that suits you.

It really measures, on this machine. Takes 20 seconds.
"""

from __future__ import annotations

from compress import measure

import autotune

SPACE = autotune.Space(
    (
        autotune.Int("level", 1, 9, default=6),
        autotune.Int("window_bits", 9, 15, default=15),
        autotune.Categorical("strategy", ("default", "filtered", "huffman"), default="default"),
    )
)

if __name__ == "__main__":
    study = autotune.tune(SPACE, measure, {"maximize": "speed", "minimize": "ratio"}, trials=20)
    front = sorted(study.pareto_front, key=lambda trial: trial.metrics["ratio"].value)
    for trial in front:
        speed, ratio = trial.metrics["speed"].value, trial.metrics["ratio"].value
        print(f"{ratio:6.1%} of the text at {speed / 1e6:5.1f} MB/s: {trial.config}")

    small = next(t for t in reversed(front) if t.metrics["ratio"].value <= 0.4)
    print(f"fastest below 40 %: {small.config}")
    assert len(front) >= 3
    speeds = [trial.metrics["speed"].value for trial in front]
    assert speeds == sorted(speeds), "of two points of a front, the larger result is the faster one"

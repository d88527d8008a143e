"""Conditions, constraints, failures and limits: a server whose drafting has parameters of its own.

`draft_model` exists only while something is drafted; what does not fit the memory fails, and teaches the
search; a limit on quality rules out some of the bits. Takes 15 to 20 seconds.
"""

from __future__ import annotations

import math

import autotune

SPACE = autotune.Space(
    (
        autotune.Int("batch_size", 1, 64, scale="log2", powers_of=2, default=1, memory="up"),
        autotune.Ordinal("bits", (4, 8, 16), default=16, memory="up"),
        autotune.Int("draft_length", 0, 6, default=0),
        autotune.Categorical("draft_model", ("ngram", "small"), when="draft_length > 0"),
        autotune.Int("shares", 1, 4, default=1, when="draft_model == 'small'"),
    ),
    constraints=("draft_length * batch_size <= 64",),
)
OBJECTIVE = {
    "maximize": "throughput",
    "limits": ["quality >= 98 % of default", "ttft.p99 <= 500 ms"],
}


def serve(config: dict) -> dict[str, float]:
    """Return what such a server would do; inactive parameters are not in ``config``."""
    batch, bits, draft = config["batch_size"], config["bits"], config["draft_length"]
    model = config.get("draft_model")
    if batch * bits + (200 if model == "small" else 0) > 700:
        raise MemoryError("the KV cache does not fit")
    accepted = {"ngram": 0.4, "small": 0.7 + 0.02 * config.get("shares", 0), None: 0.0}[model]
    drafted = (1 - accepted ** (draft + 1)) / (1 - accepted) / (1 + 0.06 * draft * math.log2(1 + batch))
    speed = 50 * batch / (1 + batch / 40) * (16 / bits) ** 0.5 * drafted
    return {
        "throughput": speed,
        "ttft.p99": 0.02 + 0.012 * batch,
        "quality": {4: 0.90, 8: 0.985, 16: 1.0}[bits],
    }


if __name__ == "__main__":
    study = autotune.tune(SPACE, serve, OBJECTIVE, trials=25)
    best = study.best
    assert best is not None
    for group in study.failures:
        print(group)
    print(f"best {best.config}: {best.metrics['throughput'].value:.0f} tokens/s")

    assert all(("draft_model" in t.config) == (t.config["draft_length"] > 0) for t in study.trials)
    assert best.metrics["quality"].value >= 0.98
    assert best.metrics["ttft.p99"].value <= 0.5
    assert best.metrics["throughput"].value > 10 * study.trials[0].metrics["throughput"].value

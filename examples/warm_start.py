"""Warm start: what an earlier study found is measured first, so that this one needs few trials.

The first study is from before an update that made the server a tenth faster; the second adds its five best
configurations, measured again, and starts from there. Takes 20 to 25 seconds.
"""

from __future__ import annotations

import autotune

SPACE = autotune.Space(
    (
        autotune.Int("batch_size", 1, 128, scale="log2", powers_of=2, default=1),
        autotune.Ordinal("bits", (4, 8, 16), default=16),
        autotune.Int("draft_length", 0, 8, default=0),
        autotune.Int("threads", 1, 16, default=1),
    )
)
GOAL = {"maximize": "throughput"}


def serve(config: dict, factor: float = 1.0) -> float:
    """Return the throughput of a server of this kind."""
    batch, draft = config["batch_size"], config["draft_length"]
    parallel = config["threads"] / (1 + (config["threads"] / 6) ** 2)
    drafting = 1 + 0.3 * draft / (1 + (draft / 3) ** 2) / (1 + batch / 16)
    return factor * 100 * batch / (1 + batch / 24) * parallel * drafting * (16 / config["bits"]) ** 0.4


def search(trials: int, earlier: list[autotune.Trial]) -> autotune.Study:
    """Search after measuring some configurations of an earlier study again."""
    study = autotune.Study(SPACE, GOAL, seed=1, budget=trials + len(earlier))
    for trial in earlier:
        study.add(trial.config, {"throughput": serve(trial.config, 1.1)})
    for _ in range(trials):
        trial = study.ask()
        study.tell(trial, {"throughput": serve(trial.config, 1.1)})
    return study


def best_of(study: autotune.Study) -> float:
    """Return the throughput of the recommended configuration."""
    assert study.best is not None
    return study.best.metrics["throughput"].value


if __name__ == "__main__":
    before = autotune.tune(SPACE, lambda config: {"throughput": serve(config)}, GOAL, trials=25)
    leaders = sorted(before.trials, key=lambda trial: -trial.metrics["throughput"].value)[:5]
    cold, warm = search(8, []), search(3, leaders)
    print(f"8 trials from nothing: {best_of(cold):.0f} tokens/s")
    print(f"3 trials after 5 of the earlier study: {best_of(warm):.0f} tokens/s")
    assert len(warm.trials) == len(cold.trials)
    assert best_of(warm) >= best_of(cold)
    assert best_of(warm) >= 1.1 * best_of(before)

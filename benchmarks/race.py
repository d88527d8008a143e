"""One run: a method on a problem with a seed, every trial recorded."""

from __future__ import annotations

import hashlib
import time
from collections import Counter, deque
from typing import Any

import numpy as np

from autotune.core import ranking
from autotune.core.measurement import Cause, Measurement
from autotune.core.trial import Config, Reason, Suggestion, Trial, config_key
from benchmarks.methods.base import Method
from benchmarks.methods.ours import trial_of
from benchmarks.problems.base import Problem

LOOK = 10
"""Trials after every so many of which our engines say what they recommend; methods are compared there."""


def noisy(problem: Problem, config: Config, seed: int, before: int) -> Measurement:
    """Measure a configuration.

    The noise depends on the seed, the configuration and how many times it was measured before, and on nothing
    else: methods that try the same configuration see the same number.
    """
    text = f"{problem.name} {config_key(config)}"
    digest = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
    return problem.measure(config, np.random.default_rng([seed, digest, before]))


def race(problem: Problem, method: Method, seed: int, trials: int, parallel: int) -> dict[str, Any]:
    """Run a method and return what came of each trial, in the order in which they finished.

    With ``parallel`` above 1 that many configurations are out at all times, and the oldest finishes first.

    Returns:
        Plain JSON data. Lists with an entry per trial: ``quality`` of what was measured, ``recommended`` the
        true quality of the best configuration by what was measured so far (every ``LOOK`` trials of our own
        engines: of the one that they recommend), ``best`` the best tried so far,
        ``failed``, ``broke`` a limit (truly, not by noise), ``repeat`` and ``ask`` in seconds. A run ends
        early when a method has nothing left to try.
    """
    lists: dict[str, list[Any]] = {
        key: [] for key in ("quality", "recommended", "best", "failed", "broke", "repeat", "ask")
    }
    history: list[Trial] = []
    counts: Counter[str] = Counter()
    out: deque[Config] = deque()
    asked, exhausted = 0, False
    session = method.start(problem, seed, trials)
    try:
        while asked < trials or out:
            while asked < trials and len(out) < parallel and not exhausted:
                began = time.perf_counter()
                config = session.ask()
                if config is None:
                    exhausted = True
                    break
                lists["ask"].append(round(time.perf_counter() - began, 4))
                asked += 1
                out.append(problem.space.validate(config))
            if not out:
                break
            config = out.popleft()
            key = config_key(config)
            measurement = noisy(problem, config, seed, counts[key])
            session.tell(config, measurement)
            _record(lists, problem, history, config, measurement, repeat=counts[key] > 0)
            counts[key] += 1
            if len(history) % LOOK == 0 and hasattr(session, "recommend"):
                chosen = session.recommend()
                lists["recommended"][-1] = 0.0 if chosen is None else round(problem.quality(chosen), 6)
    finally:
        session.close()
    return {**lists, "refused": getattr(session, "refusals", 0), "exhausted": exhausted}


def _record(
    lists: dict[str, list[Any]],
    problem: Problem,
    history: list[Trial],
    config: Config,
    measurement: Measurement,
    *,
    repeat: bool,
) -> None:
    history.append(trial_of(len(history), Suggestion(config, Reason.RANDOM), measurement))
    failed = isinstance(problem.truth(config), Cause)
    quality = problem.quality(config)
    chosen = ranking.best_trial(history, problem.objective)
    lists["quality"].append(round(quality, 6))
    lists["recommended"].append(0.0 if chosen is None else round(problem.quality(chosen.config), 6))
    lists["best"].append(max([*lists["best"][-1:], round(quality, 6)]))
    lists["failed"].append(int(failed))
    lists["broke"].append(int(not failed and quality == 0))
    lists["repeat"].append(int(repeat))

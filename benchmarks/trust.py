"""Whole studies under noise: does the reported winner keep its limits, and is its gain what is said?

``python -m benchmarks.trust --out trust.jsonl`` runs studies of problems whose limits bind: search, looks at
the default, confirmation, report, by the functions that ``autotune run`` calls. Measuring is replayed, with
noise between launches and within them. ``--report`` says what came of it. Started again, it goes on.

A limit binds where the goal has to be paid for with it: it is put at a quantile of the metric over the
configurations that no other one beats in both. What a study may be expected to find is the best configuration
that lies below the limit by as much as the launches made of it can show.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import math
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from statistics import NormalDist, fmean, median
from typing import Any

import numpy as np

from autotune.core.decision import Decision
from autotune.core.measurement import Cause, Estimate, Failure, Measurement
from autotune.core.objective import Limit
from autotune.core.trial import Reason, Suggestion, Trial, config_key
from autotune.engine.base import predictions
from autotune.engine.registry import build_engine
from autotune.study.confirm import next_confirmation
from autotune.study.watch import next_watch
from benchmarks.compare import append, read_results
from benchmarks.methods.ours import trial_of
from benchmarks.problems import builders
from benchmarks.problems.base import Problem

TRIALS, WATCH, CONFIRM = 20, 10, 2
"""Budget of a study, and its usual looks at the default and fresh launches."""


@dataclass(frozen=True)
class Noise:
    """How launches of one configuration differ.

    Args:
        between: Relative standard deviation between launches, of the logarithm.
        within: The same within a launch: its standard error.
        told: Whether a launch says the error within it, or all of both, or nothing.
        freedom: Degrees of freedom of Student's t for what differs between launches; 0 for a normal one.
    """

    between: float
    within: float
    told: str = "within"
    freedom: int = 0

    def draw(self, truth: float, rng: np.random.Generator) -> Estimate:
        """Return what one launch measures."""
        if self.freedom:  # scaled to the same standard deviation
            apart = rng.standard_t(self.freedom) / math.sqrt(self.freedom / (self.freedom - 2))
        else:
            apart = rng.standard_normal()
        value = truth * math.exp(self.between * apart + self.within * rng.standard_normal())
        share = {"within": self.within, "all": self.total, "nothing": None}[self.told]
        return Estimate(value, None if share is None else share * abs(value), 1)

    @property
    def total(self) -> float:
        """Relative standard deviation of one launch."""
        return math.hypot(self.between, self.within)


NOISES = {
    "2%": Noise(0.019, 0.006),
    "5%": Noise(0.05, 0.0, "nothing"),
    "13%": Noise(0.13, 0.0, "all"),
    "13%-hidden": Noise(0.12, 0.05),
    "heavy": Noise(0.20, 0.07, freedom=3),  # as launches of OpenVINO on a shared machine
}

PROBLEMS: dict[str, str] = {
    "serving": "tpot.p95 <=",
    "llama_cpp_tiny": "tpot.p95 <=",
    "transformers_tiny": "tpot.p95 <=",
    "vllm_cpu_tiny": "tpot.p95 <=",
    "aic_qwen3_32b_h200": "tpot_ms <=",
    "inferencemax_gptoss": "median_tpot <=",
    "llmpilot_gpu_profiles": "median_itl_ms <=",
}
"""Limits by the beginning of a problem's name."""


@dataclass(frozen=True, order=True)
class Study:
    """Name one study.

    Args:
        seed: Of the engine and of the noise.
        problem: By name.
        edge: Quantile of the front at which the limit lies.
        noise: One of :data:`NOISES`.
        engine: Of the study, with options.
    """

    seed: int
    problem: str
    edge: float
    noise: str
    engine: str


@dataclass(frozen=True)
class Bounded:
    """A problem with one binding limit and everything that is true of it.

    Args:
        problem: With the limit.
        truths: Noise-free goal (more being better) and violation of every configuration that can be measured.
    """

    problem: Problem
    truths: dict[str, tuple[float, float]]

    def best(self, margin: float) -> float:
        """Return the best goal of those that keep the limit by a margin."""
        return max((goal for goal, over in self.truths.values() if over <= -margin), default=-math.inf)


@cache
def bounded(name: str, edge: float, tables: Path | None) -> Bounded:
    """Return a problem whose limit lies at a quantile of the front of goal against limit."""
    problem = builders([name], tables)[name]()
    metric, _, way = next(v for k, v in PROBLEMS.items() if name.startswith(k)).rpartition(" ")
    problem = with_metrics(problem, name, metric, tables)
    goal = problem.objective.goals[0]
    table = problem.space.table()
    assert table is not None, f"{name} is too large to know its best"
    found = {}
    for config in table.configs(range(len(table))):
        truth = problem.truth(config)
        if not isinstance(truth, Cause):
            found[config_key(config)] = (goal.sign * math.log(truth[goal.metric]), math.log(truth[metric]))
    front, least = [], math.inf
    for _, cost in sorted(found.values(), key=lambda pair: (-pair[0], pair[1])):
        if cost < least:
            front.append(cost)
            least = cost
    bound = float(np.quantile(front, edge)) + 1e-9
    limit = Limit(metric, upper=way == "<=", bound=math.exp(bound))
    objective = replace(problem.objective, limits=(limit,))
    return Bounded(
        replace(problem, objective=objective), {key: (v, c - bound) for key, (v, c) in found.items()}
    )


def with_metrics(problem: Problem, name: str, metric: str, tables: Path | None) -> Problem:
    """Return a problem whose truth has the metric of the limit: tables keep those of their own objective."""
    from benchmarks.problems.tables import OWN, _tables

    table, _, task = name.partition("/")
    if not task:
        return problem
    folder = OWN if (OWN / f"{table}.csv.gz").exists() else tables
    assert folder is not None
    measured = _tables(folder / f"{table}.csv.gz")[task]
    goal = problem.objective.goals[0].metric
    truths: dict[str, Any] = {}
    for key, rows in measured.by_config.items():
        found = measured.truth(rows[0].config)
        missing = not isinstance(found, Cause) and not {goal, metric} <= set(found)
        truths[key] = (
            found
            if isinstance(found, Cause)
            else Cause.WRONG_OUTPUT
            if missing
            else {m: found[m].value for m in (goal, metric)}
        )
    return replace(problem, truth=lambda config: truths[config_key(config)])


def run(study: Study, tables: Path | None) -> dict[str, Any]:
    """Run one study and return what it reported beside the truth, as plain JSON data."""
    found = bounded(study.problem, study.edge, tables)
    problem, noise = found.problem, NOISES[study.noise]
    name, _, options = study.engine.partition(":")
    section: dict[str, Any] = {"use": name}
    section |= {k: json.loads(v) for k, _, v in (o.partition("=") for o in options.split("+") if o)}
    engine = build_engine(section, budget=TRIALS)
    space, objective = problem.space, problem.objective
    default = config_key(space.default_config)
    trials: list[Trial] = []
    began = time.perf_counter()

    def measure(suggestion: Suggestion) -> None:
        exact = problem.truth(suggestion.config)
        if isinstance(exact, Cause):
            measurement = Measurement(failure=Failure(exact, "replayed"))
        else:
            before = sum(t.key == config_key(suggestion.config) for t in trials)
            rng = noise_of(study, config_key(suggestion.config), before)
            measurement = Measurement(metrics={m: noise.draw(v, rng) for m, v in exact.items()})
        trials.append(trial_of(len(trials), suggestion, measurement))

    while sum(t.suggestion.reason.of_search for t in trials) < TRIALS:
        again = next_watch(trials, space, WATCH, TRIALS)
        asked = [again] if again else engine.ask(space, objective, trials, [], 1, study.seed)
        if not asked:
            break
        measure(asked[0])
    searched = len(trials)
    while True:
        known = predictions(engine, space, objective, trials)
        decision = Decision(trials, objective, default, confirm=CONFIRM, predictions=known)
        confirmation = next_confirmation(decision, space, study.seed)
        if confirmation is None:
            break
        measure(confirmation)
    winner = decision.winner
    base = next((c for c in decision.candidates if c.key == default), None)
    truths = found.truths
    over = [truths[t.key][1] > 0 for t in trials[:searched] if t.key in truths]
    margin = NormalDist().inv_cdf(objective.confidence) * noise.total / math.sqrt(1 + CONFIRM)
    result: dict[str, Any] = {
        "launches": len(trials) - searched,
        "searched": searched,
        "over": sum(over),
        "repeats": sum(t.suggestion.reason is Reason.REPEAT for t in trials),
        "found_best": max(
            (truths[t.key][0] for t in trials if t.key in truths and truths[t.key][1] <= -margin),
            default=None,
        ),
        "best": found.best(0.0),
        "showable": found.best(margin),
        "seconds": round(time.perf_counter() - began, 2),
        "winner": None,
    }
    if winner is not None:
        goal, excess = truths[winner.key]
        result |= {"winner": winner.key, "goal": goal, "excess": excess, "chance": winner.chance}
        result["default"] = winner.key == default
        if base is not None and not result["default"]:
            gain = decision.gain(winner, base)
            result["gain"] = [gain.value, gain.low, gain.high]
            result["true_gain"] = math.exp(goal - truths[base.key][0])
    return result


def noise_of(study: Study, key: str, before: int) -> np.random.Generator:
    """Return what draws the noise of a launch: the same for every method."""
    text = f"{study.problem} {study.edge} {study.noise} {key}"
    digest = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
    return np.random.default_rng([study.seed, digest, before])


def report(results: Sequence[dict[str, Any]]) -> str:
    """Return a table by noise and engine, and one of all."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for one in results:
        if "error" not in one:
            groups[one["engine"], one["noise"]].append(one)
            groups[one["engine"], "all"].append(one)
            groups[one["engine"], one["problem"]].append(one)
    lines = [
        "| engine | noise or problem | studies | winner | breaks its limit | covered "
        "| value of showable | of best | launches | over the limit |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (engine, noise), ones in sorted(groups.items()):
        won = [o for o in ones if o["winner"] is not None]
        broke = sum(o["excess"] > 1e-9 for o in won)
        spoken = [o for o in won if "gain" in o and o["gain"][1] is not None]
        covered = sum(o["gain"][1] <= o["true_gain"] <= o["gain"][2] for o in spoken)
        kept = [o for o in won if o["excess"] <= 1e-9]
        value = [math.exp(min(o["goal"] - o["showable"], 0.0)) for o in kept]
        value += [0.0] * (len(ones) - len(kept))
        best = [math.exp(o["goal"] - o["best"]) for o in kept] + [0.0] * (len(ones) - len(kept))
        lines.append(
            f"| {engine} | {noise} | {len(ones)} | {len(won) / len(ones):.0%} "
            f"| {broke} ({broke / max(1, len(won)):.1%}) "
            f"| {covered / max(1, len(spoken)):.1%} of {len(spoken)} "
            f"| {fmean(value):.3f} (median {median(value):.3f}) | {fmean(best):.3f} "
            f"| {fmean(o['launches'] for o in ones):.2f} | {fmean(o['over'] for o in ones):.1f} |"
        )
    return "\n".join(lines)


def packed(path: Path) -> list[dict[str, Any]]:
    """Return the studies of a packed file."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is not in the file yet, or report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--problems", default="serving", help="patterns with commas")
    parser.add_argument("--tables", type=Path, help="folder of measured tables to replay")
    parser.add_argument("--noises", default=",".join(NOISES))
    parser.add_argument("--edges", default="0.4,0.6")
    parser.add_argument("--engines", default="gp")
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--out", type=Path, default=Path("trust.jsonl"))
    parser.add_argument("--part", default="0/1", help="K/N: this process does each N-th study")
    parser.add_argument("--report", action="store_true", help="say what the file holds")
    asked = parser.parse_args(arguments)
    if asked.report:
        print(report(packed(asked.out) if asked.out.suffix == ".gz" else read_results(asked.out)))
        return
    done = read_results(asked.out, mend=True)
    names = [n for n in builders(asked.problems.split(","), asked.tables) if any(map(n.startswith, PROBLEMS))]
    part, parts = map(int, asked.part.split("/"))
    keys = ("seed", "problem", "edge", "noise", "engine")
    known = {tuple(one[k] for k in keys) for one in done}
    studies = [
        Study(seed, name, float(edge), noise, engine)
        for seed in range(asked.seeds)
        for name in names
        for edge in asked.edges.split(",")
        for noise in asked.noises.split(",")
        for engine in asked.engines.split(",")
    ]
    left = [s for i, s in enumerate(studies) if i % parts == part and tuple(asdict(s).values()) not in known]
    for number, study in enumerate(left, 1):
        append(asked.out, {**asdict(study), **run(study, asked.tables)})
        if number % 10 == 0 or number == len(left):
            print(f"[{number}/{len(left)}] {study}", flush=True)


if __name__ == "__main__":
    main()

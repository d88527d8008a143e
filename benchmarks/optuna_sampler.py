"""Our engine through Optuna beside the same engine asked directly: is anything lost on the way?

``python -m benchmarks.optuna_sampler --problems branin,hartmann6,cash,serving --seeds 5 --out optuna.jsonl``

All begin with the default configuration (``enqueue_trial`` in Optuna) and see the same noise. An Optuna study
suggests as users do: ranges by ``suggest_int`` and ``suggest_float``, lists by ``suggest_categorical``,
conditions as branches; limits are its ``constraints_func``, a failure an exception. Its sampler sees what is
suggested, or is told the space (``AutotuneSampler(space=...)``). What constraints exclude is pruned for free.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from autotune.core.trial import Config, config_key
from autotune.errors import SpecError
from autotune.integrations.optuna import AutotuneSampler, suggest
from benchmarks.methods.ours import EngineMethod
from benchmarks.problems import problems
from benchmarks.problems.base import Problem

WAYS = ("direct", "optuna", "told")

WITHIN = 0.95
"""Quality from which a run counts as arrived."""


def directly(problem: Problem, seed: int, budget: int) -> list[float]:
    """Return the best quality after each trial of the engine itself."""
    session = EngineMethod("gp").start(problem, seed, budget)
    found: list[float] = []
    for _ in range(budget):
        config = session.ask()
        if config is None:
            break
        session.tell(config, problem.measure(config, _noise(seed, config)))
        found.append(max(problem.quality(config), *found[-1:], 0.0))
    return found


def through_optuna(problem: Problem, seed: int, budget: int, *, told: bool) -> list[float]:
    """Return the same of a study of Optuna's, whose sampler is told the space or sees what is suggested."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space, goal = problem.space, problem.objective.goals[0]
    found: list[float] = []

    def objective(trial: optuna.Trial) -> float:
        config = suggest(trial, space)
        try:
            config = space.validate(config)
        except SpecError:
            raise optuna.TrialPruned from None
        found.append(max(problem.quality(config), *found[-1:], 0.0))
        measured = problem.measure(config, _noise(seed, config))
        if measured.failure is not None:
            trial.set_user_attr("failure", measured.failure.cause.value)
            raise RuntimeError(measured.failure.cause)
        values = {name: e.value for name, e in measured.metrics.items()}
        limits = [limit.violation(values[limit.metric]) for limit in problem.objective.limits]
        trial.set_user_attr("limits", limits)
        return values[goal.metric]

    constraints = (lambda trial: trial.user_attrs["limits"]) if problem.objective.limits else None
    study = optuna.create_study(
        direction="maximize" if goal.maximize else "minimize",
        sampler=AutotuneSampler(seed=seed, constraints_func=constraints, space=space if told else None),
    )
    default = space.default_config
    study.enqueue_trial({p.name: default[p.name] for p in space if p.name in default})
    while len(found) < budget and len(study.trials) < 4 * budget:
        study.optimize(objective, n_trials=1, catch=(RuntimeError,))
    return found


def _noise(seed: int, config: Config) -> np.random.Generator:
    return np.random.default_rng([seed, *config_key(config).encode()])


def arrived(qualities: Sequence[float], budget: int) -> int:
    """Return the trials until the best possible was within 5 %; the budget + 1 where it never was."""
    return next((i + 1 for i, quality in enumerate(qualities) if quality >= WITHIN), budget + 1)


def compare(rows: Sequence[dict[str, Any]], budget: int) -> list[str]:
    """Return a table: by problem what each way reached, and ratios of trials with their spread."""
    lines = [
        "| problem | seeds | best after 10 | best after all | trials to within 5 % | Optuna / direct "
        "| told the space / direct |",
        "|---|---|---|---|---|---|---|",
    ]
    every: dict[str, list[float]] = {"optuna": [], "told": []}
    for name in dict.fromkeys(row["problem"] for row in rows):
        mine = [row for row in rows if row["problem"] == name]
        cells = []
        for at in (10, budget):
            means = (np.mean([row[way][:at][-1] for row in mine]) for way in WAYS)
            cells.append(", ".join(f"{value:.3f}" for value in means))
        trials = {way: np.array([arrived(row[way], budget) for row in mine]) for way in WAYS}
        cells.append(", ".join(f"{trials[way].mean():.1f}" for way in WAYS))
        for way in every:
            found = np.log(trials[way] / trials["direct"]).tolist()
            every[way] += found
            cells.append(_ratio(found))
        lines.append(f"| `{name}` | {len(mine)} | {' | '.join(cells)} |")
    lines.append(f"| all | {len(rows)} | | | | {' | '.join(_ratio(logs) for logs in every.values())} |")
    return lines


def _ratio(logs: Sequence[float]) -> str:
    """Return a geometric mean with the bootstrap interval of 95 %."""
    rng = np.random.default_rng(0)
    means = rng.choice(np.array(logs), (4000, len(logs))).mean(1)
    low, high = np.exp(np.quantile(means, (0.025, 0.975)))
    return f"{math.exp(float(np.mean(logs))):.2f} [{low:.2f}, {high:.2f}]"


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", default="branin,hartmann6,cash,serving")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=25)
    parser.add_argument("--out", type=Path, default=Path("optuna_sampler.jsonl"))
    given = parser.parse_args(argv)
    rows = [json.loads(line) for line in given.out.read_text().splitlines()] if given.out.exists() else []
    done = {(row["problem"], row["seed"], row["trials"]) for row in rows}
    known = problems(given.problems.split(","))
    for seed in range(given.seeds):
        for problem in known:
            if (problem.name, seed, given.trials) in done:
                continue
            row = {"problem": problem.name, "seed": seed, "trials": given.trials,
                   "direct": directly(problem, seed, given.trials),
                   "optuna": through_optuna(problem, seed, given.trials, told=False),
                   "told": through_optuna(problem, seed, given.trials, told=True)}  # fmt: skip
            rows.append(row)
            with given.out.open("a") as file:
                file.write(json.dumps(row) + "\n")
    print("\n".join(compare([row for row in rows if row["trials"] == given.trials], given.trials)))


if __name__ == "__main__":
    main()

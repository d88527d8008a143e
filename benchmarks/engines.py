"""How good is the best found after 10, 20 and 40 trials: our engines beside Optuna's TPE, same noise.

``python -m benchmarks.engines [--seeds 10]`` prints, for each method, the median over seeds of the true
value of the configuration it recommends divided by the best possible one (1.00 is perfect; 0 when nothing
feasible was found), its quartiles, the trials wasted on failing configurations, and the seconds that choosing
took. All start from the default configuration.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable

import numpy as np

from autotune.core import ranking
from autotune.core.trial import Config, Reason, Suggestion, Trial, TrialState
from autotune.engine.registry import build_engine
from benchmarks.serving import OBJECTIVE, SPACE, measure, truth

LOOKS = (10, 20, 40)
Result = tuple[list[float], int, float]


def trial_of(number: int, suggestion: Suggestion, seed: int) -> Trial:
    """Measure a suggestion; the noise of a trial depends on its number and the seed only."""
    measurement = measure(suggestion.config, np.random.default_rng([seed, number]))
    state = TrialState.COMPLETED if measurement.failure is None else TrialState.INFEASIBLE
    return Trial(number, suggestion, state, 1, measurement)


def regrets(history: list[Trial], optimum: float) -> list[float]:
    """Return the true quality of what would be recommended after each look."""
    result = []
    for n in LOOKS:
        best = ranking.best_trial(history[:n], OBJECTIVE)
        exact = None if best is None else truth(best.config)
        kept = exact is not None and OBJECTIVE.score(exact).feasible
        result.append(exact["output_throughput"] / optimum if kept and exact is not None else 0.0)
    return result


def ours(name: str) -> Callable[[int, float], Result]:
    """Return a runner of one of our engines."""

    def run(seed: int, optimum: float) -> Result:
        engine = build_engine(name, budget=LOOKS[-1])
        history: list[Trial] = []
        spent = 0.0
        for number in range(LOOKS[-1]):
            began = time.perf_counter()
            (asked,) = engine.ask(SPACE, OBJECTIVE, history, [], 1, seed)
            spent += time.perf_counter() - began
            history.append(trial_of(number, asked, seed))
        return regrets(history, optimum), _wasted(history), spent

    return run


def tpe(seed: int, optimum: float) -> Result:
    """Run Optuna's TPE with ordinals as ranks, limits as constraints, and failures as trials that failed."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.TPESampler(
        seed=seed, constraints_func=lambda t: t.user_attrs.get("limits", (1.0,))
    )
    study = optuna.create_study(direction="maximize", sampler=sampler)
    default = SPACE.default_config
    study.enqueue_trial({p.name: p.level_of(default[p.name]) for p in SPACE})
    history: list[Trial] = []
    spent = 0.0
    for number in range(LOOKS[-1]):
        began = time.perf_counter()
        asked = study.ask()
        config: Config = {p.name: p.levels[asked.suggest_int(p.name, 0, len(p.levels) - 1)] for p in SPACE}
        spent += time.perf_counter() - began
        trial = trial_of(number, Suggestion(config, Reason.RANDOM), seed)
        history.append(trial)
        if trial.state is TrialState.COMPLETED:
            limits = [limit.violation(trial.metrics[limit.metric].value) for limit in OBJECTIVE.limits]
            asked.set_user_attr("limits", limits)
            study.tell(asked, trial.metrics["output_throughput"].value)
        else:
            study.tell(asked, state=optuna.trial.TrialState.FAIL)
    return regrets(history, optimum), _wasted(history), spent


def _wasted(history: list[Trial]) -> int:
    return sum(trial.state is TrialState.INFEASIBLE for trial in history)


METHODS = {"gp": ours("gp"), "optuna:tpe": tpe, "sobol": ours("sobol"), "random": ours("random")}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=10)
    seeds = parser.parse_args().seeds
    warnings.simplefilter("ignore")
    table = SPACE.table()
    assert table is not None
    known = [truth(config) for config in table.configs(range(len(table)))]
    good = [m["output_throughput"] for m in known if m is not None and OBJECTIVE.score(m).feasible]
    optimum = max(good)
    near = sum(value > 0.95 * optimum for value in good)
    print(
        f"{len(table):,} configurations, {sum(m is None for m in known) / len(known):.0%} out of memory, "
        f"{near} within 5 % of the best; {seeds} seeds"
    )
    print(f"{'':<12}" + "".join(f"{f'after {n}':>22}" for n in LOOKS) + f"{'wasted':>9}{'s per ask':>11}")
    for name, run in METHODS.items():
        results = [run(seed, optimum) for seed in range(seeds)]
        cells = ""
        for i in range(len(LOOKS)):
            low, middle, high = np.quantile([found[i] for found, _, _ in results], [0.25, 0.5, 0.75])
            cells += f"{f'{middle:.2f} [{low:.2f}, {high:.2f}]':>22}"
        wasted = np.mean([count for _, count, _ in results])
        seconds = np.mean([spent for _, _, spent in results]) / LOOKS[-1]
        print(f"{name:<12}{cells}{wasted:>9.1f}{seconds:>11.3f}")


if __name__ == "__main__":
    main()

"""The loop of Ray Tune's controller in this process, without a cluster: what it asks a searcher, in order.

What Tune has of this itself is Tune's: placeholders of objects and functions, wrappers of searchers,
schedulers. Trials take turns, a result each.
"""

import copy
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from ray.tune.impl.placeholder import create_resolvers_map, inject_placeholders, resolve_placeholders
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.search.variant_generator import _has_unresolved_values
from ray.tune.utils import flatten_dict, merge_dicts


@dataclass
class _Controller:
    """What schedulers ask Tune's controller for."""

    trials: list["TuneTrial"] = field(default_factory=list)

    def get_live_trials(self) -> list["TuneTrial"]:
        return [trial for trial in self.trials if trial.status == "RUNNING"]


@dataclass(eq=False)
class TuneTrial:
    """A trial as schedulers see it."""

    trial_id: str
    config: dict[str, Any]
    results: Iterator[Mapping[str, Any]]
    last_result: dict[str, Any] = field(default_factory=dict)
    status: str = "RUNNING"
    iteration: int = 0


def run_tune(
    trainable: Callable[[dict[str, Any]], Iterator[Mapping[str, Any]]],
    space: Mapping[str, Any] | None,
    search: Searcher,
    *,
    metric: str | None = None,
    mode: str | None = None,
    num_samples: int = 4,
    most: int | None = None,
    scheduler: TrialScheduler | None = None,
    stop: Mapping[str, float] | Callable[[str, Mapping[str, Any]], bool] | None = None,
    parallel: int = 2,
) -> list[TuneTrial]:
    """Return the trials of a run, in the order of their starts.

    Args:
        trainable: Yields what a trainable of Tune's would report.
        most: Trials after which the run is over, as a budget of time ends one.
    """
    resolvers = create_resolvers_map()
    constant = inject_placeholders(copy.deepcopy(dict(space or {})), resolvers)
    samples = sys.maxsize if num_samples == -1 else num_samples
    spec = {"num_samples": samples, "stop": stop if isinstance(stop, Mapping) else {}}
    took = not constant or search.set_search_properties(metric, mode, constant, **spec)
    if not took and _has_unresolved_values(constant):
        raise ValueError("You passed a `param_space` parameter with unresolved parameters")
    scheduler = scheduler or FIFOScheduler()
    scheduler.set_search_properties(metric, mode, **spec)
    controller = _Controller()
    trials = controller.trials
    finished = False
    while True:
        running = controller.get_live_trials()
        finished = finished or len(trials) >= min(samples, most or samples)
        if not running and finished:
            return trials
        if not finished and len(running) < parallel:
            trial_id = uuid4().hex[:8]
            suggested = search.suggest(trial_id)
            if suggested == Searcher.FINISHED:
                finished = True
            elif suggested is not None:
                config = merge_dicts(constant, copy.deepcopy(suggested))
                resolve_placeholders(config, resolvers)
                trial = TuneTrial(trial_id, config, iter(trainable(config)))
                trials.append(trial)
                scheduler.on_trial_add(controller, trial)
            elif not running:
                raise AssertionError("the searcher has nothing to propose while nothing runs")
            continue
        for trial in running:
            _step(controller, trial, search, scheduler, stop)


def _step(controller: Any, trial: TuneTrial, search: Searcher, scheduler: TrialScheduler, stop: Any) -> None:
    """Take the next result of a trial, as `TuneController._process_trial_result` does."""
    try:
        found = next(trial.results, None)
    except RuntimeError:
        trial.status = "ERROR"
        scheduler.on_trial_error(controller, trial)
        search.on_trial_complete(trial.trial_id, error=True)
        return
    if found is None:  # a function has returned: its last result comes again
        trial.last_result["done"] = True
    else:
        trial.iteration += 1
        trial.last_result = {"done": False, **found, "training_iteration": trial.iteration,
                             "trial_id": trial.trial_id, "config": trial.config}  # fmt: skip
    flat = flatten_dict(trial.last_result)
    if isinstance(stop, Mapping):
        stops = any(flat[key] >= bound for key, bound in stop.items() if key in flat)
    else:
        stops = bool(stop and stop(trial.trial_id, trial.last_result))
    decision = TrialScheduler.STOP
    if not stops and not flat["done"]:
        decision = scheduler.on_trial_result(controller, trial, flat)
    if decision != TrialScheduler.STOP:
        search.on_trial_result(trial.trial_id, flat)
        return
    trial.last_result["done"] = True
    trial.status = "TERMINATED"
    flat = flatten_dict(trial.last_result)
    scheduler.on_trial_complete(controller, trial, flat)
    search.on_trial_complete(trial.trial_id, result=flat)

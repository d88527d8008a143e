"""Measure a whole grid, or a sample of it, in random order, and write what was found as a table.

Every measurement is a trial of a study in the ledger, run by the driver of ``autotune run``: nothing is
lost when the sweep is stopped, and the same trials go on later. Replicates are blocks: each block holds every
configuration once in an order of its own, so that a drift of the machine meets all configurations alike, and
a sweep that is stopped early has whole replicates ([M12]_, chapter 4).

.. [M12] Montgomery, Design and Analysis of Experiments, 8th ed., 2012.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np

from autotune.core.file_names import LEDGER_NAME
from autotune.core.input_file import resolved
from autotune.core.json_object import JsonObject
from autotune.core.measured_table import MeasuredRow, MeasuredTable, table_name, write_table
from autotune.core.space import Space
from autotune.core.trial import Config, Reason, Suggestion, Trial, config_key
from autotune.errors import SpecError, StudyError
from autotune.ledger import made_ledger
from autotune.report.view import View
from autotune.spec.sections import EngineConfig
from autotune.study.readiness import refuse_unplaceable
from autotune.study.run import RunSummary, StopRequest, as_measured, run_study
from autotune.study.study import Study, ledger_path
from autotune.study.study_file import StudyFile

_ENGINE = "sweep"
_LOTS = 20_000  # measurements nobody waits for; more is a slip of the pen


@dataclass(frozen=True)
class SweepPlan:
    """Plan of a sweep.

    Args:
        sample: Configurations measured; ``None`` for all.
        replicates: Measurements of each.
        seed: Seed of the sample and of the order.
    """

    sample: int | None = None
    replicates: int = 1
    seed: int = 0

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON data."""
        return {"sample": self.sample, "replicates": self.replicates, "seed": self.seed}


def chosen(space: Space, plan: SweepPlan) -> list[Config]:
    """Return the configurations to measure: all, or a stratified sample that holds the default.

    The rows of the table are sorted by their levels, the parameters in an order drawn from the seed, and cut
    into as many stretches of equal length as configurations are wanted; one is drawn from each. The
    parameters that sort first are thereby represented as in the whole, the others on average.

    Raises:
        SpecError: There are too many to measure all.
    """
    table = space.table()
    if plan.sample is None and (table is None or len(table) * plan.replicates > _LOTS):
        raise SpecError(
            f"{space.count()} configurations are too many to measure all",
            hint="--sample N measures N of them",
        )
    rng = np.random.default_rng([plan.seed, 1])
    if table is None:
        found = space.sample(int(plan.sample or 0), rng)
    elif plan.sample is None or plan.sample >= len(table):
        found = table.configs(range(len(table)))
    else:
        keys = table.indices[:, rng.permutation(len(space))]
        ranked = np.lexsort(keys.T[::-1])
        edges = np.linspace(0, len(ranked), plan.sample + 1).astype(int)
        found = table.configs([int(ranked[rng.integers(a, b)]) for a, b in pairwise(edges)])
    default = space.default_config
    if config_key(default) not in {config_key(config) for config in found}:
        found[0] = default
    return found


def order(configs: Sequence[Config], plan: SweepPlan, default: Config) -> list[Config]:
    """Return every measurement in its place: blocks of all configurations, each in a random order.

    The default comes first: what is measured in relation to it (agreement, limits) needs it.
    """
    rng = np.random.default_rng([plan.seed, 2])
    result = []
    for _ in range(plan.replicates):
        result += [configs[i] for i in rng.permutation(len(configs))]
    first = [config_key(config) for config in result].index(config_key(default))
    result[0], result[first] = result[first], result[0]
    return result


def sweep(
    spec: StudyFile,
    plan: SweepPlan,
    *,
    store: Path,
    view: View,
    out: Path,
    resume: bool = False,
    local: bool = True,
    stop: StopRequest | None = None,
) -> RunSummary:
    """Measure what the plan says and write the table, also when it was stopped half way.

    Args:
        spec: The study file.
        plan: Plan of what is measured; a sweep that goes on keeps its own.
        store: Folder of the ledger.
        view: View on which progress is shown.
        out: Table file; its specification goes beside it.
        resume: Whether to go on with the sweep that the store holds.
        local: Whether to run attempts in child processes instead of on Ray.
        stop: Request that signals set; by default the run's own.

    Raises:
        SpecError: There are too many configurations.
        StudyError: The store has a sweep of that name and ``resume`` is off, or has none and it is on.
    """
    store = resolved(store)
    name = f"{spec.name}-sweep"
    kept = _stored_plan(store, name)
    if kept is None and resume:
        raise StudyError(f"{store} has no sweep {name!r} to go on with", hint="leave --resume out")
    if kept is not None and not resume:
        raise StudyError(
            f"{store} has a sweep {name!r} already", hint="--resume goes on with it; --store names another"
        )
    plan = kept or plan
    refuse_unplaceable(spec, local=local)  # before there is a sweep that nobody can run
    spec = as_measured(spec, store / LEDGER_NAME, name)
    places = order(chosen(spec.space, plan), plan, spec.space.default_config)
    budget = replace(spec.budget, trials=len(places), time_s=None, confirm=0, stop_when="budget", watch=0)
    engine = EngineConfig("random", plan.seed)
    swept = replace(spec, name=name, budget=budget, engine=engine)
    ledger_path(store / LEDGER_NAME)
    with Study(swept.space, swept.objective, engine="random", seed=plan.seed, name=name,
               path=store / LEDGER_NAME, spec=swept.to_dict()) as study:  # fmt: skip
        study.ledger.set_study_note(name, _ENGINE, plan.to_dict())
        _plan_trials(study, places)
    try:
        return run_study(swept, store=store, view=view, local=local, tracking=False, stop=stop)
    finally:
        with made_ledger(store / LEDGER_NAME) as ledger:  # if it went away, the run's error says where it was
            trials = [] if ledger is None else ledger.trials(name)
        if any(trial.state.finished for trial in trials):
            write_table(out, table_of(spec, plan, trials, table_name(out)))


def _stored_plan(store: Path, name: str) -> SweepPlan | None:
    with made_ledger(store / LEDGER_NAME) as ledger:
        note = None if ledger is None else ledger.study_notes(name).get(_ENGINE)
    return None if note is None else SweepPlan(**note)


def _plan_trials(study: Study, places: Sequence[Config]) -> None:
    """Commit the measurements that are not there yet; a sweep killed while it was planned is completed."""
    seen: Counter[str] = Counter()
    for number, config in enumerate(places):
        again = seen[config_key(config)] > 0
        seen[config_key(config)] += 1
        if number >= len(study.trials):
            study.suggest(Suggestion(config, Reason.REPEAT if again else Reason.INITIAL, _ENGINE))


def _others_busy(facts: JsonObject) -> float:
    """Return how many processors other programs used while it was measured."""
    machine = dict(dict(facts.get("measured") or {}).get("machine") or {})
    if "cores" in machine:
        return float(machine["cores"]["others"])
    return float(sum(program["cores"] for program in machine.get("busy_processes") or ()))


def table_of(spec: StudyFile, plan: SweepPlan, trials: Sequence[Trial], name: str) -> MeasuredTable:
    """Return the table of what a sweep has measured so far, one row per finished trial."""
    rows = []
    replicates: Counter[str] = Counter()
    about: dict[str, object] = {}
    for trial in trials:
        measurement = trial.measurement
        if not trial.state.finished or measurement is None:
            continue
        key = trial.key
        replicates[key] += 1
        began = datetime.fromtimestamp(measurement.started_ns / 1e9, UTC)
        facts = {
            "trial": str(trial.number),
            "attempts": str(trial.attempts),
            "node": trial.node,
            "started": began.isoformat(timespec="seconds"),
            "seconds": f"{measurement.seconds:.3f}",
            "others_busy": f"{_others_busy(measurement.facts):g}",
        }
        cause = measurement.failure.cause if measurement.failure is not None else None
        config = {n: v for n, v in trial.config.items() if n in spec.space.names}
        rows.append(MeasuredRow(config, measurement.metrics, cause, replicates[key], facts))
        if cause is None and not about:
            about = _about(measurement.facts)
    about |= {"workload": spec.stated_load, "plan": plan.to_dict()}
    section = {} if spec.system is None else spec.system.section
    about["system"] = {key: value for key, value in section.items() if not _is_path(value)}
    return MeasuredTable(name, name, spec.space, spec.objective.to_dict(), tuple(rows), about)


def _about(facts: JsonObject) -> dict[str, object]:
    """Return what the first measurement says of the machine and of what ran on it."""
    versions = {k: v for k, v in dict(facts.get("system", {})).items() if "version" in k}
    return {"hardware": facts.get("hardware", {}), "versions": versions}


def _is_path(value: object) -> bool:
    """Return whether a setting would say where things lie on one machine."""
    return isinstance(value, str) and value.startswith(("/", "~"))

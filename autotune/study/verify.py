"""Measure winner and default of a finished study again, and say whether something got worse.

The launches are trials of a study of their own in the same ledger, run by the driver of ``autotune run``:
the first study and its decision stay as they are, nothing measured is lost, and a verification that was
stopped goes on. Which study it verifies stands in its notes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from autotune.analysis.change import changes, decision_again
from autotune.analysis.facts import changed, circumstances
from autotune.analysis.study_view import StudyView
from autotune.analysis.verification import Side, Verification
from autotune.core.commands import stored_command
from autotune.core.drift import with_drift
from autotune.core.file_names import LEDGER_NAME
from autotune.core.input_file import resolved
from autotune.core.trial import Config, Reason, Suggestion, Trial, TrialState, config_key
from autotune.errors import AutotuneError, EnvironmentProblem, NothingFeasible, StudyError
from autotune.ledger import Ledger, StudyRow
from autotune.report.verification import verification_json, verification_lines
from autotune.report.view import Kind, View
from autotune.spec.sections import EngineConfig
from autotune.study.comparing import differing_settings
from autotune.study.jobs import system_of
from autotune.study.mirroring import MIRROR_FLUSH_S
from autotune.study.reading import read_view
from autotune.study.run import StopRequest, run_study
from autotune.study.study import Study, find_study
from autotune.study.study_file import MEASURED_WITH, StudyFile, read_stored_study
from autotune.tracking.items import VERIFICATION, VERIFIES
from autotune.tracking.mlflow_items import abandoned, mirror_name

LAUNCHES = 3
"""Fresh launches of each side unless somebody asks for others."""


@dataclass(frozen=True)
class Plan:
    """Plan of a verification, as it is kept in the ledger.

    Args:
        study: Name of the study.
        trial: Number of its winner.
        launches: Launches of each side.
    """

    study: str
    trial: int
    launches: int

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON data."""
        return {"study": self.study, "trial": self.trial, "launches": self.launches}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Plan:
        """Read what :meth:`to_dict` wrote."""
        return cls(str(data["study"]), int(data["trial"]), int(data["launches"]))


@dataclass(frozen=True)
class Begun:
    """A verification that was planned or begun.

    Args:
        spec: Study file under the name of the verification.
        plan: Plan of its launches.
        places: Configurations in the order in which they are launched.
        resumed: Whether an earlier command began it.
    """

    spec: StudyFile
    plan: Plan
    places: list[Config] = field(repr=False)
    resumed: bool


def verify(
    store: Path,
    name: str | None,
    *,
    view: View,
    launches: int = LAUNCHES,
    tolerance: float = 0.05,
    local: bool = False,
    new: bool = False,
    overrides: Sequence[str] = (),
    stop: StopRequest | None = None,
) -> Verification:
    """Measure winner and default again and compare.

    Args:
        store: Folder of the ledger.
        name: Name of the study; may be left out where there is one only.
        view: View on which progress is shown.
        launches: Launches of each side; a verification that goes on keeps its own.
        tolerance: Part by which a metric may become worse.
        local: Run attempts in child processes instead of on Ray.
        new: Begin another verification though one was stopped half way.
        overrides: ``KEY=VALUE`` of the study file, such as the path of another engine.
        stop: Request that signals set; by default the run's own.

    Raises:
        StudyError: There is no such study, or it still runs.
        NothingFeasible: It has no winner.
        EnvironmentProblem: A side could not be measured.
    """
    store = resolved(store)
    path = store / LEDGER_NAME
    with Ledger.open(path, read_only=True) as ledger:
        row = find_study(ledger, name)
        study = read_view(ledger, row)
        begun = _begin(ledger, row, study, launches, new, overrides)
    spec, plan = begun.spec, begun.plan
    if begun.resumed:
        view.message(f"going on with {spec.name}: {plan.launches} launches of each side")
    with Study(
        spec.space,
        spec.objective,
        engine="random",
        seed=row.seed,
        name=spec.name,
        path=path,
        spec=spec.to_dict(),
    ) as made:
        made.ledger.set_study_note(spec.name, VERIFIES, plan.to_dict())
        for config in begun.places[len(made.trials) :]:
            made.suggest(Suggestion(config, Reason.REPEAT, "verification"))
    differing = differing_settings(row.spec, spec.to_dict(), MEASURED_WITH)
    done = run_study(spec, store=store, view=view, local=local, tracking=False, stop=stop)
    found = compared(study, row, plan, done.view, tolerance, differing, done.state)
    said = {name: part for name, part in verification_json(found).items() if name != "ledger"}
    with Ledger.open(path) as ledger:
        ledger.set_study_note(spec.name, VERIFICATION, {**said, "lines": verification_lines(found)})
        mirrored = bool(ledger.mirror_state(row.name, mirror_name(spec.tracking.mlflow or "")))
    if mirrored and found.state == "completed":  # else who stopped it would wait
        _mirror(path, spec, view)
    return found


def _mirror(path: Path, spec: StudyFile, view: View) -> None:
    """Write a verification to the experiment of its study, and what was killed while it was written.

    In bounded time: all of it is in the ledger.
    """
    from autotune.tracking.mlflow import sync

    uri, experiment = spec.tracking.mlflow, spec.tracking.experiment
    assert uri is not None  # noqa: S101 - the study is mirrored there
    with Ledger.open(path, read_only=True) as ledger:
        left = {row.name: place for row, place in abandoned(ledger, spec.name, uri)}
    for name, place in {spec.name: experiment or spec.name, **left}.items():
        try:
            sync(
                path, name, tracking_uri=uri, experiment=place, timeout=MIRROR_FLUSH_S,
                copy=spec.tracking.copy_every_s is not None,
            )  # fmt: skip
        except AutotuneError as error:
            again = stored_command("sync", name, path)
            view.message(
                f"warning: {name} is not in MLflow yet: {error.message}; `{again}` writes it", Kind.LOSS
            )


def _begin(
    ledger: Ledger,
    row: StudyRow,
    study: StudyView,
    launches: int,
    new: bool,
    overrides: Sequence[str],
) -> Begun:
    """Return the verification to go on with, or a new one."""
    if row.notes.get(VERIFIES):
        raise StudyError(
            f"study {row.name!r} is a verification itself, of {row.notes[VERIFIES]['study']!r}",
            hint="verify that one",
        )
    if not study.settled:
        raise StudyError(f"study {row.name!r} still runs: its winner is not known")
    if study.best is None:
        raise NothingFeasible(f"study {row.name!r} has no winner to measure again")
    open_ = [
        other
        for other in ledger.studies()
        if (other.notes.get(VERIFIES) or {}).get("study") == row.name and other.state != "COMPLETED"
    ]
    kept = Plan.from_dict(open_[-1].notes[VERIFIES]) if open_ and not new else None
    plan = kept or Plan(row.name, study.best.trial.number, launches)
    name = open_[-1].name if kept else ledger.unused_name(f"{row.name}-verify")
    spec = read_stored_study({**deepcopy(row.spec), "name": row.name}, overrides)
    system_of(spec)
    winner = next(t for t in study.trials if t.number == plan.trial).config
    places = _order(winner, spec.space.default_config, plan.launches)
    budget = replace(spec.budget, trials=len(places), time_s=None, confirm=0, watch=0, stop_when="budget")
    tracking = replace(spec.tracking, experiment=spec.tracking.experiment or row.name)
    engine = EngineConfig("random", row.seed)
    spec = replace(spec, name=name, budget=budget, engine=engine, tracking=tracking)
    return Begun(spec, plan, places, resumed=kept is not None)


def _order(winner: Config, default: Config, launches: int) -> list[Config]:
    """Return the launches in balanced order against drift, the default first: B A A B B A.

    The answers of others are compared with those of the default, where a study compares them.
    """
    if config_key(winner) == config_key(default):
        return [default] * launches
    pairs = [(default, winner) if i % 2 == 0 else (winner, default) for i in range(launches)]
    return [config for pair in pairs for config in pair]


def compared(
    study: StudyView,
    row: StudyRow,
    plan: Plan,
    again: StudyView,
    tolerance: float,
    differing: Sequence[str] = (),
    state: str = "completed",
) -> Verification:
    """Return what came of a verification.

    Args:
        study: Study that was verified.
        row: The same in the ledger.
        plan: Plan of the launches.
        again: Launches.
        tolerance: Part by which a metric may become worse.
        differing: Settings of the study file that were overridden.
        state: State in which the run of the launches ended.

    Raises:
        EnvironmentProblem: A side has no measurement, and through no fault of its configuration.
    """
    default = study.default_config
    winner = next(t for t in study.trials if t.number == plan.trial)
    sides = [("winner" if study.recommends else "nearest", winner.number, winner.config)]
    if config_key(winner.config) != config_key(default):
        first = next((t.number for t in study.trials if t.key == config_key(default)), -1)
        sides.append(("default", first, default))
    # what drifted since is noise of the earlier side
    trials = with_drift(study.trials, study.objective, study.space)
    earlier = replace(study, trials=trials).decision if trials != list(study.trials) else study.decision
    later = decision_again(again.trials, earlier, study.objective)
    found = []
    for name, number, config in sides:
        mine = [t for t in again.trials if t.key == config_key(config)]
        failed = [f"{t.failure.cause.value}: {t.failure.message}" for t in mine
                  if t.state is TrialState.INFEASIBLE and t.failure is not None]  # fmt: skip
        measured = [t for t in mine if t.state is TrialState.COMPLETED]
        if not measured and not failed and state != "interrupted":
            raise EnvironmentProblem(
                f"the {name} could not be measured again: {_why(mine)}", hint="the same command goes on"
            )
        key = config_key(config)
        pairs = changes(earlier, later, (key, key), study.objective) if measured else []
        before = [t.state for t in study.trials if t.key == key and t.state.finished]
        as_before = bool(failed) and TrialState.INFEASIBLE in before and TrialState.COMPLETED not in before
        failures = tuple(dict.fromkeys(failed))
        found.append(Side(name, number, config, tuple(pairs), len(measured), failures, as_before))
    then, now = ([t for t in view.trials if t.state is TrialState.COMPLETED] for view in (study, again))
    return Verification(
        study=row.name, name=again.name, state=state, tolerance=tolerance,
        confidence=study.objective.confidence, launches=plan.launches, sides=tuple(found),
        differs=(*changed(circumstances(then), circumstances(now)), *differing) if now else tuple(differing),
        then=_date(then), now=_date(now), ledger=again.ledger,
    )  # fmt: skip


def _why(trials: Sequence[Trial]) -> str:
    messages = dict.fromkeys(t.failure.message for t in trials if t.failure is not None)
    return "; ".join(messages) or "it was not launched"


def _date(trials: Sequence[Trial]) -> str:
    began = [
        t.measurement.started_ns for t in trials if t.measurement is not None and t.measurement.started_ns
    ]
    return datetime.fromtimestamp(max(began) / 1e9, UTC).strftime("%Y-%m-%d") if began else ""

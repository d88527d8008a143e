"""Measure winner and default of a finished study again, and say whether something got worse.

The launches are trials of a study of their own in the same ledger, run by the driver of ``autotune run``:
the first study and its decision stay as they are, nothing measured is lost, and a verification that was
stopped goes on. Which study it verifies stands in its notes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from autotune.analysis.change import changes, decision_again
from autotune.analysis.facts import changed, circumstances
from autotune.analysis.side_by_side import under_objective
from autotune.analysis.study_view import StudyView
from autotune.analysis.verification import Side, Verification
from autotune.core.commands import stored_command
from autotune.core.drift import with_drift
from autotune.core.file_names import LEDGER_NAME
from autotune.core.input_file import resolved
from autotune.core.trial import Reason, Suggestion, Trial, TrialState, config_key
from autotune.core.units import counted
from autotune.errors import AutotuneError, EnvironmentProblem
from autotune.ledger import Ledger, StudyRow
from autotune.report.verification import verification_json, verification_lines
from autotune.report.view import Kind, View
from autotune.spec.stored import StoredSpec
from autotune.study.jobs import system_of
from autotune.study.mirroring import MIRROR_FLUSH_S
from autotune.study.readiness import refuse_unplaceable
from autotune.study.reading import read_view
from autotune.study.run import StopRequest, prepare, run_study
from autotune.study.study import Study, find_study
from autotune.study.study_file import StudyFile
from autotune.study.verify_plan import VerificationPlan, begin_verification
from autotune.tracking.items import VERIFICATION, VERIFIES
from autotune.tracking.mlflow_items import abandoned, mirror_name

LAUNCHES = 3
"""Fresh launches of each side unless somebody asks for others."""


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
        local: Whether to run attempts in child processes instead of on Ray.
        new: Whether to begin another verification though one was stopped half way.
        overrides: ``KEY=VALUE`` of the study file, such as the path of another server.
        stop: Request that signals set; by default the run's own.

    Raises:
        StudyError: There is no such study, or it still runs.
        SpecError: An override is wrong, or would change nothing.
        NothingFeasible: It has no winner.
        EnvironmentProblem: A side could not be measured.
    """
    store = resolved(store)
    path = store / LEDGER_NAME
    with Ledger.open(path, read_only=True) as ledger:
        row = find_study(ledger, name)
        study = read_view(ledger, row)
        begun = begin_verification(ledger, row, study, launches, new, overrides)
    spec, plan = begun.spec, begun.plan
    refuse_unplaceable(spec, local=local, overrides=overrides)
    if begun.resumed:
        view.message(f"going on with {spec.name}: {counted(plan.launches, 'launch')} of each side")
    if begun.left:
        view.message(begun.left)
    # before there is a verification that nobody can run
    prepare(spec, system_of(spec).built, view)
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
    done = run_study(spec, store=store, view=view, local=local, tracking=False, stop=stop, prepared=True)
    judged, own = study, {str(limit) for limit in study.objective.limits}
    if spec.objective.fingerprint != StoredSpec(row.spec).objective.fingerprint:
        judged = under_objective(study, spec.objective)
    asked = frozenset(str(limit) for limit in judged.objective.limits) - own
    found = compared(judged, row, plan, done.view, tolerance, begun.differing, done.state, asked)
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


def compared(
    study: StudyView,
    row: StudyRow,
    plan: VerificationPlan,
    again: StudyView,
    tolerance: float,
    differing: Sequence[str] = (),
    state: str = "completed",
    asked: Collection[str] = (),
) -> Verification:
    """Return what came of a verification.

    Args:
        study: Study that was verified, under the objective of the verification.
        row: The same in the ledger.
        plan: Plan of the launches.
        again: Launches.
        tolerance: Part by which a metric may become worse.
        differing: Settings of the study file that were overridden.
        state: State in which the run of the launches ended.
        asked: Limits that the study did not have: its winner is to keep them, whether or not it did then.

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
        if key == config_key(winner.config):
            pairs = [replace(pair, asked=str(pair.limit) in asked) for pair in pairs]
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

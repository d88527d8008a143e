"""Which verification a command goes on with or begins, and the launches that it makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from autotune.analysis.study_view import StudyView
from autotune.core.json_object import JsonObject
from autotune.core.objective import Objective
from autotune.core.trial import Config, config_key
from autotune.errors import NothingFeasible, SpecError, StudyError, did_you_mean
from autotune.ledger import Ledger, StudyRow
from autotune.spec.stored import StoredSpec
from autotune.study.jobs import system_of
from autotune.study.reading import edited_file
from autotune.study.study_file import StudyFile
from autotune.study.verify_settings import launched_otherwise, told, verification_file
from autotune.tracking.items import VERIFIES


@dataclass(frozen=True)
class VerificationPlan:
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
    def from_dict(cls, data: JsonObject) -> VerificationPlan:
        """Read what :meth:`to_dict` wrote."""
        return cls(str(data["study"]), int(data["trial"]), int(data["launches"]))


@dataclass(frozen=True)
class Begun:
    """A verification that was planned or begun.

    Args:
        spec: Study file under the name of the verification.
        plan: Plan of its launches.
        places: Configurations in the order in which they are launched.
        differing: Settings of the study file that were overridden, a line each.
        resumed: Whether an earlier command began it.
        left: Line on another one that was left half way; empty where there is none.
    """

    spec: StudyFile
    plan: VerificationPlan
    places: list[Config] = field(repr=False)
    differing: list[str]
    resumed: bool
    left: str = ""


def begin_verification(
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
    best, default = study.best.trial, study.space.default_config

    def planned(plan: VerificationPlan, name: str, *, resumed: bool) -> Begun:
        winner = next(t for t in study.trials if t.number == plan.trial).config
        places = _order(winner, default, plan.launches)
        spec = verification_file(row, name, len(places), overrides)
        differing = told(verification_file(row, name, len(places)), spec) if overrides else []
        if edited := edited_file(row):
            differing.append(f"{edited} was edited, which the study does not know: it was measured as it ran")
        return Begun(spec, plan, places, differing, resumed)

    begun = planned(
        VerificationPlan(row.name, best.number, launches),
        ledger.unused_name(f"{row.name}-verify"),
        resumed=False,
    )
    system_of(begun.spec)
    _check_measured(study, begun.spec.objective, StoredSpec(row.spec).objective)
    earlier = [] if new else [other for other in reversed(ledger.studies())
                              if (other.notes.get(VERIFIES) or {}).get("study") == row.name]  # fmt: skip
    left = ""
    for other in earlier:
        plan = VerificationPlan.from_dict(other.notes[VERIFIES])
        if plan.trial != best.number:  # nobody asks what became of it
            continue
        otherwise = launched_otherwise(StoredSpec(other.spec).with_parts({"name": other.name}), begun.spec)
        if otherwise and other.state != "COMPLETED":
            left = left or _left(ledger, other, otherwise, begun.spec.name)
        elif not otherwise and other.state == "COMPLETED":
            break  # whatever is older is not gone on with
        elif not otherwise:
            return planned(plan, other.name, resumed=True)
    return replace(begun, left=left)


def _left(ledger: Ledger, other: StudyRow, otherwise: Sequence[str], name: str) -> str:
    """Return what is said of a verification that was left half way; nothing of one without a measurement."""
    if not any(trial.metrics for trial in ledger.trials(other.name)):
        return ""
    return (
        f"{other.name} was left half way with other settings ({'; '.join(otherwise)}): "
        f"{name} begins beside it; verify with those settings goes on with {other.name}"
    )


def _check_measured(study: StudyView, objective: Objective, stated: Objective) -> None:
    """Refuse a limit on what the study did not measure: nothing could be compared.

    Args:
        study: Study.
        objective: Objective of its verification.
        stated: Objective of its own.

    Raises:
        SpecError: There is one.
    """
    measured = study.measured_metrics
    for limit in objective.limits:
        if limit.metric not in {*measured, *stated.metrics}:
            raise SpecError(
                f"--set objective.limits: study {study.name!r} measured no {limit.metric}; "
                f"measured: {', '.join(sorted(measured))}",
                hint=did_you_mean(limit.metric, sorted(measured)),
            )


def _order(winner: Config, default: Config, launches: int) -> list[Config]:
    """Return the launches in balanced order against drift, the default first: B A A B B A.

    The answers of others are compared with those of the default, where a study compares them.
    """
    if config_key(winner) == config_key(default):
        return [default] * launches
    pairs = [(default, winner) if i % 2 == 0 else (winner, default) for i in range(launches)]
    return [config for pair in pairs for config in pair]

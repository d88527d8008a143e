"""What a study and its trials look like in a tracking store: plain values, no library."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from autotune.core.measurement import Estimate
from autotune.core.objective import Objective
from autotune.core.ranking import Contender
from autotune.core.redact import escaped, redact, redacted, visible
from autotune.core.scalar import typed_scalar
from autotune.core.surprise import largest, show_surprise, surprises
from autotune.core.trial import Trial, TrialState, Value
from autotune.core.units import counted
from autotune.ledger import StudyRow
from autotune.tracking.names import allowed_name, allowed_names

EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}  # the UI then opens on the runs
_LONGEST_TAG = _LONGEST_PARAM = 5000  # MLflow cuts or refuses longer ones
_LONGEST_LINE = 1000  # of a note

LIVE = ("RUNNING", "SCHEDULED")
"""Statuses of runs that have not ended."""

RUN_STATUS = {
    TrialState.WAITING: "SCHEDULED",
    TrialState.RUNNING: "RUNNING",
    TrialState.COMPLETED: "FINISHED",
    TrialState.INFEASIBLE: "FAILED",
    TrialState.FAILED: "FAILED",
    TrialState.ABANDONED: "KILLED",
}
STUDY_STATUS = {"COMPLETED": "FINISHED", "INTERRUPTED": "KILLED"}


@dataclass(frozen=True)
class Item:
    """One run as it should be in the store.

    Args:
        key: ``study`` or ``trial/3``.
        name: Name of the run.
        params: Parameters, set once.
        metrics: Values by name.
        tags: May change later.
        status: ``RUNNING``, ``SCHEDULED``, ``FINISHED``, ``FAILED`` or ``KILLED``.
        start_ms, end_ms: Wall clock; ``end_ms`` is ``None`` while it runs.
        files: Paths of artifacts by name.
        texts: Contents of artifacts by name.
    """

    key: str
    name: str
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    status: str = "RUNNING"
    start_ms: int = 0
    end_ms: int | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Digest of everything the store would be given."""
        text = json.dumps(
            [getattr(self, name) for name in self.__dataclass_fields__], default=dict, sort_keys=True
        )
        return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def trial_item(trial: Trial, row: StudyRow, objective: Objective) -> Item:
    """Return the run of a trial."""
    measurement = trial.measurement
    values = _values(trial)
    names = allowed_names(values)
    infinite = {name: value for name, value in values.items() if not math.isfinite(value)}
    metrics = {names[name]: value for name, value in values.items() if name not in infinite}
    started = measurement.started_ns if measurement is not None else 0
    ended = measurement.ended_ns if measurement is not None and trial.state.finished else None
    status = RUN_STATUS[trial.state]
    if status in LIVE and row.state != "RUNNING":  # nobody works on it
        status = "KILLED"
    params = allowed_names(trial.config)
    tags = _trial_tags(trial, row, objective)
    tags |= {f"autotune.infinite.{allowed_name(name)}": str(value) for name, value in infinite.items()}
    counts = {
        "autotune.renamed_metrics": sum(names[name] != name for name in trial.metrics),
        "autotune.renamed_params": sum(params[name] != name for name in params),
        "autotune.infinite_metrics": len(infinite),
    }
    return Item(
        key=f"trial/{trial.number}",
        name=f"trial-{trial.number:04d}",
        params={params[name]: _param(value) for name, value in trial.config.items()},
        metrics=metrics,
        tags=tags | {name: str(count) for name, count in counts.items() if count},
        status=status,
        start_ms=(started or row.created_ns) // 1_000_000,
        end_ms=None if ended is None else (ended or row.created_ns) // 1_000_000,
        files=dict(measurement.artifacts) if measurement is not None and trial.state.finished else {},
    )


def _values(trial: Trial) -> dict[str, float]:
    """Return every number of a trial by its name here; the store would turn an infinite one into 1.8e308."""
    values: dict[str, float] = {}
    for name, estimate in trial.metrics.items():
        values[name] = estimate.value
    for name, estimate in trial.metrics.items():
        if estimate.sem is not None:
            values.setdefault(f"{name}.sem", estimate.sem)
    for name, score in surprises(trial).items():
        values.setdefault(f"surprise.{name}", score)
    if trial.measurement is not None and trial.measurement.started_ns:
        values.setdefault("trial_seconds", trial.measurement.seconds)
    return values


def _trial_tags(trial: Trial, row: StudyRow, objective: Objective) -> dict[str, str]:
    suggestion = trial.suggestion
    tags = {
        "autotune.study": row.name,
        "autotune.study_uid": row.uid,
        "autotune.trial": str(trial.number),
        "autotune.state": trial.state.value,
        "autotune.attempt": str(trial.attempts),
        "autotune.node": trial.node,
        "autotune.reason": suggestion.reason.value,
        "autotune.engine": suggestion.engine,
        "autotune.fingerprint": row.fingerprint,
    }
    if suggestion.p_feasible is not None:
        tags["autotune.p_feasible"] = f"{suggestion.p_feasible:.4g}"
    for name, predicted in suggestion.predicted.items():
        tags[f"autotune.predicted.{allowed_name(name)}"] = _show(predicted)
    surprise = largest(trial)
    if surprise is not None:
        tags["autotune.surprise"] = f"{show_surprise(surprise[1])} of {surprise[0]}"
    if trial.state is TrialState.COMPLETED:
        outcome = objective.score(trial.metrics)
        tags["autotune.feasible"] = _text(outcome.feasible)
        if outcome.violations:
            tags["autotune.broken_limits"] = "; ".join(outcome.violations)
    if trial.shortfall:
        tags["autotune.doubt" if trial.doubt else "autotune.shortfall"] = trial.shortfall
    if trial.failure is not None:
        tags["autotune.failure"] = trial.failure.cause.value
        tags["autotune.failure_message"] = trial.failure.message
    facts = trial.measurement.facts if trial.measurement is not None else {}
    versions = (facts.get("system") or {}).get("versions") or {}
    tags |= {f"autotune.version.{allowed_name(name)}": str(version) for name, version in versions.items()}
    return {key: visible(redact(value))[:_LONGEST_TAG] for key, value in tags.items() if value != ""}


def study_item(
    row: StudyRow,
    trials: int,
    best: Contender | None,
    objective: Objective,
    version: str,
    failures: Sequence[str] = (),
) -> Item:
    """Return the parent run of a study.

    Args:
        row: The study.
        trials: Number of finished trials.
        best: The best configuration with its metrics pooled over launches, or ``None``.
        objective: Objective with its limits.
        version: Version of this package.
        failures: Failures of its trials, see :func:`autotune.core.failures.failure_lines`.
    """
    lines = [str(objective), f"{counted(trials, 'trial')} finished, {row.state.lower()}."]
    texts = {"study.json": json.dumps(redacted(row.spec), indent=2, sort_keys=True)}
    tags = {
        "autotune.study": row.name,
        "autotune.study_uid": row.uid,
        "autotune.state": row.state,
        "autotune.engine": row.engine,
        "autotune.fingerprint": row.fingerprint,
        "autotune.version": version,
    }
    stopped = str((row.notes.get("stopped") or {}).get("reason", ""))
    if stopped:
        lines.append(f"Stopped before its budget: {stopped}.")
    tags["autotune.stopped"] = stopped  # also when empty: a study that went on must not keep the tag
    if best is not None:
        config = json.dumps(best.config, sort_keys=True)
        tags |= {"autotune.best_trial": str(best.trial.number), "autotune.best_config": config}
        measured = {name: estimate.to_dict() for name, estimate in best.metrics.items()}
        content = {
            "trial": best.trial.number,
            "launches": best.launches,
            "config": best.config,
            "metrics": measured,
        }
        texts["best.json"] = json.dumps(content, indent=2, sort_keys=True)
        lines.append(f"Best: trial {best.trial.number}: {config}")
        goals = [goal.metric for goal in objective.goals if goal.metric in best.metrics]
        lines += [f"  {metric} = {_show(best.metrics[metric])}" for metric in goals]
        lines.append(f"autotune best {row.name} shows the evidence and the command that deploys it.")
    lines += [text if i == 0 else f"  {text}" for i, text in enumerate(failures)]
    tags["mlflow.note.content"] = plain_note(lines)
    return Item(
        key="study",
        name=row.name,
        params={
            "objective": str(objective)[:_LONGEST_TAG],
            "parameters": ", ".join(row.spec["space"]["parameters"])[:_LONGEST_TAG],
            "seed": str(row.seed),
        },
        tags={key: value[:_LONGEST_TAG] for key, value in tags.items()},
        status=STUDY_STATUS.get(row.state, "RUNNING"),
        start_ms=row.created_ns // 1_000_000,
        texts=texts,
    )


def plain_note(lines: Sequence[str]) -> str:
    """Return lines as a note of a run, which MLflow renders as Markdown: shown as they are, loading nothing.

    All of it is one block of code, in which no text becomes a link, an image or a tag. No line begins with
    what could end the block.
    """
    shown: list[str] = []
    room = _LONGEST_TAG - 30
    for line in lines:
        indent = line[: len(line) - len(line.lstrip(" "))]
        text = " ".join(visible(redact(line)).split())
        text = indent + (f"| {text}" if text.startswith(("`", "~", "<")) else text)
        text = text if len(text) <= _LONGEST_LINE else f"{text[:_LONGEST_LINE]} ..."
        room -= len(text) + 1
        shown.append(text if room >= 0 else "...")
        if room < 0:
            break
    return "\n".join(["```text", *shown, "```"])


def _param(value: Value) -> str:
    """Return a value so that different ones stay different.

    Text that reads as a number or a truth value has quotes; the store cuts what is long, so a digest of the
    whole stands in its place.
    """
    text = redact(_text(value))
    if visible(text) != text:
        text = escaped(json.dumps(text, ensure_ascii=False))
    elif isinstance(value, str) and not isinstance(typed_scalar(text), str):
        text = json.dumps(text, ensure_ascii=False)
    if len(text) <= _LONGEST_PARAM:
        return text
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    mark = f" ... {len(text)} characters, digest {digest}"
    return text[: _LONGEST_PARAM - len(mark)] + mark


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _show(estimate: Estimate) -> str:
    half = estimate.half_width
    error = "" if half is None else f" +- {half:.3g} (95 %)"
    unit = "" if estimate.unit == "1" else f" {estimate.unit}"
    bound = f"{estimate.bound} " if estimate.bound else ""
    return f"{bound}{estimate.value:.6g}{error}{unit}{' (projected)' if estimate.projected else ''}"

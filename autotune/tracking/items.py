"""What a study and its trials look like in a tracking store: plain values, no library."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from autotune.core.estimate_text import INTERVAL, show_estimate
from autotune.core.json_object import JsonObject
from autotune.core.metric import METRICS, metric_info
from autotune.core.objective import Objective
from autotune.core.ranking import Contender, judged
from autotune.core.redact import escaped, redact, redacted, visible
from autotune.core.scalar import typed_scalar
from autotune.core.surprise import largest, show_surprise, surprises
from autotune.core.trial import Reason, Trial, TrialState, Value, config_key
from autotune.core.units import counted
from autotune.ledger import StudyRow
from autotune.spec.stored import StoredSpec
from autotune.tracking.names import allowed_name, allowed_names

_LONGEST_TAG = _LONGEST_PARAM = 5000  # MLflow cuts or refuses longer ones
_LONGEST_LINE = 1000  # of a note
_MOST_METRICS = 24  # of a trial: MLflow draws a panel for each
_MIDDLE, _TAIL = ("p50", "median", "mean"), ("p99", "p95", "p90", "max")
_STATISTIC = re.compile(r"(.+)\.(p\d{1,3}|mean|median|min|max|std)")

INACTIVE = "(inactive)"
"""Param of a parameter whose condition does not hold: MLflow's parallel coordinates leave out a run without a
value for one of the axes."""

MEASUREMENT = "measurement.json"
"""Artifact of a trial: every metric with its standard error, count and unit."""

NOTE = "mlflow.note.content"

BEST = "best.json"
"""Artifact of a study: its best configuration with its metrics."""

DEPLOYMENT = "deployment"
"""Note of a study in the ledger, and folder of its run: what deploys the winner."""

VERIFIES = "verifies"
"""Note of a study in the ledger that is a verification: of what, and how often each side is launched."""

VERIFICATION = "verification"
"""Note of such a study: what came of it, as data and as the lines of its table."""

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
        tags: Tags, which may change later.
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
    """Return the run of a trial: a few metrics, and all that was measured as an artifact."""
    measurement = trial.measurement
    shown = {name: trial.metrics[name].value for name in shown_metrics(trial.metrics, objective)}
    if measurement is not None and measurement.started_ns:
        shown.setdefault("trial_seconds", measurement.seconds)
    names = allowed_names(shown)
    infinite = {name: value for name, value in shown.items() if not math.isfinite(value)}
    started = measurement.started_ns if measurement is not None else 0
    ended = measurement.ended_ns if measurement is not None and trial.state.finished else None
    parameters = StoredSpec(row.spec).parameters
    params = allowed_names([*trial.config, *parameters])
    values = {params[name]: _param(value) for name, value in trial.config.items()}
    inactive = {params[name]: INACTIVE for name in parameters if name not in trial.config}
    tags = _trial_tags(trial, row, objective)
    tags |= {f"autotune.infinite.{allowed_name(name)}": str(value) for name, value in infinite.items()}
    counts = {
        "autotune.renamed_metrics": sum(names[name] != name for name in names),
        "autotune.renamed_params": sum(params[name] != name for name in trial.config),
        "autotune.infinite_metrics": len(infinite),
    }
    return Item(
        key=f"trial/{trial.number}",
        name=run_name(trial, objective, role=launch_of(trial, row)),
        params=values | inactive,
        metrics={names[name]: value for name, value in shown.items() if name not in infinite},
        tags=tags | {name: str(count) for name, count in counts.items() if count},
        status=_status(trial, row, objective),
        start_ms=(started or row.created_ns) // 1_000_000,
        end_ms=None if ended is None else (ended or row.created_ns) // 1_000_000,
        files=dict(measurement.artifacts) if measurement is not None and trial.state.finished else {},
        texts={MEASUREMENT: _measurement_text(trial)} if trial.metrics and trial.state.finished else {},
    )


def _status(trial: Trial, row: StudyRow, objective: Objective) -> str:
    """Return the status of a trial's run: what breaks a limit is shown as what is not to be deployed."""
    status = RUN_STATUS[trial.state]
    if status in LIVE and row.state != "RUNNING":  # nobody works on it
        return "KILLED"
    return "FAILED" if _breaks_a_limit(trial, objective) else status


def _breaks_a_limit(trial: Trial, objective: Objective) -> bool:
    return trial.state is TrialState.COMPLETED and not objective.score(trial.metrics).feasible


def run_name(trial: Trial, objective: Objective, *, role: str = "") -> str:
    """Return the name of a trial's run: its number, and in words what sets it apart.

    Args:
        trial: The trial.
        objective: Objective with its limits.
        role: ``best``, ``nearest`` where none surely keeps the limits, or empty.
    """
    words = []
    if trial.failure is not None:
        words.append(trial.failure.cause.value.replace("_", " "))
    elif _breaks_a_limit(trial, objective):
        words.append("over limit")
    if role:
        words.append(role)
    elif trial.suggestion.reason in (Reason.DEFAULT, Reason.WATCH):
        words.append("default")
    elif trial.suggestion.reason is Reason.CONFIRM:
        words.append("confirmation")
    return " ".join([f"trial-{trial.number:04d}", *words])


def launch_of(trial: Trial, row: StudyRow) -> str:
    """Return what a verification launches with a trial, ``winner`` or ``default``; empty in other studies."""
    if not row.notes.get(VERIFIES):
        return ""
    default = StoredSpec(row.spec).space.default_config
    return "default" if trial.key == config_key(default) else "winner"


def shown_metrics(names: Iterable[str], objective: Objective) -> list[str]:
    """Return the metrics that a run shows: few, the objective's first.

    Of the statistics of a family it is the middle and the tail, besides those that the objective names.

    Args:
        names: Names of everything measured.
        objective: Objective.
    """
    found = dict.fromkeys(names)
    wanted = [name for name in objective.stated.metrics if name in found]
    families: dict[str, list[str]] = {}
    single = []
    for name in found:
        match = _STATISTIC.fullmatch(name)
        if match is None:
            single.append(name)
        else:
            families.setdefault(match[1], []).append(match[2])
    for family, statistics in families.items():
        for choice in (_MIDDLE, _TAIL):
            single += [f"{family}.{s}" for s in choice if s in statistics][:1]
    order = {name: i for i, name in enumerate(METRICS)}

    def place(name: str) -> int:
        info = metric_info(name)
        return len(order) if info is None else order[name.removesuffix(f".{info.statistic}")]

    return list(dict.fromkeys([*wanted, *sorted(single, key=place)]))[: max(_MOST_METRICS, len(wanted))]


def _measurement_text(trial: Trial) -> str:
    """Return everything measured, with the doubt, count and unit that MLflow's metrics have no place for."""
    odd = surprises(trial)
    content = {
        name: estimate.to_dict() | ({"surprise": odd[name]} if math.isfinite(odd.get(name, math.nan)) else {})
        for name, estimate in trial.metrics.items()
    }
    return json.dumps(redacted(content), indent=2)


def _trial_tags(trial: Trial, row: StudyRow, objective: Objective) -> dict[str, str]:
    suggestion = trial.suggestion
    left = trial.state is TrialState.RUNNING and row.state != "RUNNING"  # by a run that is over
    tags = {
        "autotune.study": row.name,
        "autotune.study_uid": row.uid,
        "autotune.trial": str(trial.number),
        "autotune.state": (TrialState.WAITING if left else trial.state).value,
        "autotune.attempt": str(trial.attempts),
        "autotune.node": trial.node,
        "autotune.reason": suggestion.reason.value,
        "autotune.engine": suggestion.engine,
        "autotune.fingerprint": row.fingerprint,
    }
    if row.owner:
        tags["mlflow.user"] = row.owner
    if row.notes.get(VERIFIES):
        tags |= {"autotune.kind": "verify", "autotune.launch": launch_of(trial, row)}
    if suggestion.p_feasible is not None:
        tags["autotune.p_feasible"] = f"{suggestion.p_feasible:.4g}"
    for name, predicted in suggestion.predicted.items():
        tags[f"autotune.predicted.{allowed_name(name)}"] = show_estimate(
            predicted, symbol=objective.symbol_of(name)
        )
    surprise = largest(trial)
    if surprise is not None:
        tags["autotune.surprise"] = f"{show_surprise(surprise[1])} of {surprise[0]}"
    if trial.state is TrialState.INFEASIBLE:
        tags["autotune.feasible"] = "false"
    if trial.state is TrialState.COMPLETED:
        outcome = objective.score(trial.metrics)
        known = judged(outcome.feasible, objective)
        tags["autotune.feasible"] = "unknown" if known is None else _text(known)
        if outcome.violations:
            tags["autotune.broken_limits"] = "; ".join(outcome.violations)
    if trial.shortfall:
        tags["autotune.doubt" if trial.doubt else "autotune.shortfall"] = trial.shortfall
    if trial.failure is not None:
        tags["autotune.failure"] = trial.failure.cause.value
        tags["autotune.failure_message"] = trial.failure.message
    facts = trial.measurement.facts if trial.measurement is not None else {}
    if trial.state.finished:
        tags[NOTE] = plain_note(_trial_lines(trial, objective))
    versions = (facts.get("system") or {}).get("versions") or {}
    tags |= {f"autotune.version.{allowed_name(name)}": str(version) for name, version in versions.items()}
    return {
        key: value if key == NOTE else visible(redact(value))[:_LONGEST_TAG]
        for key, value in tags.items()
        if value != ""
    }


def _trial_lines(trial: Trial, objective: Objective) -> list[str]:
    """Return a trial's note: why it was measured, what came out, with intervals and units."""
    lines = [f"trial {trial.number} ({trial.suggestion.reason.value}): {trial.state.value.lower()}"]
    if trial.failure is not None:
        lines.append(f"{trial.failure.cause.value.replace('_', ' ')}: {trial.failure.message}")
    if trial.state is TrialState.COMPLETED:
        lines += [f"breaks {text}" for text in objective.score(trial.metrics).violations]
        lines += [f"not judged: {limit}" for limit in objective.awaited]
    shown = [
        f"  {name} = {show_estimate(trial.metrics[name], symbol=objective.symbol_of(name))}"
        for name in shown_metrics(trial.metrics, objective)
    ]
    lines += _explained(shown)
    return [*lines, f"{MEASUREMENT} has every metric."] if trial.metrics else lines


def _explained(lines: Sequence[str]) -> list[str]:
    """Return lines with estimates, and what ``±`` means where one has it."""
    return [*lines, f"  {INTERVAL}"] if any("±" in line for line in lines) else [*lines]


def study_item(
    row: StudyRow,
    trials: int,
    best: Contender | None,
    objective: Objective,
    version: str,
    failures: Sequence[str] = (),
    verdict: Sequence[str] = (),
    halves: Mapping[str, float | None] | None = None,
    *,
    recommended: bool = True,
) -> Item:
    """Return the parent run of a study.

    Args:
        row: The study.
        trials: Number of finished trials.
        best: The best configuration with its metrics pooled over launches, or ``None``.
        objective: Objective with its limits.
        version: Version of this package.
        failures: Failures of its trials, see :func:`autotune.core.failures.failure_lines`.
        verdict: Lines of its verdict; empty while nothing is decided.
        halves: Half-widths of the 95 % intervals of its metrics, by the decision, else by its estimates.
        recommended: Whether it keeps every limit as surely as asked.
    """
    deployment = winner_deployment(row, best)
    command = str(deployment.get("line") or "")
    lines = [*verdict, *(["Deploy:", f"  {command}"] if command and best is not None else [])]
    lines += [str(objective.stated), f"{counted(trials, 'trial')} finished, {row.state.lower()}."]
    texts = {"study.json": json.dumps(redacted(row.spec), indent=2, sort_keys=True)}
    tags = {
        "autotune.study": row.name,
        "autotune.study_uid": row.uid,
        "autotune.state": row.state,
        "autotune.engine": row.engine,
        "autotune.fingerprint": row.fingerprint,
        "autotune.version": version,
    }
    if row.owner:
        tags |= {"mlflow.user": row.owner, "autotune.owner": row.owner}
    stopped = str((row.notes.get("stopped") or {}).get("reason", ""))
    if stopped:
        lines.append(f"Stopped before its budget: {stopped}.")
    # also when empty: a study that went on must not keep the tag, nor one that has no best any more
    tags |= dict.fromkeys(("autotune.best_trial", "autotune.best_config"), "")
    tags |= {"autotune.stopped": stopped, "autotune.recommended": "false"}
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
        texts[BEST] = json.dumps(content, indent=2, sort_keys=True)
        lines.append(f"{'Best' if recommended else 'Nearest'}: trial {best.trial.number}: {config}")
        tags["autotune.recommended"] = "true" if recommended else "false"
        lines += _metric_lines(best, objective, halves or {})
        texts |= deployment_texts(deployment)
        lines.append(f"autotune best {row.name} shows the evidence and the command that deploys it.")
    lines += [text if i == 0 else f"  {text}" for i, text in enumerate(failures)]
    tags[NOTE] = plain_note(lines)
    return Item(
        key="study",
        name=row.name,
        params={
            "objective": str(objective.stated)[:_LONGEST_TAG],
            "parameters": ", ".join(StoredSpec(row.spec).parameters)[:_LONGEST_TAG],
            "seed": str(row.seed),
        },
        tags={key: value[:_LONGEST_TAG] for key, value in tags.items()},
        status=STUDY_STATUS.get(row.state, "RUNNING"),
        start_ms=row.created_ns // 1_000_000,
        texts=texts,
    )


def _metric_lines(best: Contender, objective: Objective, halves: Mapping[str, float | None]) -> list[str]:
    """Return a line for each metric of the objective that the best configuration has, explained."""
    return _explained(
        [
            f"  {name} = {show_estimate(best.metrics[name], halves.get(name), objective.symbol_of(name))}"
            for name in objective.metrics
            if name in best.metrics
        ]
    )


def verification_item(row: StudyRow, version: str) -> Item:
    """Return the run of a verification: its table as description, what each side is now and was then.

    Args:
        row: The verification, a study of its own.
        version: Version of this package.
    """
    of = str(row.notes[VERIFIES]["study"])
    found = dict(row.notes.get(VERIFICATION) or {})
    lines = found.pop("lines", None) or [f"not concluded yet: `autotune verify {of}` goes on"]
    concluded = found.get("state") == "completed"
    metrics: dict[str, float] = {}
    for side in found.get("sides") or ():
        for change in side["changes"]:
            name = f"{side['side']}.{change['metric']}"
            metrics |= {name: change["now"]["value"], f"{name}.then": change["then"]["value"]}
    tags = {
        "autotune.kind": "verify",
        "autotune.verifies": of,
        "autotune.study": row.name,
        "autotune.study_uid": row.uid,
        "autotune.state": row.state,
        "autotune.version": version,
        "autotune.worse": _text(found["worse"]) if concluded else "",
        NOTE: plain_note(lines),
    }
    status = STUDY_STATUS.get(row.state, "RUNNING")
    return Item(
        key="study",
        name=row.name,
        params={"verifies": of[:_LONGEST_PARAM], "launches": str(row.notes[VERIFIES]["launches"])},
        metrics={allowed_name(name): value for name, value in metrics.items() if math.isfinite(value)},
        tags={key: visible(value)[:_LONGEST_TAG] if key != NOTE else value for key, value in tags.items()},
        status="FAILED" if concluded and found["worse"] else status,
        start_ms=row.created_ns // 1_000_000,
        texts={"verification.json": json.dumps(redacted(found), indent=2),
               "verification.txt": redact("\n".join([*lines, ""]))} if found else {},
    )  # fmt: skip


def winner_deployment(row: StudyRow, best: Contender | None) -> dict[str, Any]:
    """Return what deploys the winner; empty where that is unknown, or known of an earlier winner."""
    found = dict(row.notes.get(DEPLOYMENT) or {})
    return found if best is not None and found.get("trial") == best.trial.number else {}


def deployment_texts(deployment: JsonObject) -> dict[str, str]:
    """Return the files that deploy the winner, by artifact; empty where nothing is known.

    Args:
        deployment: The study's note, as :meth:`autotune.systems.deployment.Deployment.to_dict` writes it.
    """
    if not deployment:
        return {}
    texts = {f"{DEPLOYMENT}/deployment.json": json.dumps(redacted(dict(deployment)), indent=2)}
    if line := str(deployment.get("line") or ""):
        notes = [f"# {note}" for note in deployment.get("notes") or () if "\n" not in note]
        texts[f"{DEPLOYMENT}/deploy.sh"] = redact("\n".join(["#!/bin/sh", *notes, line, ""]))
    if request := deployment.get("request"):
        texts[f"{DEPLOYMENT}/request.json"] = json.dumps(redacted(request), indent=2)
    for name, text in (deployment.get("files") or {}).items():
        texts[f"{DEPLOYMENT}/{allowed_name(PurePosixPath(name).name)}"] = redact(str(text))
    return texts


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

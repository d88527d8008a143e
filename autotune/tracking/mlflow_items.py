"""What the MLflow mirror derives from the ledger and from addresses: no library, no network."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from autotune.core import ranking
from autotune.core.decision import PREDICTIONS, Decision, restored
from autotune.core.failures import failure_lines
from autotune.core.objective import Objective
from autotune.core.redact import redact, visible
from autotune.core.trial import Reason, Trial, config_key
from autotune.core.verdict import verdict
from autotune.core.version import VERSION
from autotune.errors import AutotuneError, StudyError
from autotune.ledger import Ledger, StudyRow
from autotune.ledger.lock import study_is_held
from autotune.spec.stored import StoredSpec
from autotune.tracking.items import VERIFIES, Item, study_item, trial_item, verification_item
from autotune.tracking.names import allowed_name
from autotune.tracking.turn import turn_file

_LONGEST_ERROR = 500  # characters: a server may answer with a page

SETTINGS = {
    # a store that is away must fail in seconds: one blocked call took 246 s with the defaults
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    # the mirror tries again itself, and looks first: a repeated request would make a run twice
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # standard output belongs to the study
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # it reports steps, and each error with pages of its own code
}
"""Environment of the library in this process, where the user has set nothing."""

FILE_SETTINGS = {
    # a connection that is kept goes on writing to a file that was moved away or deleted
    "MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool",
}
"""Likewise, where the store is a file of this machine."""


FOLDER_SETTINGS = {
    "MLFLOW_ALLOW_FILE_STORE": "true",  # from 3.14 on MLflow opens a folder of files only for who says so
}
"""Likewise, where it is a folder of files, which whoever named it has chosen."""


@dataclass(frozen=True)
class BestStep:
    """A step of a series of the study's run.

    Args:
        name: Name of the metric: ``best.throughput``, or ``default.throughput``.
        value: Value of the best configuration of the search up to this trial, or of the default in it.
        step: Number of the trial.
        moment_ms: End of the last of those trials. MLflow shows the latest of two values of a step, which
            two are when a trial of a lower number ends later.
    """

    name: str
    value: float
    step: int
    moment_ms: int


def study_row(ledger: Ledger, study: str) -> StudyRow:
    """Return the row of a study; one whose process was killed counts as interrupted.

    Raises:
        StudyError: There is none of that name.
    """
    row = ledger.study(study)
    if row is None:
        raise StudyError(f"the ledger has no study {study!r}")
    if row.state == "RUNNING" and ledger.path is not None and not study_is_held(ledger.path, study):
        return replace(row, state="INTERRUPTED")
    return row


def read_objective(row: StudyRow, trials: Sequence[Trial]) -> Objective:
    """Return a study's objective, limits relative to the default bound by its measurement."""
    stored = StoredSpec(row.spec)
    if not any(limit.relative for limit in stored.objective.limits):
        return stored.objective  # reading the space costs more than all the rest
    return ranking.anchored(trials, stored.objective, stored.space)


def items_of(
    row: StudyRow,
    trials: Sequence[Trial],
    objective: Objective,
    numbers: Collection[int] | None = None,
    finding: Finding | None = None,
) -> list[Item]:
    """Return the items of a study's trials (all by default) and of itself, which comes last.

    Those that have not ended are always among them: their status is the study's too.
    """
    wanted = None if numbers is None else set(numbers)
    result = [
        trial_item(trial, row, objective)
        for trial in trials
        if (trial.attempts or trial.state.finished)
        and (wanted is None or trial.number in wanted or not trial.state.finished)
    ]
    if row.notes.get(VERIFIES):
        return [*result, verification_item(row, VERSION)]
    finished = sum(trial.state.finished for trial in trials)
    found = finding or find(row, trials, objective)
    parent = study_item(
        row, finished, found.best, objective, VERSION, failure_lines(trials), found.verdict, found.halves,
        recommended=found.recommended,
    )  # fmt: skip
    return [*result, parent]


@dataclass(frozen=True)
class Finding:
    """The findings of a study so far.

    Args:
        best: The configuration to deploy; the best so far, as measured, while nothing is decided.
        verdict: The verdict, a line each; empty while nothing is decided.
        front: Numbers of the trials that no other one beats in every goal.
        halves: Half-widths of the 95 % intervals of the best configuration's metrics, as reports have them.
        recommended: Whether the best one keeps every limit as surely as asked; else it is the nearest only.
    """

    best: ranking.Contender | None
    verdict: tuple[str, ...] = ()
    front: frozenset[int] = frozenset()
    halves: Mapping[str, float | None] = field(default_factory=dict)
    recommended: bool = True


def find(row: StudyRow, trials: Sequence[Trial], objective: Objective) -> Finding:
    """Return what a study found so far; there is no best one while a limit cannot be judged."""
    several = len(objective.goals) > 1
    undominated = ranking.pareto_front(trials, objective) if several else []
    numbers = frozenset(trial.number for trial in undominated)
    stored = StoredSpec(row.spec)
    try:
        known = restored(row.notes.get(PREDICTIONS) or {}, trials, stored.objective)
    except LookupError:
        best = None if objective.awaited else ranking.best(trials, objective)
        front = numbers if several or best is None else frozenset({best.trial.number})
        return Finding(best, front=front, recommended=not objective.awaited)
    default = config_key(stored.space.default_config)
    decision = Decision(trials, objective, default, confirm=stored.confirm, predictions=known)
    found = decision.recommended
    best = None if found is None else found.contender
    said = verdict(decision)
    lines = (f"Verdict: {said.text}", *(f"  {line}" for line in said.limits))
    halves = {} if best is None else {m: decision.half_width(best, m) for m in objective.metrics}
    kept = numbers if several or best is None else frozenset({best.trial.number})
    return Finding(best, lines, kept, halves, decision.winner is not None)


def outdated(ledger: Ledger, study: str, mirror: str) -> list[Item]:
    """Return the items that a mirror does not have as they are now."""
    written = ledger.mirror_state(study, mirror)
    row, trials = study_row(ledger, study), ledger.trials(study)
    items = items_of(row, trials, read_objective(row, trials))
    return [item for item in items if written.get(item.key) != item.digest]


def abandoned(ledger: Ledger, study: str, tracking_uri: str) -> list[tuple[StudyRow, str]]:
    """Return the other studies of a ledger whose process was killed, with the names of their experiments.

    Only those that were being mirrored to the same store, which has something of them that is out of date. Of
    those that had ended by then, only verifications: they are mirrored after their last launch.
    """
    mirror = mirror_name(tracking_uri)
    found = []
    for row in ledger.studies():
        stored = StoredSpec(row.spec)
        left = row.state == "RUNNING" or bool(row.notes.get(VERIFIES))
        if row.name == study or not left or stored.tracking_uri != tracking_uri:
            continue
        killed = ledger.path is not None and not study_is_held(ledger.path, row.name)
        begun = ledger.path is not None and turn_file(ledger.path, row.name, mirror).exists()
        if killed and begun and outdated(ledger, row.name, mirror):
            found.append((row, stored.experiment or row.name))
    return found


def best_steps(trials: Sequence[Trial], objective: Objective, start: int = 0) -> Iterator[BestStep]:
    """Yield the best so far of each goal, and each measurement of the default as a series of its own.

    The best so far is that of the search, as :mod:`autotune.core.ranking` judges it: a launch that confirms
    or repeats a configuration would make it jump where nothing better was found. There is none while a limit
    cannot be judged.

    Args:
        trials: Trials of the study, in number order.
        objective: Objective; each goal is followed on its own.
        start: Number of the first trial whose step is wanted.
    """
    alone = [
        replace(objective, goals=(goal, *(other for other in objective.goals if other is not goal)))
        for goal in objective.goals
    ]
    moment_ns = 0
    finished = [trial for trial in trials if trial.state.finished]
    searched = [trial for trial in finished if trial.suggestion.reason.of_search and not objective.awaited]
    leaders = zip(*(ranking.best_after_each(searched, wanted, start) for wanted in alone), strict=True)
    for trial, leading in zip(searched, leaders, strict=True):
        if trial.measurement is not None:
            moment_ns = max(moment_ns, trial.measurement.ended_ns)
        for wanted, best in zip(alone, leading, strict=True):
            metric = wanted.goals[0].metric
            if best is not None:
                value = best.metrics[metric].value
                yield BestStep(f"best.{allowed_name(metric)}", value, trial.number, moment_ns // 1_000_000)
    default = next((t.key for t in trials if t.suggestion.reason is Reason.DEFAULT), "")
    for trial in finished:
        if trial.number < start or trial.key != default or trial.measurement is None:
            continue
        for goal in objective.goals:
            if goal.metric in trial.metrics:
                value, moment = trial.metrics[goal.metric].value, trial.measurement.ended_ns // 1_000_000
                yield BestStep(f"default.{allowed_name(goal.metric)}", value, trial.number, moment)


def files_digest(files: Mapping[str, Path]) -> str:
    """Return a digest of the names and contents of files."""
    whole = hashlib.blake2b(digest_size=12)
    for name, path in sorted(files.items()):
        whole.update(f"{name}\n{path.stat().st_size}\n".encode() + path.read_bytes())
    return whole.hexdigest()


def artifact_text(content: bytes, mask: Callable[[str], str] = redact) -> tuple[str, bool]:
    """Return the redacted content of a file and whether it is text.

    What is not text is read as Latin-1, which gives every byte back unchanged save those of a secret.
    """
    try:
        return mask(content.decode("utf-8")), True
    except UnicodeDecodeError:
        return mask(content.decode("latin-1")), False


def mirror_name(tracking_uri: str) -> str:
    """Return the name under which the ledger remembers what a store has; it holds no secret."""
    return f"mlflow/{hashlib.blake2b(tracking_uri.encode(), digest_size=8).hexdigest()}"


def one_line(error: BaseException) -> str:
    """Return what an error says and what to do about it, in one line and without secrets."""
    if isinstance(error, AutotuneError):
        return redact("; ".join(filter(None, (error.message, error.hint))))
    if isinstance(error.__cause__, Exception):  # the library's words for what a database says hold no reason
        error = getattr(error.__cause__, "orig", None) or error
    lines = f"{type(error).__name__}: {error}".splitlines()
    return visible(redact(lines[0]))[:_LONGEST_ERROR]

"""What the MLflow mirror derives from the ledger and from addresses: no library, no network."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from autotune.core import ranking
from autotune.core.decision import PREDICTIONS, Decision, restored
from autotune.core.failures import failure_lines
from autotune.core.objective import Objective
from autotune.core.redact import redact, visible
from autotune.core.space import Space
from autotune.core.trial import Trial, config_key
from autotune.core.version import VERSION
from autotune.errors import AutotuneError, StudyError
from autotune.ledger import Ledger, StudyRow
from autotune.ledger.lock import study_is_held
from autotune.tracking.items import Item, study_item, trial_item
from autotune.tracking.names import allowed_name
from autotune.tracking.turn import turn_file

ARTIFACTS = "mlartifacts"
"""Folder beside a database in which its artifacts lie."""

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


@dataclass(frozen=True)
class BestStep:
    """Best so far after a finished trial.

    Args:
        name: Name of the metric: ``best.throughput``.
        value: Value of the best configuration, over the trials up to this one.
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
    objective = Objective.from_dict(row.spec["objective"])
    if not any(limit.relative for limit in objective.limits):
        return objective  # reading the space costs more than all the rest
    return ranking.anchored(trials, objective, Space.from_dict(row.spec["space"]))


def items_of(
    row: StudyRow, trials: Sequence[Trial], objective: Objective, numbers: Collection[int] | None = None
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
    finished = sum(trial.state.finished for trial in trials)
    best = _best(row, trials, objective)
    return [*result, study_item(row, finished, best, objective, VERSION, failure_lines(trials))]


def _best(row: StudyRow, trials: Sequence[Trial], objective: Objective) -> ranking.Contender | None:
    """Return the configuration to deploy; the best so far, as measured, while nothing is decided."""
    wanted = Objective.from_dict(row.spec["objective"])
    try:
        known = restored(row.notes.get(PREDICTIONS) or {}, trials, wanted)
    except LookupError:
        return ranking.best(trials, objective)
    default = config_key(Space.from_dict(row.spec["space"]).default_config)
    confirm = int((row.spec.get("budget") or {}).get("confirm", 0))
    found = Decision(trials, objective, default, confirm=confirm, predictions=known).recommended
    return None if found is None else found.contender


def outdated(ledger: Ledger, study: str, mirror: str) -> list[Item]:
    """Return the items that a mirror does not have as they are now."""
    written = ledger.mirror_state(study, mirror)
    row, trials = study_row(ledger, study), ledger.trials(study)
    items = items_of(row, trials, read_objective(row, trials))
    return [item for item in items if written.get(item.key) != item.digest]


def abandoned(ledger: Ledger, study: str, tracking_uri: str) -> list[tuple[StudyRow, str]]:
    """Return the other studies of a ledger whose process was killed, with the names of their experiments.

    Only those that were being mirrored to the same store, which has something of them that is out of date.
    """
    mirror = mirror_name(tracking_uri)
    found = []
    for row in ledger.studies():
        tracking = row.spec.get("tracking") or {}
        if row.name == study or row.state != "RUNNING" or tracking.get("mlflow") != tracking_uri:
            continue
        killed = study_row(ledger, row.name).state == "INTERRUPTED"
        begun = ledger.path is not None and turn_file(ledger.path, row.name, mirror).exists()
        if killed and begun and outdated(ledger, row.name, mirror):
            found.append((row, str(tracking.get("experiment") or row.name)))
    return found


def best_steps(trials: Sequence[Trial], objective: Objective, start: int = 0) -> Iterator[BestStep]:
    """Yield the best so far of each goal, as :mod:`autotune.core.ranking` judges it.

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
    leaders = zip(*(ranking.best_after_each(finished, wanted, start) for wanted in alone), strict=True)
    for trial, leading in zip(finished, leaders, strict=True):
        if trial.measurement is not None:
            moment_ns = max(moment_ns, trial.measurement.ended_ns)
        for wanted, best in zip(alone, leading, strict=True):
            metric = wanted.goals[0].metric
            if best is not None:
                value = best.metrics[metric].value
                yield BestStep(f"best.{allowed_name(metric)}", value, trial.number, moment_ns // 1_000_000)


def database_file(tracking_uri: str) -> Path | None:
    """Return the absolute path of a store that is a file on this machine; ``None`` for any other."""
    scheme, _, rest = tracking_uri.partition(
        ":///"
    )  # three slashes lead to a relative path, four to an absolute
    name = rest.partition("?")[0]
    if (
        not scheme.startswith("sqlite")
        or not name.strip("/")
        or name == ":memory:"
        or name.startswith("file:")
    ):
        return None
    return Path(name).absolute()


def artifact_location(tracking_uri: str, experiment: str) -> str | None:
    """Return where a new experiment keeps its artifacts: beside its database; a server decides."""
    file = database_file(tracking_uri)
    if file is None:
        return None
    safe = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in experiment)
    return (file.parent / ARTIFACTS / safe).as_uri()


def artifact_text(content: bytes) -> tuple[str, bool]:
    """Return the redacted content of a file and whether it is text.

    What is not text is read as Latin-1, which gives every byte back unchanged save those of a secret.
    """
    try:
        return redact(content.decode("utf-8")), True
    except UnicodeDecodeError:
        return redact(content.decode("latin-1")), False


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

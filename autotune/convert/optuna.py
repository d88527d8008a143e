"""Optuna: a study in its storage, or a JSON file of distributions by name.

The JSON is what ``optuna.distributions.distribution_to_json`` writes for each parameter.
"""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from autotune.convert.base import Conversion, mapping_at
from autotune.convert.entries import Entry, plain_value
from autotune.convert.names import metric_name, printable, shown
from autotune.core.inferred_conditions import infer_conditions
from autotune.core.input_file import active_part
from autotune.core.parameter.base import read_number
from autotune.core.redact import redact
from autotune.errors import EnvironmentProblem, SpecError, did_you_mean
from autotune.spec.yaml_text import Document

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

NAME = "optuna"
_MOST_BYTES = 1 << 28  # of a journal or a SQLite file
_MOST_SHOWN = 20  # names of studies
_MOST_PARENT_VALUES = 64  # of a parameter that a condition may mention
_OPERATIONS = 11  # kinds of entries of a journal
_JOURNALS = (".log", ".jsonl", ".journal")
_SQLITE = re.compile(r"sqlite(\+\w+)?:///?")
_TABLES = {"studies", "trials", "trial_params", "study_directions"}
_LEGACY = {
    "UniformDistribution": {},
    "LogUniformDistribution": {"log": True},
    "DiscreteUniformDistribution": {},
    "IntUniformDistribution": {},
    "IntLogUniformDistribution": {"log": True},
}
"""Names that Optuna 2 wrote, with what they implied."""


def recognizes(document: Document) -> bool:
    """Return whether an entry of a document is a distribution; what is wrong with others is said then."""
    return any(isinstance(e, Mapping) and {"name", "attributes"} <= e.keys() for e in document.data.values())


def convert(document: Document) -> Conversion:
    """Return the space of a file of distributions."""
    out = Conversion(document)
    for name, entry in document.data.items():
        _add(out, name, entry)
    out.note((), "what is launched is not in it: name it under `system`")
    return out.finish()


def read_storage(url: str, study: str | None) -> Document:
    """Return the distributions of a study in a storage, with its directions.

    Args:
        url: ``sqlite:///study.db``, another database's address, or the path of a SQLite file or a journal.
        study: Its name; may be left out when the storage has one only.

    Raises:
        EnvironmentProblem: A database cannot be reached.
        SpecError: There is no such file or study, or the file is malformed.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with TemporaryDirectory(prefix="autotune-") as folder:
        return _read_storage(url, study, Path(folder))


def _read_storage(url: str, study: str | None, folder: Path) -> Document:
    import optuna

    path = _file_of(url)
    try:
        with _storage(url, path, folder) as storage:
            names = optuna.get_all_study_names(storage)
            chosen = study or (names[0] if len(names) == 1 else None)
            if chosen is None or chosen not in names:
                raise _no_study(url, study, names)
            found = optuna.load_study(study_name=chosen, storage=storage)
            trials, directions = found.get_trials(deepcopy=False), found.directions
            metric_names = found.metric_names
    except (SpecError, EnvironmentProblem):
        raise
    except Exception as error:  # noqa: BLE001 - a storage fails in as many ways as there are databases
        if path is not None:
            raise SpecError(f"{url}: no readable Optuna storage: {_fault(path, folder, error)}") from None
        raise EnvironmentProblem(f"cannot read the Optuna storage {redact(url)}: {_said(error)}") from None
    entries: dict[str, object] = {}
    changed: set[str] = set()
    for trial in trials:
        for name, distribution in trial.distributions.items():
            entry = json.loads(optuna.distributions.distribution_to_json(distribution))
            changed |= {name} if entries.get(name, entry) != entry else set()
            entries[name] = entry
    notes = dict.fromkeys(changed, "has different distributions in its trials; the last one counts")
    document = Document(entries, f"{url} ({printable(chosen)[:80]})")
    metrics = metric_names or [f"value{i or ''}" for i in range(len(directions))]
    goals = [
        ("maximize" if direction.name == "MAXIMIZE" else "minimize", metric)
        for metric, direction in zip(metrics, directions, strict=True)
    ]
    named = bool(metric_names)
    document.data["\0study"] = {"name": chosen, "goals": goals, "named": named, "notes": notes,
                                    "trials": trials}  # fmt: skip
    return document


def _no_study(url: str, study: str | None, names: list[str]) -> SpecError:
    """Return the error of a study that is not in the storage, or of several without a choice."""
    if not names:
        return SpecError(f"{url}: it has no study")
    listed = ", ".join(printable(name)[:80] for name in names[:_MOST_SHOWN])
    more = f" and {len(names) - _MOST_SHOWN} more" if len(names) > _MOST_SHOWN else ""
    what = f"no study {study!r}" if study else "which study?"
    hint = did_you_mean(study, names) if study else "name it with --study"
    return SpecError(f"{url}: {what}; it has: {listed}{more}", hint=hint)


def _file_of(url: str) -> Path | None:
    """Return the file of a storage, ``None`` of a database elsewhere.

    Raises:
        SpecError: There is no such file; Optuna would make it.
    """
    match = _SQLITE.match(url)
    if match is None and "://" in url:
        return None
    path = Path(url[match.end() :] if match else url)
    if not path.is_file():
        raise SpecError(f"{url}: {'it is no file' if path.exists() else 'no such file'}")
    return path


def _said(error: Exception) -> str:
    """Return the first line of an error, for people."""
    if isinstance(error, RecursionError):
        return "nested too deep"
    lines = printable(str(error)).splitlines()
    return redact(lines[0])[:200] if lines else type(error).__name__


def _fault(path: Path, folder: Path, error: Exception) -> str:
    """Return what is wrong with the file of a storage that Optuna could not read, and where."""
    if isinstance(error, OSError):
        return _said(error)
    if path.suffix in _JOURNALS:
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").split("\n"), 1):
            try:
                entry = json.loads(line) if line.strip() else {"op_code": 0}
            except (ValueError, RecursionError) as wrong:
                return f"line {number}: no JSON: {_said(wrong)}"
            code = entry.get("op_code") if isinstance(entry, dict) else None
            if type(code) is not int or not 0 <= code < _OPERATIONS:
                return f"line {number}: no entry of a journal"
        return f"an entry is malformed ({type(error).__name__}: {_said(error)})"
    from optuna.distributions import json_to_distribution

    try:
        with closing(sqlite3.connect(folder / "storage.db")) as connection:
            query = (
                "SELECT number, param_name, distribution_json FROM trial_params JOIN trials USING (trial_id)"
            )
            for number, name, text in connection.execute(query):
                try:
                    json_to_distribution(text)
                except Exception as wrong:  # noqa: BLE001 - as many kinds as there are mistakes
                    return f"parameter {shown(name)} of trial {number}: {_said(wrong)}"
    except sqlite3.Error:
        pass
    return _said(error)


def convert_storage(document: Document) -> Conversion:
    """Return the study that :func:`read_storage` read."""
    about = document.data.pop("\0study")
    out = Conversion(document)
    out.set_name(about["name"], ())
    for name, entry in document.data.items():
        _add(out, name, entry)
    _add_conditions(out, about["trials"])
    for name, text in about["notes"].items():
        out.note((name,), f"{name!r} {text}")
    out.set_goals(((), direction, metric) for direction, metric in about["goals"])
    limits = dict.fromkeys(constraint_metric(key) for t in about["trials"] for key in constraints_of(t))
    if limits:
        out.study["objective"]["limits"] = [f"{metric} <= 0" for metric in limits]
        out.note((), f"its constraints are limits on {', '.join(limits)}: report them by these names")
    if not about["named"]:
        out.note((), "its objectives have no names: report what they return under those of `objective`")
    out.note((), "what is launched is not in it: name it under `system`")
    return out.finish()


def read_trials(url: str, study: str | None) -> tuple[Conversion, list[str], list[FrozenTrial]]:
    """Return a study of a storage as :func:`convert_storage` does, the metrics of its values, and its trials.

    Args:
        url: Address of a storage; see :func:`read_storage`.
        study: Its name; may be left out when the storage has one only.

    Raises:
        EnvironmentProblem: A database cannot be reached.
        SpecError: There is no such file or study, or the file is malformed.
    """
    document = read_storage(url, study)
    about = document.data["\0study"]
    conversion = convert_storage(document)
    return conversion, [metric_name(metric)[0] for _, metric in about["goals"]], about["trials"]


def constraints_of(trial: FrozenTrial) -> dict[str, float]:
    """Return the constraints of a trial, as any version of Optuna stores them, each kept where at most 0."""
    found = {str(i): float(v) for i, v in enumerate(trial.system_attrs.get("constraints") or ())}
    mark = "constraints:"
    return found | {
        key.removeprefix(mark): float(v) for key, v in trial.system_attrs.items() if key.startswith(mark)
    }


def constraint_metric(key: str) -> str:
    """Return the name of the metric that a constraint is here."""
    return metric_name(f"constraint_{key}" if key.isdigit() else key)[0]


def _add_conditions(out: Conversion, trials: list[FrozenTrial]) -> None:
    """Put parameters that some trials lack under the condition that the trials show."""
    parameters = out.study.get("parameters", {})
    rows = [({out.names[n]: plain_value(v) for n, v in t.params.items() if n in out.names},
             t.state.name == "COMPLETE") for t in trials]  # fmt: skip
    parents = {
        name: entry["type"] not in ("bool", "categorical")
        for name, entry in parameters.items()
        if len({str(values.get(name)) for values, _ in rows}) <= _MOST_PARENT_VALUES
    }
    conditions = infer_conditions(rows, parents)
    for written, name in out.names.items():
        if not any(name not in values for values, complete in rows if complete):
            continue
        if name in conditions:
            parameters[name]["when"] = conditions[name]
            text = f"is not in every trial, and is active where {conditions[name]}: its trials say so"
        else:
            text = "is not in every trial, and is searched in all here: its trials show no condition"
        out.note((written,), f"{written!r} {text}")


@contextmanager
def _storage(url: str, path: Path | None, folder: Path) -> Iterator[BaseStorage]:
    """Open a storage, a SQLite file as a copy: Optuna makes its tables in whatever it opens."""
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend
    from sqlalchemy.pool import NullPool

    if path is not None and path.stat().st_size > _MOST_BYTES:  # it is read whole
        raise SpecError(f"{url}: a storage has at most {_MOST_BYTES >> 20} MiB")
    if path is not None and path.suffix in _JOURNALS:
        yield JournalStorage(JournalFileBackend(str(path)))
        return
    address = url if path is None else _copy(url, path, folder)
    # connections that a pool keeps are closed by whoever makes it, which Optuna does not
    storage = RDBStorage(address, engine_kwargs={"poolclass": NullPool})
    try:
        yield storage
    finally:
        storage.remove_session()


def _copy(url: str, path: Path, folder: Path) -> str:
    """Copy a storage in a SQLite file, and return the address of the copy."""
    copy = folder / "storage.db"
    for suffix in ("", "-wal"):
        if (part := path.with_name(path.name + suffix)).is_file():
            shutil.copyfile(part, copy.with_name(copy.name + suffix))
    try:
        with closing(sqlite3.connect(copy)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
            active = active_part(connection)
    except sqlite3.Error as error:
        raise SpecError(f"{url}: no readable Optuna storage: {error}") from None
    if active or not tables >= _TABLES:
        what = f"it has {active}" if active else f"it lacks {', '.join(sorted(_TABLES - tables))}"
        raise SpecError(f"{url} is no Optuna storage: {what}")
    return f"sqlite:///{copy}"


def _add(out: Conversion, name: str, entry: object) -> None:
    data = mapping_at(out, entry, (name,))
    kind = str(data.get("name"))
    attributes = mapping_at(out, data.get("attributes"), (name, "attributes"))
    with out.at((name,)):
        found = _parameter(out, name, kind, attributes)
        if found is not None:
            out.add((name,), name, found)


def _parameter(out: Conversion, name: str, kind: str, attributes: Mapping[str, object]) -> Entry | None:
    if kind == "CategoricalDistribution":
        choices = attributes.get("choices")
        if not isinstance(choices, list | tuple) or not choices:
            out.note((name,), f"the choices of {name!r} are {choices!r}; it is left out")
            return None
        return out.listed((name,), list(choices))
    known = {"FloatDistribution": {}, "IntDistribution": {}, **_LEGACY}.get(kind)
    low, high = (read_number(attributes.get(key)) for key in ("low", "high"))
    if known is not None and (low is None or high is None):
        out.note((name,), f"low and high of {name!r} are no numbers; it is left out")
        return None
    if known is None or low is None or high is None:
        out.note((name,), f"distribution {kind!r} of {name!r} has no equivalent; it is left out")
        return None
    log = str(attributes.get("log", known.get("log", False))).lower() == "true"
    step = read_number(attributes.get("step", attributes.get("q")))
    return out.ranged((name,), low, high, whole=kind.startswith("Int"), step=step, log=log)

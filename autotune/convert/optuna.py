"""Optuna: a study in its storage, or a JSON file of distributions by name.

The JSON is what ``optuna.distributions.distribution_to_json`` writes for each parameter.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from autotune.convert.base import Conversion, mapping_at
from autotune.convert.entries import Entry
from autotune.core.input_file import active_part
from autotune.core.parameter.base import read_number
from autotune.core.redact import redact
from autotune.errors import EnvironmentProblem, SpecError, did_you_mean
from autotune.spec.yaml_text import Document

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

NAME = "optuna"
_MOST_BYTES = 1 << 28  # of a journal or a SQLite file
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
        EnvironmentProblem: The storage cannot be read.
        SpecError: There is no such study.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with TemporaryDirectory(prefix="autotune-") as folder:
        return _read_storage(url, study, Path(folder))


def _read_storage(url: str, study: str | None, folder: Path) -> Document:
    import optuna

    try:
        storage = _storage(url, folder)
        names = optuna.get_all_study_names(storage)
        chosen = study or (names[0] if len(names) == 1 else None)
        if chosen is None or chosen not in names:
            what = f"no study {study!r}" if study else "which study?"
            raise SpecError(
                f"{url}: {what}; it has: {', '.join(names)}",
                hint=did_you_mean(study, names) if study else "name it with --study",
            )
        found = optuna.load_study(study_name=chosen, storage=storage)
        trials = found.get_trials(deepcopy=False)
    except (SpecError, EnvironmentProblem):
        raise
    except Exception as error:  # noqa: BLE001 - a storage fails in as many ways as there are databases
        said = redact(f"{error}".splitlines()[0]) if str(error) else type(error).__name__
        raise EnvironmentProblem(f"cannot read the Optuna storage {redact(url)}: {said}") from None
    entries: dict[str, object] = {}
    for trial in trials:
        for name, distribution in trial.distributions.items():
            entries[name] = json.loads(optuna.distributions.distribution_to_json(distribution))
    document = Document(entries, f"{url} ({chosen})")
    metrics = found.metric_names or [f"value{i or ''}" for i in range(len(found.directions))]
    goals = [
        ("maximize" if direction.name == "MAXIMIZE" else "minimize", metric)
        for metric, direction in zip(metrics, found.directions, strict=True)
    ]
    document.data["\0study"] = {"name": chosen, "goals": goals, "named": bool(found.metric_names)}
    return document


def convert_storage(document: Document) -> Conversion:
    """Return the study that :func:`read_storage` read."""
    about = document.data.pop("\0study")
    out = Conversion(document)
    out.set_name(about["name"], ())
    for name, entry in document.data.items():
        _add(out, name, entry)
    out.set_goals(((), direction, metric) for direction, metric in about["goals"])
    if not about["named"]:
        out.note((), "its objectives have no names: report what they return under those of `objective`")
    out.note((), "what is launched is not in it: name it under `system`")
    return out.finish()


def _storage(url: str, folder: Path) -> str | BaseStorage:
    """Return a storage, a SQLite file as a copy: Optuna makes its tables in whatever it opens."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    path = Path(url.removeprefix("sqlite:///"))
    if not path.is_file():
        return url
    if path.stat().st_size > _MOST_BYTES:  # it is read whole
        raise SpecError(f"{url}: a storage has at most {_MOST_BYTES >> 20} MiB")
    if path.suffix in (".log", ".jsonl", ".journal"):
        return JournalStorage(JournalFileBackend(url))
    copy = folder / "storage.db"
    for suffix in ("", "-wal"):
        if (part := path.with_name(path.name + suffix)).is_file():
            shutil.copyfile(part, copy.with_name(copy.name + suffix))
    try:
        with closing(sqlite3.connect(copy)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
            active = active_part(connection)
    except sqlite3.Error as error:
        raise EnvironmentProblem(f"cannot read the Optuna storage {url}: {error}") from None
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

"""The small sections of a study file."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Annotated, Any, ClassVar, Self
from urllib.parse import urlsplit

from autotune.core.assessment import STOP_WHEN
from autotune.core.expression import Expression
from autotune.core.json_object import JsonObject
from autotune.core.kinds import By, Choice, Key, Number, Text, Whole
from autotune.core.metric import check_metric
from autotune.core.objective import Objective
from autotune.core.placement import Rules
from autotune.core.redact import redact
from autotune.core.section import Section, mapping
from autotune.core.trial import Config
from autotune.errors import SpecError, did_you_mean, under

DEFAULT_GOAL = {"maximize": "output_throughput"}
"""What is wanted of a system under a load where a file does not say."""

COPY_EVERY_S = 30.0
"""Shortest time between two copies of a ledger that a server keeps."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_OFF = ("", "none", "null", "~", "off", "no", "false")
_SCHEMES = ("databricks", "databricks-uc", "file", "http", "https", "mssql", "mysql", "postgresql", "sqlite")
"""Of MLflow's own stores; a plugin adds others."""
_FILES = ("", "file", "sqlite")  # on this machine: a copy beside the ledger would be lost with it
_UNSPENT = "left out, a study ends when its trials or its time are spent"


def read_name(raw: object) -> str:
    """Return a study's name: it names a folder and an experiment, so only plain characters.

    Raises:
        SpecError: It has others.
    """
    if not isinstance(raw, str) or not _NAME.fullmatch(raw):
        raise SpecError(
            f"{raw!r} is not a study's name; allowed: ASCII letters, digits, '.', '_' and '-', at most 64, "
            "starting with a letter or digit"
        )
    return raw


def _parallel(raw: object, name: str) -> str:
    found = Whole(1, word="auto").read(raw, name)
    return "auto" if found is None else str(found)


@dataclass(frozen=True)
class Budget(Section):
    """Bounds on what a study may spend.

    Args:
        trials: Trials to search with; confirmations come on top.
        time_s: Seconds in all, over every run of the study; ``None`` without a limit.
        parallel: Trials at once, or ``auto``: what the machines can hold without disturbing each other.
        confirm: Fresh launches of the winner and of the default each at the end; 0 switches it off.
        watch: The default is measured again after every so many trials, to see whether the machine drifts;
            these come on top of ``trials`` too; 0 switches it off.
        stop_when: ``budget``, or ``converged``: as soon as one more trial is not worth it.
    """

    title: ClassVar[str] = "a budget"

    trials: Annotated[int, Whole(1)] = 20
    time_s: Annotated[float | None, Number("s", above=0.0, bare=False), Key("time")] = None
    parallel: Annotated[str, By(_parallel, what="a whole number of at least 1, or `auto`")] = "auto"
    confirm: Annotated[int, Whole(0)] = 2
    watch: Annotated[int, Whole(0)] = 10
    stop_when: Annotated[str, Choice(STOP_WHEN, _UNSPENT)] = "budget"


def _expression(raw: object, name: str) -> str:
    return Expression.parse(str(raw)).text


_EXPRESSION = By(_expression, what="an expression over the parameters")


@dataclass(frozen=True)
class Resources(Rules):
    """The resources of a configuration, as expressions over the parameters, and demands on its nodes.

    Args:
        cpus: Processors; empty to leave it to the system, as with the others.
        gpus: Accelerators.
        stages: Parts that they may be split into over nodes.
        price: Cost of them all per hour, in the user's currency.
    """

    cpus: Annotated[str, _EXPRESSION] = ""
    gpus: Annotated[str, _EXPRESSION] = ""
    stages: Annotated[str, _EXPRESSION] = ""
    price: Annotated[str, _EXPRESSION] = ""

    def check(self, kinds: Mapping[str, str]) -> None:
        """Refuse expressions that are no numbers.

        Args:
            kinds: Kind of each parameter by name.

        Raises:
            SpecError: One is not, or names no parameter; ``path`` is relative to the section.
        """
        for key in ("cpus", "gpus", "stages", "price"):
            text = getattr(self, key)
            with under(key):
                kind = Expression.parse(text).check_types(kinds) if text else "number"
                if kind != "number":
                    raise SpecError(f"{key} must be a number, found the {kind} {text!r}")

    def needed(self, config: Config) -> dict[str, float]:
        """Return what a configuration needs; empty where that is left to the system."""
        values = {key: self._value(key, config) for key in ("cpus", "gpus", "stages")}
        return {key: value for key, value in values.items() if value is not None}

    def price_of(self, config: Config) -> float | None:
        """Return what a configuration's resources cost per hour; ``None`` if that is not known."""
        return self._value("price", config)

    def _value(self, key: str, config: Config) -> float | None:
        text = getattr(self, key)
        value = Expression.parse(text).value(config) if text else None
        return None if value is None else float(value)


def _address(raw: object, name: str) -> str | None:
    """Return the address of a tracking store; ``None`` for a word that switches it off."""
    uri = Text().read(raw, name)
    if uri.strip().lower() in _OFF:
        return None
    _check_scheme(uri)
    return uri


_COPY = Number("s", bare=False)


def _ledger_copy(raw: object, name: str) -> float | None:
    """Return the time between two copies of the ledger in seconds; 0 for a word that switches them off."""
    if raw is False or (isinstance(raw, str) and raw.strip().lower() in _OFF[1:]):
        return 0.0
    found = _COPY.read(raw, name)
    if found < 1:
        raise SpecError(f"{name} must be at least 1 s, or `none`, found {raw!r}")
    return found


def _copy_text(every_s: float | None) -> str:
    return "" if every_s is None else f"{every_s!r} s" if every_s else "none"


def _mirrors(raw: object, name: str) -> dict[str, dict[str, Any]]:
    sections = mapping(raw, name, "for example {NAME: {OPTION: VALUE}}")
    found = {}
    for key, options in sections.items():
        with under(key):
            found[key] = dict(mapping({} if options in (None, "") else options, f"mirror {key!r}"))
    return found


@dataclass(frozen=True)
class Tracking(Section):
    """The mirrors of the ledger.

    Args:
        mlflow: Address of the MLflow store; ``None`` for no mirror.
        experiment: Name of the MLflow experiment; empty for the study's own name.
        mirrors: Options of each mirror that a plug-in brings, by its name.
        ledger_copy_s: Shortest time in seconds between two copies of the ledger among MLflow's artifacts; by
            default 30 s where the store is a server, none where it is a file of this machine.
    """

    title: ClassVar[str] = "tracking"

    mlflow: Annotated[str | None, By(_address, lambda uri: uri or "none", "an address, or `none`")] = (
        "sqlite:///mlflow.db"
    )
    experiment: Annotated[str, Text()] = ""
    mirrors: Annotated[Mapping[str, JsonObject], By(_mirrors, dict, "options by name of a plug-in")] = field(
        default_factory=dict
    )
    ledger_copy_s: Annotated[
        float | None,
        By(_ledger_copy, _copy_text, "a time, or `none`"),
        Key("ledger_copy"),
    ] = None

    @property
    def copy_every_s(self) -> float | None:
        """Time between two copies of the ledger in seconds; ``None`` where none are made."""
        if self.mlflow is None or self.ledger_copy_s is not None:
            return (self.mlflow and self.ledger_copy_s) or None
        scheme = urlsplit(self.mlflow).scheme.partition("+")[0].lower()
        return None if scheme in _FILES else COPY_EVERY_S


def stored_address(spec: JsonObject) -> str | None:
    """Return the store that a stored study names, not judged: empty where unsaid, ``None`` for none."""
    section = spec.get("tracking")
    if not isinstance(section, Mapping) or "mlflow" not in section:
        return ""
    uri = str(section["mlflow"])
    return None if uri.strip().lower() in _OFF else uri


def read_tracking(section: object) -> Tracking:
    """Return the mirror that a section asks for; MLFLOW_TRACKING_URI names the store where it does not.

    Raises:
        SpecError: The section is wrong.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or Tracking.mlflow
    return Tracking.from_dict({"mlflow": uri, **mapping(section, Tracking.title)})


def _check_scheme(uri: str) -> None:
    """Refuse an address that no tracking store is behind; a plain path is a folder."""
    scheme = urlsplit(uri).scheme.partition("+")[0].lower()
    if not scheme or scheme in _SCHEMES:
        return
    plugins = {point.name for point in entry_points(group="mlflow.tracking_store")}
    if scheme not in plugins:
        allowed = sorted({*_SCHEMES, *plugins})
        raise SpecError(
            f"unknown scheme {scheme!r} of mlflow {redact(uri)!r}; allowed: {', '.join(allowed)}",
            hint=did_you_mean(scheme, allowed) or "`mlflow: none` mirrors nothing",
        )


@dataclass(frozen=True)
class EngineConfig:
    """The engine that searches.

    Args:
        use: Name.
        seed: Seed of the study.
        options: Options of its own.
    """

    use: str = "gp"
    seed: int = 0
    options: JsonObject = field(default_factory=dict)

    @classmethod
    def from_dict(cls, data: object) -> Self:
        """Read a name, or a mapping with ``use``, ``seed`` and the engine's own options.

        Raises:
            SpecError: It is neither; ``path`` is relative to the section.
        """
        items = {"use": data} if isinstance(data, str) else dict(mapping(data, "an engine"))
        use = items.pop("use", cls.use)
        with under("use"):
            Text("the name of an engine").read(use, "use")
        with under("seed"):
            seed = Whole(0).read(items.pop("seed", cls.seed), "seed")
        return cls(use, seed or 0, items)

    @property
    def section(self) -> dict[str, object]:
        """What the engine is built from: name and options."""
        return {"use": self.use, **self.options}

    def to_dict(self) -> dict[str, object]:
        """Return the section that :meth:`from_dict` reads back."""
        return {**self.section, "seed": self.seed}


def read_objective(data: Any) -> Objective:
    """Read an objective and refuse near misses of metrics that this package measures.

    Raises:
        SpecError: Something is wrong; ``path`` is relative to the section.
    """
    objective = Objective.from_dict(mapping(data, "an objective"))
    counters = {"maximize": 0, "minimize": 0}
    for goal in objective.goals:
        key = "maximize" if goal.maximize else "minimize"
        with under(key, counters[key]) if not isinstance(data[key], str) else under(key):
            check_metric(goal.metric)
        counters[key] += 1
    for i, limit in enumerate(objective.limits):
        with under("limits", i):
            info = check_metric(limit.metric)
            if info is not None and info.unit != limit.unit and not limit.relative:
                raise SpecError(f"{limit.metric} is measured in {info.unit}, found {data['limits'][i]!r}")
    objective.check_units()
    return objective

"""Typed readers of the small sections of a study file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any
from urllib.parse import urlsplit

from autotune.core.assessment import STOP_WHEN
from autotune.core.deadlines import Deadlines
from autotune.core.redact import redact
from autotune.core.units import parse_quantity
from autotune.errors import SpecError, did_you_mean, refuse_unknown_keys

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_OFF = ("", "none", "off", "no", "false")
_SCHEMES = ("databricks", "databricks-uc", "file", "http", "https", "mssql", "mysql", "postgresql", "sqlite")
"""Of MLflow's own stores; a plugin adds others."""


@dataclass(frozen=True)
class Budget:
    """Bound what a study may spend.

    Args:
        trials: Trials to search with; confirmations come on top.
        time_s: Seconds in all, over every run of the study; ``None`` without a limit.
        parallel: Trials at once, or ``auto``: what the machines can hold without disturbing each other.
        confirm: Fresh launches of the winner and of the default each at the end; 0 switches it off.
        watch: The default is measured again after every so many trials, to see whether the machine drifts;
            these come on top of ``trials`` too; 0 switches it off.
        stop_when: ``budget``, or ``converged``: as soon as one more trial is not worth it.
    """

    trials: int = 20
    time_s: float | None = None
    parallel: str = "auto"
    confirm: int = 2
    watch: int = 10
    stop_when: str = "budget"

    def to_dict(self) -> dict[str, Any]:
        """Return the section that :func:`read_budget` reads back."""
        time = {} if self.time_s is None else {"time": f"{self.time_s!r} s"}
        watch = {} if self.watch == Budget.watch else {"watch": self.watch}
        stop_when = {} if self.stop_when == "budget" else {"stop_when": self.stop_when}
        return {
            "trials": self.trials,
            **time,
            "parallel": self.parallel,
            "confirm": self.confirm,
            **watch,
            **stop_when,
        }


@dataclass(frozen=True)
class Tracking:
    """Name the mirror of the ledger.

    Args:
        mlflow: Address of the MLflow store; ``None`` for no mirror.
        experiment: Name of the MLflow experiment; empty for the study's own name.
    """

    mlflow: str | None = "sqlite:///mlflow.db"
    experiment: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the section that :func:`read_tracking` reads back."""
        experiment = {"experiment": self.experiment} if self.experiment else {}
        return {"mlflow": self.mlflow or "none", **experiment}


def mapping(data: Any, what: str) -> Mapping[str, Any]:
    """Return ``data`` if it is a mapping.

    Raises:
        SpecError: It is not.
    """
    if not isinstance(data, Mapping):
        raise SpecError(f"{what} must be a mapping of keys to values, found {data!r}")
    return data


def read_name(raw: Any) -> str:
    """Return a study's name: it names a folder and an experiment, so only plain characters."""
    if not isinstance(raw, str) or not _NAME.fullmatch(raw):
        raise SpecError(
            f"{raw!r} is not a study's name; allowed: letters, digits, '.', '_' and '-', at most 64, "
            "starting with a letter or digit",
            path=("name",),
        )
    return raw


def read_budget(data: Any) -> Budget:
    """Read the ``budget`` section; ``path`` of errors is relative to it."""
    items = mapping(data, "a budget")
    refuse_unknown_keys(items, ("trials", "time", "parallel", "stop_when", "confirm", "watch"), "a budget")
    default = Budget()
    parallel = str(items.get("parallel", default.parallel)).strip()
    if parallel != "auto":
        try:
            parallel = str(_whole(items["parallel"], "parallel", 1))
        except SpecError:
            raise SpecError(
                f"parallel must be 'auto' or a whole number of at least 1, found {parallel!r}",
                path=("parallel",),
            ) from None
    stop_when = items.get("stop_when", "budget")
    if stop_when not in STOP_WHEN:
        raise SpecError(
            f"unknown stop_when {stop_when!r}; allowed: {', '.join(STOP_WHEN)}",
            path=("stop_when",),
            hint=did_you_mean(str(stop_when), STOP_WHEN)
            or "left out, a study ends when its trials or its time are spent",
        )
    return Budget(
        trials=_whole(items.get("trials", default.trials), "trials", 1),
        time_s=_seconds(items["time"], "time") if "time" in items else None,
        parallel=parallel,
        confirm=_whole(items.get("confirm", default.confirm), "confirm", 0),
        watch=_whole(items.get("watch", default.watch), "watch", 0),
        stop_when=stop_when,
    )


def read_deadlines(data: Any) -> Deadlines:
    """Read the ``deadlines`` section."""
    items = mapping(data, "deadlines")
    refuse_unknown_keys(items, ("startup", "measure", "stop"), "deadlines")
    return Deadlines(**{f"{key}_s": _seconds(value, key) for key, value in items.items()})


def deadlines_dict(deadlines: Deadlines) -> dict[str, str]:
    """Return the section that :func:`read_deadlines` reads back."""
    return {
        "startup": f"{deadlines.startup_s!r} s",
        "measure": f"{deadlines.measure_s!r} s",
        "stop": f"{deadlines.stop_s!r} s",
    }


def read_tracking(data: Any, default_uri: str) -> Tracking:
    """Read the ``tracking`` section.

    Args:
        data: The section.
        default_uri: Store of a section that names none.
    """
    items = mapping(data, "tracking")
    refuse_unknown_keys(items, ("mlflow", "experiment"), "tracking")
    uri = items.get("mlflow", default_uri)
    experiment = items.get("experiment", "")
    for key, value in (("mlflow", uri), ("experiment", experiment)):
        if not isinstance(value, str):
            raise SpecError(f"{key} must be text, found {value!r}", path=(key,))
    if uri.strip().lower() in _OFF:
        return Tracking(None, experiment)
    _check_scheme(uri)
    return Tracking(uri, experiment)


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
            path=("mlflow",),
            hint=did_you_mean(scheme, allowed) or "`mlflow: none` mirrors nothing",
        )


def read_engine(data: Any) -> dict[str, Any]:
    """Read the ``engine`` section: a name, or a mapping with ``use`` and ``seed``."""
    if isinstance(data, str):
        return {"use": data, "seed": 0}
    items = dict(mapping(data, "an engine"))
    if not isinstance(items.get("use", "gp"), str):
        raise SpecError(f"use must be the name of an engine, found {items['use']!r}", path=("use",))
    return {**items, "use": items.get("use", "gp"), "seed": _whole(items.get("seed", 0), "seed", 0)}


def _whole(raw: Any, key: str, low: int) -> int:
    wrong = SpecError(f"{key} must be a whole number of at least {low}, found {raw!r}", path=(key,))
    try:
        number = parse_quantity(raw, dimension="number").value
    except SpecError:
        raise wrong from None
    if not number.is_integer() or number < low:
        raise wrong
    return int(number)


def _seconds(raw: Any, key: str) -> float:
    try:
        seconds = parse_quantity(raw, dimension="time").value
    except SpecError as error:
        raise SpecError(f"{key}: {error.message}", path=(key,), hint=error.hint) from None
    if seconds <= 0:
        raise SpecError(f"{key} must be above 0, found {raw!r}", path=(key,))
    return seconds

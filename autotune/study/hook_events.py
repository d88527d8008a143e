"""What a hook is sent: of a trial that is over, of a run that ended, of one that an error ended."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from autotune.analysis.study_view import StudyView
from autotune.core.estimate_text import show_estimate
from autotune.core.measurement import Estimate
from autotune.core.trial import Trial
from autotune.core.units import counted
from autotune.core.version import VERSION
from autotune.errors import AutotuneError
from autotune.report.summary import trial_json
from autotune.report.text import show_config
from autotune.study.result import StudyResult, deployment_of

Payload: TypeAlias = dict[str, Any]
"""Plain JSON data, its secrets not masked yet."""


def trial_event(view: StudyView, trial: Trial) -> Payload:
    """Return the payload of a trial that is over."""
    data = trial_json(trial, view)
    if trial.failure is not None:
        data["failure"] = {"cause": trial.failure.cause.value, "message": trial.failure.message}
    said = "" if trial.failure is None else f"{trial.failure.cause.value}: {trial.failure.message}"
    said = said or _measured(view, trial.metrics) or trial.state.value.lower()
    text = f"{view.name}: trial {trial.number}: {said} ({show_config(trial.config, view.space.names)})"
    best, found = view.best, None
    if best is not None:
        text += f"; best so far: trial {best.trial.number}, {_measured(view, best.metrics)}"
        metrics = {name: estimate.to_dict() for name, estimate in best.metrics.items()}
        found = {"number": best.trial.number, "config": dict(best.config), "metrics": metrics}
    return {**_head("trial", view.name, text), "trial": data, "best": found}


def end_event(view: StudyView, report: Path | None = None) -> Payload:
    """Return the payload of the end of a run: what `autotune best --json` says, and where the report is."""
    try:
        deployment = deployment_of(view)
    except AutotuneError:  # its system is not installed here
        deployment = None
    result = StudyResult(view, deployment)
    lines = [f"{view.name}: {view.state}, {counted(len(view.trials), 'trial')}", result.verdict.text]
    if result.config is not None and result.winner is not None:
        config = show_config(result.config, view.space.names)
        lines.append(f"trial {result.winner.trial.number}: {config}: {_measured(view, result.metrics)}")
    lines += [f"deploy: {result.command}"] if result.command else []
    data = {**result.to_dict(), "report": None if report is None else str(report)}
    return {**data, **_head("end", view.name, "\n".join(filter(None, lines)))}


def failed_event(name: str, state: str, error: str) -> Payload:
    """Return the payload of a run that an error or a signal ended; all that was measured is kept."""
    text = f"{name}: {state}" + (f": {error}" if error else "")
    return {**_head("end", name, text), "state": state, "error": error or None}


def _head(event: str, study: str, text: str) -> Payload:
    return {"event": event, "study": study, "time": stamp(), "version": VERSION, "text": text}


def stamp() -> str:
    """Return the time of now, as an event has it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _measured(view: StudyView, metrics: Mapping[str, Estimate]) -> str:
    names = [name for name in view.objective.metrics if name in metrics]
    return ", ".join(
        f"{name} {show_estimate(metrics[name], symbol=view.objective.symbol_of(name))}" for name in names
    )

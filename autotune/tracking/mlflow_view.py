"""How a study opens in MLflow's web page: a shared view of its experiment, and the link to it.

MLflow 3 keeps such a view in a tag of the experiment, the one that its own "share view" button writes; a page
whose address names it shows these columns, in this order, and these charts. Nothing else that is stored
decides what a page shows: its own choices lie in each reader's browser.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from autotune.core.json_object import JsonObject
from autotune.core.metric import UNITS
from autotune.core.objective import Objective
from autotune.core.trial import Trial
from autotune.core.units import show_unit
from autotune.ledger import StudyRow
from autotune.spec.stored import StoredSpec
from autotune.tracking.items import INACTIVE, MEASUREMENT, NOTE, plain_note, shown_metrics
from autotune.tracking.names import allowed_name

VIEW_TAG = "mlflow.sharedViewState."
"""Prefix of an experiment's tag that holds a view; the rest is its key."""

KIND_TAG = "mlflow.experimentKind"
KIND = "custom_model_development"
"""Kind of an experiment that has runs, rather than traces of a chat."""

LINK = "[Open the runs as charts]("
"""Beginning of a description that is ours; its owner's is never changed."""

_WITH_A_PAGE_OF_RUNS = [3, 2]  # MLflow's version
_MOST_CHARTS = 30  # of one metric each
_RUNS = 1000  # that a chart shows at once
_SECTION, _MORE, _SYSTEM = "Study", "Model metrics", "System metrics"

FILTERS = {
    "measured, keeps every limit": "tags.`autotune.feasible` = 'true'",
    "breaks a limit": "tags.`autotune.state` = 'COMPLETED' AND tags.`autotune.feasible` = 'false'",
    "failed": "tags.`autotune.failure` LIKE '%'",
    "failed by running out of memory": "tags.`autotune.failure` = 'out_of_memory'",
    "the best": "tags.`autotune.best` = 'true'",
    "the Pareto front": "tags.`autotune.pareto` = 'true'",
    "confirmations": "tags.`autotune.reason` = 'confirm'",
}
"""What to look for, with the text for MLflow's search field or ``search_runs``."""


def view_key(uid: str) -> str:
    """Return the key of a study's view; the same whenever it is written."""
    return f"autotune-{uid}"


def run_link(base: str, experiment: str, uid: str, version: str) -> str:
    """Return the address of a study's runs as charts.

    Args:
        base: Address of the MLflow server.
        experiment: Id of the experiment.
        uid: Identity of the study.
        version: Version of that MLflow. The first ones show the runs on the page of the experiment; later
            ones lead from there to another page, and forget what was asked.
    """
    asked = {
        "workflowType": "machine_learning",
        "compareRunsMode": "CHART",
        "viewStateShareKey": view_key(uid),
    }
    query = "&".join(f"{name}={quote(value)}" for name, value in asked.items())
    return f"{base.rstrip('/')}/#/experiments/{quote(experiment)}{_runs_page(version)}?{query}"


def _runs_page(version: str) -> str:
    numbers = [int(part) for part in re.findall(r"\d+", version)[:2]]
    return "" if numbers and numbers < _WITH_A_PAGE_OF_RUNS else "/runs"


def experiment_tags(
    row: StudyRow, trials: Sequence[Trial], objective: Objective, experiment: str, version: str
) -> dict[str, str]:
    """Return the tags with which an experiment opens on the runs of a study, and says what they hold."""
    measured = dict.fromkeys(name for trial in trials for name in trial.metrics)
    metrics = shown_metrics(measured, objective)
    state = _view(row, trials, objective, metrics)
    return {
        VIEW_TAG + view_key(row.uid): _packed(state),
        NOTE: _note(row, trials, objective, metrics, run_link("", experiment, row.uid, version)),
    }


def _packed(state: JsonObject) -> str:
    """Return a view as MLflow's page packs one: a database may hold 5,000 characters of it."""
    text = json.dumps(state, separators=(",", ":"))
    return "deflate;" + base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def _view(
    row: StudyRow, trials: Sequence[Trial], objective: Objective, metrics: Sequence[str]
) -> dict[str, Any]:
    parameters = [allowed_name(name) for name in StoredSpec(row.spec).parameters]
    goal = objective.goals[0]
    named = [allowed_name(name) for name in objective.stated.metrics]
    others = [allowed_name(name) for name in metrics if allowed_name(name) not in named]
    columns = [
        *(f"metrics.`{name}`" for name in named),
        *(f"params.`{name}`" for name in parameters),
        *(f"tags.`autotune.{name}`" for name in ("best", "feasible", "pareto", "state", "failure", "reason")),
    ]
    charts = _charts(row, trials, objective, parameters, others)
    return {
        "searchFilter": f"tags.`autotune.study_uid` = '{row.uid}'",
        "orderByKey": f"metrics.`{allowed_name(goal.metric)}`",
        "orderByAsc": not goal.maximize,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": columns,
        "columnOrder": ["checkbox", "visibility", "attributes.`Run Name`", *columns],
        "columnWidths": {},
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": charts,
        "compareRunSections": [
            {"uuid": name, "name": name, "display": name == _SECTION, "isReordered": False, "columns": 2}
            for name in (_SECTION, _MORE, _SYSTEM)
        ],
        "isAccordionReordered": True,  # or the sections would be sorted by name
        "viewMaximized": False,
        "runListHidden": False,
        # MLflow 3.0 needs every field; later ones have their own for these
        "runsExpanded": {},
        "runsPinned": [],
        "runsHidden": [],
        "runsVisibilityMap": {},
        "groupsExpanded": {},
        "autoRefreshEnabled": True,
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "groupBy": None,
    }


def _charts(
    row: StudyRow,
    trials: Sequence[Trial],
    objective: Objective,
    parameters: Sequence[str],
    others: Sequence[str],
) -> list[dict[str, Any]]:
    """Return the charts: progress, the trade-off, the parameters, then each metric by itself."""
    named = [allowed_name(name) for name in objective.stated.metrics]
    goals = [allowed_name(goal.metric) for goal in objective.goals]
    charts = []
    for goal in goals:
        series = [f"best.{goal}", f"default.{goal}"]
        charts.append(
            _chart(
                "LINE", f"{goal}: best so far, and the default", metricKey=series[0],
                selectedMetricKeys=series, xAxisKey="step", useGlobalXaxisKey=False, lineSmoothness=0,
            )
        )  # fmt: skip
        charts.append(_chart("LINE", series[1], metricKey=series[1], deleted=True))
    for other in named[1:]:
        axes = [{"key": key, "type": "METRIC"} for key in (other, goals[0])]
        charts.append(_chart("SCATTER", f"{goals[0]} against {other}", xaxis=axes[0], yaxis=axes[1]))
    varying = _varying(row, trials)
    shown = [name for name in parameters if name in varying] or list(parameters)
    charts.append(
        _chart(
            "PARALLEL",
            "parameters",
            selectedParams=shown,
            selectedMetrics=[*named[1:], named[0]],
            showAllRuns=True,
        )
    )
    for name in shown:
        axes = [{"key": name, "type": "PARAM"}, {"key": goals[0], "type": "METRIC"}]
        charts.append(_chart("SCATTER", f"{goals[0]} against {name}", xaxis=axes[0], yaxis=axes[1]))
    charts += [_chart("BAR", name, metricKey=name) for name in named]
    more = [*others, "trial_seconds"]
    return charts + [_chart("BAR", name, section=_MORE, metricKey=name) for name in more][:_MOST_CHARTS]


def _chart(kind: str, title: str, *, section: str = _SECTION, **settings: Any) -> dict[str, Any]:
    uuid = hashlib.blake2b(f"{kind} {title}".encode(), digest_size=8).hexdigest()
    base = {"type": kind, "uuid": uuid, "metricSectionId": section, "displayName": title}
    return base | {"isGenerated": False, "deleted": False, "runsCountToCompare": _RUNS} | settings


def _varying(row: StudyRow, trials: Sequence[Trial]) -> set[str]:
    """Return the parameters that are a useful axis: they vary, and a run that lacks them has a word for it.

    A number that is not always active is none: an axis of numbers leaves out the runs without one.
    """
    found = set()
    for name in StoredSpec(row.spec).parameters:
        values = [trial.config.get(name, INACTIVE) for trial in trials]
        numeric = any(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
        if len({str(value) for value in values}) > 1 and not (numeric and INACTIVE in values):
            found.add(allowed_name(name))
    return found


def _note(
    row: StudyRow, trials: Sequence[Trial], objective: Objective, metrics: Sequence[str], link: str
) -> str:
    """Return the description of an experiment: a link to the runs, what the columns are, how to search.

    The link holds nothing but ids; all other text is one block of code.
    """
    units: Mapping[str, str] = {
        name: estimate.unit for trial in trials for name, estimate in trial.metrics.items()
    }
    lines = [f"study {row.name}: {objective.stated}", "", "metrics of a trial:"]
    for name in metrics:
        unit = show_unit(units.get(name, UNITS.get(name, "1")))
        lines.append(f"  {allowed_name(name)}" + (f" ({unit})" if unit else ""))
    lines += [
        "  trial_seconds (s)",
        f"  {MEASUREMENT} of a run has all of them, with standard errors and counts",
        "of the study's own run: best.* so far by the search, default.* each time it was measured",
        "",
        "to find runs, type into the search field:",
        *(f"  {text}: {query}" for text, query in FILTERS.items()),
    ]
    return f"{LINK}{link[1:]})\n\n{plain_note(lines)}"

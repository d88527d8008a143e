"""The sections of the report: which tables and figures stand in each, and how a figure is to be read."""

from __future__ import annotations

import html
import json
import logging
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from autotune.analysis.comparison import comparison
from autotune.analysis.importance import importance
from autotune.analysis.study_view import StudyView
from autotune.core.estimate_text import INTERVAL
from autotune.core.redact import redact, visible
from autotune.errors import words_of
from autotune.plot import figure_named
from autotune.report import document
from autotune.report.document import Table
from autotune.report.mask import masked
from autotune.report.summary import command_on
from autotune.report.text import show_config

_log = logging.getLogger("autotune.report")

_TAG = re.compile(r"<(?!(?:br|b|/b|i|/i|sub|/sub|sup|/sup|extra|/extra)>)", re.IGNORECASE)
"""Markup of plotly's own that is none of the harmless kinds which figures need: a link, above all."""

_HEIGHT = 420  # of a figure that does not say, in pixels
_METRICS = 3  # goals and limits whose importances and predictions are shown
_PAIRS = 2  # strongest interactions
_UPRIGHT = 8  # axes side by side, or named values, from which a figure is wider than a phone
_SEEN = 0.005  # share of the variation that an interaction surely has at least, to be shown

_TRIALS = (
    "Each row is one launch. What is in bold is the recommended configuration; ok? is a measurement that is "
    "not to be relied on alone, limit one that broke a limit (the note says why), and unknown one that may "
    "break a limit which cannot be judged."
)

CAPTIONS = {
    "comparison": "Ratio of each metric to the default's, with its 95 % interval. A triangle points up where "
    "that is better and down where it is worse; a circle stands where the interval says neither. The arrow "
    "at a name is the direction that is better. Below, where there are limits, how much of each is used.",
    "progress": "Points are trials with their 95 % intervals; the line is the best so far of the search that "
    "kept every limit, as measured; the star is what is recommended, else the nearest, by all its launches.",
    "progress_in_time": "The same against the time spent measuring; pauses between runs do not count.",
    "pareto_front": "Configurations, all launches of each pooled. The line joins those that keep every limit "
    "and that no other one beats in both; dotted lines are the limits.",
    "importance": "Share of the variation that each parameter accounts for, by a model of the trials.",
    "effects": "What a model expects along each parameter, with its 95 % band; points are trials.",
    "pair": "What a model expects along two parameters that act together; points are trials.",
    "parallel_coordinates": "Each line is a trial.",
    "failures": "Failures by cause, and where they lie among the values of the parameters.",
    "prediction": "What a model that was not told of a trial expects of it, against what was measured; the "
    "diagonal is a perfect model.",
    "noise": "Launches of one configuration, relative to their mean: how far a single measurement may be "
    "off. Bars are the 95 % interval that a launch claims by itself.",
    "drift": "The default configuration each time it was launched: a trend says that the machine changed.",
    "latency_distribution": "Share of the requests (of the gaps between tokens) served within a time.",
    "throughput_latency": "Latency against throughput of every configuration; dotted lines are limits.",
    "phases": "Time of each trial by phase.",
    "cost": "What the time of the trials was for.",
}
"""How each figure is to be read."""


@dataclass(frozen=True)
class Figure:
    """A figure of the report.

    Args:
        id: Its name in the page.
        title: Title.
        caption: Words on how it is to be read.
        json: Data and layout as JSON that may stand in a page; empty where there is nothing to see.
        nothing: Reason why there is nothing to see.
        again: Command that makes it where it was left out.
        height: Height in pixels.
        wide: Whether it has panels side by side, which a phone scrolls.
    """

    id: str
    title: str
    caption: str
    json: str = ""
    nothing: str = ""
    again: str = ""
    height: int = _HEIGHT
    wide: bool = False


@dataclass(frozen=True)
class Section:
    """A section of the report.

    Args:
        id: Its name in the page.
        title: Title.
        texts: Paragraphs at its head.
        tables: Tables.
        figures: Figures.
        pairs: Names with what there is to say of each.
        lines: Lines of a shell.
    """

    id: str
    title: str
    texts: Sequence[str] = ()
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    pairs: Sequence[tuple[str, str]] = ()
    lines: Sequence[str] = ()


def sections(view: StudyView, deadline: float) -> list[Section]:
    """Return the sections of the report of a study, in order.

    Args:
        view: The study.
        deadline: ``time.monotonic()`` value after which no further figure is begun. Those for which a model
            is fitted are made last.
    """
    make = _Maker(view, deadline)
    found, failed = comparison(view), document.failure_table(view)
    plain = {
        "comparison": make.figures("comparison"),
        "progress": make.figures("progress", "progress_in_time"),
        "pareto": make.figures("pareto_front"),
        "noise": make.figures("noise", "drift"),
        "latency": make.figures("latency_distribution", "throughput_latency"),
        "phases": make.figures("phases"),
        "cost": make.figures("cost"),
    }
    compared = [] if found is None else document.comparison_tables(found)
    limits = None if found is None else document.limit_table(found)
    drift = [document.sentence(str(view.drift))] if view.drift is not None and view.drift.certain else []
    metrics = view.objective.metrics[:_METRICS]
    modelled = {
        "importance": [f for metric in metrics for f in make.figures("importance", args=(metric,))],
        "effects": [*make.figures("effects"), *make.pairs(), *make.figures("parallel_coordinates")],
        "failures": make.figures("failures") if failed else [],
        "prediction": [f for metric in metrics for f in make.figures("prediction", args=(metric,))],
    }
    return [
        Section("comparison", document.comparison_title(view), _winner(view), compared, plain["comparison"]),
        Section("limits", "Limits", _limits(view), _there(limits)),
        Section("deploy", "Deploy", _deploy(view), lines=view.deploy),
        Section("progress", "Progress", figures=plain["progress"]),
        Section("pareto", "Pareto front", figures=plain["pareto"]),
        Section("importance", "What mattered", figures=modelled["importance"]),
        Section("effects", "Effects of the parameters", figures=modelled["effects"]),
        Section(
            "failures",
            "Failures",
            () if failed else ("No trial failed.",),
            _there(failed),
            modelled["failures"],
        ),
        Section("prediction", "Prediction against measurement", figures=modelled["prediction"]),
        Section("noise", "Noise and drift", drift, _there(document.warning_table(view)), plain["noise"]),
        Section("latency", "Latency and throughput", figures=plain["latency"]),
        Section("phases", "Phases", figures=plain["phases"], pairs=document.time_rows(view)),
        Section("cost", "Cost", tables=_there(document.cost_table(view)), figures=plain["cost"]),
        Section("trials", "All trials", (_TRIALS if view.trials else "No trials yet.",)),
        Section("conditions", "Versions and hardware", pairs=document.conditions(view)),
    ]


def _there(table: Table | None) -> list[Table]:
    return [] if table is None else [table]


def _winner(view: StudyView) -> list[str]:
    if not view.trials:
        return ["Nothing was measured yet."]
    if not any(t.metrics for t in view.trials):
        return ["No trial gave a measurement."]
    if view.best is None and view.objective.awaited and view.settled:
        return ["Nothing is recommended."]
    return [f"{INTERVAL}."]


def _limits(view: StudyView) -> list[str]:
    if not view.stated.limits:
        return ["The objective has no limits."]
    asked = f"{100 * view.objective.confidence:g} %"
    text = f"A recommended configuration has to keep every limit with {asked} confidence."
    unjudged = document.unjudged_limits(view)
    return [text, *(unjudged or ([f"{view.binding}."] if view.binding else []))]


def _deploy(view: StudyView) -> list[str]:
    if view.deploy:
        return []
    if view.best is None:
        return ["Nothing is recommended."]
    return [f"The {view.best_role} configuration: {show_config(view.best.config)}"]


@dataclass
class _Maker:
    """A maker of figures while there is time.

    Args:
        view: The study.
        deadline: ``time.monotonic()`` value after which no further figure is begun.
    """

    view: StudyView
    deadline: float
    count: int = field(default=0)

    def figures(self, *names: str, args: tuple[str, ...] = ()) -> list[Figure]:
        """Return the figures of :mod:`autotune.plot` of these names, those that there are.

        Args:
            names: Names of figures.
            args: Arguments of each after the study.
        """
        made = ((name, figure_named(name)) for name in names)
        return [self.figure(name, make, args) for name, make in made if make is not None]

    def pairs(self) -> list[Figure]:
        """Return the figures of the strongest interactions for the first goal."""
        if time.monotonic() > self.deadline:
            return []
        try:
            found = importance(self.view)
        except Exception as error:  # noqa: BLE001 - as for a figure; that of the importance says it
            _log.info("importance: %s", words_of(error))
            return []
        if found is None or not found.pairs:
            return []
        pairs = [pair for pair in found.pairs if pair.share.low >= _SEEN][:_PAIRS]
        if not pairs:
            self.count += 1
            nothing = "no two parameters are seen to act together, beyond what the model is unsure of"
            return [Figure(f"figure-{self.count}-pair", "Pairs", CAPTIONS["pair"], nothing=nothing)]
        return [f for one in pairs for f in self.figures("pair", args=one.names)]

    def figure(self, name: str, make: Callable[..., Any], args: tuple[str, ...]) -> Figure:
        """Return one figure; where it cannot be made, why."""
        self.count += 1
        title = ": ".join(filter(None, (name.replace("_", " ").capitalize(), " and ".join(args))))
        found = Figure(f"figure-{self.count}-{name}", title, CAPTIONS[name])
        if time.monotonic() > self.deadline:
            return replace(found, nothing="left out to end in time", again=command_on(self.view, "report"))
        try:
            data = json.loads(make(self.view, *args).to_json())
        except Exception as error:  # noqa: BLE001 - one figure must not cost the report
            said = visible(redact(words_of(error).splitlines()[0]))
            _log.info("figure %s: %s", name, said)
            return replace(found, nothing=f"this figure could not be made: {said}")
        return _embedded(found, data)


def _embedded(found: Figure, data: dict[str, Any]) -> Figure:
    """Return a figure with its data; the page says its title, and gives it its width."""
    layout = data["layout"]
    title = layout.pop("title", None) or {}
    own, below = title.get("text", ""), (title.get("subtitle") or {}).get("text", "")
    caption = " ".join(filter(None, (found.caption, f"Here: {_unmarked(below)}." if below else "")))
    meta = layout.get("meta") or {}
    nothing = str(meta.get("nothing", ""))
    layout.pop("width", None)
    layout["autosize"] = True
    layout["legend"] = {**layout.get("legend", {}), "x": 0, "xanchor": "left"}
    margin = layout.setdefault("margin", {})
    # the page has the title; a legend above the figure needs room
    above = layout["legend"].get("yref") != "container"
    named = above and sum(trace.get("showlegend", True) for trace in data["data"]) > 1
    margin["t"] = 40 if below else min(margin.get("t", 60), 110) if named else 24
    return replace(
        found,
        title=str(meta.get("title", "")) or _unmarked(own) or found.title,
        caption=caption,
        json="" if nothing else script_json(harmless({"data": data["data"], "layout": layout})),
        nothing=nothing,
        height=int(layout.get("height") or _HEIGHT),
        wide=_wide(layout),
    )


def _wide(layout: dict[str, Any]) -> bool:
    """Return whether a figure has panels side by side, or more upright axes than a phone is wide."""
    axes = [axis for name, axis in layout.items() if re.fullmatch(r"xaxis\d*", name)]
    aside = any(axis.get("domain", [0.0])[0] > 0.0 for axis in axes)
    return aside or any(len(axis.get("tickvals") or ()) > _UPRIGHT for axis in axes if "ticktext" in axis)


def _unmarked(text: str) -> str:
    """Return a text of plotly's as plain text: the page escapes it by itself."""
    return html.unescape(text.replace("<br>", " "))


def harmless(data: Any) -> Any:
    """Return the data of a figure with secrets masked and no markup but line breaks and emphasis."""
    return _without_tags(masked(data))


def _without_tags(data: Any) -> Any:
    if isinstance(data, str):
        return _TAG.sub("&lt;", visible(data))
    if isinstance(data, dict):
        return {key: _without_tags(value) for key, value in data.items()}
    return [_without_tags(value) for value in data] if isinstance(data, list) else data


def script_json(data: object) -> str:
    """Return JSON that may stand inside a script element: it can neither end it nor begin another."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text

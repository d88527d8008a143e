"""A configuration of a study as a file that deploys it: which one, and what is known of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autotune.analysis.facts import hardware_of, versions_of
from autotune.analysis.study_view import StudyView
from autotune.core import ranking
from autotune.core.deadlines import Deadlines
from autotune.core.decision import Candidate
from autotune.core.dependencies import need
from autotune.core.environment import inherited
from autotune.core.estimate_text import show_estimate
from autotune.core.json_object import JsonObject
from autotune.core.objective import Limit, Objective
from autotune.core.ranking import Contender
from autotune.core.redact import redacted
from autotune.core.units import counted
from autotune.core.verdict import REMEDY, show_chance
from autotune.core.version import VERSION
from autotune.errors import AutotuneError, NothingFeasible, SpecError, StudyError, UnitError, did_you_mean
from autotune.export.base import Export
from autotune.export.registry import ALL_TRIALS, export_text, find_exporter
from autotune.ledger import Ledger, StudyRow
from autotune.measure.workload import Workload
from autotune.report.text import show_config, wrap
from autotune.spec.stored import StoredSpec
from autotune.study.reading import read_view
from autotune.systems.base import System
from autotune.systems.deployment import Deployment, deployment
from autotune.systems.registry import build_system
from autotune.systems.served.negotiation import as_measured

_WIDTH = 98  # columns of a line of provenance
_PARTS = {"GPU driver": "GPU driver {}", "memory": "{} memory"}


@dataclass(frozen=True)
class Chosen:
    """The configuration to be exported.

    Args:
        contender: Configuration with all that was measured of it.
        view: Study, with the limits that it was chosen under.
        why: Reason why it was chosen, for people.
    """

    contender: Contender
    view: StudyView
    why: str

    @property
    def candidate(self) -> Candidate | None:
        """The same as the decision sees it; ``None`` where a launch of it failed."""
        key = self.contender.trial.key
        return next((c for c in self.view.decision.candidates if c.key == key), None)


def export_study(
    ledger: Ledger,
    row: StudyRow,
    name: str,
    *,
    trial: int | None = None,
    under: Sequence[str] = (),
    image: str = "",
) -> str:
    """Return a configuration of a study as the text of a file.

    Args:
        ledger: Ledger of the study.
        row: Study.
        name: Format, one of :data:`autotune.export.registry.EXPORTERS`, or ``optuna``.
        trial: Number of the trial whose configuration is wanted; the winner without it.
        under: Limits that the configuration has to keep beside those of the study, such as
            ``ttft.p99 <= 300 ms``; one on a metric that the study limits too takes its place.
        image: Container image in place of the official one.

    Raises:
        SpecError: The format is unknown or makes no sense for the system, or a limit cannot be read.
        StudyError: The trial has no measurement.
        NothingFeasible: No configuration keeps the limits.
    """
    if name == ALL_TRIALS:
        return export_trials(ledger, row, trial=trial, under=under, image=image).decode()
    find_exporter(name)  # a misspelt one is told first
    chosen = choose(read_view(ledger, row), trial=trial, under=under)
    return export_text(exported(row, chosen, image), name)


def export_trials(
    ledger: Ledger,
    row: StudyRow,
    *,
    database: bool = False,
    trial: int | None = None,
    under: Sequence[str] = (),
    image: str = "",
) -> bytes:
    """Return all trials of a study as the content of a storage of Optuna, which ``optuna-dashboard`` opens.

    Args:
        ledger: Ledger of the study.
        row: Study.
        database: Whether it is a SQLite database; a journal otherwise.
        trial: Number of a trial, which is refused.
        under: Limits, which are refused.
        image: Container image, which is refused.

    Raises:
        SpecError: A configuration is asked for.
    """
    need(["optuna"])
    from autotune.export.optuna_storage import storage_of  # loads Optuna

    _refuse_choice(trial, under, image)
    return storage_of(read_view(ledger, row), database=database)


def add_trials(
    ledger: Ledger,
    row: StudyRow,
    file: Path,
    *,
    trial: int | None = None,
    under: Sequence[str] = (),
    image: str = "",
) -> None:
    """Add all trials of a study to a storage of Optuna that is there, as one more study.

    Args:
        ledger: Ledger of the study.
        row: Study.
        file: SQLite database or journal; what it has stays as it is.
        trial: Number of a trial, which is refused.
        under: Limits, which are refused.
        image: Container image, which is refused.

    Raises:
        SpecError: A configuration is asked for, the file is no storage of Optuna, or it has a study of that
            name.
    """
    need(["optuna"])
    from autotune.export.optuna_storage import add_to  # loads Optuna

    _refuse_choice(trial, under, image)
    add_to(file, read_view(ledger, row))


def _refuse_choice(trial: int | None, under: Sequence[str], image: str) -> None:
    if trial is not None or under or image:
        raise SpecError(
            "optuna holds all trials of a study: --trial, --under and --image choose a configuration"
        )


def choose(view: StudyView, *, trial: int | None = None, under: Sequence[str] = ()) -> Chosen:
    """Return the configuration of a trial, the best one under limits, or the winner.

    Raises:
        SpecError: Both a trial and limits are given, or a limit cannot be read.
        StudyError: There is no such trial, or it has no measurement.
        NothingFeasible: No configuration keeps the limits.
    """
    if trial is not None and under:
        raise SpecError("a trial and limits cannot both be given: limits choose among the trials")
    if trial is not None:
        found = _contender_of(view, trial)
        winner = view.best if view.settled and view.recommends else None
        won = winner is not None and winner.trial.key == found.trial.key
        return Chosen(found, view, "the winner" if won else f"chosen by its number, {trial}")
    if under:
        view = _limited(view, under)
        best = max(view.decision.holding, key=lambda c: c.score, default=None)
        if best is None:
            if view.decision.awaited:
                raise NothingFeasible(view.decision.unbounded, hint=REMEDY)
            raise NothingFeasible(_nearest(view), hint="a looser limit may be kept")
        return Chosen(best.contender, view, f"the best found under {', '.join(under)}")
    if view.best is None:
        why = f": {view.binding}" if view.binding else ""
        raise NothingFeasible(
            f"study {view.name!r} has no configuration that keeps every limit yet{why}",
            hint="--trial N exports the configuration of any measured trial",
        )
    if not view.settled:
        return Chosen(view.best, view, "the best so far: the study still runs")
    return Chosen(
        view.best, view, "the winner" if view.recommends else "the nearest: none surely keeps the limits"
    )


def _contender_of(view: StudyView, number: int) -> Contender:
    one = next((t for t in view.trials if t.number == number), None)
    if one is None or not one.metrics:
        why = "" if one is None or one.failure is None else f" ({one.failure.cause.value})"
        measured = ", ".join(str(t.number) for t in view.trials if t.metrics) or "none"
        what = "is not there" if one is None else f"has no measurement{why}"
        raise StudyError(f"trial {number} of study {view.name!r} {what}; measured: {measured}")
    return next(c for c in ranking.contenders(view.trials, view.objective) if one in c.trials)


def _limited(view: StudyView, under: Sequence[str]) -> StudyView:
    """Return the study with more limits, those on a metric in place of its own on the same side."""
    wanted = [Limit.parse(text) for text in under]
    sides = {(limit.metric, limit.upper) for limit in wanted}
    own = (*view.objective.limits, *view.objective.awaited)
    kept = [limit for limit in own if (limit.metric, limit.upper) not in sides]
    measured = view.measured_metrics
    for limit in wanted:
        if limit.metric not in measured:
            raise SpecError(
                f"--under {limit.as_written}: no trial measured {limit.metric}; measured: "
                f"{', '.join(sorted(measured)) or 'nothing'}",
                hint=did_you_mean(limit.metric, measured),
            )
    data = {**view.objective.to_dict(), "limits": [limit.to_text() for limit in (*kept, *wanted)]}
    objective = ranking.anchored(view.trials, Objective.from_dict(data), view.space)
    return replace(view, objective=objective, predictions=_of_goals(view))


def _of_goals(view: StudyView) -> Mapping[str, Sequence[tuple[float, float]]] | None:
    """Return what a model expects of the goals: its limits are others now."""
    count = len(view.objective.goals)
    return view.predictions and {key: pairs[:count] for key, pairs in view.predictions.items()}


def _nearest(view: StudyView) -> str:
    limits = ", ".join(str(limit) for limit in view.objective.limits)
    text = f"no configuration keeps {limits} with {100 * view.objective.confidence:g} % confidence"
    near = view.decision.nearest
    if near is None:
        return text
    return f"{text}; nearest: trial {near.contender.trial.number}, chance {show_chance(near.chance)}"


def exported(row: StudyRow, chosen: Chosen, image: str = "") -> Export:
    """Return a configuration with its deployment and its provenance.

    Args:
        row: Study.
        chosen: Configuration of it.
        image: Container image in place of the official one.
    """
    stored = StoredSpec(row.spec)
    named, system, unknown = stored.system, None, ""
    try:
        system = None if named is None else build_system(named.section)
    except AutotuneError as error:  # not installed here: what was measured is told without it
        unknown = error.message
    facts = _facts(chosen.contender)
    found = None if system is None else deployed(system, chosen.contender, chosen.view)
    needs = _needs(stored, system, chosen.contender)
    gpus = (
        round(needs.get("gpus", 0.0)) if facts is None or dict(facts.get("hardware") or {}).get("gpus") else 0
    )
    config = chosen.contender.config
    container = None if found is None else found.container
    note = ""
    if container is not None and not image and container.image is not None:
        version = str(dict((facts or {}).get("system") or {}).get("version") or "")
        image, exact = container.image.reference(version, gpu=gpus > 0)
        if image and not exact:
            measured = f"the measured version, {version}" if version else "the version that was measured"
            note = f"check the tag of the image: it is not known to be of {measured}"
    ranks = config.get("tensor_parallel", config.get("tensor_parallel_size", 1))
    said = header(row, chosen, found)
    said += [f"its command is not known here: {unknown}"] if unknown else []
    return Export(
        study=row.name,
        use="" if named is None else named.use,
        config={name: value for name, value in config.items() if name not in chosen.view.space.derived},
        header=tuple(line for text in said for line in wrap(text, _WIDTH)),
        unknown=unknown,
        deployment=found,
        built=system,
        image=image,
        image_note=note,
        gpus=gpus,
        cpus=needs.get("cpus", 1.0),
        ranks=max(gpus, int(str(ranks)) if str(ranks).isdigit() else 1),
        startup_s=_startup_s(stored),
    )


def deployed(system: System, contender: Contender, view: StudyView) -> Deployment:
    """Return what deploys a configuration as it was measured, secrets masked.

    Args:
        system: System of the study.
        contender: Configuration of a trial.
        view: Study.
    """
    found = deployment(system, contender.config, view.space.derived)
    facts = (_facts(contender) or {}).get("system") or {}
    endpoint = None if found.endpoint is None else as_measured(found.endpoint, facts)
    env = {**inherited(), **found.env} if found.argv else {}
    own: dict[str, Any] = {"argv": list(found.argv), "env": env}
    inside = found.container
    if inside is not None:
        own |= {"words": list(inside.words), "inside": dict(inside.env)}
    shown = redacted(own)
    notes = found.notes
    if shown != own:
        notes = (*notes, "secrets are not shown: put them in the place of [redacted]")
    if inside is not None:
        inside = replace(inside, words=tuple(shown["words"]), env=shown["inside"])
    return replace(
        found, argv=tuple(shown["argv"]), env=shown["env"], endpoint=endpoint, notes=notes, container=inside
    )


def header(row: StudyRow, chosen: Chosen, found: Deployment | None) -> list[str]:
    """Return the provenance of a configuration, a line each: what was measured, how sure, on what."""
    one, view = chosen.contender, chosen.view
    lines = [f"autotune {VERSION}: trial {one.trial.number} of study {row.name}, {chosen.why}"]
    lines += [show_config(one.config), _confirmed(chosen), *_metric_lines(chosen)]
    if view.settled and view.best is not None and one.trial.key == view.best.trial.key:
        lines.append(f"verdict: {view.verdict.text}")
    system = dict((_facts(one) or {}).get("system") or {})
    stored = StoredSpec(row.spec)
    use = (stored.system and stored.system.use) or "the caller's own program"
    versions = versions_of(system)
    known = [f"{use} {versions.pop(use)}" if use in versions else use]
    known += [f"{name} {text}" for name, text in versions.items()]
    lines.append(
        f"measured with {', '.join(known)}{'' if versions or ' ' in known[0] else ' of unknown version'}"
    )
    hardware = hardware_of((_facts(one) or {}).get("hardware") or {})
    parts = [_PARTS.get(name, "{}").format(text) for name, text in hardware.items()]
    lines.append(f"measured on {', '.join(parts) or 'a machine that is not known'}")
    if stored.stated_load:
        lines.append(f"workload: {', '.join(f'{k} {_short(v)}' for k, v in _load(stored).items())}")
    if found is not None and found.request:
        lines.append(f"every request carries: {json.dumps(found.request)}")
    if found is not None:
        for name, text in found.files.items():
            lines += [f"in {name}:", *text.splitlines()]
        lines += found.notes
    return lines


def _confirmed(chosen: Chosen) -> str:
    one, confirm = chosen.contender, chosen.view.confirm
    candidate = chosen.candidate
    if one.failures:
        return f"NOT RELIABLE: {_launches(one.failures)} of it failed"
    if candidate is not None and one.confirmed and chosen.view.decision.confirmed(candidate):
        return f"confirmed: {_launches(one.launches, 'fresh ')}"
    is_default = one.trial.key == chosen.view.decision.default_key
    if is_default and one.launches > 1:
        return f"the default configuration, measured in {one.launches} launches"
    fresh = one.launches if one.confirmed else 0
    said = f"{fresh} of {confirm}" if confirm else "no"
    return f"NOT CONFIRMED: {said} fresh launches, {counted(len(one.trials), 'measurement')} in all"


def _launches(count: int, kind: str = "") -> str:
    return counted(count, f"{kind}launch")


def _metric_lines(chosen: Chosen) -> list[str]:
    view, one = chosen.view, chosen.contender
    default = view.default
    if default is not None and default.trial.key == one.trial.key:
        default = None
    candidate, lines = chosen.candidate, []
    for name in view.stated.metrics:
        limits = [limit for limit in view.stated.limits if limit.metric == name]
        if name not in one.metrics and not limits:
            continue
        found = _measured(view, one, name) or "not measured"
        if default is not None and (usual := _measured(view, default, name)):
            found += f" (default {usual})"
        for limit in limits:
            chance = None if candidate is None else candidate.chances.get(str(limit))
            text = f"{limit}: {found}"
            text += "" if chance is None else f", chance that it holds {show_chance(chance)}"
            if limit.relative:
                text += f", NOT JUDGED: the default configuration {view.decision.default_lacks}"
            lines.append(text + ("; BROKEN" if str(limit) in one.outcome.violations else ""))
        if not limits:
            lines.append(f"{name}: {found}")
    return (
        [*lines, "± is the half-width of the 95 % interval"] if any("±" in text for text in lines) else lines
    )


def _measured(view: StudyView, side: Contender, name: str) -> str:
    """Return what a configuration measured, in the unit of the limits on it; empty where it did not."""
    if name not in side.metrics:
        return ""
    found = side.metrics[name]
    with suppress(UnitError):  # what cannot be compared is shown as it was measured
        found = view.objective.in_units({name: found})[name]
    return show_estimate(found, view.half_width(side, name), view.shown_unit(name))


def _facts(contender: Contender) -> JsonObject | None:
    """Return the facts of the last launch that counts."""
    found = contender.counted[-1].measurement
    return None if found is None or not found.facts else found.facts


def _needs(stored: StoredSpec, system: System | None, contender: Contender) -> dict[str, float]:
    """Return what a configuration occupies, as the study's file or else its system says."""
    if system is None:
        return {}
    found = dict(system.resources(contender.config))
    with suppress(SpecError):  # of another version
        found |= stored.resources.needed(contender.config)
    return found


def _startup_s(stored: StoredSpec) -> float:
    try:
        return stored.deadlines.startup_s
    except SpecError:  # of another version
        return Deadlines.startup_s


def _load(stored: StoredSpec) -> dict[str, object]:
    """Return the load and what of its section is not as usual."""
    usual = Workload().to_dict()
    said = stored.stated_load
    named = ("arrival", "rate", "concurrency", "prompt_tokens", "output_tokens")
    return {key: value for key, value in said.items() if key in named or value != usual.get(key)}


def _short(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


__all__ = ["Chosen", "choose", "deployed", "export_study", "exported", "header"]

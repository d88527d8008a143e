"""Commands that only look: status, best, list, version."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from autotune import __version__
from autotune.cli.options import json_option, ledger_option, more_of, next_command, next_step
from autotune.cli.output import echo, echo_json
from autotune.cli.reading import open_ledger
from autotune.cli.remote import reachable
from autotune.core.cells import cell_len, padded
from autotune.errors import NothingFeasible, StudyError

if TYPE_CHECKING:
    from autotune.core.registry import Registry


@click.command()
@click.argument("study", required=False)
@click.option(
    "--follow", is_flag=True, help="Show it as it goes on, until it ends; Ctrl-C ends the view alone."
)
@ledger_option
@json_option
@reachable
def status(study: str | None, follow: bool, store: Path, as_json: bool) -> int:
    """Show the trials of STUDY.

    Without a name, the only study of the store, or a list of them.
    """
    from autotune.report.summary import model_lines, summary, summary_json
    from autotune.report.text import terminal_width
    from autotune.study.reading import as_it_stands, model_account, options_of, read_view
    from autotune.study.share_note import SHARE, share_text
    from autotune.study.study import find_study
    from autotune.tracking.items import VERIFIES

    with open_ledger(store) as ledger:
        rows = ledger.studies()
        if study is None and not follow and sum(VERIFIES not in row.notes for row in rows) != 1:
            _list_studies(store, as_json)
            return 0
        row = find_study(ledger, study)
        view = None if follow else read_view(ledger, row)
        shared = share_text(as_it_stands(ledger, row))
    if view is None:
        from autotune.cli.follow import follow as follow_study
        from autotune.cli.study import choose_view

        return follow_study(row.name, store, choose_view(as_json=as_json, quiet=False))
    if not as_json:
        echo(summary(view, width=terminal_width()))  # at once: a model takes seconds to load
        for line in filter(None, (row.owner and f"owner: {row.owner}", shared)):
            echo(line)
    assessment, quality = model_account(row, view)
    if not as_json:
        for line in [
            *model_lines(assessment, quality, view.facts.missing, width=terminal_width()),
            next_step(view, store, options_of(row)),
        ]:
            echo(line)
        return 0
    model = None if quality is None else {name: found.to_dict() for name, found in quality.items()}
    left = None if assessment is None else assessment.to_dict()
    more = {"owner": row.owner} if row.owner else {}
    more |= {"share": row.notes[SHARE]} if shared else {}
    echo_json({**summary_json(view), "assessment": left, "model": model, **more})
    return 0


@click.command()
@click.argument("study", required=False)
@ledger_option
@json_option
@reachable
def best(study: str | None, store: Path, as_json: bool) -> None:
    """Show the best configuration of STUDY.

    With its metrics beside those of the default, and the command that deploys it.
    """
    from autotune.report.text import terminal_width
    from autotune.study.reading import options_of
    from autotune.study.result import read_result
    from autotune.study.study import find_study

    with open_ledger(store) as ledger:
        row = find_study(ledger, study)
        result = read_result(ledger, row)
    if result.winner is None:
        view = result.view
        why = f": {view.binding}" if view.binding else ""
        more = more_of(view, store, options_of(row))
        raise NothingFeasible(
            f"study {row.name!r} has no configuration that keeps every limit yet{why}",
            hint=f"`{next_command('status', row.name, store=store)}` shows the trials; {more}",
        )
    if as_json:
        echo_json(result.to_dict())
        return
    echo(result.text(terminal_width()))
    if result.view.state == "interrupted":
        echo(next_step(result.view, store, options_of(row)))


KINDS = (
    "spaces", "objectives", "systems", "engines", "studies", "metrics", "mirrors", "exporters", "converters",
    "plugins",
)  # fmt: skip


@click.command("list")
@click.argument("kind", required=False, type=click.Choice(KINDS))
@ledger_option
@json_option
@reachable
def list_(kind: str | None, store: Path, as_json: bool) -> None:
    """List what there is to choose from.

    Search spaces, objectives, systems, engines, metrics, mirrors, formats, the studies of the store, and the
    plug-ins, none of which is imported: `autotune doctor` says whether they work.
    """
    found = {name: entries_of(name, store) for name in ((kind,) if kind else KINDS)}
    show_entries(found, alone=kind is not None, as_json=as_json)


def show_entries(found: Mapping[str, Mapping[str, str]], *, alone: bool, as_json: bool) -> None:
    """Show names of each kind with a line about each.

    Args:
        found: Names with their lines, by kind.
        alone: Whether one kind was asked for, which needs no heading.
        as_json: Whether to write JSON.
    """
    from autotune.report.text import terminal_width, wrap

    if as_json:
        echo_json(found)
        return
    margin = "" if alone else "  "
    for name, entries in found.items():
        if not alone:
            echo(f"{name}:")
        room = terminal_width() - len(margin)
        size = max((cell_len(key) for key in entries if cell_len(key) <= room // 2), default=0)
        for key, text in entries.items():
            lines = wrap(text, room - size - 2, indent="")
            if cell_len(key) > size:  # a name that takes half of the line has one of its own
                lines = ["", *lines]
            for i, line in enumerate(lines):
                echo(f"{margin}{padded(key if i == 0 else '', size)}  {line}".rstrip())
        if not entries:
            echo(f"{margin}none")


def entries_of(kind: str, store: Path) -> dict[str, str]:
    """Return names and a line about each."""
    from autotune.cli.plugins import registries, registry_of

    if kind == "plugins":
        return {
            f"{one.kind} {one.name}": one.unused or f"{one.package}: {one.target}"
            for registry in registries()
            for one in registry.plugins()
        }
    registry = registry_of(kind)
    if registry is not None:
        own = _metrics() if kind == "metrics" else _described(registry)
        theirs = [one for one in registry.plugins() if one.name not in registry.builtin]
        return own | {
            one.name: one.unused or f"plug-in {one.package}: {one.summary or one.target}" for one in theirs
        }
    if kind == "studies":
        return studies_of(store)
    from autotune.spec.catalogue import entries

    return entries("search_spaces" if kind == "spaces" else kind)


def _described(registry: Registry) -> dict[str, str]:
    """Return the names of a registry that are this package's own, with the first line of each docstring."""
    result = {}
    for name in registry.builtin:
        if name in registry.about:
            result[name] = registry.about[name]
            continue
        loaded = registry.load(name)
        text = (inspect.getdoc(loaded) or "").splitlines()[0].rstrip(".")
        plan_only = not getattr(loaded, "measured", True)
        result[name] = f"{text}: checked and planned, not measured yet" if plan_only else text
    return result


def _metrics() -> dict[str, str]:
    from autotune.core.metric import METRICS

    result = {}
    for name, info in METRICS.items():
        shown = f"{name}.{{{','.join(info.statistics)}}}" if info.statistics else name
        unit = "" if info.unit == "1" else f" [{info.unit}]"
        result[shown] = f"{info.direction}: {info.description}{unit}"
    return result


def studies_of(store: Path) -> dict[str, str]:
    """Return the studies of a store with a line about each."""
    from autotune.core.units import counted
    from autotune.study.reading import as_it_stands

    try:
        ledger = open_ledger(store)
    except StudyError:  # a store that is not there yet has no studies
        return {}
    with ledger:
        found = [as_it_stands(ledger, row) for row in ledger.studies()]
        rows = [(row, counted(len(ledger.trials(row.name)), "trial")) for row in found]
        return {
            row.name: f"{row.state.lower()}, {trials}, engine {row.engine}"
            + (f", owner {row.owner}" if row.owner else "")
            for row, trials in rows
        }


def _list_studies(store: Path, as_json: bool) -> None:
    show_studies(studies_of(store), "no studies yet; `autotune run FILE` creates one", as_json=as_json)


def show_studies(studies: Mapping[str, str], none: str, *, as_json: bool) -> None:
    """Show studies with a line about each, or that there are none."""
    if studies or as_json:
        show_entries({"studies": studies}, alone=True, as_json=as_json)
    else:
        echo(none)


@click.command()
@json_option
def version(as_json: bool) -> None:
    """Print the version."""
    if as_json:
        echo_json({"version": __version__})
    else:
        echo(f"autotune {__version__}")

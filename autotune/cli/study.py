"""Commands that measure: run and resume."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autotune.cli.init import model_options, study_of_model
from autotune.cli.options import (
    F,
    json_option,
    next_command,
    next_step,
    pass_env_option,
    passed_variables,
    run_options,
    set_option,
    show_trusted,
    store_option,
    study_options,
)
from autotune.cli.output import all_is_said
from autotune.cli.reading import open_ledger
from autotune.core.redact import redact
from autotune.errors import Interrupted, NothingFeasible

if TYPE_CHECKING:
    from autotune.report.view import View
    from autotune.study.run import RunSummary
    from autotune.study.study_file import StudyFile


def _run_options(command: F) -> F:
    local = click.option("--local", is_flag=True, help="Run trials in child processes instead of on Ray.")
    return local(run_options(pass_env_option)(command))


class _FileOrModel(click.Path):
    """Path of a study file, or a model's name as it is."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path of a study file, or the name of a model."""
        word = str(value)
        is_study = word.endswith((".yaml", ".yml")) and Path(word).is_file()
        if not is_study and not (ctx is not None and ctx.resilient_parsing):  # a shell asks for completions
            from autotune.init.find_model import looks_like_model

            if looks_like_model(word):
                return word
        return super().convert(value, param, ctx)


@click.command()
@click.argument("file", metavar="FILE|MODEL", type=_FileOrModel(exists=True, dir_okay=False, path_type=Path))
@set_option
@model_options
@study_options
@_run_options
@click.option("--owner", default="", hidden=True, help="Whose study it is, for `autotune submit`.")
@store_option
@json_option
def run(
    file: Path | str,
    overrides: tuple[str, ...],
    new: bool,
    widen: bool,
    local: bool,
    trials: int | None,
    parallel: str | None,
    confirm: int | None,
    no_mlflow: bool,
    notify: tuple[str, ...],
    trust_space: bool,
    quiet: bool,
    owner: str,
    store: Path,
    as_json: bool,
    **about_model: Any,
) -> int:
    """Tune what FILE describes, or a MODEL.

    Creates the study of that name, or goes on with it. Ctrl-C stops and keeps everything measured;
    the same command goes on. A MODEL (a folder, a GGUF file, a name on the Hugging Face hub) gets a study
    file first, as `autotune init` writes it: --system, --workload, --goal, --limit, --budget, --draft-model
    and --program are for that.
    """
    from autotune.study.study_file import read_study

    if isinstance(file, str):
        file = study_of_model(file, about_model)
    elif given := [name for name, value in about_model.items() if value]:
        option = "--" + given[0].replace("limits", "limit").replace("_", "-")
        raise click.UsageError(f"{option} is for a model, and {file} is a study file: edit it, or use --set")
    spec = read_study(
        file, (*overrides, *budget_overrides(trials, parallel, confirm)), trust_space=trust_space
    )
    return _execute(
        spec, store, local, not no_mlflow, quiet, as_json, new=new, widen=widen, notify=notify, owner=owner,
        file=file, overrides=overrides,
    )  # fmt: skip


@click.command()
@click.argument("study", required=False)
@set_option
@click.option(
    "--confirm-trial",
    "named",
    type=click.IntRange(0),
    multiple=True,
    help="Launch this trial's configuration again beside the default, as a winner is. Repeatable.",
)
@_run_options
@store_option
@json_option
def resume(
    study: str | None,
    overrides: tuple[str, ...],
    named: tuple[int, ...],
    local: bool,
    trials: int | None,
    parallel: str | None,
    confirm: int | None,
    no_mlflow: bool,
    notify: tuple[str, ...],
    trust_space: bool,
    quiet: bool,
    store: Path,
    as_json: bool,
) -> int:
    """Go on with STUDY, without its file.

    What --trust-space allowed when the study began is said again, and not asked.
    """
    from autotune.study.stored_spec import read_stored_spec
    from autotune.study.study import find_study
    from autotune.study.study_file import read_stored_study

    with open_ledger(store) as ledger:
        row = find_study(ledger, study)
    stored = read_stored_spec(ledger.path, row)
    data = stored.with_parts({"space": stored.space_section, "name": row.name})
    spec = read_stored_study(data, (*overrides, *budget_overrides(trials, parallel, confirm)))
    return _execute(
        spec, store, local, not no_mlflow, quiet, as_json, named=named, notify=notify, overrides=overrides
    )


def budget_overrides(trials: int | None, parallel: str | None, confirm: int | None) -> list[str]:
    """Return ``--set`` texts for options of the budget."""
    pairs = (("trials", trials), ("parallel", parallel), ("confirm", confirm))
    return [f"budget.{key}={value}" for key, value in pairs if value is not None]


def choose_view(*, as_json: bool, quiet: bool) -> View:
    """Return the live view for a terminal, plain lines for a pipe, or what the options ask for."""
    from autotune.report.live import LiveView, is_terminal
    from autotune.report.plain import JsonView, PlainView, QuietView

    if as_json:
        return JsonView()
    if quiet:
        return QuietView()
    return LiveView() if is_terminal(sys.stdout) else PlainView()


def _execute(
    spec: StudyFile,
    store: Path,
    local: bool,
    tracking: bool,
    quiet: bool,
    as_json: bool,
    *,
    new: bool = False,
    widen: bool = False,
    named: tuple[int, ...] = (),
    notify: tuple[str, ...] = (),
    owner: str = "",
    file: Path | None = None,
    overrides: Sequence[str] = (),
) -> int:
    from autotune.spec.hooks import Hook
    from autotune.study.plan import opening_line
    from autotune.study.readiness import refuse_unplaceable

    once = tuple(Hook.from_dict(word).located(Path()) for word in notify)
    spec = replace(spec, hooks=replace(spec.hooks, once=once))

    refuse_unplaceable(spec, local=local, overrides=overrides)
    show_trusted(spec)
    view = choose_view(as_json=as_json, quiet=quiet)
    view.message(opening_line(spec, store))  # before what takes seconds to load
    options = [*(["--local"] if local else []), *([] if tracking else ["--no-mlflow"]), *passed_variables()]
    with ExitStack() as stack:
        stack.callback(view.close)
        from autotune.study.run import run_study, stop_signals

        stop = stack.enter_context(stop_signals())  # until all is said
        done = run_study(
            spec, store=store, view=view, new=new, widen=widen, local=local, tracking=tracking, named=named,
            options=options, stop=stop, owner=owner, file=file,
        )  # fmt: skip
        repeated = [word for number in named for word in ("--confirm-trial", str(number))]
        view.finish(done.view, closing_text(done, store, [*repeated, *options]))
        view.close()
        if done.state == "interrupted":
            return all_is_said(Interrupted.exit_code)
        return all_is_said(0 if done.view.best is not None else NothingFeasible.exit_code)


def report_line(done: RunSummary, store: Path) -> str:
    """Return where the report of a run is, or what makes it."""
    command = next_command("report", done.view.name, store=store)
    return f"report: {done.report or f'not made; `{command}` makes it'}"


def closing_text(done: RunSummary, store: Path, going_on: Sequence[str] = ()) -> str:
    """Return what a person reads at the end of a run: the summary and what to do next.

    Args:
        done: End of the run.
        store: Folder of the ledger.
        going_on: Options of this run beside budget and ``--set``, which the study keeps.
    """
    from autotune.report.summary import summary
    from autotune.report.text import terminal_width

    name = done.view.name
    lines = ["", summary(done.view, width=terminal_width()), f"ledger: {done.view.ledger}"]
    lines.append(report_line(done, store))
    if done.view.tracking:
        lines.append(f"mlflow: {done.view.tracking} (`{next_command('ui', name, store=store)}`)")
    if done.mirror_pending or done.mirror_errors:
        command = next_command("sync", name, store=store)
        why = f" ({redact('; '.join(done.mirror_errors))})" if done.mirror_errors else ""
        count = done.mirror_pending or "some"
        lines.append(f"{count} items are not in MLflow yet{why}; `{command}` completes them")
    return "\n".join([*lines, next_step(replace(done.view, state=done.state), store, going_on)])

"""Options that several commands share."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from autotune.cli.output import echo
from autotune.core.commands import ADDRESS, command_elsewhere, study_command
from autotune.core.file_names import LEDGER_NAME, USUAL_STORE
from autotune.core.own_files import kind_of
from autotune.core.trial import TrialState
from autotune.errors import SpecError

if TYPE_CHECKING:
    from autotune.analysis.study_view import StudyView
    from autotune.study.study_file import StudyFile


F = TypeVar("F", bound=Callable[..., object])


def store_option(command: F) -> F:
    """Add ``--store`` to a command that writes: the folder of a store."""
    return _store(command, "Folder of the ledger and of what the trials leave.", _folder)


def ledger_option(command: F) -> F:
    """Add ``--store`` to a command that reads: the folder of a store, or a ledger."""
    return _store(command, "Folder of the ledger, or the file of one.", None)


def _folder(_context: click.Context, _option: click.Parameter, store: Path) -> Path:
    """Return the folder of a store.

    Raises:
        SpecError: Something else has its name.
    """
    kind = "a file" if store.is_file() else kind_of(store, follow=True)
    if kind in ("", "a folder"):
        return store
    hint = "status, best, report, export, compare and salvage read the ledger of such a name too"
    if store.name == LEDGER_NAME:
        hint = f"`--store {shlex.quote(str(store.parent))}` is the folder of this ledger"
    raise SpecError(f"--store wants the folder of a store, found {kind}: {store}", hint=hint)


def _store(command: F, text: str, check: Callable[..., Path] | None) -> F:
    return click.option(
        "--store",
        type=click.Path(path_type=Path),
        callback=check,
        default=Path(USUAL_STORE),
        envvar="AUTOTUNE_STORE",
        show_default=True,
        show_envvar=True,
        help=text,
    )(command)


def json_option(command: F) -> F:
    """Add ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print data instead of text.")(command)


def set_option(command: F) -> F:
    """Add ``--set KEY=VALUE``."""
    return click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="KEY=VALUE",
        help="Set a key of the file, such as workload.rate=8; may be repeated.",
    )(command)


def _pass_env(_context: click.Context, _option: click.Parameter, names: tuple[str, ...]) -> None:
    """Name variables to all processes below this one."""
    from autotune.core.redact import PASS_ENV, names_passed

    for name in names:
        if name not in os.environ:
            raise click.BadParameter(f"{name} is not set")
    if names:
        os.environ[PASS_ENV] = ",".join(dict.fromkeys([*names_passed(os.environ), *names]))


VARIABLES_HELP = "Give servers this variable of the environment, such as a key; may be repeated."


def pass_env_option(command: F) -> F:
    """Add ``--pass-env NAME``."""
    return click.option(
        "--pass-env",
        "pass_env",
        multiple=True,
        metavar="NAME",
        expose_value=False,
        callback=_pass_env,
        help=VARIABLES_HELP,
    )(command)


def next_command(command: str, study: str | None, *options: str, store: Path) -> str:
    """Return a command for a person to paste, with the store where it is not the usual one.

    Args:
        command: Name of the command.
        study: Study, or the file that the command takes; ``None`` for the only one.
        options: Options of the command.
        store: Store of the command that prints it.
    """
    if address := os.environ.get(ADDRESS):
        return command_elsewhere(command, study, options, address)
    where = () if str(store) == USUAL_STORE else ("--store", str(store))
    return study_command(command, study, *options, *where)


def next_step(view: StudyView, store: Path, options: Sequence[str] = ()) -> str:
    """Return the line that says what to type next, and what it does.

    Args:
        view: The study, as it stands.
        store: Store of the command that prints it.
        options: Options that the study was started with, beside those that it keeps itself.
    """
    from autotune.report.text import copyable, terminal_width

    return "\n".join(copyable(f"next: {_next(view, store, options)}", terminal_width()))


def _next(view: StudyView, store: Path, options: Sequence[str]) -> str:
    from autotune.report.summary import more_time

    name = view.name
    if view.state == "interrupted" and not view.resumable:
        return f"in Python, `path={view.ledger!r}` goes on with {name!r}"
    if view.state == "interrupted":
        return f"`{next_command('resume', name, *options, store=store)}` goes on where it stopped"
    if not view.settled:
        return f"`{next_command('status', name, '--follow', store=store)}` shows it as it goes on"
    if view.best is not None:
        what = "command that deploys it" if view.resumable else "best configuration"
        shown = f"`{next_command('best', name, store=store)}` shows the {what}"
        more = more_time(view) if view.resumable else ()
        if not more:
            return shown
        waits = any(not trial.state.finished for trial in view.trials)
        command = next_command("resume", name, *more, *options, store=store)
        return f"{shown}; `{command}` goes on as long{', first with what waits' if waits else ''}"
    return more_of(view, store, options)


def more_of(view: StudyView, store: Path, options: Sequence[str] = ()) -> str:
    """Return what may find a configuration where a search has found none."""
    from autotune.report.summary import more_time

    measured = any(t.state is TrialState.COMPLETED for t in view.trials)
    if measured and view.objective.awaited and not view.decision.default_pending:
        from autotune.core.verdict import REMEDY

        return REMEDY
    looser = "a looser limit, or " if measured and view.objective.limits else ""
    if view.state == "exhausted":
        wider = "a wider space with `autotune run FILE --widen`" if view.resumable else "a wider space"
        return f"{looser}{wider}: none is left to try"
    failed = any(t.failure is not None for t in view.trials)
    first = "mend what the failures name; then " if failed and not measured else ""
    too = "; a looser limit may find one too" if looser else ""
    if not view.resumable or view.budget_trials is None:
        return f"{first}more trials search on{too}"
    more = more_time(view) or ("--trials", str(2 * view.budget_trials))
    command = next_command("resume", view.name, *more, *options, store=store)
    return f"{first}`{command}` searches twice as long{too}"


def passed_variables() -> list[str]:
    """Return ``--pass-env`` with each variable that servers are given, for a command that goes on."""
    from autotune.core.redact import names_passed

    return [word for name in sorted(names_passed(os.environ)) for word in ("--pass-env", name)]


def trust_option(command: F) -> F:
    """Add ``--trust-space``."""
    return click.option(
        "--trust-space",
        is_flag=True,
        help="Take the search space's word for models, paths, hosts and code, and say what that is.",
    )(command)


def study_options(command: F) -> F:
    """Add what says which study a file starts or goes on with: ``--new`` and ``--widen``."""
    new = click.option("--new", is_flag=True, help="Start another study beside one of the same name.")
    widen = click.option(
        "--widen", is_flag=True, help="Go on though the space changed, if all measurements still count."
    )
    return new(widen(command))


def run_options(pass_env: Callable[[F], F]) -> Callable[[F], F]:
    """Return a decorator that adds what a run takes wherever it runs.

    Args:
        pass_env: Decorator that adds ``--pass-env``.
    """
    options: tuple[Callable[[F], F], ...] = (
        click.option("--trials", type=click.IntRange(1), help="Trials in all (budget.trials)."),
        click.option("--parallel", help="Trials at once, or auto (budget.parallel)."),
        click.option(
            "--confirm", type=click.IntRange(0), help="Launches of winner and default (budget.confirm)."
        ),
        click.option("--no-mlflow", is_flag=True, help="Do not mirror the study to MLflow."),
        click.option("--notify", multiple=True, metavar="URL", help="Tell URL of the end. Repeatable."),
        pass_env,
        trust_option,
        click.option("-q", "--quiet", is_flag=True, help="Show the result only."),
    )

    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def show_trusted(spec: StudyFile) -> None:
    """Print what the owner took a search space's word for, to standard error, a line each."""
    for line in spec.trusted:
        echo(f"trusted: {line}", sys.stderr)


def read_pairs(pairs: tuple[str, ...], option: str) -> dict[str, str]:
    """Return ``("a=1", "b=2")`` as a mapping of text.

    Raises:
        SpecError: One has no ``=``, or a name occurs twice.
    """
    result: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        name = name.strip()
        if not equals or not name:
            raise SpecError(f"{option} wants NAME=VALUE, found {pair!r}")
        if name in result:
            raise SpecError(f"duplicate {option} {name}: {result[name]!r} and {value!r}")
        result[name] = value.strip()
    return result

"""Commands that compare: verify measures again, compare sets studies side by side."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from autotune.cli.options import (
    json_option,
    ledger_option,
    next_command,
    pass_env_option,
    passed_variables,
    set_option,
    store_option,
)
from autotune.cli.output import all_is_said, echo, echo_json
from autotune.cli.reading import open_ledger
from autotune.cli.written import check_output, write_output
from autotune.errors import AutotuneError, EnvironmentProblem, Interrupted

if TYPE_CHECKING:
    from autotune.analysis.verification import Verification

WORSE = 1
"""Exit code where something got worse."""

_PERCENT = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*%?")


def _share(_context: click.Context, _option: click.Parameter, text: str) -> float:
    """Read ``5%``, ``5 %`` or ``0``; of another number without ``%`` nobody knows whether 1 is all of it."""
    match = _PERCENT.fullmatch(text.strip())
    share = float(match[1]) / 100 if match else None
    if share and not text.strip().endswith("%"):
        raise click.BadParameter(f"the % is missing in {text!r}: a share is written such as 5%")
    if share is None or share >= 1:
        raise click.BadParameter(f"{text!r} is no share from 0 % to below 100 %, such as 5%")
    return share


@click.command()
@click.argument("study", required=False)
@click.option(
    "--tolerance", callback=_share, default="5%", show_default=True, help="What may become worse unnoticed."
)
@click.option(
    "--launches", type=click.IntRange(1), default=3, show_default=True, help="Fresh launches of each side."
)
@click.option("--new", is_flag=True, help="Begin anew though a verification was stopped half way.")
@set_option
@click.option("--local", is_flag=True, help="Run launches in child processes instead of on Ray.")
@click.option("--ci", is_flag=True, help="Print annotations of GitHub Actions besides.")
@click.option("--junit", type=click.Path(dir_okay=False, path_type=Path), help="JUnit XML file to write.")
@pass_env_option
@click.option("-q", "--quiet", is_flag=True, help="Show the result only.")
@store_option
@json_option
def verify(
    study: str | None,
    tolerance: float,
    launches: int,
    new: bool,
    overrides: tuple[str, ...],
    local: bool,
    ci: bool,
    junit: Path | None,
    quiet: bool,
    store: Path,
    as_json: bool,
) -> int:
    """Measure winner and default of STUDY again, and say whether something got worse.

    After a new version of the server, a new driver, or every night. What is measured is kept in the ledger
    and changes nothing of the study. Ends with 1 where a launch fails, a limit is broken, or a goal or the
    metric of a limit is worse beyond noise and --tolerance.
    """
    from autotune.cli.study import choose_view
    from autotune.report import verification
    from autotune.study.run import stop_signals
    from autotune.study.verify import verify as measure

    if junit is not None:
        check_output(junit, "--junit")
    open_ledger(store).close()
    title = verification.title_of(store, study or "")
    view = choose_view(as_json=False, quiet=quiet or as_json)
    with ExitStack() as stack:
        stop = stack.enter_context(stop_signals())  # until all is said
        try:
            found = measure(
                store, study, view=view, launches=launches, tolerance=tolerance, local=local, new=new,
                overrides=overrides, stop=stop,
            )  # fmt: skip
        except AutotuneError as error:
            if junit is not None:
                write_output(junit, verification.junit_error(title, str(error)), "--junit")
            if ci:
                echo(verification.annotation("error", title, str(error)))
            raise
        finally:
            view.close()
        if as_json:
            echo_json(verification.verification_json(found))
        else:
            _show(found, store, local, overrides)
        if ci and not as_json:
            echo("\n".join(verification.annotation_lines(found)))
        if ci:
            title = verification.title_of(found.ledger, found.study)
            _summarize(title, verification.verification_lines(found))
        if junit is not None:
            write_output(junit, verification.junit(found), "--junit")
        if found.state == "interrupted":
            return all_is_said(Interrupted.exit_code)
        return all_is_said(WORSE if found.worse else 0)


def _show(found: Verification, store: Path, local: bool, overrides: Sequence[str]) -> None:
    from autotune.report.text import terminal_width
    from autotune.report.verification import verification_lines

    echo("\n".join(verification_lines(found, width=terminal_width())))
    echo(f"ledger: {found.ledger}")
    if found.state == "interrupted":
        settings = [word for override in overrides for word in ("--set", override)]
        words = [*(["--local"] if local else []), *settings, *passed_variables()]
        echo(f"stopped; `{next_command('verify', found.study, *words, store=store)}` goes on")


def _summarize(title: str, lines: Sequence[str]) -> None:
    """Add lines to the summary of a job of GitHub Actions, where it names a file for one."""
    from autotune.report.verification import step_summary

    if path := os.environ.get("GITHUB_STEP_SUMMARY"):
        try:
            with Path(path).open("a", encoding="utf-8") as file:
                file.write(step_summary(title, lines))
        except OSError as error:
            raise EnvironmentProblem(f"GITHUB_STEP_SUMMARY: {path}: {error.strerror}") from None


@click.command()
@click.argument("studies", nargs=-1, required=True, metavar="A B [C]...")
@click.option(
    "--ci", is_flag=True,
    help="Print annotations of GitHub Actions besides, and end with 1 where a study is worse than A.",
)  # fmt: skip
@click.option(
    "--tolerance", callback=_share, default="5%", show_default=True,
    help="What may be worse than in A unnoticed; of --ci.",
)  # fmt: skip
@ledger_option
@json_option
def compare(studies: tuple[str, ...], ci: bool, tolerance: float, store: Path, as_json: bool) -> int:
    """Show studies side by side.

    STUDY names one of the store, PATH:STUDY one of another store. The best of each is judged by the objective
    and the limits of the first.
    """
    from autotune.report.comparison import comparison_json, comparison_lines, regressions
    from autotune.report.text import terminal_width
    from autotune.report.verification import annotation
    from autotune.study.comparing import compare_studies

    if len(studies) < 2:
        raise click.UsageError("two studies at least, found one")
    found = compare_studies(studies, store)
    if as_json:
        echo_json(comparison_json(found))
    else:
        echo("\n".join(comparison_lines(found, width=terminal_width())))
    if not ci:
        return 0
    labels = [one.label for one in found.studies]
    worse, title = regressions(found, tolerance), f"autotune compare {' '.join(labels)}"
    if not as_json:
        said = worse or [("notice", f"no study is worse than {labels[0]} by more than {100 * tolerance:g} %")]
        echo("\n".join(annotation(level, title, text) for level, text in said))
    _summarize(title, comparison_lines(found))
    return WORSE if any(level == "error" for level, _ in worse) else 0

"""The command that measures a grid: sweep."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import click

from autotune.cli.options import (
    json_option,
    next_command,
    pass_env_option,
    passed_variables,
    set_option,
    show_trusted,
    store_option,
    trust_option,
)
from autotune.cli.output import all_is_said
from autotune.cli.written import check_output
from autotune.core.input_file import resolved
from autotune.errors import Interrupted


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@set_option
@click.option("--sample", type=click.IntRange(1), help="Measure that many configurations, not all.")
@click.option(
    "--replicates", type=click.IntRange(1), default=1, show_default=True, help="Measurements of each."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of sample and order.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Table to write; NAME.csv.gz by default."
)
@click.option("--resume", is_flag=True, help="Go on with a sweep that was stopped.")
@click.option("--ray", is_flag=True, help="Measure on Ray instead of in child processes.")
@pass_env_option
@trust_option
@click.option("-q", "--quiet", is_flag=True, help="Show the result only.")
@store_option
@json_option
def sweep(
    file: Path,
    overrides: tuple[str, ...],
    sample: int | None,
    replicates: int,
    seed: int,
    out: Path | None,
    resume: bool,
    ray: bool,
    trust_space: bool,
    quiet: bool,
    store: Path,
    as_json: bool,
) -> int:
    """Measure the whole grid of FILE, or a sample, and write a table.

    Every measurement is kept: Ctrl-C stops, `--resume` goes on. `system: {use: replay}` reads the table.
    """
    from autotune.cli.study import choose_view, report_line
    from autotune.report.summary import summary
    from autotune.report.text import terminal_width
    from autotune.study.readiness import refuse_unplaceable
    from autotune.study.run import stop_signals
    from autotune.study.study_file import read_study
    from autotune.study.sweep import SweepPlan
    from autotune.study.sweep import sweep as measure

    spec = read_study(file, overrides, trust_space=trust_space)
    refuse_unplaceable(spec, local=not ray, overrides=overrides)
    show_trusted(spec)
    target = out or Path(f"{spec.name}.csv.gz")
    if not target.name.endswith((".csv", ".csv.gz")):
        raise click.UsageError(f"--out wants a .csv or .csv.gz file, found {str(target)!r}")
    check_output(target, "--out")
    view = choose_view(as_json=as_json, quiet=quiet)
    plan = SweepPlan(sample, replicates, seed)
    with ExitStack() as stack:
        stack.callback(view.close)
        stop = stack.enter_context(stop_signals())  # until all is said
        done = measure(
            spec, plan, store=store, view=view, out=resolved(target), resume=resume, local=not ray, stop=stop
        )
        lines = [
            "",
            summary(done.view, width=terminal_width()),
            f"ledger: {done.view.ledger}",
            f"table: {target}",
            report_line(done, store),
        ]
        if done.state == "interrupted":
            options = [word for override in overrides for word in ("--set", override)]
            options += [*(["--out", str(out)] if out else []), *(["--ray"] if ray else [])]
            options += passed_variables()  # what is measured, the ledger keeps
            command = next_command("sweep", str(file), "--resume", *options, store=store)
            lines.append(f"stopped; `{command}` goes on")
        view.finish(done.view, "\n".join(lines))
        view.close()
        return all_is_said(Interrupted.exit_code if done.state == "interrupted" else 0)

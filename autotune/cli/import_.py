"""The command that takes over what another tool measured."""

from __future__ import annotations

from pathlib import Path

import click

from autotune.cli.options import json_option, next_command, set_option, store_option
from autotune.cli.output import echo, echo_json


@click.command("import")
@click.argument("source")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--study", "name", help="Name of the study within the Optuna storage.")
@set_option
@store_option
@json_option
def import_(
    source: str, file: Path, name: str | None, overrides: tuple[str, ...], store: Path, as_json: bool
) -> None:
    """Take the trials of an Optuna study over into the study of FILE.

    SOURCE is the address of a storage (`sqlite:///s.db`), a SQLite file or a journal; FILE is what
    `autotune convert SOURCE -o FILE` made of it, with its `system`. `autotune run FILE` then goes on from
    there: the trials count in its budget.
    """
    from autotune.core.file_names import LEDGER_NAME
    from autotune.core.units import counted
    from autotune.integrations.optuna_import import import_trials
    from autotune.ledger import study_lock
    from autotune.study.run import open_study
    from autotune.study.study import ledger_path
    from autotune.study.study_file import read_study

    spec = read_study(file, overrides)
    path = ledger_path(store / LEDGER_NAME)
    with study_lock(path, spec.name):
        study, _ = open_study(spec, path.parent, spec.name, widen=False)
        with study:
            done = import_trials(study, source, name)
    if as_json:
        echo_json({"study": spec.name, "measured": done.measured, "failed": done.failed, "known": done.known,
                   "left_out": done.left_out})  # fmt: skip
        return
    echo(f"study {spec.name}: {counted(done.measured, 'measured trial')} and {done.failed} failed taken over")
    if done.known:
        echo(f"  it had {counted(done.known, 'trial')} already")
    for why, numbers in done.left_out.items():
        shown = ", ".join(map(str, numbers[:10])) + (", ..." if len(numbers) > 10 else "")
        echo(f"  left out: trial {shown}: {why}")
    echo(f"go on with `{next_command('run', str(file), store=store)}`")

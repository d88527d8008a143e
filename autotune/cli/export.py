"""The command that writes what deploys a configuration: export."""

from __future__ import annotations

from pathlib import Path

import click

from autotune.cli.options import json_option, ledger_option
from autotune.cli.output import echo, echo_json
from autotune.cli.reading import open_ledger
from autotune.cli.remote import reachable
from autotune.cli.written import check_output, write_output


@click.command()
@click.argument("study", required=False)
@click.option(
    "--as", "exporter", required=True, metavar="FORMAT", help="Format of the file, one of those listed above."
)
@click.option("--trial", type=click.IntRange(0), help="The configuration of this trial, not the winner's.")
@click.option(
    "--under",
    multiple=True,
    metavar="LIMIT",
    help='The best under this limit, such as "ttft.p99 <= 300 ms". Repeatable.',
)
@click.option("--image", default="", help="Container image in place of the official one.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write; else it is printed.",
)
@ledger_option
@json_option
@reachable
def export(
    study: str | None,
    exporter: str,
    trial: int | None,
    under: tuple[str, ...],
    image: str,
    output: Path | None,
    store: Path,
    as_json: bool,
) -> None:
    """Write the winner of STUDY as a file that deploys it.

    Formats: args, env, docker-compose, k8s, helm-values, vllm-yaml, sglang-yaml, systemd, yaml, python.
    The file says how it was measured, with which version, on what, and whether it was confirmed.
    `--as optuna` writes all trials as a storage of Optuna: a journal, or a SQLite database with `-o FILE.db`.
    A storage that is there keeps its studies and gets one more.
    """
    from autotune.study.exporting import add_trials, export_study, export_trials
    from autotune.study.study import find_study

    if output is not None:
        check_output(output)
    with open_ledger(store) as ledger:
        row = find_study(ledger, study)
        if exporter == "optuna" and output is not None and output.is_file() and output.stat().st_size:
            add_trials(ledger, row, output, trial=trial, under=under, image=image)
            text = ""
        elif exporter == "optuna" and output is not None:
            database = output.suffix in (".db", ".sqlite", ".sqlite3")
            data = export_trials(ledger, row, database=database, trial=trial, under=under, image=image)
            write_output(output, data)
            text = ""
        else:
            text = export_study(ledger, row, exporter, trial=trial, under=under, image=image)
            if output is not None:
                write_output(output, text)
    if as_json:
        echo_json({"study": row.name, "format": exporter, "file": str(output or ""), "text": text})
    elif output is None:
        echo(text.rstrip("\n"))

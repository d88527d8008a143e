"""The command that turns a file of another tool into a study file."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from autotune.cli.output import echo
from autotune.cli.written import check_output, write_output


@click.command()
@click.argument("source")
@click.option(
    "--from",
    "format_name",
    metavar="FORMAT",
    help="wandb, auto-tune-vllm, optuna, ray-tune, vllm-sweep, or a plug-in's.",
)
@click.option("--study", help="Name of the study within an Optuna storage.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to a file.")
def convert(source: str, format_name: str | None, study: str | None, output: Path | None) -> None:
    """Turn SOURCE, a file of another tool, into a study file.

    Reads W&B sweep files, auto-tune-vllm studies, parameter files of `vllm bench sweep`, Optuna studies
    (a storage, or distributions as JSON), and search spaces of Ray Tune (`train.py:space`, which is read and
    never run, or the folder of an experiment). What has no equivalent is said line by line.
    """
    from autotune.convert.formats import convert as read
    from autotune.core.units import counted

    if output is not None:
        check_output(output)
    found = read(source, format_name=format_name, study=study)
    if output is None:
        echo(found.to_yaml().rstrip())
        return
    write_output(output, found.to_yaml())
    for line in found.notes:
        echo(f"note: {line}", sys.stderr)
    check = shlex.join(["autotune", "check", str(output)])
    echo(f"{output}: {counted(len(found.study['parameters']), 'parameter')}; see `{check}`")

"""Commands of the tracking store: sync and ui."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import NoReturn

import click

from autotune.cli.options import json_option, store_option
from autotune.cli.output import echo, echo_json
from autotune.cli.reading import open_ledger
from autotune.errors import AutotuneError, EnvironmentProblem

DEFAULT_URI = "sqlite:///mlflow.db"


def tracking_of(spec: dict[str, object], study: str) -> tuple[str, str]:
    """Return the address of the tracking store and the experiment that a stored study names."""
    section = spec.get("tracking")
    section = section if isinstance(section, dict) else {}
    return str(section.get("mlflow") or DEFAULT_URI), str(section.get("experiment") or study)


@click.command()
@click.argument("study", required=False)
@click.option("--mlflow", "uri", help="Address of the tracking store; that of the study when not given.")
@store_option
@json_option
def sync(study: str | None, uri: str | None, store: Path, as_json: bool) -> int:
    """Complete MLflow from the ledger.

    STUDY, or every study of the store. What is already there is not written again.
    """
    from autotune.study.study import find_study
    from autotune.tracking.mlflow import sync as sync_study

    with open_ledger(store) as ledger:
        rows = [find_study(ledger, study)] if study else ledger.studies()
        file = ledger.path
    assert file is not None  # noqa: S101 - opened from a file
    written: dict[str, int] = {}
    problems: dict[str, str] = {}
    hints: dict[str, None] = {}  # each once, in order
    for row in rows:
        address, experiment = tracking_of(row.spec, row.name)
        try:
            written[row.name] = sync_study(file, row.name, tracking_uri=uri or address, experiment=experiment)
        except AutotuneError as error:  # the next study may have another store
            problems[row.name] = error.message
            hints[error.hint] = None
    if as_json:
        echo_json({"written": written, "problems": problems})
    else:
        for name, count in written.items():
            echo(f"{name}: {count} written" if count else f"{name}: complete")
    if problems:
        said = "; ".join(f"{name}: {problem}" for name, problem in problems.items())
        raise EnvironmentProblem(f"not synchronized: {said}", hint="; ".join(filter(None, hints)))
    return 0


@click.command()
@click.argument("study", required=False)
@click.option("--port", default=5000, show_default=True, type=click.IntRange(1, 65535))
@click.option("--print", "print_only", is_flag=True, help="Print the command instead of running it.")
@store_option
@json_option
def ui(study: str | None, port: int, print_only: bool, store: Path, as_json: bool) -> int:
    """Open the MLflow UI.

    On the tracking store of STUDY, or of the newest study.
    """
    from autotune.study.study import find_study
    from autotune.tracking.mlflow import prepare_store, ui_command

    uri = DEFAULT_URI
    if study is not None or _has_ledger(store):
        with open_ledger(store) as ledger:
            rows = ledger.studies()
            if study is not None or rows:
                row = find_study(ledger, study) if study is not None else rows[-1]
                uri, _ = tracking_of(row.spec, row.name)
    command = ui_command(uri, port)
    if as_json:
        echo_json({"command": command, "tracking_uri": uri})
        return 0
    if print_only:
        echo(shlex.join(command))
        return 0
    prepare_store(uri)
    echo(f"MLflow at http://127.0.0.1:{port} (Ctrl-C ends it)")
    # The UI takes this process's place, signals included.
    return _become(command)


def _become(command: list[str]) -> NoReturn:
    try:
        os.execvp(command[0], command)  # noqa: S606 - argv is a list that we made
    except OSError as error:
        raise EnvironmentProblem(
            f"cannot start {command[0]!r}: {error.strerror}", hint="pip install mlflow"
        ) from None


def _has_ledger(store: Path) -> bool:
    from autotune.core.file_names import LEDGER_NAME

    return (store / LEDGER_NAME).exists()

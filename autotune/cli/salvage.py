"""The command for a damaged ledger: salvage."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from autotune.cli.options import json_option, ledger_option
from autotune.cli.output import echo, echo_json

if TYPE_CHECKING:
    from autotune.ledger.salvage import Salvaged

_SHOWN = 10  # lines of what is lost; --json has all


@click.command()
@click.option(
    "--to",
    "target",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the new ledger; a store of its own.",
)
@ledger_option
@json_option
def salvage(target: Path, store: Path, as_json: bool) -> None:
    """Write what is good of a damaged ledger to a new one.

    The damaged ledger is only read. `autotune resume STUDY --store FOLDER` goes on with the new one.
    """
    from autotune.core.file_names import LEDGER_NAME
    from autotune.ledger.salvage import salvage as rescue

    done = rescue(store if store.is_file() else store / LEDGER_NAME, target / LEDGER_NAME)
    if as_json:
        echo_json(done.to_dict())
        return
    for line in lines(done, target):
        echo(line)


def lines(done: Salvaged, target: Path) -> list[str]:
    """Return what a person reads."""
    from autotune.core.units import counted

    text = [f"lost: {what}" for what in done.lost[:_SHOWN]]
    if len(done.lost) > _SHOWN:
        text.append(f"lost: {len(done.lost) - _SHOWN} more; --json names them")
    if not done.lost:
        text.append("nothing is lost: the ledger is good")
    for name, count in done.kept.items():
        text.append(f"kept: {counted(count, 'trial')} of study {name}")
        again = done.again.get(name)
        if again:
            text.append(f"  measured again: {', '.join(map(str, again))}")
        if done.moved.get(name):
            moves = ", ".join(f"{old} is {new}" for old, new in done.moved[name].items())
            text.append(f"  new numbers: {moves}")
        text.append(f"  `autotune resume {name} --store {target}` goes on")
    if done.strays:
        text.append(
            f"{counted(len(done.strays), 'trial')} of studies whose own row is lost: --json shows them"
        )
    return text

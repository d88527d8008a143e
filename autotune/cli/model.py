"""``autotune make-model``: a small trained model and its draft, where none can be downloaded."""

from __future__ import annotations

from pathlib import Path

import click

from autotune.cli.options import json_option
from autotune.cli.output import echo, echo_json
from autotune.core.dependencies import need

_NEEDED = ("torch", "transformers", "tokenizers", "safetensors")


@click.command("make-model")
@click.argument("folder", required=False, type=click.Path(file_okay=False, path_type=Path))
@click.option("--seed", default=0, show_default=True, help="Of the weights and the order of the text.")
@json_option
def make_model(folder: Path | None, seed: int, as_json: bool) -> None:
    """Train a small model and its draft.

    Takes about a minute once; then they are found made. FOLDER is where models are kept; the
    user's cache when not given.
    """
    need(_NEEDED, extra="transformers")
    from autotune.systems.transformers.make_model import make_model as make

    paths = make(folder, seed=seed, log=(lambda _: None) if as_json else echo)
    if as_json:
        echo_json({"target": str(paths.target), "draft": str(paths.draft)})
    else:
        echo(f"target: {paths.target}\ndraft:  {paths.draft}")

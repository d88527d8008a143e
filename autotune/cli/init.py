"""From a model to a study file: ``autotune init MODEL``, and what ``autotune run MODEL`` begins with."""

from __future__ import annotations

import shlex
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from autotune.cli.options import json_option
from autotune.cli.output import echo, echo_json
from autotune.cli.written import check_output
from autotune.core.output_file import output_file, write_whole
from autotune.errors import SpecError

if TYPE_CHECKING:
    from autotune.init.starter import Options, Starter

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--system", help="System that serves the model; the best one here by default."),
    click.option("--workload", metavar="NAME", help="chat (default), rag, code or batch."),
    click.option("--goal", metavar="NAME", help="throughput (default), latency, goodput, cost ..."),
    click.option(
        "--limit",
        "limits",
        multiple=True,
        metavar="LIMIT",
        help='Limit such as "ttft.p99 <= 500 ms", in place of the usual one; may be repeated.',
    ),
    click.option("--budget", metavar="BUDGET", help="Time such as 2h, or a number of trials."),
    click.option("--draft-model", metavar="MODEL", help="Model that drafts for this one."),
    click.option(
        "--program",
        metavar="PROGRAM",
        help="The server's program, or the Python that has it, where it is not on the PATH.",
    ),
)


def model_options(command: F) -> F:
    """Add the options that say how a model's study file is made."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def read_options(given: dict[str, Any]) -> Options:
    """Return the options of a command as a value; what is not given is as usual.

    Raises:
        SpecError: One is given without a value.
    """
    from autotune.init.starter import Options

    empty = next((name for name, value in given.items() if value == ""), None)
    if empty is not None:
        raise SpecError(f"--{empty.replace('_', '-')} must not be empty")
    return Options(**{name: value for name, value in given.items() if value})


@click.command()
@click.argument("model")
@model_options
@click.option(
    "-o", "--output", metavar="FILE", help="Where to write; - prints. Named after the model by default."
)
@click.option("--force", is_flag=True, help="Write over a file that is there.")
@json_option
def init(model: str, output: str | None, force: bool, as_json: bool, **given: Any) -> None:
    """Write a study file for MODEL on this machine.

    MODEL is a folder, a GGUF file or a name on the Hugging Face hub. Its header and the machine (GPUs,
    memory, cores, installed servers) decide which parameters are searched, and each line of the file says
    why. Nothing is launched.
    """
    from autotune.init.starter import card_and_machine, start, stem_of

    if output not in (None, "-"):
        check_output(Path(str(output)))
    options = read_options(given)
    card, machine = card_and_machine(model, options)
    stem = stem_of(card, options)
    if output == "-":
        echo(start(card, options, machine, name=stem, file=f"{stem}.yaml", model=model).text.rstrip())
        return
    file = Path(output or f"{stem}.yaml")
    check_output(file)
    if file.exists() and not force:
        raise SpecError(f"{file} is there already", hint="--force writes over it, -o names another file")
    name = stem if output is None else _study_name(file)
    starter = start(card, options, machine, name=name, file=str(file), model=model)
    _write(file, starter)
    if as_json:
        echo_json(
            {
                "file": str(file),
                "study": name,
                "system": starter.system,
                "why": starter.why,
                "others": list(starter.others),
            }
        )
        return
    for line in _told(file, starter):
        echo(line)
    for command in ("check", "run"):
        echo(f"  {shlex.join(['autotune', command, str(file)])}")


def _study_name(file: Path) -> str:
    from autotune.convert.names import study_name

    return study_name(file.stem or "study")


def _told(file: Path, starter: Starter) -> list[str]:
    others = f"; here as well: {', '.join(starter.others)} (--system)" if starter.others else ""
    return [f"wrote {file}", f"  {starter.system}: {starter.why}{others}"]


def _write(file: Path, starter: Starter) -> None:
    """Write a study file that our own reader has taken; whoever sees it sees all of it.

    Raises:
        SpecError: It cannot be written, what has its name is no file, or the model has a name that a study
            file cannot hold.
    """
    from autotune.study.study_file import read_study

    target, data = output_file(file), starter.text.encode()
    try:
        with tempfile.NamedTemporaryFile(prefix=".autotune-", suffix=".yaml", dir=target.parent) as draft:
            draft.write(data)
            draft.flush()
            try:
                read_study(draft.name)
            except SpecError as error:
                raise SpecError(error.message.replace(draft.name, str(file)), hint=error.hint) from None
        write_whole(target, data)
    except OSError as error:
        raise SpecError(
            f"{file} cannot be written: {error.strerror or error}", hint="-o names another file"
        ) from None


def study_of_model(model: str, given: dict[str, Any]) -> Path:
    """Return the study file of a model, written now if it is not there; says so on standard error.

    A file that is there is the user's: it is taken as it is.

    Args:
        model: The model, as the user wrote it.
        given: Options of the command.

    Raises:
        SpecError: The file is of another model, or options would change nothing.
        EnvironmentProblem: Nothing here can serve the model.
    """
    from autotune.init.find_model import find_model
    from autotune.init.machine import look
    from autotune.init.starter import start, stem_of

    options = read_options(given)
    options.check()
    card = find_model(model, options.system)
    stem = stem_of(card, options)
    file = Path(f"{stem}.yaml")
    if file.exists():
        _check_own(file, card.model, given)
        echo(f"{file} is there already and is taken as it is", sys.stderr)
        return file
    starter = start(
        card, options, look(options.program, options.system), name=stem, file=str(file), model=model
    )
    _write(file, starter)
    for line in _told(file, starter):
        echo(line, sys.stderr)
    return file


def _check_own(file: Path, model: str, given: dict[str, Any]) -> None:
    """Refuse a file of another model, and options that a file which is there does not take."""
    from autotune.spec.yaml_text import parse_text, read_text

    section = parse_text(read_text(file), str(file)).data.get("system")
    found = section.get("model") if isinstance(section, dict) else None
    if found != model:
        raise SpecError(
            f"{file} is there already and serves {found!r}, not {model!r}",
            hint=f"`autotune init MODEL -o OTHER.yaml` and `autotune run OTHER.yaml`, or move {file} away",
        )
    names = [name for name in ("limits", "budget", "draft_model", "program") if given.get(name)]
    if names:
        option = "--" + names[0].removesuffix("s").replace("_", "-")
        raise SpecError(
            f"{file} is there already, and {option} would change nothing in it",
            hint="edit the file, use --set KEY=VALUE, or move it away to have it written anew",
        )

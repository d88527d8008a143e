"""Studies on the head of a cluster: the same command, run there by a small job, and its output shown here."""

from __future__ import annotations

import json
import shlex
import sys
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import click
from click.core import ParameterSource

from autotune.cli.options import F
from autotune.cli.output import echo, echo_json, note, wait_for_end
from autotune.core.commands import ADDRESS, SHOWN_STORE, shown_address, study_command, submit_command, there
from autotune.errors import EnvironmentProblem, SpecError, StudyError

if TYPE_CHECKING:
    from autotune.executor.ray_jobs import JobServer, StudyJob

MARK = "\x1e"
"""First character of each line in which a command on the head sends its output; others are noise."""

HEAD_COMMAND = "python -m autotune.cli.on_head"

_FIRST = 10  # lines of a job among which it says that its command is not there: later ones are a study's

STOPPED_S = 900.0
"""Longest wait for a stopped study's job: Ray ends what has not ended by then."""


def address_option(*, required: bool = False, envvar: str | None = None) -> Callable[[F], F]:
    """Return a decorator that adds ``--address``."""
    return click.option(
        "--address",
        metavar="URL",
        required=required,
        envvar=envvar,
        show_envvar=envvar is not None,
        help="Studies on the head of this cluster, http://HEAD:8265.",
    )


def reachable(command: F) -> F:
    """Add ``--address``: with it, the command is given on the head of a cluster, and answers here."""

    @wraps(command)
    def here_or_there(address: str | None, **values: object) -> object:
        if address is None:
            return command(**values)
        context = click.get_current_context()
        store = _store(context)
        check_store(store)
        study = None if values.get("study") is None else str(values["study"])
        if context.info_name == "stop" and (job := find_job(address, study, store)) is not None:
            return stop_job(*job, address, bool(values.get("as_json")), store)
        shown = context.info_name == "status" and values.get("follow") and not values.get("as_json")
        if shown and (job := find_job(address, study, store)):
            server, found = job
            return follow_job(server, found, address, store)
        return ask_head(address, context)

    return address_option()(here_or_there)  # type: ignore[return-value]


def find_job(address: str, study: str | None, store: str | None = None) -> tuple[JobServer, StudyJob] | None:
    """Return the job that runs a study now; ``None`` where none does.

    Args:
        address: Address of the job server.
        study: ``NAME`` or ``OWNER/NAME``; ``None`` for the only one that runs.
        store: Folder of all owners' stores there; ``None`` for the usual one.

    Raises:
        StudyError: Several people have a study of that name, whether it runs or has ended.
        EnvironmentProblem: The head does not say which studies it has.
    """
    from autotune.executor.ray_jobs import JobServer

    server = JobServer(address)
    jobs = [job for job in server.studies() if study is None or study in (job.study, job.label)]
    live = [job for job in jobs if job.live]
    if not live:
        return None
    if study is None:
        _only_one({job.label for job in live}, study)
    elif all(job.label != study for job in live):  # a bare name, which somebody else's study may have too
        labels = {job.label for job in jobs}
        _only_one(labels, study)
        there = studies_there(server, address, store)  # Ray forgets jobs, and the store has others too
        if study in there:  # nobody's, which is called so
            return None
        _only_one(labels | {label for label in there if label.partition("/")[2] == study}, study)
    return server, next((job for job in live if job.label == study), live[0])


def _only_one(labels: set[str], study: str | None) -> None:
    """Refuse a name that several studies have.

    Raises:
        StudyError: They are named.
    """
    if len(labels) > 1:
        names = ", ".join(sorted(labels))
        said = "several studies run there" if study is None else f"{study!r} could be any of these"
        raise StudyError(f"{said}: {names}", hint="name one of them")


def follow_job(server: JobServer, job: StudyJob, address: str, store: str | None = None) -> int:
    """Show what a study's job prints until it ends; return its exit code. Ctrl-C ends the view alone."""
    from autotune.executor.ray_jobs import ENTRYPOINT

    try:
        before: list[str] | None = []  # what Ray says until the command begins, or why it does not
        for line in _followed(server, job.id):
            if before is None:
                echo(line)
            elif line.startswith(ENTRYPOINT):
                before = None
            else:
                before.append(line)
        for line in before or ():
            echo(line)
    except KeyboardInterrupt:
        address = shown_address(address)
        again = study_command("status", job.label, "--follow", *there(address, store))
        echo(f"\nthe study goes on at {address}; `{again}` shows it again")
        return 0
    return server.exit_code(job.id)


def _followed(server: JobServer, job: str) -> Iterator[str]:
    """Yield the lines that a job prints.

    Raises:
        EnvironmentProblem: Its first ones say that autotune is not there on the head.
    """
    from autotune.executor.ray_jobs import refuse_without_us

    for place, line in enumerate(_lines(server.follow(job))):
        if place < _FIRST:
            refuse_without_us(line, server.address)
        yield line


def _lines(texts: Iterator[str]) -> Iterator[str]:
    """Yield whole lines of texts that come in pieces."""
    rest = ""
    for text in texts:
        *lines, rest = (rest + text).split("\n")
        yield from lines
    if rest:
        yield rest


def stop_job(server: JobServer, job: StudyJob, address: str, as_json: bool, store: str | None = None) -> int:
    """Stop a study's job and wait until it has ended; return the exit code of the command.

    Raises:
        EnvironmentProblem: It does not end.
    """
    server.stop(job.id)
    if not as_json:
        echo(f"asked study {job.label} to stop; its servers have their grace to end")
    say = (lambda seconds: None) if as_json else (lambda seconds: echo(f"still ending after {seconds:.0f} s"))
    if wait_for_end(lambda: server.is_live(job.id), STOPPED_S, say) is not None:
        raise EnvironmentProblem(f"study {job.label} has not ended {STOPPED_S:g} s after it was asked to")
    if as_json:
        echo_json({"study": job.study, "owner": job.owner, "stopped": True})
        return 0
    again = submit_command(job.study, job.owner, (), shown_address(address), store)
    echo(f"study {job.label} has stopped; everything measured is kept, and `{again}` goes on with it")
    return 0


def ask_head(address: str, context: click.Context) -> int:
    """Give a command on the head of a cluster, show what it says, and return its exit code.

    Args:
        address: Address of the job server.
        context: The command as it was given here.
    """
    from autotune.executor.ray_jobs import JobServer

    if context.info_name == "report" and context.params.get("output") is None:
        raise click.UsageError("--address wants -o FILE: the report would stay on the head", context)
    server = JobServer(address)
    server.tidy()
    output = context.params.get("output")
    words = [str(context.info_name), *_words(context)]
    with _question(server, words, address, _store(context)) as name:
        try:
            if context.params.get("follow"):
                for line in _followed(server, name):
                    _show(line, None)
            else:
                text = server.output(name)
                for line in text.split("\n"):
                    _show(line, None if output in (None, "-") else Path(str(output)))
            return server.exit_code(name)
        except KeyboardInterrupt:
            if not context.params.get("follow"):
                raise
            return 0


def studies_there(server: JobServer, address: str, store: str | None) -> set[str]:
    """Return the names of the studies on a head, each with its owner's.

    Args:
        server: Job server of the head.
        address: Address of it.
        store: Folder of all owners' stores there; ``None`` for the usual one.

    Raises:
        EnvironmentProblem: The head does not say.
    """
    with _question(server, ["list", "--json", "--", "studies"], address, store) as name:
        sent = [json.loads(line[1:]) for line in server.output(name).split("\n") if line.startswith(MARK)]
        said = "".join(data for kind, data in sent if kind == "out")
        if server.exit_code(name) or not said:
            raise EnvironmentProblem(f"the head at {shown_address(address)} does not list its studies")
        return set(json.loads(said)["studies"])


def check_store(store: str | None) -> None:
    """Check what ``--store`` says with ``--address``.

    Raises:
        SpecError: It is relative: to what, on another machine?
    """
    if store is not None and not store.startswith(("/", "~")):
        raise SpecError(
            f"--store {store!r} names a folder of the head; allowed: absolute paths, and those from ~ on"
        )


@contextmanager
def _question(server: JobServer, words: list[str], address: str, store: str | None) -> Iterator[str]:
    """Start a small job that gives a command on the head; its id. It ends at the latest with the block."""
    variables = {ADDRESS: shown_address(address), "COLUMNS": str(_columns())}
    if store is not None:
        variables |= {"AUTOTUNE_STORE": store, SHOWN_STORE: store}
    from autotune.executor.ray_jobs import QUESTION

    name = f"autotune-{words[0]}-{uuid4().hex[:8]}"
    server.submit(
        f"exec {HEAD_COMMAND} {shlex.join(words)}",
        name=name,
        variables=variables,
        metadata={QUESTION: words[0]},
        say=note,
    )
    with _ended(server, name):
        yield name


@contextmanager
def _ended(server: JobServer, name: str) -> Iterator[None]:
    """End a small job whose answer nobody wants any more."""
    try:
        yield
    finally:
        if server.is_live(name):
            server.stop(name)


def _show(line: str, output: Path | None) -> None:
    """Show one line of what a command on the head sends; a file that it made is written here."""
    if not line.startswith(MARK):
        return
    kind, data = json.loads(line[len(MARK) :])
    if kind == "file":
        from autotune.cli.written import write_output

        assert output is not None  # noqa: S101 - it was asked for
        write_output(output, b64decode(data))
    else:
        stream = sys.stderr if kind == "err" else sys.stdout
        stream.write(data)
        stream.flush()


def _columns() -> int:
    from autotune.report.text import terminal_width

    return terminal_width()


def _given(context: click.Context, name: str) -> object:
    """Return a parameter of a command if it stood on the command line; else ``None``."""
    source = context.get_parameter_source(name)
    return context.params.get(name) if source is ParameterSource.COMMANDLINE else None


def _store(context: click.Context) -> str | None:
    """Return the folder of the head that a command was given as its store; ``None`` without."""
    store = _given(context, "store")
    return None if store is None else str(store)


def _words(context: click.Context) -> list[str]:
    """Return the words of a command as they were given, without those that say where it runs."""
    options: list[str] = []
    names: list[str] = []
    for parameter in context.command.params:
        value = _given(context, str(parameter.name))
        if value is None or parameter.name in ("address", "store"):
            continue
        if isinstance(parameter, click.Argument):
            names += map(str, value) if isinstance(value, tuple) else [str(value)]
        elif isinstance(parameter, click.Option) and parameter.is_flag:
            options += [parameter.opts[-1]] if value else []
        else:
            values = value if isinstance(value, tuple) else (value,)
            options += [word for one in values for word in (parameter.opts[-1], str(one))]
    return [*options, *(["--", *names] if names else [])]

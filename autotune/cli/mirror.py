"""Commands of the tracking store: sync, restore and ui."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import webbrowser
from contextlib import closing, suppress
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

import click

from autotune.cli.options import json_option, ledger_option, next_command, store_option
from autotune.cli.output import echo, echo_json
from autotune.cli.reading import open_ledger
from autotune.core.dependencies import need
from autotune.core.endpoint import Refused
from autotune.core.environment import own_environment
from autotune.core.http_client import HttpConnection
from autotune.errors import AutotuneError, EnvironmentProblem, SpecError

if TYPE_CHECKING:
    from autotune.ledger import StudyRow
    from autotune.spec.sections import Tracking

DEFAULT_URI = "sqlite:///mlflow.db"

_JOBS = "MLFLOW_SERVER_ENABLE_JOB_EXECUTION"
_LOOK_S, _ANSWER_S = 0.2, 2.0  # between two looks whether the server answers, and for each


def tracking_of(row: StudyRow) -> tuple[str | None, str]:
    """Return the address of a study's tracking store, ``None`` where it has none, and its experiment."""
    from autotune.spec.stored import StoredSpec

    stored = StoredSpec(row.spec)
    address = stored.tracking_uri
    return (None if address is None else address or DEFAULT_URI), stored.experiment or row.name


def _no_store(study: str, hint: str) -> SpecError:
    return SpecError(f"study {study!r} has no MLflow store: its `tracking` says `mlflow: none`", hint=hint)


def _copies(tracking: Tracking, uri: str | None) -> bool:
    """Return whether a study has its ledger copied to a store: its own, or that of an address."""
    return (tracking if uri is None else replace(tracking, mlflow=uri)).copy_every_s is not None


@click.command()
@click.argument("study", required=False)
@click.option("--mlflow", "uri", help="Address of the tracking store; that of the study when not given.")
@ledger_option
@json_option
def sync(study: str | None, uri: str | None, store: Path, as_json: bool) -> int:
    """Complete MLflow from the ledger.

    STUDY with its verifications, or every study of the store. What is already there is not written again.
    """
    need(["mlflow"])
    from autotune.study.carried import complete_carried
    from autotune.study.report import made_files
    from autotune.study.stored_spec import read_stored_spec
    from autotune.study.study import find_study
    from autotune.tracking.items import VERIFIES
    from autotune.tracking.mlflow import sync as sync_study

    with open_ledger(store) as ledger:
        rows = ledger.studies()
        if study:
            name = find_study(ledger, study).name
            rows = [row for row in rows if name in (row.name, (row.notes.get(VERIFIES) or {}).get("study"))]
        file = ledger.path
    assert file is not None  # noqa: S101 - opened from a file
    written: dict[str, int] = {}
    problems: dict[str, str] = {}
    missing: dict[str, list[str]] = {}
    hints: dict[str, None] = {}  # each once, in order
    for row in rows:
        address, experiment = tracking_of(row)
        address = uri or address
        if address is None:
            if study is not None:
                raise _no_store(row.name, "--mlflow ADDRESS names one")
            continue
        try:
            stored = read_stored_spec(file, row)
            missing[row.name] = complete_carried(file, row)
            written[row.name] = sync_study(
                file,
                row.name,
                tracking_uri=address,
                experiment=experiment,
                files=made_files(file, row.name),
                copy=_copies(stored.tracking, uri),
            )
        except AutotuneError as error:  # the next study may have another store
            problems[row.name] = error.message
            hints[error.hint] = None
    if as_json:
        left = {name: lacks for name, lacks in missing.items() if lacks}
        echo_json({"written": written, "problems": problems, "missing": left})
    else:
        for name, count in written.items():
            echo(f"{name}: {count} written" if count else f"{name}: complete")
            for lack in missing[name]:
                command = next_command("report", name, store=store)
                echo(f"  {lack}" + (f": `{command}` makes it" if "report" in lack else ""))
    if problems:
        said = "; ".join(f"{name}: {problem}" for name, problem in problems.items())
        raise EnvironmentProblem(f"not synchronized: {said}", hint="; ".join(filter(None, hints)))
    return 0


@click.command()
@click.argument("study", required=False)
@click.option(
    "--mlflow", "uri", envvar="MLFLOW_TRACKING_URI", required=True, help="Address of the tracking store."
)
@click.option("--experiment", help="Experiment to look in; all of the store when not given.")
@store_option
@json_option
def restore(study: str | None, uri: str, experiment: str | None, store: Path, as_json: bool) -> None:
    """Bring back from MLflow the ledger of a study whose machine is lost.

    STUDY is its name, or the identity in its run's tag autotune.study_uid; the only one when not given. Its
    newest whole copy is written into the store; `autotune resume` goes on with it, in the same runs.
    """
    from autotune.core.file_names import LEDGER_NAME
    from autotune.core.units import counted
    from autotune.report.text import show_seconds
    from autotune.tracking.mlflow_restore import choose_copy, restore_copy

    found = choose_copy(uri, study, experiment)
    done, tag, wrong = restore_copy(uri, found, store / LEDGER_NAME)
    name = done.study.name
    if as_json:
        data: dict[str, object] = {"study": name, "uid": found.uid, "experiment": found.experiment}
        data |= {"copy": tag.generation, "copied_ns": tag.copied_ns, "problems": wrong}
        data |= {"ledger": str(store / LEDGER_NAME), "changed": not done.there, "masked": done.masked}
        echo_json(
            {**data, "trials": done.trials, "results": done.measured, "measured_again": list(done.again)}
        )
        return
    for problem in wrong:
        echo(f"warning: {problem}; the one before it is used", sys.stderr)
    age = show_seconds(max(0.0, (time.time_ns() - tag.copied_ns) / 1e9))
    results = counted(done.measured, "result")
    echo(f"study {name}: {counted(done.trials, 'trial')}, {results}, from copy {tag.generation}, {age} old")
    if done.there:
        echo(f"  {store / LEDGER_NAME} has all of it already: nothing was changed")
    if done.again:
        echo(f"  measured again: {', '.join(map(str, done.again))}")
    if done.masked:
        echo("  what looked like a secret is masked in the copy: see the study file before it goes on")
    address, _ = tracking_of(done.study)
    elsewhere = () if address == uri else ("--set", f"tracking.mlflow={uri}")
    echo(f"  `{next_command('resume', name, *elsewhere, store=store)}` goes on")


@click.command()
@click.argument("study", required=False)
@click.option(
    "--port", default=5000, show_default=True, type=click.IntRange(1, 65535), help="Port to listen at."
)
@click.option("--print", "print_only", is_flag=True, help="Print the command instead of running it.")
@click.option("--open/--no-open", "opens", default=True, help="Open a browser; on a terminal only.")
@ledger_option
@json_option
def ui(study: str | None, port: int, print_only: bool, opens: bool, store: Path, as_json: bool) -> int:
    """Open the MLflow UI.

    On the runs of STUDY as charts, or on the tracking store of the newest study.
    """
    from autotune.study.study import find_study
    from autotune.tracking.mlflow import prepare_store, study_link, ui_command
    from autotune.tracking.run_addresses import is_server

    address: str | None = DEFAULT_URI
    experiment, uid = "", ""
    if study is not None or _has_ledger(store):
        with open_ledger(store) as ledger:
            rows = ledger.studies()
            if study is not None or rows:
                row = find_study(ledger, study) if study is not None else rows[-1]
                address, experiment = tracking_of(row)
                uid = row.uid if study is not None else ""
                if address is None and study is not None:
                    raise _no_store(
                        row.name, f"`{next_command('report', row.name, store=store)}` makes a page"
                    )
    uri = address or DEFAULT_URI
    there = is_server(uri) and bool(uid)  # a server has a UI of its own: there is nothing to start
    command = [] if there else ui_command(uri, port)
    base = uri if there else f"http://127.0.0.1:{port}"
    if as_json:
        echo_json({"command": command, "tracking_uri": uri})
        return 0
    if print_only and command:
        echo(shlex.join(command))
        return 0
    if not there:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                raise EnvironmentProblem(f"port {port} is in use", hint=f"--port {port + 1} may be free")
        prepare_store(uri)
    link = study_link(uri, base, experiment, uid) if uid else base
    if there:
        echo(link)
        if opens and not print_only and sys.stdout.isatty():
            webbrowser.open(link)
        return 0
    return _serve(command, base, link, opens=opens and sys.stdout.isatty())


def _serve(command: list[str], base: str, link: str, *, opens: bool) -> int:
    """Run a server in the foreground, and say where to look once it answers; return its exit code."""
    echo(f"starting MLflow at {base} (Ctrl-C ends it) ...")
    try:
        # no runners of jobs: they are eight processes, and no study has a job
        jobs = {_JOBS: os.environ.get(_JOBS, "false")}
        server = subprocess.Popen(command, env=own_environment(jobs))
    except OSError as error:
        raise EnvironmentProblem(
            f"cannot start {command[0]!r}: {error.strerror}", hint="pip install mlflow"
        ) from None
    # both end with whoever sends a signal to either of them
    before = signal.signal(signal.SIGTERM, lambda *_: server.terminate())
    try:
        if _answers(base, server):
            echo(link)
            if opens:
                webbrowser.open(link)
        return _ended(server.wait(), base)
    except KeyboardInterrupt:
        server.send_signal(signal.SIGINT)
        server.wait()
        return 0
    finally:
        signal.signal(signal.SIGTERM, before)
        if server.poll() is None:
            server.kill()
            server.wait()


def _ended(code: int, base: str) -> int:
    if code in (0, -signal.SIGTERM, -signal.SIGINT):
        return 0
    raise EnvironmentProblem(
        f"the MLflow server at {base} ended with exit code {code}",
        hint="its last lines say why; --port chooses another port",
    )


def _answers(base: str, server: subprocess.Popen[bytes]) -> bool:
    """Wait until a server answers; return whether it does, or has ended."""
    while server.poll() is None:
        with suppress(Refused), closing(HttpConnection(base)) as connection:
            deadline = time.monotonic() + _ANSWER_S
            answer = connection.ask("/health", deadline=deadline, most_bytes=0)
            if answer.status == HTTPStatus.OK:
                return server.poll() is None
        time.sleep(_LOOK_S)
    return False


def _has_ledger(store: Path) -> bool:
    from autotune.core.file_names import LEDGER_NAME

    return store.is_file() or (store / LEDGER_NAME).exists()

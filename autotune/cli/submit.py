"""The command that starts a study on a cluster, where it goes on without the machine that it came from."""

from __future__ import annotations

import getpass
import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import click

from autotune.cli.options import (
    VARIABLES_HELP,
    json_option,
    run_options,
    set_option,
    show_trusted,
    study_options,
)
from autotune.cli.output import echo, echo_json, note
from autotune.cli.remote import HEAD_COMMAND, address_option, check_store, follow_job, studies_there
from autotune.cli.submitted import SECRETS_VARIABLE, STUDY_VARIABLE
from autotune.core.commands import (
    ADDRESS,
    OWNER_VARIABLE,
    SHOWN_STORE,
    free_name,
    shown_address,
    study_command,
    there,
)
from autotune.errors import SpecError, StudyError

if TYPE_CHECKING:
    from autotune.executor.ray_jobs import JobServer, StudyJob

_OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_BEGIN_S = 600.0  # for a job to leave the queue: Ray prepares its files on the head first
_FAILED_S = 2.0  # for a command to fail that is not there
_FIRST_LINE_S = 5.0  # for a study that runs to print something
_STOP_SLACK_S = 60.0  # beside its servers' grace, that Ray gives a stopped job before it kills it


@click.command()
@click.argument("file", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@address_option(required=True, envvar="RAY_API_SERVER_ADDRESS")
@click.option("--owner", help="Owner of the study; by default your user name.")
@click.option("--follow/--no-follow", default=None, help="Show what it prints; by default in a terminal.")
@set_option
@study_options
@run_options(
    click.option(  # their values travel
        "--pass-env", multiple=True, metavar="NAME", help=VARIABLES_HELP
    )
)
@click.option(
    "--store", metavar="FOLDER", help="Folder of all owners' studies on the head.  [default: ~/.autotune]"
)
@json_option
def submit(
    file: Path,
    address: str,
    owner: str | None,
    follow: bool | None,
    pass_env: tuple[str, ...],
    trust_space: bool,
    store: str | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Run the study of FILE on a cluster, as a job of its head.

    It goes on whatever becomes of this machine. Creates the study of that name and owner, or goes on with
    it. What FILE names beside itself travels with it. Followed, it ends with the exit code of `autotune run`.
    """
    from autotune.cli.study import budget_overrides
    from autotune.executor.ray_jobs import JobServer, StudyJob
    from autotune.study.named_files import named_files
    from autotune.study.study_file import read_study

    check_store(store)
    owner = _owner(owner)
    budget = budget_overrides(options["trials"], options["parallel"], options["confirm"])
    spec = read_study(file, (*options["overrides"], *budget), trust_space=trust_space, here=False)
    show_trusted(spec)
    _note_code_elsewhere(file, options["overrides"], trust_space=trust_space)
    for name in pass_env:
        if name not in os.environ:
            raise click.BadParameter(f"{name} is not set")
    files = named_files(file, options["overrides"], lambda line: note(f"note: {line}"))
    server = JobServer(address)
    shown, wanted = shown_address(address), spec.name
    if options["new"]:
        taken = studies_there(server, address, store) | {job.label for job in server.studies() if job.live}
        whose = f"{owner}/"
        name = free_name(spec.name, {one.removeprefix(whose) for one in taken if one.startswith(whose)})
        options["overrides"] = (*options["overrides"], f"name={name}")
        spec = read_study(file, (*options["overrides"], *budget), trust_space=trust_space, here=False)
    else:
        _refuse_second(server, owner, spec.name, there(shown, store))
    job = StudyJob(f"{owner}-{spec.name}-{uuid4().hex[:8]}", owner, spec.name, live=True)
    variables = {
        OWNER_VARIABLE: owner,
        STUDY_VARIABLE: spec.name,
        ADDRESS: shown,
        "RAY_JOB_STOP_WAIT_TIME_S": f"{spec.deadlines.stop_s + _STOP_SLACK_S:.0f}",
        **({"AUTOTUNE_STORE": store, SHOWN_STORE: store} if store else {}),
    }
    private = {
        "variables": {name: os.environ[name] for name in pass_env},
        "words": [word for url in options["notify"] for word in ("--notify", url)],  # it may hold a key
    }
    secrets = f"_ray_pkg_{uuid4().hex}.zip" if any(private.values()) else ""
    if secrets:
        variables[SECRETS_VARIABLE] = secrets
    words = _words(options, trust_space=trust_space)
    _start(server, job, files, words, variables)
    if secrets:
        server.wait_until_running(job.id, _BEGIN_S)
        server.wait_until_begun(job.id, _FAILED_S)  # nobody would take them from a head without autotune
        server.send(secrets, json.dumps(private).encode())
    if follow is None:
        follow = sys.stdout.isatty()
    if as_json or not follow:  # else its first lines are seen anyway
        server.wait_until_begun(job.id, _FIRST_LINE_S)
    if as_json:
        echo_json({"study": job.study, "owner": owner, "job": job.id, "address": shown})
        return 0
    again = study_command("status", job.label, "--follow", *there(shown, store))
    echo(f"study {job.label} is job {job.id} at {shown}; this machine is not needed any more")
    echo(f"`{again}` shows it")
    if spec.name != wanted:
        echo(f"with --set name={shlex.quote(spec.name)} instead of --new, the same command goes on with it")
    return follow_job(server, job, address, store) if follow else 0


def _owner(given: str | None) -> str:
    """Return whose study it is.

    Raises:
        SpecError: It is no name of a folder.
    """
    if given is None:
        return re.sub(r"[^A-Za-z0-9._-]", "_", getpass.getuser()).lstrip("._-")[:64] or "unknown"
    if not _OWNER.fullmatch(given):
        raise SpecError(
            f"--owner {given!r} is no owner's name; allowed: ASCII letters, digits, '.', '_' and '-', "
            "at most 64, starting with a letter or digit"
        )
    return given


def _note_code_elsewhere(file: Path, overrides: Sequence[str], *, trust_space: bool) -> None:
    """Say which function of a study, right otherwise, is not here and does not travel."""
    from autotune.study.study_file import read_study

    try:
        read_study(file, overrides, trust_space=trust_space)
    except SpecError as error:
        note(f"note: {error.message}; the study ends before it begins unless the cluster has it")


def _refuse_second(server: JobServer, owner: str, study: str, where: Sequence[str]) -> None:
    """Refuse to start a study that runs.

    Raises:
        StudyError: It runs; its job is named.
    """
    for job in server.studies():
        if job.live and (job.owner, job.study) == (owner, study):
            again = study_command("status", job.label, "--follow", *where)
            end = study_command("stop", job.label, *where)
            raise StudyError(
                f"study {job.label!r} is already running, as job {job.id}",
                hint=f"`{again}` shows it, `{end}` stops it; --new starts another one beside it",
            )


def _words(options: dict[str, Any], *, trust_space: bool) -> list[str]:
    """Return the options of `autotune run` that the study is run with on the head."""
    words = [word for text in options["overrides"] for word in ("--set", text)]
    for name in ("trials", "parallel", "confirm"):
        if options[name] is not None:
            words += [f"--{name}", str(options[name])]
    flags = {"widen": options["widen"], "no-mlflow": options["no_mlflow"], "quiet": options["quiet"]}
    flags["trust-space"] = trust_space
    return [*words, *(f"--{name}" for name, given in flags.items() if given)]


def _start(
    server: JobServer, job: StudyJob, files: Sequence[Path], words: Sequence[str], variables: dict[str, str]
) -> None:
    """Send the files of a study, itself the first of them, and start its job."""
    from autotune.executor.ray_jobs import OWNER, STUDY

    root = Path(os.path.commonpath([one.parent for one in files]))
    with TemporaryDirectory(prefix="autotune-submit-") as folder:
        for one in files:
            place = Path(folder) / one.relative_to(root)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(one, place)
        entrypoint = shlex.join(["run", str(files[0].relative_to(root)), *words])
        server.submit(
            f"exec {HEAD_COMMAND} {entrypoint}",
            name=job.id,
            folder=Path(folder),
            variables=variables,
            metadata={OWNER: job.owner, STUDY: job.study},
            say=note,
        )

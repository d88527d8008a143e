"""A study that was submitted to a cluster, on its head: its files are laid out, and it runs."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from autotune.core.commands import OWNER_VARIABLE
from autotune.core.file_names import LEDGER_NAME
from autotune.core.redact import PASS_ENV
from autotune.errors import AutotuneError, EnvironmentProblem, StudyError

HEAD_STORE = "~/.autotune"
"""Folder of all owners' stores on a head, unless ``AUTOTUNE_STORE`` names another one there."""

STUDY_VARIABLE = "AUTOTUNE_STUDY"
"""Variable of a submitted study's job: its name."""

SECRETS_VARIABLE = "AUTOTUNE_SECRETS"
"""Variable with the name under which values come that nobody else is to read; not they themselves."""

_SECRETS_S = 60.0  # for them to come, once the job runs
_FILES = "files"  # folder beside an owner's ledger


def head_store() -> Path:
    """Return the folder of all owners' stores on this head; never one of Ray's, in which a job runs."""
    return Path.home() / Path(os.environ.get("AUTOTUNE_STORE") or HEAD_STORE).expanduser()


def run_submitted(words: Sequence[str]) -> int:
    """Run a study that was submitted: its files lie in the working folder."""
    from autotune.cli.app import main as autotune
    from autotune.executor.brought import FOLDER, lay_out, remove_unused, submission_folder, use
    from autotune.ledger.lock import study_holder

    owner, study = os.environ[OWNER_VARIABLE], os.environ[STUDY_VARIABLE]
    store = head_store() / owner
    home = store / _FILES / study
    if holder := study_holder(store / LEDGER_NAME, study):
        sys.stderr.write(f"error: study {study!r} is already run by {holder}\n")
        return StudyError.exit_code
    folder = submission_folder(Path.cwd(), home)
    use(folder)
    lay_out(Path.cwd(), folder)
    os.environ[FOLDER] = str(folder)
    file, *options = words[1:]
    if name := os.environ.pop(SECRETS_VARIABLE, ""):
        try:
            options += _take_secrets(name)
        except EnvironmentProblem as error:
            sys.stderr.write(f"error: {error.message}\n")
            return error.exit_code
    os.chdir(home)  # a store of MLflow that is a file of the study's stays where it is
    code = autotune(["run", str(folder / file), *options, "--store", str(store), "--owner", owner])
    remove_unused(home, kept={folder, *_needed(store, study, home)})
    return code


def _needed(store: Path, study: str, home: Path) -> set[Path]:
    """Return the folders of submissions that the ledger names, for `autotune resume`."""
    from autotune.ledger import Ledger

    try:
        with Ledger.open(store / LEDGER_NAME, create=False, read_only=True) as ledger:
            row = ledger.study(study)
    except (AutotuneError, OSError):  # nothing is known of the study: nothing is removed
        return set(home.iterdir())
    said = list(_strings(None if row is None else row.spec))
    # by its name alone, which is a digest: the rest of the path may be written otherwise, through a link
    return {folder for folder in home.iterdir() if any(folder.name in text for text in said)}


def _strings(data: object) -> Iterator[str]:
    """Yield the texts in plain data, keys too."""
    if isinstance(data, str):
        yield data
    elif isinstance(data, Mapping):
        for key, value in data.items():
            yield from (str(key), *_strings(value))
    elif isinstance(data, list | tuple):
        for value in data:
            yield from _strings(value)


def _take_secrets(name: str) -> list[str]:
    """Take what nobody else is to read out of the head's memory, where it does not stay.

    The values of passed variables are set; the words of options are returned.

    Raises:
        EnvironmentProblem: They do not come.
    """
    from autotune.executor.ray_jobs import take_package

    until = time.monotonic() + _SECRETS_S
    while (content := take_package(name)) is None:
        if time.monotonic() > until:
            raise EnvironmentProblem(
                f"the values of --pass-env and --notify have not come within {_SECRETS_S:g} s"
            )
        time.sleep(0.2)
    found = json.loads(content)
    if values := found["variables"]:
        os.environ.update(values)
        os.environ[PASS_ENV] = ",".join(values)
    return list(found["words"])

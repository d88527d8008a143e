"""Commands for a person to paste."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Sequence
from pathlib import Path

from autotune.core.file_names import LEDGER_NAME, USUAL_STORE

ADDRESS = "AUTOTUNE_SHOWN_ADDRESS"
"""Variable of a command that runs on a cluster's head for a person elsewhere: address that reaches it."""

SHOWN_STORE = "AUTOTUNE_SHOWN_STORE"
"""Variable beside it: folder of the head that the person gave as the store; absent for the usual one."""

OWNER_VARIABLE = "AUTOTUNE_OWNER"
"""Variable of a process on a cluster's head: whose study it runs or tells of."""

_LONGEST_NAME = 64  # of a study, in characters, as a study file may have it


def free_name(name: str, taken: Collection[str]) -> str:
    """Return a study's name, or the first of ``name-2``, ``name-3`` ... that is free, cut where it is long.

    Args:
        name: Name that is wanted.
        taken: Names that studies have.
    """
    candidate, count = name, 1
    while candidate in taken:
        count += 1
        end = f"-{count}"
        candidate = f"{name[: _LONGEST_NAME - len(end)]}{end}"
    return candidate


def study_command(command: str, study: str | None, *options: str) -> str:
    """Return a command about a study, whatever that is called.

    Args:
        command: Name of the command.
        study: Name of the study; ``None`` for the only one.
        options: Options of the command.
    """
    names = [] if study is None else [study]
    if study is not None and study.startswith("-"):  # no option
        return shlex.join(("autotune", command, *options, "--", study))
    return shlex.join(("autotune", command, *names, *options))


def stored_command(command: str, study: str, ledger: str | Path, *options: str) -> str:
    """Return a command about a study of a ledger, wherever the person is who reads it.

    Args:
        command: Name of the command.
        study: Name of the study.
        ledger: Path of its file; empty for one in memory.
        options: Options of the command.
    """
    if address := os.environ.get(ADDRESS):
        return command_elsewhere(command, study, options, address)
    return study_command(command, study, *options, *store_options(ledger))


def there(address: str, store: str | None = None) -> tuple[str, ...]:
    """Return the options that say where a study of a cluster is.

    Args:
        address: Address of the job server.
        store: Folder of all owners' stores there; ``None`` for the usual one.
    """
    return ("--address", address, *(("--store", store) if store else ()))


def submit_command(
    study: str | None, owner: str, options: Sequence[str], address: str, store: str | None = None
) -> str:
    """Return the command that goes on with a study of a cluster, whatever name its file has.

    Args:
        study: Name of the study.
        owner: Its owner; empty where that is not known.
        options: Options of the command.
        address: Address of the job server.
        store: Folder of all owners' stores there; ``None`` for the usual one.
    """
    whose = ("--owner", owner) if owner else ()
    name = () if study is None else ("--set", f"name={study}")
    return study_command("submit", "FILE", *whose, *name, *options, *there(address, store))


def command_elsewhere(command: str, study: str | None, options: tuple[str, ...], address: str) -> str:
    """Return a command for a person who reaches a cluster by its address.

    Args:
        command: Name of the command that would be given on the head.
        study: Name of the study, or the file that the command takes.
        options: Options of it.
        address: Address of the job server.
    """
    owner, store = os.environ.get(OWNER_VARIABLE, ""), os.environ.get(SHOWN_STORE)
    if command in ("resume", "run"):  # `run` names a file
        name = study if command == "resume" else None
        return submit_command(name, owner, options, address, store)
    label = f"{owner}/{study}" if owner and study and command != "sweep" else study  # that one takes a file
    return study_command(command, label, *options, *there(address, store))


def shown_address(address: str) -> str:
    """Return an address without the user and password that it may hold: everybody can read it on the head."""
    scheme, mark, rest = address.rpartition("://")
    place, slash, path = rest.partition("/")
    return f"{scheme}{mark}{place.rpartition('@')[2]}{slash}{path}"


def store_options(ledger: str | Path) -> tuple[str, ...]:
    """Return ``--store`` with the place of a ledger; nothing where commands look by themselves.

    Args:
        ledger: Path of its file; empty for one in memory.
    """
    if address := os.environ.get(ADDRESS):
        return there(address, os.environ.get(SHOWN_STORE))
    file = Path(ledger)
    if not str(ledger) or file.resolve() == (Path(USUAL_STORE) / LEDGER_NAME).resolve():
        return ()
    return ("--store", str(file.parent if file.name == LEDGER_NAME else file))

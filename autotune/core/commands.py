"""Commands for a person to paste."""

from __future__ import annotations

import shlex
from pathlib import Path

from autotune.core.file_names import LEDGER_NAME, USUAL_STORE


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


def store_options(ledger: str | Path) -> tuple[str, ...]:
    """Return ``--store`` with the place of a ledger; nothing where commands look by themselves.

    Args:
        ledger: Path of its file; empty for one in memory.
    """
    file = Path(ledger)
    if not str(ledger) or file.resolve() == (Path(USUAL_STORE) / LEDGER_NAME).resolve():
        return ()
    return ("--store", str(file.parent if file.name == LEDGER_NAME else file))

"""Studies of a store as the commands that only look need them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from autotune.errors import StudyError

if TYPE_CHECKING:
    from autotune.ledger import Ledger


def open_ledger(store: Path) -> Ledger:
    """Open the ledger of a store for reading.

    Raises:
        StudyError: There is none, or what the store names is no folder and no file.
        LedgerError: It is damaged.
    """
    from autotune.core.file_names import LEDGER_NAME
    from autotune.ledger import Ledger

    if store.exists() and not (store.is_file() or store.is_dir()):
        raise StudyError(
            f"no study in {store}: it is neither a folder nor a regular file",
            hint="`--store` names a folder with a ledger, or the ledger itself",
        )
    file = store if store.is_file() else store / LEDGER_NAME
    if not file.exists():
        raise StudyError(
            f"no study in {store}: there is no {LEDGER_NAME}",
            hint="`autotune run FILE` creates one; `--store` names another folder, or the ledger itself",
        )
    return Ledger.open(file, create=False, read_only=True)

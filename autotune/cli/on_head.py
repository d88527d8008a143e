"""What runs on a cluster's head for people elsewhere: ``python -m autotune.cli.on_head COMMAND ...``.

A submitted study lays its files out and runs; any other command is given here, on the store of the owner
whose study it names, and its output goes back line by line.
"""

from __future__ import annotations

import json
import os
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from io import TextIOBase
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TextIO, TypeVar

from autotune.cli.remote import MARK
from autotune.cli.submitted import head_store, run_submitted
from autotune.core.commands import OWNER_VARIABLE
from autotune.core.file_names import LEDGER_NAME
from autotune.core.redact import redact
from autotune.errors import (
    AutotuneError,
    EmptyLedgerError,
    LedgerError,
    StudyError,
    did_you_mean,
)

T = TypeVar("T")


def main(words: Sequence[str]) -> int:
    """Carry a command out; return its exit code."""
    if words[0] == "run":
        return run_submitted(words)
    return _answer(list(words))


# -- other commands ------------------------------------------------------------------------------------------


class _Sent(TextIOBase):
    """A stream whose text goes back to whoever asked.

    Args:
        kind: ``out`` or ``err``.
        to: Stream of this process.
        names: Texts to be replaced: names that a file has here by those that it gets there.
    """

    def __init__(self, kind: str, to: TextIO, names: dict[str, str]) -> None:
        self._kind, self._to, self._names = kind, to, names

    encoding = "utf-8"

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        shown = text
        for here, there in self._names.items():
            shown = shown.replace(here, there)
        _send(self._to, self._kind, shown)
        return len(text)


def _send(to: TextIO, kind: str, data: str) -> None:
    to.write(f"{MARK}{json.dumps([kind, data])}\n")
    to.flush()


def _answer(words: list[str]) -> int:
    from autotune.cli.app import main as autotune

    real = sys.stdout
    with TemporaryDirectory(prefix="autotune-") as folder:
        names: dict[str, str] = {}
        place = _place_of_output(words)
        made = None
        if place is not None:
            made = Path(folder) / Path(words[place]).name
            names[str(made)] = words[place]
            words[place] = str(made)
        with redirect_stdout(_Sent("out", real, names)), redirect_stderr(_Sent("err", real, names)):
            try:
                if words[0] == "list":
                    return _list(_kind(words), "--json" in words)
                if words[0] == "status" and "--" not in words:
                    return _list_studies("--json" in words)
                code = autotune(_on_its_store(words))
            except AutotuneError as error:
                from autotune.cli.output import echo_error

                echo_error(error.message, error.hint)
                return error.exit_code
        if made is not None and made.is_file():
            _send(real, "file", b64encode(made.read_bytes()).decode())
        return code


def _place_of_output(words: Sequence[str]) -> int | None:
    """Return where the file stands that ``--output`` names; ``None`` without one, or for standard output."""
    for place, (option, value) in enumerate(pairwise(words), 1):
        if option == "--":
            break
        if option == "--output" and value != "-":
            return place
    return None


def _kind(words: Sequence[str]) -> str | None:
    """Return what `autotune list` is to list; ``None`` for all kinds."""
    return words[words.index("--") + 1] if "--" in words else None


def _stores() -> dict[str, Path]:
    """Return the stores of this head by their owners; that of nobody has no name."""
    root = head_store()
    folders = [root, *sorted(path for path in root.glob("*") if path.is_dir())]
    return {"" if f == root else f.name: f for f in folders if (f / LEDGER_NAME).is_file()}


def _names_in(store: Path) -> list[str]:
    """Return the names of the studies of a store."""
    from autotune.ledger import Ledger

    with Ledger.open(store / LEDGER_NAME, create=False, read_only=True) as ledger:
        return [row.name for row in ledger.studies()]


def _readable(stores: Mapping[str, Path], read: Callable[[Path], T]) -> Iterator[tuple[str, T]]:
    """Yield what is read of each store by its owner; one that cannot be read is named and left out."""
    from autotune.cli.output import echo

    for owner, store in stores.items():
        try:
            yield owner, read(store)
        except EmptyLedgerError:  # it is being made
            continue
        except (LedgerError, OSError) as error:
            why = " ".join(f"{getattr(error, 'message', error)}".split())
            echo(redact(f"warning: the studies of {owner or 'nobody'} are left out: {why}"), sys.stderr)


def _on_its_store(words: list[str]) -> list[str]:
    """Return a command with the name of its study alone, and the store that has it.

    Raises:
        StudyError: No study is called so, or those of several owners are.
    """
    from autotune.cli.stop import not_running
    from autotune.ledger.lock import study_is_held

    place = words.index("--") + 1 if "--" in words else len(words)
    wanted = words[place] if place < len(words) else None
    own = words[: place - 1 if wanted is not None else place]
    stores = _stores()
    owner, slash, name = (wanted or "").partition("/")
    if slash and owner in stores and name in _names_in(stores[owner]):  # no other store is looked at
        os.environ[OWNER_VARIABLE] = owner
        return [*own, "--store", str(stores[owner]), "--", name]
    found = {
        f"{owner}/{name}" if owner else name: (name, stores[owner])
        for owner, names in _readable(stores, _names_in)
        for name in names
    }
    fitting = [label for label, (name, _) in found.items() if wanted in (None, name, label)]
    if words[0] == "stop" and (wanted is None or not fitting):
        running = [one for one, (name, store) in found.items() if study_is_held(store / LEDGER_NAME, name)]
        if wanted is not None or len(running) != 1:
            raise not_running(wanted, running)
        fitting = running
    if wanted in fitting:  # of nobody, or with its owner
        fitting = [str(wanted)]
    if len(fitting) != 1:
        several = ", ".join(sorted(fitting or found)) or "none yet"
        if fitting:
            raise StudyError(
                f"{wanted or 'no name'!r} could be any of these: {several}", hint="name one of them"
            )
        raise StudyError(
            f"no study {wanted!r} on this head; there are: {several}", hint=did_you_mean(str(wanted), found)
        )
    name, store = found[fitting[0]]
    os.environ[OWNER_VARIABLE] = fitting[0].removesuffix(name).removesuffix("/")
    return [*own, "--store", str(store), "--", name]


def _list(kind: str | None, as_json: bool) -> int:
    """List what this head has to choose from: of studies, those of all owners."""
    from autotune.cli.show import KINDS, entries_of, show_entries

    if kind == "studies":
        return _list_studies(as_json)
    names = KINDS if kind is None else (kind,)
    found = {name: _studies() if name == "studies" else entries_of(name, head_store()) for name in names}
    show_entries(found, alone=kind is not None, as_json=as_json)
    return 0


def _studies() -> dict[str, str]:
    """Return the studies of all owners with a line about each."""
    from autotune.cli.show import studies_of

    return {
        f"{owner}/{name}" if owner else name: text
        for owner, texts in _readable(_stores(), studies_of)
        for name, text in texts.items()
    }


def _list_studies(as_json: bool) -> int:
    """List the studies of all owners."""
    from autotune.cli.show import show_studies

    none = "no studies yet; `autotune submit FILE --address ...` starts one"
    show_studies(_studies(), none, as_json=as_json)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

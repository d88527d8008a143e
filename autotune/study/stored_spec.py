"""A study as a ledger describes it, judged: a ledger may be whole and still come from anybody."""

from __future__ import annotations

from pathlib import Path

from autotune.errors import LedgerError, SpecError
from autotune.ledger import StudyRow
from autotune.spec.stored import StoredSpec

ORDER = "parameter_order"
"""Note of a study: its parameters in the order of its file; the ledger sorts the keys of what it stores."""

_HINT = "nothing of this version wrote that; the other studies of the ledger can be read"


def read_stored_spec(ledger: Path | None, row: StudyRow) -> StoredSpec:
    """Return the file of a study of a ledger, nothing of it wrong, its parameters in its order where known.

    Args:
        ledger: Path of the ledger, for messages; ``None`` of one in memory.
        row: Study.

    Raises:
        LedgerError: A part of it is wrong; names the ledger, the study and the part.
    """
    order = row.notes.get(ORDER)
    found = StoredSpec(row.spec, tuple(order) if isinstance(order, list) else (), row.seed)
    try:
        found.check()
    except SpecError as error:
        place = f"{ledger}: " if ledger else ""
        part = ".".join(map(str, error.path))
        raise LedgerError(
            f"{place}the study {row.name!r} is stored with a wrong {part}: {error.message}",
            hint=error.hint or _HINT,
        ) from None
    return found

"""What a ledger keeps of the copies that were made of a study in it: the last one, and what went wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from autotune.core.copy_state import CopyState
from autotune.ledger.store import Ledger

COPIES = "copy"
"""Name, among those of mirrors, under which the ledger keeps it."""

GENERATION, COPIED, PROBLEM, RESTORED = "generation", "copied", "problem", "restored"
"""The last number given out, the last copy that arrived, why the last try failed (empty if it did not), and,
in a ledger that came back from a copy, the number of that."""


@dataclass(frozen=True)
class CopyTag:
    """A copy of a study of a ledger.

    Args:
        generation: Number over all copies of the study, counted from 1.
        digest: BLAKE2b of the file, 16 bytes.
        size: Bytes of it.
        content: Digest of the study that is in it.
        copied_ns: Wall clock before the study was read.
    """

    generation: int
    digest: str
    size: int
    content: str
    copied_ns: int

    @classmethod
    def read(cls, text: str) -> CopyTag | None:
        """Return what a tag says; ``None`` where it is none of ours, or torn."""
        try:
            found = json.loads(text)
            tag = cls(*(kind(found[key]) for key, kind in _KINDS.items()))
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return None
        numbers = (tag.generation, tag.size, tag.copied_ns)
        return tag if all(0 <= number < _MOST for number in numbers) else None

    def text(self) -> str:
        """Return what :meth:`read` reads."""
        return json.dumps(asdict(self))


_MOST = 1 << 63
_KINDS = {"generation": int, "digest": str, "size": int, "content": str, "copied_ns": int}


def last_copy(state: Mapping[str, str]) -> CopyTag | None:
    """Return the last copy that arrived, by what the ledger keeps; ``None`` where none has."""
    return CopyTag.read(state.get(COPIED, ""))


def copy_state(ledger: Ledger, study: str) -> CopyState | None:
    """Return how far the copies of a study are behind it; ``None`` where none was ever tried."""
    state = ledger.mirror_state(study, COPIES)
    if not state:
        return None
    last = last_copy(state)
    generation, moment = (0, 0) if last is None else (last.generation, last.copied_ns)
    return CopyState(generation, moment, ledger.ended_since(study, moment), state.get(PROBLEM, ""))

"""Short labels of studies of several ledgers: the name, and of a folder what tells equal names apart."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from autotune.core.file_names import LEDGER_NAME, USUAL_STORE

_FOLDER = 24  # characters of a folder; a longer one is told by its end and a digest of all of it


def study_labels(places: Sequence[tuple[Path, str]]) -> list[str]:
    """Return a label of each study, all different: ``chat``, or ``nightly:chat`` beside another ``chat``.

    Args:
        places: Ledger, or the store that it lies in, and name of each study.
    """
    folders = [_parts(path) for path, _ in places]
    texts = []
    for parts, (_, name) in zip(folders, places, strict=True):
        rivals = [other for other, (_, same) in zip(folders, places, strict=True) if same == name]
        text = _short("/".join(_apart(parts, rivals)))
        texts.append(f"{text}:{name}" if text else name)
    seen: Counter[str] = Counter()
    labels = []
    for text in texts:  # the same study twice
        seen[text] += 1
        labels.append(text if seen[text] == 1 else f"{text} ({seen[text]})")
    return labels


def study_label(ledger: str | Path, name: str) -> str:
    """Return the label of a study alone: its name, with the store where that is not the usual one."""
    return study_labels([(Path(USUAL_STORE), name), (Path(ledger), name)])[1].removesuffix(" (2)")


def _parts(path: Path) -> tuple[str, ...]:
    """Return the folders down to a ledger, and its name where that is not the usual one."""
    whole = path.expanduser().resolve()
    return (whole.parent if whole.name == LEDGER_NAME else whole).parts[1:]


def _apart(parts: tuple[str, ...], rivals: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the parts of a folder without those that it begins and ends with as all its rivals do."""
    if len(set(rivals)) < 2:
        return ()
    start = _alike(rivals)
    end = _alike([one[start:][::-1] for one in rivals])
    return parts[start : len(parts) - end]


def _alike(texts: Sequence[tuple[str, ...]]) -> int:
    """Return how many parts all begin with."""
    return sum(
        1 for _ in itertools.takewhile(lambda column: len(set(column)) == 1, zip(*texts, strict=False))
    )


def _short(folder: str) -> str:
    if len(folder) <= _FOLDER:
        return folder
    digest = hashlib.blake2b(folder.encode(errors="surrogateescape"), digest_size=2).hexdigest()
    return f"{digest}~{folder[-(_FOLDER - len(digest) - 1) :]}"

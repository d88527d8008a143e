"""What happened, the source of truth: one SQLite file, safe against crashes."""

from autotune.ledger.lock import study_lock
from autotune.ledger.rows import AttemptRow, StudyRow
from autotune.ledger.store import Ledger

__all__ = ["AttemptRow", "Ledger", "StudyRow", "study_lock"]

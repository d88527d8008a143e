"""What happened, the source of truth: one SQLite file, safe against crashes.

Owns the tables, their upgrades, the lock of a study and what is saved of a damaged file. May import ``core``.
"""

from autotune.ledger.lock import study_lock
from autotune.ledger.rows import AttemptRow, StudyRow
from autotune.ledger.store import Ledger, made_ledger

__all__ = ["AttemptRow", "Ledger", "StudyRow", "made_ledger", "study_lock"]

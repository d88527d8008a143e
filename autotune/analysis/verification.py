"""What came of measuring a study's winner and default again."""

from __future__ import annotations

from dataclasses import dataclass

from autotune.analysis.change import Change, Status
from autotune.core.trial import Config


@dataclass(frozen=True)
class Side:
    """A configuration that was measured again.

    Args:
        name: ``winner`` (``nearest`` where none surely kept the limits) or ``default``.
        trial: Trial of the study that stands for it.
        config: The configuration.
        changes: Goals and limits then and now.
        launches: Launches that gave a measurement now.
        failed: Messages of launches that the configuration failed now.
        as_before: Whether it failed in the study too, and never gave a measurement there.
    """

    name: str
    trial: int
    config: Config
    changes: tuple[Change, ...]
    launches: int
    failed: tuple[str, ...] = ()
    as_before: bool = False

    @property
    def broken(self) -> bool:
        """Whether it fails now and did not before."""
        return bool(self.failed) and not self.as_before


@dataclass(frozen=True)
class Verification:
    """A study measured again.

    Args:
        study: Name of the study.
        name: Name of the study that holds the launches.
        state: State of that one: ``completed``, or ``interrupted``.
        tolerance: Part by which a metric may become worse.
        confidence: Probability with which limits are to hold.
        launches: Launches asked for of each side.
        sides: Winner and default; the winner alone where it is the default.
        differs: Changes between then and now: versions, hardware, settings of the study file.
        then, now: When each was measured, as dates.
        ledger: Path of the ledger.
    """

    study: str
    name: str
    state: str
    tolerance: float
    confidence: float
    launches: int
    sides: tuple[Side, ...]
    differs: tuple[str, ...] = ()
    then: str = ""
    now: str = ""
    ledger: str = ""

    def status(self, change: Change) -> Status:
        """Return what a change amounts to under the tolerance."""
        return change.status(self.tolerance, self.confidence)

    @property
    def worse(self) -> bool:
        """Whether a side began to fail, a limit is broken, or a metric is worse beyond the tolerance."""
        statuses = {self.status(change) for side in self.sides for change in side.changes}
        return bool(statuses & {"worse", "broken"}) or any(side.broken for side in self.sides)

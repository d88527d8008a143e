"""When a search ends before its budget: ``stop_when: converged``.

The engine decides from the history alone. What it decided is kept as a note of the study, so that the same
command does not go on by chance after the confirmation has added trials, and a larger budget does go on.
"""

from __future__ import annotations

from collections.abc import Sequence

from autotune.core.assessment import STOP_WHEN
from autotune.core.trial import Trial
from autotune.engine.base import ModelBased
from autotune.errors import SpecError, did_you_mean
from autotune.study.study import Study

NOTE = "stopped"
"""Key of the study's note; :attr:`autotune.study.study.Study.stopped` reads it."""


class Stopping:
    """The rules by which a study stops proposing trials.

    Args:
        study: Study whose engine and history decide.
        stop_when: One of :data:`autotune.core.assessment.STOP_WHEN`.
        budget: Trials planned.

    Attributes:
        reason: Reason why the search has ended before its budget; empty while it has not.

    Raises:
        SpecError: ``stop_when`` is unknown, or the engine has no model that could tell.
    """

    def __init__(self, study: Study, stop_when: str, budget: int) -> None:
        if not isinstance(stop_when, str) or stop_when not in STOP_WHEN:
            raise SpecError(
                f"unknown stop_when {stop_when!r}; allowed: {', '.join(STOP_WHEN)}",
                hint=did_you_mean(str(stop_when), STOP_WHEN),
            )
        self.study, self.budget = study, budget
        self.active = stop_when == "converged"
        if self.active and not isinstance(study.engine, ModelBased):
            raise SpecError(
                f"engine {study.engine.name} has no model that could tell when the search has converged",
                hint="use the engine gp, or leave stop_when out",
            )
        self.reason, self._asked, self._least = "", -1, 0
        note = study.ledger.study_notes(study.name).get(NOTE)
        if not note or note["of"] != self._of():
            return
        if note["reason"] and self.active and budget <= int(note["budget"]):
            self.reason = str(note["reason"])
        elif note["reason"]:  # whoever asks for more wants at least one trial more
            self._least = len(_searched(study.trials)) + 1
            study.ledger.set_study_note(study.name, NOTE, {**note, "reason": "", "least": self._least})
        else:
            self._least = int(note["least"])

    def _of(self) -> list[str]:
        """Return what a decision is about: under another space, objective or engine it means nothing."""
        study = self.study
        return [study.space.fingerprint, study.objective.fingerprint, study.engine.name]

    def __call__(self) -> bool:
        """Return whether the search is over; the engine is asked once per finished trial."""
        if self.reason or not self.active:
            return bool(self.reason)
        searched = _searched(self.study.trials)
        if len(searched) >= self.budget or len(searched) < self._least or len(searched) == self._asked:
            return False
        self._asked = len(searched)
        found = self.study.assess()
        if found is not None and found.converged:
            self.reason = f"converged: {found.reason}"
            note = {"reason": self.reason, "least": 0, "budget": self.budget}
            self.study.ledger.set_study_note(self.study.name, NOTE, {**note, "of": self._of()})
        return bool(self.reason)

    def stop(self, reason: str) -> None:
        """End the search because somebody asked to; whoever runs the study again goes on with it."""
        self.reason = reason
        note = {"reason": reason, "least": 0, "budget": 0, "of": self._of()}
        self.study.ledger.set_study_note(self.study.name, NOTE, note)


def _searched(trials: Sequence[Trial]) -> list[Trial]:
    """Return the finished trials of the search; confirmations and looks at the default are none of it."""
    return [t for t in trials if t.state.finished and t.suggestion.reason.of_search]

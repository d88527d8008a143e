"""The trials of a study, kept sorted as they change: every ask of a long study would sort them anew."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

from autotune.core.trial import Config, Reason, Trial, TrialState


class History:
    """The newest state of every trial.

    Args:
        trials: Trials in the order of their numbers, which begin with 0.

    Attributes:
        finished: Those that are over, in the order of their numbers. Not to be changed by who reads it.
        watched: Whether a look at the default is among the finished ones.
        units: Unit of each metric, and the number of the trial that gave it first.
        searched: Number of trials of the search.
    """

    def __init__(self, trials: Iterable[Trial]) -> None:
        self._all: list[Trial] = []
        self._unfinished: dict[int, Trial] = {}
        self.finished: list[Trial] = []
        self.watched = False
        self.searched = 0
        self.units: dict[str, tuple[str, int]] = {}
        for trial in trials:
            self.put(trial)

    def put(self, trial: Trial) -> Trial:
        """Take the newest state of a trial, or a new trial with the next number; return it."""
        number = trial.number
        if number == len(self._all):
            self._all.append(trial)
            self.searched += trial.suggestion.reason.of_search
        else:
            self._all[number] = trial
        place = bisect_left(self.finished, number, key=lambda other: other.number)
        known = place < len(self.finished) and self.finished[place].number == number
        self.finished[place : place + known] = [trial] if trial.state.finished else []
        self._unfinished.pop(number, None)
        if not trial.state.finished:
            self._unfinished[number] = trial
        elif trial.suggestion.reason is Reason.WATCH:
            self.watched = True
        if trial.state is TrialState.COMPLETED:
            for name, estimate in trial.metrics.items():
                self.units.setdefault(name, (estimate.unit, number))
        return trial

    def __len__(self) -> int:
        return len(self._all)

    def __getitem__(self, number: int) -> Trial:
        return self._all[number]

    def all(self) -> list[Trial]:
        """Return every trial in number order."""
        return list(self._all)

    def unfinished(self) -> list[Trial]:
        """Return the trials that are not over, in number order."""
        return [self._unfinished[number] for number in sorted(self._unfinished)]

    def pending(self) -> list[Config]:
        """Return the configurations that are not measured yet, in the order of their trials."""
        return [trial.config for trial in self.unfinished()]

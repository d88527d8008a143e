"""Confirmation: which launch to make next so that what is recommended was shown to hold on fresh launches.

The configuration that is expected to be worth most once confirmed is launched again beside the default, in
balanced order against drift (A B B A). When its launches break a limit or fall short, another configuration
is expected to be worth more and takes its place, and so on while launches are left. Of several goals the
ends and the knee of the front are confirmed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np

from autotune.core.decision import EVEN, Candidate, Decision
from autotune.core.space import Space
from autotune.core.trial import Reason, Suggestion, config_key

MOST = 2
"""Launches of a confirmation at most, as a multiple of those that the winner and the default need. Where
noise is small the first candidate is the last one; where it is large, others follow."""

_WORTH = 0.005
"""Expected gain, in parts of the best goal, that one more launch has to bring."""


def next_confirmation(
    decision: Decision, space: Space, seed: int, named: Collection[str] = ()
) -> Suggestion | None:
    """Return the next launch to make, or ``None`` when the confirmation is complete or waits for results.

    A function of the trials alone, so that an interrupted confirmation goes on where it was.

    Args:
        decision: Decision by all finished trials; it knows how many launches confirm a configuration.
        space: Space with the default configuration.
        seed: Seed of the study: draws which side comes first.
        named: Keys of configurations that somebody asked to confirm, in place of what the decision would.
    """
    searched = [t for t in decision.trials if t.suggestion.reason is not Reason.CONFIRM]
    if not decision.confirm or not decision.candidates or not all(t.state.finished for t in searched):
        return None
    confirmation = _Confirmation(decision, space, seed)
    if decision.awaited and not named:  # no launch can show a limit kept that bounds nothing
        return None
    if named:
        return confirmation.each([c for c in decision.candidates if c.key in named], alone=True)
    if len(decision.objective.goals) > 1:
        return confirmation.each(confirmation.corners())
    return confirmation.next()


class _Confirmation:
    """The launches made so far and those still wanted."""

    def __init__(self, decision: Decision, space: Space, seed: int) -> None:
        self.decision, self.seed = decision, seed
        self.default = space.default_config
        self.default_key = config_key(self.default)
        made = decision.confirmations
        self.order = [t.key for t in made]
        self.made = Counter(self.order)
        self.doubtful = Counter(t.key for t in made if t.doubt)  # a launch that says little is made again
        self.pending = Counter(t.key for t in made if not t.state.finished)
        self.left = MOST * 2 * decision.confirm - len(made)

    def next(self) -> Suggestion | None:
        """Return the next launch."""
        wanted = {c.key: self._wanted(c) for c in self.decision.candidates}
        more = {key: n + self.pending[key] for key, n in wanted.items()}
        gains = self.decision.gains(more, self._settled())
        best = max(self.decision.candidates, key=lambda c: (gains[c.key], -c.contender.trial.number))
        if gains[best.key] >= _WORTH * max(more[best.key], 1):
            return self._side(best, wanted[best.key])
        winner = self.decision.winner if self.decision.confirming else None
        return None if winner is None else self._side(winner, 0)

    def corners(self) -> list[Candidate]:
        """Return the ends and the knee of the front; what was launched stays, however the front moves."""
        by_key = {c.key: c for c in self.decision.candidates if c.key != self.default_key}
        begun = [by_key[key] for key in dict.fromkeys(self.order) if key in by_key]
        now = [c for c in self.decision.corners if c.key != self.default_key and c not in begun]
        return [*begun, *now][: len(self.decision.objective.goals) + 1]

    def each(self, candidates: Sequence[Candidate], *, alone: bool = False) -> Suggestion | None:
        """Return the next launch of several configurations and the default, in the order A B C C B A.

        Args:
            candidates: The configurations; with none beside the default there is nothing to launch.
            alone: Whether the default is launched where it is the only one.
        """
        default = next((c for c in self.decision.candidates if c.key == self.default_key), None)
        others = [c for c in candidates if c.key != self.default_key]
        wanted = others or (alone and candidates)
        sides = [*others, *([default] if default is not None and wanted else [])]
        made = self.made - self.doubtful
        least = min((made[c.key] for c in sides), default=self.decision.confirm)
        if least >= self.decision.confirm or self.left <= 0:
            return None
        behind = [c for c in sides if made[c.key] == least]
        side = behind[-1 if least % 2 else 0]
        return Suggestion(side.contender.config, Reason.CONFIRM, engine="confirmation")

    def _settled(self) -> Candidate | None:
        """Return the winner that needs no more launches, which others have to surpass."""
        winner = self.decision.winner
        if winner is None or self.decision.confirming:
            return winner
        return winner if winner.key == self.default_key and not self._wanted(winner) else None

    def _wanted(self, candidate: Candidate) -> int:
        """Return how many more launches a configuration would get."""
        confirm, made = self.decision.confirm, self.made[candidate.key] - self.doubtful[candidate.key]
        if candidate.key == self.default_key:
            if not self.decision.limits:
                return 0
            made = candidate.fresh + candidate.lost + self.pending[candidate.key]
        if made < confirm:
            return min(confirm - made, self.left)
        # likelier than not, and not sure enough: one launch at a time may decide it
        doubtful = candidate.chance >= EVEN and not self.decision.holds(candidate)
        again = doubtful and not self.pending[candidate.key] and made < MOST * confirm
        return min(1, self.left) if again else 0

    def _side(self, candidate: Candidate, wanted: int) -> Suggestion | None:
        """Return a launch of the candidate or of the default beside it, in the order A B B A."""
        a, b = candidate.key, self.default_key
        beside = self.decision.confirm - self.made[b] + self.doubtful[b]
        if a == b or all(c.key != b for c in self.decision.candidates):
            beside = 0
        beside = min(beside, self.left)
        if wanted <= 0 and beside <= 0:
            return None
        if wanted > 0 and beside > 0:
            last = next((key for key in reversed(self.order) if key in (a, b)), None)
            if self.made[a] != self.made[b]:
                first = self.made[a] < self.made[b]
            elif last is None:
                first = bool(np.random.default_rng([self.seed, len(self.decision.trials)]).integers(2))
            else:
                first = last == a
        else:
            first = wanted > 0
        config = candidate.contender.config if first else self.default
        return Suggestion(config, Reason.CONFIRM, engine="confirmation")

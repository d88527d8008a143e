"""Local search from many starts over the allowed configurations of a space too large to enumerate.

All climbers advance together, so that the score is asked for few times, of many rows each. A climber looks
at the changes of one parameter (all of them where they are few, else a sample that prefers near levels) and
at those that constraints force to go together; it takes the best. Changes that were better one by one are
also tried together in the next round, which shortens the way where parameters act alone. A climber that
finds nothing better looks two changes far if it is the best one; another begins anew near the best rows
found ([Lourenco2019]).

References:
    [Hutter2011] F. Hutter, H. H. Hoos, K. Leyton-Brown, "Sequential model-based optimization for general
        algorithm configuration", LION 2011: local search of the acquisition over mixed parameters.
    [Lourenco2019] H. R. Lourenco, O. C. Martin, T. Stuetzle, "Iterated local search: framework and
        applications", Handbook of Metaheuristics, 2019.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from autotune.core.space import Space
from autotune.core.table import Indices
from autotune.core.trial import config_key
from autotune.engine.gp.model.shapes import check_shapes
from autotune.engine.gp.optimize.moves import Mask, Moved, Moves, joined

Scores = npt.NDArray[np.float64]
Score = Callable[[Indices], Scores]
"""Gives the score of rows, ``n x d`` to ``n``; -inf excludes a row."""

CLIMBERS = 6
ROWS = 5_000
"""Rows scored beside the starts."""

CALLS = 12
"""Calls of the score beside that of the starts."""

PATIENCE = 3
"""Calls in a row that may find nothing better than the best before the search ends."""

_TOGETHER = 8  # moves of each set of tied parameters in a round
_COMBINED = (2, 3, 5, 8, 10**9)  # of the better single changes are tried together
_KICK = 0.15  # largest share of the parameters changed where a climber begins anew


@dataclass(frozen=True)
class Found:
    """Rows that were scored, the best first.

    Args:
        rows: Distinct allowed rows, none of them tried; ``n x d``.
        scores: Shape ``n``.
        calls: Number of times the score was asked for.
        scored: Number of rows it was asked for in all.
    """

    rows: Indices
    scores: Scores
    calls: int
    scored: int


class SeenRows:
    """A hash set of rows: rows that are equal have equal hashes, and hardly any others do.

    Args:
        d: Columns.
    """

    def __init__(self, d: int) -> None:
        self.weights = np.random.default_rng(0).integers(-(2**63), 2**63 - 1, d, dtype=np.int64) | 1
        self.known = np.empty(0, np.int64)

    def fresh(self, rows: Indices) -> npt.NDArray[np.int64]:
        """Return the positions of the rows never seen, each row once, and remember them."""
        numbers = (rows.astype(np.int64) + 2) @ self.weights  # wraps around, as a hash may
        _, first = np.unique(numbers, return_index=True)
        first = np.sort(first)
        first = first[~np.isin(numbers[first], self.known)]
        self.known = np.concatenate([self.known, numbers[first]])
        return first


def tried_rows(space: Space, tried: Iterable[str]) -> Indices:
    """Return the rows of the configurations with these keys, shape ``n x d``.

    A configuration with values between the levels of continuous parameters has none.
    """
    table = space.as_table(np.empty((0, len(space)), np.int32))
    encoded = [table.encode(json.loads(key)) for key in sorted(tried)]
    rows = np.array(encoded, np.int32).reshape(-1, len(space))
    if all(p.discrete for p in space.parameters):
        return rows
    found = space.as_table(rows).configs(range(len(rows)))
    exact = [config_key(config) in tried for config in found]
    return rows[np.array(exact, dtype=bool)] if len(rows) else rows


def climb(
    space: Space,
    starts: Indices,
    score: Score,
    tried: Iterable[str],
    rng: np.random.Generator,
    *,
    leaders: Indices | None = None,
    within: Callable[[Indices], Mask] | None = None,
    climbers: int = CLIMBERS,
    rows: int = ROWS,
    calls: int = CALLS,
    patience: int = PATIENCE,
) -> Found:
    """Return the best rows that local search finds.

    Args:
        space: Space that is too large to enumerate.
        starts: Allowed rows, all of them scored; the best of them that are apart begin a climb. Shape
            ``n x d``.
        score: Score to be maximized; asked for few times.
        tried: Keys of the configurations that are not to be found.
        rng: Random generator of the moves.
        leaders: Rows that begin a climb whatever their score, as the best ones tried; ``m x d``.
        within: Function that says which rows may be looked at; all by default. Leaders may lie outside.
        climbers: Number of climbers.
        rows: Number of rows scored beside the starts.
        calls: Number of times the score is asked for beside that of the starts.
        patience: Number of calls in a row that may find nothing better.
    """
    check_shapes("climb", ("starts", starts, "n d"), d=len(space))
    if leaders is not None:
        check_shapes("climb", ("leaders", leaders, "m d"), d=len(space))
    search = _Search(space, score, tried, rng, within)
    search.visit(starts)
    if leaders is None:
        leaders = starts[:0]
    search.begin(leaders, climbers)
    best, idle = -np.inf, 0
    for call in range(calls):
        left = rows - (search.scored - len(starts))
        if left <= 0 or not len(search.at) or idle >= patience:
            break
        if call in (calls // 3, 2 * calls // 3):
            search.drop_half()
        search.advance(left // (calls - call))
        found = search.scores.max(initial=-np.inf)
        best, idle = found, 0 if found > best else idle + 1
    order = np.argsort(-search.scores, kind="stable")
    order = order[np.isfinite(search.scores[order])]
    return Found(search.rows[order], search.scores[order], search.calls, search.scored)


class _Search:
    """The places of the climbers, and everything that was scored."""

    def __init__(
        self,
        space: Space,
        score: Score,
        tried: Iterable[str],
        rng: np.random.Generator,
        within: Callable[[Indices], Mask] | None,
    ) -> None:
        self.space, self.score, self.rng, self.within = space, score, rng, within
        self.moves = Moves(space, rng)
        self.seen = SeenRows(len(space))
        self.seen.fresh(tried_rows(space, tried))
        self.rows = np.empty((0, len(space)), np.int32)
        self.scores = np.empty(0)
        self.calls = self.scored = 0

    def visit(self, rows: Indices) -> tuple[npt.NDArray[np.int64], Scores]:
        """Score what is new of some rows; return their positions and scores."""
        if self.within is not None:
            inside = np.flatnonzero(self.within(rows))
            new = inside[self.seen.fresh(rows[inside])]
        else:
            new = self.seen.fresh(rows)
        if not len(new):
            return new, np.empty(0)
        scores = np.asarray(self.score(rows[new]), dtype=np.float64)
        check_shapes("climb", ("score", scores, "n"), n=len(new))
        self.calls, self.scored = self.calls + 1, self.scored + len(new)
        self.rows, self.scores = np.concatenate([self.rows, rows[new]]), np.concatenate([self.scores, scores])
        return new, scores

    def begin(self, leaders: Indices, climbers: int) -> None:
        """Place the climbers: at the leaders, and at the best rows that are apart."""
        order = np.argsort(-self.scores, kind="stable")[: 20 * climbers]
        best = self.rows[order[np.isfinite(self.scores[order])]]
        apart = max(2, best.shape[1] // 8)
        chosen = list(leaders[: climbers // 2])
        for row in best:
            if len(chosen) >= climbers:
                break
            if all((row != other).sum() >= apart for other in chosen):
                chosen.append(row)
        self.at = np.array(chosen, np.int32).reshape(-1, len(self.space))
        values = {
            row.tobytes(): value for row, value in zip(self.rows[order], self.scores[order], strict=True)
        }
        # a leader was tried: whatever is beside it is better
        self.value = np.array([values.get(row.tobytes(), -np.inf) for row in self.at])
        self.stuck = np.zeros(len(self.at), dtype=bool)
        self.combined: list[Moved] = []

    def drop_half(self) -> None:
        """Let the worse half of the climbers go, for the others to look around more."""
        order = np.argsort(-self.value, kind="stable")
        kept = order[: (len(order) + 1) // 2]
        number = {int(k): new for new, k in enumerate(kept)}
        self.combined = [
            Moved(part.rows, np.full(len(part), number[int(part.parent[0])]), part.column)
            for part in self.combined
            if int(part.parent[0]) in number
        ]
        self.at, self.value, self.stuck = self.at[kept], self.value[kept], self.stuck[kept]

    def advance(self, most: int) -> None:
        """Let every climber look around once and move to the best row seen, if it is better.

        Args:
            most: Rows scored at most.
        """
        moved = self._around(max(1, most // max(1, len(self.at))))
        if len(moved) > most:
            keep = np.sort(self.rng.permutation(len(moved))[:most])
            moved = Moved(moved.rows[keep], moved.parent[keep], moved.column[keep])
        new, scores = self.visit(moved.rows)
        moved = Moved(moved.rows[new], moved.parent[new], moved.column[new])
        self.combined = []
        for k in range(len(self.at)):
            mine = np.flatnonzero((moved.parent == k) & (scores > self.value[k]))
            if not len(mine):
                self._stay(k)
                continue
            mine = mine[np.argsort(-scores[mine], kind="stable")]
            self._combine(k, moved, mine)
            self.at[k], self.value[k] = moved.rows[mine[0]], scores[mine[0]]
            self.stuck[k] = False

    def _around(self, each: int) -> Moved:
        """Return what the climbers look at, about ``each`` rows per climber."""
        moves, parts = self.moves, list(self.combined)
        if moves.tied:
            parts.append(moves.together(self.at, _TOGETHER))
        free = np.flatnonzero(~self.stuck)
        if moves.singles <= each:
            parts.append(_of(free, moves.every(self.at[free])))
        else:
            parts.append(_of(free, moves.some(self.at[free], each)))
        stuck = np.flatnonzero(self.stuck)
        if len(stuck):
            parts.append(_of(stuck, moves.some(self.at[stuck], each, steps=2)))
        return moves.settled(joined(parts))

    def _stay(self, k: int) -> None:
        """Let a climber that found nothing better look farther, or begin anew near the best rows found."""
        crowded = (self.at[:k] == self.at[k]).all(1).any()
        if self.stuck[k] or crowded or self.value[k] < self.scores.max(initial=-np.inf):
            best = np.argsort(-self.scores, kind="stable")[: 2 * len(self.at)]
            best = best[np.isfinite(self.scores[best])]
            if not len(best):
                return
            home = self.rows[best[int(len(best) * self.rng.random() ** 2)]]
            kicked = self.moves.mutations(home[None], 1, _KICK)
            if len(kicked):
                self.at[k], self.value[k], self.stuck[k] = kicked[0], -np.inf, False
        else:
            self.stuck[k] = True

    def _combine(self, k: int, moved: Moved, better: npt.NDArray[np.int64]) -> None:
        """Prepare rows that make several of the better single changes of a climber at once.

        Args:
            k: The climber.
            moved: Rows that were looked at.
            better: Positions there of what was better, the best first.
        """
        alone = better[moved.column[better] >= 0]
        _, first = np.unique(moved.column[alone], return_index=True)
        chosen = alone[np.sort(first)]  # the best change of each parameter, the best first
        sizes = sorted({min(size, len(chosen)) for size in _COMBINED})
        if len(chosen) < 2:
            return
        rows = np.repeat(self.at[k][None], len(sizes), axis=0)
        for row, size in zip(rows, sizes, strict=True):
            for position in chosen[:size][::-1]:  # where changes meet, the better one stays
                changes = moved.rows[position] != self.at[k]
                row[changes] = moved.rows[position][changes]
        self.combined.append(Moved(rows, np.full(len(rows), k), np.full(len(rows), -1)))


def _of(climbers: npt.NDArray[np.int64], moved: Moved) -> Moved:
    """Return changed rows of some climbers with the numbers that these have among all."""
    return Moved(moved.rows, climbers[moved.parent], moved.column)

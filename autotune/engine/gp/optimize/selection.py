"""The candidates of one ask: all are compared roughly, the best of them exactly."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from autotune.core.table import Indices, Table
from autotune.core.trial import Config
from autotune.engine.gp.acquisition.contract import Scorer, acquisition_named
from autotune.engine.gp.acquisition.thompson import Samples, Thompson
from autotune.engine.gp.model.candidate_table import CandidateTable
from autotune.engine.gp.model.fitted_models import FittedModels
from autotune.engine.gp.model.memory import known_out_of_memory, known_to_fit
from autotune.engine.gp.model.shapes import check_shapes
from autotune.engine.gp.model.user_prior import UserPrior
from autotune.engine.gp.optimize.local_search import ROWS, climb
from autotune.engine.gp.optimize.trust_region import Region
from autotune.engine.gp.problem import Problem

_CERTAIN = 1e6  # larger than any logarithm of a probability or an improvement
_SHORTLIST = 512  # candidates compared exactly; the best of them is among the first few of the rough order
_RANKED = 4096  # candidates of a large space that are left when it has been sifted
_SAMPLED = 1024  # of which wide batches are sampled jointly
_FIRST = 8192  # candidates that are scored before any bound is looked at
_WORTHLESS = 1e-12  # of standardized values: nothing is expected of it
_FAR = -1e3  # the goal decides nothing below it


class Scores:
    """One number per candidate of an acquisition function, failures, limits and the user's belief.

    Args:
        problem: Problem to propose for.
        models: The models.
        seed: Seed of what the acquisition function draws.
    """

    def __init__(self, problem: Problem, models: FittedModels, seed: int) -> None:
        self.space, self.history, self.models, self.seed = problem.space, problem.history, models, seed
        self.acquisition = acquisition_named(problem.config.acquisition, models, seed)
        self.prior = UserPrior(problem.space, len(models.measured), problem.config)
        self.tie = problem.config.tie

    def measurable(self, grid: CandidateTable, rows: Tensor) -> Tensor:
        """Return the log probability of a measurement of some candidates; their memory is not looked at."""
        return self.models.feasibility.on_grid(grid, rows)

    def fitting(self, table: Table) -> Tensor:
        """Return which candidates are known to have enough memory, shape ``n``."""
        return torch.from_numpy(known_to_fit(table, self.history))

    def hopeless(self, table: Table) -> Tensor:
        """Return which candidates are known to fail, shape ``n``."""
        return torch.from_numpy(known_out_of_memory(table, self.history))

    def total(self, value: Tensor, probability: Tensor, prior: Tensor) -> Tensor:
        """Return the logarithm that decides; while nothing keeps the limits, what counts is to keep them."""
        if self.models.seeking_feasible:
            value = self.tie * value.clamp_min(_FAR)
        total = value + probability + prior
        return total.nan_to_num(nan=-_CERTAIN, posinf=_CERTAIN, neginf=-_CERTAIN)

    def expected_utility(self, value: Tensor, probability: Tensor, prior: Tensor) -> Tensor:
        """Return the expected utility: improvement x P(feasible) - failure cost x P(infeasible).

        A product of value and probability takes any risk once little is left to gain. With a cost of a trial
        that fails or breaks a limit, a risk is taken for what is worth it. Candidates not worth their risk
        lie below all others, in the order of what they lose.
        """
        failure_cost = 0.0 if self.models.seeking_feasible else self.acquisition.failure_cost
        if not failure_cost:
            return self.total(value, probability, prior)
        chance = probability.clamp_max(0.0).exp()
        worth = chance * (value + prior).exp() - (1.0 - chance) * failure_cost
        total = torch.where(worth > _WORTHLESS, worth.clamp_min(_WORTHLESS).log(), worth - _CERTAIN / 2)
        return total.nan_to_num(nan=-_CERTAIN, posinf=_CERTAIN, neginf=-_CERTAIN)

    def log_limits(self, X: Tensor, X_pending: Tensor) -> Tensor:
        """Return the log probability to keep the limits; a search for it counts what pending points tell."""
        return self.models.log_limits(X, X_pending if self.models.seeking_feasible else None)

    def of_encoded(self, scorer: Scorer, X_pending: Tensor) -> Scorer:
        """Return what scores encoded configurations (``n x k``), the user's models apart; shape ``n``."""

        def score(X: Tensor) -> Tensor:
            probability = self.models.feasibility.log_probability(X) + self.log_limits(X, X_pending)
            return self.expected_utility(scorer(X), probability, torch.zeros_like(probability))

        return score

    def of_levels(
        self, scorer: Scorer, X_pending: Tensor, least: float = -math.inf, least_kept: float = -math.inf
    ) -> Callable[[Indices], npt.NDArray[np.float64]]:
        """Return what scores rows of level indices (``n x d``) exactly, shape ``n``.

        Args:
            scorer: Scorer of the acquisition function.
            X_pending: Points whose values are not known yet.
            least: Log probability of a measurement below which a row is excluded, by a score of -inf.
            least_kept: The same of keeping the limits.
        """

        def score(indices: Indices) -> npt.NDArray[np.float64]:
            table = self.space.as_table(indices)
            grid = CandidateTable(self.models.encoder, table)
            rows = torch.arange(len(grid))
            X = grid.encode(rows)
            measured = self.measurable(grid, rows).masked_fill(self.fitting(table), 0.0)
            limits = self.log_limits(X, X_pending)
            doubtful = (measured < least) | (limits < least_kept)
            measured = measured.masked_fill(self.hopeless(table), -_CERTAIN)
            probability = measured + limits
            total = self.expected_utility(scorer(X), probability, self.prior(indices))
            found: npt.NDArray[np.float64] = total.masked_fill(doubtful, -math.inf).numpy()
            return found

        return score


class Selection:
    """The candidates of one ask, and what does not change between its picks.

    Args:
        scores: Scores that they are compared by.
        grid: The candidates.
    """

    def __init__(self, scores: Scores, grid: CandidateTable) -> None:
        self.scores, self.models, self.grid = scores, scores.models, grid
        self.fitting, hopeless = scores.fitting(grid.table), scores.hopeless(grid.table)
        self.hopeless = torch.zeros_like(hopeless) if bool(hopeless.all()) else hopeless
        self.left = ~self.hopeless
        self.others = self.hopeless.clone()  # taken up when nothing else is left
        self.least = math.log(self.models.feasibility.threshold or 1e-300)
        self.least_kept = -math.inf if self.models.seeking_feasible else self.models.least_kept
        self.measured = torch.full((len(grid),), math.nan, dtype=torch.float64)
        if not grid.large:
            self._log_measurable(torch.arange(len(grid)))
        self.prior = scores.prior(grid.table.indices)
        self.limits = torch.full((len(grid),), math.nan, dtype=torch.float64)
        self.bounds: Tensor | None = None
        self.fresh = 0  # pending points when the bounds were computed
        self.climbs = 0

    def best(self, X_pending: Tensor) -> int:
        """Return the row of the best candidate that was not returned before."""
        shortlist = self.shortlist(X_pending)
        X = self.grid.encode(shortlist)
        return self._take(shortlist, self.exact(shortlist, X, X_pending))

    def climbed(
        self,
        X_pending: Tensor,
        tried: set[str],
        leaders: Indices,
        rng: np.random.Generator,
        region: Region | None = None,
    ) -> Config:
        """Return the best configuration that local search from the shortlist finds in a large space.

        Args:
            X_pending: Points whose values are not known yet, ``m x k``.
            tried: Keys of what is not to be found.
            leaders: Rows of levels of the best configurations tried.
            rng: Random generator of the moves.
            region: Region that is searched; everything by default.
        """
        shortlist = self.shortlist(X_pending)
        scorer = self.scores.acquisition.scorer(self.grid.encode(shortlist), X_pending)
        found = climb(
            self.scores.space,
            self.grid.table.indices[shortlist.numpy()],
            self.scores.of_levels(scorer, X_pending, self.least, self.least_kept),
            tried,
            rng,
            leaders=leaders,
            within=region,
            # a front is dearer to score, and one climb of a batch goes far
            rows=ROWS if len(self.models.goals) == 1 and not self.climbs else ROWS // 4,
        )
        self.climbs += 1
        if not len(found.rows):
            return self.grid.table.config(self.best(X_pending))
        self.left[torch.from_numpy((self.grid.table.indices == found.rows[0]).all(1))] = False
        return self.scores.space.as_table(found.rows[:1]).config(0)

    def exact(self, rows: Tensor, X: Tensor, X_pending: Tensor) -> Tensor:
        """Return the exact scores of some candidates and their encodings ``X``, shape ``len(rows)``."""
        value = self.scores.acquisition.scorer(X, X_pending)(X)
        probability = self._log_measurable(rows) + self.scores.log_limits(X, X_pending)
        return self.scores.expected_utility(value, probability, self.prior[rows])

    def sampled(self, n: int, X_pending: Tensor) -> list[int]:
        """Return up to ``n`` rows, each the best of its own joint sample of all promising candidates."""
        thompson = Thompson(self.models, self.scores.seed)
        rows = self._left()
        if len(rows) > _SAMPLED:
            rows = self._rough_best(thompson.rough(self.grid, rows, X_pending), rows, _SAMPLED)
        X = self.grid.encode(rows)
        samples = Samples(self.models, X, n, self.scores.seed + len(X_pending)).on_shortlist()
        probability = self._log_measurable(rows) + self.scores.log_limits(X, X_pending)
        found = []
        for value in samples[: len(rows)]:
            total = self.scores.total(value, probability, self.prior[rows])
            found.append(self._take(rows, total.masked_fill(~self.left[rows], -math.inf)))
        return found

    def _take(self, rows: Tensor, scores: Tensor) -> int:
        row = int(rows[scores.argmax()])
        self.left[row] = False
        return row

    def leave_out(self, config: Config) -> None:
        """Never return a configuration, which a choice was moved to off the grid and may be on it again."""
        table = self.grid.table
        for row in np.flatnonzero((table.indices == table.encode(config)).all(1)):
            if table.config(int(row)) == config:
                self.left[row] = self.others[row] = False

    @property
    def empty(self) -> bool:
        """Whether no row is left to return."""
        return not bool(self.left.any() or self.others.any())

    def put_back(self, row: int) -> None:
        """Let a row be returned again."""
        self.left[row] = True

    def _left(self) -> Tensor:
        if not bool(self.left.any()):
            self.left, self.others = self.others, torch.zeros_like(self.others)
            self.bounds, self.least, self.least_kept = None, -math.inf, -math.inf
        return self.left.nonzero().squeeze(-1)

    def shortlist(self, X_pending: Tensor) -> Tensor:
        """Return the rows of the most promising candidates that are left.

        They come in random order: of equals, which differ in what seems not to matter, the first is chosen.
        """
        rows = self._left()
        if len(rows) <= _SHORTLIST:
            self._log_limits(rows)
            return self._shuffled(self._left())
        rough = self.scores.acquisition.rough
        if self.bounds is None:  # of the first pick; later ones have more pending and lie below it
            self._bound(rows, X_pending)
        assert self.bounds is not None  # noqa: S101 - set just now
        k = _SHORTLIST if len(self.bounds) == 1 else 2 * _SHORTLIST // len(self.bounds)
        best = []
        for c, bound in enumerate(self.bounds):

            def score(chosen: Tensor, c: int = c, bound: Tensor = bound) -> Tensor:
                value = bound[chosen]
                if len(X_pending) > self.fresh:
                    value = self._total(rough(self.grid, chosen, X_pending)[c], chosen)
                return self._possible(value + self._log_limits(chosen), chosen)

            best.append(_first(bound, min(k, len(rows)), score))
        return self._shuffled(torch.cat(best).unique())

    def _bound(self, rows: Tensor, X_pending: Tensor) -> None:
        """Compare all candidates by each criterion; a large space is sifted first."""
        rough = self.scores.acquisition.rough
        if self.grid.large:
            found = rough(self.grid.sifted(), rows, X_pending)
            best = self._rough_best(found, rows, _RANKED)
            rows = best[self.left[best]] if bool(self.left[best].any()) else best
        found = rough(self.grid, rows, X_pending)
        check_shapes("rough", ("criteria", found, "c n"), n=len(rows))
        self.bounds = torch.full((len(found), len(self.grid)), -math.inf, dtype=torch.float64)
        self.bounds[:, rows] = self._total(found, rows)
        self.fresh = len(X_pending)

    def _total(self, value: Tensor, rows: Tensor) -> Tensor:
        return self.scores.total(value, torch.zeros(len(rows), dtype=torch.float64), self.prior[rows])

    def _possible(self, value: Tensor, rows: Tensor) -> Tensor:
        """Return scores with the probability of a measurement in them, -inf where that is too low."""
        value = value + self._log_measurable(rows)
        return value.masked_fill(~self.left[rows], -math.inf)

    def _shuffled(self, rows: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(self.scores.seed)
        return rows[torch.randperm(len(rows), generator=generator)]

    def _rough_best(self, criteria: Tensor, rows: Tensor, count: int) -> Tensor:
        k = min(len(rows), count // len(criteria))
        best = []
        for bound in self._total(criteria, rows):

            def score(at: Tensor, bound: Tensor = bound) -> Tensor:
                return self._possible(bound[at] + self._log_limits(rows[at]), rows[at])

            best.append(rows[_first(bound, k, score)])
        return torch.cat(best).unique()

    def _log_measurable(self, rows: Tensor) -> Tensor:
        """Return the log probability of a measurement; what is too doubtful is set aside on this occasion."""
        new = rows[self.measured[rows].isnan()]
        if len(new):
            found = self.scores.measurable(self.grid, new).masked_fill(self.fitting[new], 0.0)
            self.measured[new] = found.masked_fill(self.hopeless[new], -_CERTAIN)
            doubtful = new[(self.measured[new] < self.least) & self.left[new]]
            self.left[doubtful], self.others[doubtful] = False, True
        return self.measured[rows]

    def _log_limits(self, rows: Tensor) -> Tensor:
        new = rows[self.limits[rows].isnan()]
        if len(new):
            total = torch.zeros(len(new), dtype=torch.float64)
            for limit in self.models.limits:
                nothing = self.models.X[:0]
                moments = limit.surrogate.on_grid(self.grid, new, nothing)
                total += limit.log_probability_kept(moments, self.models.margin)
            self.limits[new] = total
            if self.least_kept > -math.inf:
                risky = new[(total < self.least_kept) & self.left[new]]
                self.left[risky], self.others[risky] = False, True
        return self.limits[rows]


def _first(bound: Tensor, k: int, score: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the places of the ``k`` highest scores, computing no more scores than it takes.

    Args:
        bound: Bound that each score lies at or below, shape ``n``.
        k: Number of them.
        score: Function that gives the scores of some places.
    """
    width = min(max(_FIRST, 2 * k), len(bound))
    while True:
        highest = bound.topk(width)
        best = score(highest.indices).topk(k)
        if width == len(bound) or float(best.values[-1]) >= float(highest.values[-1]):
            return highest.indices[best.indices]
        width = min(4 * width, len(bound))

"""What every engine must keep; inherit it to test one of your own.

.. code-block:: python

    class TestMyEngine(EngineContract):
        def make(self, budget=None):
            return MyEngine(budget=budget)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from autotune.core.measurement import Cause, Estimate, Failure, Measurement
from autotune.core.objective import Objective
from autotune.core.parameter import Categorical, Float, Int, Ordinal
from autotune.core.space import Space
from autotune.core.trial import Config, Reason, Suggestion, Trial, TrialState, config_key
from autotune.engine.base import Engine, assess, model_quality

SPACE = Space(
    (
        Int("batch_size", 1, 32, powers_of=2, scale="log2", default=2),
        Ordinal("bits", (4, 8, 16), default=16),
        Int("draft_length", 0, 2),
        Categorical("draft_model", ("small", "smaller"), when="draft_length > 0"),
    ),
    ("draft_length == 0 or batch_size <= 4",),
)
LARGE = Space(
    (
        *(Int(f"n{i}", 0, 30) for i in range(8)),
        Float("x", 0.001, 10.0, scale="log10"),
        Categorical("c", ("a", "b", "c", "d"), when="n0 > 3"),
    ),
    ("n0 + n1 <= 40",),
)
# one configuration in 10,000 is allowed, and the table of the allowed ones is too long to write out
RARE = Space(
    tuple(Int(name, 0, 99) for name in ("batch_size", "bits", "b", "c", "d", "e", "f", "g")),
    ("batch_size == b", "c == d", "bits + e + f + g >= 1"),
)
OBJECTIVE = Objective.from_dict({"maximize": "throughput", "limits": ["latency <= 300 ms"]})
TRADE_OFF = Objective.from_dict({"maximize": "throughput", "minimize": "latency"})


def respond(config: Config) -> Mapping[str, Estimate] | None:
    """Return noise-free metrics of a plausible server, or ``None`` where it runs out of memory."""
    batch, bits = int(config["batch_size"]), int(config["bits"])
    if batch * bits >= 256:
        return None
    drafted = 1 + 0.3 * int(config.get("draft_length", 0)) * (
        1.2 if config.get("draft_model") == "small" else 0.8
    )
    seconds = (0.02 + 0.006 * batch) * (1.2 if bits == 4 else 1.0) / drafted
    return {
        "throughput": Estimate(batch / seconds, 0.01 * batch / seconds, 8, "tokens/s"),
        "latency": Estimate(seconds * 2, 0.001, 8, "s"),
    }


def finished(number: int, suggestion: Suggestion) -> Trial:
    """Return the trial that measuring a suggestion would give."""
    metrics = respond(suggestion.config)
    if metrics is None:
        failure = Measurement(failure=Failure(Cause.OUT_OF_MEMORY))
        return Trial(number, suggestion, TrialState.INFEASIBLE, 1, failure)
    return Trial(number, suggestion, TrialState.COMPLETED, 1, Measurement(metrics=metrics))


def space_of(size: int, kind: str) -> Space:
    """Return a space of exactly so many configurations.

    Args:
        size: Number of configurations.
        kind: ``declared`` by its parameters, ``listed`` one by one, or ``listed between levels``: with values
            of a continuous parameter that its grid does not have.
    """
    if kind == "declared":
        return Space((Int("batch_size", 1, size), Ordinal("bits", (4,))))
    listed: list[Config] = [
        {"batch_size": 1 + i // 3, "bits": (4, 8, 16)[i % 3]} | _between(i, kind) for i in range(size)
    ]
    extra = (Float("x", 0.0, 1.0),) if kind == "listed between levels" else ()
    return Space(
        (Int("batch_size", 1, 3_000), Ordinal("bits", (4, 8, 16)), *extra), configurations=tuple(listed)
    )


def _between(i: int, kind: str) -> Config:
    return {"x": 0.5 + i * 1e-7} if kind == "listed between levels" else {}


def almost_all_lost(number: int, suggestion: Suggestion) -> Trial:
    """Return a measured trial for the first four, then one that the machine lost: it was tried, no more."""
    if number < 4:
        return finished(number, suggestion)
    return Trial(number, suggestion, TrialState.FAILED, 1, Measurement(failure=Failure(Cause.WORKER_LOST)))


class EngineContract:
    """Contract suite of an engine; a subclass gives the engine."""

    def make(self, budget: int | None = None) -> Engine:
        """Return the engine under test."""
        raise NotImplementedError

    def search(
        self,
        n: int,
        *,
        space: Space = SPACE,
        objective: Objective = OBJECTIVE,
        seed: int = 0,
        parallel: int = 1,
    ) -> list[Trial]:
        """Run ``n`` trials of :func:`respond`, ``parallel`` at once, finished in the order of asking."""
        engine = self.make(budget=n)
        history: list[Trial] = []
        pending: list[Suggestion] = []
        while len(history) < n:
            while len(pending) < min(parallel, n - len(history)):
                asked = engine.ask(space, objective, history, [s.config for s in pending], 1, seed)
                if not asked:
                    break
                pending += asked
            if not pending:
                return history
            history.append(finished(len(history), pending.pop(0)))
        return history

    def test_the_default_configuration_comes_first(self) -> None:
        (first,) = self.make(20).ask(SPACE, OBJECTIVE, [], [], 1, 3)
        assert first.config == SPACE.default_config
        assert first.reason is Reason.DEFAULT

    def test_suggestions_are_allowed_and_never_repeated(self) -> None:
        trials = self.search(24, parallel=3)
        keys = [config_key(t.config) for t in trials]
        assert len(set(keys)) == len(keys) == 24
        assert all(SPACE.validate(t.config) == t.config for t in trials)

    def test_the_whole_space_is_reached_and_then_nothing_comes(self) -> None:
        space = Space((Int("batch_size", 1, 4), Ordinal("bits", (4, 8))), ("batch_size * bits <= 24",))
        trials = self.search(50, space=space)
        assert len(trials) == len(space.table() or ())
        assert self.make(50).ask(space, OBJECTIVE, trials, [], 3, 0) == []

    @pytest.mark.parametrize("size", [1, 2, 3, 65, 300, 3_000])
    @pytest.mark.parametrize("kind", ["declared", "listed", "listed between levels"])
    def test_a_space_of_any_size_is_exhausted(self, size: int, kind: str) -> None:
        space, engine = space_of(size, kind), self.make(size)
        step = 1 + size // 4
        history: list[Trial] = []
        asks = 0
        while asked := engine.ask(
            space, OBJECTIVE, history, [], min(step, max(1, size - len(history) - 2)), 0
        ):
            history += [almost_all_lost(len(history) + i, s) for i, s in enumerate(asked)]
            asks += 1
            assert asks <= size
        assert len({config_key(t.config) for t in history}) == len(history) == size
        assert all(space.validate(t.config) == t.config for t in history)

    @pytest.mark.parametrize("size", [65, 300, 1_030, 3_000])
    @pytest.mark.parametrize("kind", ["declared", "listed"])
    def test_the_next_one_is_given_wherever_a_sequence_or_a_list_of_points_ends(
        self, size: int, kind: str
    ) -> None:
        space, engine = space_of(size, kind), self.make(size)
        asked = engine.ask(space, OBJECTIVE, [], [], size, 0)
        history = [almost_all_lost(i, s) for i, s in enumerate(asked)]
        for done in (0, 1, 31, 32, 62, 63, 64, size // 2, size // 2 + 1, 1_023, 1_024, 1_025, size - 1):
            if done < size:
                (one,) = engine.ask(space, OBJECTIVE, history[:done], [], 1, 0)
                assert one.key not in {t.key for t in history[:done]}

    @pytest.mark.parametrize("space", [SPACE, LARGE, RARE], ids=["small", "large", "rare"])
    def test_nothing_is_given_where_nothing_is_wanted(self, space: Space) -> None:
        assert self.make(20).ask(space, OBJECTIVE, [], [], 0, 0) == []
        assert self.make(20).ask(space, OBJECTIVE, [], [space.default_config], 0, 0) == []

    def test_equal_histories_give_equal_suggestions(self) -> None:
        first, second = self.search(12, seed=5), self.search(12, seed=5)
        assert [t.suggestion for t in first] == [t.suggestion for t in second]

    def test_a_batch_has_no_repetition_and_avoids_what_is_pending(self) -> None:
        history = self.search(8)
        pending = SPACE.sample(6, np.random.default_rng(1))
        asked = self.make(40).ask(SPACE, OBJECTIVE, history, pending, 5, 0)
        keys = [config_key(s.config) for s in asked]
        assert len(set(keys)) == 5
        assert not set(keys) & {config_key(c) for c in [*pending, *(t.config for t in history)]}

    def test_a_history_of_failures_only_is_survived(self) -> None:
        failed: list[Trial] = []
        for _ in range(8):
            asked = self.make(40).ask(SPACE, OBJECTIVE, failed, [], 1, 0)
            broken = Measurement(failure=Failure(Cause.STARTUP_TIMEOUT))
            failed.append(Trial(len(failed), asked[0], TrialState.INFEASIBLE, 1, broken))
        assert len({config_key(t.config) for t in failed}) == 8

    def test_worlds_failures_and_missing_metrics_are_survived(self) -> None:
        history: list[Trial] = []
        states = [TrialState.FAILED, TrialState.ABANDONED, TrialState.COMPLETED]
        for i in range(15):
            (asked,) = self.make(40).ask(SPACE, OBJECTIVE, history, [], 1, 0)
            metrics = {"throughput": Estimate(float(i + 1))} if i % 2 else {"latency": Estimate(0.1)}
            state = states[i % 3]
            measured = Measurement(metrics=metrics if state is TrialState.COMPLETED else {})
            history.append(Trial(i, asked, state, 1, measured))
        assert len({config_key(t.config) for t in history}) == 15

    def test_constant_and_extreme_values_are_survived(self) -> None:
        for values in ([5.0] * 12, [1e-300, 1e300] * 6, [-3.0, 0.0, 2.0] * 4):
            history: list[Trial] = []
            for i, value in enumerate(values):
                (asked,) = self.make(40).ask(SPACE, OBJECTIVE, history, [], 1, 0)
                metrics = {"throughput": Estimate(value), "latency": Estimate(0.1, 0.0)}
                history.append(Trial(i, asked, TrialState.COMPLETED, 1, Measurement(metrics=metrics)))

    def test_several_goals_give_suggestions(self) -> None:
        assert len({config_key(t.config) for t in self.search(14, objective=TRADE_OFF)}) == 14

    def test_a_space_too_large_to_enumerate_is_searched(self) -> None:
        assert LARGE.table() is None
        engine = self.make(30)
        history: list[Trial] = []
        for i in range(12):
            (asked,) = engine.ask(LARGE, OBJECTIVE, history, [], 1, 0)
            assert LARGE.validate(asked.config) == asked.config
            value = 100.0 - abs(int(asked.config["n0"]) - 9) - abs(float(asked.config["x"]) - 0.1)
            metrics = {"throughput": Estimate(value, 0.1), "latency": Estimate(0.1, 0.01)}
            history.append(Trial(i, asked, TrialState.COMPLETED, 1, Measurement(metrics=metrics)))
        assert len({config_key(t.config) for t in history}) == 12

    def test_a_space_where_one_configuration_in_ten_thousand_is_allowed_is_searched(self) -> None:
        assert RARE.table() is None
        trials = self.search(12, space=RARE, parallel=2)
        assert all(RARE.validate(t.config) == t.config for t in trials)
        assert len({config_key(t.config) for t in trials}) == 12

    def test_an_explicit_list_is_respected(self) -> None:
        listed: Sequence[Config] = [
            {"batch_size": b, "bits": bits} for b, bits in ((1, 4), (2, 8), (8, 4), (16, 8))
        ]
        space = Space((Int("batch_size", 1, 16), Ordinal("bits", (4, 8))), configurations=tuple(listed))
        found = [t.config for t in self.search(10, space=space)]
        assert sorted(map(config_key, found)) == sorted(map(config_key, listed))

    def test_the_first_trials_of_a_list_spread_over_it(self) -> None:
        listed: list[Config] = [
            {"batch_size": batch, "bits": bits} for batch in range(1, 65) for bits in (4, 8) if batch % 3
        ]
        space = Space((Int("batch_size", 1, 64), Ordinal("bits", (4, 8))), configurations=tuple(listed))
        found = [int(t.config["batch_size"]) for t in self.search(6, space=space)]
        assert max(found) - min(found) > 24
        assert len({value // 16 for value in found}) >= 3

    def test_what_is_left_to_gain_is_said_again_alike_and_never_of_nothing(self) -> None:
        engine, history = self.make(budget=40), self.search(9)
        found = assess(engine, SPACE, OBJECTIVE, history, 0)
        assert found == assess(engine, SPACE, OBJECTIVE, history, 0)
        strict = Objective.from_dict({"maximize": "throughput", "limits": ["latency <= 1 us"]})
        nothing = assess(engine, SPACE, strict, history, 0)
        none_yet = assess(engine, SPACE, OBJECTIVE, [], 0)
        quality = model_quality(engine, SPACE, OBJECTIVE, history)
        if found is None:  # an engine without a model has no account of it at all
            assert nothing is None and none_yet is None and quality is None  # noqa: PT018
            return
        assert nothing is not None and none_yet is not None and quality is not None  # noqa: PT018
        assert found.bound is not None and found.bound >= 0  # noqa: PT018
        assert not nothing.converged and nothing.bound is None  # noqa: PT018
        assert not none_yet.converged
        assert all(0 <= one.coverage <= 1 and one.n <= 9 for one in quality.values())

"""The engine keeps the contract of an engine."""

from autotune_example.shuffled import Shuffled

from autotune.testing.engine_contract import EngineContract


class TestShuffled(EngineContract):
    """Everything that an engine must keep; a test of your own is one more method."""

    def make(self, budget: int | None = None) -> Shuffled:
        """Return the engine, for a search of so many trials."""
        return Shuffled.from_dict({}, budget=budget)

"""Every engine keeps the contract; the simple ones have nothing else to test."""

import pytest

from autotune.engine.gp import GPEngine
from autotune.engine.random import RandomEngine
from autotune.engine.registry import build_engine
from autotune.engine.sobol import SobolEngine
from autotune.errors import SpecError
from autotune.testing.engine_contract import SPACE, EngineContract


class TestRandom(EngineContract):
    def make(self, budget=None):
        return RandomEngine.from_dict({}, budget=budget)


class TestSobol(EngineContract):
    def make(self, budget=None):
        return SobolEngine.from_dict({}, budget=budget)

    def test_the_first_points_spread_over_every_parameter(self):
        trials = self.search(9)
        for parameter in SPACE.parameters[:2]:
            assert len({t.config[parameter.name] for t in trials}) >= len(parameter.levels) // 2 + 1


class TestGP(EngineContract):
    def make(self, budget=None):
        return GPEngine(budget=budget)


class TestGPWithLargeStart(EngineContract):
    def make(self, budget=None):
        return GPEngine(initial=10, budget=budget)


def test_engines_are_built_by_name():
    assert build_engine("gp").name.startswith("gp/")
    assert build_engine({"use": "gp", "seed": 3, "initial": "5"}).config.initial == 5
    for wrong in ("bogus", {"use": "gp", "initial": "0"}, {"use": "sobol", "x": 1}, {"use": 3}):
        with pytest.raises(SpecError):
            build_engine(wrong)

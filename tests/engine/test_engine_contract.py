"""Every engine keeps the contract; the simple ones have nothing else to test."""

import re
from pathlib import Path

import pytest

import autotune
from autotune.engine.gp import GPEngine
from autotune.engine.question import Question
from autotune.engine.random import RandomEngine
from autotune.engine.registry import build_engine
from autotune.engine.sobol import SobolEngine
from autotune.errors import SpecError
from autotune.testing.engine_contract import OBJECTIVE, SPACE, EngineContract
from tests_contracts import LONG, slowly


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

    @pytest.mark.parametrize(
        "size", [1, 2, 3, 65, *(pytest.param(n, marks=pytest.mark.slow) for n in (300, 3_000))]
    )
    @pytest.mark.parametrize(
        "kind", ["declared", "listed between levels", pytest.param("listed", marks=pytest.mark.slow)]
    )
    def test_a_space_of_any_size_is_exhausted(self, size, kind):
        super().test_a_space_of_any_size_is_exhausted(size, kind)


@slowly(*LONG)
class TestGPWithLargeStart(EngineContract):
    def make(self, budget=None):
        return GPEngine(initial=10, budget=budget)


def test_engines_are_built_by_name():
    assert build_engine("gp").name.startswith("gp/")
    assert build_engine({"use": "gp", "seed": 3, "initial": "5"}).config.initial == 5
    for wrong in ("bogus", {"use": "gp", "initial": "0"}, {"use": "sobol", "x": 1}, {"use": 3}):
        with pytest.raises(SpecError):
            build_engine(wrong)


def test_the_signature_of_an_ask_stands_once():
    """The contract says it, and one class of ours reads it; every engine answers a question."""
    root = Path(autotune.__file__).parent / "engine"
    asks = [p.name for p in root.rglob("*.py") for _ in re.findall(r"def ask\(", p.read_text())]
    assert asks == ["base.py", "base.py"]


@pytest.mark.parametrize(
    "engine", [RandomEngine(), SobolEngine(), GPEngine()], ids=lambda engine: engine.name
)
def test_an_engine_answers_the_question_that_it_is_asked(engine):
    asked = engine.ask(SPACE, OBJECTIVE, [], [], 3, 5)
    assert asked == engine.answer(Question(SPACE, OBJECTIVE, [], (), 5), 3)
    later = Question(SPACE, OBJECTIVE, [], (), 5).waiting_for(*(each.config for each in asked))
    assert not any(later.is_new(each.config) for each in asked)
    assert {str(each.config) for each in engine.answer(later, 3)}.isdisjoint(
        str(each.config) for each in asked
    )

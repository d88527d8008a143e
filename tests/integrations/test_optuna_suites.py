"""Optuna's own published suites of samplers hold for ours."""

import pytest

pytest_samplers = pytest.importorskip("optuna.testing.pytest_samplers", reason="Optuna publishes no suite")

from autotune.integrations.optuna import AutotuneSampler  # noqa: E402


class _Ours:
    @pytest.fixture
    def sampler(self):
        return lambda: AutotuneSampler(seed=0)


class TestRepresentative(_Ours):
    """One or two tests of each suite; the whole of them are slow."""

    test_float = pytest_samplers.BasicSamplerTestCase.test_float
    test_int = pytest_samplers.BasicSamplerTestCase.test_int
    test_categorical = pytest_samplers.BasicSamplerTestCase.test_categorical
    test_conditional = pytest_samplers.BasicSamplerTestCase.test_conditional_sample_independent
    test_partial_fixed = pytest_samplers.BasicSamplerTestCase.test_partial_fixed_sampling
    test_single = pytest_samplers.BasicSamplerTestCase.test_sample_single_distribution
    test_categorical_together = pytest_samplers.RelativeSamplerTestCase.test_sample_relative_categorical
    test_several_goals = pytest_samplers.MultiObjectiveSamplerTestCase.test_multi_objective_sample_independent


@pytest.mark.slow
class TestBasic(_Ours, pytest_samplers.BasicSamplerTestCase):
    """A single goal, conditions, ranges that move, fixed parameters."""


@pytest.mark.slow
class TestRelative(_Ours, pytest_samplers.RelativeSamplerTestCase):
    """Parameters that are proposed together."""


@pytest.mark.slow
class TestMultiObjective(_Ours, pytest_samplers.MultiObjectiveSamplerTestCase):
    """Several goals."""

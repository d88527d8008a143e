"""Standard normal vectors that are evenly spread."""

import math

import pytest
import torch

from autotune.engine.gp.model.normal_samples import normal_samples


@pytest.mark.parametrize("d", [1, 3, 100, 1024])
def test_every_coordinate_has_one_value_in_each_of_equal_parts(d):
    parts = (torch.special.ndtr(normal_samples(32, d, seed=1)) * 32).long()
    assert parts.shape == (32, d)
    assert torch.equal(parts.sort(0).values, torch.arange(32).unsqueeze(1).expand(32, d))


def test_a_seed_gives_the_same_vectors_and_another_one_others():
    first = normal_samples(32, 7, seed=1)
    assert first.dtype is torch.float64
    assert torch.equal(first, normal_samples(32, 7, seed=1))
    assert not torch.isclose(first, normal_samples(32, 7, seed=2)).any()


def test_estimates_are_unbiased_and_closer_than_by_independent_draws():
    """The expected excess of a sum of three coordinates over 0.5; 300 seeds of 32 vectors."""
    direction = torch.zeros(20, dtype=torch.float64)
    direction[:3] = 1 / math.sqrt(3)
    found = torch.stack([excess(normal_samples(32, 20, seed) @ direction) for seed in range(300)])
    draws = torch.randn(300, 32, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    independent = excess(draws @ direction)
    truth = math.exp(-0.125) / math.sqrt(2 * math.pi) - 0.5 * (
        1 - float(torch.special.ndtr(torch.tensor(0.5)))
    )
    assert abs(float(found.mean()) - truth) < 4 * float(found.std()) / math.sqrt(300)
    assert float(found.std()) < 0.6 * float(independent.std())


def test_more_coordinates_than_a_sequence_has_are_drawn():
    found = normal_samples(32, 1500, seed=3)
    assert found.shape == (32, 1500)
    assert abs(float(found.mean())) < 0.03
    assert float(found.std()) == pytest.approx(1.0, abs=0.03)
    assert normal_samples(4, 0, seed=0).shape == (4, 0)


def excess(values):
    return (values - 0.5).clamp_min(0).mean(-1)

"""A stalled trial must not bend the surface; a great one must."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from autotune.engine.gp.config import GPConfig
from autotune.engine.gp.model.outliers import discounted
from autotune.engine.gp.model.surrogates import fit_averaged

X = torch.linspace(0, 1, 24, dtype=torch.float64).unsqueeze(-1)
GROUPS = [slice(0, 1)]
LEAST = GPConfig().outliers
UNKNOWN = np.full(24, np.nan)


def values(stalled=None, by=-3.0):
    rng = np.random.default_rng(0)
    y = np.sin(4 * X[:, 0].numpy()) + 0.02 * rng.standard_normal(24)
    y = (y - y.mean()) / y.std()
    if stalled is not None:
        y[stalled] += by
    return y


def surface(y, yvar):
    column = torch.from_numpy(y).unsqueeze(-1)
    return fit_averaged(X, column, torch.from_numpy(yvar).unsqueeze(-1), GROUPS)


def test_a_stalled_trial_is_passed_by():
    found = discounted(X, values(9), UNKNOWN, GROUPS, -1)
    assert np.flatnonzero(np.isfinite(found)).tolist() == [9]
    assert found[9] == pytest.approx(9.0, rel=0.3)  # a deviation of about 3
    sure = replace(GPConfig(), outlier_odds=1e3)
    assert np.isnan(discounted(X, values(9), UNKNOWN, GROUPS, -1, sure)).all()
    plain, _ = surface(values(), UNKNOWN).predict(X)
    bent, _ = surface(values(9), UNKNOWN).predict(X)
    mended, _ = surface(values(9), found).predict(X)
    assert (mended - plain).abs().max() < 0.15
    assert (bent - plain).abs().max() > 2 * (mended - plain).abs().max()


def test_known_errors_are_added_to():
    known = np.full(24, 0.01)
    found = discounted(X, values(9), known, GROUPS, -1)
    assert np.flatnonzero(found > 0.01).tolist() == [9]
    assert np.isnan(UNKNOWN).all()  # what was given stays as it was
    assert (known == 0.01).all()


@pytest.mark.parametrize(("by", "bad"), [(3.0, -1), (-3.0, 1)])
def test_a_value_on_the_good_side_is_news(by, bad):
    found = discounted(X, values(9, by), UNKNOWN, GROUPS, bad)
    assert np.isnan(found[9])


def test_the_bad_side_of_a_limit_is_above():
    assert np.isfinite(discounted(X, values(9, 3.0), UNKNOWN, GROUPS, 1)[9])


def test_an_honest_surface_and_a_short_history_have_no_outliers():
    assert np.isnan(discounted(X, values(), UNKNOWN, GROUPS, -1)).all()
    few = LEAST - 1
    assert np.isnan(discounted(X[:few], values(3)[:few], UNKNOWN[:few], GROUPS, -1)).all()
    assert np.isnan(discounted(X[:, :0], values(3), UNKNOWN, [], -1)).all()

"""A small study in every state that must be shown."""

import pytest

from tests_views import TRIALS, make_view, trial


@pytest.fixture(name="make_view")
def make_view_fixture():
    """Builds the view of a study; keywords replace its fields."""
    return make_view


@pytest.fixture(name="make_trial")
def make_trial_fixture():
    """Builds a trial from the values of its parameters."""
    return trial


@pytest.fixture(name="trials")
def trials_fixture():
    """A trial in every state that a report must show."""
    return TRIALS

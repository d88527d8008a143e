"""A small study in every state that must be shown."""

from tests_views import make_trial_fixture, make_view_fixture, trials_fixture

__all__ = ["make_trial_fixture", "make_view_fixture", "trials_fixture"]

"""Contracts that several classes keep: which of their tests only one of them runs quickly."""

import functools

import pytest

LONG = (
    "test_a_space_of_any_size_is_exhausted",
    "test_the_next_one_is_given_wherever_a_sequence_or_a_list_of_points_ends",
    "test_a_space_too_large_to_enumerate_is_searched",
    "test_a_space_where_one_configuration_in_ten_thousand_is_allowed_is_searched",
    "test_suggestions_are_allowed_and_never_repeated",
    "test_constant_and_extreme_values_are_survived",
    "test_equal_histories_give_equal_suggestions",
)
"""Of the engine's contract, what takes a model seconds: quick for `gp` as it is, slow with its options."""


def slowly(*names):
    """Mark inherited tests of a class as slow, and leave those of its base as they are."""

    def mark(cls):
        for name in names:
            if (inherited := getattr(cls, name)) is not None:
                setattr(cls, name, pytest.mark.slow(_own(inherited)))
        return cls

    return mark


def _own(test):
    @functools.wraps(test)
    def same(self, *args, **given):
        return test(self, *args, **given)

    return same

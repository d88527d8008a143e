"""Texts that are shortened alike."""

import pytest

from autotune.core.short_texts import SHORT, shortened

JSON = '{{"method": "ngram", "num_speculative_tokens": {}, "prompt_lookup_max": 4, "prompt_lookup_min": 2}}'


@pytest.mark.parametrize(
    ("texts", "short"),
    [
        ((), []),
        (("a", "b" * SHORT), ["a", "b" * SHORT]),
        (("none", "a" * 20, "b" * 20), ["none", "a" * 15 + "~", "b" * 15 + "~"]),
        (("a" * 20 + "1", "a" * 20 + "2"), ["~" + "a" * 14 + "1", "~" + "a" * 14 + "2"]),
        ((JSON.format(3), JSON.format(5)), ['~": 3, "prompt_~', '~": 5, "prompt_~']),
    ],
)
def test_texts_that_differ_still_do(texts, short):
    assert shortened(texts) == short


def test_texts_that_no_cut_tells_apart_are_numbered():
    texts = ["a" * 50 + one + "b" * 50 + two + "c" * 50 for one in "xy" for two in "xy"]
    found = shortened([*texts, texts[0]])
    assert len(set(found)) == 4
    assert found[0] == found[-1]
    assert max(map(len, found)) <= SHORT

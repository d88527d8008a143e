"""The strict reader: what it refuses, and that it never fails in another way."""

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.errors import SpecError
from autotune.spec.yaml_text import MAX_BYTES, parse_text, read_text

GOOD = """
name: demo
parameters:
  batch_size: {type: int, low: 1, high: 8}
  flag: {type: categorical, values: [no, 0.10, 017, 1e-3, "yes"]}
constraints:
  - batch_size <= 4
"""


def test_scalars_stay_the_text_that_was_written():
    data = parse_text(GOOD, "f").data
    assert data["parameters"]["flag"]["values"] == ["no", "0.10", "017", "1e-3", "yes"]
    assert data["constraints"] == ["batch_size <= 4"]


def test_every_value_knows_its_place():
    document = parse_text(GOOD, "f.yaml")
    assert str(document.mark(("parameters", "batch_size", "low"))) == "f.yaml:4:32"
    assert str(document.mark(("parameters", "batch_size", "low"), at_key=True)) == "f.yaml:4:27"
    assert str(document.mark(("constraints", 0))) == "f.yaml:7:5"
    # what is not there is placed at what is nearest around it
    assert str(document.mark(("parameters", "batch_size", "step"))) == "f.yaml:4:15"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "f: the file is empty"),
        ("# only a comment\n", "f: the file is empty"),
        ("- a\n", "f:1:1: expected 'key: value' lines at the top"),
        ("just text", "f:1:1: expected 'key: value' lines at the top"),
        ("a: 1\na: 2\n", "f:2:1: duplicate key 'a', first in line 1"),
        ("a: &x 1\n", "f:1:4: anchors are not allowed, found '&x'"),
        ("a: *x\n", "f:1:4: aliases are not allowed, found '*x'"),
        ("a: !!python/object:os.system 1\n", "f:1:4: tags are not allowed"),
        ("a: 1\n---\nb: 2\n", "f:2:1: only one document is allowed"),
        ("? [a, b]\n: 1\n", "f:1:3: a key must be text"),
        ("a: [1, 2\n", "f:2:1: not valid YAML"),
        ("a:\n\tb: 1\n", "f:2:1: not valid YAML"),
        ("a: \x00\n", "f:1: a character that YAML does not allow: '\\x00'"),
        ('a: 1\nb: ["x", "sub\\0"]\n', "f:2:10: a null character is not allowed, found 'sub\\x00'"),
        ('a: {"\\0": 1}\n', "f:1:5: a null character is not allowed, found '\\x00'"),
        ("a: " + "[" * 20 + "]" * 20, "f:1:15: nested more than 12 deep"),
    ],
)
def test_what_is_refused_is_named_with_its_place(text, message):
    with pytest.raises(SpecError) as caught:
        parse_text(text, "f")
    assert str(caught.value).startswith(message)


def test_hostile_files_are_refused_at_once(tmp_path):
    bomb = "a: &a [x]\n" + "\n".join(
        f"{b}: &{b} [*{a}, *{a}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    started = time.process_time()
    with pytest.raises(SpecError, match="anchors are not allowed"):
        parse_text(bomb, "f")
    with pytest.raises(SpecError, match="at most 64 KiB"):
        parse_text("a: " + "x" * MAX_BYTES, "f")
    with pytest.raises(SpecError, match="nested"):
        parse_text("a: " + "[" * 30_000, "f")
    assert time.process_time() - started < 5  # a bomb that went off would take minutes
    loop = tmp_path / "loop.yaml"
    loop.symlink_to(loop)
    with pytest.raises(SpecError, match=r"loop\.yaml"):
        read_text(loop)
    with pytest.raises(SpecError, match="no regular file"):
        read_text(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"a: 1\nb: \xe9\n")
    with pytest.raises(SpecError, match=r"latin\.yaml:2: not UTF-8: byte 0xe9"):
        read_text(tmp_path / "latin.yaml")


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=200))
def test_any_text_gives_data_or_a_spec_error(text):
    try:
        assert isinstance(parse_text(text, "f").data, dict)
    except SpecError:
        return


def test_mutated_files_raise_nothing_but_spec_errors():
    rng = random.Random(0)
    letters = "abz:{}[],&*!|>'\"%@`#-? \n\t\\\x01\u0085\ufeff01.9e~"
    for _ in range(3000):
        text = list(GOOD)
        for _ in range(rng.randint(1, 6)):
            place = rng.randrange(len(text))
            change = rng.random()
            if change < 0.4:
                text[place] = rng.choice(letters)
            elif change < 0.7:
                text.insert(place, rng.choice(letters))
            else:
                del text[place]
        try:
            parse_text("".join(text), "f")
        except SpecError:
            continue

"""What every converter must keep; inherit it to test one of your own.

.. code-block:: python

    class TestMyFormat(ConverterContract):
        files = ('{"sweep": {"batch": [1, 2, 4]}}',)

        @pytest.fixture
        def converter(self):
            return MyFormat()
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import pytest

from autotune.convert.entries import typed_as_yaml11
from autotune.convert.formats import Format, parse_document
from autotune.core.space import Space
from autotune.errors import SpecError
from autotune.spec.yaml_text import Document, parse_text

STRANGE = ("{}", "a: 1", "a: {b: [1, 2, {c: null}]}", "parameters: {n: {type: int, low: 1, high: 2}}")


def document(text: str) -> Document:
    """Return a text as a converter is given it."""
    found = parse_document(text, "file")
    return replace(found, data=typed_as_yaml11(found.data))


class ConverterContract:
    """Contract suite of a converter; a subclass gives it as the fixture ``converter``.

    Attributes:
        files: Texts that are of its format, YAML or JSON.
    """

    files: ClassVar[Sequence[str]]

    @pytest.fixture
    def converter(self) -> Format:
        """Give the converter under test."""
        raise NotImplementedError

    def test_its_own_files_are_recognized_and_others_are_not(self, converter: Format) -> None:
        assert all(converter.recognizes(document(text)) for text in self.files)
        assert not any(converter.recognizes(document(text)) for text in STRANGE)

    def test_a_conversion_is_a_study_with_a_space_and_is_the_same_again(self, converter: Format) -> None:
        for text in self.files:
            found = converter.convert(document(text))
            keys = ("parameters", "constraints", "configurations")
            space = Space.from_dict({key: found.study[key] for key in keys if key in found.study})
            assert space.names
            assert all(note.startswith("file") for note in found.notes), "a note says where"
            read = parse_text(found.to_yaml(), "converted").data
            assert list(read["parameters"]) == list(found.study["parameters"])
            assert converter.convert(document(text)).to_yaml() == found.to_yaml()

    def test_a_file_that_is_none_of_its_is_one_clear_error(self, converter: Format) -> None:
        for text in STRANGE[:-1]:
            with pytest.raises(SpecError, match="file"):
                converter.convert(document(text))

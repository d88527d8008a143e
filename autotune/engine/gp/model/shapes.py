"""Shapes checked at the doors of the engine, where a transposed matrix would only give other numbers."""

from __future__ import annotations

from typing import Protocol


class Shaped(Protocol):
    """A tensor or an array."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of its dimensions."""


def check_shapes(door: str, *arrays: tuple[str, Shaped, str], **sizes: int) -> None:
    """Refuse arrays whose shapes are not those that a function promises to take or to give.

    Args:
        door: Name of the function, for the error.
        arrays: Name, array, and names of its dimensions separated by spaces (``"n d"``). Dimensions of one
            name have one size, a dimension named by a number has that size; ``...`` in front stands for any.
        sizes: Sizes of dimensions that are known beforehand.

    Raises:
        ValueError: A shape differs; it is a mistake in the code, which no simpler model mends.
    """
    known = dict(sizes)
    for name, array, dimensions in arrays:
        expected = dimensions.split()
        shape = tuple(array.shape)
        compared = shape
        if expected[:1] == ["..."]:
            expected = expected[1:]
            compared = shape[max(0, len(shape) - len(expected)) :]
        agrees = len(expected) == len(compared) and all(
            size == (int(dimension) if dimension.isdigit() else known.setdefault(dimension, size))
            for dimension, size in zip(expected, compared, strict=True)
        )
        if not agrees:
            found = " x ".join(map(str, shape)) or "a single value"
            wanted = " x ".join(dimensions.split())
            of = ", ".join(
                f"{dimension} = {known[dimension]}" for dimension in expected if dimension in known
            )
            raise ValueError(f"{door}: {name} is {found}, expected {wanted}{f' with {of}' if of else ''}")

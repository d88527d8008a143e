"""What a model answered to a prompt, as far as its quality is concerned."""

from __future__ import annotations

import re
from dataclasses import dataclass

from autotune.core.json_object import JsonObject

_WORD = re.compile(r"\s*\S+")


@dataclass(frozen=True, slots=True)
class Answer:
    """One greedy answer.

    Args:
        text: Text as a person would read it.
        tokens: Its tokens, by number or by text, where the server tells them; ``None`` where it does not.
    """

    text: str
    tokens: tuple[int | str, ...] | None = None

    def units(self, by_token: bool) -> tuple[int | str, ...]:
        """Return what positions are counted in: tokens, or words with the space before them."""
        return (
            self.tokens if by_token and self.tokens is not None else tuple(_WORD.findall(self.text.rstrip()))
        )

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON data; :meth:`from_dict` reads it back."""
        return {"text": self.text, "tokens": None if self.tokens is None else list(self.tokens)}

    @classmethod
    def from_dict(cls, data: JsonObject) -> Answer:
        """Read what :meth:`to_dict` wrote."""
        tokens = data.get("tokens")
        return cls(data["text"], None if tokens is None else tuple(tokens))

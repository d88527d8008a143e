"""Texts of a wanted number of tokens, made without asking the server for each.

With the server's tokenizer, how many tokens each slice of eight words of the corpus has is known beforehand,
and a text is whole slices with words of one token each at its end: exact, as tokenizers split texts at spaces
before anything else. Without, texts are cut by characters at the number of characters per token that the
server's own ``prompt_tokens`` showed. Where every character is a token, that is exact too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from autotune.core.json_object import JsonObject
from autotune.measure.workload.corpus import passage, words

SLICE_WORDS = 8
SLICES = 512
FIRST = "The"
"""Begins every text that is made of slices, so that what begins a text differently is the same in all."""

_HEADER_WORDS = 4  # of 64: 16 million beginnings
ASSUMED_CHARACTERS = 4.5  # per token of English prose, where a server tells nothing


def slice_text(number: int) -> str:
    """Return slice ``number`` of the corpus."""
    source = words()
    begin = number * SLICE_WORDS % (len(source) - SLICE_WORDS)
    return " ".join(source[begin : begin + SLICE_WORDS])


@dataclass(frozen=True)
class PromptBuilder:
    """Builder of prompts with a given number of tokens.

    Args:
        kind: Source of the count: ``tokenizer``, ``usage`` or ``assumed``.
        characters: Characters per token.
        overhead: Tokens that the system adds to a prompt: a first token, a chat template.
        exact: Whether texts that were tried had exactly the tokens wanted.
        counts: Tokens of each slice; empty to cut by characters.
        fillers: Words of one token.
    """

    kind: str = "assumed"
    characters: float = ASSUMED_CHARACTERS
    overhead: int = 0
    exact: bool = False
    counts: Sequence[int] = ()
    fillers: Sequence[str] = field(default=())

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON data; :meth:`from_dict` reads it back."""
        return asdict(self) | {"counts": list(self.counts), "fillers": list(self.fillers)}

    @classmethod
    def from_dict(cls, data: JsonObject) -> PromptBuilder:
        """Read what :meth:`to_dict` wrote."""
        return cls(**{**data, "counts": tuple(data["counts"]), "fillers": tuple(data["fillers"])})

    def facts(self) -> dict[str, Any]:
        """Return what a measurement notes of it."""
        return {"prompt_lengths_by": self.kind, "prompt_lengths_exact": self.exact,
                "prompt_overhead_tokens": self.overhead}  # fmt: skip

    @property
    def by_slices(self) -> bool:
        """Whether texts are made of slices."""
        return bool(self.counts) and len(self.fillers) > 1

    def text(self, tokens: int, place: float, key: str) -> str:
        """Return a text.

        Args:
            tokens: Number of tokens wanted, 1 or more.
            place: Position in [0, 1) at which it begins in the corpus.
            key: Texts of different keys begin with different words.
        """
        if not self.by_slices:
            return self._cut(tokens, place, key)
        chosen = [FIRST]
        left = tokens - 1
        number = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big")
        for _ in range(min(left, _HEADER_WORDS)):
            number, digit = divmod(number, len(self.fillers))
            chosen.append(self.fillers[digit])
            left -= 1
        at = int(place * len(self.counts))
        while self.counts[at] <= left:
            chosen.append(slice_text(at))
            left -= self.counts[at]
            at = (at + 1) % len(self.counts)
        chosen += [self.fillers[(number + i) % len(self.fillers)] for i in range(left)]
        return " ".join(chosen)

    def join(self, texts: Sequence[str]) -> str:
        """Return texts as one whose tokens are their sum."""
        return (" " if self.by_slices else "").join(texts)

    def _cut(self, tokens: int, place: float, key: str) -> str:
        length = max(1, round(tokens * self.characters))
        head = hashlib.blake2b(key.encode(), digest_size=4).hexdigest()
        text = f"{head} {passage(int(place * len(words())), length)}"[:length]
        # A template may strip a space at the end, and with it a token.
        return text[:-1] + "." if text.endswith(" ") else text

"""What prompts have in common: prefixes that groups of requests share, and conversations of several turns.

Without either, each prompt is unique from its first words on, so that a prefix cache does not flatter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Self

from autotune.core.kinds import Share, Whole
from autotune.core.section import Section

_CONVERSATIONS = 16


@dataclass(frozen=True)
class SharedPrefix(Section):
    """Prefixes that requests share, such as system prompts.

    Args:
        tokens: Length of a prefix; it comes before the ``prompt_tokens`` that a request has for itself.
        share: Share of the requests that begin with one.
        groups: Number of prefixes; each is as likely.
    """

    title: ClassVar[str] = "shared_prefix"
    example: ClassVar[str] = "{tokens: 512, share: 80 %, groups: 4}"

    tokens: Annotated[int, Whole(1)]
    share: Annotated[float, Share()] = 1.0
    groups: Annotated[int, Whole(1)] = 1


@dataclass(frozen=True)
class Turns(Section):
    """Conversations: each request repeats what was said before and adds to it.

    What was "said" is text of the corpus, not what the system answered, so that every configuration gets
    the same requests. Turns of one conversation are ``conversations`` requests apart.

    Args:
        count: Requests of a conversation.
        conversations: Conversations that go on at the same time; more than are under way at once, or a turn
            is sent before the one before it was answered.
    """

    title: ClassVar[str] = "turns"

    count: Annotated[int, Whole(2)]
    conversations: Annotated[int, Whole(1)] = _CONVERSATIONS

    def place(self, index: int) -> tuple[int, int]:
        """Return the conversation and the turn, both from 0, of request ``index``."""
        block, within = divmod(index, self.count * self.conversations)
        turn, conversation = divmod(within, self.conversations)
        return block * self.conversations + conversation, turn

    @classmethod
    def from_dict(cls, data: object) -> Self:
        """Read ``4`` or ``{count: 4, conversations: 16}``."""
        return (
            super().from_dict(data) if isinstance(data, Mapping) else cls(Whole(2).read(data, "turns") or 0)
        )

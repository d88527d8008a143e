"""What prompts have in common: prefixes that groups of requests share, and conversations of several turns.

Without either, each prompt is unique from its first words on, so that a prefix cache does not flatter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autotune.errors import SpecError, refuse_unknown_keys
from autotune.measure.workload.numbers import share, whole

_CONVERSATIONS = 16


@dataclass(frozen=True, slots=True)
class SharedPrefix:
    """Describe prefixes that requests share, such as system prompts.

    Args:
        tokens: Length of a prefix; it comes before the ``prompt_tokens`` that a request has for itself.
        share: Of the requests that begin with one.
        groups: How many prefixes there are; each is as likely.
    """

    tokens: int
    share: float = 1.0
    groups: int = 1

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data; :meth:`from_dict` reads it back."""
        return {"tokens": self.tokens, "share": self.share, "groups": self.groups}

    @classmethod
    def from_dict(cls, data: Any) -> SharedPrefix:
        """Read ``{tokens: 512, share: 0.8, groups: 4}``."""
        if not isinstance(data, Mapping):
            raise SpecError(
                f"shared_prefix must be a mapping of tokens, share, groups to numbers, found {data!r}",
                path=("shared_prefix",),
                hint="for example {tokens: 512, share: 80 %, groups: 4}",
            )
        refuse_unknown_keys(data, ("tokens", "share", "groups"), path=("shared_prefix",))
        if "tokens" not in data:
            raise SpecError("shared_prefix needs 'tokens'; allowed: tokens, share, groups",
                            path=("shared_prefix",))  # fmt: skip
        return cls(
            whole(data["tokens"], ("shared_prefix", "tokens"), 1),
            share(data.get("share", 1.0), ("shared_prefix", "share")),
            whole(data.get("groups", 1), ("shared_prefix", "groups"), 1),
        )


@dataclass(frozen=True, slots=True)
class Turns:
    """Describe conversations: each request repeats what was said before and adds to it.

    What was "said" is text of the corpus, not what the system answered, so that every configuration gets
    the same requests. Turns of one conversation are ``conversations`` requests apart.

    Args:
        count: Requests of a conversation.
        conversations: That go on at the same time; more than are under way at once, or a turn is sent
            before the one before it was answered.
    """

    count: int
    conversations: int = _CONVERSATIONS

    def place(self, index: int) -> tuple[int, int]:
        """Return the conversation and the turn, both from 0, of request ``index``."""
        block, within = divmod(index, self.count * self.conversations)
        turn, conversation = divmod(within, self.conversations)
        return block * self.conversations + conversation, turn

    def to_dict(self) -> dict[str, int]:
        """Return plain JSON data; :meth:`from_dict` reads it back."""
        return {"count": self.count, "conversations": self.conversations}

    @classmethod
    def from_dict(cls, data: Any) -> Turns:
        """Read ``4`` or ``{count: 4, conversations: 16}``."""
        if not isinstance(data, Mapping):
            return cls(whole(data, ("turns",), 2))
        refuse_unknown_keys(data, ("count", "conversations"), path=("turns",))
        if "count" not in data:
            raise SpecError("turns needs 'count'; allowed: count, conversations", path=("turns",))
        return cls(
            whole(data["count"], ("turns", "count"), 2),
            whole(data.get("conversations", _CONVERSATIONS), ("turns", "conversations"), 1),
        )

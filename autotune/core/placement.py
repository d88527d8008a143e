"""What a study file asks of every node that an attempt runs on, whatever the configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar

from autotune.core.kinds import By, Choice
from autotune.core.section import Section
from autotune.errors import SpecError, under

ACCELERATOR_LABEL = "ray.io/accelerator-type"
"""Label under which Ray tells what accelerators a node has."""

_EXCLUSIVE = ("auto", "node", "none")
_WORD = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,126}[A-Za-z0-9])?")  # what Ray takes as a label


def _word(raw: object, name: str) -> str:
    if isinstance(raw, Mapping | list) or not _WORD.fullmatch(str(raw)):
        raise SpecError(f"a label is ASCII letters, digits and . _ / - between them, found {raw!r}")
    return str(raw)


def _accelerator(raw: object, name: str) -> str:
    return _word(raw, name) if raw else ""


def _labels(raw: object, name: str) -> dict[str, str]:
    if not isinstance(raw, Mapping):
        raise SpecError(f"labels must be a mapping of names to values, found {raw!r}")
    found = {}
    for label, value in raw.items():
        with under(str(label)):
            found[_word(label, name)] = _word(value, name)
    return found


@dataclass(frozen=True)
class Rules(Section):
    """Demands on the nodes of attempts.

    Args:
        exclusive: ``node`` keeps the nodes of every attempt to itself, ``none`` lets them be shared, ``auto``
            is ``node`` for attempts without accelerators.
        accelerator: Type that a node's label must name (``H100``); empty for any.
        labels: Labels that a node must carry.
    """

    title: ClassVar[str] = "resources"

    exclusive: Annotated[str, Choice(_EXCLUSIVE)] = "auto"
    accelerator: Annotated[str, By(_accelerator, what="a type, such as `H100`")] = ""
    labels: Annotated[Mapping[str, str], By(_labels, what="values by label")] = field(default_factory=dict)

    @property
    def wanted(self) -> dict[str, str]:
        """Every label that a node must carry, the accelerator's type among them."""
        own = {ACCELERATOR_LABEL: self.accelerator} if self.accelerator else {}
        return {**self.labels, **own}

    def shared(self) -> Rules:
        """Return the same for a study that says itself how many attempts run at once."""
        return replace(self, exclusive="none") if self.exclusive == "auto" else self

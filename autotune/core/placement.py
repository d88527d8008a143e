"""What a study file asks of every node that an attempt runs on, whatever the configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from autotune.errors import SpecError, did_you_mean

ACCELERATOR_LABEL = "ray.io/accelerator-type"
"""Label under which Ray tells what accelerators a node has."""

KEYS = ("exclusive", "accelerator", "labels")
"""Keys of the ``resources`` section that are read here; the others are expressions."""

_EXCLUSIVE = ("auto", "node", "none")
_WORD = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,126}[A-Za-z0-9])?")  # what Ray takes as a label


@dataclass(frozen=True)
class Rules:
    """Bind attempts to nodes.

    Args:
        exclusive: ``node`` keeps the nodes of every attempt to itself, ``none`` lets them be shared, ``auto``
            is ``node`` for attempts without accelerators.
        accelerator: Type that a node's label must name (``H100``); empty for any.
        labels: Labels that a node must carry.
    """

    exclusive: str = "auto"
    accelerator: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def wanted(self) -> dict[str, str]:
        """Every label that a node must carry, the accelerator's type among them."""
        own = {ACCELERATOR_LABEL: self.accelerator} if self.accelerator else {}
        return {**self.labels, **own}

    def shared(self) -> Rules:
        """Return the same for a study that says itself how many attempts run at once."""
        return replace(self, exclusive="none") if self.exclusive == "auto" else self

    def to_dict(self) -> dict[str, Any]:
        """Return the keys that :meth:`from_dict` reads back; what is not asked for is left out."""
        found: dict[str, Any] = {} if self.exclusive == "auto" else {"exclusive": self.exclusive}
        if self.accelerator:
            found["accelerator"] = self.accelerator
        if self.labels:
            found["labels"] = dict(self.labels)
        return found

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Rules:
        """Read these keys of a ``resources`` section.

        Raises:
            SpecError: A value is not allowed; ``path`` names its key.
        """
        exclusive = str(data.get("exclusive", "auto"))
        if exclusive not in _EXCLUSIVE:
            raise SpecError(
                f"unknown exclusive {exclusive!r}; allowed: {', '.join(_EXCLUSIVE)}",
                path=("exclusive",),
                hint=did_you_mean(exclusive, _EXCLUSIVE),
            )
        accelerator = data.get("accelerator", "")
        if accelerator:
            _word(accelerator, ("accelerator",))
        labels = data.get("labels", {})
        if not isinstance(labels, Mapping):
            raise SpecError(
                f"labels must be a mapping of names to values, found {labels!r}", path=("labels",)
            )
        for name, value in labels.items():
            _word(name, ("labels", str(name)))
            _word(value, ("labels", str(name)))
        return cls(exclusive, str(accelerator), {str(k): str(v) for k, v in labels.items()})


def _word(raw: Any, path: tuple[str, ...]) -> None:
    if isinstance(raw, Mapping | list) or not _WORD.fullmatch(str(raw)):
        raise SpecError(
            f"a label is letters, digits and . _ / - between them, found {raw!r}",
            path=path,
        )

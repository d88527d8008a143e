"""What a study takes from a search space that its owner did not write, and objections to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from autotune.core.json_object import JsonObject


@dataclass(frozen=True)
class Borrowed:
    """The parts of a study that come from its search space alone: its owner's own file does not say them.

    Args:
        section: The whole ``system`` section of the study, the owner's part included.
        system: The keys of that section that the space brings.
        parameters: Keys of each parameter's entry that the space brings, by name.
        confirmed: Parameters that the owner's file names too; of one that only the owner may set, this says
            nothing of the values.
        derived: Expressions by name.
        engine: The keys of the ``engine`` section that the space brings.
        all_parameters: Entries of every parameter of the study, the owner's part included, by name.
        all_derived: Expressions of every derived value of the study, by name.
    """

    section: JsonObject = field(default_factory=dict)
    system: JsonObject = field(default_factory=dict)
    parameters: Mapping[str, JsonObject] = field(default_factory=dict)
    confirmed: frozenset[str] = frozenset()
    derived: JsonObject = field(default_factory=dict)
    engine: JsonObject = field(default_factory=dict)
    all_parameters: Mapping[str, JsonObject] = field(default_factory=dict)
    all_derived: JsonObject = field(default_factory=dict)


@dataclass(frozen=True)
class Objection:
    """A part of a search space that only the study's owner may say.

    Args:
        path: Keys that lead to it, from the top of the file.
        what: Text that was found: ``"trust_remote_code: true"``.
        reason: Reason why it is the owner's alone: ``"loads code"``.
        at_key: Whether the key itself is objected to, not its value.
    """

    path: tuple[str | int, ...]
    what: str
    reason: str
    at_key: bool = True


Review = Callable[[Borrowed], Sequence[Objection]]
"""Returns what in a borrowed part only the study's owner may say."""

"""A trainable of Ray Tune, run in a process of its own for each attempt."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from autotune.core.dependencies import need
from autotune.core.environment import own_module
from autotune.core.kinds import By, Key, Needs, Text
from autotune.core.named_code import CALL
from autotune.core.parameter.base import read_number
from autotune.core.section import mapping
from autotune.errors import SpecError
from autotune.systems.function import FunctionSystem

_WHAT = "module:name or file.py:name"


def _places(raw: object, name: str) -> dict[str, object]:
    return dict(mapping(raw, f"the {name} of a trainable"))


def _stop(raw: object, name: str) -> dict[str, float]:
    found = mapping(raw, name, "for example {training_iteration: 10}")
    numbers = {key: read_number(value) for key, value in found.items()}
    for key, number in numbers.items():
        if number is None:
            raise SpecError(f"{name} must be a number, found {found[key]!r}", path=(key,))
    return {key: number for key, number in numbers.items() if number is not None}


@dataclass(frozen=True)
class RayTuneSystem(FunctionSystem):
    """A trainable of Ray Tune, run with a configuration; what it reports last are its metrics.

    Args:
        call: ``module:name`` or ``file.py:name`` of a function that calls `tune.report`, or of a subclass of
            `tune.Trainable`. The study file's folder is first on the module path.
        config: Constants of its configuration, nested as it wants it; a text ``{name}`` in it stands for a
            parameter. Parameters that no text names stand beside them.
        stop: Bounds on what it reports, at which it is stopped: ``{training_iteration: 10}``.
    """

    name: ClassVar[str] = "ray_tune"

    title: ClassVar[str] = "a ray_tune system"

    key: ClassVar[str] = "trainable"

    call: Annotated[str, Text(_WHAT, pattern=CALL), Key("trainable"), Needs(f"a trainable, {_WHAT}")]
    config: Annotated[Mapping[str, object], By(_places, dict, "constants")] = field(default_factory=dict)
    stop: Annotated[Mapping[str, float], By(_stop, dict, "bounds by metric")] = field(default_factory=dict)

    def check_machine(self) -> None:
        """Check that the trainable is there, and Ray Tune.

        Raises:
            EnvironmentProblem: Ray Tune is not, or the folder.
            SpecError: The trainable is not.
        """
        need(["ray"])
        super().check_machine()

    def _words(self, file: str) -> list[str]:
        """Return the words that run the trainable and write its metrics to a file."""
        options = json.dumps({"config": self.config, "stop": self.stop})
        return own_module("autotune.systems.own.trainable", self.call, options, file)

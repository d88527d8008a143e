"""Models that are one file per quantization: ``{quantization}`` in the name becomes a parameter's value."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from autotune.core.space import Space
from autotune.systems.served.system import ServedSystem
from autotune.systems.served.tiny import TINY, tiny_files

HOLE = "{quantization}"
CHOICE = "model_quantization"
"""Parameter whose value fills the hole: ``Q4_K_M``, ``Q8_0``, ``F16``."""

_TINY_KIND = "F16"  # of the model made here where the study does not vary it; Q8_0 is made too


class GGUFSystem(ServedSystem):
    """A server of a model that is a GGUF file."""

    def tiny(self, *, draft: bool = False) -> str:
        """Return the GGUF file of the model made here."""
        file = tiny_files().gguf(_TINY_KIND, draft=draft)
        return str(file) if draft else str(file).replace(f"-{_TINY_KIND}", f"-{HOLE}")

    def model_file(self, values: Mapping[str, object]) -> str:
        """Return the file that a configuration or its settings pick."""
        return self.model.replace(HOLE, str(values.get(CHOICE, _TINY_KIND)))

    def files_of_values(self, space: Space) -> dict[str, Path]:
        """Return the file that each value of the parameter picks, by the value in words; local ones only."""
        here = self.resolved()
        if CHOICE not in space.names or HOLE not in here.model or not here.model.startswith(("/", "~")):
            return {}
        made = [file.name for file in tiny_files().quantized] if self.model == TINY else []
        files = {value: Path(here.model_file({CHOICE: value})) for value in space[CHOICE].levels}
        return {
            f"{CHOICE} {value}": file.expanduser() for value, file in files.items() if file.name not in made
        }

    def served_name(self, config: Mapping[str, object]) -> str:
        """Return the file's name: a server of one file takes any."""
        return Path(self.model_file({**self.flags, **config})).name

    def hole_rule(self, config: Mapping[str, object]) -> str:
        """Return what is wrong with the hole and the parameter; empty if they go together."""
        if self.model != TINY and (HOLE in self.model) != (CHOICE in config):
            return f"{CHOICE} and {HOLE} in the system's model go together"
        return ""

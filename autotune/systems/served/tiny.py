"""``model: tiny`` of a server: the small trained pair, as a folder and as GGUF.

The same recipe as the ``transformers`` system's own, with heads of 32 dimensions: vLLM's attention on CPUs
knows no 24.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from autotune.systems.gguf import write_gguf
from autotune.systems.made_apart import make_apart
from autotune.systems.transformers.make_model import DRAFT, TARGET, ModelPaths, Shape, made_model, make_model

TINY = "tiny"
"""Name of the model that is trained here, where none can be downloaded."""

SHAPE = replace(TARGET, heads=6)


@dataclass(frozen=True)
class TinyFiles:
    """The places of the pair, in both forms.

    Args:
        pair: Folders of safetensors.
    """

    pair: ModelPaths

    def gguf(self, kind: str, *, draft: bool = False) -> Path:
        """Return the GGUF file with weights of a type: ``F16`` or ``Q8_0``."""
        return self.pair.target.parent / f"{'draft' if draft else 'target'}-{kind}.gguf"

    @property
    def quantized(self) -> list[Path]:
        """The GGUF files of the larger model that are made, or will be."""
        return [self.gguf(kind) for kind in ("Q8_0", "F16")]

    @property
    def complete(self) -> bool:
        """Whether everything is made: the file that is written last is there."""
        return self.gguf("F16", draft=True).exists()


def tiny_files(folder: Path | None = None, target: Shape = SHAPE, draft: Shape = DRAFT) -> TinyFiles:
    """Return where the pair is kept, whether it is made or not; loads no torch."""
    return TinyFiles(made_model(folder, target=target, draft=draft))


def make_tiny_files(folder: Path | None = None, target: Shape = SHAPE, draft: Shape = DRAFT) -> TinyFiles:
    """Return the pair, trained and converted now if it is not cached. Loads torch where it is not."""
    files = tiny_files(folder, target, draft)
    if files.complete:
        return files

    def show(line: str) -> None:
        print(line, flush=True)  # noqa: T201 - whoever started this reads it

    make_model(folder, target=target, draft=draft, log=show)
    home = files.pair.target.parent
    with (home.parent / f"{home.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second process waits here and then finds the files made
        if not files.complete:
            write_gguf(files.pair.target, files.gguf("Q8_0"), "Q8_0")
            write_gguf(files.pair.target, files.gguf("F16"))
            write_gguf(files.pair.draft, files.gguf("F16", draft=True))
    return files


def ensure_tiny(log: Callable[[str], None]) -> None:
    """Make the pair in a process of its own, which keeps torch out of this one.

    Args:
        log: Callable that shows progress, a line at a time.

    Raises:
        EnvironmentProblem: It could not be made; says what went wrong.
        Interrupted: The user stopped it.
    """
    if not tiny_files().complete:
        make_apart("autotune.systems.served.tiny", log)


if __name__ == "__main__":
    make_tiny_files()

"""The compiled kernel that unpacks 4-bit weights on a processor, built once per machine.

optimum-quanto compiles it at its first use, in the middle of a generation and inside its own folder. Here it
is compiled while a server starts, into the user's cache, so that no measurement waits for a compiler.
"""

from __future__ import annotations

import fcntl
import hashlib
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from autotune.systems.transformers.make_model import cache_folder


def kernel_folder(source: str) -> Path:
    """Return where the kernel is kept: one for each version of torch and Python and each installation.

    Args:
        source: Path of the kernel's source; compiled again when another installation's differs.
    """
    place = hashlib.blake2b(source.encode(), digest_size=4).hexdigest()
    version = f"torch{torch.__version__}-py{platform.python_version()}"
    return cache_folder() / "kernels" / f"quanto-{version}-{place}"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder, and torch from waiting for one that is gone.

    The lock file that torch's builder leaves when it is killed makes every later one wait for ever; this lock
    ends with its process, so whoever holds it may take the other away.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "building").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        (folder / "lock").unlink(missing_ok=True)
        yield


def build_kernels() -> None:
    """Compile the kernel, or load the compiled one.

    Raises:
        ValueError: There is no working C++ compiler.
    """
    from optimum.quanto.library.extensions import get_extension

    extension = get_extension("quanto_cpp")
    folder = kernel_folder(extension.sources[0])
    extension.build_directory = str(folder)
    try:
        with _alone(folder):
            _ = extension.lib
    except (RuntimeError, OSError) as error:
        first = str(error).strip().splitlines()[0]
        raise ValueError(
            "4-bit weights, or keys and values of few bits, need a C++ compiler (g++) on a CPU the first "
            f"time: {first}"
        ) from error

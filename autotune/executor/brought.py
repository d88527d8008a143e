"""What a study brings to every node that measures it: the files that it names, and variables passed by name.

Files are laid out under the same absolute path everywhere, so that what a study file says holds on each node.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autotune.core.redact import PASS_ENV, names_passed

FOLDER = "AUTOTUNE_BROUGHT"
"""Variable of a submitted study's driver: folder that its files were laid out in."""

_RAYS_OWN = "working_dir_files"  # part of the path of every folder into which Ray unpacks files


@dataclass(frozen=True)
class Brought:
    """Files and variables that an attempt needs beside its job.

    Args:
        folder: Absolute path of the files on every node; empty where the study brings none.
        variables: Values of the variables that servers are given, by name.
    """

    folder: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Brought:
        """Return what the driver that has this environment brings."""
        names = names_passed(environment)
        return cls(
            environment.get(FOLDER, ""), {name: environment[name] for name in names if name in environment}
        )

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Brought:
        """Read plain data."""
        return cls(str(data["folder"]), dict(data["variables"]))

    def to_dict(self) -> dict[str, object]:
        """Return plain data; never to be shown: it has secrets."""
        return {"folder": self.folder, "variables": dict(self.variables)}

    def unpack(self) -> None:
        """Set the variables here, and lay the files out that Ray has put into the working folder."""
        if self.variables:
            names = dict.fromkeys([*names_passed(os.environ), *self.variables])
            os.environ.update(self.variables)
            os.environ[PASS_ENV] = ",".join(names)
        here = Path.cwd()
        if self.folder and _RAYS_OWN in here.parts:
            lay_out(here, Path(self.folder))


def lay_out(source: Path, target: Path) -> None:
    """Copy what lies in a folder to another one, each file whole or not at all; what is equal stays.

    Args:
        source: Folder to copy.
        target: Folder that gets the copies; others in it stay.
    """
    if source.resolve() == target.resolve():
        return
    for file in sorted(source.rglob("*")):
        place = target / file.relative_to(source)
        if not file.is_file() or "__pycache__" in file.parts:
            continue
        if place.is_file() and place.read_bytes() == file.read_bytes():
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        descriptor, draft = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}-")
        os.close(descriptor)
        try:
            shutil.copyfile(file, draft)
            shutil.copymode(file, draft)
            os.replace(draft, place)
        except BaseException:
            os.unlink(draft)
            raise

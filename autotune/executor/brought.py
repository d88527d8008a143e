"""What a study brings to every node that measures it: the files that it names, and variables passed by name.

Files are laid out under the same absolute path everywhere, so that what a study file says holds on each node.
The folder of a submission is named by what the files hold, below the study's own: another submission of the
study changes nothing under an attempt that runs. A process that uses a folder locks it; one that nobody uses
any more is removed by the next submission, but for what the study has written there.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from autotune.core.json_object import JsonObject
from autotune.core.own_files import kind_of
from autotune.core.redact import PASS_ENV, names_passed

_log = logging.getLogger("autotune.executor")

FOLDER = "AUTOTUNE_BROUGHT"
"""Variable of a submitted study's driver: folder that its files were laid out in."""

_SUBMISSION = "[0-9a-f]{16}"  # name of a submission's folder
_LIST = ".autotune-files.json"  # in it: paths of the files that were laid out
_used: dict[Path, int] = {}  # folders that this process has locked, with their descriptors
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
    def from_dict(cls, data: JsonObject) -> Brought:
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
            folder = Path(self.folder)
            use(folder)
            lay_out(here, folder)
            remove_unused(folder.parent)


def submission_folder(source: Path, home: Path) -> Path:
    """Return the folder for files that were submitted: equal ones share it.

    Args:
        source: Folder that has the files.
        home: Folder of the study, under which the folders of its submissions lie.
    """
    digest = hashlib.sha256()
    for file in _files(source):
        content = file.read_bytes()
        about = [str(file.relative_to(source)), bool(file.stat().st_mode & 0o100), len(content)]
        digest.update(json.dumps(about).encode() + content)
    return home / digest.hexdigest()[:16]


def use(folder: Path) -> None:
    """Make a submission's folder, and keep it from being removed while this process lives."""
    while folder not in _used or not _is_at(_used[folder], folder):
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # removed in between
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            with suppress(OSError):  # a file system without locks: then nobody removes it either
                fcntl.flock(handle, fcntl.LOCK_SH)
            if _is_at(handle, folder):
                _used[folder] = handle
            else:
                os.close(handle)


def _is_at(handle: int, folder: Path) -> bool:
    """Return whether an open folder is still the one of its path."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(handle), folder.stat())
    return False


def remove_unused(home: Path, kept: Collection[Path] = ()) -> None:
    """Remove the submissions of a study that no process uses; what was written beside their files stays.

    Another process may do the same meanwhile. A folder that cannot be read or removed stays, and is logged.

    Args:
        home: Folder of the study.
        kept: Folders that stay.
    """
    for folder in sorted(home.iterdir()):
        if not re.fullmatch(_SUBMISSION, folder.name) or folder in kept:
            continue
        try:
            if (folder / _LIST).is_file():
                _remove_if_unused(folder)
        except FileNotFoundError:  # another process removes it
            continue
        except (OSError, ValueError, RecursionError) as error:  # others' to remove, or a damaged list
            _log.warning("%s stays, for it cannot be removed: %s", folder, error)


def _remove_if_unused(folder: Path) -> None:
    """Remove a folder but for the files that were not laid out there.

    Raises:
        OSError: Something in it cannot be read or removed.
        ValueError: The list of its files is damaged.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # it is used, or on a file system without locks
            return
        if _is_at(handle, folder):  # else it is another one by now, which somebody may use
            _remove(folder)
    finally:
        os.close(handle)


def _listed(folder: Path) -> list[Path]:
    """Return the files that were laid out in a folder, as far as they are still files in it.

    Raises:
        OSError: The list cannot be read.
        ValueError: It is damaged, or names something outside the folder.
    """
    names = json.loads((folder / _LIST).read_text(encoding="utf-8"))
    if not isinstance(names, list):
        raise ValueError(f"{_LIST} is no list")
    for name in names:
        if (
            not isinstance(name, str)
            or not name
            or PurePath(name).is_absolute()
            or ".." in PurePath(name).parts
        ):
            raise ValueError(f"{_LIST} names {name!r}, which is no file in that folder")
    real = folder.resolve()
    files = [folder / name for name in names]
    return [file for file in files if not kind_of(file) and file.resolve().is_relative_to(real)]


def _remove(folder: Path) -> None:
    """Remove a folder that is locked but for the files that were not laid out there."""
    for file in _listed(folder):
        file.unlink(missing_ok=True)
    folders = (path for path in folder.rglob("*") if path.is_dir() and not path.is_symlink())
    for place in sorted(folders, reverse=True):
        if place.name == "__pycache__":
            shutil.rmtree(place)
        elif not any(place.iterdir()):
            place.rmdir()
    (folder / _LIST).unlink()
    if not any(folder.iterdir()):
        folder.rmdir()


def same_place(data: Any, environment: Mapping[str, str] = os.environ) -> Any:
    """Return data of a study with the paths of its submissions as those of one place.

    Args:
        data: Plain data of a study file.
        environment: Environment of the driver; one that was not submitted has no such paths.
    """
    if not (folder := environment.get(FOLDER, "")):
        return data
    home = re.compile(rf"({re.escape(os.path.dirname(folder))})/{_SUBMISSION}(?=[/:]|$)")

    def moved(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: moved(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [moved(each) for each in value]
        return home.sub(r"\1", value, count=1) if isinstance(value, str) and home.match(value) else value

    return moved(data)


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder that are laid out."""
    for file in sorted(folder.rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            yield file


def lay_out(source: Path, target: Path) -> None:
    """Copy what lies in a folder to another one, each file whole or not at all; what is equal stays.

    Args:
        source: Folder to copy.
        target: Folder that gets the copies; others in it stay.
    """
    if source.resolve() == target.resolve():
        return
    names = [str(file.relative_to(source)) for file in _files(source)]
    with tempfile.TemporaryDirectory(prefix="autotune-brought-") as folder:
        listed = Path(folder) / _LIST
        listed.write_text(json.dumps(names), encoding="utf-8")
        _copy(listed, target / _LIST)
    for name in names:
        _copy(source / name, target / name)


def _copy(file: Path, place: Path) -> None:
    """Copy a file whole or not at all, also where power fails, with its mode; an equal one stays."""
    if place.is_file() and place.read_bytes() == file.read_bytes():
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    descriptor, draft = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}-")
    os.close(descriptor)
    try:
        shutil.copyfile(file, draft)
        shutil.copymode(file, draft)
        with open(draft, "rb") as written:
            os.fsync(written.fileno())
        os.replace(draft, place)
    except BaseException:
        os.unlink(draft)
        raise

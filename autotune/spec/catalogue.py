"""The shipped files: search spaces and objectives, found by name or by path."""

from __future__ import annotations

from pathlib import Path

from autotune.errors import SpecError, did_you_mean
from autotune.spec.yaml_text import parse_text, read_text

KINDS = ("search_spaces", "objectives")

_PACKAGE = Path(__file__).resolve().parent.parent


def folder(kind: str) -> Path:
    """Return the folder of the shipped files: inside an installed package, or beside it in a checkout.

    Args:
        kind: ``search_spaces``, ``objectives``, or ``examples/plugin``.
    """
    installed = _PACKAGE / "_catalogue" / kind
    return installed if installed.is_dir() else _PACKAGE.parent / kind


def names(kind: str) -> list[str]:
    """Return the names of the shipped files of a kind."""
    return sorted(path.stem for path in folder(kind).glob("*.yaml"))


def find(kind: str, name: str, *, beside: Path | None = None, inside: bool = False) -> Path:
    """Return the file that ``name`` means: a path if it looks like one, else a shipped file.

    Args:
        kind: ``search_spaces`` or ``objectives``.
        name: ``vllm``, ``./my_space.yaml``, ``/abs/path.yaml``.
        beside: Folder that relative paths start from; the working folder by default.
        inside: Whether a path has to stay below that folder, links followed.

    Raises:
        SpecError: There is none; the nearest shipped name is given. Or a path leads out of its folder.
    """
    if "/" in name or name.endswith((".yaml", ".yml")):
        path = (beside or Path()) / name
        if inside:
            refuse_outside(name, beside or Path())
        if not path.is_file():
            raise SpecError(f"no such file: {path}")
        return path
    known = names(kind)
    if name not in known:
        what = kind.replace("_", " ").removesuffix("s")
        raise SpecError(
            f"unknown {what} {name!r}; allowed: {', '.join(known)}, or a path", hint=did_you_mean(name, known)
        )
    return folder(kind) / f"{name}.yaml"


def refuse_outside(name: str, beside: Path) -> None:
    """Refuse a path that a search space names where it leaves the space's folder.

    Raises:
        SpecError: It does, by its words or by a link.
    """
    if _leads_out(name, beside):
        raise SpecError(
            f"a search space may not name the file {name!r}: only a shipped name or a file below its own "
            "folder",
            hint="write it in the study file; in Python, load_space(path, trust_space=True)",
        )


def _leads_out(name: str, beside: Path) -> bool:
    """Return whether a path leaves the folder that it starts from, by its words or by a link."""
    if Path(name).is_absolute() or ".." in Path(name).parts or name.startswith("~"):
        return True
    try:
        return not (beside / name).resolve().is_relative_to(beside.resolve())
    except (OSError, RuntimeError, ValueError):
        return True


def entries(kind: str) -> dict[str, str]:
    """Return the shipped files of a kind with the line that describes each."""
    result = {}
    for name in names(kind):
        path = folder(kind) / f"{name}.yaml"
        result[name] = str(parse_text(read_text(path), path.name).data.get("description", ""))
    return result

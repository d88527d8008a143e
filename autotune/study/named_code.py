"""Functions and scripts that a study file names, refused where they cannot be there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from autotune.core.json_object import JsonObject
from autotune.engine.named_sampler import names_code, refuse_absent_sampler
from autotune.errors import EnvironmentProblem, SpecError, under
from autotune.systems.command import CommandSystem
from autotune.systems.function import FunctionSystem
from autotune.systems.interpreters import check_script, script_of

if TYPE_CHECKING:
    from autotune.study.study_file import StudyFile


def refuse_absent_code(study: StudyFile, written: JsonObject, *, here: bool) -> None:
    """Refuse functions of a study that are not there, without running any of them.

    Args:
        study: Study as read.
        written: Keys of its file, as it has them.
        here: Whether it runs on this machine; else only what travels with the file is judged, and then the
            script of a command too, which is looked for here before a launch.

    Raises:
        SpecError: One is not there; ``path`` leads to what names it.
    """
    system = None if study.system is None else study.system.built
    if isinstance(system, FunctionSystem) and (here or _travels(written["system"], system.call)):
        with under("system"):
            system.refuse_absent(here=here)
    if isinstance(system, CommandSystem) and not here:
        script = script_of(system.argv)
        if _travels(written["system"], script) and ("/" in script or script.endswith(".py")):
            _refuse_absent_script(system)
    quality = study.quality
    if quality is not None and (here or _travels(written["quality"], str(quality.scorer))):
        with under("quality"):
            quality.refuse_absent(here=here)
    if names_code(study.engine.use):
        with under("engine", *(["use"] if isinstance(written["engine"], Mapping) else [])):
            refuse_absent_sampler(study.engine.use, here=here)
    for event in ("trial", "end"):
        hooks = getattr(study.hooks, event)
        raw = written["on"][event] if hooks else []
        for place, (hook, text) in enumerate(
            zip(hooks, raw if isinstance(raw, list) else [raw], strict=True)
        ):
            section = text if isinstance(text, Mapping) else {"call": text}
            if here or _travels(section, str(section.get("call"))):
                with under("on", event, *([place] if isinstance(raw, list) else [])):
                    hook.refuse_absent(here=here)


def _travels(section: JsonObject, target: str) -> bool:
    """Return whether what a section names lies beside the study by its text."""
    paths = (str(section.get("folder", "")), target)
    return not any(PurePath(path).is_absolute() or path.startswith("~") for path in paths)


def _refuse_absent_script(system: CommandSystem) -> None:
    """Refuse a command whose script is not there."""
    try:
        check_script(system.argv, Path(system.folder))
    except EnvironmentProblem as error:
        raise SpecError(error.message, path=("system", "argv"), hint=error.hint) from None

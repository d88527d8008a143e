"""Whether a study can run here: what would end it before or at its first trial, found without launching."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autotune.core.dependencies import need
from autotune.core.space import Space
from autotune.core.table import distinct
from autotune.engine.base import libraries
from autotune.engine.named_sampler import names_code
from autotune.engine.registry import ENGINES, build_engine
from autotune.errors import AutotuneError, EnvironmentProblem, SpecError
from autotune.executor.local import LocalExecutor
from autotune.spec.overrides import apply_overrides
from autotune.spec.yaml_text import Document
from autotune.study.jobs import any_fits, resources_of, system_of
from autotune.study.study_file import StudyFile
from autotune.systems.base import System, launched_config
from autotune.systems.registry import SYSTEMS

SAMPLED = 256
"""Random configurations that a system is asked about, beside the default."""

_TOLD_FROM = 0.05  # share of refused configurations that is worth a line: single combinations are usual
_MESSAGES = 2
_PATHS = ("/", "~/")
_ACCELERATORS = ("nvidia*", "kfd", "accel*", "dri")  # of /dev; with one of them, counting is not for us


@dataclass(frozen=True)
class Readiness:
    """The obstacles to running a study on this machine.

    Args:
        errors: Reasons why ``autotune run`` would end, the file's own mistakes first.
        warnings: Reasons why trials may be wasted.
    """

    errors: tuple[AutotuneError, ...] = ()
    warnings: tuple[str, ...] = ()


def readiness(spec: StudyFile, overrides: Sequence[str] = ()) -> Readiness:
    """Return what would end a study before or at its first trial, and what would waste trials.

    Args:
        spec: Study file.
        overrides: ``KEY=VALUE`` of the file, for messages.
    """
    try:
        system = system_of(spec).built
    except SpecError as error:
        return Readiness((error,))
    errors: list[AutotuneError] = []
    warnings: list[str] = []
    refused = refusals(spec, system)
    if refused.all_refused:
        errors.append(
            SpecError(f"every configuration would be refused: {refused.text}", path=("parameters",))
        )
    elif refused.share >= _TOLD_FROM:
        warnings.append(f"{refused.share:.0%} of the configurations would be refused: {refused.text}")
    try:
        _check_machine(system)
    except AutotuneError as error:
        errors.append(error)
    errors += missing_files(spec.space, system)
    warnings += _unknown_paths(spec.space) + _clashes(spec) + _missing_libraries(spec)
    if short := _default_shortage(spec, system):
        if lack := _unplaceable(spec, local=False, overrides=overrides):
            errors.append(lack)
        else:
            warnings.append(f"the default configuration {short}")
    errors.sort(key=lambda error: error.exit_code)
    return Readiness(tuple(errors), tuple(warnings))


def refuse_unplaceable(spec: StudyFile, *, local: bool = False, overrides: Sequence[str] = ()) -> None:
    """Refuse a study of which no configuration could ever be placed here, before anything of it is made.

    What a cluster has is known once Ray is there: the driver asks it then.

    Args:
        spec: Study file.
        local: Whether attempts run in child processes instead of on Ray.
        overrides: ``KEY=VALUE`` of the file, for the message.

    Raises:
        EnvironmentProblem: It is so, or its system lacks something else.
    """
    if lack := _unplaceable(spec, local=local, overrides=overrides):
        _check_machine(system_of(spec).built)  # what else is missing is to be seen to first
        raise lack


def _unplaceable(spec: StudyFile, *, local: bool, overrides: Sequence[str]) -> EnvironmentProblem | None:
    """Return what is wrong where no configuration could ever be placed here."""
    if not local and (os.environ.get("RAY_ADDRESS") or not _is_countable()):
        return None
    system = system_of(spec).built
    short = _default_shortage(spec, system)
    if not short or any_fits(spec, system, LocalExecutor()):
        return None
    asked = ""
    if spec.resources.gpus:
        said = Document({}, "")
        apply_overrides(said, overrides)
        mark = said.values.get(("resources", "gpus")) or said.values.get(("resources",))
        asked = f"{mark or 'resources.gpus'}: "
    hint = "without --local, RAY_ADDRESS names a cluster" if local else "RAY_ADDRESS names a cluster"
    hint += "; --set resources.gpus=N asks for another number" if asked else ""
    return EnvironmentProblem(f"{asked}every configuration {short}", hint=hint)


def _check_machine(system: System) -> None:
    """Let a system that can look for what it needs on this machine do so."""
    look = getattr(system, "check_machine", None)
    if look is not None:
        look()


def _default_shortage(spec: StudyFile, system: System) -> str:
    """Return what this machine lacks for the default configuration; empty if nothing."""
    return LocalExecutor().shortage(resources_of(spec, system, spec.space.default_config))


def _is_countable() -> bool:
    """Return whether this machine has none of the accelerators that only Ray can count."""
    return not any(found for name in _ACCELERATORS for found in Path("/dev").glob(name))


def missing_files(space: Space, system: System) -> list[AutotuneError]:
    """Return the values of parameters that name files of the system which are not there."""
    name_files = getattr(system, "files_of_values", None)
    found: Mapping[str, Path] = {} if name_files is None else name_files(space)
    return [
        EnvironmentProblem(
            f"{value}: no such file: {path}", hint="make it, or take the value out of the parameter"
        )
        for value, path in found.items()
        if not path.exists()
    ]


def _unknown_paths(space: Space) -> list[str]:
    """Return a line about each value that reads like a path of this machine which is not there."""
    texts = [(p.name, value) for p in space for value in p.levels if isinstance(value, str)]
    absent = [(n, v) for n, v in texts if v.startswith(_PATHS) and not Path(v).expanduser().exists()]
    return [
        f"parameter {name} has the value {value!r}, and there is no such file here" for name, value in absent
    ]


def _missing_libraries(spec: StudyFile) -> list[str]:
    """Return a line about what the engine needs and this machine lacks: a file is often checked elsewhere."""
    foreign = names_code(spec.engine.use)  # which only a run imports
    try:
        need(["optuna"] if foreign else libraries(build_engine(spec.engine.section)))
    except EnvironmentProblem as error:
        return [": ".join(filter(None, (f"`autotune run` would end here: {error.message}", error.hint)))]
    return []


@dataclass(frozen=True)
class Refusals:
    """The refusals of a system before launching it.

    Args:
        share: Share of the sampled configurations, in [0, 1].
        text: The most frequent reasons, with their shares.
    """

    share: float
    text: str

    @property
    def all_refused(self) -> bool:
        """Whether nothing of what was sampled could be launched."""
        return self.share >= 1.0


def refusals(spec: StudyFile, system: System) -> Refusals:
    """Return which share of the space a system would refuse, and why."""
    space = spec.space
    sampled = distinct((space.default_config, *space.sample(SAMPLED, np.random.default_rng(0))))
    failures = [system.check(launched_config(system, config, space.derived)) for config in sampled]
    reasons = Counter(failure.message for failure in failures if failure is not None)
    count = sum(reasons.values())
    told = [f"{message} ({number / len(failures):.0%})" for message, number in reasons.most_common(_MESSAGES)]
    more = len(reasons) - len(told)
    return Refusals(count / len(failures), "; ".join(told) + (f"; and {more} other reasons" if more else ""))


def _clashes(spec: StudyFile) -> list[str]:
    """Return which names of a study a plug-in has too."""
    found = (SYSTEMS.clash(system_of(spec).use), ENGINES.clash(spec.engine.use))
    return [text for text in found if text]


def announce(spec: StudyFile, system: System) -> list[str]:
    """Return the warnings that a run begins with; raise what would end it at its first trial.

    Raises:
        SpecError: Every configuration would be refused, or the function that scores answers is not there.
        EnvironmentProblem: A value of a parameter names a file that is not there.
    """
    refused = refusals(spec, system)
    if refused.all_refused:
        raise SpecError(f"every configuration would be refused: {refused.text}")
    for error in missing_files(spec.space, system):
        raise error
    if spec.quality is not None:
        spec.quality.refuse_absent(here=True)
    if refused.share < _TOLD_FROM:
        return _clashes(spec)
    return [*_clashes(spec), f"{refused.share:.0%} of the configurations will be refused: {refused.text}"]

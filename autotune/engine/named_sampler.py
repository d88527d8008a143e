"""Samplers that an engine's name leads to, ``optuna:MODULE:CLASS``: judged from source, not imported."""

from __future__ import annotations

from autotune.core.named_code import refuse_absent
from autotune.errors import SpecError

_OPTUNA = "optuna"


def names_sampler(use: str) -> bool:
    """Return whether the name of an engine is of the form ``optuna:MODULE:CLASS``."""
    return use.startswith(f"{_OPTUNA}:") and ":" in use.removeprefix(f"{_OPTUNA}:")


def names_code(use: str) -> bool:
    """Return whether the engine of a name runs a module that the name chooses: any but Optuna's own."""
    return names_sampler(use) and use.split(":")[1].partition(".")[0] != _OPTUNA


def sampler_place(use: str) -> tuple[str, str]:
    """Return module and class of ``optuna:MODULE:CLASS``.

    Raises:
        SpecError: It has another form.
    """
    module, _, attribute = use.partition(":")[2].rpartition(":")
    if not all(part.isidentifier() for part in (*module.split("."), attribute)) or module.endswith(".py"):
        raise SpecError(
            f"engine {use!r} is not of the form optuna:MODULE:CLASS", hint="optuna:my.module:MySampler"
        )
    return module, attribute


def refuse_absent_sampler(use: str, *, here: bool) -> None:
    """Refuse a sampler whose module or class is not there.

    Args:
        use: Name of the engine, ``optuna:MODULE:CLASS``.
        here: Whether it runs on this machine; else only the form is judged.

    Raises:
        SpecError: It is so.
    """
    module, attribute = sampler_place(use)
    try:
        refuse_absent(f"{module}:{attribute}", what="class", here=here)
    except SpecError as error:
        lost = error.message.startswith("no module")
        hint = "its folder must be in PYTHONPATH, or installed" if lost else error.hint
        raise SpecError(f"engine {use!r}: {error.message}", hint=hint) from None

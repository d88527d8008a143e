"""The libraries that this package declares, and what to say where one of them is missing."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from importlib import metadata
from importlib.util import find_spec

from autotune.errors import EnvironmentProblem

DISTRIBUTION = "autotune-inference"

_NAME = re.compile(r"[\w.-]+")
_IMPORTED_AS = {"pyyaml": "yaml", "optimum-quanto": "optimum"}  # others have the name of their package


def missing_dependency(error: BaseException) -> EnvironmentProblem | None:
    """Return the problem behind an error of an import; ``None`` unless a library of others is at fault.

    Args:
        error: Error that was raised; that of an import knows the module that it wanted.
    """
    if not isinstance(error, ImportError):
        return None
    module = (error.name or "").partition(".")[0]
    if module == __name__.partition(".")[0] or module in sys.stdlib_module_names:
        return None
    package = _declared().get(module)
    if isinstance(error, ModuleNotFoundError) and error.name == module:
        return _absent([module], f"pip install {package}" if package else "install the package that has it")
    said = str(error).partition("\n")[0]
    hint = f"`pip install -U {package}` may mend it" if package else ""
    return EnvironmentProblem(f"{module or 'a library'} cannot be used here: {said}", hint=hint)


def what_is_missing(error: BaseException) -> str:
    """Return the problem behind an error of an import in one line; empty where no library is at fault."""
    problem = missing_dependency(error)
    return ": ".join(filter(None, (problem.message, problem.hint))) if problem else ""


def need(modules: Iterable[str], extra: str = "") -> None:
    """Refuse to begin what would fail later for want of a library.

    Args:
        modules: Modules that will be imported.
        extra: Extra of this package that has them all.

    Raises:
        EnvironmentProblem: One of the modules is not installed here.
    """
    if absent := [module for module in modules if not _is_installed(module)]:
        packages = [_declared().get(module, module) for module in absent]
        wanted = f"'{DISTRIBUTION}[{extra}]'" if extra else " ".join(packages)
        raise _absent(absent, f"pip install {wanted}")


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the package that it would be in
        return False


def _absent(modules: Sequence[str], hint: str) -> EnvironmentProblem:
    are = "is" if len(modules) == 1 else "are"
    return EnvironmentProblem(f"{', '.join(modules)} {are} not installed here", hint=hint)


def _declared() -> dict[str, str]:
    """Return the package of each module that the metadata of this package ask for."""
    try:
        required = metadata.requires(DISTRIBUTION) or ()
    except metadata.PackageNotFoundError:  # a copy of the source that nobody installed
        return {}
    names = [match[0] for line in required if (match := _NAME.match(line))]
    return {_IMPORTED_AS.get(name.lower(), name.replace("-", "_")): name for name in names}

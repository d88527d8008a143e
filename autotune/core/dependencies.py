"""The libraries that this package declares, and what to say where one of them is missing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import metadata
from importlib.util import find_spec

from autotune.errors import EnvironmentProblem

DISTRIBUTION = "autotune-inference"

_NAME = re.compile(r"[\w.-]+")
_IMPORTED_AS = {"pyyaml": "yaml", "optimum-quanto": "optimum"}  # others have the name of their package


def missing_dependency(error: BaseException) -> EnvironmentProblem | None:
    """Return the problem behind an error of an import; ``None`` unless a library that we declare is at fault.

    Args:
        error: Error that was raised; that of an import knows the module that it wanted.
    """
    if not isinstance(error, ImportError):
        return None
    module = (error.name or "").partition(".")[0]
    package = _declared().get(module)
    if package is None:
        return None
    if isinstance(error, ModuleNotFoundError) and error.name == module:
        return _absent(module, package)
    said = str(error).partition("\n")[0]
    return EnvironmentProblem(
        f"{module} cannot be used here: {said}", hint=f"`pip install -U {package}` may mend it"
    )


def need(modules: Iterable[str]) -> None:
    """Refuse to begin what would fail later for want of a library.

    Raises:
        EnvironmentProblem: One of the modules is not installed here.
    """
    for module in modules:
        if find_spec(module) is None:
            raise _absent(module, _declared().get(module, module))


def _absent(module: str, package: str) -> EnvironmentProblem:
    return EnvironmentProblem(f"{module} is not installed here", hint=f"pip install {package}")


def _declared() -> dict[str, str]:
    """Return the package of each module that the metadata of this package ask for."""
    try:
        required = metadata.requires(DISTRIBUTION) or ()
    except metadata.PackageNotFoundError:  # a copy of the source that nobody installed
        return {}
    names = [match[0] for line in required if (match := _NAME.match(line))]
    return {_IMPORTED_AS.get(name.lower(), name.replace("-", "_")): name for name in names}

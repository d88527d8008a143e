"""The environment of every process that is launched: all of ours for our own, an allow-list for a server."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from autotune.core.redact import names_passed, secret_variables, variables_of

_PASSED = {
    "HOME", "LANG", "LD_LIBRARY_PATH", "LOGNAME", "PATH", "PYTHONPATH", "SHELL", "SSL_CERT_DIR",
    "SSL_CERT_FILE", "TMPDIR", "TZ", "USER", "VIRTUAL_ENV",
}  # fmt: skip
_PASSED_PREFIXES = ("CUDA_", "HF_", "HIP_", "LC_", "NCCL_", "NVIDIA_", "ROCR_", "TRANSFORMERS_", "XDG_")
_SESSION = _PASSED - {"LD_LIBRARY_PATH", "PYTHONPATH"}
_OF_SESSION = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "LC_", "ROCR_VISIBLE_DEVICES", "XDG_")
_NEVER = {"HF_TOKEN", "HF_HUB_TOKEN"}  # a secret is passed by name only


SAFE_PATH = {"PYTHONSAFEPATH": "1"}
"""Lets a Python and all that it starts import nothing from the working folder, which may be a stranger's."""

NO_FOLDER = "import sys; sys.path[:] = filter(None, sys.path)"
"""The same as the beginning of a program for ``python -c``, where that Python may be an old one."""


def own_module(module: str, *words: str) -> list[str]:
    """Return the command that runs a module of this package, or of a library.

    A file of the working folder that has the name of a library's module is not imported in its place.
    """
    return [sys.executable, "-P", "-m", module, *words]


def import_path() -> dict[str, str]:
    """Return the variables under which our interpreter finds this package, from a bare checkout too."""
    package = str(Path(__file__).resolve().parents[2])
    own = [] if package == sysconfig.get_path("purelib") else [package]
    given = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    path = os.pathsep.join(dict.fromkeys([*own, *given]))
    return {"PYTHONPATH": path} if path else {}


def own_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a process that runs a module of this package.

    Args:
        extra: Variables on top of those of this process.
    """
    return {**variables_of(os.environ), **import_path(), **(extra or {})}


def server_environment(extra: Mapping[str, str], source: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment of a launched server: an allow-list of ``source`` plus ``extra``.

    ``AUTOTUNE_PASS_ENV`` names others that are passed, which is how a server gets a key. Thread counts such
    as ``OMP_NUM_THREADS`` are not passed: Ray sets them for its tasks, and they are the configuration's to
    choose.
    """
    env = {
        key: value
        for key, value in variables_of(source).items()
        if (key in _PASSED or key.startswith(_PASSED_PREFIXES)) and key not in _NEVER
    }
    env |= {key: value for key in names_passed(source) if (value := source.get(key)) is not None}
    return {**env, **extra}


def inherited(source: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return what :func:`server_environment` passes on that says how a server runs; secrets are left out.

    Without what every session has, such as PATH, and the devices, which are given out anew for each trial.
    """
    secrets = {*names_passed(source), *secret_variables(source)}
    return {
        name: value
        for name, value in server_environment({}, source).items()
        if name not in secrets and not name.startswith(_OF_SESSION) and name not in _SESSION
    }

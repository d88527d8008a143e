"""Make a model in a process of its own, which keeps torch out of this one."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

from autotune.core.environment import own_environment, own_module
from autotune.errors import EnvironmentProblem, Interrupted

_SHOWN = ("training", "target:", "draft:", "model made")
_LAST = 10  # lines that say why it failed


def make_apart(module: str, log: Callable[[str], None]) -> None:
    """Run a module that makes the small models.

    Args:
        module: Module that is run as ``python -m``.
        log: Callable that shows progress, a line at a time.

    Raises:
        EnvironmentProblem: They could not be made; says what went wrong.
        Interrupted: The user stopped it.
    """
    argv = own_module(module)
    # Threads that spin while they wait take the core from those they wait for where other work has another:
    # a fifth of the steps took ten minutes, where all of them take one.
    env = {"OMP_WAIT_POLICY": "passive", "PYTHONUNBUFFERED": "1", **own_environment()}
    lines: list[str] = []
    with subprocess.Popen(
        argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None  # noqa: S101 - asked for above
        for line in process.stdout:
            lines.append(line.rstrip())
            if line.startswith(_SHOWN):
                log(line.rstrip())
    if process.returncode in (-2, 130):
        raise Interrupted("stopped while the model was being made", hint="the same command begins it again")
    if process.returncode:
        raise EnvironmentProblem(
            "the small model could not be made:\n  " + "\n  ".join(lines[-_LAST:]),
            hint="pip install 'autotune-inference[transformers]' trains it, or name a model of your own",
        )

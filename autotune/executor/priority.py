"""The priorities under which what is measured runs: those it would be deployed with.

Ray starts its workers at nice 15, and asks the kernel to end them first when memory runs out
(``oom_score_adj`` 1000); what they launch inherits both. A server that others outrun is not the one that will
be deployed. The worker's own values are reset as well: memory that a server used up must not end the small
process that measures it. Lower values than those inherited need rights (``CAP_SYS_NICE``,
``CAP_SYS_RESOURCE``): without them, the facts of the attempt tell what was left.

Standard library only: the supervisor, which lives beside every measurement, is built from it.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_inherited: dict[str, int] = {}


def reset_priorities() -> None:
    """Give this thread, and what it starts from now on, nice 0 and an ``oom_score_adj`` of 0, where allowed.

    Values below 0 were somebody's choice, and stay.
    """
    found = priorities_of(os.getpid())
    for name, value in found.items():
        _inherited.setdefault(name, value)
    if found.get("nice", 0) > 0:
        with contextlib.suppress(OSError):  # not our right: the facts say what is left
            os.setpriority(os.PRIO_PROCESS, 0, 0)
    if found.get("oom_score_adj", 0) > 0:
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("0", encoding="ascii")


def priorities_of(pid: int) -> dict[str, int]:
    """Return ``nice`` and ``oom_score_adj`` of a process; what cannot be read is left out."""
    found: dict[str, int] = {}
    with contextlib.suppress(OSError):
        found["nice"] = os.getpriority(os.PRIO_PROCESS, pid)
    with contextlib.suppress(OSError, ValueError):
        text = (Path("/proc") / str(pid) / "oom_score_adj").read_text(encoding="ascii")
        found["oom_score_adj"] = int(text)
    return found


def priority_facts(pid: int) -> dict[str, object]:
    """Return how a launched process really runs, and what this process was started with where it differs.

    Args:
        pid: Process id of what was launched.
    """
    found = priorities_of(pid)
    inherited = {**priorities_of(os.getpid()), **_inherited}
    changed = {name: value for name, value in inherited.items() if found.get(name) != value}
    return {**found, "inherited": changed} if changed else dict(found)

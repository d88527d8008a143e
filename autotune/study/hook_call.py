"""Call an owner's function with an event: ``python -m autotune.study.hook_call module:function [FOLDER]``.

The event is the JSON of standard input. A module is imported from the folder, or else as Python finds it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable
from inspect import isasyncgen, isgenerator

from autotune.systems.own.call import load

_NICENESS = 10  # trials are measured meanwhile


def main() -> None:
    """Call the function of the argument.

    Raises:
        TypeError: It is a generator.
    """
    os.nice(_NICENESS)
    target, *folder = sys.argv[1:]
    found = load(target, *folder)(json.load(sys.stdin))
    if isasyncgen(found) or isgenerator(found):
        raise TypeError(f"{target} is a generator, which nobody runs: it has a `yield`; call what it does")
    if isinstance(found, Awaitable):
        asyncio.run(_awaited(found))


async def _awaited(found: Awaitable[object]) -> None:
    """Await what a function returned: a coroutine, or another thing with ``__await__``."""
    await found


if __name__ == "__main__":
    main()

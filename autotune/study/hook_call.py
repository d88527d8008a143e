"""Call an owner's function with an event: ``python -m autotune.study.hook_call module:function [FOLDER]``.

The event is the JSON of standard input. A module is imported from the folder, or else as Python finds it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from inspect import iscoroutine

from autotune.systems.own.call import load

_NICENESS = 10  # trials are measured meanwhile


def main() -> None:
    """Call the function of the argument."""
    os.nice(_NICENESS)
    target, *folder = sys.argv[1:]
    found = load(target, *folder)(json.load(sys.stdin))
    if iscoroutine(found):
        asyncio.run(found)


if __name__ == "__main__":
    main()

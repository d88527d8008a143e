"""Call a function of the owner's with an event: ``python -m autotune.study.hook_call module:function``.

The event is the JSON of standard input.
"""

from __future__ import annotations

import json
import os
import sys

from autotune.systems.own.call import load

_NICENESS = 10  # trials are measured meanwhile


def main() -> None:
    """Call the function of the argument."""
    os.nice(_NICENESS)
    load(sys.argv[1])(json.load(sys.stdin))


if __name__ == "__main__":
    main()

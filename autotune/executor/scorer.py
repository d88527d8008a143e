"""Run a user's scorer: ``python -m autotune.executor.scorer SCORER ANSWERS.jsonl SCORE.json``.

``SCORER`` is JSON: the text ``module:function``, called with the list of ``{"prompt", "answer"}``; or a list,
a command that reads the same as JSON lines from its standard input and prints a number or a JSON object with
``value`` (or ``score``), the last of which counts. What a function prints goes to the log.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from autotune.systems.own.call import load, plain
from autotune.systems.own.last_object import last_object

_MOST_SEARCHED = 1 << 20  # bytes at the end of what a command printed


def main() -> None:
    """Score the answers of the file named second; write the score to the file named third."""
    scorer = json.loads(sys.argv[1])
    answers, result = Path(sys.argv[2]), Path(sys.argv[3])
    os.dup2(2, 1)
    if isinstance(scorer, str):
        items = [json.loads(line) for line in answers.read_text(encoding="utf-8").splitlines()]
        found = load(scorer)(items)
    else:
        with answers.open("rb") as stdin, tempfile.TemporaryFile() as out:
            done = subprocess.run(scorer, stdin=stdin, stdout=out, check=False)
            out.seek(max(0, out.seek(0, os.SEEK_END) - _MOST_SEARCHED))
            printed = out.read(_MOST_SEARCHED).decode("utf-8", errors="replace")
        if done.returncode:
            sys.exit(done.returncode if done.returncode > 0 else 128 - done.returncode)
        found = number_of(printed)
    result.write_text(json.dumps(found, default=plain), encoding="utf-8")


def number_of(text: str) -> object:
    """Return the last number or JSON object that a command printed."""
    lines = text.strip().splitlines()
    try:
        return float(lines[-1]) if lines else None
    except ValueError:
        found = last_object(text)
    if found is not None and set(found) == {"score"}:
        return found["score"]
    return found


if __name__ == "__main__":
    main()

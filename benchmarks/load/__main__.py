"""Our load client beside others, on a server that knows its truth and on llama.cpp.

``python -m benchmarks.load``. Parts ``stub`` and ``llama`` put the same loads on a server with every client,
in a new order for each repeat, and set what each says beside the server's own log. Parts ``rate`` and
``streams`` search the most that each can do on its core before its numbers become false. The server has one
core and the client the other. Results are lines of JSON; ``--report`` makes tables of them.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from benchmarks.load.bench import Bench
from benchmarks.load.report import CLIENTS, put_into, report

PARTS = ("stub", "llama", "rate", "streams")
PROGRAMS = {"vllm": "python", "aiperf": "aiperf", "guidellm": "guidellm", "llama": "llama-server"}


def main() -> None:
    """Run the parts, or show the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("--clients", default=",".join(CLIENTS), help="which, separated by commas")
    parser.add_argument("--parts", default=",".join(PARTS), help="which, separated by commas")
    parser.add_argument("--repeats", type=int, default=3, help="of part stub; llama has one less")
    parser.add_argument("--seconds", type=float, default=3.0, help="of one load")
    parser.add_argument(
        "--out", type=Path, default=Path("autotune-runs/load.jsonl"), help="file of the results"
    )
    parser.add_argument("--report", action="store_true", help="show the tables of --out, run nothing")
    parser.add_argument("--minutes", type=float, default=12.0, help="repeats that do not fit are left out")
    parser.add_argument("--into", type=Path, help="a page whose tables are replaced")
    args = parser.parse_args()
    if not args.report:
        run(args)
    tables = report(args.out)
    print(tables, end="")
    if args.into is not None:
        put_into(args.into, tables)


def run(args: argparse.Namespace) -> None:
    """Run the parts; the results of an earlier run are replaced."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.unlink(missing_ok=True)
    programs = {name: os.environ.get(f"AUTOTUNE_{name.upper()}", found) for name, found in PROGRAMS.items()}
    bench = Bench(args.clients.split(","), programs, args.out, args.minutes)
    try:
        bench.run_parts(args.parts.split(","), args.repeats, args.seconds)
    finally:
        bench.close()


if __name__ == "__main__":
    main()

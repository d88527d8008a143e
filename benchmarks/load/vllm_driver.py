"""The client of ``vllm bench serve`` in one process for many runs: importing vLLM takes longer than a run.

It is started with vLLM's own Python. Each line of its standard input is a JSON list, the arguments of one
``vllm bench serve``; a line on standard output says ``done``, or what went wrong.
"""

import argparse
import asyncio
import json
import sys

from vllm.benchmarks.serve import add_cli_args, main_async


def main() -> None:
    """Run what standard input asks for."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what vLLM prints goes to the log
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        parser = argparse.ArgumentParser()
        add_cli_args(parser)
        try:
            asyncio.run(main_async(parser.parse_args(json.loads(line))))
            print("done", file=answers, flush=True)
        except Exception as error:  # noqa: BLE001 - the next run goes on
            print(" ".join(repr(error).split()), file=answers, flush=True)


if __name__ == "__main__":
    main()

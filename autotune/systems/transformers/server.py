"""The process that runs a configuration: ``python -m autotune.systems.transformers.server --model ...``.

It answers JSON lines on a Unix socket in its working folder, one client at a time. With tensor parallelism
this process is rank 0; it starts the other ranks, which run every operation along with it and die with it.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

from autotune.core.environment import own_environment, own_module
from autotune.core.file_names import SOCKET_NAME
from autotune.systems.transformers.options import Options

_PROGRAM = "autotune.systems.transformers.server"
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Load the model and serve until told to stop."""
    options = Options.from_argv(sys.argv[1:], _PROGRAM)
    rank = int(os.environ.get("RANK", "0"))
    if rank:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != int(os.environ["AUTOTUNE_RANK_0"]):  # it died before we asked
            sys.exit(1)
    limit_memory(options)
    if options.tensor_parallel > 1 and not rank:
        start_ranks(options, _PROGRAM)
    serve(options, rank)


def limit_memory(options: Options) -> None:
    """Let this process have no more data memory than the options say."""
    if options.memory_limit:
        resource.setrlimit(resource.RLIMIT_DATA, (options.memory_limit, options.memory_limit))


def start_ranks(options: Options, program: str) -> None:
    """Start ranks 1 and up as processes of their own, with the same arguments."""
    Path("rendezvous").unlink(missing_ok=True)
    world = str(options.tensor_parallel)
    shared = {"WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world, "AUTOTUNE_RANK_0": str(os.getpid())}
    os.environ.update({**shared, "RANK": "0", "LOCAL_RANK": "0"})
    if "GLOO_SOCKET_IFNAME" not in os.environ:  # the ranks are on one machine
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    for rank in range(1, options.tensor_parallel):
        subprocess.Popen(
            own_module(program, *sys.argv[1:]),
            env=own_environment({"RANK": str(rank), "LOCAL_RANK": str(rank)}),
        )


def serve(options: Options, rank: int) -> None:
    """Load, then run operations: rank 0 takes them from the socket, the others from rank 0."""
    from autotune.systems.transformers.operations import Operations

    operations = Operations(options)
    if rank:
        while operations.follow():
            continue
        return
    with contextlib.suppress(FileNotFoundError):
        os.unlink(SOCKET_NAME)
    with socket.socket(socket.AF_UNIX) as listener:
        draft = f"{SOCKET_NAME}.starting"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft)
        listener.bind(draft)
        listener.listen(1)
        os.rename(draft, SOCKET_NAME)  # whoever sees the socket can connect to it
        while True:
            client, _ = listener.accept()
            with client, client.makefile("rwb") as stream:
                if not _converse(operations, stream):
                    return


def _converse(operations: Any, stream: Any) -> bool:
    """Answer one client until it leaves; return whether to wait for another."""
    for line in stream:
        order = json.loads(line)
        try:
            answer = operations.lead(order)
        except Exception as error:  # noqa: BLE001 - whatever the system raises is an answer: the worker names the cause
            traceback.print_exc()
            answer = {"error": {"cause": _cause(error), "message": f"{type(error).__name__}: {error}"}}
        stream.write(json.dumps(answer).encode() + b"\n")
        stream.flush()
        if order["op"] == "stop":
            return False
    return True


def _cause(error: Exception) -> str:
    from autotune.systems.diagnosis import is_out_of_memory

    text = f"{type(error).__name__}: {error}"
    return "out_of_memory" if is_out_of_memory(text) else "crashed_under_load"


if __name__ == "__main__":
    main()

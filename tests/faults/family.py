"""A server that does everything a server may do to outlive its parent; each process says what it holds.

Started in a folder, it leaves one file per process there: its pid, a port it listens at, and a segment of
shared memory. The whole tree ignores SIGTERM when the first argument is ``deaf``.
"""

import json
import mmap
import os
import signal
import socket
import sys
import time

DEAF = sys.argv[1:2] == ["deaf"]


def live(role, deaf=DEAF):
    """Take a port and a segment, say so, and stay."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN if deaf else signal.SIG_DFL)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    segment = f"/dev/shm/autotune-test-{os.getpid()}"
    with open(segment, "w+b") as file:
        file.truncate(4096)
        memory = mmap.mmap(file.fileno(), 4096)
    said = {"pid": os.getpid(), "port": listener.getsockname()[1], "segment": segment}
    with open(f"{role}.part", "w") as file:
        json.dump(said, file)
    os.rename(f"{role}.part", f"{role}.json")
    while memory is not None and listener is not None:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            time.sleep(600)


def fork(role, *, below=(), session=False, twice=False, deaf=DEAF):
    """Start a process of the tree, and those below it."""
    if os.fork():
        if twice:
            os.wait()
        return
    if session or twice:
        os.setsid()
    if twice and os.fork():
        os._exit(0)
    for options in below:
        fork(**options)
    live(role, deaf)


def main():
    fork("child", below=[{"role": "grandchild"}])
    fork("session", session=True, below=[{"role": "session-child"}])
    fork("daemon", twice=True)
    fork("deaf", deaf=True, session=True)
    live("server")


ROLES = ("server", "child", "grandchild", "session", "session-child", "daemon", "deaf")

if __name__ == "__main__":
    main()

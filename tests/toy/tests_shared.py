"""What tests of processes share."""

import contextlib
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest


def without_libraries(*names):
    """Return code after which importing some libraries fails, as where they are not installed."""
    return f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""


def wait_until(condition, seconds):
    """Wait for a condition with a deadline; its value, or an AssertionError."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


@contextlib.contextmanager
def small_disk(folder, size):
    """Mount a small disk at a new folder, where this user may; gives what mounts it with other options."""
    folder.mkdir()

    def mount(options, *more):
        argv = ["mount", *more, "-o", options, "tmpfs", str(folder)]
        return subprocess.run(argv, capture_output=True, text=True, check=False)

    done = mount(f"size={size}", "-t", "tmpfs")
    if done.returncode:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
    try:
        yield mount
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill_disk(folder):
    """Write into a folder until nothing more fits on its disk; return the file."""
    path = folder / "filler"
    number = os.open(path, os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while True:
            os.write(number, bytes(4096))
    os.close(number)
    return path


@contextlib.contextmanager
def serving_in_a_thread(server):
    """Serve in a thread of this process."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def is_alive(pid):
    """Return whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def name_of(pid):
    """Return the command line of a process; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def descendants(pid):
    """Return the ids of all processes below ``pid``."""
    children = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, ValueError):
            continue
        children.setdefault(parent, []).append(int(entry.name))
    found, queue = set(), [pid]
    while queue:
        for child in children.get(queue.pop(), []):
            if child not in found:
                found.add(child)
                queue.append(child)
    return found


def works_in(folder):
    """Return the living processes whose working folder lies under ``folder``."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            inside = str((entry / "cwd").readlink()).startswith(str(folder))
        except OSError:
            continue
        if inside and is_alive(int(entry.name)):
            found.append(int(entry.name))
    return found


def anywhere(text):
    """Return a text with the paths of this interpreter, this checkout and its own model as words."""
    checkout = str(Path(__file__).resolve().parents[2])
    text = text.replace(sys.executable, "PYTHON").replace(checkout, "CHECKOUT")
    return re.sub(r"\btiny-[0-9a-f]{12}\b", "tiny-TOPICS", text)  # every Python has other help topics

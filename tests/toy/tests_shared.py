"""What tests of processes share."""

import sys
import time
from pathlib import Path


def wait_until(condition, seconds):
    """Wait for a condition with a deadline; its value, or an AssertionError."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


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
    """Return a text with the paths of this interpreter and this checkout as words."""
    checkout = str(Path(__file__).resolve().parents[2])
    return text.replace(sys.executable, "PYTHON").replace(checkout, "CHECKOUT")

"""Where a ledger lies: the kind of filesystem, because some cannot keep it safely.

SQLite's write-ahead log needs memory shared by all its users and locks that hold, which filesystems between
machines do not give [1].

References:
    [1] https://www.sqlite.org/wal.html ("All processes using a database must be on the same host computer")
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from autotune.core.input_file import resolved

NETWORK = frozenset(
    {
        "afs", "beegfs", "ceph", "cifs", "fuse.ceph", "fuse.glusterfs", "fuse.s3fs", "fuse.sshfs", "gfs2",
        "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "smb3", "smbfs",
        "wekafs",
    }
)  # fmt: skip
"""Kinds between machines: several hosts may see the file, without the memory they have to share."""

UNSURE = frozenset({"9p", "virtiofs", "fuse", "fuseblk", "prl_fs", "vboxsf", "vmhgfs"})
"""Kinds that a virtual machine shares with its host: safe as long as only one side uses the file."""

MOUNTS = Path("/proc/self/mountinfo")
LOCKS = Path("/proc/locks")


def filesystem_of(path: Path) -> str:
    """Return the kind of filesystem that a file lies on or would lie on; empty where it cannot be told."""
    try:
        text = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:  # no /proc: nothing is known, and nothing is refused for it
        return ""
    return kind_at(resolved(path), text)


def holder(path: Path | None) -> str:
    """Return which other process has locked an SQLite file to write it, as far as the system tells."""
    inodes = set()
    for suffix in ("", "-shm"):
        with contextlib.suppress(OSError):  # there is none
            inodes.add(f":{os.stat(f'{path}{suffix}').st_ino}")
    with contextlib.suppress(OSError):  # no /proc, or the process has ended
        for line in LOCKS.read_text(encoding="ascii").splitlines():
            fields = line.split()
            if len(fields) < 6 or "WRITE" not in fields or not fields[5].endswith(tuple(inodes)):
                continue
            pid = int(fields[4])
            if pid > 0 and pid != os.getpid():
                name = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
                return f"process {pid} ({name})"
    return "another process"


def kind_at(path: Path, mounts: str) -> str:
    """Return the kind of the mount that holds ``path``.

    Args:
        path: Absolute path, links resolved.
        mounts: The text of ``/proc/self/mountinfo``, later mounts last.
    """
    best, kind = -1, ""
    for line in mounts.splitlines():
        fields, _, tail = line.partition(" - ")
        parts = fields.split(" ")
        if len(parts) < 5 or not tail:
            continue
        point = Path(_plain(parts[4]))
        # of two mounts on the same point the later one is seen
        if path.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), tail.split(" ")[0]
    return kind


def _plain(text: str) -> str:
    """Undo the octal escapes of blanks, tabs, line ends and backslashes."""
    for code, plain in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, plain)
    return text

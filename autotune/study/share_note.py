"""What a study has of nodes that several studies share, as its ledger keeps it."""

from __future__ import annotations

from autotune.ledger import StudyRow

SHARE = "share"
"""Note of a study that runs on shared nodes: what it has of them, as plain data."""


def share_text(row: StudyRow) -> str:
    """Return what a running study has of shared nodes and what it waits for; empty where it shares none."""
    share = row.notes.get(SHARE)
    if row.state != "RUNNING" or not isinstance(share, dict):
        return ""
    # a run that was killed stands in the book for some seconds more, under the same name
    others = [name for name in map(str, share.get("others") or ()) if name != row.label]
    text = f"nodes: {share['held']:.3g} of a fair share of {share['fair']:.3g}, of {share['nodes']} in all"
    text += f"; shared with {', '.join(others)}" if others else ""
    return f"{text}; waits for {share['before']}" if share.get("before") else text

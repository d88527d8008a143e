"""Whose a study is, and what it has of nodes that several people's studies share."""

from __future__ import annotations

from autotune.ledger import StudyRow

OWNER = "owner"
"""Note of a study that was submitted to a cluster: who submitted it."""

SHARE = "share"
"""Note of a study that runs on shared nodes: what it has of them, as plain data."""


def owner_of(row: StudyRow) -> str:
    """Return who submitted a study; empty where nobody did."""
    return str(row.notes.get(OWNER) or "")


def label_of(row: StudyRow) -> str:
    """Return the name of a study with that of its owner, where it has one."""
    owner = owner_of(row)
    return f"{owner}/{row.name}" if owner else row.name


def share_text(row: StudyRow) -> str:
    """Return what a running study has of shared nodes and what it waits for; empty where it shares none."""
    share = row.notes.get(SHARE)
    if row.state != "RUNNING" or not isinstance(share, dict):
        return ""
    others = share.get("others") or []
    text = f"nodes: {share['held']:.3g} of a fair share of {share['fair']:.3g}, of {share['nodes']} in all"
    text += f"; shared with {', '.join(map(str, others))}" if others else ""
    return f"{text}; waits for {share['before']}" if share.get("before") else text

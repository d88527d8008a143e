"""A verification as text, as data, and as continuous integration reads it."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

from autotune.analysis.change import Change, Measured, Status
from autotune.analysis.verification import Side, Verification
from autotune.core.cells import cell_len, fill, padded
from autotune.core.estimate_text import INTERVAL, sentence_unit, show_estimate
from autotune.core.improvement_text import show_change
from autotune.core.redact import redact, visible
from autotune.core.study_labels import study_label
from autotune.core.units import counted
from autotune.core.verdict import show_chance
from autotune.report.summary import metrics_json
from autotune.report.text import WIDTH, show_config, wrap

WORDS = {
    "worse": "WORSE",
    "broken": "LIMIT BROKEN",
    "unsettled": "not settled",
    "kept": "no worse",
    "better": "better",
}
"""What each status of a change is called."""

_NOT_XML = re.compile("[^\t\n\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def verification_lines(found: Verification, *, width: int = WIDTH) -> list[str]:
    """Return the table of what changed, what differs between then and now, and the verdict."""
    again = f"measured again in {counted(found.launches, 'fresh launch')} each ({found.name})"
    lines = wrap(f"study {found.study}{f' of {found.then}' if found.then else ''}, {again}", width)
    for side in found.sides:
        trial = f" (trial {side.trial})" if side.trial >= 0 else ""
        lines += ["", *fill(f"{side.name}{trial}: {show_config(side.config)}", width)]
        lines += _rows(side, found, width)
        word = "failed as before" if side.as_before else "FAILED"
        for text in side.failed:
            lines += [f"  {line}" for line in wrap(f"{word}: {text.partition(chr(10))[0]}", width - 2)]
    lines.append("")
    if any("±" in line for line in lines):
        lines += wrap(INTERVAL, width)
    lines += wrap("changed since then:" if found.differs else "versions and hardware are as they were", width)
    for text in found.differs:
        lines += [f"  {line}" for line in wrap(text, width - 2)]
    return lines + wrap(conclusion(found), width)


def conclusion(found: Verification) -> str:
    """Return the verdict in a sentence."""
    share = f"{100 * found.tolerance:g} %"
    if found.state == "interrupted":
        return "stopped before every launch was made: nothing is concluded"
    if found.worse:
        bad = [c for side in found.sides for c in side.changes if found.status(c) in ("worse", "broken")]
        if all(c.asked for c in bad) and not any(side.broken for side in found.sides):
            return "verdict: the winner does not keep the limits that are asked for now"
        whole = all(any(found.status(c) == "worse" for c in side.changes) for side in found.sides)
        why = (
            "; both sides did: look at the server or the machine first"
            if whole and len(found.sides) > 1
            else ""
        )
        return f"verdict: something got worse, beyond noise and the tolerance of {share}{why}"
    unsettled = [c for side in found.sides for c in side.changes if found.status(c) == "unsettled"]
    if unsettled:
        return (
            f"verdict: nothing is shown to be worse by more than {share}, but {len(unsettled)} of the "
            f"changes may be; more launches settle it (--launches {2 * found.launches})"
        )
    return f"verdict: nothing got worse by more than {share}"


def _rows(side: Side, found: Verification, width: int) -> list[str]:
    cells = [
        (
            str(change.limit or change.metric),
            _shown(change.then, change),
            _shown(change.now, change),
            show_change(change.gain),
            WORDS[found.status(change)] + _chance(change),
        )
        for change in side.changes
    ]
    if not cells:
        return []
    rows = [("", "then", "now", "change", ""), *cells]
    wide = [max(cell_len(row[i]) for row in rows) for i in range(5)]
    lines = ["  " + "  ".join(map(padded, row, wide)) for row in rows]
    if max(cell_len(line.rstrip()) for line in lines) <= width:
        return [line.rstrip() for line in lines]
    wrapped = []
    for name, then, now, change, status in cells:
        wrapped += [f"  {line}" for line in fill(f"{name}: {status}", width - 2)]
        wrapped += [f"    {line}" for line in fill(f"{then} -> {now}, {change}", width - 4)]
    return wrapped


def _chance(change: Change) -> str:
    if change.chance is None or change.limit is None or change.chance > 0.95:
        return ""
    return f", holds {show_chance(change.chance)}"


def _shown(side: Measured, change: Change) -> str:
    """Return one side in the unit of both: that of the limit, else what reads best for the earlier one."""
    return show_estimate(side.estimate, side.half, change.symbol or sentence_unit(change.then.estimate))


def verification_json(found: Verification) -> dict[str, object]:
    """Return a verification as plain JSON data."""
    return {
        "schema": 1,
        "study": found.study,
        "verification": found.name,
        "state": found.state,
        "worse": found.worse,
        "verdict": conclusion(found),
        "tolerance": found.tolerance,
        "launches": found.launches,
        "sides": [
            {
                "side": side.name,
                "trial": side.trial,
                "config": dict(side.config),
                "launches": side.launches,
                "failed": list(side.failed),
                "failed_as_before": side.as_before,
                "changes": [_change_json(change, found) for change in side.changes],
            }
            for side in found.sides
        ],
        "differs": list(found.differs),
        "ledger": found.ledger,
    }


def _change_json(change: Change, found: Verification) -> dict[str, object]:
    gain = change.gain
    return {
        "metric": change.metric,
        "limit": None if change.limit is None else str(change.limit),
        "chance": change.chance,
        "status": found.status(change),
        **metrics_json({"then": change.then.estimate, "now": change.now.estimate}),
        "improvement": {
            "value": gain.value,
            "low": gain.low,
            "high": gain.high,
            "scale": "ratio" if gain.relative else "difference",
        },
    }


def title_of(ledger: str | Path, study: str) -> str:
    """Return what a verification is called where those of other stores stand beside it."""
    return f"autotune verify {study_label(ledger, study)}".rstrip(" :")


def annotation_lines(found: Verification) -> list[str]:
    """Return workflow commands of GitHub Actions: an error for what got worse, a warning for what may be."""
    title = title_of(found.ledger, found.study)
    lines = []
    for side in found.sides:
        if side.broken:
            lines += [annotation("error", title, f"{side.name} fails: {text}") for text in side.failed]
        for change in side.changes:
            status = found.status(change)
            if status in ("worse", "broken", "unsettled"):
                level = "warning" if status == "unsettled" else "error"
                lines.append(annotation(level, title, _sentence(side, change, found)))
    return lines or [annotation("notice", title, conclusion(found))]


def _sentence(side: Side, change: Change, found: Verification) -> str:
    since = f"; changed since: {'; '.join(found.differs)}" if found.differs else ""
    return f"{side.name}: {change_text(change, found.status(change), found.tolerance)}{since}"


def change_text(change: Change, status: Status, tolerance: float) -> str:
    """Return a change in one line: the metric or its limit, what it amounts to, then and now."""
    text = f"{change.limit or change.metric}: {WORDS[status]}{_chance(change)}: "
    text += f"{_shown(change.then, change)} -> {_shown(change.now, change)}, {show_change(change.gain)}"
    return f"{text}, tolerance {100 * tolerance:g} %"


def step_summary(title: str, lines: Sequence[str]) -> str:
    """Return lines as Markdown for the summary of a job: one block of text, which nothing in it ends."""
    shown = "\n".join(f"| {line}" if line.lstrip().startswith("```") else line for line in lines)
    return visible(redact(f"### {title}\n\n```text\n{shown}\n```\n"))


def annotation(level: str, title: str, message: str) -> str:
    """Return a workflow command; what would end it or begin another is escaped."""
    text, name = (visible(redact(part)) for part in (message, title))
    for mark, code in (("%", "%25"), ("\r", "%0D"), ("\n", "%0A")):
        text, name = text.replace(mark, code), name.replace(mark, code)
    name = name.replace(":", "%3A").replace(",", "%2C")
    return f"::{level} title={name}::{text}"


def junit(found: Verification) -> str:
    """Return a JUnit report: a test case for each side and metric, a failure for what got worse."""
    suite = ET.Element("testsuite", name=_clean(title_of(found.ledger, found.study)))
    counts = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    properties = ET.SubElement(suite, "properties")
    for i, text in enumerate(found.differs):
        ET.SubElement(properties, "property", name=f"changed.{i + 1}", value=_clean(text))
    for side in found.sides:
        owner = f"{study_label(found.ledger, found.study)}.{side.name}"
        case = _case(suite, counts, owner, "launches")
        if side.as_before:
            ET.SubElement(case, "system-out").text = _clean("failed as before: " + "\n".join(side.failed))
        elif side.failed:
            _fail(case, counts, "a launch failed", "\n".join(side.failed))
        for change in side.changes:
            case = _case(suite, counts, owner, str(change.limit or change.metric))
            text = _sentence(side, change, found)
            if found.status(change) in ("worse", "broken"):
                _fail(case, counts, WORDS[found.status(change)], text)
            else:
                ET.SubElement(case, "system-out").text = _clean(text)
    return _document(suite, counts)


def junit_error(title: str, message: str) -> str:
    """Return a JUnit report of a verification that could not be made."""
    suite = ET.Element("testsuite", name=_clean(title))
    case = ET.SubElement(suite, "testcase", classname=_clean(title), name="launches")
    ET.SubElement(case, "error", message=_clean(message.splitlines()[0])).text = _clean(message)
    return _document(suite, {"tests": 1, "failures": 0, "errors": 1, "skipped": 0})


def _case(suite: ET.Element, counts: dict[str, int], owner: str, name: str) -> ET.Element:
    counts["tests"] += 1
    return ET.SubElement(suite, "testcase", classname=_clean(owner), name=_clean(name))


def _fail(case: ET.Element, counts: dict[str, int], message: str, text: str) -> None:
    counts["failures"] += 1
    ET.SubElement(case, "failure", message=_clean(message)).text = _clean(text)


def _document(suite: ET.Element, counts: dict[str, int]) -> str:
    for name, count in counts.items():
        suite.set(name, str(count))
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=False) + "\n"


def _clean(text: str) -> str:
    """Return a text without secrets and without characters that XML cannot hold."""
    kept = visible(redact(text))
    return _NOT_XML.sub("", kept)

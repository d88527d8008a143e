"""Tables of the results."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.load.observed import METRICS, RATES

Result = dict[str, Any]
CLIENTS = ("own", "vllm", "aiperf", "guidellm")
BEGIN, END = "<!-- tables -->", "<!-- end of tables -->"
NOT_LOGGED = ("itl.p50", "itl.p99")
"""llama.cpp logs the time of all tokens of a request together."""

TITLES = {"stub": "On the stub", "llama": "On llama.cpp", "rate": "Most requests per second of a core",
          "streams": "Most streams of a core"}  # fmt: skip


def report(path: Path) -> str:
    """Return all tables as Markdown.

    Args:
        path: Of the results.
    """
    results = [json.loads(line) for line in path.read_text().splitlines()]
    text = "".join(
        f"{r['date']}, {r['cores']} cores of {r['processor']}, load average before {r['load_before']:.2f}; "
        f"{', '.join(v for v in r['versions'].values() if ' ' in v)}.\n\n"
        for r in results
        if r["part"] == "machine"
    )
    for part, title in TITLES.items():
        of_part = [r for r in results if r["part"] == part]
        if any("error" not in r for r in of_part):
            text += f"### {title}\n\n" + (
                most(of_part) if part in ("rate", "streams") else compared(part, of_part)
            )
    bad = [f"* {r['client']}, {r['part']}: {r['error']}\n" for r in results if "error" in r]
    return text + ("### Runs that gave nothing\n\n" + "".join(bad) if bad else "")


def put_into(page: Path, tables: str) -> None:
    """Replace what is between the two marks of a page.

    Raises:
        ValueError: The page has no marks.
    """
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no lines {BEGIN} and {END}")
    page.write_text(f"{before}{begin}\n\n{tables}\n{end}{after}", encoding="utf-8")


def compared(part: str, results: Sequence[Result]) -> str:
    """Return, for each load, what each client says less what the server's log says."""
    text = ""
    for scene in dict.fromkeys(r["scene"] for r in results if "scene" in r):
        runs = {
            name: [r for r in results if r.get("scene") == scene and r["client"] == name and "said" in r]
            for name in CLIENTS
        }
        runs = {name: found for name, found in runs.items() if found}
        if not runs:
            continue
        every = [r for found in runs.values() for r in found]
        lines = [["", "server's log", *runs]]
        for metric in METRICS:
            if part == "llama" and metric in NOT_LOGGED:
                continue
            unit = "/s" if metric in RATES else " ms"
            typical = statistics.median(r["server"][metric] for r in every)
            off = (difference(found, metric) for found in runs.values())
            lines.append([metric, f"{typical:.4g}{unit}", *off])
        lines += [
            ["requests per second asked, seen", "", *(asked_and_seen(found) for found in runs.values())],
            ["variation of their gaps", "", *(spread(found, "variation", 1) for found in runs.values())],
            ["requests", "", *(f"{total(found, 'requests')}" for found in runs.values())],
            ["failed", "", *(f"{total(found, 'failed')}" for found in runs.values())],
            [
                "client's core is busy",
                "",
                *(spread(found, "client_core", 100, " %") for found in runs.values()),
            ],
            [
                "server's core is busy",
                "",
                *(spread(found, "server_core", 100, " %") for found in runs.values()),
            ],
        ]
        text += f"**{scene}**, {max(len(found) for found in runs.values())} runs each\n\n{table(lines)}\n"
        failures = sorted({f"{r['client']}: {r['failure']}" for r in every if r["failure"]})
        text += "".join(f"Failed with {failure}\n\n" for failure in failures)
    return text


def difference(runs: Sequence[Result], metric: str) -> str:
    """Return the mean over runs of what is said less what the server did, and half of their range.

    Latencies in milliseconds, rates in percent.
    """
    found = []
    for run in runs:
        said, server = run["said"].get(metric), run["server"].get(metric)
        if said is None or server is None:
            return "not said"
        if metric in RATES and not server:
            return "none"
        found.append(100 * (said / server - 1) if metric in RATES else said - server)
    unit = " %" if metric in RATES else ""
    return f"{statistics.mean(found):+.2f}{unit} ± {(max(found) - min(found)) / 2:.2f}"


def asked_and_seen(runs: Sequence[Result]) -> str:
    """Return the rate that was asked for and the one that came, on average."""
    seen = statistics.mean(r["seen_rate"] for r in runs)
    return f"{runs[0]['asked_rate']:g}, {seen:.1f}" if runs[0]["asked_rate"] else f"{seen:.1f}"


def spread(runs: Sequence[Result], key: str, factor: float, unit: str = "") -> str:
    """Return the mean over runs."""
    found = [r[key] * factor for r in runs if r[key] is not None]
    return f"{statistics.mean(found):.3g}{unit}" if found else "?"


def total(runs: Sequence[Result], key: str) -> int:
    """Return the sum over runs."""
    return sum(r[key] for r in runs)


def most(results: Sequence[Result]) -> str:
    """Return, for each client, the highest level that was true and the lowest above it that was not."""
    lines = [["client", "true up to", "there: ttft, itl off", "there: client's, server's core", "stub late",
              "false at", "because of"]]  # fmt: skip
    for name in CLIENTS:
        probes = [r for r in results if r["client"] == name]
        if not probes:
            continue
        true = {r["level"]: r for r in probes if not r["false"]}
        best = true.get(max(true, default=0))
        above = [r for r in probes if r["false"] and (best is None or r["level"] > best["level"])]
        worst = min(above, key=lambda r: r["level"], default=None)
        cells = ["below " + f"{min(r['level'] for r in probes):.0f}", "", "", ""]
        if best is not None:
            ttft, itl = (best["said"][key] - best["server"][key] for key in ("ttft.mean", "itl.mean"))
            cells = [f"{best['level']:.0f}",
                     f"{ttft:+.2f} ms, {100 * itl / best['server']['itl.mean']:+.2f} %",
                     f"{100 * (best['client_core'] or 0):.0f} %, {100 * (best['server_core'] or 0):.0f} %",
                     f"{best['late_ms']:.2f} ms"]  # fmt: skip
        end = ["not reached", ""] if worst is None else [f"{worst['level']:.0f}", "; ".join(worst["false"])]
        lines.append([name, *cells, *end])
    return table(lines) + "\n"


def table(lines: Sequence[Sequence[str]]) -> str:
    """Return a table of Markdown; the first line is its head."""
    rows = ["| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines]
    rows.insert(1, "|" + "---|" * len(lines[0]))
    return "\n".join(rows) + "\n"
